//! Derivatives of a network with respect to its inputs.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::bound::Wrt;
use crate::error::JvpError;
use crate::program::Program;

/// A field `u(x; θ)` over points `x`, given by a module, with its derivatives by the coordinates.
///
/// Points are the rows of a tensor of shape `[points, coordinates]`, values the rows of one of
/// shape `[points, components]`. The value at a point must depend on that point alone, which rules
/// out batch normalisation in training mode.
///
/// All results stay connected to autodiff: a loss made of them, such as the residual of a
/// differential equation, can be differentiated by the parameters with `backward`, as physics
/// informed networks need. Model and points must both be on autodiff, or both not.
///
/// Cost: three forward passes for a first, five for a second derivative along one direction; the
/// backward pass of a loss is longer in proportion. Recording happens once for a number of points.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use osculate_jvp::Field;
///
/// // u(x, y) = sum of squares of two linear functions: a quadratic, with a constant Laplacian.
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(2, 2).init(&device);
/// let points = Tensor::<2>::from_data([[0.1, 0.4], [0.7, -0.2]], &device);
/// let field = Field::record(&model, &points, |model: &Linear, points| {
///     model.forward(points.clone()).square().sum_dim(1)
/// })?;
/// let laplacian = field.laplacian(&model, &points)?;
/// let expected = model.weight.val().square().sum().mul_scalar(2.0);
/// let error = (laplacian - expected.unsqueeze::<2>()).abs().max().into_scalar::<f32>();
/// assert!(error < 1e-5);
/// # Ok::<(), osculate_jvp::JvpError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Field {
    first: Program,
    second: Program,
}

/// A field along a direction.
#[derive(Debug, Clone)]
pub struct Along {
    /// `u`.
    pub value: Tensor<2>,
    /// `∂u/∂s` for points moving as `x + s v`.
    pub first: Tensor<2>,
    /// `∂²u/∂s²`.
    pub second: Tensor<2>,
}

impl Field {
    /// Records the field for as many points as given.
    ///
    /// # Errors
    /// As [`Program::record`].
    pub fn record<M: Module>(
        model: &M,
        points: &Tensor<2>,
        field: impl FnOnce(&M, &Tensor<2>) -> Tensor<2>,
    ) -> Result<Self, JvpError> {
        let program = Program::record(model, points, field)?;
        Ok(Self {
            first: program.derivative(Wrt::Inputs)?,
            second: program.second_derivative(Wrt::Inputs)?,
        })
    }

    /// Value and derivatives along a direction given for every point, of the shape of the points.
    ///
    /// # Errors
    /// As [`Program::call`].
    pub fn along<M: Module>(
        &self,
        model: &M,
        points: &Tensor<2>,
        direction: Tensor<2>,
    ) -> Result<Along, JvpError> {
        let results = self.second.call(model, &(points.clone(), direction))?;
        let [value, first, second] = three(results)?;
        Ok(Along {
            value,
            first,
            second,
        })
    }

    /// The derivative `∂u/∂x_axis`.
    ///
    /// # Errors
    /// [`JvpError::Coordinate`], and as [`Program::call`].
    pub fn partial<M: Module>(
        &self,
        model: &M,
        points: &Tensor<2>,
        axis: usize,
    ) -> Result<Tensor<2>, JvpError> {
        let direction = unit(points, axis)?;
        let mut results = self.first.call(model, &(points.clone(), direction))?;
        match results.pop() {
            Some(derivative) => Ok(derivative.float()),
            None => Err(missing()),
        }
    }

    /// All first derivatives, in the order of the coordinates.
    ///
    /// # Errors
    /// As [`Program::call`].
    pub fn gradient<M: Module>(
        &self,
        model: &M,
        points: &Tensor<2>,
    ) -> Result<Vec<Tensor<2>>, JvpError> {
        (0..points.dims()[1])
            .map(|axis| self.partial(model, points, axis))
            .collect()
    }

    /// Value, `∂u/∂x_axis` and `∂²u/∂x_axis²`.
    ///
    /// # Errors
    /// As [`partial`](Self::partial).
    pub fn second_partial<M: Module>(
        &self,
        model: &M,
        points: &Tensor<2>,
        axis: usize,
    ) -> Result<Along, JvpError> {
        self.along(model, points, unit(points, axis)?)
    }

    /// The Laplacian `Σ_i ∂²u/∂x_i²`.
    ///
    /// # Errors
    /// [`JvpError::Independent`] for points without coordinates, and as [`Program::call`].
    pub fn laplacian<M: Module>(
        &self,
        model: &M,
        points: &Tensor<2>,
    ) -> Result<Tensor<2>, JvpError> {
        let mut sum: Option<Tensor<2>> = None;
        for axis in 0..points.dims()[1] {
            let second = self.second_partial(model, points, axis)?.second;
            sum = Some(match sum {
                Some(sum) => sum + second,
                None => second,
            });
        }
        sum.ok_or(JvpError::Independent { what: "coordinate" })
    }
}

/// The direction of one coordinate, at every point.
fn unit(points: &Tensor<2>, axis: usize) -> Result<Tensor<2>, JvpError> {
    let [rows, coordinates] = points.dims();
    if axis >= coordinates {
        return Err(JvpError::Coordinate { axis, coordinates });
    }
    let zeros = points.zeros_like();
    Ok(zeros.slice_fill([0..rows, axis..axis + 1], 1.0))
}

fn three(results: Vec<crate::AnyTensor>) -> Result<[Tensor<2>; 3], JvpError> {
    let floats: Vec<Tensor<2>> = results.into_iter().map(crate::AnyTensor::float).collect();
    floats.try_into().map_err(|_| missing())
}

fn missing() -> JvpError {
    JvpError::Internal {
        what: "a derivative is missing from the results".to_string(),
    }
}
