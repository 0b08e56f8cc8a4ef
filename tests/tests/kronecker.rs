//! Shampoo, SOAP and the KL family on given gradients, against numbers that were computed
//! independently, through both doors of the public API.

use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::{
    ClosureOptimizer, EigenSolver, ExponentOverride, Grafting, KlShampooConfig, KlSoapConfig,
    RefreshSchedule, RootSolver, ShampooConfig, ShampooDecay, ShampooForm, SoapConfig,
    StatefulOptimizer,
};
use osculate_tests::on_every_backend;

/// A single matrix.
#[derive(Module, Debug)]
struct Matrix {
    weight: Param<Tensor<2>>,
}

type Trajectories = BTreeMap<String, Vec<Vec<f64>>>;

fn tensor(values: &[f64], shape: [usize; 2], (device, dtype): (&Device, DType)) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

impl Matrix {
    fn new(values: &[f64], shape: [usize; 2], at: (&Device, DType)) -> Self {
        let weight = tensor(values, shape, at).require_grad();
        Self {
            weight: Param::initialized(ParamId::new(), weight),
        }
    }

    /// A loss with this gradient, wherever the weight is.
    fn tilted(&self, gradient: &Tensor<2>) -> Tensor<1> {
        (self.weight.val() * gradient.clone()).sum()
    }

    fn values(&self) -> Vec<f64> {
        self.weight.val().into_data().iter::<f64>().collect()
    }
}

/// An optimizer behind one of the doors.
enum Door {
    Closure(Box<dyn ClosureOptimizer<Matrix>>),
    Burn(ModuleOptimizer),
}

impl Door {
    fn step(&mut self, lr: f64, model: Matrix, gradient: &Tensor<2>) -> Matrix {
        match self {
            Door::Closure(optimizer) => {
                let loss = |model: &Matrix| model.tilted(gradient);
                optimizer.step(lr, model, &loss).expect("a step").model
            }
            Door::Burn(optimizer) => {
                let gradients = model.tilted(gradient).backward();
                let gradients = GradientsParams::from_grads(gradients, &model);
                optimizer.step(lr, model, gradients)
            }
        }
    }
}

/// Follows the gradients and compares with the expected weights, from `first` on.
#[allow(clippy::too_many_arguments, reason = "one call in each of two places")]
fn follow(
    name: &str,
    mut door: Door,
    lr: f64,
    shape: [usize; 2],
    start: &[f64],
    gradients: &[Vec<f64>],
    expected: &[Vec<f64>],
    (device, dtype): (&Device, DType),
) {
    let tolerance = if dtype == DType::F64 { 1e-5 } else { 1e-4 };
    let mut model = Matrix::new(start, shape, (device, dtype));
    for (step, (gradient, want)) in gradients.iter().zip(expected).enumerate() {
        let gradient = tensor(gradient, shape, (device, dtype));
        model = door.step(lr, model, &gradient);
        for (got, want) in model.values().iter().zip(want) {
            assert!(
                (got - want).abs() <= tolerance * want.abs().max(1.0),
                "{name}, step {}: {got} instead of {want}",
                step + 1
            );
        }
    }
}

const START: [f64; 6] = [1.0, -2.0, 0.5, 0.3, 0.8, -1.0];
const GRADIENTS: [[f64; 6]; 4] = [
    [0.4, -0.3, 0.2, 0.1, 0.5, -0.6],
    [-0.2, 0.6, 0.1, 0.3, -0.1, 0.4],
    [0.5, 0.2, -0.4, -0.3, 0.2, 0.1],
    [0.1, -0.5, 0.3, 0.6, 0.4, 0.2],
];

macro_rules! oracle {
    ($name:ident, $config:expr) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                let text = include_str!("../data/kronecker.json");
                let all: Trajectories = serde_json::from_str(text).expect("valid JSON");
                let expected = &all[stringify!($name)];
                let gradients = GRADIENTS.map(|gradient| gradient.to_vec());
                let config = $config;
                for door in [
                    Door::Closure(Box::new(config.stacked().expect("valid"))),
                    Door::Burn(config.init().expect("valid")),
                ] {
                    let at = (device, dtype);
                    let name = stringify!($name);
                    follow(name, door, 0.1, [2, 3], &START, &gradients, expected, at);
                }
            });
        }
    };
}

