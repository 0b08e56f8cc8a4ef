//! What filters take out of a gradient, where they go, and what they refuse.

use burn::module::{Module, ParamGroup};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::optim::SgdConfig;
use burn::tensor::{DType, Device, Int, Tensor};
use osculate_curvature::{Criterion, Supervised};
use osculate_optim::{
    AdaptiveClip, Amp, Armijo, Awp, CentralisedGradient, ClosureOptimizer, ConfigError,
    CosineRestarts, Driver, Ema, EntropySgd, FastGam, FriendlySam, Gam, InducedMetricConfig, Mars,
    MomentumSam, Momo, MuonConfig, NagGs, NewtonCgConfig, NorMuonConfig, OneCycle,
    OptimisticAmsgradConfig, PerpGrad, Prodigy, RangeTest, RateSchedule, Sam, SgdwConfig,
    SoapConfig, SquaredGradientConfig, StatefulOptimizer, StepErrorCause, WarmupStableDecay,
};
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::subject::sgd;

/// A layer of each kind, on an input that none of them sees: only weights count.
#[derive(Module, Debug)]
struct Kinds {
    linear: Linear,
    conv: Conv2d,
    table: Embedding,
}

fn kinds(device: &Device) -> Kinds {
    device.seed(3);
    Kinds {
        linear: LinearConfig::new(3, 2).init(device),
        conv: Conv2dConfig::new([2, 3], [2, 2]).init(device),
        table: EmbeddingConfig::new(4, 2).init(device),
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter().collect()
}

/// The gradients that reach plain SGD at a rate of 1.
fn filtered(driver: Driver, model: &Kinds, loss: &dyn Fn(&Kinds) -> Tensor<1>) -> [Vec<f64>; 4] {
    let mut driver = driver;
    let made = ClosureOptimizer::step(&mut driver, 1.0, model.clone(), &|model: &Kinds| {
        loss(model)
    });
    let after = made.unwrap().model;
    let bias = |model: &Kinds| model.linear.bias.as_ref().expect("a bias").val();
    let apart = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| a - b).collect();
    [
        apart(
            values(model.linear.weight.val()),
            values(after.linear.weight.val()),
        ),
        apart(
            values(model.conv.weight.val()),
            values(after.conv.weight.val()),
        ),
        apart(
            values(model.table.weight.val()),
            values(after.table.weight.val()),
        ),
        apart(values(bias(model)), values(bias(&after))),
    ]
}

/// A loss whose gradient has another value in every element.
fn uneven(model: &Kinds) -> Tensor<1> {
    let term = |x: Tensor<1>| {
        let n = x.dims()[0] as i64;
        let weights = Tensor::<1, Int>::arange(1..n + 1, &x.device()).float();
        (x * weights.square()).sum()
    };
    let bias = model.linear.bias.as_ref().expect("a bias").val();
    term(model.linear.weight.val().flatten(0, 1))
        + term(model.conv.weight.val().flatten(0, 3))
        + term(model.table.weight.val().flatten(0, 1))
        + term(bias)
}

fn near(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!(
            (got - want).abs() < 1e-3 * want.abs().max(1.0),
            "{got} instead of {want}"
        );
    }
}

#[test]
fn means_are_taken_out_for_each_output() {
    let device = Device::flex().autodiff();
    let driver = CentralisedGradient::new()
        .over(SgdConfig::new().init())
        .unwrap();
    let [linear, conv, table, bias] = filtered(driver, &kinds(&device), &uneven);
    // A `Linear` is [in, out]: the gradient is 1 4, 9 16, 25 36, so the means are 35/3 and 56/3.
    let (a, b) = (35.0 / 3.0, 56.0 / 3.0);
    near(
        &linear,
        &[1.0 - a, 4.0 - b, 9.0 - a, 16.0 - b, 25.0 - a, 36.0 - b],
    );
    // A convolution is [out, in, ..].
    for output in 0..3 {
        let own = &conv[8 * output..8 * output + 8];
        assert!(own.iter().sum::<f64>().abs() < 1e-2, "{own:?}");
    }
    near(&table, &(1..=8).map(|i| (i * i) as f64).collect::<Vec<_>>());
    near(&bias, &[1.0, 4.0]);
}

