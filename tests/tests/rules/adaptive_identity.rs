//! Adaptive steps and restructured momentum: what they coincide with in a limit, and what they refuse.

use burn::module::{Module, Param, ParamId};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{GradientObjective, Objective, ObjectiveError, ParamVec};
use osculate_optim::{
    Armijo, ClosureOptimizer, CurvatureContext, CurvatureEstimate, CurvatureSource, DecayForm,
    Driver, GradientPrediction, Hyperball, InducedMetric, InducedMetricConfig, KeepDtype, Mars,
    Momo, MuonConfig, NewtonCgConfig, NonFinitePolicy, NorMuonConfig, OptimisticAmsgradConfig,
    Prodigy, RandomScale, RuleError, Sania, SgdwConfig, SoapConfig, SophiaConfig, SquareFloor,
    SquaredGradientConfig, StepErrorCause, StepPolicy, WeightDecay,
};
use osculate_problems::closed_form::{ClosedForm, P3, P3Point, TensorProblem};
use osculate_tests::compare::assert_near;
use osculate_tests::identity;
use osculate_tests::model::{Batch, Fault, Ranked, wave};
use osculate_tests::subject::adamw;

const STEPS: usize = 5;

fn trajectory(mut driver: Driver, lr: f64, device: &Device, dtype: DType) -> Vec<Vec<f64>> {
    let mut model = Ranked::new(device, dtype);
    (0..STEPS)
        .map(|step| {
            let batch = Batch::new(&model, step, true, Fault::None);
            model = driver
                .step(lr, model.clone(), &batch)
                .expect("a step")
                .model;
            model.values()
        })
        .collect()
}

fn burns_sgd(momentum: f64) -> Driver {
    let momentum = MomentumConfig::new()
        .with_momentum(momentum)
        .with_dampening(0.0);
    let config = SgdConfig::new().with_momentum(Some(momentum));
    ModuleOptimizer::from(KeepDtype(config.build())).into()
}

identity!(sgdw_without_decay_is_sgd, |device, dtype| {
    let config = SgdwConfig::new().with_weight_decay(0.0);
    let ours = trajectory(config.init().unwrap(), 0.01, device, dtype);
    assert_near(
        &ours,
        &trajectory(burns_sgd(0.9), 0.01, device, dtype),
        dtype,
        "sgdw",
    );
});

identity!(
    without_a_dimension_more_the_metric_is_adams,
    |device, dtype| {
        let config = InducedMetricConfig::new().with_xi(0.0);
        let ours = trajectory(config.init().unwrap(), 0.01, device, dtype);
        let adam = AdamConfig::new().with_beta_2(0.99).with_epsilon(1e-8);
        let adam = ModuleOptimizer::from(KeepDtype(adam.build()));
        assert_near(
            &ours,
            &trajectory(adam.into(), 0.01, device, dtype),
            dtype,
            "optimistic-amsgrad",
        );
    }
);

identity!(
    extrapolation_starts_with_the_last_gradient,
    |device, dtype| {
        let run = |prediction| {
            let config = OptimisticAmsgradConfig::new().with_prediction(prediction);
            trajectory(config.init().unwrap(), 0.01, device, dtype)
        };
        let long = GradientPrediction::Extrapolated {
            span: 8,
            regularization: 1e-3,
            relative: true,
            newest: false,
            max_weight: 10.0,
        };
        assert_eq!(run(long), run(GradientPrediction::Last));
    }
);

identity!(without_a_bound_sania_is_its_base, |device, dtype| {
    let bases: [fn() -> Driver; 2] = [|| SoapConfig::new().init().unwrap(), || adamw().into()];
    for base in bases {
        let sania = Sania::new().with_lower_bound(-1e30).over(base()).unwrap();
        let ours = trajectory(sania, 0.01, device, dtype);
        assert_eq!(ours, trajectory(base(), 0.01, device, dtype));
    }
});

identity!(a_search_that_accepts_is_its_base, |device, dtype| {
    let base = || SgdwConfig::new().with_momentum(0.0).init().unwrap();
    let armijo = Armijo::new().over(base()).unwrap();
    let ours = trajectory(armijo, 1e-4, device, dtype);
    assert_eq!(ours, trajectory(base(), 1e-4, device, dtype));
});

