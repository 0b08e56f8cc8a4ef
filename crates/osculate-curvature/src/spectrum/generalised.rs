use super::lanczos::wanted;
use super::tridiagonal::{Decomposition, decompose};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::ParamVec;
use crate::solve::{SolveConfig, conjugate_gradient};
use crate::tally::Tally;

/// Settings of [`generalised_lanczos`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneralisedConfig {
    /// `δ` in `A x = λ (B + δ I) x`. Default 0: `B` must then be positive definite.
    pub damping: f64,
    /// How many eigenpairs to return from the upper end. Default 4.
    pub largest: usize,
    /// How many to return from the lower end. Default 0.
    pub smallest: usize,
    /// Largest number of steps, each of which costs one product with `A` and one solution with `B`.
    /// Default 40.
    pub steps: usize,
    /// Residual that counts as converged, relative to the largest magnitude. Default 1e-3.
    pub tolerance: f64,
    /// Tolerance of the solutions. Default 1e-6.
    pub solve_tolerance: f64,
    /// Largest number of products with `B` in a solution. Default 200.
    pub solve_steps: usize,
    /// Seed of the starting vector. Default 0.
    pub seed: u64,
}

impl Default for GeneralisedConfig {
    fn default() -> Self {
        Self {
            damping: 0.0,
            largest: 4,
            smallest: 0,
            steps: 40,
            tolerance: 1e-3,
            solve_tolerance: 1e-6,
            solve_steps: 200,
            seed: 0,
        }
    }
}

/// An approximate solution of `A x = λ (B + δ I) x`.
#[derive(Debug, Clone)]
pub struct GeneralisedPair {
    /// `λ`.
    pub value: f64,
    /// `x`, with `xᵀ (B + δ I) x = 1`.
    pub vector: ParamVec,
    /// `|A x - λ (B + δ I) x|` over `|(B + δ I) x|`, by products of its own.
    pub residual: f64,
    /// Whether the recurrence's residual is within the tolerance.
    pub converged: bool,
}

/// Both ends of the spectrum of a pair of operators.
#[derive(Debug, Clone)]
pub struct GeneralisedSpectrum {
    /// Largest eigenvalues, in descending order.
    pub largest: Vec<GeneralisedPair>,
    /// Smallest (most negative) eigenvalues, in ascending order.
    pub smallest: Vec<GeneralisedPair>,
    /// Number of steps taken.
    pub steps: usize,
    /// What the products with both operators cost.
    pub cost: Cost,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether every returned pair converged and none is missing.
    pub converged: bool,
}

/// Eigenpairs of `A x = λ (B + δ I) x` at the ends of the spectrum, for a positive definite
/// `B + δ I`: the Hessian against the Gauss-Newton matrix, a batch against the data set, one task
/// against another, a matrix against a preconditioner.
///
/// `λ` is the curvature of `A` in the units of `B`: for the Hessian against a damped Gauss-Newton
/// matrix, 1 where they agree, and negative along the descent directions that Gauss-Newton does not
/// know. It does not change when parameters are rescaled (for `δ = 0`). Lanczos' method runs on
/// `(B + δ I)⁻¹ A`, which is symmetric in the inner product of `B + δ I`; each step solves with
/// [`conjugate_gradient`](crate::conjugate_gradient). For a diagonal `B`,
/// [`Preconditioned`](crate::Preconditioned) needs no solutions.
///
/// Cost: one product with `A` and one solution with `B` a step, and two products for each pair.
/// Memory: two vectors a step.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{DiagonalOperator, GeneralisedConfig, ParamVec, generalised_lanczos};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// // In units of diag(1, 2, 9), the second direction is the most curved.
/// let units = ParamVec::from_values(&oracle.layout()?, &[1.0, 2.0, 9.0]);
/// let config = GeneralisedConfig { largest: 1, ..GeneralisedConfig::default() };
/// let found = generalised_lanczos(&hessian, &DiagonalOperator::new(units), &config)?;
/// assert!((found.largest[0].value - 2.0).abs() < 1e-2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::LayoutMismatch`],
/// [`CurvatureError::NotPositiveDefinite`] where `B + δ I` is not, [`CurvatureError::NotSolved`],
/// [`CurvatureError::NonFinite`], and as the operators' products.
pub fn generalised_lanczos(
    a: &dyn CurvatureOperator,
    b: &dyn CurvatureOperator,
    config: &GeneralisedConfig,
) -> Result<GeneralisedSpectrum, CurvatureError> {
    let _span = tracing::debug_span!("generalised_lanczos", steps = config.steps).entered();
    let layout = a.layout();
    layout.check(&b.layout())?;
    let pairs = config.largest + config.smallest;
    CurvatureError::check(pairs > 0, "largest + smallest", pairs, "at least one pair")?;
    CurvatureError::check(
        config.steps >= pairs,
        "steps",
        config.steps,
        "at least as many steps as eigenpairs",
    )?;
    let mut run = Run {
        a,
        b,
        config,
        tally: Tally::unlimited(),
        basis: Vec::new(),
        images: Vec::new(),
        diagonal: Vec::new(),
        off_diagonal: Vec::new(),
    };
    let start = ParamVec::gaussian(&layout, config.seed).to_compute_dtype();
    run.push(start)?;
    loop {
        let rest = run.step()?;
        let steps = run.diagonal.len();
        let last = rest.is_none() || steps >= config.steps.min(layout.num_elements());
        if last || steps > pairs {
            let chosen = run.ritz()?;
            if last || chosen.iter().all(|(_, _, converged)| *converged) {
                return run.finish(&chosen);
            }
        }
        if let Some(rest) = rest {
            run.push(rest)?;
        }
    }
}

