//! Trajectories on P3 against numbers that were computed independently, through the public API.

use std::sync::Arc;

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{ModuleOptimizer, SgdConfig};
use burn::tensor::{DType, Device, Tensor};
use osculate_curvature::{Criterion, Drawing, Objective, ParamVec};
use osculate_optim::{
    AdaHessianConfig, Amp, Asam, Awp, ClosureOptimizer, CustomDiagonal, DiagonalRequest,
    EntropySgd, FastGam, Gam, Gsam, Hutchinson, LookSam, MatrixAveraging, PerpGrad, ProbeFn, Sam,
    SophiaConfig, SophiaSchedule,
};
use osculate_problems::closed_form::{ClosedForm, P3, P3Point, TensorProblem};
use osculate_tests::matrix::trajectories;
use osculate_tests::on_every_backend;

fn expected(name: &str) -> Vec<Vec<f64>> {
    let files = [
        include_str!("../../data/sharpness.json"),
        include_str!("../../data/filters.json"),
        include_str!("../../data/diagonal.json"),
    ];
    files
        .into_iter()
        .flat_map(trajectories)
        .find(|(key, _)| key == name)
        .expect("a known entry")
        .1
}

/// The base optimizer of all entries of the sharpness family.
fn sgd() -> ModuleOptimizer {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(WeightDecayConfig::new(0.01)))
        .init()
}

type Subject = Box<dyn ClosureOptimizer<P3Point>>;

/// Follows an optimizer along the expected trajectory. `objective` makes the loss of a step at the
/// present variables.
fn follow(
    name: &str,
    mut optimizer: Subject,
    lr: f64,
    (device, dtype): (&Device, DType),
    objective: impl Fn(usize, &[f64]) -> Box<dyn Objective<P3Point>>,
) {
    let tolerance = if dtype == DType::F64 { 1e-5 } else { 1e-4 };
    let mut point = P3.point(&P3.start(), device, dtype);
    for (step, want) in expected(name).into_iter().enumerate() {
        let loss = objective(step, &P3.flatten(&point));
        point = optimizer
            .step(lr, point, loss.as_ref())
            .expect("a step")
            .model;
        for (got, want) in P3.flatten(&point).iter().zip(&want) {
            assert!(
                (got - want).abs() <= tolerance,
                "{name}, step {}: {got} instead of {want}",
                step + 1
            );
        }
    }
}

fn p3(_: usize, _: &[f64]) -> Box<dyn Objective<P3Point>> {
    Box::new(|point: &P3Point| P3.tensor_loss(point))
}

fn sharpness(name: &str, optimizer: Subject, at: (&Device, DType)) {
    follow(name, optimizer, 0.1, at, p3);
}

macro_rules! oracle {
    ($name:ident, $check:expr) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                let check: fn((&Device, DType)) = $check;
                check((device, dtype))
            });
        }
    };
}

oracle!(sam, |at| {
    let config = Sam::new(0.05);
    sharpness("sam", Box::new(config.over(sgd()).unwrap()), at);
});

oracle!(sam_adaptive, |at| {
    let config = Asam::new(0.5)
        .with_eta(0.0)
        .with_scaled(Some(ParamGroup::all()));
    sharpness("sam_adaptive", Box::new(config.over(sgd()).unwrap()), at);
});

oracle!(asam, |at| {
    let config = Asam::new(0.5).with_eta(0.01);
    sharpness("asam", Box::new(config.over(sgd()).unwrap()), at);
});

oracle!(asam_all_scaled, |at| {
    let config = Asam::new(0.5).with_scaled(Some(ParamGroup::all()));
    sharpness("asam_all_scaled", Box::new(config.over(sgd()).unwrap()), at);
});

oracle!(gsam_small, |at| {
    let config = Gsam::new(0.05).with_alpha(0.4);
    sharpness("gsam_small", Box::new(config.over(sgd()).unwrap()), at);
});

oracle!(gsam, |at| {
    let config = Gsam::new(0.5).with_rho_min(0.5).with_alpha(0.7);
    sharpness("gsam", Box::new(config.over(sgd()).unwrap()), at);
});

fn looksam_config() -> LookSam {
    LookSam::new(0.5).with_period(2).with_alpha(0.7)
}

oracle!(looksam, |at| {
    sharpness(
        "looksam",
        Box::new(looksam_config().over(sgd()).unwrap()),
        at,
    );
});

oracle!(looksam_per_tensor, |at| {
    let config = looksam_config().with_per_tensor(true);
    sharpness(
        "looksam_per_tensor",
        Box::new(config.over(sgd()).unwrap()),
        at,
    );
});

oracle!(gam, |at| {
    sharpness("gam", Box::new(Gam::new(0.2).over(sgd()).unwrap()), at);
});

oracle!(fast_gam, |at| {
    sharpness(
        "fast_gam",
        Box::new(FastGam::new(0.2).over(sgd()).unwrap()),
        at,
    );
});

oracle!(amp, |at| {
    sharpness("amp", Box::new(Amp::new(0.5).over(sgd()).unwrap()), at);
});

