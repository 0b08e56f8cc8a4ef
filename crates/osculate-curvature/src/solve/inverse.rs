use std::cell::Cell;
use std::sync::Arc;

use super::{SolveConfig, conjugate_gradient};
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Product, Structure};
use crate::params::{ParamLayout, ParamVec};

/// `(A + δ I)⁻¹` as an operator: every product is a solution by conjugate gradients.
///
/// It turns whatever stands on operators into the same for the inverse: its diagonal, its trace,
/// its largest eigenvalues (the flattest directions). Where `A + δ I` is not positive definite, or a
/// solution does not reach the tolerance, a product is an error, never an approximation.
///
/// Cost of a product: that of its solution. A preconditioner that is made once, such as
/// [`Nystrom::preconditioner`](super::Nystrom::preconditioner), pays for itself in all of them. The
/// error of products by finite differences is passed on divided by the damping, an upper bound.
///
/// No inverse by Kronecker factors (K-FAC, EK-FAC) is offered: it needs the inputs and the output
/// gradients of every layer, which a module does not hand out.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Int, Tensor};
/// use osculate_curvature::{
///     Criterion, CurvatureOperator, DampedInverse, GaussNewton, GradientOracle, SolveConfig,
///     SupervisedBatch,
/// };
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(4, 3).init(&device);
/// let inputs = Tensor::<2>::random([16, 4], Distribution::Default, &device);
/// let labels = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0], &device);
/// let objective = SupervisedBatch::new(
///     inputs,
///     |model: &Linear, inputs: &Tensor<2>| model.forward(inputs.clone()),
///     Criterion::cross_entropy(labels),
/// );
/// let oracle = GradientOracle::new(&model, &objective);
/// let inverse = DampedInverse::new(GaussNewton::new(&oracle)?, SolveConfig::damped(1e-2))?;
/// let gradient = &oracle.clean()?.gradient;
/// let natural = inverse.apply(gradient)?.value;
/// assert!(natural.dot(gradient) > 0.0);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct DampedInverse<'a, A> {
    inner: A,
    config: SolveConfig,
    preconditioner: Option<Box<dyn CurvatureOperator + 'a>>,
    last_residual: Cell<f64>,
}

impl<'a, A: CurvatureOperator> DampedInverse<'a, A> {
    /// The inverse of `inner + damping I`, solved for as the settings say.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for settings out of range, or with an initial solution,
    /// which would make a product depend on more than its vector.
    pub fn new(inner: A, config: SolveConfig) -> Result<Self, CurvatureError> {
        CurvatureError::check(
            config.initial.is_none(),
            "initial",
            "a vector",
            "no initial solution for an inverse",
        )?;
        config.validate(&ParamVec::zeros(&inner.layout()))?;
        Ok(Self {
            inner,
            config,
            preconditioner: None,
            last_residual: Cell::new(0.0),
        })
    }

    /// The same with an approximate inverse that speeds up every solution.
    pub fn with_preconditioner(mut self, inverse: impl CurvatureOperator + 'a) -> Self {
        self.preconditioner = Some(Box::new(inverse));
        self
    }

    /// Relative residual of the last product.
    pub fn last_residual(&self) -> f64 {
        self.last_residual.get()
    }

    /// The operator whose inverse this is.
    pub fn inner(&self) -> &A {
        &self.inner
    }
}

impl<A: CurvatureOperator> CurvatureOperator for DampedInverse<'_, A> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.inner.layout()
    }

    fn structure(&self) -> Structure {
        Structure::PositiveSemidefinite
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        let solution =
            conjugate_gradient(&self.inner, v, self.preconditioner.as_deref(), &self.config)?;
        self.last_residual.set(solution.relative_residual);
        let cost = solution.cost;
        // An error of a product of A is divided by at least the damping.
        let share = 1.0 / self.config.damping.max(f64::MIN_POSITIVE);
        let provenance = solution.provenance.scale(share);
        Ok(Product {
            value: solution.solved()?,
            cost,
            provenance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{Scaled, Sum, dense_diagonal, dense_matrix};
    use crate::solve::tests::a4;
    use crate::solve::{NystromConfig, nystrom};
    use crate::testing::{assert_close, mixed};

    fn tight(damping: f64) -> SolveConfig {
        SolveConfig {
            damping,
            tolerance: 1e-12,
            ..SolveConfig::default()
        }
    }

    #[test]
    fn products_invert_and_inverses_of_sums_are_operators() {
        let eigenvalues: Vec<f64> = (1..=20).map(|i| 5.0 / f64::from(i)).collect();
        let a = mixed(&eigenvalues, &[8, 12], Structure::PositiveSemidefinite);
        let sum = Sum::new(&a, Scaled::new(0.5, &a)).unwrap();
        let sketch = nystrom(
            &a,
            &NystromConfig {
                rank: 6,
                ..NystromConfig::default()
            },
        )
        .unwrap();
        let inverse = DampedInverse::new(sum, tight(0.1))
            .unwrap()
            .with_preconditioner(sketch.inverse(0.07).unwrap());
        let (rows, columns) = (dense_matrix(&a).unwrap(), dense_matrix(&inverse).unwrap());
        for row in 0..20 {
            for column in 0..20 {
                let element: f64 = (0..20)
                    .map(|k| {
                        let shift = if row == k { 0.1 } else { 0.0 };
                        (1.5 * rows[20 * row + k] + shift) * columns[20 * k + column]
                    })
                    .sum();
                let identity = if row == column { 1.0 } else { 0.0 };
                assert!(
                    (element - identity).abs() < 1e-9,
                    "{row} {column}: {element}"
                );
            }
        }
        assert!(inverse.last_residual() < 1e-12);
        let diagonal: Vec<f64> = (0..20).map(|i| columns[21 * i]).collect();
        assert_close(
            &dense_diagonal(&inverse).unwrap().to_values(),
            &diagonal,
            1e-10,
        );
    }

    #[test]
    fn indefinite_operators_are_an_error() {
        let (operator, b) = a4();
        let inverse = DampedInverse::new(&operator, tight(-0.5)).unwrap();
        assert!(matches!(
            inverse.apply(&b).unwrap_err(),
            CurvatureError::NotPositiveDefinite { .. }
        ));
        let started = SolveConfig {
            initial: Some(b),
            ..tight(0.1)
        };
        assert!(DampedInverse::new(&operator, started).is_err());
    }
}
