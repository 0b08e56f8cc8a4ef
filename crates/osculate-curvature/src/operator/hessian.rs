use std::cell::OnceCell;
use std::sync::Arc;

use burn::module::Module;

use super::ggn::zero_product;
use super::replay::{HvpFallback, HvpMode, Replay};
use super::step::{Stepper, epsilon, movement};
use super::{CurvatureOperator, ErrorEstimate, Product, Provenance, StepRule, Structure};
use crate::error::CurvatureError;
use crate::oracle::{Evaluation, GradientOracle};
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
    /// Whether to estimate the rounding error of every product, which reads two norms back.
    /// Default `true`.
    pub estimate_error: bool,
}

impl Default for HessianConfig {
    fn default() -> Self {
        Self {
            mode: HvpMode::Auto,
            scheme: Scheme::Central,
            step: StepRule::Auto,
            estimate_error: true,
        }
    }
}

/// The Hessian `H = ∇²L(θ)`, exactly or by finite differences of gradients.
///
/// Where the objective is a [`Batched`](crate::Batched) or
/// [`SupervisedBatch`](crate::SupervisedBatch), its operations are recorded and differentiated, and
/// products are exact up to rounding: see [`HvpMode`]. Cost of an exact product: 2 to 2.7 gradient
/// evaluations. Before the first one (for a random probe: within it) the recording is compared with
/// the clean pass, because it sees batch normalisation and dropout in evaluation mode.
///
/// Otherwise `apply(v)` moves along `v / |v|` and scales back, so the result does not depend on the
/// length of `v`. It is meant for smooth losses. Where the network has kinks (ReLU, max pooling), a
/// finite difference also sees the kinks within its step and gives the Hessian of a smoothed loss,
/// whose trace can be several times larger: [`symmetry_check`](super::symmetry_check) tells, and
/// [`GaussNewton`](super::GaussNewton) is the operator to use there.
///
/// Cost of a finite difference: 2 gradient evaluations ([`Scheme::Central`]) along directions like
/// the last one; where the outputs of a supervised objective move by more than 1.3 or less than 0.5
/// times what is aimed for, the pair is taken again, at most twice. The first product looks for its step
/// with 2 forward passes, rarely 4 or 6. Every [`Product`] says what it cost. Each reads the
/// movement of the outputs back, one number. Memory: one gradient and one copy of the weights beside
/// the result.
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
    oracle: &'a GradientOracle<'a, M>,
    config: HessianConfig,
    layout: Arc<ParamLayout>,
    stepper: Stepper,
    replay: OnceCell<Replay>,
    fallback: HvpFallback,
}

