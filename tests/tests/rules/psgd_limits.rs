//! What PSGD's preconditioners converge to, and the limits in which it is another method.

use burn::optim::SgdConfig;
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::{
    ClosureOptimizer, Driver, PsgdDenseConfig, PsgdDiagonalConfig, PsgdFit, PsgdGeometry,
    PsgdKronConfig, PsgdLraConfig, RefreshSchedule, StatefulOptimizer,
};
use osculate_tests::single::{GRADIENTS, START, Single, linear};
use rstest::rstest;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Deterministic standard normal numbers, by Box and Muller.
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// `P x` of the preconditioner of a model: a step of unit length on a copy, before its own update.
fn preconditioned<const D: usize>(optimizer: &Driver, model: &Single<D>, x: &[f64]) -> Vec<f64> {
    let model = Single::<D> {
        weight: model.weight.clone().map(|w| w.zeros_like().require_grad()),
    };
    let loss = |model: &Single<D>| with_gradient(model, x);
    let step = optimizer.clone().step(1.0, model, &loss).expect("a step");
    step.model.values().iter().map(|x| -x).collect()
}

fn with_gradient<const D: usize>(model: &Single<D>, gradient: &[f64]) -> Tensor<1> {
    let w = model.weight.val();
    let data = TensorData::new(gradient.to_vec(), w.shape());
    let gradient = Tensor::<D>::from_data(data, (&w.device(), w.dtype()));
    (w * gradient).sum()
}

/// Diagonals of a Hessian, of both signs.
const CURVATURES: [f64; 6] = [4.0, 0.5, -1.5, 8.0, 0.8, -3.0];

/// Step sizes of the preconditioner with their numbers of steps: falling, as a descent on noisy
/// gradients needs. The state goes from one to the next by its record.
type Stages = [(f64, usize); 3];

fn next_stage(mut optimizer: Driver, last: Option<Driver>) -> Driver {
    if let Some(last) = last {
        optimizer
            .load_record(last.to_record())
            .expect("a record of the same method");
    }
    optimizer
}

/// Fits the preconditioner to a diagonal Hessian and returns how far it is from `|H|⁻¹`, relative to it.
fn distance_from_inverse_hessian(
    make: impl Fn(f64) -> Driver,
    stages: Stages,
    curvatures: [f64; 6],
) -> f64 {
    let at = (&device(), DType::F64);
    let mut model = Single::<1>::new([6], &[0.0; 6], at);
    let loss = |model: &Single<1>| {
        let w = model.weight.val();
        let data = TensorData::new(curvatures.to_vec(), [6]);
        let h = Tensor::<1>::from_data(data, (&w.device(), w.dtype()));
        (w.square() * h).sum().mul_scalar(0.5)
    };
    let mut last = None;
    for (lr, steps) in stages {
        let mut optimizer = next_stage(make(lr), last);
        for _ in 0..steps {
            model = optimizer.step(0.0, model, &loss).expect("a step").model;
        }
        last = Some(optimizer);
    }
    let optimizer = last.expect("three stages");
    let diagonal = preconditioned(&optimizer, &model, &[1.0; 6]);
    assert_eq!(diagonal.len(), curvatures.len());
    let distances = diagonal.iter().zip(curvatures);
    let distances = distances.map(|(p, h)| (p * h.abs() - 1.0).abs());
    let distances: Vec<f64> = distances.collect();
    // The maximum would pass over a NaN.
    assert!(distances.iter().all(|one| one.is_finite()), "{distances:?}");
    distances.into_iter().fold(0.0, f64::max)
}

/// The same for curvatures of one sign, at whose `|H|⁻¹` every single product fits exactly and no noise is
/// left, and for those of both signs, where products of two directions of opposite sign never fit and the
/// fit wanders by the last stage's step size.
fn learns_inverse_hessian(make: impl Fn(f64) -> Driver, (what, wander): (&str, f64)) {
    const STAGES: Stages = [(0.3, 800), (0.05, 1500), (0.01, 3000)];
    const FINER: Stages = [(0.3, 800), (0.05, 1500), (0.002, 8000)];
    let one_sign = distance_from_inverse_hessian(&make, STAGES, CURVATURES.map(f64::abs));
    assert!(one_sign < 1e-3, "{what}, one sign: {one_sign}");
    let both = distance_from_inverse_hessian(&make, FINER, CURVATURES);
    assert!(both < wander, "{what}, both signs: {both}");
}