/// The settings of the sheet's entries of distributed Shampoo.
fn shampoo() -> ShampooConfig {
    ShampooConfig::new()
        .with_epsilon(1e-4)
        .with_weight_decay(0.01)
        .with_grafting(Grafting::None)
        .with_period(1)
        .with_start(1)
        .with_staggered(false)
}

/// The settings of the sheet's entries of scalable Shampoo.
fn google() -> ShampooConfig {
    ShampooConfig::google()
        .with_weight_decay(0.01)
        .with_start(3)
}

fn period_2(config: ShampooConfig) -> ShampooConfig {
    config.with_period(2).with_start(2)
}

oracle!(shampoo, super::shampoo());
oracle!(
    shampoo_adagrad_l2,
    super::shampoo()
        .with_beta_2(1.0)
        .with_decay(ShampooDecay::L2)
);
oracle!(
    shampoo_exponent_half,
    super::shampoo().with_exponents(vec![ExponentOverride::new(2, 0.5)])
);
oracle!(
    shampoo_graft_adam,
    super::shampoo().with_grafting(Grafting::ADAM)
);
oracle!(
    shampoo_graft_adam_period_2,
    period_2(super::shampoo().with_grafting(Grafting::ADAM))
);
oracle!(shampoo_blocks, super::shampoo().with_block_size(2));
oracle!(shampoo_google_sgd, google());
oracle!(
    shampoo_google_rmsprop_normalized,
    google()
        .with_grafting(Grafting::RmsProp {
            beta: 0.999,
            epsilon: 1e-10,
        })
        .with_normalize_grafting(true)
        .with_update_momentum(
            google()
                .update_momentum
                .map(|momentum| momentum.with_weight(0.1))
        )
);
oracle!(
    shampoo_eigenvalue_corrected,
    period_2(
        super::shampoo()
            .with_beta_2(0.95)
            .with_epsilon(1e-8)
            .with_form(ShampooForm::EigenvalueCorrected(EigenSolver::Eigh))
    )
);

/// The settings of the sheet's entries of SOAP: the authors' defaults.
fn soap_every(period: usize) -> SoapConfig {
    SoapConfig::new()
        .with_refresh(RefreshSchedule::Every { period })
        .with_staggered(false)
}

oracle!(soap, soap_every(1));
oracle!(soap_period_2, soap_every(2));

macro_rules! trace {
    ($name:ident, $entry:literal, $config:expr) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                let text = include_str!("../data/kronecker_traces.json");
                let all: Trajectories = serde_json::from_str(text).expect("valid JSON");
                let (start, gradients) = (&all["start"][0], &all["gradients"]);
                let config = $config;
                for door in [
                    Door::Closure(Box::new(config.stacked().expect("valid"))),
                    Door::Burn(config.init().expect("valid")),
                ] {
                    let at = (device, dtype);
                    follow(
                        $entry,
                        door,
                        0.01,
                        [6, 5],
                        start,
                        gradients,
                        &all[$entry],
                        at,
                    );
                }
            });
        }
    };
}

/// The settings of the traces of Shampoo.
fn traced_shampoo() -> ShampooConfig {
    ShampooConfig::new()
        .with_epsilon(1e-6)
        .with_weight_decay(0.05)
        .with_period(5)
        .with_start(5)
        .with_staggered(false)
}

const EVERY_5: RefreshSchedule = RefreshSchedule::Every { period: 5 };

trace!(trace_shampoo, "shampoo", traced_shampoo());
trace!(
    trace_shampoo_half,
    "shampoo_half",
    traced_shampoo().with_exponents(vec![ExponentOverride::new(2, 0.5)])
);
// The same roots by other solvers, and in the form of eigenvalues and eigenvectors.
trace!(
    trace_shampoo_newton,
    "shampoo",
    traced_shampoo().with_form(ShampooForm::Root(RootSolver::CoupledNewton))
);
trace!(
    trace_shampoo_order_3,
    "shampoo",
    traced_shampoo().with_form(ShampooForm::Root(RootSolver::HigherOrder(3)))
);
trace!(
    trace_shampoo_eigen,
    "shampoo",
    traced_shampoo().with_form(ShampooForm::Eigen(EigenSolver::Eigh))
);
trace!(
    trace_shampoo_eigen_tolerance,
    "shampoo",
    traced_shampoo()
        .with_form(ShampooForm::Eigen(EigenSolver::Eigh))
        .with_tolerance(Some(1e-7))
);
trace!(
    trace_soap,
    "soap",
    SoapConfig::new()
        .with_weight_decay(0.05)
        .with_refresh(EVERY_5)
        .with_staggered(false)
);
trace!(
    trace_kl_shampoo,
    "kl_shampoo",
    KlShampooConfig::new()
        .with_weight_decay(0.05)
        .with_refresh(EVERY_5)
        .with_staggered(false)
);
trace!(
    trace_kl_soap,
    "kl_soap",
    KlSoapConfig::new()
        .with_weight_decay(0.05)
        .with_refresh(EVERY_5)
        .with_staggered(false)
);

