//! Newton's direction by conjugate gradients.

use burn::config::Config;
use osculate_curvature::{
    CurvatureError, CurvatureOperator, DiagonalOperator, ParamVec, SolveConfig, conjugate_gradient,
};

use crate::Driver;
use crate::config::{Check, ConfigError};
use crate::curvature::{CurvatureContext, CurvatureEstimate, CurvatureSource, unjudged};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, read, to_value};
use crate::update::{VectorRule, VectorStep};

/// Newton's direction `(H + δ I)⁻¹ g` on the batch, by preconditioned conjugate gradients with Hessian products.
///
/// ```text
/// u ≈ (H + δ I)⁻¹ g         to |g - (H + δ I) u| ≤ tolerance |g|, in at most `iterations` products
/// θ = θ - lr u
/// ```
///
/// Where a direction of curvature at most 0 is met the method goes along what it has, and along the preconditioned
/// gradient if that is nothing yet: `u` descends in all cases. With `probes` the preconditioner is
/// `max(h, 0) + δ` for Hutchinson's estimate `h` of the diagonal. Under [`Sania`](crate::Sania) it is SANIA's
/// Newton and PCG method.
///
/// Products are exact where the objective hands its batch over ([`Batched`](osculate_curvature::Batched),
/// [`SupervisedBatch`](osculate_curvature::SupervisedBatch)), finite differences elsewhere.
///
/// - Cost: 1 gradient evaluation a step, and 2 to 2.7 for each product, of which there are at most
///   `iterations + probes`. Three numbers are read back for each: the method's own.
/// - State: none; four vectors while it runs.
/// - Learning rate: 0.3 on networks; 1, a whole Newton step, near a minimum and where [`Armijo`](crate::Armijo)
///   shortens it. It is a part of such a step and has nothing to do with AdamW's rates.
/// - Defaults: 10 iterations to a tenth (an inexact Newton method), damping 0.1, with which
///   flat directions of a network are no longer than ten gradients; ours.
/// - When not to use it: with small batches, whose Hessian is noise; on networks far from a minimum, where most
///   steps meet negative curvature.
///
/// Papers: Dembo, Eisenstat and Steihaug, *Inexact Newton Methods*, <https://doi.org/10.1137/0719025>;
/// Abdukhakimov et al., *SANIA*, <https://arxiv.org/abs/2312.17369>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_curvature::Batched;
/// use osculate_optim::{ClosureOptimizer, NewtonCgConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = Batched::new(x, |model: &Linear, x: &Tensor<2>| model.forward(x.clone()).square().mean());
/// let mut optimizer = NewtonCgConfig::new().with_tolerance(1e-4).with_damping(1e-6).init()?;
/// let mut losses = Vec::new();
/// for _ in 0..3 {
///     let step = optimizer.step(1.0, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// // A quadratic loss is at its minimum in one step, but for the damping.
/// assert!(losses[2] < 1e-3 * losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct NewtonCgConfig {
    /// Largest number of conjugate-gradient steps. Default 10.
    #[config(default = 10)]
    pub iterations: usize,
    /// The residual that is enough, relative to the gradient. Default 0.1.
    #[config(default = 0.1)]
    pub tolerance: f64,
    /// Added to the Hessian's diagonal, `δ`. Default 0.1.
    #[config(default = 0.1)]
    pub damping: f64,
    /// Products for the diagonal of the preconditioner. Default 0: none, which on networks is often better.
    #[config(default = 0)]
    pub probes: usize,
}

impl NewtonCgConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for no iteration, a tolerance that is not positive, a negative damping, and one of 0 with
    /// probes.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = Check::of("NewtonCgConfig")
            .that(
                self.iterations > 0,
                "iterations",
                self.iterations,
                "at least 1",
            )
            .positive("tolerance", self.tolerance);
        match self.probes {
            0 => check.non_negative("damping", self.damping),
            _ => check.positive("damping", self.damping),
        }
        .finish()
    }

    /// The optimizer, over closures. burn's own optimizers see no curvature.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self) -> Result<Driver, ConfigError> {
        self.validate()?;
        Ok(Driver::of_vectors(NewtonCg {
            config: self.clone(),
        }))
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "newton-cg",
    text: "Newton's direction by conjugate gradients",
    learning_rate: 0.3,
    gradients: 25.0,
    state: "0",
    defaults: || to_value(&NewtonCgConfig::new()),
    build: |settings| Ok(read::<NewtonCgConfig>(settings, "settings")?.init()?),
};

/// The rule of [`NewtonCgConfig`].
#[derive(Debug, Clone)]
struct NewtonCg {
    config: NewtonCgConfig,
}