#[test]
fn outputs_are_clipped_by_the_length_of_their_weights() {
    let device = Device::flex().autodiff();
    let model = kinds(&device);
    let clip = AdaptiveClip::new().with_except(Some(ParamGroup::from_path("table.weight")));
    let driver = clip.over(SgdConfig::new().init()).unwrap();
    let [linear, conv, table, _] = filtered(driver, &model, &uneven);
    let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let weights = values(model.linear.weight.val());
    let column = |x: &[f64], at: usize| vec![x[at], x[2 + at], x[4 + at]];
    for output in 0..2 {
        let want = 0.01 * length(&column(&weights, output));
        assert!((length(&column(&linear, output)) - want).abs() < 1e-3 * want);
    }
    let weights = values(model.conv.weight.val());
    for output in 0..3 {
        let want = 0.01 * length(&weights[8 * output..8 * output + 8]);
        let got = length(&conv[8 * output..8 * output + 8]);
        assert!((got - want).abs() < 1e-3 * want, "{got} instead of {want}");
    }
    near(&table, &(1..=8).map(|i| (i * i) as f64).collect::<Vec<_>>());

    let short = AdaptiveClip::new()
        .with_factor(1e9)
        .over(SgdConfig::new().init())
        .unwrap();
    let plain = Driver::from(SgdConfig::new().init());
    assert_eq!(
        filtered(short, &model, &uneven),
        filtered(plain, &model, &uneven)
    );
}

#[test]
fn orthogonal_gradients_are_orthogonal_and_keep_their_length() {
    let device = Device::flex().autodiff();
    let model = kinds(&device);
    let driver = PerpGrad::new().over(SgdConfig::new().init()).unwrap();
    let plain = filtered(SgdConfig::new().init().into(), &model, &uneven);
    let perp = filtered(driver, &model, &uneven);
    let weights = [
        values(model.linear.weight.val()),
        values(model.conv.weight.val()),
        values(model.table.weight.val()),
    ];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for ((w, g), p) in weights.iter().zip(&plain).zip(&perp) {
        let size = (dot(w, w) * dot(p, p)).sqrt();
        assert!(dot(w, p).abs() < 1e-4 * size, "{}", dot(w, p) / size);
        assert!((dot(p, p) / dot(g, g) - 1.0).abs() < 1e-3);
    }
}

/// Along the weights the gradient has no other part: nothing is blown up.
#[test]
fn a_gradient_along_the_weights_leaves_nothing() {
    let device = Device::flex().autodiff();
    let model = kinds(&device);
    let along = |model: &Kinds| {
        model.linear.weight.val().square().sum()
            + model.conv.weight.val().square().sum()
            + model.table.weight.val().square().sum()
            + model
                .linear
                .bias
                .as_ref()
                .expect("a bias")
                .val()
                .square()
                .sum()
    };
    let driver = PerpGrad::new().over(SgdConfig::new().init()).unwrap();
    for left in filtered(driver, &model, &along) {
        assert!(left.iter().all(|x| x.abs() < 1e-5), "{left:?}");
    }
}

#[test]
fn names_tell_what_is_over_what() {
    let muon = || MuonConfig::new().init().unwrap();
    let name = |driver: Driver| driver.name().to_string();
    assert_eq!(
        name(PerpGrad::new().over(muon()).unwrap()),
        "perp-grad(muon)"
    );
    assert_eq!(name(PerpGrad::new().over(sgd()).unwrap()), "perp-grad");
    let sam = Sam::new(0.05)
        .over(PerpGrad::new().over(muon()).unwrap())
        .unwrap();
    assert_eq!(name(sam), "sam(perp-grad(muon))");
    let both = CentralisedGradient::new().over(AdaptiveClip::new().over(muon()).unwrap());
    assert_eq!(name(both.unwrap()), "centralised(adaptive-clip(muon))");
}