oracle!(amp_global, |at| {
    let config = Amp::new(0.5).with_per_tensor(false);
    sharpness("amp_global", Box::new(config.over(sgd()).unwrap()), at);
});

oracle!(amp_two_iterations, |at| {
    let config = Amp::new(0.5).with_iterations(2);
    sharpness(
        "amp_two_iterations",
        Box::new(config.over(sgd()).unwrap()),
        at,
    );
});

oracle!(awp, |at| {
    sharpness("awp", Box::new(Awp::new(0.01).over(sgd()).unwrap()), at);
});

oracle!(awp_at_perturbed, |at| {
    let config = Awp::new(0.01).with_decay_at_perturbed(0.01);
    sharpness(
        "awp_at_perturbed",
        Box::new(config.over(sgd()).unwrap()),
        at,
    );
});

oracle!(entropy_sgd, |at| {
    let config = EntropySgd::new()
        .with_length(2)
        .with_scope(0.03)
        .with_noise(0.0)
        .with_weight_decay(0.01);
    let optimizer = config.over(SgdConfig::new().init()).unwrap();
    follow("entropy_sgd", Box::new(optimizer), 1.0, at, |step, x| {
        let own = p3(step, x);
        Box::new(Drawing::new(own, |_| {
            Ok(Box::new(|point: &P3Point| P3.tensor_loss(point)))
        }))
    });
});

/// The base optimizer of the filters' entries.
fn plain_sgd() -> ModuleOptimizer {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    SgdConfig::new().with_momentum(Some(momentum)).init()
}

oracle!(perp_grad, |at| {
    let optimizer = PerpGrad::new().over(plain_sgd()).unwrap();
    sharpness("perp_grad", Box::new(optimizer), at);
});

oracle!(perp_grad_global, |at| {
    let config = PerpGrad::new().with_global(true).with_rescale(false);
    let optimizer = config.over(plain_sgd()).unwrap();
    sharpness("perp_grad_global", Box::new(optimizer), at);
});

oracle!(perp_grad_short, |at| {
    let config = PerpGrad::new().with_rescale(false);
    let optimizer = config.over(plain_sgd()).unwrap();
    sharpness("perp_grad_short", Box::new(optimizer), at);
});

oracle!(perp_grad_global_rescaled, |at| {
    let config = PerpGrad::new().with_global(true);
    let optimizer = config.over(plain_sgd()).unwrap();
    sharpness("perp_grad_global_rescaled", Box::new(optimizer), at);
});

#[test]
fn stable_max() {
    let device = Device::flex().autodiff();
    let targets = Tensor::<1, burn::tensor::Int>::from_data([1], &device);
    let criterion = Criterion::stable_max(targets);
    let want = expected("stable_max");
    let at = (&device, DType::F64);
    let outputs = Tensor::<2>::from_data([[1.0, 2.0, -1.0, 0.0]], at).require_grad();
    let loss = criterion.loss(outputs.clone()).unwrap();
    let gradient = outputs.grad(&loss.backward()).unwrap();
    let gradient: Vec<f64> = gradient.into_data().iter().collect();
    for (got, want) in gradient.iter().zip(&want[1]) {
        assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
    }
    let loss: f64 = loss.into_scalar();
    assert!((loss - want[2][0]).abs() < 1e-12, "{loss}");
}

/// Probes from a list, by step.
fn probes(list: &'static [[f64; 3]]) -> ProbeFn {
    Arc::new(move |layout, step| ParamVec::from_values(layout, &list[step as usize]))
}

const SIGNS: [[f64; 3]; 3] = [[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]];

fn adahessian(name: &str, config: &AdaHessianConfig, at: (&Device, DType)) {
    let config = config.clone().with_weight_decay(0.01);
    let optimizer = config
        .init()
        .unwrap()
        .with_curvature(Hutchinson::rademacher().with_probes(probes(&SIGNS)));
    follow(name, Box::new(optimizer), 0.15, at, p3);
}

oracle!(adahessian, |at| {
    adahessian("adahessian", &AdaHessianConfig::new(), at);
});

oracle!(adahessian_root, |at| {
    let config = AdaHessianConfig::new().with_hessian_power(0.5);
    adahessian("adahessian_root", &config, at);
});

oracle!(adahessian_rows, |at| {
    let config = AdaHessianConfig::new().with_matrix_averaging(MatrixAveraging::Row);
    adahessian("adahessian_rows", &config, at);
});

oracle!(adahessian_lazy, |at| {
    let config = AdaHessianConfig::new().with_period(3);
    adahessian("adahessian_lazy", &config, at);
});

/// Gradients of the Sophia entries, step by step.
const GRADIENTS: [[f64; 3]; 4] = [
    [0.3, -0.2, 1.0],
    [-0.1, -0.4, 0.5],
    [0.2, 0.1, -0.7],
    [0.05, -0.3, 0.2],
];
/// Gradients at sampled targets.
const SAMPLED: [[f64; 3]; 4] = [
    [0.4, -0.2, 0.9],
    [0.3, 0.7, -0.4],
    [-0.8, 0.5, 0.2],
    [0.1, 0.6, 0.3],
];
/// Normal probes.
const NORMALS: [[f64; 3]; 4] = [
    [0.5, -1.2, 0.8],
    [-0.3, 0.9, 1.5],
    [1.1, 0.2, -0.6],
    [-0.7, 0.4, 1.0],
];

