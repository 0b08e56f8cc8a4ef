use std::sync::Arc;

use faer::prelude::Solve;
use faer::{Mat, Side};

use super::{Factor, GradientRows};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Product, Provenance, Structure};
use crate::params::{ParamLayout, ParamVec};

/// The inverse of `δ I + (1/m) Σ g_i g_iᵀ` for stored gradients, exactly, by Woodbury's identity:
/// `v/δ - Gᵀ (m δ I + G Gᵀ)⁻¹ G v / δ`.
///
/// It is an operator: `apply` is the inverse product, at the price of `2 m` dot products and no pass
/// through the model. The matrix of order `m` is factorised once, in `f64` on the host: in `f32` a
/// damping far below `|g|²/m` would lose all digits.
///
/// Memory: one vector for each gradient.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::{
/// #     CurvatureOperator, Criterion, GradientOracle, Hessian, SolveConfig, SupervisedBatch, assign,
/// #     conjugate_gradient,
/// # };
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, -1.0]], &device);
/// # let y = Tensor::<2>::from_data([[1.0], [2.0], [2.0], [1.0]], &device);
/// # let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
/// # let objective = SupervisedBatch::new(x, forward, Criterion::mse(y));
/// # let solve = SolveConfig { tolerance: 1e-6, ..SolveConfig::damped(0.0) };
/// # let model = {
/// #     let oracle = GradientOracle::new(&model, &objective);
/// #     let gradient = oracle.clean()?.gradient.clone();
/// #     let step = conjugate_gradient(&Hessian::new(&oracle)?, &gradient, None, &solve)?.x;
/// #     let trained = oracle.parameters()?.sub(&step);
/// #     assign(model.clone(), &trained)
/// # };
/// # let oracle = GradientOracle::new(&model, &objective); // least squares, at the solution
/// # let hessian = Hessian::new(&oracle)?;
/// use osculate_curvature::{GradientRows, Woodbury, sample_gradients};
/// let rows = GradientRows::new(sample_gradients(&oracle, &[0, 1, 2, 3])?)?;
/// let inverse = Woodbury::new(rows.clone(), 0.1)?;
/// let v = oracle.parameters()?.clone();
/// // Back with the stored gradients: (Σ g gᵀ / 4 + 0.1) x = v.
/// let x = inverse.apply(&v)?.value;
/// let back = rows.gradients().iter().fold(x.scale(0.1), |sum, g| sum.axpy(0.25 * g.dot(&x), g));
/// assert!(back.sub(&v).norm() < 1e-4);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Woodbury {
    gradients: GradientRows,
    gram: Mat<f64>,
    damping: f64,
}

impl Woodbury {
    /// The inverse for these gradients and this damping.
    ///
    /// Cost: `m²/2` dot products.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a damping that is not positive, and
    /// [`CurvatureError::NotPositiveDefinite`] where the Gram matrix with the damping is not in
    /// `f64`.
    pub fn new(gradients: GradientRows, damping: f64) -> Result<Self, CurvatureError> {
        CurvatureError::check(
            damping.is_finite() && damping > 0.0,
            "damping",
            damping,
            "a positive finite number",
        )?;
        let rows = gradients.gradients();
        let m = rows.len();
        let lower: Vec<Vec<f64>> = rows
            .iter()
            .enumerate()
            .map(|(i, row)| row.dot_many(&rows[..=i]))
            .collect();
        let gram = Mat::from_fn(m, m, |row, column| {
            let (high, low) = (row.max(column), row.min(column));
            let shift = if row == column {
                m as f64 * damping
            } else {
                0.0
            };
            lower[high][low] + shift
        });
        let made = Self {
            gradients,
            gram,
            damping,
        };
        made.factorise()?;
        Ok(made)
    }

    fn factorise(&self) -> Result<faer::linalg::solvers::Llt<f64>, CurvatureError> {
        self.gram
            .llt(Side::Lower)
            .map_err(|_| CurvatureError::NotPositiveDefinite { curvature: 0.0 })
    }

