//! Where a diagonal comes from.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use burn::module::Module;
use osculate_curvature::{
    CurvatureError, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpFallback,
    ParamLayout, ParamVec, ProbeDistribution, gnb_sample,
};

use crate::record::StateRecord;

/// A user's own probe for a step: must have independent elements of zero mean and unit variance,
/// and depend on its arguments alone, or a resumed run differs from an uninterrupted one.
pub type ProbeFn = Arc<dyn Fn(&Arc<ParamLayout>, u64) -> ParamVec + Send + Sync>;

/// A user's own estimate of the diagonal for a step.
pub type DiagonalFn =
    Arc<dyn Fn(&DiagonalRequest<'_>) -> Result<ParamVec, CurvatureError> + Send + Sync>;

/// What an estimate may look at.
#[derive(Debug, Clone, Copy)]
pub struct DiagonalRequest<'a> {
    /// The weights.
    pub parameters: &'a ParamVec,
    /// The gradient of the loss at the weights.
    pub gradient: &'a ParamVec,
    /// Number of steps made before this one.
    pub step: u64,
    /// A seed that differs from step to step.
    pub seed: u64,
}

/// How a diagonal is estimated, with what must survive from one estimate to the next.
#[derive(Clone)]
pub(super) struct CurvatureSource {
    kind: SourceKind,
    hessian: HessianConfig,
    probes: Option<ProbeFn>,
    /// The finite-difference step that worked last: looking for it anew at every estimate would
    /// cost two forward passes. It is part of the state, or a resumed run would differ.
    last_step: Option<f64>,
    /// Why exact products are not possible, once that is known.
    fallback: HvpFallback,
    /// Whether that was known after the last step that was made. It is part of the state too.
    differences: bool,
}

#[derive(Clone)]
pub(super) enum SourceKind {
    /// `H z` for one random probe, combined with the probe by the method.
    Hutchinson(ProbeDistribution),
    /// `B ĝ ⊙ ĝ` at sampled targets.
    GaussNewtonBartlett,
    /// The user's own.
    Custom(DiagonalFn),
}

impl Debug for CurvatureSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let name = match &self.kind {
            SourceKind::Hutchinson(distribution) => format!("Hutchinson({distribution:?})"),
            SourceKind::GaussNewtonBartlett => "GaussNewtonBartlett".to_string(),
            SourceKind::Custom(_) => "Custom".to_string(),
        };
        f.write_str(&name)
    }
}

/// Keeps the streams of probes and of sampled targets apart from the dropout mask's.
const PROBE_STREAM: u64 = 0x5052_4F42;

impl CurvatureSource {
    pub(super) fn new(kind: SourceKind) -> Self {
        Self {
            kind,
            hessian: HessianConfig {
                // The error's estimate would read two norms back in every product.
                estimate_error: false,
                ..HessianConfig::default()
            },
            probes: None,
            last_step: None,
            fallback: HvpFallback::default(),
            differences: false,
        }
    }

    pub(super) fn set_kind(&mut self, kind: SourceKind) {
        self.kind = kind;
    }

    pub(super) fn set_probes(&mut self, probes: ProbeFn) {
        self.probes = Some(probes);
    }

    pub(super) fn set_hessian(&mut self, config: HessianConfig) {
        self.hessian = config;
        self.fallback = HvpFallback::default();
    }

    pub(super) fn last_step(&self) -> Option<f64> {
        self.last_step
    }

    /// Takes over what an estimate found, once its step has been made.
    pub(super) fn set_last_step(&mut self, step: Option<f64>) {
        self.last_step = step;
        self.differences = self.fallback.reason().is_some();
    }

    pub(super) fn write(&self, record: &mut StateRecord) {
        record.set_products(self.last_step, self.differences);
    }

    pub(super) fn read(&mut self, record: &StateRecord) {
        (self.last_step, self.fallback) = record.products();
        self.differences = self.fallback.reason().is_some();
    }

    /// Estimates at the oracle's weights. `combine` makes the estimate out of a probe and its
    /// product, both in the type in which statistics are kept. Returns the finite-difference step
    /// to keep, which the caller stores once the whole step has succeeded.
    pub(super) fn estimate<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        step: u64,
        combine: impl FnOnce(&ParamVec, &ParamVec) -> ParamVec,
    ) -> Result<(ParamVec, Option<f64>), CurvatureError> {
        let seed = oracle.seed() ^ PROBE_STREAM;
        match &self.kind {
            SourceKind::Hutchinson(distribution) => {
                let hessian = Hessian::with_config(oracle, self.hessian)?
                    .with_first_step(self.last_step)
                    .with_fallback(self.fallback.clone());
                let layout = hessian.layout();
                let probe = match &self.probes {
                    Some(draw) => draw(&layout, step),
                    None => distribution.draw(&layout, seed, 0),
                };
                let product = hessian.apply_probe(&probe)?;
                let estimate = combine(&probe.to_compute_dtype(), &product.value);
                Ok((estimate, hessian.last_step()))
            }
            SourceKind::GaussNewtonBartlett => Ok((gnb_sample(oracle, seed)?, self.last_step)),
            SourceKind::Custom(diagonal) => {
                let request = DiagonalRequest {
                    parameters: oracle.parameters()?,
                    gradient: &oracle.clean()?.gradient,
                    step,
                    seed,
                };
                let estimate = diagonal(&request)?;
                request.parameters.layout().check(estimate.layout())?;
                Ok((estimate.to_compute_dtype(), self.last_step))
            }
        }
    }
}
