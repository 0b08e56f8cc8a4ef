//! Every optimizer of the registry on parameters in half precision: it moves them as it moves the same
//! weights in `F32`, or says what it left out.

use burn::module::{Module, Param, ParamId};
use burn::optim::{AdamWConfig, AdanConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{Criterion, Drawing, SupervisedBatch};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{
    ClosureOptimizer, Driver, NonFinitePolicy, SkipReason, StateRecord, StatefulOptimizer,
    StepErrorCause, StepPolicy,
};
use serde_json::json;

const STEPS: usize = 4;
const LR: f64 = 0.05;
const ROWS: usize = 4;
const COLUMNS: usize = 3;
const ELEMENTS: usize = ROWS * COLUMNS + COLUMNS;

/// The size of a gradient's elements, each times a power of two, so that half precision has them.
const GRADIENTS: [f64; 5] = [1e-8, 1.0, 300.0, 6e4, 0.0];

#[derive(Module, Debug)]
struct Net {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

impl Net {
    fn new(device: &Device, dtype: DType) -> Self {
        let at = (device, dtype);
        // Small weights: a step is many of their roundings.
        let value = |i: usize| 0.03125 * [1.0, -1.5, 0.5, 1.25][i % 4];
        let matrix = (0..ROWS * COLUMNS).map(value).collect::<Vec<_>>();
        let vector = (0..COLUMNS).map(value).collect::<Vec<_>>();
        let matrix = Tensor::<2>::from_data(TensorData::new(matrix, [ROWS, COLUMNS]), at);
        let vector = Tensor::<1>::from_data(TensorData::new(vector, [COLUMNS]), at);
        Self {
            matrix: Param::initialized(ParamId::new(), matrix.require_grad()),
            vector: Param::initialized(ParamId::new(), vector.require_grad()),
        }
    }

    /// All weights in `F64`, exactly.
    fn all(&self) -> Tensor<2> {
        let matrix = self.matrix.val().cast(DType::F64).reshape([-1]);
        let vector = self.vector.val().cast(DType::F64);
        Tensor::cat(vec![matrix, vector], 0).reshape([ELEMENTS, 1])
    }

    fn values(&self) -> Vec<f64> {
        self.all().into_data().iter().collect()
    }
}

/// A loss whose gradient at the model's weights is `size` times a pattern, as half precision has it.
fn step(
    optimizer: &mut dyn ClosureOptimizer<Net>,
    model: Net,
    size: f64,
    half: DType,
) -> osculate_optim::Step<Net> {
    let device = model.matrix.val().device().inner();
    let pattern = (0..ELEMENTS).map(|i| [1.0, -0.5, 0.25, 1.0, -1.0][i % 5]);
    let sizes: Vec<f64> = TensorData::new(vec![size], [1])
        .convert_dtype(half)
        .iter::<f64>()
        .collect();
    let gradient: Vec<f64> = pattern.map(|sign| sign * sizes[0]).collect();
    let at = (&device, DType::F64);
    let gradient = Tensor::<2>::from_data(TensorData::new(gradient, [ELEMENTS, 1]), at);
    // Directions of different curvature.
    let scales: Vec<f64> = (0..ELEMENTS).map(|i| [1.0, 2.0, 0.5][i % 3]).collect();
    let scales = Tensor::<2>::from_data(TensorData::new(scales, [ELEMENTS, 1]), at);
    let targets = model.all().inner() * scales.clone()
        - gradient.mul_scalar(ELEMENTS as f64 / 2.0) / scales.clone();
    let batch = move || {
        SupervisedBatch::new(
            scales.clone(),
            |model: &Net, scales: &Tensor<2>| model.all() * scales.clone(),
            Criterion::mse(targets.clone()),
        )
    };
    let objective = Drawing::new(Box::new(batch()), move |_| Ok(Box::new(batch())));
    optimizer
        .step_with(LR.into(), model, &objective)
        .expect("a step")
}

fn moves_as_its_copy(kind: OptimizerKind, dtype: DType) {
    let device = Device::flex().autodiff();
    for size in GRADIENTS {
        let what = format!("{kind}, {dtype:?}, gradients of {size}");
        let spec = OptimizerSpec::new(kind);
        let mut narrow = spec.make::<Net>(1).unwrap();
        let mut wide = spec.make::<Net>(1).unwrap();
        let (mut half, mut full) = (Net::new(&device, dtype), Net::new(&device, DType::F32));
        let mut allowed = [0.0; ELEMENTS];
        let start = half.values();
        for _ in 0..STEPS {
            let step_of_half = step(narrow.as_mut(), half, size, dtype);
            let step_of_full = step(wide.as_mut(), full, size, dtype);
            let skipped = step_of_half.report.skipped();
            (half, full) = (step_of_half.model, step_of_full.model);
            let (narrow, wide) = (half.values(), full.values());
            if [OptimizerKind::LOOKSAM, OptimizerKind::MOMENTUM_SAM].contains(&kind) {
                // One scales the difference of two rounded gradients up to the gradient's own length, the other a
                // rounded step to a length of its own.
                assert!(narrow.iter().all(|x| x.is_finite()), "{what}");
                continue;
            }
            if skipped != step_of_full.report.skipped() {
                // A step out of the range of the type is not made, and said. Gradients at its end leave it
                // where a method adds them up.
                let far = wide.iter().any(|x| x.abs() > 6e4);
                let updates = skipped.iter().all(|skip| skip.reason == SkipReason::Update);
                assert!(size == 6e4 || far && updates, "{what}: {skipped:?}");
                break;
            }
            let unit = if dtype == DType::F16 {
                2f64.powi(-11)
            } else {
                2f64.powi(-8)
            };
            for (i, (got, want)) in narrow.iter().zip(&wide).enumerate() {
                assert!(got.is_finite(), "{what}: {got}");
                // One rounding of the weight a step, and what the methods make of the last ones.
                allowed[i] += 2.0 * unit * want.abs().max(2f64.powi(-14));
                let moved = (want - start[i]).abs();
                let off = (got - want).abs();
                assert!(
                    off <= allowed[i] + 0.05 * moved,
                    "{what}: {got} against {want} from {}",
                    start[i]
                );
            }
        }
    }
}

fn every_row(dtype: DType) {
    // The orthogonal gradient refuses a squared error.
    let kinds = OptimizerKind::all().into_iter();
    let kinds = kinds.filter(|&kind| kind != OptimizerKind::PERP_GRAD);
    let failed = kinds.filter(|&kind| {
        // Its own message is printed as it fails; the others are tried all the same.
        std::panic::catch_unwind(|| moves_as_its_copy(kind, dtype)).is_err()
    });
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{dtype:?}: {failed:?}");
}

#[test]
fn every_row_of_the_registry_in_f16() {
    every_row(DType::F16);
}

#[test]
fn every_row_of_the_registry_in_bf16() {
    every_row(DType::BF16);
}

/// A step of Adan on a zero gradient in `F16` was not a number, and squares of 300 left its range.
#[test]
fn burns_state_is_in_f32() {
    let device = Device::flex().autodiff();
    for config in [
        Driver::from(AdanConfig::new().init()),
        Driver::from(AdamWConfig::new().init()),
    ] {
        for dtype in [DType::F16, DType::BF16] {
            let mut optimizer = config.clone();
            let mut model = Net::new(&device, dtype);
            for size in [0.0, 300.0, 300.0] {
                let before = model.values();
                let made = step(&mut optimizer, model, size, dtype);
                assert!(made.report.skipped().is_empty());
                model = made.model;
                let moved = before.iter().zip(model.values());
                let stood = moved.filter(|(a, b)| **a == *b).count();
                assert_eq!(stood == ELEMENTS, size == 0.0, "{dtype:?}, {size}");
            }
            assert_eq!(model.matrix.val().dtype(), dtype);

            // And it comes back, without a wrapper that keeps its type.
            let bytes = optimizer.to_record().to_bytes().unwrap();
            let mut resumed = config.clone();
            let record = StateRecord::from_bytes(bytes).unwrap();
            resumed.load_record(record).unwrap();
            let on = step(&mut optimizer, model.clone(), 300.0, dtype);
            let again = step(&mut resumed, model, 300.0, dtype);
            assert_eq!(on.model.values(), again.model.values());
        }
    }
}

/// A step that leaves the range of the type is not made, and said.
#[test]
fn steps_out_of_range_are_reported() {
    let device = Device::flex().autodiff();
    let model = || Net::new(&device, DType::F16);
    let loss = |model: &Net| model.vector.val().sum() + model.matrix.val().sum();
    let start = Net::new(&device, DType::F16).values();
    for name in ["adamw", "sgd", "adagrad", "lion", "muon", "soap"] {
        let driver = || {
            let spec: OptimizerSpec = name.parse().unwrap();
            spec.build(1).unwrap()
        };
        let made = driver().step(1e6, model(), &loss).unwrap();
        assert_eq!(made.model.values(), start, "{name}");
        let skipped = made.report.skipped();
        let update = skipped.iter().all(|skip| skip.reason == SkipReason::Update);
        assert!(update && !skipped.is_empty(), "{name}: {skipped:?}");

        let policy = StepPolicy::new().with_non_finite(NonFinitePolicy::Error);
        let mut strict = driver().with_policy(policy).unwrap();
        let before = strict.to_record();
        let error = strict.step(1e6, model(), &loss).unwrap_err();
        let StepErrorCause::NonFiniteUpdate { paths } = &error.cause else {
            panic!("{name}: {error:?}");
        };
        assert!(!paths.is_empty());
        assert_eq!(error.model.values(), start);
        assert_eq!(strict.to_record(), before, "{name}");
    }
}

/// burn's optimizers by name resume in `F64` too.
#[test]
fn burns_optimizers_by_name_resume_in_every_type() {
    let device = Device::flex().autodiff();
    for name in [
        "sgd", "adam", "adamw", "adagrad", "rmsprop", "adan", "lamb", "lion",
    ] {
        let spec: OptimizerSpec = name.parse().unwrap();
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            let mut optimizer = spec.build(1).unwrap();
            let mut model = Net::new(&device, dtype);
            for size in [1.0, 2.0] {
                model = step(&mut optimizer, model, size, DType::F32).model;
            }
            let mut resumed = spec.build(1).unwrap();
            let bytes = optimizer.to_record().to_bytes().unwrap();
            let record = StateRecord::from_bytes(bytes).unwrap();
            resumed.load_record(record).expect(name);
            let on = step(&mut optimizer, model.clone(), 0.5, DType::F32);
            let again = step(&mut resumed, model, 0.5, DType::F32);
            assert_eq!(on.model.values(), again.model.values(), "{name}, {dtype:?}");
            assert_eq!(optimizer.to_record(), resumed.to_record());
        }
    }
    let clipped = json!({ "gradient_clipping": { "Norm": 1e-3 } });
    let sgd: OptimizerSpec = "sgd".parse().unwrap();
    let spec = sgd.with_overrides(&clipped).unwrap();
    let model = Net::new(&device, DType::F32);
    let start = model.values();
    let made = step(&mut spec.build(1).unwrap(), model, 300.0, DType::F32);
    let moved = start.iter().zip(made.model.values());
    assert!(moved.into_iter().all(|(a, b)| (a - b).abs() < 1e-4));
}