identity!(a_distance_that_stays_is_a_rate, |device, dtype| {
    let base = || SgdwConfig::new().with_weight_decay(0.1).init().unwrap();
    // At a coefficient this small the estimate never rises.
    let prodigy = Prodigy::new().with_initial(0.25).with_coefficient(1e-12);
    let ours = trajectory(prodigy.over(base()).unwrap(), 0.04, device, dtype);
    assert_near(
        &ours,
        &trajectory(base(), 0.01, device, dtype),
        dtype,
        "rate",
    );
    // Decay is at that rate too, in whichever form.
    for form in [
        DecayForm::Before,
        DecayForm::After,
        DecayForm::Together,
        DecayForm::Proximal,
    ] {
        let base = || {
            let decay = WeightDecay::new(0.01, form);
            base().with_weight_decay(decay).unwrap()
        };
        let ours = trajectory(prodigy.over(base()).unwrap(), 0.04, device, dtype);
        assert_near(
            &ours,
            &trajectory(base(), 0.01, device, dtype),
            dtype,
            "decay",
        );
    }
});

identity!(without_a_correction_mars_is_its_base, |device, dtype| {
    for exact in [false, true] {
        let mars = Mars::new()
            .with_gamma(0.0)
            .with_clip(None)
            .with_exact(exact);
        let base = || SoapConfig::new().init().unwrap();
        let ours = trajectory(mars.over(base()).unwrap(), 0.01, device, dtype);
        assert_eq!(ours, trajectory(base(), 0.01, device, dtype));
    }
});

identity!(a_row_scale_of_one_output_is_muon, |device, dtype| {
    // With one number for the whole of a matrix the norm takes it out.
    let column = |driver: Driver| {
        let at = (device, dtype);
        let start = TensorData::new(wave(6, 0.3), [1, 6]);
        let weight = Tensor::<2>::from_data(start, at).require_grad();
        let mut model = Row {
            weight: Param::initialized(ParamId::new(), weight),
        };
        let (mut driver, mut steps) = (driver, Vec::new());
        for _ in 0..STEPS {
            let loss = |model: &Row| (model.weight.val() - 0.1).powi_scalar(4).sum();
            model = driver.step(0.02, model, &loss).unwrap().model;
            steps.push(model.weight.val().into_data().iter::<f64>().collect());
        }
        steps
    };
    let ours = column(NorMuonConfig::new().init().unwrap());
    assert_near(
        &ours,
        &column(MuonConfig::new().init().unwrap()),
        dtype,
        "normuon",
    );
});

identity!(
    matrices_keep_their_norm_and_turn_by_the_rate,
    |device, dtype| {
        let lr = 0.01;
        let bases: [fn() -> Driver; 3] = [
            || SoapConfig::new().init().unwrap(),
            || SgdwConfig::new().init().unwrap(),
            || adamw().into(),
        ];
        for base in bases {
            let mut driver = Hyperball::new().over(base()).unwrap();
            let mut model = Ranked::new(device, dtype);
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let radii: Vec<f64> = (2..=4)
                .map(|rank| norm(&model.values_of_rank(rank)))
                .collect();
            for step in 0..STEPS {
                let before = model.clone();
                let batch = Batch::new(&model, step, true, Fault::None);
                model = driver.step(lr, model, &batch).unwrap().model;
                for (rank, radius) in (2..=4).zip(&radii) {
                    let new = model.values_of_rank(rank);
                    assert!((norm(&new) / radius - 1.0).abs() < 1e-5);
                    let old = before.values_of_rank(rank);
                    let moved: Vec<f64> = new.iter().zip(&old).map(|(a, b)| a - b).collect();
                    let turned = norm(&moved) / radius;
                    assert!(turned <= lr * 1.01, "{turned}");
                }
                // SOAP's first step makes its bases alone.
                assert!(step == 0 || model.values() != before.values());
            }
        }
    }
);

#[derive(Module, Debug)]
struct Row {
    weight: Param<Tensor<2>>,
}