/// Settings under which a step is made of the preconditioner alone.
macro_rules! bare {
    ($config:expr) => {
        $config
            .with_fit(PsgdFit::Newton)
            .with_momentum(0.0)
            .with_clip_rms(None)
            .with_clip_element(None)
            .with_update_first(false)
    };
}

#[test]
fn newton_learns_the_inverse_of_a_diagonal_hessian() {
    let make = |lr| {
        let config = bare!(PsgdDiagonalConfig::new()).with_lr_preconditioner(lr);
        config.init().unwrap()
    };
    learns_inverse_hessian(make, ("diagonal", 1e-3));
    let make = |lr| {
        let config = bare!(PsgdLraConfig::new()).with_rank(0);
        config.with_lr_preconditioner(lr).init().unwrap()
    };
    learns_inverse_hessian(make, ("rank 0", 1e-3));
}

#[rstest]
#[case::eq(PsgdGeometry::Eq)]
#[case::qep(PsgdGeometry::Qep)]
#[case::qeq(PsgdGeometry::Qeq)]
#[case::q05eq15(PsgdGeometry::Q05Eq15)]
#[case::quad(PsgdGeometry::Quad)]
#[case::quad4p(PsgdGeometry::Quad4p)]
#[case::pro4p(PsgdGeometry::Pro4p)]
fn dense_newton_learns_the_inverse_of_a_diagonal_hessian(#[case] geometry: PsgdGeometry) {
    let make = |lr| {
        let config = bare!(PsgdDenseConfig::new()).with_geometry(geometry);
        config.with_lr_preconditioner(lr).init().unwrap()
    };
    learns_inverse_hessian(make, (&format!("{geometry:?}"), 0.1));
}

/// Fits to gradients `A X B` for normal `X`, and compares the second moment of `P g` with the
/// identity.
fn whitens(make: impl Fn(f64) -> Driver, what: &str) {
    const STAGES: Stages = [(0.1, 1500), (0.02, 1500), (0.005, 2500)];
    let mut normal = Normal(7);
    // Lower triangular mixes: the covariance is their Kronecker product, with itself transposed.
    let a = [[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.4, 0.3, 0.2]];
    let b = [[0.8, 0.0, 0.0], [0.5, 1.5, 0.0], [0.2, -0.7, 0.4]];
    let mut draw = || {
        let x: Vec<f64> = (0..9).map(|_| normal.next()).collect();
        let mut g = vec![0.0; 9];
        for (i, g) in g.iter_mut().enumerate() {
            for j in 0..9 {
                *g += a[i / 3][j / 3] * x[j] * b[i % 3][j % 3];
            }
        }
        g
    };
    let at = (&device(), DType::F64);
    let mut model = Single::<2>::new([3, 3], &[0.0; 9], at);
    let mut last = None;
    for (lr, steps) in STAGES {
        let mut optimizer = next_stage(make(lr), last);
        for _ in 0..steps {
            let g = draw();
            let loss = |model: &Single<2>| with_gradient(model, &g);
            model = optimizer.step(0.0, model, &loss).expect("a step").model;
        }
        last = Some(optimizer);
    }
    let optimizer = last.expect("three stages");
    // P by its columns, then the moment over fresh gradients on the host.
    let columns: Vec<Vec<f64>> = (0..9)
        .map(|j| {
            let unit: Vec<f64> = (0..9).map(|i| f64::from(i == j)).collect();
            preconditioned(&optimizer, &model, &unit)
        })
        .collect();
    const SAMPLES: usize = 20_000;
    let mut moment = [[0.0; 9]; 9];
    for _ in 0..SAMPLES {
        let g = draw();
        let white: Vec<f64> = (0..9)
            .map(|i| (0..9).map(|j| columns[j][i] * g[j]).sum())
            .collect();
        for i in 0..9 {
            for j in 0..9 {
                moment[i][j] += white[i] * white[j] / SAMPLES as f64;
            }
        }
    }
    let mut defect = 0.0;
    for (i, row) in moment.iter().enumerate() {
        for (j, x) in row.iter().enumerate() {
            defect += (x - f64::from(i == j)).powi(2);
        }
    }
    let defect = (defect / 9.0f64).sqrt();
    assert!(defect < 0.2, "{what}: {defect}");
}

