//! How far to move for a finite difference.

use std::cell::Cell;

use burn::tensor::{DType, Tensor};

use crate::error::CurvatureError;
use crate::params::{ParamLayout, ParamVec};

/// How the length of a finite-difference step is chosen.
///
/// The right length differs by orders of magnitude between directions when it is measured in
/// parameter space, and hardly at all when it is measured by how far the model's outputs move.
/// Lengths below are for `f32` parameters and a unit direction; they shrink with the cube root of
/// the machine epsilon for `f64` (by 1.2e-3).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum StepRule {
    /// Begins with [`FunctionSpace`](StepRule::FunctionSpace) where the objective is supervised;
    /// otherwise with [`Relative`](StepRule::Relative) for random probes and with `2^-10` for every
    /// other direction. Where central differences estimate their error, another step is taken if
    /// kinks or noise make it the better one; otherwise other directions use
    /// [`Doubling`](StepRule::Doubling).
    #[default]
    Auto,
    /// The step that moves the outputs by `tau` (root mean square over samples and outputs), within
    /// `[2^-14, 2^-3]`.
    ///
    /// The first product costs two forward passes more; later products start from the last step
    /// and check it with the outputs that the gradient passes give anyway.
    FunctionSpace {
        /// Movement of the outputs. The default of `Auto` is 0.012.
        tau: f64,
    },
    /// `2^-9 |θ|`. Right for directions whose elements are independent, poor for others.
    Relative,
    /// Starts at `2^-10` and halves until the truncation error falls under ten times the rounding
    /// error. Costs four gradients and two for each halving, and estimates its own error.
    Doubling,
    /// This length.
    Fixed {
        /// Length of the step in parameter space.
        length: f64,
    },
}

impl StepRule {
    pub(crate) fn validate(&self) -> Result<(), CurvatureError> {
        let (name, value) = match self {
            StepRule::FunctionSpace { tau } => ("tau", *tau),
            StepRule::Fixed { length } => ("length", *length),
            _ => return Ok(()),
        };
        CurvatureError::check(
            value.is_finite() && value > 0.0,
            name,
            value,
            "a positive finite number",
        )
    }
}

/// Lengths for one element type, and the last step that worked.
#[derive(Debug)]
pub(crate) struct Stepper {
    /// Factor on all `f32` lengths.
    scale: f64,
    shortest: f64,
    longest: f64,
    /// Below it a step would be rounded away.
    spacing: f64,
    theta_norm: f64,
    dimension: f64,
    last: Cell<Option<f64>>,
}

impl Stepper {
    /// `order` is the power of the machine epsilon that the optimal step follows: 1/3 for central
    /// differences, 1/2 for forward differences.
    pub(crate) fn new(layout: &ParamLayout, theta_norm: f64, order: f64) -> Self {
        let epsilon = epsilon(layout);
        let scale = (epsilon / f64::from(f32::EPSILON)).powf(order);
        // A step under the spacing of the weights themselves would be rounded away.
        let spacing = 64.0 * epsilon * theta_norm;
        Self {
            scale,
            shortest: (2f64.powi(-14) * scale).max(spacing),
            longest: (2f64.powi(-3) * scale).max(spacing),
            spacing,
            theta_norm,
            dimension: layout.num_elements() as f64,
            last: Cell::new(None),
        }
    }

    /// Factor of all lengths for the element type, 1 for `f32`.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    pub(crate) fn spacing(&self) -> f64 {
        self.spacing
    }

    /// The longest step that makes sense for any element type.
    pub(crate) fn farthest(&self) -> f64 {
        self.longest.max(2f64.powi(-3))
    }

    pub(crate) fn clamp(&self, h: f64) -> f64 {
        h.clamp(self.shortest, self.longest)
    }

    pub(crate) fn relative(&self) -> f64 {
        // At the origin the weights have no scale; 1e-3 for each element stands in for it.
        let reference = self.theta_norm.max(1e-3 * self.dimension.sqrt());
        2f64.powi(-9) * self.scale * reference
    }

    pub(crate) fn start(&self) -> f64 {
        self.clamp(2f64.powi(-10) * self.scale)
    }

    pub(crate) fn last(&self) -> Option<f64> {
        self.last.get()
    }

    pub(crate) fn set_last(&self, h: f64) {
        self.last.set(Some(h));
    }

    /// Finds a step at which `pair` moves the outputs by about `tau`, and returns what `pair` made
    /// there. `first` is where to begin.
    ///
    /// A step that misses by half, or by a third too long, is kept, because repeating a pair costs
    /// more than it gains. Too long a step is the worse mistake: truncation grows with its square.
    pub(crate) fn in_function_space<T>(
        &self,
        tau: f64,
        first: f64,
        mut pair: impl FnMut(f64) -> Result<(T, f64), CurvatureError>,
    ) -> Result<(T, f64), CurvatureError> {
        let tau = tau * self.scale;
        let mut h = self.clamp(first);
        let mut attempts = 3;
        loop {
            let (made, moved) = pair(h)?;
            attempts -= 1;
            let next = if moved.is_finite() && moved > 0.0 {
                self.clamp(h * tau / moved)
            } else if moved == 0.0 {
                self.longest
            } else {
                self.clamp(h / 64.0)
            };
            self.last.set(Some(next));
            let near = (0.5 * tau..=1.3 * tau).contains(&moved);
            if near || next == h || attempts == 0 {
                return Ok((made, h));
            }
            h = next;
        }
    }
}

/// The norm of the weights that are finite: a mask kept as a parameter may hold infinities, and they
/// are no scale for a step. Those that are not are named once for each operator.
pub(crate) fn finite_norm(theta: &ParamVec) -> f64 {
    let norm = theta.norm();
    if norm.is_finite() {
        return norm;
    }
    let norms = theta.norms_on_device().into_iter();
    let norms = norms.map(|norm| norm.into_data().iter::<f64>().sum::<f64>());
    let paths: Vec<&str> = theta
        .iter()
        .zip(norms)
        .filter(|(_, norm)| !norm.is_finite())
        .map(|((entry, _), _)| entry.path.as_str())
        .collect();
    tracing::warn!(
        ?paths,
        "parameters hold infinities or NaN, which no step can move"
    );
    theta.finite_or_zero().norm()
}

/// Machine epsilon of the least precise element type of a layout.
pub(crate) fn epsilon(layout: &ParamLayout) -> f64 {
    layout
        .entries()
        .iter()
        .map(|entry| match entry.dtype {
            DType::F64 => f64::EPSILON,
            DType::F16 => 2f64.powi(-10),
            DType::BF16 => 2f64.powi(-7),
            _ => f64::from(f32::EPSILON),
        })
        .fold(0.0, f64::max)
}

/// Root mean square of half the difference of two outputs. One read-back.
pub(crate) fn movement(plus: &Tensor<2>, minus: &Tensor<2>) -> f64 {
    let elements = plus.shape().num_elements();
    if elements == 0 {
        return 0.0;
    }
    let squared = (plus.clone() - minus.clone()).square().mean();
    let mean: f64 = squared.cast(DType::F32).into_scalar::<f32>().into();
    0.5 * mean.sqrt()
}