/// Deterministic gradients of a shape.
fn waves(shape: [usize; 2], steps: usize) -> Vec<Vec<f64>> {
    let n = shape[0] * shape[1];
    (0..steps)
        .map(|t| {
            (0..n)
                .map(|i| ((i * 7 + t * 13) as f64 * 0.61).sin())
                .collect()
        })
        .collect()
}

fn run(
    mut door: Door,
    lr: f64,
    shape: [usize; 2],
    gradients: &[Vec<f64>],
    dtype: DType,
) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let start: Vec<f64> = waves(shape, 1).remove(0);
    let mut model = Matrix::new(&start, shape, (&device, dtype));
    for gradient in gradients {
        let gradient = tensor(gradient, shape, (&device, dtype));
        model = door.step(lr, model, &gradient);
    }
    model.values()
}

fn closure(optimizer: impl ClosureOptimizer<Matrix> + 'static) -> Door {
    Door::Closure(Box::new(optimizer))
}

fn assert_near(got: &[f64], want: &[f64], tolerance: f64) {
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
    }
}

/// burn's Adam without weight decay.
fn adam(beta_1: f32, beta_2: f32) -> Door {
    let config = burn::optim::AdamConfig::new()
        .with_beta_1(beta_1)
        .with_beta_2(beta_2)
        .with_epsilon(1e-12);
    Door::Burn(config.init())
}

#[test]
fn soap_in_the_identity_basis_is_adam() {
    let (shape, gradients) = ([3, 4], waves([3, 4], 20));
    let config = SoapConfig::new().with_epsilon(1e-12).with_weight_decay(0.0);
    for dtype in [DType::F32, DType::F64] {
        let want = run(adam(0.95, 0.95), 0.01, shape, &gradients, dtype);
        let none = config.clone().with_max_dim(0).stacked().unwrap();
        let got = run(closure(none), 0.01, shape, &gradients, dtype);
        assert_near(&got, &want, 1e-6);

        // A first gradient whose singular vectors are the axes makes the axes the bases, which are
        // then kept; it moves nothing itself.
        let axes: Vec<f64> = (0..12)
            .map(|i| {
                if i % 5 == 0 {
                    3.0 - (i / 5) as f64
                } else {
                    0.0
                }
            })
            .collect();
        let whole = [vec![axes], gradients.clone()].concat();
        let forever = RefreshSchedule::Every { period: 1_000_000 };
        let kept = config.clone().with_refresh(forever).with_staggered(false);
        let got = run(closure(kept.stacked().unwrap()), 0.01, shape, &whole, dtype);
        assert_near(&got, &want, 1e-6);
    }
}

#[test]
fn shampoo_before_its_start_is_its_graft() {
    let (shape, gradients) = ([3, 4], waves([3, 4], 20));
    let late = ShampooConfig::new().with_start(1000);
    let epsilon = 1e-12;
    let grafts: [(Grafting, Door); 3] = [
        (
            Grafting::Adam {
                beta: 0.999,
                epsilon,
            },
            adam(0.9, 0.999),
        ),
        (
            Grafting::AdaGrad { epsilon },
            Door::Burn(burn::optim::AdaGradConfig::new().with_epsilon(1e-12).init()),
        ),
        (
            Grafting::Sgd,
            Door::Burn(burn::optim::SgdConfig::new().init()),
        ),
    ];
    for (grafting, base) in grafts {
        let beta_1 = if matches!(grafting, Grafting::Adam { .. }) {
            0.9
        } else {
            0.0
        };
        let config = late.clone().with_grafting(grafting).with_beta_1(beta_1);
        let got = run(
            closure(config.stacked().unwrap()),
            0.01,
            shape,
            &gradients,
            DType::F64,
        );
        let want = run(base, 0.01, shape, &gradients, DType::F64);
        assert_near(&got, &want, 1e-6);
    }
}