/// The index of a Ritz value, whether it is from the upper end, and whether it converged.
type Chosen = (usize, bool, bool);

struct Run<'a> {
    a: &'a dyn CurvatureOperator,
    b: &'a dyn CurvatureOperator,
    config: &'a GeneralisedConfig,
    tally: Tally,
    /// Orthonormal in the inner product of `B + δ I`.
    basis: Vec<ParamVec>,
    /// `(B + δ I)` times them.
    images: Vec<ParamVec>,
    diagonal: Vec<f64>,
    off_diagonal: Vec<f64>,
}

impl Run<'_> {
    /// `(B + δ I) v`.
    fn weigh(&mut self, v: &ParamVec) -> Result<ParamVec, CurvatureError> {
        Ok(self.tally.apply(self.b, v)?.axpy(self.config.damping, v))
    }

    /// Adds a vector of any length to the basis.
    fn push(&mut self, v: ParamVec) -> Result<(), CurvatureError> {
        let image = self.weigh(&v)?;
        let square = v.dot(&image);
        if square <= 0.0 || !square.is_finite() {
            return Err(CurvatureError::NotPositiveDefinite {
                curvature: square / v.dot(&v),
            });
        }
        let scale = 1.0 / square.sqrt();
        self.basis.push(v.scale(scale));
        self.images.push(image.scale(scale));
        Ok(())
    }

    /// Takes a step from the last vector. `None` where it leads nowhere new.
    fn step(&mut self) -> Result<Option<ParamVec>, CurvatureError> {
        let index = self.basis.len() - 1;
        let product = self.tally.apply(self.a, &self.basis[index])?;
        let config = SolveConfig {
            damping: self.config.damping,
            tolerance: self.config.solve_tolerance,
            steps: self.config.solve_steps,
            ..SolveConfig::default()
        };
        let solution = conjugate_gradient(self.b, &product, None, &config)?;
        self.tally.book(
            solution.products,
            solution.cost,
            solution.product_error,
            solution.provenance,
        )?;
        let mut rest = solution.solved()?;
        // q_jᵀ A q_i does not suffer from the error of the solution.
        let alpha = self.basis[index].dot(&product);
        for _ in 0..2 {
            for (overlap, q) in rest.dot_many(&self.images).iter().zip(&self.basis) {
                rest = rest.axpy(-overlap, q);
            }
        }
        let image = self.weigh(&rest)?;
        let beta = rest.dot(&image).max(0.0).sqrt();
        if !alpha.is_finite() || !beta.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a Lanczos coefficient",
                value: if alpha.is_finite() { beta } else { alpha },
            });
        }
        self.diagonal.push(alpha);
        let scale = self
            .diagonal
            .iter()
            .chain(&self.off_diagonal)
            .fold(0.0_f64, |max, x| max.max(x.abs()));
        let floor = (10.0 * self.config.solve_tolerance).min(1e-6);
        self.off_diagonal.push(beta);
        Ok((beta > floor * scale).then_some(rest))
    }

    fn decompose(&self) -> Result<Decomposition, CurvatureError> {
        let size = self.diagonal.len();
        decompose(&self.diagonal, &self.off_diagonal[..size - 1])
    }

    fn ritz(&self) -> Result<Vec<Chosen>, CurvatureError> {
        let Decomposition { values, vectors } = self.decompose()?;
        let size = values.len();
        let largest = self.config.largest.min(size);
        let smallest = self.config.smallest.min(size - largest);
        let scale = values.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
        let beta = self.off_diagonal[size - 1];
        let converged = |index: usize| {
            (beta * vectors[(size - 1, index)]).abs() <= self.config.tolerance * scale
        };
        let above = (0..largest).map(|i| size - 1 - i);
        let above = above.map(|index| (index, true, converged(index)));
        let below = (0..smallest).map(|index| (index, false, converged(index)));
        Ok(above.chain(below).collect())
    }

    fn finish(mut self, chosen: &[Chosen]) -> Result<GeneralisedSpectrum, CurvatureError> {
        let Decomposition { values, vectors } = self.decompose()?;
        let steps = self.diagonal.len();
        let (mut largest, mut smallest) = (Vec::new(), Vec::new());
        for &(index, above, converged) in chosen {
            let zero = self.basis[0].scale(0.0);
            let parts = self.basis.iter().take(steps).enumerate();
            let vector = parts.fold(zero, |sum, (row, q)| sum.axpy(vectors[(row, index)], q));
            let left = self.tally.apply(self.a, &vector)?;
            let right = self.weigh(&vector)?;
            let end = if above { &mut largest } else { &mut smallest };
            end.push(GeneralisedPair {
                value: values[index],
                residual: left.axpy(-values[index], &right).norm() / right.norm(),
                vector,
                converged,
            });
        }
        let dimension = self.a.layout().num_elements();
        let counts = wanted(dimension, self.config.largest, self.config.smallest);
        let complete = (largest.len(), smallest.len()) == counts;
        Ok(GeneralisedSpectrum {
            converged: complete && chosen.iter().all(|(_, _, converged)| *converged),
            largest,
            smallest,
            steps,
            cost: self.tally.cost,
            product_error: self.tally.product_error,
            provenance: self.tally.provenance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{DenseOperator, Structure, dense_matrix};
    use crate::testing::{Lcg, layout, m12, mixed};

    #[test]
    fn eigenpairs_of_a_pair_of_dense_matrices() {
        // A = C D Cᵀ and B = C Cᵀ have the eigenvalues D.
        let n = 14;
        let c = Lcg::new(21).normal(n * n);
        let values: Vec<f64> = (0..n).map(|i| 6.0 / (1.0 + i as f64) - 1.0).collect();
        let product = |weights: &dyn Fn(usize) -> f64, shift: f64| -> Vec<f64> {
            (0..n * n)
                .map(|at| {
                    let (row, column) = (at / n, at % n);
                    let sum: f64 = (0..n)
                        .map(|k| c[row * n + k] * weights(k) * c[column * n + k])
                        .sum();
                    sum + if row == column { shift } else { 0.0 }
                })
                .collect()
        };
        let layout = layout(&[6, 8]);
        let dense = |rows| DenseOperator::new(layout.clone(), rows, Structure::Symmetric).unwrap();
        let a = dense(product(&|k| values[k], 0.0));
        let b = dense(product(&|_| 1.0, 0.0));
        let config = GeneralisedConfig {
            largest: 3,
            smallest: 2,
            tolerance: 1e-6,
            solve_tolerance: 1e-11,
            ..GeneralisedConfig::default()
        };
        let found = generalised_lanczos(&a, &b, &config).unwrap();
        assert!(found.converged);
        for (pair, value) in found.largest.iter().zip(&values) {
            assert!((pair.value - value).abs() < 1e-5, "{} {value}", pair.value);
            assert!(pair.residual < 1e-4, "{}", pair.residual);
            let image = b.apply(&pair.vector).unwrap().value;
            assert!((pair.vector.dot(&image) - 1.0).abs() < 1e-8);
        }
        for (pair, value) in found.smallest.iter().zip(values.iter().rev()) {
            assert!((pair.value - value).abs() < 1e-5, "{} {value}", pair.value);
        }
        assert_eq!(dense_matrix(&b).unwrap().len(), n * n);
    }

    #[test]
    fn an_operator_against_itself_is_one_and_damping_lowers_it() {
        let eigenvalues: Vec<f64> = (1..=12).map(|i| 3.0 / f64::from(i)).collect();
        let operator = mixed(&eigenvalues, &[5, 7], Structure::PositiveSemidefinite);
        let config = GeneralisedConfig {
            largest: 1,
            ..GeneralisedConfig::default()
        };
        let same = generalised_lanczos(&operator, &operator, &config).unwrap();
        assert!((same.largest[0].value - 1.0).abs() < 1e-6);
        let damped = GeneralisedConfig {
            damping: 0.5,
            ..config
        };
        let found = generalised_lanczos(&operator, &operator, &damped).unwrap();
        assert!((found.largest[0].value - 3.0 / 3.5).abs() < 1e-4);
    }

    #[test]
    fn an_indefinite_right_hand_side_is_refused() {
        let error = generalised_lanczos(&m12(), &m12(), &GeneralisedConfig::default());
        assert!(error.is_err());
    }
}
