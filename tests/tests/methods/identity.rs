//! Optimizers that must coincide in a limit of their settings do so bit for bit, or to rounding.

use std::sync::Arc;

use burn::module::ParamGroup;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device};
use osculate_curvature::Objective;
use osculate_optim::{
    AdaHessianConfig, Amp, Asam, Awp, ClosureOptimizer, CustomDiagonal, DiagonalRequest, Driver,
    EntropySgd, FastGam, FriendlySam, Gam, Gsam, LookSam, Sam, SophiaConfig, StatefulOptimizer,
    StepPolicy,
};
use osculate_tests::compare::assert_near;
use osculate_tests::identity;
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::subject::{Subject, adamw, sgd};

const STEPS: usize = 5;
const LR: f64 = 0.01;

fn trajectory(mut optimizer: Subject, device: &Device, dtype: DType) -> Vec<Vec<f64>> {
    let mut model = Ranked::new(device, dtype);
    (0..STEPS)
        .map(|step| {
            let batch = Batch::new(&model, step, true, Fault::None);
            let made = optimizer.step(LR, model.clone(), &batch).expect("a step");
            model = made.model;
            model.values()
        })
        .collect()
}

/// The trajectory of a burn optimizer in burn's own loop.
fn burn_loop(mut optimizer: ModuleOptimizer, device: &Device, dtype: DType) -> Vec<Vec<f64>> {
    let mut model = Ranked::new(device, dtype);
    (0..STEPS)
        .map(|step| {
            let batch = Batch::new(&model, step, false, Fault::None);
            let loss = batch.loss(&model).expect("a loss");
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(LR, model.clone(), gradients);
            model.values()
        })
        .collect()
}

fn first_order(base: ModuleOptimizer) -> Subject {
    Box::new(Driver::from(base))
}

fn assert_same(a: &[Vec<f64>], b: &[Vec<f64>], what: &str) {
    assert_eq!(a, b, "{what}");
}

identity!(first_order_is_burns_loop, |device, dtype| {
    for base in [adamw, sgd] {
        let ours = trajectory(first_order(base()), device, dtype);
        assert_same(&ours, &burn_loop(base(), device, dtype), "first order");
    }
});

identity!(without_a_radius_sam_is_its_base, |device, dtype| {
    for base in [adamw, sgd] {
        let want = trajectory(first_order(base()), device, dtype);
        let subjects: [Subject; 3] = [
            Box::new(Sam::new(0.0).over(base()).unwrap()),
            Box::new(Asam::new(0.0).over(base()).unwrap()),
            Box::new(
                Asam::new(0.0)
                    .with_eta(0.0)
                    .with_scaled(Some(ParamGroup::all()))
                    .over(base())
                    .unwrap(),
            ),
        ];
        for subject in subjects {
            let name = subject.name().to_string();
            assert_same(&trajectory(subject, device, dtype), &want, &name);
        }
        let looksam = LookSam::new(0.0).with_alpha(0.0).over(base()).unwrap();
        assert_same(
            &trajectory(Box::new(looksam), device, dtype),
            &want,
            "looksam",
        );
    }
});

identity!(sources_without_effect_are_their_base, |device, dtype| {
    for base in [adamw, sgd] {
        let want = trajectory(first_order(base()), device, dtype);
        let gam = Gam::new(0.2).with_alpha(0.0);
        let fast_gam = FastGam::new(0.0)
            .with_inner_rho(0.0)
            .with_beta_3(0.0)
            .with_gamma(0.0);
        let entropy_sgd = EntropySgd::new()
            .with_length(1)
            .with_inner_lr(1.0)
            .with_momentum(0.0)
            .with_noise(0.0)
            .with_averaging(1.0);
        let subjects = [
            gam.over(base()).unwrap(),
            fast_gam.over(base()).unwrap(),
            Amp::new(0.0).over(base()).unwrap(),
            Awp::new(0.0).over(base()).unwrap(),
            FriendlySam::new(0.0).over(base()).unwrap(),
            entropy_sgd.over(base()).unwrap(),
        ];
        for subject in subjects {
            let name = subject.name().to_string();
            assert_same(&trajectory(Box::new(subject), device, dtype), &want, &name);
        }
    }
});