/// A loss with the Hessian of P3 whose gradient at the present variables is the listed one.
fn with_gradient(step: usize, x: &[f64]) -> Box<dyn Objective<P3Point>> {
    let gradient = P3.gradient(x);
    let tilt: Vec<f64> = (0..3).map(|i| GRADIENTS[step][i] - gradient[i]).collect();
    Box::new(move |point: &P3Point| {
        let flat = Tensor::cat(vec![point.weight.val().reshape([2]), point.bias.val()], 0);
        let tilt = Tensor::<1>::from_data(
            burn::tensor::TensorData::new(tilt.clone(), [3]),
            (&flat.device(), flat.dtype()),
        );
        P3.tensor_loss(point) + (flat * tilt).sum()
    })
}

/// `240 ĝ ⊙ ĝ` for the listed gradients at sampled targets.
fn sampled_diagonal(
    request: &DiagonalRequest<'_>,
) -> Result<ParamVec, osculate_curvature::CurvatureError> {
    let squares = SAMPLED[request.step as usize].map(|g| 240.0 * g * g);
    Ok(ParamVec::from_values(request.gradient.layout(), &squares))
}

oracle!(sophia_g, |at| {
    let config = SophiaConfig::g().with_period(2);
    let optimizer = config
        .init()
        .unwrap()
        .with_curvature(CustomDiagonal::new(Arc::new(sampled_diagonal)));
    follow("sophia_g", Box::new(optimizer), 0.1, at, with_gradient);
});

oracle!(sophia_g_authors, |at| {
    let config = SophiaConfig::g()
        .with_gamma(0.04)
        .with_beta_1(0.965)
        .with_weight_decay(0.1)
        .with_period(2)
        .with_schedule(SophiaSchedule::AfterPeriod);
    let optimizer = config
        .init()
        .unwrap()
        .with_curvature(CustomDiagonal::new(Arc::new(sampled_diagonal)));
    follow(
        "sophia_g_authors",
        Box::new(optimizer),
        0.1,
        at,
        with_gradient,
    );
});

oracle!(sophia_h, |at| {
    let config = SophiaConfig::h()
        .with_gamma(0.1)
        .with_beta_2(0.9)
        .with_epsilon(0.02)
        .with_period(1);
    let optimizer = config
        .init()
        .unwrap()
        .with_curvature(Hutchinson::gaussian().with_probes(probes(&NORMALS)));
    follow("sophia_h", Box::new(optimizer), 0.1, at, with_gradient);
});

oracle!(sophia_h_optax, |at| {
    let config = SophiaConfig::h()
        .with_gamma(1.0)
        .with_beta_1(0.965)
        .with_beta_2(0.9)
        .with_epsilon(1e-8)
        .with_weight_decay(0.1)
        .with_period(2)
        .with_schedule(SophiaSchedule::AfterUpdate)
        .with_bias_correction(true);
    let optimizer = config
        .init()
        .unwrap()
        .with_curvature(Hutchinson::gaussian().with_probes(probes(&NORMALS)));
    follow(
        "sophia_h_optax",
        Box::new(optimizer),
        0.1,
        at,
        with_gradient,
    );
});

/// `|Hz|` of shape `[1, 2, 2, 2]` averaged over the last two dimensions.
#[test]
fn adahessian_averages_kernels() {
    use burn::module::{Module, Param, ParamId};

    #[derive(Module, Debug)]
    struct Kernel {
        weight: Param<Tensor<4>>,
    }
    let device = Device::flex().autodiff();
    let weight = Tensor::<4>::zeros([1, 2, 2, 2], (&device, DType::F64)).require_grad();
    let model = Kernel {
        weight: Param::initialized(ParamId::new(), weight),
    };
    let curvature = [-3.0, 1.0, 2.0, -2.0, 4.0, -1.0, 0.0, 3.0];
    // With a gradient of one everywhere the first update is -lr / (D + epsilon).
    let mut optimizer = AdaHessianConfig::new()
        .with_epsilon(1e-12)
        .init()
        .unwrap()
        .with_curvature(CustomDiagonal::new(Arc::new(
            move |request: &DiagonalRequest<'_>| {
                Ok(ParamVec::from_values(request.gradient.layout(), &curvature))
            },
        )));
    let loss = |model: &Kernel| model.weight.val().sum();
    let model = optimizer.step(1.0, model, &loss).unwrap().model;
    let moved: Vec<f64> = model.weight.val().into_data().iter::<f64>().collect();
    let want = &expected("adahessian_conv_block")[0];
    for (index, moved) in moved.iter().enumerate() {
        let mean = -1.0 / moved;
        assert!((mean - want[index / 4]).abs() < 1e-9, "{mean}");
    }
}
