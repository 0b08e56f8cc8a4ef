use std::cell::OnceCell;
use std::sync::Arc;

use burn::module::Module;
use osculate_jvp::KeptMemory;

use super::difference::Line;
use super::evidence::Evidence;
use super::fallback::{Attempts, HvpFallback, HvpMode};
use super::ggn::{checked_norm, is_zero, zero_product};
use super::keeping::{self, KEEP_WITHIN};
use super::replay::{Recorded, Replay};
use super::step::{Stepper, finite_norm};
use super::{CurvatureOperator, Product, Provenance, StepRule, Structure};
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};

/// Which difference of gradients stands for the Hessian-vector product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// `(∇L(θ + hv) - ∇L(θ - hv)) / 2h`: two gradients, error of order `h^2`. Relative error about
    /// 3e-4 in `f32` on smooth networks.
    #[default]
    Central,
    /// `(∇L(θ + hv) - ∇L(θ)) / h`: one gradient besides the clean one, error of order `h`. Relative
    /// error about 1e-2 in `f32`: enough for an average over many steps, not for a spectrum.
    Forward,
    /// `(4 c(h) - c(2h)) / 3` for central differences `c`: four gradients, error of order `h^4`,
    /// and an estimate of the truncation.
    Richardson,
}

/// Settings of [`Hessian`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HessianConfig {
    /// Whether products are exact or finite differences. Default [`HvpMode::Auto`]; the other
    /// settings are those of finite differences.
    pub mode: HvpMode,
    /// Which difference to take. Default [`Scheme::Central`].
    pub scheme: Scheme,
    /// How to choose the step. Default [`StepRule::Auto`].
    pub step: StepRule,
    /// Whether to estimate the error of every product: truncation, rounding and kinks. Under
    /// [`StepRule::Auto`] and [`Scheme::Central`] the step is then what the evidence favours, at two
    /// gradients more for the first product and wherever the loss bends more than it did there;
    /// where it has kinks, the first product tries up to eight other steps. A product takes
    /// two copies of the weights more. Default `true`.
    pub estimate_error: bool,
    /// How much memory exact products may take once there are several, in units of a gradient's
    /// peak: from the second product on, what does not depend on the direction is computed once and
    /// kept, where it fits. 0 keeps nothing. Default 3. It is the peak of one product:
    /// [`apply_many`](CurvatureOperator::apply_many) makes [`width`](CurvatureOperator::width) side by
    /// side, each with working memory of its own.
    pub keep_within: f64,
}

impl Default for HessianConfig {
    fn default() -> Self {
        Self {
            mode: HvpMode::Auto,
            scheme: Scheme::Central,
            step: StepRule::Auto,
            estimate_error: true,
            keep_within: KEEP_WITHIN,
        }
    }
}

/// The Hessian `H = ∇²L(θ)`, exactly or by finite differences of gradients.
///
/// Where the objective is a [`Batched`](crate::Batched) or
/// [`SupervisedBatch`](crate::SupervisedBatch), its operations are recorded and differentiated, and
/// products are exact up to rounding: see [`HvpMode`]. Cost of the first exact product: 2 to 2.7
/// gradient evaluations. The second, or several at once, computes what does not depend on the
/// direction and keeps it with the operator, at 2/3 of a gradient and the memory that
/// [`kept`](Hessian::kept) states, where [`HessianConfig::keep_within`] allows it: products then
/// cost 1.2 to 2 gradients. The operator stays at the weights that the oracle was made at, and so
/// does what it keeps. Layers that train are recorded in training: batch normalisation with all derivatives of
/// the batch's statistics, dropout with the masks of the clean pass. Before the first product (for a
/// random probe: within it) the recording is compared with the clean pass, because which layers train
/// is found out by trial.
///
/// Otherwise `apply(v)` moves along `v / |v|` and scales back, so the result does not depend on the
/// length of `v`. It is meant for smooth losses. Where the network has kinks (ReLU, max pooling), a
/// finite difference also sees the kinks within its step and gives the Hessian of a smoothed loss,
/// whose trace can be several times larger: the product's [`error`](Product::error) tells, estimators
/// that it spoils have not converged, and [`GaussNewton`](super::GaussNewton) is the operator to use
/// there.
///
/// Cost of a finite difference: 2 gradient evaluations ([`Scheme::Central`]) along directions like
/// the last one; where the outputs of a supervised objective move by more than 1.3 or less than 0.5
/// times what is aimed for, the pair is taken again, at most twice. The first product looks for its step
/// with 2 forward passes, rarely 4 or 6, and for its error with 2 gradients more; a plain loss takes 4
/// gradients for every direction that is not a random probe. Where the first product meets kinks or
/// noise it tries up to eight other steps, at 4 gradients each, and keeps the best for those after it.
/// Every [`Product`] says what it cost. Each reads back the movement of the outputs and some norms.
/// Memory: up to six gradients and one copy of the weights beside the result.
///
/// # Example
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor, activation::tanh};
/// use osculate_curvature::{CurvatureOperator, GradientOracle, Hessian, ParamVec};
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([5, 3], &device);
/// let loss = |model: &Linear| tanh(model.forward(x.clone())).square().mean();
/// let oracle = GradientOracle::new(&model, &loss);
/// let hessian = Hessian::new(&oracle)?;
/// let v = ParamVec::gaussian(&hessian.layout(), 0);
/// let product = hessian.apply(&v)?;
/// println!("v'Hv = {} at {} gradients", v.dot(&product.value), product.cost.gradient_evaluations());
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct Hessian<'a, M: Module> {
    pub(super) oracle: &'a GradientOracle<'a, M>,
    pub(super) config: HessianConfig,
    pub(super) layout: Arc<ParamLayout>,
    pub(super) stepper: Stepper,
    pub(super) evidence: Evidence,
    replay: OnceCell<Replay>,
    attempts: Attempts,
}

