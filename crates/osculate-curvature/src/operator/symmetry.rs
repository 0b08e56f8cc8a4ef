use super::{CurvatureOperator, Product};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::params::ParamVec;

/// How far an operator is from symmetric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SymmetryCheck {
    /// `|x'Ay - y'Ax| / (|x| |Ay|)` for two random probes.
    pub defect: f64,
    /// Whether the defect is small enough for a smooth loss: at most `1e-4` in `f32`. Smooth
    /// networks show about 5e-7 and ReLU networks about 8e-3.
    pub smooth: bool,
    /// What the two products cost.
    pub cost: Cost,
}

/// The largest defect that passes for smooth.
const THRESHOLD: f64 = 1e-4;

/// Measures the symmetry defect of an operator with two random probes: the cheap alarm for kinks
/// under a finite difference. A true Hessian is symmetric; the difference across a kink is not.
///
/// Cost: two products.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{symmetry_check};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// assert!(symmetry_check(&hessian, 0)?.smooth);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As the operator's products.
pub fn symmetry_check(
    operator: &dyn CurvatureOperator,
    seed: u64,
) -> Result<SymmetryCheck, CurvatureError> {
    let layout = operator.layout();
    let x = ParamVec::gaussian(&layout, seed).to_compute_dtype();
    let y = ParamVec::gaussian(&layout, seed.wrapping_add(1)).to_compute_dtype();
    let Product {
        value: ax,
        cost: cost_x,
        ..
    } = operator.apply_probe(&x)?;
    let Product {
        value: ay,
        cost: cost_y,
        ..
    } = operator.apply_probe(&y)?;
    let scale = x.norm() * ay.norm();
    let difference = (x.dot(&ay) - y.dot(&ax)).abs();
    // Zero products are symmetric; what is not a number is not known to be.
    let defect = if scale == 0.0 {
        0.0
    } else {
        difference / scale
    };
    let smooth = defect <= THRESHOLD;
    if !smooth {
        tracing::warn!(
            defect,
            "products are not symmetric: the loss has kinks within the finite-difference step"
        );
    }
    Ok(SymmetryCheck {
        defect,
        smooth,
        cost: cost_x + cost_y,
    })
}