fn field(result: Result<impl Sized, ConfigError>) -> &'static str {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error.field,
    }
}

#[test]
fn settings_out_of_range_are_named() {
    assert_eq!(field(Gam::new(-0.1).over(sgd())), "rho");
    assert_eq!(
        field(Gam::new(0.1).with_alpha(f64::NAN).over(sgd())),
        "alpha"
    );
    assert_eq!(field(FastGam::new(-0.1).over(sgd())), "rho");
    assert_eq!(
        field(FastGam::new(0.1).with_beta_2(f64::INFINITY).over(sgd())),
        "beta_2"
    );
    assert_eq!(field(Amp::new(-0.1).over(sgd())), "rho");
    assert_eq!(
        field(Amp::new(0.1).with_iterations(0).over(sgd())),
        "iterations"
    );
    assert_eq!(field(Awp::new(-0.1).over(sgd())), "gamma");
    assert_eq!(
        field(FriendlySam::new(0.1).with_lambda(1.0).over(sgd())),
        "lambda"
    );
    assert_eq!(
        field(EntropySgd::new().with_length(0).over(sgd())),
        "length"
    );
    assert_eq!(
        field(EntropySgd::new().with_averaging(0.0).over(sgd())),
        "averaging"
    );
    assert_eq!(
        field(CentralisedGradient::new().with_min_rank(1).over(sgd())),
        "min_rank"
    );
    assert_eq!(
        field(AdaptiveClip::new().with_factor(0.0).over(sgd())),
        "factor"
    );
    let twice = PerpGrad::new().over(PerpGrad::new().over(sgd()).unwrap());
    assert_eq!(field(twice), "base");
    assert_eq!(
        field(PerpGrad::new().over(Momo::new().over(sgd()).unwrap())),
        "base"
    );
    assert_eq!(
        field(PerpGrad::new().over(Ema::new(0.9).over(sgd()).unwrap())),
        "base"
    );
    let late = Driver::from(sgd()).with_filter(AdaptiveClip::new().with_epsilon(-1.0));
    let device = Device::flex().autodiff();
    let model = Ranked::new(&device, DType::F32);
    let batch = Batch::new(&model, 0, false, Fault::None);
    let error = { late }.step(0.1, model, &batch).unwrap_err();
    assert!(matches!(error.cause, StepErrorCause::Config(_)), "{error}");
}

#[test]
fn what_is_not_a_number_is_named() {
    const NAN: f64 = f64::NAN;
    let made = [
        (Gam::new(NAN).over(sgd()), "rho"),
        (
            FastGam::new(0.1).with_inner_rho(NAN).over(sgd()),
            "inner_rho",
        ),
        (Amp::new(0.1).with_inner_lr(NAN).over(sgd()), "inner_lr"),
        (Awp::new(NAN).over(sgd()), "gamma"),
        (FriendlySam::new(0.1).with_sigma(NAN).over(sgd()), "sigma"),
        (MomentumSam::new(NAN).over(sgd()), "rho"),
        (EntropySgd::new().with_scope(NAN).over(sgd()), "scope"),
        (EntropySgd::new().with_noise(NAN).over(sgd()), "noise"),
        (Mars::new().with_gamma(NAN).over(sgd()), "gamma"),
        (AdaptiveClip::new().with_factor(NAN).over(sgd()), "factor"),
        (Momo::new().with_lower_bound(NAN).over(sgd()), "lower_bound"),
        (Armijo::new().with_growth(NAN).over(sgd()), "growth"),
        (
            Prodigy::new().with_coefficient(NAN).over(sgd()),
            "coefficient",
        ),
        (
            SgdwConfig::new().with_weight_decay(NAN).init(),
            "weight_decay",
        ),
        (
            OptimisticAmsgradConfig::new().with_epsilon(NAN).init(),
            "epsilon",
        ),
        (InducedMetricConfig::new().with_xi(NAN).init(), "xi"),
        (
            SquaredGradientConfig::new().with_beta_1(NAN).init(),
            "beta_1",
        ),
        (
            NewtonCgConfig::new().with_tolerance(NAN).init(),
            "tolerance",
        ),
        (NorMuonConfig::new().with_epsilon(NAN).init(), "epsilon"),
    ];
    for (made, name) in made {
        assert_eq!(field(made), name);
    }
    assert_eq!(field(OneCycle::new(NAN, 10).scheduler()), "lr");
    assert_eq!(
        field(CosineRestarts::new(0.1, 5).with_floor(NAN).scheduler()),
        "floor"
    );
    assert_eq!(field(WarmupStableDecay::new(NAN, 10).scheduler()), "lr");
    let nag = NagGs {
        alpha: NAN,
        ..NagGs::default()
    };
    assert_eq!(field(nag.validate()), "alpha");
    assert_eq!(field(RangeTest::new().with_from(NAN).validate()), "from");
}