/// Movement of the outputs that central differences aim for: between the best values of a perceptron
/// (0.003 to 0.03) and of a transformer block (0.02 to 0.03), whose gradients are noisier.
const TAU_CENTRAL: f64 = 0.012;
/// The same for Richardson extrapolation, whose truncation error is two orders higher.
const TAU_RICHARDSON: f64 = 0.02;
/// The same for forward differences.
const TAU_FORWARD: f64 = 0.003;
/// Rounding error of a gradient in units of epsilon times its norm: gradients are sums of
/// per-sample terms that cancel, 8 to 25 on fitted networks.
const GRADIENT_NOISE: f64 = 16.0;

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
        let layout = oracle.layout()?;
        let order = match config.scheme {
            Scheme::Forward => 1.0 / 2.0,
            Scheme::Central | Scheme::Richardson => 1.0 / 3.0,
        };
        let stepper = Stepper::new(&layout, oracle.parameters()?.norm(), order);
        Ok(Self {
            oracle,
            config,
            layout,
            stepper,
            replay: OnceCell::new(),
            fallback: HvpFallback::default(),
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
        self.fallback = fallback;
        self
    }

    /// Why products are made by finite differences, where [`HvpMode::Auto`] had to.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.reason()
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
        let replay = self.recorded()?;
        replay.check(self.oracle)?;
        replay.curvature_along(self.oracle, v)
    }

    /// The recording, made at its first use.
    fn recorded(&self) -> Result<&Replay, CurvatureError> {
        if let Some(replay) = self.replay.get() {
            return Ok(replay);
        }
        let replay = Replay::loss(self.oracle)?;
        Ok(self.replay.get_or_init(|| replay))
    }

    fn exact(&self, v: &ParamVec, random: bool) -> Result<Option<ParamVec>, CurvatureError> {
        self.fallback.attempt(self.config.mode, || {
            self.recorded()?.hvp(self.oracle, v, random)
        })
    }

    fn product(&self, v: &ParamVec, norm: f64, random: bool) -> Result<Product, CurvatureError> {
        let span =
            tracing::debug_span!("hvp", scheme = ?self.config.scheme, step = tracing::field::Empty);
        let _entered = span.enter();
        self.layout.check(v.layout())?;
        if !norm.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "the norm of the direction",
                value: norm,
            });
        }
        if norm == 0.0 {
            return Ok(zero_product(&self.layout));
        }
        let before = self.oracle.cost();
        if let Some(value) = self.exact(v, random)? {
            return Ok(Product {
                value,
                cost: self.oracle.cost().since(before),
                provenance: Provenance::Exact,
            });
        }
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
            provenance: Provenance::FiniteDifference { step, error },
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
        self.product(v, v.norm(), false)
    }

    fn apply_probe(&self, z: &ParamVec) -> Result<Product, CurvatureError> {
        // The expected length saves the read-back; the step need not be exact.
        let norm = (self.layout.num_elements() as f64).sqrt();
        self.product(z, norm, true)
    }
}

/// Differences of the gradient along one direction.
struct Line<'a, 'b, M: Module> {
    hessian: &'b Hessian<'a, M>,
    v: &'b ParamVec,
    norm: f64,
}