/// With a ridge far above the factors every root is a multiple of the identity, so the direction is
/// the gradient's and its length the graft's.
#[test]
fn shampoo_of_identity_roots_is_grafted_momentum() {
    let (shape, gradients) = ([3, 4], waves([3, 4], 15));
    for (form, dtype) in [
        (ShampooForm::Root(RootSolver::Eigh), DType::F64),
        (ShampooForm::Root(RootSolver::CoupledNewton), DType::F64),
        (ShampooForm::Eigen(EigenSolver::Iteration(2)), DType::F32),
    ] {
        let config = ShampooConfig::new()
            .with_form(form)
            .with_epsilon(1e12)
            .with_beta_1(0.0)
            .with_grafting(Grafting::Sgd)
            .with_start(1)
            .with_period(1);
        let got = run(
            closure(config.stacked().unwrap()),
            0.1,
            shape,
            &gradients,
            dtype,
        );
        let base = Door::Burn(burn::optim::SgdConfig::new().init());
        let want = run(base, 0.1, shape, &gradients, dtype);
        assert_near(&got, &want, 1e-6);
    }
}

/// The state tensor of the only parameter's only block.
fn field(optimizer: &impl StatefulOptimizer, name: &str) -> Vec<f64> {
    let record = optimizer.to_record();
    let data = record.tensor(&format!("weight#0.{name}")).expect("a field");
    data.iter::<f64>().collect()
}

/// On a covariance `A ⊗ B` the factors of KL-Shampoo come to `S_L ⊗ S_R = A ⊗ B`, scale included.
#[test]
fn kl_shampoo_has_the_covariance_for_a_fixed_point() {
    let (a, b) = ([2.0, 1.0, 0.5, 0.25], [1.5, 0.7, 0.3]);
    // Rotations of two axes each, so that the bases are not the axes.
    let turn = |n: usize, angle: f64| {
        let mut q = vec![vec![0.0; n]; n];
        (0..n).for_each(|i| q[i][i] = 1.0);
        (q[0][0], q[0][1], q[1][0], q[1][1]) =
            (angle.cos(), -angle.sin(), angle.sin(), angle.cos());
        q
    };
    let (u, v) = (turn(4, 0.6), turn(3, -0.4));
    let device = Device::flex().autodiff();
    let at = (&device, DType::F64);
    let config = KlShampooConfig::new()
        .with_factor_beta(Some(0.995))
        .with_weight_decay(0.0);
    let mut optimizer = config.stacked().unwrap();
    let mut model = Matrix::new(&[0.0; 12], [4, 3], at);
    // Gradients √12 A^½ e_i e_jᵀ B^½ in turn have the covariance exactly.
    for step in 0..2400 {
        let (i, j) = ((step * 5) % 12 / 3, (step * 5) % 3);
        let size = (12.0f64 * a[i] * b[j]).sqrt();
        let gradient: Vec<f64> = (0..12)
            .map(|at| size * u[at / 3][i] * v[at % 3][j])
            .collect();
        let gradient = tensor(&gradient, [4, 3], at);
        let loss = |model: &Matrix| model.tilted(&gradient);
        model = optimizer.step(0.0, model, &loss).unwrap().model;
    }
    let product = |values: &[f64], q: &[Vec<f64>], i: usize, j: usize| -> f64 {
        values
            .iter()
            .enumerate()
            .map(|(k, value)| q[i][k] * value * q[j][k])
            .sum()
    };
    // The packed form of size 4 keeps elements (i, j), i ≥ j, j < 2, at row i + 1; (3, 3) at (1, 1).
    let (left, right) = (field(&optimizer, "factor0"), field(&optimizer, "factor1"));
    for (i, j) in [(0, 0), (1, 0), (1, 1), (2, 0), (3, 1)] {
        // Of size 3: (i, j), j < 2, at row i.
        for (k, l) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
            let got = left[(i + 1) * 2 + j] * right[k * 2 + l];
            let want = product(&a, &u, i, j) * product(&b, &v, k, l);
            assert!(
                (got - want).abs() < 0.15,
                "({i} {j}) ({k} {l}): {got} {want}"
            );
        }
    }
    let mut eigenvalues: Vec<f64> = field(&optimizer, "eigenvalues0")
        .iter()
        .flat_map(|l| {
            field(&optimizer, "eigenvalues1")
                .into_iter()
                .map(move |r| l * r)
        })
        .collect();
    let mut want: Vec<f64> = a
        .iter()
        .flat_map(|a| b.iter().map(move |b| a * b))
        .collect();
    eigenvalues.sort_by(f64::total_cmp);
    want.sort_by(f64::total_cmp);
    for (got, want) in eigenvalues.iter().zip(&want) {
        assert!((got / want - 1.0).abs() < 0.15, "{got} {want}");
    }
}

