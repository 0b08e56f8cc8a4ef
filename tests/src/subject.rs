//! The optimizers under test. [`for_each_optimizer`](crate::for_each_optimizer) is the one list: a
//! new optimizer gets every suite, on every backend, type and rank, by one line there.

use std::sync::Arc;

use burn::module::{Module, ParamGroup};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use osculate_optim::registry::OptimizerSpec;
use osculate_optim::{
    AdaHessianConfig, AdaptiveClip, Amp, Asam, Awp, CentralisedGradient, ClosureOptimizer,
    CustomDiagonal, DiagonalRequest, Driver, EigenSolver, EntropySgd, FastGam, FriendlySam, Gam,
    GradientPrediction, Grafting, Gsam, InducedMetricConfig, KeepDtype, KlShampooConfig,
    KlSoapConfig, LookSam, Mars, MuonConfig, NorMuonConfig, OptimisticAmsgradConfig,
    ParameterGroup, PerpGrad, Prodigy, PsgdDenseConfig, PsgdDiagonalConfig, PsgdFit, PsgdGeometry,
    PsgdKronConfig, PsgdLraConfig, RefreshSchedule, Sam, Select, ShampooConfig, ShampooForm,
    SoapConfig, SophiaConfig, SophiaSchedule, StepPolicy,
};

use crate::model::Ranked;

/// An optimizer under test, of the suites' own model unless another is named.
pub type Subject<M = Ranked> = Box<dyn ClosureOptimizer<M>>;

/// AdamW, with its state's type kept in records.
pub fn adamw() -> ModuleOptimizer {
    ModuleOptimizer::from(KeepDtype(AdamWConfig::new().build()))
}

/// SGD with momentum, with its state's type kept in records.
pub fn sgd() -> ModuleOptimizer {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    ModuleOptimizer::from(KeepDtype(
        SgdConfig::new().with_momentum(Some(momentum)).build(),
    ))
}

/// A driver as a subject.
fn subject<M: Module>(driver: impl Into<Driver>, policy: StepPolicy) -> Subject<M> {
    Box::new(driver.into().with_policy(policy).expect("valid"))
}

/// AdamW behind the closure door.
pub fn first_order_adamw<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(adamw(), policy)
}

/// SGD behind the closure door.
pub fn first_order_sgd<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(sgd(), policy)
}

/// SAM over SGD.
pub fn sam<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(Sam::new(0.05).over(sgd()).expect("valid"), policy)
}

/// SAM in its adaptive form, over AdamW.
pub fn sam_adaptive<M: Module>(policy: StepPolicy) -> Subject<M> {
    // The `adaptive` flag of the widespread implementation.
    let source = Asam::new(0.05)
        .with_eta(0.0)
        .with_scaled(Some(ParamGroup::all()));
    subject(source.over(adamw()).expect("valid"), policy)
}

/// ASAM over SGD.
pub fn asam<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(Asam::new(0.5).over(sgd()).expect("valid"), policy)
}

/// GSAM over AdamW.
pub fn gsam<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(Gsam::new(0.05).over(adamw()).expect("valid"), policy)
}

/// LookSAM over SGD.
pub fn looksam<M: Module>(policy: StepPolicy) -> Subject<M> {
    let source = LookSam::new(0.05).with_period(3);
    subject(source.over(sgd()).expect("valid"), policy)
}

/// LookSAM by tensor, over AdamW.
pub fn looksam_per_tensor<M: Module>(policy: StepPolicy) -> Subject<M> {
    let source = LookSam::new(0.05).with_period(2).with_per_tensor(true);
    subject(source.over(adamw()).expect("valid"), policy)
}

/// GAM over AdamW.
pub fn gam<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(Gam::new(0.1).over(adamw()).expect("valid"), policy)
}

/// GAM by four gradients, over SGD.
pub fn fast_gam<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(FastGam::new(0.1).over(sgd()).expect("valid"), policy)
}

/// AMP over SGD.
pub fn amp<M: Module>(policy: StepPolicy) -> Subject<M> {
    let source = Amp::new(0.2).with_iterations(2);
    subject(source.over(sgd()).expect("valid"), policy)
}

