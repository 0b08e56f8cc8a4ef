//! Whole optimizer steps in units of AdamW's, gradients included.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on stops"
)]
#![allow(missing_docs, reason = "a benchmark has no public items")]
#![allow(clippy::print_stdout, reason = "a benchmark shows its results")]

use std::cell::RefCell;

use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;
use criterion::Criterion;
use osculate_benches::ratios::{Case, Ratios};
use osculate_benches::workload::{conv_net, device, mlp, transformer};
use osculate_curvature::{Objective, Supervised};
use osculate_optim::{AdaHessianConfig, ClosureOptimizer, Driver, LookSam, Sam, SophiaConfig};

/// Steps in one unit of work: the period of the methods that do something special now and then.
const STEPS: usize = 10;
const LR: f64 = 1e-4;

fn adamw() -> ModuleOptimizer {
    AdamWConfig::new().init()
}

fn sgd() -> ModuleOptimizer {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    SgdConfig::new().with_momentum(Some(momentum)).init()
}

/// AdamW in burn's own loop, without any of this project's code.
fn burn_loop<'a, M: Module>(
    model: &M,
    objective: &'a dyn Objective<M>,
) -> impl FnMut() + use<'a, M> {
    let mut optimizer = adamw();
    let mut model = Some(model.clone());
    move || {
        for _ in 0..STEPS {
            let Some(current) = model.take() else { return };
            let loss = objective.loss(&current).expect("a loss");
            let gradients = GradientsParams::from_grads(loss.backward(), &current);
            model = Some(optimizer.step(LR, current, gradients));
        }
    }
}

fn steps<'a, M: Module>(
    mut optimizer: impl ClosureOptimizer<M> + 'a,
    model: &M,
    objective: &'a dyn Objective<M>,
) -> impl FnMut() + 'a {
    let model = RefCell::new(Some(model.clone()));
    move || {
        for _ in 0..STEPS {
            let Some(current) = model.take() else { return };
            let step = optimizer.step(LR, current, objective).expect("a step");
            model.replace(Some(step.model));
        }
    }
}

fn race<M: Module, F: Fn(&M) -> Tensor<2>>(
    criterion: &mut Criterion,
    ratios: &mut Ratios,
    name: &str,
    (model, objective): (M, Supervised<F>),
) {
    let objective: &dyn Objective<M> = &objective;
    let sam = Sam::new(0.05).over(adamw()).expect("valid");
    let looksam = LookSam::new(0.05).over(adamw()).expect("valid");
    let adahessian = AdaHessianConfig::new().init().expect("valid");
    let sophia_h = SophiaConfig::h().init().expect("valid");
    let sophia_g = SophiaConfig::g().init().expect("valid");
    let cases = vec![
        Case::new(
            "adamw, closure optimizer",
            steps(Driver::from(adamw()), &model, objective),
        ),
        Case::new(
            "sgd, closure optimizer",
            steps(Driver::from(sgd()), &model, objective),
        ),
        Case::new("sam", steps(sam, &model, objective)).at_most(2.2),
        Case::new("looksam, every 5", steps(looksam, &model, objective)),
        Case::new("adahessian", steps(adahessian, &model, objective)),
        Case::new("sophia-h, every 10", steps(sophia_h, &model, objective)).at_most(1.25),
        Case::new("sophia-g, every 10", steps(sophia_g, &model, objective)).at_most(1.25),
    ];
    let reference = burn_loop(&model, objective);
    ratios.compare(criterion, name, ("adamw, burn's loop", reference), cases);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut ratios = Ratios::default();
    let device = device();
    race(&mut criterion, &mut ratios, "mlp", mlp(&device));
    race(&mut criterion, &mut ratios, "conv net", conv_net(&device));
    race(
        &mut criterion,
        &mut ratios,
        "transformer block",
        transformer(&device),
    );
    criterion.final_summary();
    println!(
        "\n{STEPS} steps each, gradients included\n{}",
        ratios.table("AdamW in burn's loop")
    );
}
