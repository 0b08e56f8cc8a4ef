//! Matrix methods make the same steps as burn's optimizers, one parameter at a time, and as closure
//! optimizers, stacked; for every rank, and from records.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::Objective;
use osculate_optim::{
    ClosureOptimizer, Driver, KlShampooConfig, KlSoapConfig, MuonConfig, NonFinitePolicy,
    ParameterGroup, PerParameter, PsgdDenseConfig, PsgdDiagonalConfig, PsgdFit, PsgdGeometry,
    PsgdKronConfig, PsgdLraConfig, RefreshSchedule, ScaledLr, Select, ShampooConfig, SoapConfig,
    StatefulOptimizer, StepPolicy, matrices_of,
};
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::single::Single;
use osculate_tests::subject::adamw;

const STEPS: usize = 6;
const LR: f64 = 0.02;

/// A parameter is missing from some steps, so that the stacks change.
fn fault(step: usize) -> Fault {
    match step {
        2 => Fault::Missing(2),
        4 => Fault::Missing(3),
        _ => Fault::None,
    }
}

fn by_closure(mut optimizer: impl ClosureOptimizer<Ranked>, mut model: Ranked) -> Vec<f64> {
    for step in 0..STEPS {
        let batch = Batch::new(&model, step, false, fault(step));
        model = optimizer.step(LR, model, &batch).expect("a step").model;
    }
    model.values()
}

fn burn_step(optimizer: &mut ModuleOptimizer, model: Ranked, step: usize) -> Ranked {
    let batch = Batch::new(&model, step, false, fault(step));
    let gradients = batch.loss(&model).expect("a loss").backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    optimizer.step(LR, model, gradients)
}

/// Runs with a save and a load in the middle.
fn by_burn(make: impl Fn(&Ranked) -> ModuleOptimizer, mut model: Ranked) -> Vec<f64> {
    let mut optimizer = make(&model);
    for step in 0..STEPS {
        if step == STEPS / 2 {
            let bytes = optimizer.into_bytes().expect("a record");
            optimizer = make(&model).from_bytes(bytes).expect("its own record");
        }
        model = burn_step(&mut optimizer, model, step);
    }
    model.values()
}

/// Goes on from a record under a driver, which looks whether the state of each parameter fits, as without a stop.
fn resumed_in_a_driver(make: impl Fn(&Ranked) -> ModuleOptimizer, model: Ranked) {
    let run = |stops: bool| {
        let mut model = model.clone();
        let mut optimizer = Driver::from(make(&model));
        for step in 0..STEPS {
            if stops && step == STEPS / 2 {
                let record = optimizer.to_record();
                optimizer = Driver::from(make(&model));
                optimizer.load_record(record).expect("its own record");
            }
            let batch = Batch::new(&model, step, false, fault(step));
            let made = optimizer.step(LR, model, &batch).expect("a step");
            assert!(made.report.fresh().is_empty(), "{:?}", made.report.fresh());
            model = made.model;
        }
        model.values()
    };
    assert_eq!(run(true), run(false));
}

fn same(a: &[f64], b: &[f64], dtype: DType) {
    // Sums in a batched product may be taken in another order.
    let tolerance = match dtype {
        DType::F64 => 1e-12,
        DType::F32 => 1e-5,
        _ => 2e-2,
    };
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance, "{a} against {b}, {dtype:?}");
    }
}

/// A step for one parameter of rank `D`, through both doors.
fn one_rank<const D: usize>(
    mut closure: impl ClosureOptimizer<Single<D>>,
    mut module: ModuleOptimizer,
    shape: [usize; D],
) {
    let device = Device::flex().autodiff();
    let n: usize = shape.iter().product();
    let numbers = |phase: f64| -> Vec<f64> {
        (0..n)
            .map(|i| (i as f64 * 1.3 + phase).sin() + 0.1)
            .collect()
    };
    let mut a = Single::<D>::new(shape, &numbers(0.0), (&device, DType::F32));
    let mut b = a.clone();
    let before = a.values();
    for step in 0..3 {
        let loss = |model: &Single<D>| {
            let w = model.weight.val();
            let data = TensorData::new(numbers(1.0 + step as f64), w.shape());
            (w.clone() * Tensor::<D>::from_data(data, (&w.device(), w.dtype()))).sum()
        };
        let gradients = GradientsParams::from_grads(loss(&b).backward(), &b);
        b = module.step(LR, b, gradients);
        a = closure.step(LR, a, &loss).expect("a step").model;
    }
    assert!(a.values().iter().all(|x| x.is_finite()), "{shape:?}");
    assert!(n == 0 || a.values() != before, "{shape:?}");
    same(&a.values(), &b.values(), DType::F32);
}