/// AWP over AdamW.
pub fn awp<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(Awp::new(0.01).over(adamw()).expect("valid"), policy)
}

/// Friendly SAM over SGD.
pub fn friendly_sam<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(FriendlySam::new(0.05).over(sgd()).expect("valid"), policy)
}

/// Entropy-SGD over SGD.
pub fn entropy_sgd<M: Module>(policy: StepPolicy) -> Subject<M> {
    let source = EntropySgd::new().with_length(3).with_weight_decay(0.01);
    subject(source.over(sgd()).expect("valid"), policy)
}

/// The orthogonal gradient over SGD.
pub fn perp_grad<M: Module>(policy: StepPolicy) -> Subject<M> {
    subject(PerpGrad::new().over(sgd()).expect("valid"), policy)
}

/// The orthogonal gradient of all parameters as one vector, over Muon.
pub fn perp_grad_global<M: Module>(policy: StepPolicy) -> Subject<M> {
    let filter = PerpGrad::new().with_global(true).with_rescale(false);
    let muon = MuonConfig::new().init().expect("valid");
    subject(filter.over(muon).expect("valid"), policy)
}

/// Gradient centralisation and adaptive clipping over AdamW.
pub fn clipped_centralised<M: Module>(policy: StepPolicy) -> Subject<M> {
    let clip = AdaptiveClip::new().over(adamw()).expect("valid");
    let driver = CentralisedGradient::new().over(clip);
    subject(driver.expect("valid"), policy)
}

/// AdaHessian.
pub fn adahessian<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = AdaHessianConfig::new();
    subject(config.init().expect("valid"), policy)
}

/// AdaHessian with a reused curvature.
pub fn adahessian_lazy<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = AdaHessianConfig::new()
        .with_period(3)
        .with_hessian_power(0.5)
        .with_weight_decay(0.01);
    subject(config.init().expect("valid"), policy)
}

/// Sophia-H.
pub fn sophia_h<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = SophiaConfig::h().with_period(3);
    subject(config.init().expect("valid"), policy)
}

/// Sophia-G.
pub fn sophia_g<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = SophiaConfig::g().with_period(3);
    subject(config.init().expect("valid"), policy)
}

/// Sophia-H whose gamma is steered.
pub fn sophia_steered<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = SophiaConfig::h().with_period(2).with_target_rate(Some(0.3));
    subject(config.init().expect("valid"), policy)
}

/// Sophia with squared gradients for its curvature, in the authors' order: it works on objectives
/// that are not supervised too.
pub fn sophia_custom<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = SophiaConfig::g()
        .with_period(2)
        .with_schedule(SophiaSchedule::AfterPeriod)
        .with_bias_correction(true);
    let squares =
        Arc::new(|request: &DiagonalRequest<'_>| Ok(request.gradient.hadamard(request.gradient)));
    let driver = config.init().expect("valid");
    subject(driver.with_curvature(CustomDiagonal::new(squares)), policy)
}

/// PSGD with a Kronecker product.
pub fn psgd_kron<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = PsgdKronConfig::new();
    subject(config.init().expect("valid"), policy)
}

/// The same by another geometry, with factors in half precision that take turns.
pub fn psgd_kron_eq<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = PsgdKronConfig::new()
        .with_geometry(PsgdGeometry::Eq)
        .with_fit(PsgdFit::WhiteningMomentum)
        .with_half_factors(true)
        .with_schedule(RefreshSchedule::Every { period: 3 })
        .with_weight_decay(0.01);
    subject(config.init().expect("valid"), policy)
}

/// The same by the authors' default geometry, with dense factors for every dimension.
pub fn psgd_kron_dense<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = PsgdKronConfig::new()
        .with_geometry(PsgdGeometry::Q05Eq15)
        .with_max_skew(f64::MAX);
    subject(config.init().expect("valid"), policy)
}