impl<'a, M: Module> Hessian<'a, M> {
    /// The Hessian with the default settings. Runs the clean pass of the oracle if none has run.
    ///
    /// # Errors
    /// As [`GradientOracle::clean`].
    pub fn new(oracle: &'a GradientOracle<'a, M>) -> Result<Self, CurvatureError> {
        Self::with_config(oracle, HessianConfig::default())
    }

    /// The Hessian with other settings.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a step that is not positive, and as
    /// [`GradientOracle::clean`].
    pub fn with_config(
        oracle: &'a GradientOracle<'a, M>,
        config: HessianConfig,
    ) -> Result<Self, CurvatureError> {
        config.step.validate()?;
        keeping::validate(config.keep_within)?;
        let layout = oracle.layout()?;
        let order = match config.scheme {
            Scheme::Forward => 1.0 / 2.0,
            Scheme::Central | Scheme::Richardson => 1.0 / 3.0,
        };
        let stepper = Stepper::new(&layout, finite_norm(oracle.parameters()?), order);
        Ok(Self {
            oracle,
            config,
            layout,
            stepper,
            evidence: Evidence::default(),
            replay: OnceCell::new(),
            attempts: Attempts::default(),
        })
    }

    /// Starts from a step that worked at earlier weights, instead of looking for one.
    pub fn with_first_step(self, step: Option<f64>) -> Self {
        if let Some(step) = step {
            self.stepper.set_last(step);
        }
        self
    }

    /// The step that the next product would start from.
    pub fn last_step(&self) -> Option<f64> {
        self.stepper.last()
    }

    /// Shares the decision to use finite differences with other operators, under
    /// [`HvpMode::Auto`].
    pub fn with_fallback(mut self, fallback: HvpFallback) -> Self {
        self.attempts = Attempts::sharing(fallback);
        self
    }

    /// Why products are made by finite differences, where [`HvpMode::Auto`] had to.
    pub fn fallback(&self) -> Option<&str> {
        self.attempts.reason()
    }

    /// `H v`, or `H z` of a random probe, where it can be made exactly; `None` where
    /// [`apply`](CurvatureOperator::apply) would take finite differences.
    ///
    /// Cost: as `apply` where it gives a product, at most that of recording otherwise.
    ///
    /// # Errors
    /// As `apply`.
    pub fn apply_exactly(
        &self,
        v: &ParamVec,
        random: bool,
    ) -> Result<Option<Product>, CurvatureError> {
        self.layout.check(v.layout())?;
        // A probe is not zero, and need not be read back.
        if !random && is_zero(v)? {
            return Ok(Some(zero_product(&self.layout)));
        }
        let before = self.oracle.cost();
        let value = self.exact(v, random)?;
        Ok(value.map(|value| Product {
            value,
            cost: self.oracle.cost().since(before),
            provenance: Provenance::Exact,
        }))
    }

