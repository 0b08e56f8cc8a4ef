use faer::{Mat, Side};

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::estimate::ProbeDistribution;
use crate::operator::{CurvatureOperator, LowRank, Provenance};
use crate::params::{Basis, ParamVec, ThinQr, thin_qr};
use crate::tally::{Budget, Tally};

/// Settings of [`nystrom`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NystromConfig {
    /// Rank of the approximation. As a preconditioner it pays once it reaches the effective
    /// dimension `Σ λ / (λ + δ)`. Default 20.
    pub rank: usize,
    /// Further products, whose directions are dropped at the end: the smallest eigenvalues of a
    /// sketch are too low. Default 5.
    pub oversample: usize,
    /// Seed of the test vectors. Default 0.
    pub seed: u64,
    /// What may be spent: the rank is smaller where it does not cover all products. Default: no
    /// limit.
    pub budget: Budget,
}

impl Default for NystromConfig {
    fn default() -> Self {
        Self {
            rank: 20,
            oversample: 5,
            seed: 0,
            budget: Budget::default(),
        }
    }
}

/// A low-rank approximation `U diag(λ) Uᵀ` of a positive semi-definite operator.
#[derive(Debug, Clone)]
pub struct Nystrom {
    /// The approximation, itself an operator. It is zero outside the directions found.
    pub operator: LowRank,
    /// Number of products made.
    pub products: usize,
    /// What they cost.
    pub cost: Cost,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether the budget allowed the whole rank.
    pub converged: bool,
}

impl Nystrom {
    /// The preconditioner of `A + damping I` for
    /// [`conjugate_gradient`](super::conjugate_gradient):
    /// `(λ_l + δ) U (Λ + δ)⁻¹ Uᵀ + (I - U Uᵀ)` with the smallest eigenvalue `λ_l` of the sketch.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a damping that is not positive.
    pub fn preconditioner(&self, damping: f64) -> Result<LowRank, CurvatureError> {
        check_damping(damping)?;
        let last = self.operator.values().last().copied().unwrap_or(0.0);
        let scaled = self
            .operator
            .map(|value| (last + damping) / (value + damping))?;
        scaled.with_rest(1.0)
    }

    /// The inverse of the approximation with damping, `(U Λ Uᵀ + damping I)⁻¹`.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a damping that is not positive.
    pub fn inverse(&self, damping: f64) -> Result<LowRank, CurvatureError> {
        check_damping(damping)?;
        self.operator.map(|value| 1.0 / (value + damping))
    }
}

fn check_damping(damping: f64) -> Result<(), CurvatureError> {
    CurvatureError::check(
        damping.is_finite() && damping > 0.0,
        "damping",
        damping,
        "a positive finite number",
    )
}

/// The Nystrom approximation of a positive semi-definite operator from products with random
/// orthonormal vectors `Ω`: `Y (Ωᵀ Y)⁻¹ Yᵀ` with `Y = A Ω`.
///
/// One sketch serves any number of right-hand sides and dampings: influence functions of thousands
/// of samples share it.
///
/// Cost: `rank + oversample` products. Memory: twice as many vectors.
///
/// Paper: Frangella, Tropp, Udell, <https://arxiv.org/abs/2110.02820>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{NystromConfig, SolveConfig, conjugate_gradient, nystrom};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// // Of rank 2 it knows all but the flattest direction, and one step is left to the solver.
/// let sketch = nystrom(&hessian, &NystromConfig { rank: 2, ..NystromConfig::default() })?;
/// let preconditioner = sketch.preconditioner(0.1)?;
/// let gradient = &oracle.clean()?.gradient;
/// let config = SolveConfig::damped(0.1);
/// let solution = conjugate_gradient(&hessian, gradient, Some(&preconditioner), &config)?;
/// assert!(solution.converged);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::NotPositiveDefinite`] for an operator with negative eigenvalues that the sketch
/// sees, [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`],
/// [`CurvatureError::BudgetTooSmall`], and as the operator's products.
pub fn nystrom(
    operator: &dyn CurvatureOperator,
    config: &NystromConfig,
) -> Result<Nystrom, CurvatureError> {
    let _span = tracing::debug_span!("nystrom", rank = config.rank).entered();
    CurvatureError::check(config.rank > 0, "rank", config.rank, "at least 1")?;
    let mut tally = Tally::new(config.budget)?;
    let layout = operator.layout();
    CurvatureError::check(
        layout.num_elements() > 0,
        "elements of the space",
        0,
        "at least one",
    )?;
    let wanted = (config.rank + config.oversample).min(layout.num_elements());
    let draw = |index: usize| {
        let z = ProbeDistribution::Gaussian.draw(&layout, config.seed, index as u64);
        z.to_compute_dtype()
    };
    let mut count = wanted;
    if let Some(products) = config.budget.products {
        count = count.min(products);
    }
    let tests: Vec<ParamVec> = (0..count).map(draw).collect();
    let omega = thin_qr(&tests, 1e-6)?.basis;
    drop(tests);
    let mut images = Vec::with_capacity(omega.len());
    for vector in omega.vectors() {
        if !images.is_empty() && !tally.affords(1) {
            break;
        }
        images.push(tally.apply(operator, vector)?);
    }
    let omega = &omega.vectors()[..images.len()];
    let approximation = from_sketch(omega, images, config.rank)?;
    Ok(Nystrom {
        operator: approximation,
        converged: tally.products == wanted,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
    })
}

