//! Linear systems `(A + δ I) x = b` with any operator.

mod conjugate_gradient;
mod deflation;
mod factor;
mod inverse;
mod lsmr;
mod minres;
mod neumann;
mod nystrom;
mod woodbury;

pub use conjugate_gradient::{conjugate_gradient, deflated_conjugate_gradient};
pub use deflation::Deflation;
pub use factor::{DenseFactor, Factor, FactorProduct, GradientRows};
pub use inverse::DampedInverse;
pub use lsmr::{LsmrSolution, RightHandSide, lsmr};
pub use minres::minres;
pub use neumann::{NeumannConfig, NeumannSolution, neumann};
pub use nystrom::{Nystrom, NystromConfig, nystrom};
pub use woodbury::Woodbury;

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::Provenance;
use crate::params::ParamVec;
use crate::tally::{Budget, Tally};

/// Settings of the iterative solvers.
#[derive(Debug, Clone)]
pub struct SolveConfig {
    /// `δ` in `(A + δ I) x = b`, in the unit of the eigenvalues of `A`. Default 0.
    pub damping: f64,
    /// Norm of the residual that counts as solved, relative to that of `b`. Default 1e-5. In `f32`
    /// about 1e-7 times the condition number is the least that can be reached.
    pub tolerance: f64,
    /// Largest number of steps, each of which costs one product. Default 100.
    pub steps: usize,
    /// Where to start: the solution of a similar system. It costs one product. Default `None`: zero.
    pub initial: Option<ParamVec>,
    /// Makes the last residual by a product of its own where the recurrence may have promised too much, and
    /// conjugate gradients start anew from it. Default `true`; a solution that need not be exact does without.
    pub verified: bool,
    /// What may be spent. Default: no limit.
    pub budget: Budget,
}

impl Default for SolveConfig {
    fn default() -> Self {
        Self {
            damping: 0.0,
            tolerance: 1e-5,
            steps: 100,
            initial: None,
            verified: true,
            budget: Budget::default(),
        }
    }
}

impl SolveConfig {
    /// The default settings with this damping.
    pub fn damped(damping: f64) -> Self {
        Self {
            damping,
            ..Self::default()
        }
    }

    fn validate(&self, b: &ParamVec) -> Result<Tally, CurvatureError> {
        CurvatureError::check(
            self.damping.is_finite(),
            "damping",
            self.damping,
            "a finite number",
        )?;
        CurvatureError::check(
            self.tolerance.is_finite() && self.tolerance > 0.0,
            "tolerance",
            self.tolerance,
            "a positive finite number",
        )?;
        CurvatureError::check(self.steps > 0, "steps", self.steps, "at least one step")?;
        if let Some(initial) = &self.initial {
            b.layout().check(initial.layout())?;
        }
        Tally::new(self.budget)
    }
}

/// A direction along which `A + δ I` is not positive.
#[derive(Debug, Clone)]
pub struct NegativeCurvature {
    /// The direction.
    pub direction: ParamVec,
    /// `pᵀ (A + δ I) p / pᵀ p`. The smallest eigenvalue of `A + δ I` is at most this, so the damping
    /// must grow by more than its magnitude.
    pub curvature: f64,
}

/// The end of an iterative solution.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The last iterate.
    pub x: ParamVec,
    /// Norm of the residual `b - (A + δ I) x`, relative to that of `b`, from a product of its own
    /// where the method does not keep it exactly.
    pub relative_residual: f64,
    /// Norm of the residual before the first step and after each, as the recurrence has it.
    pub residuals: Vec<f64>,
    /// A direction of negative curvature, where one was met. That none was met proves nothing.
    pub negative_curvature: Option<NegativeCurvature>,
    /// Number of products made, those for the residual included.
    pub products: usize,
    /// What they cost.
    pub cost: Cost,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
}

impl Solution {
    /// The solution, where there is one.
    ///
    /// # Errors
    /// [`CurvatureError::NotPositiveDefinite`] where negative curvature was met, and
    /// [`CurvatureError::NotSolved`] where the residual is above the tolerance.
    pub fn solved(self) -> Result<ParamVec, CurvatureError> {
        if let Some(found) = self.negative_curvature {
            return Err(CurvatureError::NotPositiveDefinite {
                curvature: found.curvature,
            });
        }
        if !self.converged {
            return Err(CurvatureError::NotSolved {
                residual: self.relative_residual,
                products: self.products,
            });
        }
        Ok(self.x)
    }
}

/// The norm of a right-hand side, which must be finite.
fn finite_norm(b: &ParamVec) -> Result<f64, CurvatureError> {
    let norm = b.norm();
    if norm.is_finite() {
        Ok(norm)
    } else {
        Err(CurvatureError::NonFinite {
            what: "the norm of the right-hand side",
            value: norm,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::operator::{DenseOperator, Structure};
    use crate::testing::layout;

    /// The oracle's indefinite matrix of order 4.
    pub(crate) const A4: [f64; 16] = [
        4.0, 1.0, 0.0, 0.5, 1.0, 3.0, 0.2, 0.0, 0.0, 0.2, 1.0, 0.1, 0.5, 0.0, 0.1, 0.05,
    ];
    pub(crate) const B4: [f64; 4] = [1.0, -1.0, 2.0, 0.5];
    /// `(A + 0.1 I)⁻¹ b`.
    pub(crate) const X4: [f64; 4] = [
        0.1691901503313757,
        -0.4908669648149146,
        1.762487202974298,
        1.5943746969125487,
    ];

    pub(crate) fn a4() -> (DenseOperator, ParamVec) {
        let layout = layout(&[1, 3]);
        let b = ParamVec::from_values(&layout, &B4);
        let operator = DenseOperator::new(layout, A4.to_vec(), Structure::Symmetric).unwrap();
        (operator, b)
    }

    #[test]
    fn wrong_settings_are_named() {
        let (operator, b) = a4();
        let config = SolveConfig {
            steps: 0,
            ..SolveConfig::default()
        };
        let error = conjugate_gradient(&operator, &b, None, &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "steps = 0 is invalid, expected at least one step"
        );
        let nan = SolveConfig::damped(f64::NAN);
        assert!(minres(&operator, &b, &nan).is_err());
        let nan = b.scale(f64::NAN);
        let error = conjugate_gradient(&operator, &nan, None, &SolveConfig::default());
        let error = error.unwrap_err().to_string();
        let expected = "the norm of the right-hand side is NaN, expected a finite number: look for";
        assert!(error.starts_with(expected), "{error}");
        let other = ParamVec::zeros(&layout(&[3]));
        assert!(conjugate_gradient(&operator, &other, None, &SolveConfig::default()).is_err());
    }

    #[test]
    fn a_zero_right_hand_side_has_a_zero_solution() {
        let (operator, b) = a4();
        let zero = b.scale(0.0);
        for found in [
            conjugate_gradient(&operator, &zero, None, &SolveConfig::damped(0.1)).unwrap(),
            minres(&operator, &zero, &SolveConfig::damped(0.1)).unwrap(),
        ] {
            assert!(found.converged && found.products == 0);
            assert_eq!(found.x.norm(), 0.0);
        }
    }
}
