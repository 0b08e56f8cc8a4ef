use faer::prelude::Solve;
use faer::{Mat, Side};

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::{Basis, ParamVec, thin_qr};
use crate::tally::Tally;

/// Directions in which a system is solved exactly, for
/// [`deflated_conjugate_gradient`](super::deflated_conjugate_gradient).
///
/// With the directions `W`, made orthonormal, it holds `(A + δ I) W` and the Cholesky factors of
/// `Wᵀ (A + δ I) W`. Made once, it serves any number of right-hand sides.
#[derive(Debug, Clone)]
pub struct Deflation {
    basis: Basis,
    images: Vec<ParamVec>,
    projected: faer::linalg::solvers::Llt<f64>,
    damping: f64,
    cost: Cost,
}

impl Deflation {
    /// Deflates the span of `directions` from `A + damping I`.
    ///
    /// Cost: one product, and two vectors of memory, for each direction.
    ///
    /// # Errors
    /// [`CurvatureError::NotPositiveDefinite`] where the operator is not positive along them,
    /// [`CurvatureError::InvalidSetting`] for no direction, [`CurvatureError::NonFinite`], and as the
    /// operator's products.
    pub fn new(
        operator: &dyn CurvatureOperator,
        directions: &[ParamVec],
        damping: f64,
    ) -> Result<Self, CurvatureError> {
        let layout = operator.layout();
        for direction in directions {
            layout.check(direction.layout())?;
        }
        let directions: Vec<ParamVec> = directions.iter().map(ParamVec::to_compute_dtype).collect();
        let basis = thin_qr(&directions, 1e-6)?.basis;
        CurvatureError::check(
            basis.len() > 0,
            "number of directions",
            basis.len(),
            "at least one direction that is not zero",
        )?;
        let mut tally = Tally::unlimited();
        let images: Vec<ParamVec> = tally
            .apply_all(operator, basis.vectors())?
            .into_iter()
            .zip(basis.vectors())
            .map(|(product, w)| product.axpy(damping, w))
            .collect();
        let columns: Vec<Vec<f64>> = images
            .iter()
            .map(|image| basis.coefficients(image))
            .collect();
        let size = basis.len();
        let projected = Mat::from_fn(size, size, |row, column| {
            0.5 * (columns[column][row] + columns[row][column])
        });
        let sum: f64 = (0..size).map(|k| projected[(k, k)]).sum();
        if !sum.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "the curvature along a deflated direction",
                value: sum,
            });
        }
        let smallest = (0..size)
            .map(|k| projected[(k, k)])
            .fold(f64::INFINITY, f64::min);
        let projected =
            projected
                .llt(Side::Lower)
                .map_err(|_| CurvatureError::NotPositiveDefinite {
                    curvature: smallest.min(0.0),
                })?;
        Ok(Self {
            basis,
            images,
            projected,
            damping,
            cost: tally.cost,
        })
    }

    /// The damping that it was made for.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// What it cost to make.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    fn weights(&self, overlaps: &[f64]) -> Vec<f64> {
        let right = Mat::from_fn(overlaps.len(), 1, |row, _| overlaps[row]);
        let solved = self.projected.solve(&right);
        (0..overlaps.len()).map(|row| solved[(row, 0)]).collect()
    }

    /// Solves for the part of a residual along the directions.
    pub(super) fn solve_within(&self, x: ParamVec, r: ParamVec) -> (ParamVec, ParamVec) {
        let weights = self.weights(&self.basis.coefficients(&r));
        let r = self
            .images
            .iter()
            .zip(&weights)
            .fold(r, |r, (image, weight)| r.axpy(-weight, image));
        (self.basis.add(x, &weights), r)
    }

    /// Makes a search direction conjugate to all deflated ones.
    pub(super) fn remove(&self, z: ParamVec) -> ParamVec {
        let weights = self.weights(&z.dot_many(&self.images));
        let minus: Vec<f64> = weights.iter().map(|weight| -weight).collect();
        self.basis.add(z, &minus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Structure;
    use crate::solve::{SolveConfig, conjugate_gradient, deflated_conjugate_gradient};
    use crate::spectrum::{LanczosConfig, lanczos};
    use crate::testing::mixed;

    #[test]
    fn deflated_outliers_cost_no_steps() {
        let eigenvalues: Vec<f64> = (0..40)
            .map(|i| {
                if i < 5 {
                    1000.0 / f64::from(i + 1)
                } else {
                    1.0 + 0.02 * f64::from(i)
                }
            })
            .collect();
        let operator = mixed(&eigenvalues, &[18, 22], Structure::PositiveSemidefinite);
        let top = lanczos(
            &operator,
            &LanczosConfig {
                largest: 5,
                ..LanczosConfig::default()
            },
        )
        .unwrap();
        let directions: Vec<ParamVec> =
            top.largest.iter().map(|pair| pair.vector.clone()).collect();
        let deflation = Deflation::new(&operator, &directions, 0.01).unwrap();
        let b = ParamVec::gaussian(&operator.layout(), 8);
        let config = SolveConfig {
            tolerance: 1e-9,
            ..SolveConfig::damped(0.01)
        };
        let plain = conjugate_gradient(&operator, &b, None, &config).unwrap();
        let found = deflated_conjugate_gradient(&operator, &b, &deflation, &config).unwrap();
        assert!(found.converged && plain.converged);
        assert!(found.x.sub(&plain.x).norm() < 1e-7 * plain.x.norm());
        assert!(
            found.products + 3 < plain.products,
            "{} {}",
            found.products,
            plain.products
        );
        let other = SolveConfig::damped(0.5);
        assert!(deflated_conjugate_gradient(&operator, &b, &deflation, &other).is_err());
    }

    #[test]
    fn indefinite_directions_are_refused() {
        let operator = mixed(&[-2.0, 1.0, 3.0], &[3], Structure::Symmetric);
        let all: Vec<ParamVec> = (0..3)
            .map(|i| ParamVec::basis(&operator.layout(), i))
            .collect();
        let error = Deflation::new(&operator, &all, 0.0).unwrap_err();
        assert!(matches!(error, CurvatureError::NotPositiveDefinite { .. }));
        assert!(Deflation::new(&operator, &[], 0.0).is_err());
    }
}
