//! Whole optimizer steps in units of AdamW's, gradients included.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on stops"
)]
#![allow(missing_docs, reason = "a benchmark has no public items")]
#![allow(clippy::print_stdout, reason = "a benchmark shows its results")]

use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;
use criterion::Criterion;
use osculate_benches::loops::{Pace, burn_loop, closure_loop};
use osculate_benches::ratios::{Case, Ratios};
use osculate_benches::workload::{conv_net, device, mlp, transformer};
use osculate_curvature::{Objective, Supervised};
use osculate_optim::{AdaHessianConfig, Driver, LookSam, Sam, SophiaConfig};

/// A unit of work is the period of the methods that do something special now and then.
const PACE: Pace = Pace {
    steps: 10,
    lr: 1e-4,
};

fn adamw() -> ModuleOptimizer {
    AdamWConfig::new().init()
}

fn sgd() -> ModuleOptimizer {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    SgdConfig::new().with_momentum(Some(momentum)).init()
}

fn race<M: Module, F: Fn(&M) -> Tensor<2>>(
    criterion: &mut Criterion,
    ratios: &mut Ratios,
    name: &str,
    (model, objective): (M, Supervised<F>),
) {
    let objective: &dyn Objective<M> = &objective;
    let model = &model;
    let sam = Sam::new(0.05).over(adamw()).expect("valid");
    let looksam = LookSam::new(0.05).over(adamw()).expect("valid");
    let adahessian = AdaHessianConfig::new().init().expect("valid");
    let sophia_h = SophiaConfig::h().init().expect("valid");
    let sophia_g = SophiaConfig::g().init().expect("valid");
    let cases = vec![
        Case::new(
            "adamw, closure optimizer",
            closure_loop(PACE, Driver::from(adamw()), model, objective),
        ),
        Case::new(
            "sgd, closure optimizer",
            closure_loop(PACE, Driver::from(sgd()), model, objective),
        ),
        Case::new("sam", closure_loop(PACE, sam, model, objective)).at_most(2.2),
        Case::new(
            "looksam, every 5",
            closure_loop(PACE, looksam, model, objective),
        ),
        Case::new(
            "adahessian",
            closure_loop(PACE, adahessian, model, objective),
        ),
        Case::new(
            "sophia-h, every 10",
            closure_loop(PACE, sophia_h, model, objective),
        )
        .at_most(1.25),
        Case::new(
            "sophia-g, every 10",
            closure_loop(PACE, sophia_g, model, objective),
        )
        .at_most(1.25),
    ];
    let reference = burn_loop(PACE, adamw(), model, objective);
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
        "\n{} steps each, gradients included\n{}",
        PACE.steps,
        ratios.table("AdamW in burn's loop")
    );
}
