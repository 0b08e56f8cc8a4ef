//! The memory of an exact Hessian product in units of a gradient's, on the flex backend: made anew, and
//! with what products share kept.
//!
//! One test, so that no other allocates meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use osculate_curvature::{
    Criterion, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpMode, Objective,
    ParamVec, SupervisedBatch, Tensors,
};
use osculate_problems::modules::{
    EncoderModel, EncoderModelConfig, Mlp, MlpConfig, cycled_labels, seeded,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes above the present use that `run` needs at its worst.
fn peak(run: impl FnOnce()) -> f64 {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    run();
    ALLOCATOR.peak_usage().saturating_sub(before) as f64
}

const VOCABULARY: usize = 64;

/// Asserts that an exact product takes at most `limit` times the memory of a gradient, and says what
/// it takes.
fn assert_ratio<M, I, F>(
    name: &str,
    limit: f64,
    model: &M,
    objective: &SupervisedBatch<I, F>,
) -> String
where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<2>,
{
    let gradient = || {
        let gradients = objective.loss(model).expect("a loss").backward();
        drop(burn::optim::GradientsParams::from_grads(gradients, model));
    };
    let oracle = GradientOracle::new(model, objective);
    let config = |keep_within| HessianConfig {
        mode: HvpMode::Exact,
        keep_within,
        ..HessianConfig::default()
    };
    let hessian = Hessian::with_config(&oracle, config(0.0)).expect("a gradient");
    let v = ParamVec::rademacher(&hessian.layout(), 2);
    // The first calls record and fill caches.
    gradient();
    hessian.apply(&v).expect("a product");

    let of_gradient = peak(gradient);
    let of_product = peak(|| {
        hessian.apply(&v).expect("a product");
    });
    let told = format!(
        "{name}: a product takes {of_product} bytes, a gradient {of_gradient}: {:.2} times as many",
        of_product / of_gradient
    );
    assert!(of_gradient >= hessian.layout().num_bytes() as f64, "{told}");
    assert!(of_product <= limit * of_gradient, "{told}");

    // What is kept is within the default bound, in what is foretold and in what is used.
    let within = HessianConfig::default().keep_within;
    let hessian = Hessian::with_config(&oracle, config(within)).expect("a gradient");
    hessian.apply(&v).expect("a product");
    let before = ALLOCATOR.current_usage();
    let making = peak(|| {
        hessian.apply(&v).expect("a product");
    });
    let held = ALLOCATOR.current_usage().saturating_sub(before) as f64;
    let of_product = held
        + peak(|| {
            hessian.apply(&v).expect("a product");
        });
    let foretold = hessian.kept().expect("memory for what products share");
    let told = format!(
        "{told}; {:.2} while parts are computed to be kept, {:.2} with {:.2} of it kept; {foretold:?}",
        making / of_gradient,
        of_product / of_gradient,
        held / of_gradient,
    );
    for used in [making, of_product] {
        assert!(used <= within * of_gradient, "{told}");
        assert!(used <= 1.3 * foretold.peak as f64, "{told}");
    }
    // The recorded operations themselves are not foretold.
    assert!(held <= 1.2 * foretold.kept as f64, "{told}");

    let config = config(0.5 * foretold.peak as f64 / foretold.gradient as f64);
    let hessian = Hessian::with_config(&oracle, config).expect("a gradient");
    for _ in 0..2 {
        hessian.apply(&v).expect("a product");
    }
    assert!(hessian.kept().is_none(), "beyond the bound");
    told
}

#[test]
fn an_exact_product_takes_little_more_than_twice_the_memory_of_a_gradient() {
    let device = Device::flex().autodiff();
    let tokens = cycled_labels(8 * 32, VOCABULARY, &device).reshape([8, 32]);
    let told = assert_ratio(
        "transformer of 4 layers",
        2.2,
        &EncoderModelConfig::new(VOCABULARY).init(&device),
        &SupervisedBatch::new(
            tokens,
            |model: &EncoderModel, tokens: &Tensor<2, Int>| model.forward(tokens.clone()),
            Criterion::cross_entropy(cycled_labels(8 * 32, VOCABULARY - 1, &device)),
        ),
    );
    println!("{told}");
    for (name, widths) in [
        ("MLP of few weights", vec![64, 256, 256, 10]),
        ("MLP of many weights", vec![256, 512, 512, 10]),
    ] {
        let inputs = Tensor::<2>::random([128, widths[0]], Distribution::Default, &device);
        let told = assert_ratio(
            name,
            2.5,
            &seeded(MlpConfig::new(widths).init(&device), 1),
            &SupervisedBatch::new(
                inputs,
                |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
                Criterion::cross_entropy(cycled_labels(128, 10, &device)),
            ),
        );
        println!("{told}");
    }
}