#[test]
fn a_filter_is_no_method_alone() {
    let filtered = PerpGrad::new()
        .over(MuonConfig::new().init().unwrap())
        .unwrap();
    assert!(
        SoapConfig::new()
            .init()
            .unwrap()
            .for_matrices(filtered)
            .is_err()
    );
}

#[test]
fn regression_is_refused_by_the_orthogonal_gradient() {
    let device = Device::flex().autodiff();
    let model: Linear = LinearConfig::new(2, 1).init(&device);
    let x = Tensor::<2>::ones([4, 2], &device);
    let batch = Supervised::new(
        move |model: &Linear| model.forward(x.clone()),
        Criterion::mse(Tensor::ones([4, 1], &device)),
    );
    let mut optimizer = PerpGrad::new().over(sgd()).unwrap();
    let error = optimizer.step(0.1, model, &batch).unwrap_err();
    assert!(
        matches!(
            error.cause,
            StepErrorCause::Criterion {
                filter: "perp-grad",
                ..
            }
        ),
        "{error}"
    );
    let told = error.to_string();
    assert!(
        told.contains("mean squared error") && told.contains("classes"),
        "{told}"
    );
}

#[test]
fn a_chain_needs_an_objective_that_hands_batches_out() {
    let device = Device::flex().autodiff();
    let model: Linear = LinearConfig::new(2, 1).init(&device);
    let x = Tensor::<2>::ones([4, 2], &device);
    let loss = |model: &Linear| model.forward(x.clone()).square().mean();
    let mut optimizer = EntropySgd::new().over(sgd()).unwrap();
    let error = optimizer.step(0.1, model, &loss).unwrap_err().to_string();
    assert!(
        error.contains("entropy-sgd") && error.contains("Drawing"),
        "{error}"
    );
}

#[test]
fn evaluations_are_counted() {
    let device = Device::flex().autodiff();
    let count = |driver: Driver| {
        let mut driver = driver;
        let model = Ranked::new(&device, DType::F32);
        let batch = Batch::new(&model, 0, true, Fault::None);
        let step = driver.step(0.01, model, &batch).unwrap();
        step.report.cost().gradient_evaluations()
    };
    assert_eq!(count(FastGam::new(0.1).over(sgd()).unwrap()), 4.0);
    assert_eq!(
        count(Amp::new(0.1).with_iterations(3).over(sgd()).unwrap()),
        4.0
    );
    assert_eq!(count(Awp::new(0.1).over(sgd()).unwrap()), 2.0);
    assert_eq!(count(FriendlySam::new(0.1).over(sgd()).unwrap()), 2.0);
    assert_eq!(
        count(EntropySgd::new().with_length(5).over(sgd()).unwrap()),
        5.0
    );
    assert_eq!(count(PerpGrad::new().over(sgd()).unwrap()), 1.0);
}
