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
use osculate_benches::residual_net::ResidualNet;
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

/// Largest accepted ratios: of products with what they share kept, Hessian and Gauss-Newton.
struct Limits {
    anew: f64,
    kept: f64,
    kept_ggn: f64,
}

fn exact<M, I, F>(
    bench: &mut Bench,
    ratios: &mut Ratios,
    name: &str,
    limits: Limits,
    model: M,
    objective: SupervisedBatch<I, F>,
) where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<2>,
{
    let oracle = GradientOracle::new(&model, &objective);
    let config = |keep_within| HessianConfig {
        mode: HvpMode::Exact,
        keep_within,
        ..HessianConfig::default()
    };
    let hessian = |within| Hessian::with_config(&oracle, config(within)).expect("a gradient");
    let ggn = |within| {
        let ggn = GaussNewton::with_mode(&oracle, HvpMode::Exact).expect("supervised");
        ggn.with_keep_within(within).expect("a valid setting")
    };
    let anew = (hessian(0.0), ggn(0.0));
    // Without a limit: the table says what each takes.
    let kept = (hessian(f64::INFINITY), ggn(f64::INFINITY));
    let probes: Vec<ParamVec> = (0..4)
        .map(|seed| ParamVec::rademacher(&anew.0.layout(), seed))
        .collect();
    let v = &probes[0];
    let product = |operator: &dyn CurvatureOperator| operator.apply(v).expect("an exact product");
    // What is recorded and checked once is not part of a product.
    product(&anew.0);
    product(&anew.1);
    anew.0.quadratic_form(v).expect("an exact product");

    let start = Instant::now();
    let program = objective.record_loss(&model).expect("a recording");
    let recording = 1e3 * start.elapsed().as_secs_f64();
    let operations = program.num_operations();
    println!(
        "{name}: {operations} operations recorded in {recording:.2} ms, {:.2} ms for 1000",
        1e3 * recording / operations as f64,
    );
    let gradients = peak(|| gradient(&model, &objective));
    let memory = |what: &str, anew: &dyn CurvatureOperator, kept: &dyn CurvatureOperator| {
        product(kept);
        let ours = peak(|| drop(product(anew)));
        let before = PEAK.current_usage();
        let start = Instant::now();
        // The second product at a point makes what is kept.
        let making = peak(|| drop(product(kept)));
        let seconds = start.elapsed().as_secs_f64();
        let held = PEAK.current_usage().saturating_sub(before) as f64;
        let later = held + peak(|| drop(product(kept)));
        println!(
            "{name}, {what}: peak memory over a gradient's {:.2}x anew, {:.2}x kept ({:.2}x held, \
             {:.2}x while made, in {:.1} ms)",
            ours / gradients,
            later / gradients,
            held / gradients,
            making / gradients,
            1e3 * seconds,
        );
    };
    memory("hvp", &anew.0, &kept.0);
    memory("ggn_vp", &anew.1, &kept.1);
    println!("{name}: {:?}, {:?}", kept.0.kept(), kept.1.kept());

    let cases = vec![
        Case::new("hvp", || {
            black_box(product(&anew.0));
        })
        .at_most(limits.anew),
        Case::new("hvp, kept", || {
            black_box(product(&kept.0));
        })
        .at_most(limits.kept),
        Case::new("hvp, four probes", || {
            black_box(anew.0.apply_many(&probes).expect("products"));
        })
        .at_most(8.0),
        Case::new("hvp, four probes, kept", || {
            black_box(kept.0.apply_many(&probes).expect("products"));
        })
        .at_most(8.0),
        Case::new("v'Hv, forward only", || {
            black_box(anew.0.quadratic_form(v).expect("a number"));
        })
        .at_most(1.0),
        Case::new("ggn_vp", || {
            black_box(product(&anew.1));
        }),
        Case::new("ggn_vp, kept", || {
            black_box(product(&kept.1));
        })
        .at_most(limits.kept_ggn),
        Case::new("v'Gv, forward only", || {
            black_box(anew.1.quadratic_form(v).expect("a number"));
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
    let limits = |anew, kept, kept_ggn| Limits {
        anew,
        kept,
        kept_ggn,
    };
    for (name, limit, widths) in [
        (
            "mlp 64-256-256-10",
            limits(2.5, 1.3, 1.3),
            vec![64, 256, 256, 10],
        ),
        (
            "mlp 64-1024-1024-10",
            limits(2.2, 1.85, 1.6),
            vec![64, 1024, 1024, 10],
        ),
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
        limits(2.5, 1.65, 1.5),
        GroupNetConfig::new().init(&device),
        objective,
    );
    let objective = SupervisedBatch::new(
        Tensor::<4>::random([32, 3, 16, 16], Distribution::Default, &device),
        |model: &ResidualNet, x: &Tensor<4>| model.forward(x.clone()),
        Criterion::cross_entropy(cycled_labels(32, 10, &device)),
    );
    exact(
        &mut bench,
        &mut ratios,
        "residual net, training mode",
        limits(2.6, 2.6, 2.6),
        ResidualNet::new(&device),
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
        limits(2.5, 1.5, 1.3),
        EncoderModelConfig::new(VOCABULARY).init(&device),
        objective,
    );
    bench.final_summary();
    println!("\n{}", ratios.table("a gradient"));
}