impl<M: Module> Line<'_, '_, M> {
    /// The product, the step and its error, by the configured scheme.
    fn difference(&self, random: bool) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let stepper = &self.hessian.stepper;
        // Accumulated batches keep no outputs, although they can be made.
        let supervised = self.hessian.oracle.clean()?.outputs.is_some();
        let rule = match self.hessian.config.step {
            StepRule::Auto if supervised => StepRule::FunctionSpace { tau: self.tau() },
            StepRule::Auto if random => StepRule::Relative,
            StepRule::Auto => StepRule::Doubling,
            rule => rule,
        };
        match rule {
            StepRule::FunctionSpace { .. } if !supervised => Err(CurvatureError::NotSupervised {
                what: "a step in function space",
            }),
            StepRule::FunctionSpace { tau } => self.in_function_space(tau),
            StepRule::Doubling => self.doubling(),
            StepRule::Fixed { length } => self.at(length),
            StepRule::Relative | StepRule::Auto => self.at(stepper.relative()),
        }
    }

    fn tau(&self) -> f64 {
        match self.hessian.config.scheme {
            Scheme::Central => TAU_CENTRAL,
            Scheme::Forward => TAU_FORWARD,
            Scheme::Richardson => TAU_RICHARDSON,
        }
    }

    fn evaluate(&self, h: f64) -> Result<Evaluation, CurvatureError> {
        self.hessian.oracle.evaluate_at(self.v, h / self.norm)
    }

    /// `c(h)` or the forward difference, its rounding error where it is wanted, and the movement of
    /// the outputs.
    fn pair(
        &self,
        h: f64,
        estimate_error: bool,
    ) -> Result<(ParamVec, Option<f64>, f64), CurvatureError> {
        let plus = self.evaluate(h)?;
        let (minus, width) = if self.hessian.config.scheme == Scheme::Forward {
            (self.hessian.oracle.clean()?.clone(), h)
        } else {
            (self.evaluate(-h)?, 2.0 * h)
        };
        let moved = match (&plus.outputs, &minus.outputs) {
            (Some(a), Some(b)) => movement(a, b) * 2.0 * h / width,
            _ => f64::NAN,
        };
        let factor = self.norm / width;
        let rounding = estimate_error.then(|| {
            let norm = plus.gradient.norm().max(minus.gradient.norm());
            GRADIENT_NOISE * epsilon(&self.hessian.layout) * norm * 2f64.sqrt() * factor
        });
        let value = plus
            .gradient
            .to_compute_dtype()
            .sub(&minus.gradient.to_compute_dtype())
            .scale(factor);
        Ok((value, rounding, moved))
    }

    fn at(&self, h: f64) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let (value, rounding, _) = self.pair(h, self.hessian.config.estimate_error)?;
        self.finish(value, rounding, h)
    }

    fn in_function_space(
        &self,
        tau: f64,
    ) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let stepper = &self.hessian.stepper;
        let first = match stepper.last() {
            Some(step) => step,
            None => self.look_for_step(tau)?,
        };
        let ((value, rounding), h) = stepper.in_function_space(tau, first, |h| {
            let (value, rounding, moved) = self.pair(h, self.hessian.config.estimate_error)?;
            Ok(((value, rounding), moved))
        })?;
        self.finish(value, rounding, h)
    }

    /// The step for `tau` from two forward passes.
    fn look_for_step(&self, tau: f64) -> Result<f64, CurvatureError> {
        let oracle = self.hessian.oracle;
        let stepper = &self.hessian.stepper;
        let (_, h) = stepper.in_function_space(tau, stepper.start(), |h| {
            let plus = oracle.outputs_at(Some((self.v, h / self.norm)))?;
            let minus = oracle.outputs_at(Some((self.v, -h / self.norm)))?;
            Ok(((), movement(&plus, &minus)))
        })?;
        Ok(stepper.last().unwrap_or(h))
    }

    /// Adds the second difference of Richardson's scheme where it is configured.
    fn finish(
        &self,
        value: ParamVec,
        rounding: Option<f64>,
        h: f64,
    ) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        if self.hessian.config.scheme != Scheme::Richardson {
            let error = ErrorEstimate {
                truncation: None,
                rounding,
            };
            return Ok((value, h, error));
        }
        let (wide, _, _) = self.pair(2.0 * h, false)?;
        let (value, truncation) = self.extrapolate(&value, &wide);
        let error = ErrorEstimate {
            truncation: Some(truncation),
            rounding,
        };
        Ok((value, h, error))
    }

    fn doubling(&self) -> Result<(ParamVec, f64, ErrorEstimate), CurvatureError> {
        let mut h = self.hessian.stepper.start();
        // Without the rounding error there is nothing to stop at.
        let (mut narrow, mut rounding, _) = self.pair(h, true)?;
        let (mut wide, _, _) = self.pair(2.0 * h, false)?;
        loop {
            let (value, truncation) = self.extrapolate(&narrow, &wide);
            let noise = rounding.unwrap_or(0.0);
            let next = self.hessian.stepper.clamp(h / 2.0);
            if truncation <= 10.0 * noise || next >= h || !truncation.is_finite() {
                let error = ErrorEstimate {
                    truncation: Some(truncation),
                    rounding,
                };
                return Ok((value, h, error));
            }
            h = next;
            wide = narrow;
            (narrow, rounding, _) = self.pair(h, true)?;
        }
    }

    /// Removes the leading error of two differences, and estimates it: `(4 c(h) - c(2h)) / 3` and
    /// `|c(2h) - c(h)| / 3` for central differences, `2 f(h) - f(2h)` and `|f(2h) - f(h)|` for
    /// forward ones.
    fn extrapolate(&self, narrow: &ParamVec, wide: &ParamVec) -> (ParamVec, f64) {
        let factor = match self.hessian.config.scheme {
            Scheme::Forward => 1.0,
            Scheme::Central | Scheme::Richardson => 1.0 / 3.0,
        };
        let difference = narrow.sub(wide).scale(factor);
        let truncation = difference.norm();
        (narrow.add(&difference), truncation)
    }
}
