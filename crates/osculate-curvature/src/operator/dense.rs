use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use super::{CurvatureOperator, Product, Provenance, Structure};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::params::{ParamLayout, ParamVec};

/// An explicit symmetric matrix over parameter space, for tests and for small models.
///
/// Memory: `n^2` elements in `f64` on the host; a product reads the vector back.
#[derive(Debug, Clone)]
pub struct DenseOperator {
    layout: Arc<ParamLayout>,
    rows: Vec<f64>,
    structure: Structure,
}

impl DenseOperator {
    /// The operator of a row-major matrix.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] if the number of elements is not the square of the
    /// dimension.
    pub fn new(
        layout: Arc<ParamLayout>,
        rows: Vec<f64>,
        structure: Structure,
    ) -> Result<Self, CurvatureError> {
        let n = layout.num_elements();
        CurvatureError::check(
            rows.len() == n * n,
            "number of matrix elements",
            rows.len(),
            "the square of the layout's dimension",
        )?;
        Ok(Self {
            layout,
            rows,
            structure,
        })
    }
}

impl CurvatureOperator for DenseOperator {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn structure(&self) -> Structure {
        self.structure
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.layout.check(v.layout())?;
        let x = v.to_values();
        let mut y = self
            .rows
            .chunks(x.len().max(1))
            .map(|row| row.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>());
        let value = v.map(|(entry, _)| {
            let n = entry.num_elements();
            let part: Vec<f64> = y.by_ref().take(n).collect();
            Tensor::from_data(
                TensorData::new(part, [n]),
                (&entry.device, entry.compute_dtype()),
            )
        });
        Ok(Product {
            value,
            cost: Cost::ZERO,
            provenance: Provenance::Exact,
        })
    }
}

/// The matrix of an operator, row-major in `f64`, built column by column from products with unit
/// vectors. It is not symmetrised, so that its asymmetry shows the error of the products.
///
/// Cost: one product for each element of the space.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{dense_matrix};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let matrix = dense_matrix(&hessian)?;
/// assert!((matrix[4] - 4.0).abs() < 1e-4 && matrix[1].abs() < 1e-4);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::NonFinite`] where a product is not finite, and as the operator's products.
pub fn dense_matrix(operator: &dyn CurvatureOperator) -> Result<Vec<f64>, CurvatureError> {
    let layout = operator.layout();
    let n = layout.num_elements();
    let mut matrix = vec![0.0; n * n];
    by_units(operator, |column, _, product| {
        for (row, value) in product.to_values().into_iter().enumerate() {
            matrix[row * n + column] = value;
        }
    })?;
    Ok(matrix)
}

/// The diagonal of an operator, from products with unit vectors. With an exact
/// [`Hessian`](super::Hessian) it is the exact diagonal.
///
/// Cost: one product for each element of the space, so for small models.
/// [`hutchinson_diagonal`](crate::hutchinson_diagonal) estimates it for large ones.
///
/// # Errors
/// [`CurvatureError::NonFinite`] where a product is not finite, and as the operator's products.
pub fn dense_diagonal(operator: &dyn CurvatureOperator) -> Result<ParamVec, CurvatureError> {
    let layout = operator.layout();
    let mut diagonal = ParamVec::zeros(&layout).to_compute_dtype();
    by_units(operator, |_, unit, product| {
        diagonal = diagonal.add(&unit.to_compute_dtype().hadamard(&product));
    })?;
    Ok(diagonal)
}

/// Hands every unit vector, by its index, and its product to `each`.
fn by_units(
    operator: &dyn CurvatureOperator,
    mut each: impl FnMut(usize, &ParamVec, ParamVec),
) -> Result<(), CurvatureError> {
    let layout = operator.layout();
    let n = layout.num_elements();
    let mut index = 0;
    while index < n {
        let end = n.min(index + operator.width().max(1));
        let units: Vec<ParamVec> = (index..end).map(|i| ParamVec::basis(&layout, i)).collect();
        let products = operator.apply_many(&units)?;
        for ((index, unit), product) in (index..).zip(&units).zip(products) {
            let value = product.value.norm();
            if !value.is_finite() {
                return Err(CurvatureError::NonFinite {
                    what: "the norm of a product",
                    value,
                });
            }
            each(index, unit, product.value);
        }
        index = end;
    }
    Ok(())
}