/// PSGD with a Kronecker product, fitted to Hessian products.
pub fn psgd_kron_newton<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = PsgdKronConfig::new()
        .with_fit(PsgdFit::Newton)
        .with_schedule(RefreshSchedule::Every { period: 2 });
    subject(config.init().expect("valid"), policy)
}

/// PSGD with a full matrix.
pub fn psgd_dense<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = PsgdDenseConfig::new()
        .with_fit(PsgdFit::Whitening)
        .with_max_size(5);
    subject(config.init().expect("valid"), policy)
}

/// PSGD with a diagonal.
pub fn psgd_diagonal<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = PsgdDiagonalConfig::new();
    subject(config.init().expect("valid"), policy)
}

/// PSGD with a low-rank matrix.
pub fn psgd_lra<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = PsgdLraConfig::new().with_rank(2);
    subject(config.init().expect("valid"), policy)
}

/// Muon for every parameter.
pub fn muon<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = MuonConfig::new();
    subject(config.init().expect("valid"), policy)
}

/// Muon for matrices, AdamW for the rest.
pub fn hybrid<M: Module>(policy: StepPolicy) -> Subject<M> {
    let rest = ParameterGroup::new("rest", Select::rank(..2)).with_lr_factor(0.1);
    let driver = MuonConfig::new().init().expect("valid");
    let driver = driver
        .for_matrices(adamw())
        .unwrap()
        .with_group(rest.optional());
    subject(driver.expect("valid"), policy)
}

/// Shampoo with blocks, and a start in the middle of the suites' runs.
pub fn shampoo<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = ShampooConfig::new()
        .with_period(2)
        .with_start(3)
        .with_block_size(3)
        .with_weight_decay(0.01);
    subject(config.init().expect("valid"), policy)
}

/// Scalable Shampoo.
pub fn shampoo_google<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = ShampooConfig::google().with_start(2);
    subject(config.init().expect("valid"), policy)
}

/// Shampoo by eigenvectors that are left alone where they are good enough.
pub fn shampoo_eigen<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = ShampooConfig::new()
        .with_form(ShampooForm::Eigen(EigenSolver::Iteration(1)))
        .with_tolerance(Some(0.05))
        .with_max_dim(4)
        .with_bf16_roots(true)
        .with_period(1)
        .with_start(1);
    subject(config.init().expect("valid"), policy)
}

/// Eigenvalue-corrected Shampoo.
pub fn shampoo_corrected<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = ShampooConfig::new()
        .with_form(ShampooForm::EigenvalueCorrected(EigenSolver::Eigh))
        .with_grafting(Grafting::None)
        .with_period(2)
        .with_start(2);
    subject(config.init().expect("valid"), policy)
}

/// SOAP.
pub fn soap<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = SoapConfig::new().with_refresh(RefreshSchedule::Every { period: 2 });
    subject(config.init().expect("valid"), policy)
}

/// SOAP with vectors, merged dimensions, one side and bf16.
pub fn soap_small<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = SoapConfig::new()
        .with_refresh(RefreshSchedule::Every { period: 3 })
        .with_precondition_1d(true)
        .with_merge_dims(true)
        .with_max_dim(6)
        .with_one_sided(true)
        .with_bf16_bases(true)
        .with_normalize(true);
    subject(config.init().expect("valid"), policy)
}

/// KL-Shampoo.
pub fn kl_shampoo<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = KlShampooConfig::new().with_refresh(RefreshSchedule::Every { period: 2 });
    subject(config.init().expect("valid"), policy)
}

/// KL-SOAP.
pub fn kl_soap<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = KlSoapConfig::new()
        .with_refresh(RefreshSchedule::Every { period: 2 })
        .with_max_dim(3);
    subject(config.init().expect("valid"), policy)
}

/// A row of the registry, or a composition of rows, with its default settings.
fn row<M: Module>(text: &str, policy: StepPolicy) -> Subject<M> {
    let spec: OptimizerSpec = text.parse().expect("a row");
    subject(spec.build(policy.seed).expect("valid"), policy)
}