/// The approximation of at most this rank from `Ω`, orthonormal, and `A Ω`.
fn from_sketch(
    omega: &[ParamVec],
    images: Vec<ParamVec>,
    rank: usize,
) -> Result<LowRank, CurvatureError> {
    let size = images.len();
    let squares: f64 = images.iter().map(|y| y.dot(y)).sum();
    if !squares.is_finite() {
        return Err(CurvatureError::NonFinite {
            what: "the norm of a product",
            value: squares,
        });
    }
    let layout = omega[0].layout().clone();
    // A shift that rounding cannot make negative; it is taken off the eigenvalues again.
    let shift = squares.sqrt() * shift_of(&images[0]);
    let shifted: Vec<ParamVec> = images
        .iter()
        .zip(omega)
        .map(|(y, w)| y.axpy(shift, w))
        .collect();
    drop(images);
    let columns: Vec<Vec<f64>> = shifted.iter().map(|y| y.dot_many(omega)).collect();
    let core = Mat::from_fn(size, size, |row, column| {
        0.5 * (columns[column][row] + columns[row][column])
    });
    let smallest = (0..size)
        .map(|k| core[(k, k)])
        .fold(f64::INFINITY, f64::min);
    let factor = core
        .llt(Side::Lower)
        .map_err(|_| CurvatureError::NotPositiveDefinite {
            curvature: smallest.min(0.0),
        })?;
    // B = Y C⁻ᵀ has A ≈ B Bᵀ; from Y = Q R its singular vectors are those of R C⁻ᵀ, turned by Q.
    let ThinQr { basis, r } = thin_qr(&shifted, 1e-14)?;
    let lower = factor.L();
    let mut turned = Mat::<f64>::zeros(r.nrows(), size);
    for row in 0..r.nrows() {
        for column in 0..size {
            let known: f64 = (0..column)
                .map(|k| turned[(row, k)] * lower[(column, k)])
                .sum();
            turned[(row, column)] = (r[(row, column)] - known) / lower[(column, column)];
        }
    }
    let svd = turned
        .svd()
        .map_err(|_| CurvatureError::Eigensolver { size })?;
    let zero = shifted[0].scale(0.0);
    let kept = rank.min(basis.len());
    let vectors = (0..kept).map(|column| {
        let weights: Vec<f64> = (0..basis.len()).map(|row| svd.U()[(row, column)]).collect();
        basis.add(zero.clone(), &weights)
    });
    let values = svd.S().column_vector();
    let values = values
        .iter()
        .take(kept)
        .map(|sigma| (sigma * sigma - shift).max(0.0));
    LowRank::from_parts(layout, Basis::of(vectors.collect()), values.collect(), 0.0)
}

