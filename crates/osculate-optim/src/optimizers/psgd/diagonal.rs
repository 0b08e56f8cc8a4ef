//! PSGD with a diagonal preconditioner: a preset of the Kronecker product.

use super::kron::PsgdKron;
use super::precondition::PsgdFit;
use super::settings::psgd_config;
use crate::config::{Check, ConfigError};
use crate::engine::{RefreshSchedule, constructors};
use crate::registry::{OptimizerRow, read, to_value};

psgd_config! {
    /// PSGD with a diagonal preconditioner: `P = diag(q²)`, fitted by
    /// `q = q (1 - (lr_preconditioner / L) ((P h)² - v²))`.
    ///
    /// With Newton's pairs `P` becomes `1 / abs` of the Hessian's diagonal where the Hessian is
    /// diagonal. Whitening makes every element's root mean square 1, as Adam does, by multiplicative
    /// steps instead of an average of squares; `v²` is then its expectation, 1. The step is
    /// `θ = (1 - lr λ) θ - lr clip(P m)` for the averaged gradient `m`.
    ///
    /// - Cost of a step: a few passes over the parameter. Newton adds 2 gradient evaluations where an
    ///   update is due.
    /// - State: 2 elements for each parameter element, 1 without momentum.
    /// - Learning rate: begin at 5e-3, where AdamW has 3e-3: that of [`PsgdKronConfig`](crate::PsgdKronConfig), since
    ///   the study has no figure for it and whitening makes steps of the same length.
    /// - When not to use it: it is the baseline of its family; matrices gain by
    ///   [`PsgdKronConfig`](crate::PsgdKronConfig).
    ///
    /// Paper: Li, *Preconditioned stochastic gradient descent*, <https://arxiv.org/abs/1512.04202>.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use osculate_optim::{ClosureOptimizer, PsgdDiagonalConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// device.seed(1);
    /// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
    /// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
    /// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
    /// let mut optimizer = PsgdDiagonalConfig::new().init()?;
    /// let mut losses = Vec::new();
    /// for _ in 0..10 {
    ///     let step = optimizer.step(0.03, model, &loss)?;
    ///     losses.push(step.report.loss());
    ///     model = step.model;
    /// }
    /// assert!(losses[9] < losses[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub struct PsgdDiagonalConfig {
        /// What is fitted. Default `Whitening`, the gradient.
        fit: "PsgdFit::Whitening",
        /// Step size of the preconditioner's own descent. Default 0.1, the authors'.
        lr_preconditioner: 0.1,
    }
}

impl PsgdDiagonalConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, or an invalid
    /// schedule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter): that of a Kronecker product with one factor, which is
    /// diagonal.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<PsgdKron, ConfigError> {
        let settings = self.settings("psgd-diagonal", Check::of("PsgdDiagonalConfig"))?;
        Ok(PsgdKron::diagonal(settings))
    }
}

constructors!(PsgdDiagonalConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "psgd-diagonal",
    text: "diagonal preconditioner that whitens gradients",
    learning_rate: 5e-3,
    gradients: 1.0,
    state: "2",
    defaults: || to_value(&PsgdDiagonalConfig::new()),
    build: |settings| Ok(read::<PsgdDiagonalConfig>(settings, "settings")?.init()?),
};
