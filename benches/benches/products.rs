//! Curvature products and estimates in units of one gradient evaluation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on stops"
)]
#![allow(missing_docs, reason = "a benchmark has no public items")]
#![allow(clippy::print_stdout, reason = "a benchmark shows its results")]

use std::hint::black_box;

use burn::module::Module;
use burn::tensor::Tensor;
use criterion::Criterion;
use osculate_benches::ratios::{Case, Ratios};
use osculate_benches::workload::{conv_net, device, mlp, transformer};
use osculate_curvature::{
    CurvatureOperator, Fisher, FisherKind, GaussNewton, GradientOracle, Hessian, HessianConfig,
    Objective, ParamVec, Scheme, Supervised, gnb_sample,
};

/// What a training loop does to get a gradient, without any of this project's code.
fn gradient<M: Module>(model: &M, objective: &dyn Objective<M>) {
    let loss = objective.loss(model).expect("a loss");
    black_box(burn::optim::GradientsParams::from_grads(
        loss.backward(),
        model,
    ));
}

fn products<M: Module, F: Fn(&M) -> Tensor<2>>(
    criterion: &mut Criterion,
    ratios: &mut Ratios,
    name: &str,
    (model, objective): (M, Supervised<F>),
) {
    let oracle = GradientOracle::new(&model, &objective);
    let v = ParamVec::gaussian(&oracle.layout().expect("a gradient"), 7);
    let hessian = Hessian::new(&oracle).expect("a gradient");
    let forward = HessianConfig {
        scheme: Scheme::Forward,
        ..HessianConfig::default()
    };
    let forward = Hessian::with_config(&oracle, forward).expect("valid");
    let ggn = GaussNewton::new(&oracle).expect("supervised");
    let fisher = Fisher::new(&oracle, FisherKind::Empirical).expect("supervised");
    // The first product looks for its step; the others start from it.
    let operators: [&dyn CurvatureOperator; 4] = [&hessian, &forward, &ggn, &fisher];
    for operator in operators {
        operator.apply(&v).expect("a product");
    }
    let apply = |operator: &dyn CurvatureOperator| {
        black_box(operator.apply(&v).expect("a product"));
    };
    let cases = vec![
        Case::new("hvp, central", || apply(&hessian)).at_most(2.3),
        Case::new("hvp, forward", || apply(&forward)),
        Case::new("ggn_vp", || apply(&ggn)),
        Case::new("v'Gv", || {
            black_box(ggn.quadratic_form(&v).expect("a number"));
        }),
        Case::new("fisher_vp", || apply(&fisher)),
        Case::new("gnb diagonal", || {
            black_box(gnb_sample(&oracle, 1).expect("supervised"));
        }),
    ];
    let reference = || gradient(&model, &objective);
    ratios.compare(criterion, name, ("gradient", reference), cases);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut ratios = Ratios::default();
    let device = device();
    products(&mut criterion, &mut ratios, "mlp", mlp(&device));
    products(&mut criterion, &mut ratios, "conv net", conv_net(&device));
    products(
        &mut criterion,
        &mut ratios,
        "transformer block",
        transformer(&device),
    );
    criterion.final_summary();
    println!("\n{}", ratios.table("a gradient"));
}