/// The shift relative to the norm of the sketch.
fn shift_of(image: &ParamVec) -> f64 {
    let all_f64 = image
        .layout()
        .entries()
        .iter()
        .all(|entry| entry.dtype == burn::tensor::DType::F64);
    if all_f64 { 1e-12 } else { 1e-6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{DenseOperator, DiagonalOperator, Structure, dense_diagonal};
    use crate::solve::{SolveConfig, conjugate_gradient};
    use crate::testing::{Lcg, layout, mixed};

    /// The oracle's matrix of order 40 with eigenvalues 100 / i².
    fn oracle() -> DenseOperator {
        let n = 40;
        let layout = layout(&[n]);
        // Columns of Q by Gram-Schmidt on the generator's rows, up to signs.
        let rows: Vec<ParamVec> = (0..n as u32)
            .map(|i| ParamVec::from_values(&layout, &Lcg::new(900 + i).normal(n)))
            .collect();
        // Q of a matrix whose rows are given: orthonormalise its columns.
        let matrix: Vec<Vec<f64>> = rows.iter().map(ParamVec::to_values).collect();
        let columns: Vec<ParamVec> = (0..n)
            .map(|c| {
                let column: Vec<f64> = (0..n).map(|r| matrix[r][c]).collect();
                ParamVec::from_values(&layout, &column)
            })
            .collect();
        let q: Vec<Vec<f64>> = thin_qr(&columns, 0.0)
            .unwrap()
            .basis
            .vectors()
            .iter()
            .map(ParamVec::to_values)
            .collect();
        let elements = (0..n * n)
            .map(|at| {
                let (row, column) = (at / n, at % n);
                (0..n)
                    .map(|k| q[k][row] * q[k][column] * 100.0 / ((k + 1) * (k + 1)) as f64)
                    .sum()
            })
            .collect();
        DenseOperator::new(layout, elements, Structure::PositiveSemidefinite).unwrap()
    }

    fn sketch(operator: &DenseOperator) -> LowRank {
        let layout = operator.layout();
        let tests: Vec<ParamVec> = (0..10)
            .map(|i| ParamVec::from_values(&layout, &Lcg::new(2000 + i).normal(40)))
            .collect();
        let omega = thin_qr(&tests, 0.0).unwrap().basis;
        let images = omega
            .vectors()
            .iter()
            .map(|w| operator.apply(w).unwrap().value)
            .collect();
        from_sketch(omega.vectors(), images, 10).unwrap()
    }

    #[test]
    fn eigenvalues_and_iterations_are_the_oracles() {
        let operator = oracle();
        let approximation = sketch(&operator);
        for (index, value) in [
            (0, 95.01082587454887),
            (4, 3.4152861187895778),
            (9, 0.4188586065786921),
        ] {
            let found = approximation.values()[index];
            assert!((found - value).abs() < 1e-7 * value, "{found} {value}");
        }
        let made = Nystrom {
            operator: approximation,
            products: 10,
            cost: Cost::ZERO,
            product_error: None,
            provenance: Provenance::Exact,
            converged: true,
        };
        let b = ParamVec::from_values(&operator.layout(), &Lcg::new(77).normal(40));
        let config = SolveConfig {
            damping: 0.05,
            tolerance: 1e-8,
            ..SolveConfig::default()
        };
        let jacobi = DiagonalOperator::new(dense_diagonal(&operator).unwrap())
            .damped_inverse(0.05)
            .unwrap();
        let inverse = made.preconditioner(0.05).unwrap();
        let choices: [(Option<&dyn CurvatureOperator>, usize); 3] =
            [(None, 41), (Some(&jacobi), 49), (Some(&inverse), 26)];
        for (preconditioner, steps) in choices {
            let found = conjugate_gradient(&operator, &b, preconditioner, &config).unwrap();
            assert!(found.converged);
            // The last steps turn on rounding.
            let made = found.residuals.len() - 1;
            assert!(
                made.abs_diff(steps) <= 2,
                "{made} steps, {steps} in the oracle"
            );
        }
    }

    #[test]
    fn a_matrix_of_its_rank_is_recovered() {
        let mut eigenvalues = vec![0.0; 30];
        eigenvalues[..4].copy_from_slice(&[5.0, 2.0, 0.5, 0.1]);
        let operator = mixed(&eigenvalues, &[12, 18], Structure::PositiveSemidefinite);
        let config = NystromConfig {
            rank: 4,
            ..NystromConfig::default()
        };
        let found = nystrom(&operator, &config).unwrap();
        assert_eq!(found.products, 9);
        for (value, expected) in found.operator.values().iter().zip(&eigenvalues) {
            assert!((value - expected).abs() < 1e-8, "{value} {expected}");
        }
        let v = ParamVec::gaussian(&operator.layout(), 1);
        let exact = operator.apply(&v).unwrap().value;
        let made = found.operator.apply(&v).unwrap().value;
        assert!(made.sub(&exact).norm() < 1e-7 * exact.norm());
        let x = found.inverse(0.3).unwrap().apply(&v).unwrap().value;
        let back = operator.apply(&x).unwrap().value.axpy(0.3, &x);
        assert!(back.sub(&v).norm() < 1e-6 * v.norm());
    }

    #[test]
    fn indefinite_operators_and_small_budgets() {
        let eigenvalues: Vec<f64> = (0..30).map(|i| f64::from(i) - 15.0).collect();
        let operator = mixed(&eigenvalues, &[30], Structure::Symmetric);
        let error = nystrom(&operator, &NystromConfig::default()).unwrap_err();
        assert!(
            matches!(error, CurvatureError::NotPositiveDefinite { .. }),
            "{error}"
        );
        let positive: Vec<f64> = (1..=30).map(f64::from).collect();
        let operator = mixed(&positive, &[30], Structure::PositiveSemidefinite);
        let config = NystromConfig {
            budget: Budget::products(8),
            ..NystromConfig::default()
        };
        let found = nystrom(&operator, &config).unwrap();
        assert!(!found.converged && found.products == 8);
        assert!(found.preconditioner(0.0).is_err());
    }
}
