//! What is taken out of a gradient before an update sees it.

mod adaptive_clip;
mod centralised_gradient;
mod perp_grad;

pub use adaptive_clip::AdaptiveClip;
pub use centralised_gradient::CentralisedGradient;
pub use perp_grad::PerpGrad;

pub(crate) use {
    adaptive_clip::ROW as ADAPTIVE_CLIP, centralised_gradient::ROW as CENTRALISED_GRADIENT,
    perp_grad::ROW as PERP_GRAD,
};

use std::fmt::Debug;

use burn::tensor::Tensor;
use osculate_curvature::{Criterion, ParamVec};

use crate::config::ConfigError;
use crate::engine::RuleError;
use crate::parameter::{Orientation, Parameter};

/// Takes something out of the gradient of a step, before the policy clips it and the update sees it.
///
/// A filter keeps nothing from step to step; what does is a
/// [`GradientSource`](crate::GradientSource). Several go over one optimizer, the innermost first, whatever
/// the source of the gradient. [`Driver::with_filter`](crate::Driver::with_filter) puts one over.
///
/// ```
/// use osculate_curvature::ParamVec;
/// use osculate_optim::{FilterContext, GradientFilter, RuleError};
///
/// /// Signs alone.
/// #[derive(Debug)]
/// struct Signs;
///
/// impl GradientFilter for Signs {
///     fn name(&self) -> &'static str {
///         "signs"
///     }
///     fn filter(&self, _: &FilterContext<'_>, gradient: &ParamVec) -> Result<ParamVec, RuleError> {
///         Ok(gradient.map(|(_, g)| g.clone().sign()))
///     }
/// }
/// # use burn::{nn::{Linear, LinearConfig}, optim::SgdConfig, tensor::{Device, Tensor}};
/// # use osculate_optim::{ClosureOptimizer, Driver};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).init(&device);
/// # let before: f32 = model.weight.val().sum().into_scalar();
/// # let x = Tensor::<2>::ones([4, 2], &device);
/// # let loss = |model: &Linear| model.forward(x.clone()).mean();
/// let mut optimizer = Driver::from(SgdConfig::new().init()).with_filter(Signs);
/// let step = optimizer.step(0.25, model, &loss)?;
/// # let after: f32 = step.model.weight.val().sum().into_scalar();
/// assert!((before - after - 0.5).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait GradientFilter: Debug + Send + Sync {
    /// Name of the filter, in lower case.
    fn name(&self) -> &'static str;

    /// Checks the settings; the first step does, for a filter that is put over by
    /// [`Driver::with_filter`](crate::Driver::with_filter).
    ///
    /// # Errors
    /// [`ConfigError`] for a setting that is out of its range.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// What is expected instead of a criterion that the filter makes no sense with; `None` for one that it
    /// can be used with. It is asked where the objective is supervised.
    fn refuses(&self, criterion: &Criterion) -> Option<&'static str> {
        let _ = criterion;
        None
    }

    /// The gradient that is left.
    ///
    /// # Errors
    /// [`RuleError`]; the step is then not made.
    fn filter(
        &self,
        context: &FilterContext<'_>,
        gradient: &ParamVec,
    ) -> Result<ParamVec, RuleError>;
}

/// What a [`GradientFilter`] may look at.
pub struct FilterContext<'a> {
    /// The parameters, in the order of the vectors.
    pub parameters: &'a [Parameter],
    /// The weights at which the step is made.
    pub weights: &'a ParamVec,
}

impl FilterContext<'_> {
    /// Applies `f` to each parameter's gradient and weights, in the type in which statistics are kept.
    fn map(
        &self,
        gradient: &ParamVec,
        f: impl Fn(&Parameter, Tensor<1>, Tensor<1>) -> Tensor<1>,
    ) -> ParamVec {
        let mut others = self.parameters.iter().zip(self.weights.tensors());
        gradient.map(|(entry, g)| match others.next() {
            Some((parameter, w)) if entry.num_elements() > 0 => {
                let wide = |x: &Tensor<1>| x.clone().cast(entry.compute_dtype());
                f(parameter, wide(g), wide(w)).cast(entry.dtype)
            }
            _ => g.clone(),
        })
    }
}

/// A parameter's elements as `[inputs, outputs, kernel]`, or `[1, outputs, others]`: each output's weights
/// are all of one index in the middle. A vector is one output's.
fn by_output(parameter: &Parameter, x: Tensor<1>) -> Tensor<3> {
    let shape = &parameter.shape;
    let n = parameter.num_elements();
    let sides = match (shape.len(), parameter.orientation()) {
        (0 | 1, _) => [1, 1, n],
        (_, Orientation::OutIn) => [1, shape[0], n / shape[0].max(1)],
        (_, Orientation::InOut) => {
            let kernel = shape[2..].iter().product();
            [shape[0], shape[1], kernel]
        }
    };
    x.reshape(sides)
}

/// Gives a filter the constructor that puts it over an optimizer.
macro_rules! over {
    ($filter:ident) => {
        $crate::config::over_base!(
            $filter,
            checked_filter,
            "filter",
            "for an optimizer that has this filter already, and for one with a step size or an average, which go over filters"
        );
    };
}

use over;
