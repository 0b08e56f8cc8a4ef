use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use osculate_jvp::KeptMemory;

use super::ggn::{clean_outputs, is_zero, with_rounding, zero_product};
use super::jacobian::Jacobian;
use super::keeping;
use super::{CurvatureOperator, HvpMode, Product, Structure};
use crate::error::CurvatureError;
use crate::objective::Criterion;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};

/// Which targets the per-sample gradients of a [`Fisher`] matrix are taken at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FisherKind {
    /// The targets of the batch: the second moment of the gradients, usually called the empirical
    /// Fisher matrix. It is not an estimate of the Fisher matrix.
    Empirical,
    /// Targets drawn once from the model's distribution with this seed: a one-sample Monte-Carlo
    /// estimate of the Fisher matrix, whose expectation is the Gauss-Newton matrix.
    Sampled {
        /// Seed of the draw.
        seed: u64,
    },
}

/// A Fisher matrix `F = (1 / B s) sum_b g_b g_b^T` of per-sample gradients `g_b`.
///
/// `s` is the criterion's [`likelihood_scale`](Criterion::likelihood_scale) for sampled targets,
/// which makes the expectation of `F` the Gauss-Newton matrix, and 1 for the empirical kind.
///
/// No per-sample gradient is formed: `g_b^T v` is the gradient of a row's loss by its outputs times
/// `(J v)_b`, and the weighted sum `(1/B) sum_b (g_b^T v) g_b` is one backward pass. `J v` is exact
/// or a central difference as for [`GaussNewton`](super::GaussNewton), at the same cost. It needs a
/// [`Supervised`](crate::Supervised) objective whose rows are independent: batch normalisation in
/// training mode couples them.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Int, Tensor};
/// # use osculate_curvature::{Criterion, GradientOracle, SupervisedBatch};
/// # let device = Device::flex().autodiff();
/// # device.seed(1);
/// # let model: Linear = LinearConfig::new(8, 3).init(&device);
/// # let x = Tensor::<2>::random([16, 8], Distribution::Default, &device);
/// # let labels = Tensor::<1, Int>::arange(0..16, &device).remainder_scalar(3);
/// # let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
/// # let objective = SupervisedBatch::new(x, forward, Criterion::cross_entropy(labels));
/// # let oracle = GradientOracle::new(&model, &objective);
/// use osculate_curvature::{CurvatureOperator, Fisher, FisherKind, ParamVec, sample_gradients};
/// let fisher = Fisher::new(&oracle, FisherKind::Empirical)?;
/// let v = ParamVec::gaussian(&fisher.layout(), 0);
/// let along = v.dot(&fisher.apply(&v)?.value);
/// // The mean over samples of the squared derivatives along v.
/// let samples = sample_gradients(&oracle, &(0..16).collect::<Vec<_>>())?;
/// let mean = samples.iter().map(|g| g.dot(&v).powi(2)).sum::<f64>() / 16.0;
/// assert!((along / mean - 1.0).abs() < 1e-3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct Fisher<'a, M: Module> {
    oracle: &'a GradientOracle<'a, M>,
    layout: Arc<ParamLayout>,
    jacobian: Jacobian,
    criterion: Criterion,
    scale: f64,
}

impl<'a, M: Module> Fisher<'a, M> {
    /// The Fisher matrix at the oracle's weights. Runs the clean pass if none has run.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], and as [`GradientOracle::clean`].
    pub fn new(
        oracle: &'a GradientOracle<'a, M>,
        kind: FisherKind,
    ) -> Result<Self, CurvatureError> {
        Self::with_mode(oracle, kind, HvpMode::default())
    }

    /// The Fisher matrix with derivatives of the outputs made as `mode` says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_mode(
        oracle: &'a GradientOracle<'a, M>,
        kind: FisherKind,
        mode: HvpMode,
    ) -> Result<Self, CurvatureError> {
        let criterion = oracle.supervised("a Fisher product")?.criterion();
        let layout = oracle.layout()?;
        let jacobian = Jacobian::new(oracle, &layout, mode)?;
        let (criterion, scale) = match kind {
            FisherKind::Empirical => (criterion.clone(), 1.0),
            FisherKind::Sampled { seed } => {
                let outputs = clean_outputs(oracle)?;
                let scale = criterion.likelihood_scale(outputs.dims()[1]);
                (criterion.sample(outputs, seed), scale)
            }
        };
        Ok(Self {
            oracle,
            layout,
            jacobian,
            criterion,
            scale,
        })
    }
}

impl<M: Module> Fisher<'_, M> {
    /// Sets how much memory exact products may take once there are several, as
    /// [`GaussNewton::with_keep_within`](super::GaussNewton::with_keep_within) does.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a negative number.
    pub fn with_keep_within(mut self, gradients: f64) -> Result<Self, CurvatureError> {
        keeping::validate(gradients)?;
        self.jacobian.keep_within = gradients;
        Ok(self)
    }

    /// The memory of what products share, once it is kept.
    pub fn kept(&self) -> Option<KeptMemory> {
        self.jacobian.kept()
    }

    /// What is pulled back for `J v`.
    fn cotangent(&self, outputs: &Tensor<2>, jv: Tensor<2>) -> Tensor<2> {
        let rows = outputs.dims()[0].max(1) as f64;
        let gradients = self.criterion.row_gradients(outputs.clone());
        let directional = (gradients.clone() * jv).sum_dim(1);
        (gradients * directional).div_scalar(self.scale * rows)
    }
}

impl<M: Module> CurvatureOperator for Fisher<'_, M> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn structure(&self) -> Structure {
        Structure::PositiveSemidefinite
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        let _span = tracing::debug_span!("fisher_vp").entered();
        self.layout.check(v.layout())?;
        let before = self.oracle.cost();
        if is_zero(v)? {
            return Ok(zero_product(&self.layout));
        }
        let (jv, provenance) = self.jacobian.product(self.oracle, v)?;
        let outputs = clean_outputs(self.oracle)?;
        let cotangent = self.cotangent(&outputs, jv);
        let value = self
            .jacobian
            .pull_back(self.oracle, &self.layout, cotangent)?;
        Ok(Product {
            provenance: with_rounding(provenance, &outputs, &value),
            value,
            cost: self.oracle.cost().since(before),
        })
    }

    fn width(&self) -> usize {
        self.jacobian.width()
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        let made = self
            .jacobian
            .squares(self.oracle, &self.layout, vectors, |outputs, jv| {
                self.cotangent(outputs, jv)
            })?;
        made.map_or_else(|| vectors.iter().map(|v| self.apply(v)).collect(), Ok)
    }
}
