//! The same training loop with every method: one line changes.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, SgdConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Int, Tensor};
use osculate_curvature::{Criterion, Drawing, Objective, Supervised};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{
    AdaHessianConfig, AdaptiveClip, Amp, Armijo, Asam, AveragedGradientConfig, Awp,
    CentralisedGradient, ClosureOptimizer, Driver, Ema, FastGam, FriendlySam, Gam, Gsam, Hyperball,
    InducedMetricConfig, KlShampooConfig, KlSoapConfig, LookSam, Lookahead, Mars, MomentumSam,
    Momo, MuonConfig, NewtonCgConfig, NorMuonConfig, OptimisticAmsgradConfig, PerpGrad, Prodigy,
    PsgdDenseConfig, PsgdDiagonalConfig, PsgdKronConfig, PsgdLraConfig, RandomScale, Sam, Sania,
    SasshaConfig, ScheduleFree, SgdwConfig, ShampooConfig, SoapConfig, SophiaConfig,
    SquaredGradientConfig,
};
use osculate_tests::model::{labels, wave};

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        // Drawn from no generator: what it has drawn depends on the tests beside.
        let linear = |config: LinearConfig, phase: f64| {
            let mut linear: Linear = config.init(device);
            let [rows, columns] = linear.weight.dims();
            let values = |n: usize, phase: f64| {
                let values = wave(n, phase).into_iter();
                let values: Vec<f32> = values.map(|x| 0.5 * x as f32).collect();
                Tensor::<1>::from_floats(&*values, device)
            };
            let weight = values(rows * columns, phase).reshape([rows, columns]);
            linear.weight = linear.weight.map(|_| weight.require_grad());
            let bias = values(columns, phase + 0.7);
            linear.bias = linear.bias.map(|old| old.map(|_| bias.require_grad()));
            linear
        };
        Self {
            hidden: linear(LinearConfig::new(4, 6), 0.1),
            head: linear(LinearConfig::new(6, 3), 0.2),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.head.forward(tanh(self.hidden.forward(x)))
    }
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// One function, with one training loop in it, for each line.
macro_rules! loops {
    ($($name:ident at $lr:literal: $optimizer:expr;)*) => {
        $(
            #[test]
            fn $name() -> Fallible<()> {
                let device = Device::flex().autodiff();
                let x = Tensor::<1>::from_floats(&*numbers(), &device).reshape([12, 4]);
                let y: Tensor<1, Int> = labels(12, 3, &device);
                let mut model = Net::new(&device);

                let mut optimizer = $optimizer;

                let mut losses = Vec::new();
                for _ in 0..10 {
                    let objective = Supervised::new(
                        |model: &Net| model.forward(x.clone()),
                        Criterion::cross_entropy(y.clone()),
                    );
                    let step = optimizer.step($lr, model, &objective)?;
                    losses.push(step.report.loss());
                    model = step.model;
                }
                assert!(losses[9] < losses[0], "{losses:?}");
                let evaluated = optimizer.evaluation_model(&model)?;
                let outputs = evaluated.forward(x.clone()).into_data();
                assert!(outputs.iter::<f64>().all(f64::is_finite));
                Ok(())
            }
        )*
    };
}

fn numbers() -> Vec<f32> {
    wave(48, 0.5).into_iter().map(|x| x as f32).collect()
}

fn adamw() -> Driver {
    AdamWConfig::new().init().into()
}