impl VectorRule for NewtonCg {
    fn name(&self) -> &'static str {
        "newton-cg"
    }

    fn wants_curvature(&self, _: u64) -> bool {
        true
    }

    fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        Some(Box::new(self.clone()))
    }

    fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
        match step.curvature {
            Some(CurvatureEstimate::Solution(direction)) => Ok(direction.clone()),
            other => Err(RuleError::Curvature {
                rule: VectorRule::name(self),
                expected: "the solution of a system with the gradient",
                found: match other {
                    None => "none",
                    Some(_) => "an estimate",
                },
            }),
        }
    }
}

impl CurvatureSource for NewtonCg {
    fn name(&self) -> &'static str {
        "newton-cg"
    }

    fn estimate(
        &self,
        context: &mut CurvatureContext<'_>,
    ) -> Result<CurvatureEstimate, CurvatureError> {
        let gradient = context.step_gradient()?.to_compute_dtype().finite_or_zero();
        let seed = context.seed();
        let solution = context.with_hessian(unjudged(), |hessian| {
            let inverse = self.preconditioner(hessian, seed)?;
            let inverse = inverse
                .as_ref()
                .map(|inverse| inverse as &dyn CurvatureOperator);
            let solve = SolveConfig {
                damping: self.config.damping,
                tolerance: self.config.tolerance,
                steps: self.config.iterations,
                // The direction is inexact anyway.
                verified: false,
                ..SolveConfig::default()
            };
            match conjugate_gradient(hessian, &gradient, inverse, &solve) {
                // Nothing was found before curvature was negative.
                Ok(end) if end.residuals.len() == 1 => match inverse {
                    Some(inverse) => Ok(inverse.apply(&gradient)?.value),
                    None => Ok(gradient.clone()),
                },
                Ok(end) => Ok(end.x),
                // The driver treats an estimate that is not finite as its policy says.
                Err(CurvatureError::NonFinite { .. }) => Ok(gradient.scale(f64::NAN)),
                Err(error) => Err(error),
            }
        })?;
        Ok(CurvatureEstimate::Solution(solution))
    }
}

impl NewtonCg {
    fn preconditioner(
        &self,
        hessian: &dyn CurvatureOperator,
        seed: u64,
    ) -> Result<Option<DiagonalOperator>, CurvatureError> {
        let layout = hessian.layout();
        let mut sum: Option<ParamVec> = None;
        for probe in 0..self.config.probes {
            let z = ParamVec::rademacher(&layout, seed.wrapping_add(probe as u64));
            let product = hessian.apply_probe(&z)?.value;
            let estimate = z.to_compute_dtype().hadamard(&product);
            sum = Some(match sum {
                Some(sum) => sum.add(&estimate),
                None => estimate,
            });
        }
        let Some(sum) = sum else { return Ok(None) };
        let mean = sum.scale((self.config.probes as f64).recip());
        let inverse = DiagonalOperator::new(mean).damped_inverse(self.config.damping)?;
        Ok(Some(inverse))
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::optimizer::ClosureOptimizer;

    /// What the products of a step cost, in gradients.
    fn products(config: NewtonCgConfig) -> f64 {
        let device = Device::flex().autodiff();
        device.seed(1);
        let model: Linear = LinearConfig::new(4, 3).init(&device);
        let x = Tensor::arange(0..20, &device).float().sin().reshape([5, 4]);
        // By finite differences, each of which costs the same.
        let loss = |model: &Linear| (model.forward(x.clone()) - 1.0).square().mean();
        let step = config.init().unwrap().step(0.1, model, &loss).unwrap();
        step.report.cost().gradient_evaluations() - 1.0
    }

    #[test]
    fn a_step_costs_as_many_products_as_iterations() {
        let of = |iterations, tolerance| {
            let config = NewtonCgConfig::new().with_iterations(iterations);
            products(config.with_tolerance(tolerance))
        };
        let (one, two) = (of(1, 1e-9), of(2, 1e-9));
        assert!(one > 0.0 && one < 1.5 * (two - one), "{one} {two}");
        // One that is good enough after the first is not looked at again.
        assert!((of(3, 0.99) - one).abs() < 1e-9);
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let config = NewtonCgConfig::new;
        let error = config().with_iterations(0).init().unwrap_err();
        assert_eq!(error.field, "iterations");
        let error = config().with_damping(-1.0).init().unwrap_err();
        assert_eq!(error.field, "damping");
        let error = config().with_damping(0.0).with_probes(1).init();
        assert_eq!(error.unwrap_err().field, "damping");
    }
}
