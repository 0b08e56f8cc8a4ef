//! Limits in which Shampoo, SOAP and KL-Shampoo are other methods or known statistics; their state's
//! size and their settings.

use burn::tensor::{DType, Device};
use osculate_optim::{
    ClosureOptimizer, EigenSolver, ExponentOverride, Grafting, KlShampooConfig, KlSoapConfig,
    RefreshSchedule, RootSolver, ShampooConfig, ShampooForm, SoapConfig, StatefulOptimizer,
};
use osculate_tests::matrix::{Door, Matrix, tensor, tilted};

type Make = fn() -> Box<dyn ClosureOptimizer<Matrix>>;

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
    let mut model = Matrix::new(shape, &start, (&device, dtype));
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
        let none = config.clone().with_max_dim(0).init().unwrap();
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
        let got = run(closure(kept.init().unwrap()), 0.01, shape, &whole, dtype);
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
            closure(config.init().unwrap()),
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
            closure(config.init().unwrap()),
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
    let mut optimizer = config.init().unwrap();
    let mut model = Matrix::new([4, 3], &[0.0; 12], at);
    // Gradients √12 A^½ e_i e_jᵀ B^½ in turn have the covariance exactly.
    for step in 0..2400 {
        let (i, j) = ((step * 5) % 12 / 3, (step * 5) % 3);
        let size = (12.0f64 * a[i] * b[j]).sqrt();
        let gradient: Vec<f64> = (0..12)
            .map(|at| size * u[at / 3][i] * v[at % 3][j])
            .collect();
        let gradient = tensor(&gradient, [4, 3], at);
        let loss = |model: &Matrix| tilted(model, &gradient);
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
        let model = Matrix::new([n, n], values, (&device, DType::F32));
        let loss = |model: &Matrix| model.weight.val().square().sum();
        optimizer.step(0.01, model, &loss).expect("a step");
        optimizer.state_bytes() as f64 / (4 * n * n) as f64
    };
    // A packed matrix has half an element more for each row, a basis may have eigenvalues, and
    // there is a handful of scalars.
    let slack = 3.5 / n as f64;
    let soap = SoapConfig::new();
    let shampoo = ShampooConfig::new();
    let kl = KlShampooConfig::new();
    let corrected = ShampooForm::EigenvalueCorrected(EigenSolver::Eigh);
    let cases: [(Box<dyn ClosureOptimizer<Matrix>>, f64); 10] = [
        (Box::new(soap.init().unwrap()), 5.0),
        (
            Box::new(soap.clone().with_bf16_bases(true).init().unwrap()),
            4.0,
        ),
        (Box::new(soap.with_one_sided(true).init().unwrap()), 3.5),
        (Box::new(shampoo.init().unwrap()), 4.0),
        (
            Box::new(
                shampoo
                    .clone()
                    .with_grafting(Grafting::None)
                    .init()
                    .unwrap(),
            ),
            3.0,
        ),
        (
            Box::new(shampoo.clone().with_bf16_roots(true).init().unwrap()),
            3.5,
        ),
        (
            Box::new(
                shampoo
                    .with_grafting(Grafting::None)
                    .with_form(corrected)
                    .init()
                    .unwrap(),
            ),
            5.0,
        ),
        (Box::new(kl.init().unwrap()), 4.0),
        (Box::new(kl.with_bf16_bases(true).init().unwrap()), 3.0),
        (Box::new(KlSoapConfig::new().init().unwrap()), 5.0),
    ];
    for (index, (optimizer, want)) in cases.into_iter().enumerate() {
        let got = bytes(optimizer);
        assert!(
            got <= want + slack && got > want - slack,
            "{index}: {got} {want}"
        );
    }
}

/// bf16 state survives a record bit for bit, on the backend that has it.
#[test]
fn a_run_with_bf16_state_resumes() {
    let gradients = waves([5, 4], 9);
    let device = Device::flex().autodiff();
    let advance = |optimizer: &mut dyn ClosureOptimizer<Matrix>, mut model, steps: &[Vec<f64>]| {
        for gradient in steps {
            let gradient = tensor(gradient, [5, 4], (&device, DType::F32));
            let loss = |model: &Matrix| tilted(model, &gradient);
            let step = optimizer.step_with(0.01.into(), model, &loss);
            model = step.expect("a step").model;
        }
        model
    };
    let make: [Make; 3] = [
        || Box::new(SoapConfig::new().with_bf16_bases(true).init().unwrap()),
        || {
            let config = ShampooConfig::new().with_bf16_roots(true).with_start(3);
            Box::new(config.with_period(2).init().unwrap())
        },
        || Box::new(KlShampooConfig::new().with_bf16_bases(true).init().unwrap()),
    ];
    for make in make {
        let start = || Matrix::new([5, 4], &waves([5, 4], 1)[0], (&device, DType::F32));
        let mut whole = make();
        let want = advance(whole.as_mut(), start(), &gradients).values();
        assert_ne!(want, start().values());
        for cut in 0..9 {
            let mut first = make();
            let half = advance(first.as_mut(), start(), &gradients[..cut]);
            let mut second = make();
            second
                .load_record(first.to_record())
                .expect("its own record");
            let resumed = advance(second.as_mut(), half, &gradients[cut..]);
            assert_eq!(resumed.values(), want, "cut at {cut}");
            assert_eq!(second.to_record(), whole.to_record(), "cut at {cut}");
        }
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