macro_rules! doors {
    ($name:ident, $config:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn both_doors_make_the_same_steps() {
                for dtype in [DType::F64, DType::F32, DType::BF16] {
                    let device = Device::flex().autodiff();
                    let model = Ranked::new(&device, dtype);
                    let config = $config;
                    let closure = by_closure(config.init().expect("valid"), model.clone());
                    let make = |model: &Ranked| config.module_optimizer(model).expect("valid");
                    same(&closure, &by_burn(make, model), dtype);
                }
            }

            #[test]
            fn a_driver_over_burns_optimizer_resumes_bit_for_bit() {
                let model = Ranked::new(&Device::flex().autodiff(), DType::F32);
                resumed_in_a_driver(
                    |model| $config.module_optimizer(model).expect("valid"),
                    model,
                );
            }

            #[test]
            fn the_state_of_another_shape_is_not_taken() {
                let single = |shape: [usize; 2]| {
                    let values = vec![0.5; shape.iter().product()];
                    Single::new(shape, &values, (&Device::flex().autodiff(), DType::F32))
                };
                let loss = |model: &Single<2>| model.weight.val().square().sum();
                let driver = |model: &Single<2>| {
                    Driver::from($config.module_optimizer(model).expect("valid"))
                };
                let (narrow, wide) = (single([3, 4]), single([3, 5]));
                let mut optimizer = driver(&narrow);
                optimizer.step(LR, narrow, &loss).expect("a step");
                let record = optimizer.to_record();
                let mut optimizer = driver(&wide);
                optimizer.load_record(record).expect("a record");
                let step = optimizer.step(LR, wide, &loss).expect("a step");
                assert_eq!(step.report.fresh().len(), 1);
            }

            #[test]
            fn every_rank_is_stepped() {
                macro_rules! rank {
                    ($shape:expr) => {
                        let closure = $config.init().expect("valid");
                        let device = Device::flex().autodiff();
                        let n: usize = $shape.iter().product();
                        let model = Single::new($shape, &vec![0.0; n], (&device, DType::F32));
                        let module = $config.module_optimizer(&model).expect("valid");
                        one_rank(closure, module, $shape);
                    };
                }
                rank!([7]);
                rank!([1]);
                rank!([0]);
                rank!([3, 5]);
                rank!([1, 4]);
                rank!([0, 4]);
                rank!([2, 3, 4]);
                rank!([3, 1, 2, 2]);
                rank!([2, 1, 2, 1, 3]);
                rank!([1, 2, 1, 2, 1, 2]);
                rank!([1, 2, 2, 1, 1, 2, 1]);
                rank!([2, 1, 2, 1, 2, 1, 2, 1]);
            }
        }
    };
}

doors!(psgd_kron, PsgdKronConfig::new());
doors!(
    psgd_kron_eq,
    PsgdKronConfig::new()
        .with_geometry(PsgdGeometry::Eq)
        .with_schedule(RefreshSchedule::Every { period: 2 })
);
doors!(
    psgd_kron_authors,
    PsgdKronConfig::new()
        .with_geometry(PsgdGeometry::Q05Eq15)
        .with_half_factors(true)
);
doors!(
    psgd_dense,
    PsgdDenseConfig::new()
        .with_fit(PsgdFit::Whitening)
        .with_max_size(5)
);
doors!(psgd_diagonal, PsgdDiagonalConfig::new());
doors!(psgd_lra, PsgdLraConfig::new().with_rank(2));
doors!(
    psgd_lra_in_turns,
    PsgdLraConfig::new()
        .with_rank(2)
        .with_schedule(RefreshSchedule::Every { period: 2 })
);
doors!(muon, MuonConfig::new());
doors!(
    shampoo,
    ShampooConfig::new()
        .with_block_size(3)
        .with_period(2)
        .with_start(2)
);
doors!(
    soap,
    SoapConfig::new().with_refresh(RefreshSchedule::Every { period: 2 })
);
doors!(
    kl_shampoo,
    KlShampooConfig::new().with_refresh(RefreshSchedule::Every { period: 2 })
);
doors!(
    kl_soap,
    KlSoapConfig::new().with_refresh(RefreshSchedule::Every { period: 2 })
);