loops! {
    burns_adamw at 1e-2: Driver::from(AdamWConfig::new().init());
    burns_sgd at 0.1: Driver::from(SgdConfig::new().init());
    sam at 1e-2: Sam::new(0.05).over(adamw())?;
    asam at 1e-2: Asam::new(0.5).over(adamw())?;
    gsam at 1e-2: Gsam::new(0.05).over(adamw())?;
    looksam at 1e-2: LookSam::new(0.05).over(adamw())?;
    gam at 1e-2: Gam::new(0.2).over(adamw())?;
    fast_gam at 1e-2: FastGam::new(0.2).over(adamw())?;
    amp at 1e-2: Amp::new(0.5).over(adamw())?;
    awp at 1e-2: Awp::new(0.01).over(adamw())?;
    friendly_sam at 1e-2: FriendlySam::new(0.05).over(adamw())?;
    perp_grad at 1e-2: PerpGrad::new().over(adamw())?;
    centralised_gradient at 1e-2: CentralisedGradient::new().over(adamw())?;
    adaptive_clip at 1e-2: AdaptiveClip::new().over(adamw())?;
    perp_grad_over_muon at 1e-2: PerpGrad::new().over(MuonConfig::new().init()?)?;
    gam_over_soap at 1e-2: Gam::new(0.2).over(SoapConfig::new().init()?)?;
    awp_over_sophia at 1e-2: Awp::new(0.01).over(SophiaConfig::g().init()?)?;
    adahessian at 1e-2: AdaHessianConfig::new().init()?;
    sassha at 1e-2: SasshaConfig::new().init()?;
    sophia_h at 1e-2: SophiaConfig::h().init()?;
    sophia_g at 1e-2: SophiaConfig::g().init()?;
    shampoo at 1e-2: ShampooConfig::new().init()?;
    soap at 1e-2: SoapConfig::new().init()?;
    kl_shampoo at 1e-2: KlShampooConfig::new().init()?;
    kl_soap at 1e-2: KlSoapConfig::new().init()?;
    psgd_kron at 1e-2: PsgdKronConfig::new().init()?;
    psgd_lra at 1e-2: PsgdLraConfig::new().init()?;
    psgd_dense at 1e-2: PsgdDenseConfig::new().init()?;
    psgd_diagonal at 1e-2: PsgdDiagonalConfig::new().init()?;
    muon at 1e-2: MuonConfig::new().init()?.for_matrices(AdamWConfig::new().init())?;
    averaged_gradient at 0.1: AveragedGradientConfig::new().init()?;
    momo at 1.0: Momo::new().over(AveragedGradientConfig::new().init()?)?;
    schedule_free at 1e-2: ScheduleFree::new().over(adamw())?;
    ema at 1e-2: Ema::new(0.9).over(adamw())?;
    sgdw at 0.05: SgdwConfig::new().init()?;
    optimistic_amsgrad at 3e-3: OptimisticAmsgradConfig::new().init()?;
    induced_metric at 1e-2: InducedMetricConfig::new().init()?;
    newton_cg at 0.3: NewtonCgConfig::new().init()?;
    sania at 1e-2: Sania::new().over(SquaredGradientConfig::new().init()?)?;
    sania_over_newton at 0.3: Sania::new().over(NewtonCgConfig::new().init()?)?;
    armijo_over_shampoo at 1.0: Armijo::new().over(ShampooConfig::new().init()?)?;
    prodigy_over_soap at 1.0: Prodigy::new().with_initial(1e-4).over(SoapConfig::new().init()?)?;
    random_scale at 0.02: RandomScale::new().over(SgdwConfig::new().init()?)?;
    mars_over_soap at 1e-2: Mars::new().over(SoapConfig::new().init()?)?;
    mars_over_shampoo at 1e-2: Mars::new().over(ShampooConfig::new().init()?)?;
    hyperball_over_soap at 1e-2: Hyperball::new().over(SoapConfig::new().init()?)?;
    normuon at 1e-2: NorMuonConfig::new().init()?.for_matrices(AdamWConfig::new().init())?;
    lookahead at 1e-2: Lookahead::new().over(adamw())?;
    momentum_sam at 1e-2: MomentumSam::new(0.05).over(adamw())?;
    sam_over_sophia at 1e-2: Sam::new(0.05).over(SophiaConfig::h().init()?)?;
    sam_over_soap at 1e-2: Sam::new(0.05).over(SoapConfig::new().init()?)?;
    momo_over_shampoo at 0.1: Momo::new().over(ShampooConfig::new().init()?)?;
    schedule_free_over_soap at 1e-2: ScheduleFree::new().over(SoapConfig::new().init()?)?;
    muon_with_sophia at 1e-2: MuonConfig::new().init()?.for_matrices(SophiaConfig::h().init()?)?;
    by_name at 1e-2: "sam(soap)".parse::<OptimizerSpec>()?.make::<Net>(0)?;
}

#[test]
fn every_row_of_the_registry_runs_the_loop() -> Fallible<()> {
    let device = Device::flex().autodiff();
    let x = Tensor::<1>::from_floats(&*numbers(), &device).reshape([12, 4]);
    let y: Tensor<1, Int> = labels(12, 3, &device);
    for kind in OptimizerKind::BUILT_IN {
        let mut model = Net::new(&device);
        let mut optimizer = OptimizerSpec::new(*kind).make::<Net>(0)?;
        let mut losses = Vec::new();
        for _ in 0..10 {
            let batch = || -> Box<dyn Objective<Net>> {
                let (x, y) = (x.clone(), y.clone());
                let outputs = move |model: &Net| model.forward(x.clone());
                Box::new(Supervised::new(outputs, Criterion::cross_entropy(y)))
            };
            let objective = Drawing::new(batch(), |_| Ok(batch()));
            let step = optimizer.step(kind.learning_rate(), model, &objective)?;
            losses.push(step.report.loss());
            model = step.model;
        }
        assert!(losses[9] < losses[0], "{kind}: {losses:?}");
    }
    Ok(())
}