/// MARS on given gradients, by its formula: a linear loss whose slope changes from step to step.
#[test]
fn mars_corrects_by_the_last_gradient() {
    let device = Device::flex().autodiff();
    let weight = Tensor::<1>::zeros([2], (&device, DType::F64)).require_grad();
    let mut model = Logistic {
        weight: Param::initialized(ParamId::new(), weight),
    };
    let slopes: [[f64; 2]; 3] = [[0.3, -0.1], [0.2, 0.4], [6.0, -8.0]];
    let base = SgdwConfig::new().with_momentum(0.0).with_weight_decay(0.0);
    let mars = Mars::new().with_gamma(0.1).with_beta(0.5);
    let mut driver = mars.over(base.init().unwrap()).unwrap();
    let (mut x, mut last) = ([0.0_f64; 2], slopes[0]);
    for slope in slopes {
        let tilt = Tensor::<1>::from_data(TensorData::from(slope), (&device, DType::F64));
        let loss = |model: &Logistic| (model.weight.val() * tilt.clone()).sum();
        model = driver.step(0.1, model, &loss).unwrap().model;
        let c = [0, 1].map(|i| slope[i] + 0.1 * (slope[i] - last[i]));
        let norm = c[0].hypot(c[1]);
        for i in 0..2 {
            x[i] -= 0.1 * c[i] * (1.0 / norm).min(1.0);
        }
        last = slope;
        let got: Vec<f64> = model.weight.val().into_data().iter().collect();
        assert!(
            got.iter().zip(x).all(|(a, b)| (a - b).abs() < 1e-12),
            "{got:?}"
        );
    }
}

/// With `exact` the older gradient is that of the present batch at the weights before: one more evaluation, and on a
/// loss without noise the same as without.
#[test]
fn exact_mars_evaluates_at_the_weights_before() {
    let device = Device::flex().autodiff();
    let loss = |point: &P3Point| P3.tensor_loss(point);
    let run = |exact| {
        let base = SgdwConfig::new().init().unwrap();
        let mars = Mars::new().with_clip(None).with_exact(exact);
        let mut driver = mars.over(base).unwrap();
        let mut point = P3.point(&P3.start(), &device, DType::F64);
        let mut costs = Vec::new();
        for _ in 0..4 {
            let step = driver.step(0.01, point, &loss).unwrap();
            costs.push(step.report.cost().gradient_evaluations());
            point = step.model;
        }
        (P3.flatten(&point), costs)
    };
    let ((plain, one), (exact, two)) = (run(false), run(true));
    assert_eq!((one, two), (vec![1.0; 4], vec![1.0, 2.0, 2.0, 2.0]));
    for (a, b) in plain.iter().zip(&exact) {
        assert!((a - b).abs() < 1e-10, "{a} against {b}");
    }
}

/// The recursion of the paper, with the draws that the reports tell.
#[test]
fn random_scaling_multiplies_heavy_ball_by_one_exponential_number() {
    let (device, lr, beta) = (Device::flex().autodiff(), 0.02, 0.9);
    let base = SgdwConfig::new().with_weight_decay(0.0).init().unwrap();
    let mut driver = RandomScale::new().over(base).unwrap().with_seed(3);
    let mut point = P3.point(&P3.start(), &device, DType::F64);
    let loss = |point: &P3Point| P3.tensor_loss(point);
    let (mut x, mut delta) = (P3.start(), vec![0.0; 3]);
    let mut draws = Vec::new();
    for _ in 0..400 {
        let step = driver.step(lr, point, &loss).unwrap();
        let s = step.report.step_size_factor().unwrap();
        point = step.model;
        let gradient = P3.gradient(&x);
        for ((x, delta), g) in x.iter_mut().zip(&mut delta).zip(gradient) {
            *delta = beta * *delta - lr * g;
            *x += s * *delta;
        }
        for (got, want) in P3.flatten(&point).iter().zip(&x) {
            assert!((got - want).abs() < 1e-8, "{got} instead of {want}");
        }
        draws.push(s);
    }
    // Mean 1 and variance 1 within four standard errors, and the tail of an exponential.
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    let above = draws.iter().filter(|s| **s > 1.0).count() as f64 / n;
    assert!((mean - 1.0).abs() < 4.0 / n.sqrt(), "{mean}");
    assert!(
        (above - (-1f64).exp()).abs() < 4.0 * 0.5 / n.sqrt(),
        "{above}"
    );
}