identity!(limits_of_the_family_are_sam, |device, dtype| {
    let sam = Sam::new(0.05).over(sgd()).unwrap();
    let want = trajectory(Box::new(sam), device, dtype);
    let every_step = LookSam::new(0.05).with_period(1).over(sgd()).unwrap();
    assert_same(
        &trajectory(Box::new(every_step), device, dtype),
        &want,
        "looksam",
    );
    let friendly = FriendlySam::new(0.05).with_sigma(0.0).over(sgd()).unwrap();
    assert_same(
        &trajectory(Box::new(friendly), device, dtype),
        &want,
        "friendly-sam",
    );
    let no_ascent = Gsam::new(0.05).with_alpha(0.0).over(sgd()).unwrap();
    assert_near(
        &trajectory(Box::new(no_ascent), device, dtype),
        &want,
        dtype,
        "gsam",
    );
});

identity!(adahessian_on_gradients_is_adam, |device, dtype| {
    let config = AdaHessianConfig::new()
        .with_spatial_averaging(false)
        .with_epsilon(1e-5)
        .with_weight_decay(0.1);
    let gradients = Arc::new(|request: &DiagonalRequest<'_>| Ok(request.gradient.clone()));
    let ours = config
        .init()
        .unwrap()
        .with_curvature(CustomDiagonal::new(gradients));
    let adam = AdamWConfig::new().with_weight_decay(0.1).init();
    let want = trajectory(first_order(adam), device, dtype);
    assert_near(
        &trajectory(Box::new(ours), device, dtype),
        &want,
        dtype,
        "adam",
    );
});

identity!(
    sophia_without_curvature_is_signed_momentum,
    |device, dtype| {
        let config = SophiaConfig::h()
            .with_gamma(0.0)
            .with_beta_1(0.0)
            .with_weight_decay(0.0);
        let ours = trajectory(Box::new(config.init().unwrap()), device, dtype);
        let mut model = Ranked::new(device, dtype);
        let mut before = model.values();
        let mut optimizer = config.init().unwrap();
        for step in 0..STEPS {
            let batch = Batch::new(&model, step, true, Fault::None);
            model = ClosureOptimizer::step(&mut optimizer, LR, model, &batch)
                .unwrap()
                .model;
            let after = model.values();
            for (a, b) in before.iter().zip(&after) {
                assert!(((a - b).abs() - LR).abs() < 1e-6, "a step of {}", a - b);
            }
            before = after;
        }
        assert_same(&ours[STEPS - 1..], &[before], "two runs");
    }
);

identity!(a_wide_clip_changes_nothing, |device, dtype| {
    let policy = StepPolicy::new().with_clip_norm(Some(1e6));
    let clipped = Driver::from(sgd()).with_policy(policy).unwrap();
    let want = trajectory(first_order(sgd()), device, dtype);
    assert_same(&trajectory(Box::new(clipped), device, dtype), &want, "clip");
});

identity!(a_clip_bounds_the_step, |device, dtype| {
    let norm = 1e-3;
    let policy = StepPolicy::new().with_clip_norm(Some(norm));
    let base = burn::optim::SgdConfig::new().init();
    let mut optimizer: Subject = Box::new(Driver::from(base).with_policy(policy).unwrap());
    let model = Ranked::new(device, dtype);
    let batch = Batch::new(&model, 0, true, Fault::None);
    let before = model.values();
    let step = optimizer.step(1.0, model, &batch).unwrap();
    assert!(step.report.gradient_norm() > 10.0 * norm);
    let moved: f64 = step
        .model
        .values()
        .iter()
        .zip(&before)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    let tolerance = if dtype == DType::F64 { 1e-9 } else { 1e-2 };
    assert!(
        (moved.sqrt() / norm - 1.0).abs() < tolerance,
        "{}",
        moved.sqrt()
    );
});