/// Subjects that are rows of the registry.
macro_rules! rows {
    ($($name:ident = $text:literal;)*) => {
        $(
            #[doc = concat!("The optimizer `", $text, "`.")]
            pub fn $name<M: Module>(policy: StepPolicy) -> Subject<M> {
                row($text, policy)
            }
        )*
    };
}

// Over optimizers of our own: burn's records forget the type of a state.
rows! {
    sgdw = "sgdw";
    optimistic_amsgrad = "optimistic-amsgrad";
    induced_metric = "induced-metric";
    newton_cg = "newton-cg";
    sania = "sania";
    sania_adam = "sania(adam-sqr)";
    armijo = "armijo";
    random_scale = "random-scale";
    mars = "mars(soap)";
    hyperball = "hyperball(kl-shampoo)";
    armijo_mars = "schedule-free(armijo(mars(shampoo)))";
    sania_sam = "ema(sania(sam(adam-sqr)))";
    momentum_sam = "momentum-sam(sgdw)";
}

/// Prodigy over RMSProp's metric, from an estimate that moves weights of every type.
pub fn prodigy<M: Module>(policy: StepPolicy) -> Subject<M> {
    let base = InducedMetricConfig::new().init().expect("valid");
    let prodigy = Prodigy::new().with_initial(0.5);
    subject(prodigy.over(base).expect("valid"), policy)
}

/// NorMuon for every parameter.
pub fn normuon<M: Module>(policy: StepPolicy) -> Subject<M> {
    let config = NorMuonConfig::new();
    subject(config.init().expect("valid"), policy)
}

/// MARS over Shampoo, with the older gradient on the present batch.
pub fn mars_exact<M: Module>(policy: StepPolicy) -> Subject<M> {
    let shampoo = ShampooConfig::new().with_period(2).with_start(2);
    let mars = Mars::new().with_exact(true);
    subject(
        mars.over(shampoo.init().expect("valid")).expect("valid"),
        policy,
    )
}

/// Optimistic AMSGrad with extrapolated gradients.
pub fn optimistic_extrapolated<M: Module>(policy: StepPolicy) -> Subject<M> {
    let prediction = GradientPrediction::Extrapolated {
        span: 2,
        regularization: 1e-3,
        relative: true,
        newest: false,
        max_weight: 10.0,
    };
    let config = OptimisticAmsgradConfig::new().with_prediction(prediction);
    subject(config.init().expect("valid"), policy)
}