#[test]
fn a_hybrid_is_a_group_in_burns_loop() {
    let device = Device::flex().autodiff();
    let model = Ranked::new(&device, DType::F32);
    let rest = ParameterGroup::new("rest", Select::rank(..2)).with_lr_factor(0.1);
    let muon = MuonConfig::new().init().unwrap();
    let hybrid = muon
        .for_matrices(adamw())
        .unwrap()
        .with_group(rest)
        .unwrap();
    let closure = by_closure(hybrid, model.clone());
    let make = |model: &Ranked| {
        let adamw = burn::optim::AdamWConfig::new().build();
        ModuleOptimizer::from(ScaledLr::new(adamw, 0.1)).with_group(
            matrices_of(model),
            PerParameter::new(MuonConfig::new().rule().unwrap()).unwrap(),
            None,
        )
    };
    same(&closure, &by_burn(make, model), DType::F32);
}

#[test]
fn a_hybrid_refuses_the_record_of_another_pair() {
    let device = Device::flex().autodiff();
    let model = Ranked::new(&device, DType::F32);
    let mut muon = MuonConfig::new()
        .init()
        .unwrap()
        .for_matrices(adamw())
        .unwrap();
    let batch = Batch::new(&model, 0, false, Fault::None);
    muon.step(LR, model, &batch).unwrap();
    let mut psgd = PsgdKronConfig::new()
        .init()
        .unwrap()
        .for_matrices(adamw())
        .unwrap();
    let before = psgd.to_record();
    assert!(psgd.load_record(muon.to_record()).is_err());
    assert_eq!(psgd.to_record(), before);
}

#[test]
fn burns_optimizer_refuses_what_it_cannot_do() {
    let model = Ranked::new(&Device::flex().autodiff(), DType::F32);
    let newton = PsgdKronConfig::new().with_fit(PsgdFit::Newton);
    let error = newton.module_optimizer(&model).err().expect("no Hessian");
    let error = error.to_string();
    assert!(
        error.contains("psgd-kron") && error.contains("closure optimizer"),
        "{error}"
    );
    let muon = PerParameter::new(MuonConfig::new().rule().unwrap()).unwrap();
    assert!(muon.with_non_finite(NonFinitePolicy::Error).is_err());
    let policy = StepPolicy::new().with_clip_norm(Some(1.0));
    assert!(
        MuonConfig::new()
            .init()
            .unwrap()
            .with_policy(policy)
            .is_ok()
    );
}

#[test]
fn settings_out_of_range_are_named() {
    let message = |result: Result<(), osculate_optim::ConfigError>| {
        result.expect_err("out of range").to_string()
    };
    let error = message(PsgdKronConfig::new().with_momentum(1.0).validate());
    assert!(error.contains("PsgdKronConfig: momentum = 1"), "{error}");
    let error = message(PsgdDiagonalConfig::new().with_damping(-1.0).validate());
    assert!(
        error.contains("PsgdDiagonalConfig: damping = -1"),
        "{error}"
    );
    let schedule = RefreshSchedule::Every { period: 0 };
    let error = message(PsgdLraConfig::new().with_schedule(schedule).validate());
    assert!(error.contains("period = 0"), "{error}");
    let error = message(MuonConfig::new().with_iterations(0).validate());
    assert!(error.contains("MuonConfig: iterations = 0"), "{error}");
}

#[test]
fn a_square_matrix_keeps_the_bytes_that_are_promised() {
    const SIDE: usize = 128;
    let device = Device::flex().autodiff();
    let ratio = |mut optimizer: Box<dyn ClosureOptimizer<Single<2>>>| {
        let values: Vec<f64> = (0..SIDE * SIDE).map(|i| (i as f64).sin()).collect();
        let model = Single::<2>::new([SIDE, SIDE], &values, (&device, DType::F32));
        let loss = |model: &Single<2>| model.weight.val().square().sum();
        optimizer.step(LR, model, &loss).expect("a step");
        optimizer.state_bytes() as f64 / (SIDE * SIDE * 4) as f64
    };
    let kron = PsgdKronConfig::new();
    assert!(ratio(Box::new(kron.init().unwrap())) < 2.01);
    let half = kron.clone().with_half_factors(true);
    assert!(ratio(Box::new(half.init().unwrap())) < 1.51);
    let bare = kron.with_momentum(0.0);
    assert!(ratio(Box::new(bare.init().unwrap())) < 1.01);
    assert!(ratio(Box::new(MuonConfig::new().init().unwrap())) <= 1.0);
    let half = MuonConfig::new().with_half_momentum(true);
    assert!(ratio(Box::new(half.init().unwrap())) <= 0.5);
}
