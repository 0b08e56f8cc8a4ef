//! Exact curvature products in units of one gradient evaluation: time, memory, recording.
#![allow(missing_docs, reason = "a benchmark has no public items")]
#![allow(clippy::print_stdout, reason = "a benchmark shows its results")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark stops where it cannot go on"
)]

use std::hint::black_box;
use std::time::Instant;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Distribution, Int, Tensor};
use criterion::Criterion as Bench;
use osculate_benches::ratios::{Case, Ratios};
use osculate_benches::workload::device;
use osculate_curvature::{
    Criterion, CurvatureOperator, GaussNewton, GradientOracle, Hessian, HessianConfig, HvpMode,
    Objective, ParamVec, Recordable, SupervisedBatch, Tensors,
};
use osculate_problems::modules::{
    EncoderModel, EncoderModelConfig, GroupNet, GroupNetConfig, Mlp, MlpConfig, cycled_labels,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

const VOCABULARY: usize = 64;

fn gradient<M: Module>(model: &M, objective: &dyn Objective<M>) {
    let loss = objective.loss(model).expect("a loss");
    black_box(GradientsParams::from_grads(loss.backward(), model));
}

/// The largest amount of memory in use during `run`, beyond what was in use before.
fn peak(run: impl FnOnce()) -> f64 {
    PEAK.reset_peak_usage();
    let before = PEAK.current_usage();
    run();
    PEAK.peak_usage().saturating_sub(before) as f64
}

fn exact<M, I, F>(
    bench: &mut Bench,
    ratios: &mut Ratios,
    name: &str,
    limit: f64,
    model: M,
    objective: SupervisedBatch<I, F>,
) where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<2>,
{
    let oracle = GradientOracle::new(&model, &objective);
    let config = HessianConfig {
        mode: HvpMode::Exact,
        ..HessianConfig::default()
    };
    let hessian = Hessian::with_config(&oracle, config).expect("a gradient");
    let ggn = GaussNewton::with_mode(&oracle, HvpMode::Exact).expect("supervised");
    let probes: Vec<ParamVec> = (0..4)
        .map(|seed| ParamVec::rademacher(&hessian.layout(), seed))
        .collect();
    let v = &probes[0];
    // What is recorded and checked once is not part of a product.
    hessian.apply(v).expect("an exact product");
    hessian.quadratic_form(v).expect("an exact product");
    ggn.apply(v).expect("an exact product");

    let start = Instant::now();
    let program = objective.record_loss(&model).expect("a recording");
    let recording = 1e3 * start.elapsed().as_secs_f64();
    let operations = program.num_operations();
    let (ours, theirs) = (
        peak(|| drop(hessian.apply(v))),
        peak(|| gradient(&model, &objective)),
    );
    println!(
        "{name}: {operations} operations recorded in {recording:.2} ms, {:.2} ms for 1000; peak \
         memory of a product {:.2}x a gradient's",
        1e3 * recording / operations as f64,
        ours / theirs
    );

    let cases = vec![
        Case::new("hvp", || {
            black_box(hessian.apply(v).expect("a product"));
        })
        .at_most(limit),
        Case::new("hvp, four probes", || {
            black_box(hessian.apply_many(&probes).expect("products"));
        })
        .at_most(8.0),
        Case::new("v'Hv, forward only", || {
            black_box(hessian.quadratic_form(v).expect("a number"));
        })
        .at_most(1.0),
        Case::new("ggn_vp", || {
            black_box(ggn.apply(v).expect("a product"));
        }),
        Case::new("v'Gv, forward only", || {
            black_box(ggn.quadratic_form(v).expect("a number"));
        }),
    ];
    ratios.compare(
        bench,
        name,
        ("gradient", || gradient(&model, &objective)),
        cases,
    );
}

fn main() {
    let mut bench = Bench::default().configure_from_args();
    let mut ratios = Ratios::default();
    let device = device();
    device.seed(1);
    for (name, limit, widths) in [
        ("mlp 64-256-256-10", 2.5, vec![64, 256, 256, 10]),
        ("mlp 64-1024-1024-10", 2.2, vec![64, 1024, 1024, 10]),
    ] {
        let objective = SupervisedBatch::new(
            Tensor::<2>::random([128, 64], Distribution::Default, &device),
            |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
            Criterion::cross_entropy(cycled_labels(128, 10, &device)),
        );
        let model = MlpConfig::new(widths).init(&device);
        exact(&mut bench, &mut ratios, name, limit, model, objective);
    }
    let objective = SupervisedBatch::new(
        Tensor::<4>::random([32, 3, 16, 16], Distribution::Default, &device),
        |model: &GroupNet, x: &Tensor<4>| model.forward(x.clone()),
        Criterion::cross_entropy(cycled_labels(32, 10, &device)),
    );
    exact(
        &mut bench,
        &mut ratios,
        "conv net",
        2.5,
        GroupNetConfig::new().init(&device),
        objective,
    );
    let objective = SupervisedBatch::new(
        cycled_labels(8 * 32, VOCABULARY, &device).reshape([8, 32]),
        |model: &EncoderModel, tokens: &Tensor<2, Int>| model.forward(tokens.clone()),
        Criterion::cross_entropy(cycled_labels(8 * 32, VOCABULARY - 1, &device)),
    );
    exact(
        &mut bench,
        &mut ratios,
        "transformer, 4 layers",
        2.5,
        EncoderModelConfig::new(VOCABULARY).init(&device),
        objective,
    );
    bench.final_summary();
    println!("\n{}", ratios.table("a gradient"));
}