    /// `H z` of a random probe by a central difference at the step of [`StepRule::Auto`]'s rule, with its
    /// error, and whether that is below a tenth of the product: `false` where kinks or noise within the step
    /// spoil it, `None` where numbers that are not finite tell nothing of it.
    ///
    /// Cost: that of a product without an estimate of its error, and two gradients more where its two sides
    /// differ by more than a tenth.
    ///
    /// # Errors
    /// As [`apply`](CurvatureOperator::apply).
    pub fn judge(&self, z: &ParamVec) -> Result<(Product, Option<bool>), CurvatureError> {
        self.layout.check(z.layout())?;
        let before = self.oracle.cost();
        let line = Line {
            hessian: self,
            v: z,
            norm: (self.layout.num_elements() as f64).sqrt(),
        };
        let (value, step, error, serves) = line.judge()?;
        let product = Product {
            value,
            cost: self.oracle.cost().since(before),
            provenance: Provenance::FiniteDifference {
                step,
                error,
                reason: self.attempts.kind(self.config.mode),
            },
        };
        Ok((product, serves))
    }

    /// The memory of what products share, once it is kept.
    pub fn kept(&self) -> Option<KeptMemory> {
        self.replay.get()?.keeping.memory()
    }

    /// `v^T H v` without a backward pass, by second derivatives along `v`.
    ///
    /// Cost: five forward passes. Recorded objectives only.
    ///
    /// # Errors
    /// [`CurvatureError::NotRecordable`], [`CurvatureError::Jvp`] and
    /// [`CurvatureError::NotReproduced`] where an exact product is not possible.
    pub fn quadratic_form(&self, v: &ParamVec) -> Result<f64, CurvatureError> {
        self.layout.check(v.layout())?;
        self.recorded()?.curvature_along(self.oracle, v)
    }

    /// The recording, made and checked at its first use.
    fn recorded(&self) -> Result<&Replay, CurvatureError> {
        if let Some(replay) = self.replay.get() {
            return Ok(replay);
        }
        let accept = |replay: &Replay| replay.check(self.oracle);
        let (replay, ()) = Replay::find(self.oracle, &self.attempts, Recorded::Loss, accept)?;
        Ok(self.replay.get_or_init(|| replay))
    }

    fn exact(&self, v: &ParamVec, random: bool) -> Result<Option<ParamVec>, CurvatureError> {
        let within = self.config.keep_within;
        self.attempts.attempt(self.config.mode, || {
            if let Some(replay) = self.replay.get() {
                return replay.hvp(self.oracle, v, random, within);
            }
            let accept = |replay: &Replay| replay.hvp(self.oracle, v, random, within);
            let (replay, product) =
                Replay::find(self.oracle, &self.attempts, Recorded::Loss, accept)?;
            let _ = self.replay.set(replay);
            Ok(product)
        })
    }

    fn product(&self, v: &ParamVec, random: bool) -> Result<Product, CurvatureError> {
        let span =
            tracing::debug_span!("hvp", scheme = ?self.config.scheme, step = tracing::field::Empty);
        let _entered = span.enter();
        let before = self.oracle.cost();
        if let Some(product) = self.apply_exactly(v, random)? {
            return Ok(product);
        }
        // The expected length of a probe saves a read-back; the step need not be exact.
        let norm = match random {
            true => (self.layout.num_elements() as f64).sqrt(),
            false => checked_norm(v)?,
        };
        let line = Line {
            hessian: self,
            v,
            norm,
        };
        let (value, step, error) = line.difference(random)?;
        span.record("step", step);
        Ok(Product {
            value,
            cost: self.oracle.cost().since(before),
            provenance: Provenance::FiniteDifference {
                step,
                error,
                reason: self.attempts.kind(self.config.mode),
            },
        })
    }
}

impl<M: Module> CurvatureOperator for Hessian<'_, M> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn structure(&self) -> Structure {
        Structure::Symmetric
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.product(v, false)
    }

    fn apply_probe(&self, z: &ParamVec) -> Result<Product, CurvatureError> {
        self.product(z, true)
    }

    fn width(&self) -> usize {
        match (self.attempts.reason(), self.replay.get()) {
            (None, Some(replay)) => replay.width(),
            _ => 1,
        }
    }

    fn apply_many(&self, vectors: &[ParamVec]) -> Result<Vec<Product>, CurvatureError> {
        for v in vectors {
            self.layout.check(v.layout())?;
        }
        let before = self.oracle.cost();
        let exact = self.attempts.attempt(self.config.mode, || {
            let replay = self.recorded()?;
            replay.hvps(self.oracle, vectors, self.config.keep_within)
        })?;
        let Some((values, each)) = exact else {
            return vectors.iter().map(|v| self.apply(v)).collect();
        };
        // The first carries what all share.
        let spent = self.oracle.cost().since(before);
        let others = (1..vectors.len()).map(|_| each).sum();
        let products = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| Product {
                value,
                cost: if index == 0 {
                    spent.since(others)
                } else {
                    each
                },
                provenance: Provenance::Exact,
            });
        Ok(products.collect())
    }
}
