//! The memory that a curvature product needs beside a gradient, on the flex backend.
//!
//! One test, so that no other allocates meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use osculate_curvature::{
    Criterion, CurvatureOperator, GaussNewton, GradientOracle, Hessian, HessianConfig, Objective,
    ParamVec, Supervised,
};
use osculate_problems::modules::{Mlp, MlpConfig, seeded};
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

#[test]
fn a_product_needs_a_gradient_and_three_copies_of_the_weights() {
    let device = Device::flex().autodiff();
    // Weights outweigh activations, so that copies of them show.
    let model = seeded(MlpConfig::new(vec![256, 512, 512, 10]).init(&device), 1);
    let inputs = Tensor::<2>::random([64, 256], Distribution::Default, &device);
    let labels: Vec<i64> = (0..64).map(|i| i % 10).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [64]), &device);
    let objective = Supervised::new(
        move |model: &Mlp| model.forward(inputs.clone()),
        Criterion::cross_entropy(labels),
    );
    let gradient = || {
        let loss = objective.loss(&model).expect("a loss");
        let gradients = loss.backward();
        drop(burn::optim::GradientsParams::from_grads(gradients, &model));
    };
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = Hessian::new(&oracle).expect("a gradient");
    let config = HessianConfig {
        estimate_error: false,
        ..HessianConfig::default()
    };
    let plain = Hessian::with_config(&oracle, config).expect("a gradient");
    let ggn = GaussNewton::new(&oracle).expect("supervised");
    let layout = hessian.layout();
    let v = ParamVec::gaussian(&layout, 2);
    // The first calls fill caches.
    gradient();
    hessian.apply(&v).expect("a product");
    plain.apply(&v).expect("a product");
    ggn.apply(&v).expect("a product");

    let copy = layout.num_bytes() as f64;
    let of_gradient = peak(gradient);
    let limit = of_gradient + 3.0 * copy;
    let of_hvp = peak(|| {
        plain.apply(&v).expect("a product");
    });
    // The estimate of the error keeps what it compares.
    let of_judged_hvp = peak(|| {
        hessian.apply(&v).expect("a product");
    });
    let of_ggn_vp = peak(|| {
        ggn.apply(&v).expect("a product");
    });
    let told = format!(
        "in copies of the weights: gradient {:.2}, hvp {:.2}, with its error {:.2}, ggn_vp {:.2}",
        of_gradient / copy,
        of_hvp / copy,
        of_judged_hvp / copy,
        of_ggn_vp / copy
    );
    println!("{told}");
    assert!(of_gradient >= copy, "{told}");
    assert!(of_hvp <= limit, "{told}");
    assert!(of_judged_hvp <= limit + 2.0 * copy, "{told}");
    assert!(of_ggn_vp <= limit, "{told}");
}