#[test]
fn whitened_gradients_have_the_identity_for_second_moment() {
    for geometry in [
        PsgdGeometry::Eq,
        PsgdGeometry::Q05Eq15,
        PsgdGeometry::Quad,
        PsgdGeometry::Quad4p,
    ] {
        let kron = PsgdKronConfig::new()
            .with_geometry(geometry)
            .with_momentum(0.0)
            .with_clip_rms(None)
            .with_clip_element(None)
            .with_update_first(false);
        let make = |lr| {
            let config = kron.clone().with_lr_preconditioner(lr);
            config.init().unwrap()
        };
        whitens(make, &format!("kron, {geometry:?}"));
    }
    let dense = PsgdDenseConfig::new()
        .with_fit(PsgdFit::Whitening)
        .with_momentum(0.0)
        .with_clip_rms(None)
        .with_clip_element(None)
        .with_update_first(false);
    let make = |lr| {
        let config = dense.clone().with_lr_preconditioner(lr);
        config.init().unwrap()
    };
    whitens(make, "dense");
}

#[test]
fn an_identity_for_preconditioner_is_sgd() {
    let at = (&device(), DType::F64);
    // The first update is due at the first step only, and comes after the preconditioner's use.
    let config = PsgdKronConfig::new()
        .with_init_scale(Some(1.0))
        .with_lr_preconditioner(1e-300)
        .with_momentum(0.0)
        .with_clip_rms(None)
        .with_clip_element(None);
    let mut psgd = config.init().unwrap();
    let mut sgd = Driver::from(SgdConfig::new().init());
    let mut a = Single::<2>::new([2, 3], &START, at);
    let mut b = a.clone();
    for gradient in &GRADIENTS {
        let loss = |model: &Single<2>| linear(model, gradient);
        a = psgd.step(0.1, a, &loss).unwrap().model;
        b = sgd.step(0.1, b, &loss).unwrap().model;
        for (a, b) in a.values().iter().zip(b.values()) {
            assert!((a - b).abs() < 1e-12, "{a} against {b}");
        }
    }
}

#[test]
fn a_first_gradient_of_zero_is_no_start() {
    let at = (&device(), DType::F32);
    for geometry in [PsgdGeometry::Quad, PsgdGeometry::Eq, PsgdGeometry::Q05Eq15] {
        let config = PsgdKronConfig::new().with_geometry(geometry);
        let mut late = config.init().unwrap();
        let mut model = Single::<2>::new([2, 3], &START, at);
        for _ in 0..5 {
            let zero = |model: &Single<2>| linear(model, &[0.0; 6]);
            model = late.step(0.1, model, &zero).unwrap().model;
            assert_eq!(
                model.values(),
                Single::<2>::new([2, 3], &START, at).values(),
                "{geometry:?}"
            );
        }
        let loss = |model: &Single<2>| linear(model, &GRADIENTS[0]);
        let after = late.step(0.1, model, &loss).unwrap().model.values();
        // It starts as one without the zeros does, but for the damping's signs.
        let mut fresh = config.init().unwrap();
        let model = Single::<2>::new([2, 3], &START, at);
        let want = fresh.step(0.1, model, &loss).unwrap().model.values();
        for (got, want) in after.iter().zip(want) {
            assert!((got - want).abs() < 1e-2, "{geometry:?}: {got}, {want}");
            assert!(got.is_finite());
        }
    }
}

#[test]
fn updates_between_two_refreshes_leave_the_preconditioner() {
    let at = (&device(), DType::F64);
    let config = PsgdKronConfig::new().with_schedule(RefreshSchedule::Every { period: 4 });
    let mut optimizer = config.init().unwrap();
    let mut model = Single::<2>::new([2, 3], &START, at);
    for step in 0..9 {
        let loss = |model: &Single<2>| linear(model, &GRADIENTS[step % 4]);
        let made = optimizer.step(0.1, model, &loss).unwrap();
        assert_eq!(made.report.curvature_age(), Some(step % 4));
        model = made.model;
    }
}