/// Calls a macro once for every optimizer: `suite!(name, constructor, needs_supervised)`.
#[macro_export]
macro_rules! for_each_optimizer {
    ($suite:ident) => {
        $suite!(adamw, $crate::subject::first_order_adamw, false);
        $suite!(sgd, $crate::subject::first_order_sgd, false);
        $suite!(sam, $crate::subject::sam, false);
        $suite!(sam_adaptive, $crate::subject::sam_adaptive, false);
        $suite!(asam, $crate::subject::asam, false);
        $suite!(gsam, $crate::subject::gsam, false);
        $suite!(looksam, $crate::subject::looksam, false);
        $suite!(
            looksam_per_tensor,
            $crate::subject::looksam_per_tensor,
            false
        );
        $suite!(gam, $crate::subject::gam, false);
        $suite!(fast_gam, $crate::subject::fast_gam, false);
        $suite!(amp, $crate::subject::amp, false);
        $suite!(awp, $crate::subject::awp, false);
        $suite!(friendly_sam, $crate::subject::friendly_sam, false);
        $suite!(entropy_sgd, $crate::subject::entropy_sgd, false);
        $suite!(perp_grad, $crate::subject::perp_grad, false);
        $suite!(perp_grad_global, $crate::subject::perp_grad_global, false);
        $suite!(
            clipped_centralised,
            $crate::subject::clipped_centralised,
            false
        );
        $suite!(adahessian, $crate::subject::adahessian, false);
        $suite!(adahessian_lazy, $crate::subject::adahessian_lazy, false);
        $suite!(sophia_h, $crate::subject::sophia_h, false);
        $suite!(sophia_g, $crate::subject::sophia_g, true);
        $suite!(sophia_steered, $crate::subject::sophia_steered, false);
        $suite!(sophia_custom, $crate::subject::sophia_custom, false);
        $suite!(psgd_kron, $crate::subject::psgd_kron, false);
        $suite!(psgd_kron_eq, $crate::subject::psgd_kron_eq, false);
        $suite!(psgd_kron_dense, $crate::subject::psgd_kron_dense, false);
        $suite!(psgd_kron_newton, $crate::subject::psgd_kron_newton, false);
        $suite!(psgd_dense, $crate::subject::psgd_dense, false);
        $suite!(psgd_diagonal, $crate::subject::psgd_diagonal, false);
        $suite!(psgd_lra, $crate::subject::psgd_lra, false);
        $suite!(muon, $crate::subject::muon, false);
        $suite!(hybrid, $crate::subject::hybrid, false);
        $suite!(shampoo, $crate::subject::shampoo, false);
        $suite!(shampoo_google, $crate::subject::shampoo_google, false);
        $suite!(shampoo_eigen, $crate::subject::shampoo_eigen, false);
        $suite!(shampoo_corrected, $crate::subject::shampoo_corrected, false);
        $suite!(soap, $crate::subject::soap, true);
        $suite!(soap_small, $crate::subject::soap_small, true);
        $suite!(kl_shampoo, $crate::subject::kl_shampoo, true);
        $suite!(kl_soap, $crate::subject::kl_soap, true);
        $suite!(sgdw, $crate::subject::sgdw, false);
        $suite!(
            optimistic_amsgrad,
            $crate::subject::optimistic_amsgrad,
            false
        );
        $suite!(
            optimistic_extrapolated,
            $crate::subject::optimistic_extrapolated,
            false
        );
        $suite!(induced_metric, $crate::subject::induced_metric, false);
        $suite!(newton_cg, $crate::subject::newton_cg, true);
        $suite!(sania, $crate::subject::sania, true);
        $suite!(sania_adam, $crate::subject::sania_adam, true);
        $suite!(armijo, $crate::subject::armijo, true);
        $suite!(random_scale, $crate::subject::random_scale, false);
        $suite!(prodigy, $crate::subject::prodigy, false);
        $suite!(mars, $crate::subject::mars, true);
        $suite!(mars_exact, $crate::subject::mars_exact, false);
        $suite!(hyperball, $crate::subject::hyperball, true);
        $suite!(normuon, $crate::subject::normuon, false);
        $suite!(armijo_mars, $crate::subject::armijo_mars, true);
        $suite!(sania_sam, $crate::subject::sania_sam, true);
        $suite!(momentum_sam, $crate::subject::momentum_sam, false);
    };
}

/// Calls `check(device, dtype)` in one test for each backend and type.
#[macro_export]
macro_rules! on_every_backend {
    ($check:expr) => {
        $crate::on_backend!(flex_f32, Flex, F32, $check);
        $crate::on_backend!(flex_f64, Flex, F64, $check);
        $crate::on_backend!(ndarray_f32, NdArray, F32, $check);
        $crate::on_backend!(ndarray_f64, NdArray, F64, $check);
        #[cfg(feature = "wgpu")]
        $crate::on_backend!(wgpu_f32, Wgpu, F32, $check);
    };
}

/// A named identity, checked by `check(device, dtype)` for each backend and type.
#[macro_export]
macro_rules! identity {
    ($name:ident, $check:expr) => {
        mod $name {
            use super::*;
            $crate::on_every_backend!(|device: &Device, dtype: DType| {
                let check: fn(&Device, DType) = $check;
                check(device, dtype)
            });
        }
    };
}

/// One test of [`on_every_backend`].
#[macro_export]
macro_rules! on_backend {
    ($name:ident, $backend:ident, $dtype:ident, $check:expr) => {
        #[test]
        fn $name() {
            if let Some(device) = $crate::backend::Backend::$backend.device() {
                ($check)(&device, burn::tensor::DType::$dtype);
            }
        }
    };
}