/// The estimate of the distance against its formula, over plain gradient steps.
#[test]
fn prodigys_estimate_is_the_papers() {
    let (device, lr, decay) = (Device::flex().autodiff(), 0.5, 0.999_f64.sqrt());
    let base = SgdwConfig::new().with_momentum(0.0).with_weight_decay(0.0);
    let prodigy = Prodigy::new().with_initial(1e-3).with_coefficient(0.7);
    let mut driver = prodigy.over(base.init().unwrap()).unwrap();
    let mut point = P3.point(&P3.start(), &device, DType::F64);
    let loss = |point: &P3Point| P3.tensor_loss(point);
    let (start, mut x) = (P3.start(), P3.start());
    let (mut d, mut r, mut s) = (1e-3_f64, 0.0, [0.0; 3]);
    for _ in 0..50 {
        let step = driver.step(lr, point, &loss).unwrap();
        let told = step.report.step_size_factor().unwrap();
        assert!((told - d).abs() < 1e-9 * d, "{told} instead of {d}");
        let g = P3.gradient(&x);
        r *= decay;
        for i in 0..3 {
            r += (1.0 - decay) * lr * d * d * g[i] * (start[i] - x[i]);
            s[i] = decay * s[i] + (1.0 - decay) * lr * d * d * g[i];
            x[i] -= d * lr * g[i];
        }
        let length: f64 = s.iter().map(|s| s.abs()).sum();
        d = d.max(0.7 * r / length);
        point = step.model;
    }
    assert!(d > 5e-3, "it grows: {d}");
    for (got, want) in P3.flatten(&point).iter().zip(&x) {
        assert!((got - want).abs() < 1e-9, "{got} instead of {want}");
    }
}

#[derive(Module, Debug)]
struct Logistic {
    weight: Param<Tensor<1>>,
}

/// Losses of SANIA on logistic regression whose columns are in other units, from the same function.
fn losses_in_units(units: [f64; 4], base: &SquaredGradientConfig) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let at = (&device, DType::F64);
    let (n, d) = (40, units.len());
    let start = [0.3, -0.2, 0.5, 0.1];
    let features = wave(n * d, 0.7);
    // Separable: Polyak's steps take it that the loss can come down to its bound.
    let signs = features.chunks(d).map(|row| {
        let score = row.iter().zip([1.0, -2.0, 0.5, 1.5]).map(|(x, t)| x * t);
        score.sum::<f64>().signum()
    });
    let y = Tensor::<1>::from_data(TensorData::new(signs.collect(), [n]), at);
    let columns = features.iter().enumerate();
    let columns: Vec<f64> = columns.map(|(i, x)| x * units[i % d]).collect();
    let x = Tensor::<2>::from_data(TensorData::new(columns, [n, d]), at);
    let weights: Vec<f64> = start.iter().zip(units).map(|(w, unit)| w / unit).collect();
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [d]), at);
    let mut model = Logistic {
        weight: Param::initialized(ParamId::new(), weights.require_grad()),
    };
    let loss = |model: &Logistic| {
        let scores = x.clone().matmul(model.weight.val().reshape([d, 1]));
        log_sigmoid(scores.reshape([n]) * y.clone()).neg().mean()
    };
    let mut driver = Sania::new().over(base.init().unwrap()).unwrap();
    (0..60)
        .map(|_| {
            let step = driver.step(1.0, model.clone(), &loss).unwrap();
            model = step.model;
            step.report.loss()
        })
        .collect()
}

/// SANIA does not see the units of the features: to the last bit where they differ by powers of two, to rounding
/// elsewhere, and not at all with a floor under the squares.
#[test]
fn sania_is_invariant_under_rescaled_features() {
    let exact = |beta_2| {
        SquaredGradientConfig::new()
            .with_floor(SquareFloor::Added(0.0))
            .with_beta_2(beta_2)
    };
    for base in [exact(None), exact(Some(0.999))] {
        let plain = losses_in_units([1.0; 4], &base);
        assert!(plain[59] < 0.1 * plain[0], "{plain:?}");
        let doubled = losses_in_units([1024.0, 0.125, 2.0, 1.0 / 4096.0], &base);
        assert_eq!(plain, doubled);
        let scaled = losses_in_units([1e3, 0.3, 7.0, 1e-4], &base);
        // Rounding grows from step to step.
        for (a, b) in plain.iter().zip(&scaled).take(15) {
            assert!((a - b).abs() < 1e-6, "{a} against {b}");
        }
    }
    let floored = exact(None).with_floor(SquareFloor::Least(0.1));
    let plain = losses_in_units([1.0; 4], &floored);
    let scaled = losses_in_units([1e3, 0.3, 7.0, 1e-4], &floored);
    assert!((plain[59] - scaled[59]).abs() > 1e-3);
}