/// State elements for each parameter element of a square matrix.
#[test]
fn state_is_as_small_as_documented() {
    let n = 128;
    let bytes = |mut optimizer: Box<dyn ClosureOptimizer<Matrix>>| {
        let device = Device::flex().autodiff();
        let values = &waves([n, n], 1)[0];
        let model = Matrix::new(values, [n, n], (&device, DType::F32));
        let loss = |model: &Matrix| model.weight.val().square().sum();
        optimizer.step(0.01, model, &loss).expect("a step");
        optimizer.state_bytes() as f64 / (4 * n * n) as f64
    };
    // A packed factor has half an element more for each row, and there is a handful of scalars.
    let slack = 2.0 / n as f64;
    let soap = SoapConfig::new();
    let shampoo = ShampooConfig::new();
    let kl = KlShampooConfig::new();
    let corrected = ShampooForm::EigenvalueCorrected(EigenSolver::Eigh);
    let cases: [(Box<dyn ClosureOptimizer<Matrix>>, f64); 10] = [
        (Box::new(soap.stacked().unwrap()), 5.0),
        (
            Box::new(soap.clone().with_bf16_bases(true).stacked().unwrap()),
            4.0,
        ),
        (Box::new(soap.with_one_sided(true).stacked().unwrap()), 3.5),
        (Box::new(shampoo.stacked().unwrap()), 4.0),
        (
            Box::new(
                shampoo
                    .clone()
                    .with_grafting(Grafting::None)
                    .stacked()
                    .unwrap(),
            ),
            3.0,
        ),
        (
            Box::new(shampoo.clone().with_bf16_roots(true).stacked().unwrap()),
            3.5,
        ),
        (
            Box::new(
                shampoo
                    .with_grafting(Grafting::None)
                    .with_form(corrected)
                    .stacked()
                    .unwrap(),
            ),
            5.0,
        ),
        (Box::new(kl.stacked().unwrap()), 4.0),
        (Box::new(kl.with_bf16_bases(true).stacked().unwrap()), 3.0),
        (Box::new(KlSoapConfig::new().stacked().unwrap()), 5.0),
    ];
    for (index, (optimizer, want)) in cases.into_iter().enumerate() {
        let got = bytes(optimizer);
        assert!(
            got <= want + slack && got > want - slack,
            "{index}: {got} {want}"
        );
    }
}

#[test]
fn invalid_settings_are_refused_by_name() {
    let refused = |result: Result<(), osculate_optim::ConfigError>, field: &str| {
        assert_eq!(result.unwrap_err().field, field);
    };
    refused(SoapConfig::new().with_beta_1(1.0).validate(), "beta_1");
    refused(
        SoapConfig::new().with_block_size(Some(0)).validate(),
        "block_size",
    );
    let never = RefreshSchedule::Every { period: 0 };
    refused(SoapConfig::new().with_refresh(never).validate(), "period");
    refused(KlSoapConfig::new().with_clamp(f64::NAN).validate(), "clamp");
    refused(
        KlShampooConfig::new().with_target_rank(0).validate(),
        "target_rank",
    );
    let shampoo = ShampooConfig::new;
    refused(shampoo().with_beta_2(1.5).validate(), "beta_2");
    refused(shampoo().with_start(0).validate(), "start");
    refused(shampoo().with_tolerance(Some(0.1)).validate(), "tolerance");
    let third = vec![ExponentOverride::new(2, 0.3)];
    let newton = ShampooForm::Root(RootSolver::CoupledNewton);
    refused(
        shampoo()
            .with_form(newton)
            .with_exponents(third.clone())
            .validate(),
        "exponents.exponent",
    );
    assert!(shampoo().with_exponents(third).validate().is_ok());
    let corrected = ShampooForm::EigenvalueCorrected(EigenSolver::Eigh);
    refused(shampoo().with_form(corrected).validate(), "grafting");
    let still = ShampooForm::Eigen(EigenSolver::Iteration(0));
    refused(shampoo().with_form(still).validate(), "form.Iteration");
    assert!(ShampooConfig::google().validate().is_ok());
    assert!(ShampooConfig::adagrad().validate().is_ok());
}