    /// The damping `δ`.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// The diagonal of the inverse: `(1 - Σ_j c_j²) / δ` for the rows `c_j` of `L⁻¹ G` with the
    /// Cholesky factor `L`.
    ///
    /// Cost: `m²/2` vector operations. Memory: one vector for each gradient.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn inverse_diagonal(&self) -> Result<ParamVec, CurvatureError> {
        let factor = self.factorise()?;
        let lower = factor.L();
        let rows = self.gradients.gradients();
        let mut solved: Vec<ParamVec> = Vec::with_capacity(rows.len());
        let mut sum = rows[0].scale(0.0);
        for (i, row) in rows.iter().enumerate() {
            let known = solved.iter().enumerate();
            let rest = known.fold(row.clone(), |rest, (j, c)| rest.axpy(-lower[(i, j)], c));
            let c = rest.scale(1.0 / lower[(i, i)]);
            sum = sum.add(&c.hadamard(&c));
            solved.push(c);
        }
        let one_less = |x: burn::tensor::Tensor<1>| (x.neg() + 1.0).div_scalar(self.damping);
        Ok(sum.map(|(_, x)| one_less(x.clone())))
    }
}

impl CurvatureOperator for Woodbury {
    fn layout(&self) -> Arc<ParamLayout> {
        self.gradients.layout()
    }

    fn structure(&self) -> Structure {
        Structure::PositiveSemidefinite
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.layout().check(v.layout())?;
        let v = v.to_compute_dtype();
        let rows = self.gradients.gradients();
        let overlaps = v.dot_many(rows);
        let right = Mat::from_fn(rows.len(), 1, |row, _| overlaps[row]);
        let weights = self.factorise()?.solve(&right);
        let value = rows
            .iter()
            .enumerate()
            .fold(v, |sum, (index, row)| sum.axpy(-weights[(index, 0)], row));
        Ok(Product {
            value: value.scale(1.0 / self.damping),
            cost: Cost::ZERO,
            provenance: Provenance::Exact,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::dense_matrix;
    use crate::testing::{Lcg, assert_close, layout};

    /// Least squares of the oracle: the gradients of its six samples.
    const GRADIENTS: [[f64; 2]; 6] = [
        [-0.8, 0.0],
        [0.0, 0.9],
        [-0.4, -0.4],
        [-3.0, 1.5],
        [0.25, -0.125],
        [-0.55, -2.2],
    ];

    #[test]
    fn products_are_the_oracles() {
        let layout = layout(&[2]);
        let rows = GRADIENTS
            .iter()
            .map(|row| ParamVec::from_values(&layout, row));
        let inverse = Woodbury::new(GradientRows::new(rows.collect()).unwrap(), 0.05).unwrap();
        let v = ParamVec::from_values(&layout, &[1.0, 2.0]);
        let found = inverse.apply(&v).unwrap().value.to_values();
        assert_close(&found, &[1.1356127559053688, 1.8613483560457693], 1e-12);
    }

    #[test]
    fn it_inverts_the_damped_fisher_matrix() {
        let layout = layout(&[4, 6]);
        let mut lcg = Lcg::new(12);
        let rows: Vec<ParamVec> = (0..5)
            .map(|_| ParamVec::from_values(&layout, &lcg.normal(10)))
            .collect();
        let factor = GradientRows::new(rows).unwrap();
        let inverse = Woodbury::new(factor.clone(), 0.02).unwrap();
        let v = ParamVec::gaussian(&layout, 5);
        let x = inverse.apply(&v).unwrap().value;
        let jx = factor.apply(&x).unwrap().value;
        let back = factor.transpose(&jx).unwrap().value.axpy(0.02, &x);
        assert!(back.sub(&v).norm() < 1e-11 * v.norm());
        let matrix = dense_matrix(&inverse).unwrap();
        let diagonal: Vec<f64> = (0..10).map(|i| matrix[11 * i]).collect();
        assert_close(
            &inverse.inverse_diagonal().unwrap().to_values(),
            &diagonal,
            1e-10,
        );
    }

    #[test]
    fn wrong_input_is_named() {
        let layout = layout(&[2]);
        assert!(GradientRows::new(Vec::new()).is_err());
        let nan = ParamVec::from_values(&layout, &[f64::NAN, 1.0]);
        let error = GradientRows::new(vec![nan]).unwrap_err().to_string();
        let expected = "the norm of a gradient is NaN, expected a finite number";
        assert!(error.starts_with(expected), "{error}");
        let one = GradientRows::new(vec![ParamVec::gaussian(&layout, 0)]).unwrap();
        assert!(Woodbury::new(one, 0.0).is_err());
    }
}