/// Every step of the search decreases the batch's loss as promised, and its cost is counted.
#[test]
fn armijo_decreases_the_loss_and_counts_its_passes() {
    let device = Device::flex().autodiff();
    let base = SgdwConfig::new().with_momentum(0.0).with_weight_decay(0.0);
    let mut driver = Armijo::new().over(base.init().unwrap()).unwrap();
    let mut point = P3.point(&P3.start(), &device, DType::F64);
    let loss = |point: &P3Point| P3.tensor_loss(point);
    let mut passes = Vec::new();
    for _ in 0..30 {
        let before = P3.flatten(&point);
        let step = driver.step(1.0, point, &loss).unwrap();
        let factor = step.report.step_size_factor().unwrap();
        point = step.model;
        let squared: f64 = P3.gradient(&before).iter().map(|g| g * g).sum();
        let limit = P3.loss(&before) - 0.1 * factor * squared;
        assert!(P3.loss(&P3.flatten(&point)) <= limit + 1e-12);
        passes.push(step.report.cost().forwards);
    }
    let minimum = P3.loss(&[0.488258, -0.731887, 0.441106]);
    assert!(P3.loss(&P3.flatten(&point)) - minimum < 1e-6);
    // The first step is halved twice; later ones mostly are right at once.
    assert_eq!(passes[0], 1 + 3, "{passes:?}");
    assert!(
        passes.iter().all(|n| (2..=1 + 10).contains(n)),
        "{passes:?}"
    );
}

#[test]
fn a_newton_step_solves_a_quadratic() {
    let device = Device::flex().autodiff();
    let at = (&device, DType::F64);
    let target = Tensor::<1>::from_data(TensorData::new(vec![1.0, -2.0, 0.5, 3.0], [4]), at);
    let curvature = Tensor::<1>::from_data(TensorData::new(vec![4.0, 1.0, 0.1, 9.0], [4]), at);
    let weights = Tensor::<1>::zeros([4], at).require_grad();
    let model = Logistic {
        weight: Param::initialized(ParamId::new(), weights),
    };
    let loss = |model: &Logistic| {
        let away = model.weight.val() - target.clone();
        (away.square() * curvature.clone()).sum()
    };
    for probes in [0, 1] {
        let config = NewtonCgConfig::new()
            .with_tolerance(1e-9)
            .with_damping(1e-12)
            .with_probes(probes);
        let mut driver = config.init().unwrap();
        let step = driver.step(1.0, model.clone(), &loss).unwrap();
        let found: Vec<f64> = step.model.weight.val().into_data().iter().collect();
        for (got, want) in found.into_iter().zip([1.0, -2.0, 0.5, 3.0]) {
            assert!((got - want).abs() < 1e-5, "{got} instead of {want}");
        }
    }
}

fn strict(driver: Driver) -> Driver {
    let policy = StepPolicy::new().with_non_finite(NonFinitePolicy::Error);
    driver.with_policy(policy).unwrap()
}

/// A bound above the loss is an error under the strict policy, and stands still under the others.
#[test]
fn a_bound_above_the_loss_is_told() {
    let device = Device::flex().autodiff();
    let point = P3.point(&P3.start(), &device, DType::F64);
    let loss = |point: &P3Point| P3.tensor_loss(point);
    let value = P3.loss(&P3.start());
    let base = || SgdwConfig::new().init().unwrap();
    let bounded = [
        Sania::new().with_lower_bound(10.0).over(base()).unwrap(),
        Momo::new().with_lower_bound(10.0).over(base()).unwrap(),
    ];
    for driver in bounded {
        let error = strict(driver.clone()).step(0.1, point.clone(), &loss);
        let cause = error.unwrap_err().cause;
        match &cause {
            StepErrorCause::BelowBound { bound, loss, .. } => {
                assert!((*bound, *loss) == (10.0, value), "{cause}");
            }
            other => panic!("{other}"),
        }
        assert!(cause.to_string().contains("below the lower bound 10"));
        let mut driver = driver;
        let step = driver.step(0.1, point.clone(), &loss).unwrap();
        assert_eq!(step.report.step_size_factor(), Some(0.0));
    }
}

/// The loss of a number, with its own backward pass.
struct Alone;

impl Objective<P3Point> for Alone {
    fn loss(&self, _: &P3Point) -> Result<Tensor<1>, ObjectiveError> {
        Err(ObjectiveError::new("asked for a loss"))
    }
    fn gradient(&self) -> Option<&dyn GradientObjective<P3Point>> {
        Some(self)
    }
}

impl GradientObjective<P3Point> for Alone {
    fn gradients(&self, point: &P3Point) -> Result<GradientsParams, ObjectiveError> {
        let gradients = P3.tensor_loss(point).backward();
        Ok(GradientsParams::from_grads(gradients, point))
    }
}

#[test]
fn who_needs_the_loss_says_so_and_the_others_do_without() {
    let device = Device::flex().autodiff();
    let point = P3.point(&P3.start(), &device, DType::F64);
    let sgdw = || SgdwConfig::new().init().unwrap();
    let metric = |metric| {
        let config = InducedMetricConfig::new().with_metric(metric);
        config.init().unwrap()
    };
    let needing = [
        metric(InducedMetric::Log),
        Sania::new().over(sgdw()).unwrap(),
        Armijo::new().over(sgdw()).unwrap(),
    ];
    for mut driver in needing {
        let cause = driver.step(0.1, point.clone(), &Alone).unwrap_err().cause;
        assert!(matches!(cause, StepErrorCause::NoLoss { .. }), "{cause}");
        assert!(cause.to_string().contains("needs the loss"), "{cause}");
    }
    let others = [
        metric(InducedMetric::Rms),
        RandomScale::new().over(sgdw()).unwrap(),
        Prodigy::new().over(sgdw()).unwrap(),
        OptimisticAmsgradConfig::new().init().unwrap(),
    ];
    for mut driver in others {
        let moved = driver.step(0.1, point.clone(), &Alone).unwrap().model;
        assert_ne!(P3.flatten(&moved), P3.start());
    }
}

/// A source of directions for a rule that needs a diagonal, and of a diagonal for one that needs a direction.
#[derive(Debug)]
struct Ones(fn(ParamVec) -> CurvatureEstimate);

impl CurvatureSource for Ones {
    fn name(&self) -> &'static str {
        "ones"
    }
    fn estimate(
        &self,
        context: &mut CurvatureContext<'_>,
    ) -> Result<CurvatureEstimate, osculate_curvature::CurvatureError> {
        let ones = |(_, x): (&_, &Tensor<1>)| x.ones_like();
        Ok((self.0)(context.parameters()?.map(ones)))
    }
}

#[test]
fn curvature_of_the_wrong_kind_is_an_error() {
    let device = Device::flex().autodiff();
    let point = P3.point(&P3.start(), &device, DType::F64);
    let loss = |point: &P3Point| P3.tensor_loss(point);
    let wrong = [
        SophiaConfig::h()
            .init()
            .unwrap()
            .with_curvature(Ones(CurvatureEstimate::Solution)),
        NewtonCgConfig::new()
            .init()
            .unwrap()
            .with_curvature(Ones(CurvatureEstimate::Diagonal)),
    ];
    for mut driver in wrong {
        let cause = driver.step(0.1, point.clone(), &loss).unwrap_err().cause;
        let told = matches!(cause, StepErrorCause::Rule(RuleError::Curvature { .. }));
        assert!(told, "{cause}");
    }
}

#[test]
fn settings_out_of_range_are_errors() {
    let base = || SgdwConfig::new().init().unwrap();
    let errors = [
        Sania::new().with_lower_bound(f64::NAN).over(base()),
        Sania::new().with_beta(1.0).over(base()),
        Armijo::new().with_shrink(1.0).over(base()),
        Armijo::new().with_growth(0.5).over(base()),
        Armijo::new().with_trials(0).over(base()),
        Prodigy::new().with_initial(0.0).over(base()),
        Prodigy::new().with_growth(Some(1.0)).over(base()),
        Mars::new().with_gamma(-0.1).over(base()),
        Mars::new().with_clip(Some(0.0)).over(base()),
        NorMuonConfig::new().with_beta_2(1.0).init(),
    ];
    let fields = [
        "lower_bound",
        "beta",
        "shrink",
        "growth",
        "trials",
        "initial",
        "growth",
        "gamma",
        "clip",
        "beta_2",
    ];
    for (error, field) in errors.into_iter().zip(fields) {
        assert_eq!(error.unwrap_err().field, field);
    }
    let nested = Armijo::new().over(Sania::new().over(base()).unwrap());
    assert_eq!(nested.unwrap_err().field, "base");
}
