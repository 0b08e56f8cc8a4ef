//! Averages of the weights, and which weights are evaluated.

mod ema;
mod lookahead;
mod momentum_sam;
mod schedule_free;

pub use ema::Ema;
pub use lookahead::Lookahead;
pub use momentum_sam::MomentumSam;
pub use schedule_free::ScheduleFree;

pub(crate) use {
    ema::ROW as EMA, lookahead::ROW as LOOKAHEAD, momentum_sam::ROW as MOMENTUM_SAM,
    schedule_free::ROW as SCHEDULE_FREE,
};

use std::collections::BTreeMap;
use std::fmt::Debug;

use osculate_curvature::ParamVec;

use crate::config::ConfigError;
use crate::engine::RuleError;
use crate::vector_state::{VectorField, VectorState};

/// An average of the weights over any optimizer.
///
/// The model that a step gives back holds the weights to train on;
/// [`ClosureOptimizer::evaluation_model`](crate::ClosureOptimizer::evaluation_model) makes the one to
/// evaluate and to save for inference. Running statistics of batch normalisation are those of the
/// training weights.
///
/// ```
/// use osculate_curvature::ParamVec;
/// use osculate_optim::{Averaging, AveragingContext, RuleError, VectorField, VectorState};
///
/// /// Evaluates the weights of the step before.
/// #[derive(Debug)]
/// struct OneBehind;
///
/// impl Averaging for OneBehind {
///     fn name(&self) -> &'static str {
///         "one-behind"
///     }
///     fn fields(&self) -> &'static [VectorField] {
///         const { &[VectorField::wide("before")] }
///     }
///     fn step(&self, context: &mut AveragingContext<'_>) -> Result<ParamVec, RuleError> {
///         context.state.put("before", context.weights.clone())?;
///         Ok(context.moved.clone())
///     }
///     fn evaluation(&self, _: &ParamVec, state: &VectorState) -> Result<ParamVec, RuleError> {
///         Ok(state.vector("before")?.clone())
///     }
/// }
/// # use burn::{nn::{Linear, LinearConfig}, optim::SgdConfig, tensor::{Device, Tensor}};
/// # use osculate_optim::{ClosureOptimizer, Driver};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::ones([4, 2], &device);
/// # let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Driver::from(SgdConfig::new().init()).with_averaging(OneBehind);
/// let before = model.weight.to_data();
/// let step = optimizer.step(0.1, model, &loss)?;
/// let evaluated: Linear = optimizer.evaluation_model(&step.model)?;
/// assert_eq!(evaluated.weight.to_data(), before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Averaging: Debug + Send + Sync {
    /// Name of the average, in lower case.
    fn name(&self) -> &'static str;

    /// The vectors that it keeps from step to step.
    fn fields(&self) -> &'static [VectorField];

    /// Checks the settings; the first step does, for an average that is put over by
    /// [`Driver::with_averaging`](crate::Driver::with_averaging).
    ///
    /// # Errors
    /// [`ConfigError`] for a setting that is out of its range.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// The weights to train on after a step, in the type in which statistics are kept.
    ///
    /// # Errors
    /// [`RuleError`] for a state that was not declared.
    fn step(&self, context: &mut AveragingContext<'_>) -> Result<ParamVec, RuleError>;

    /// The weights to evaluate, in the same type, for the training weights at hand.
    ///
    /// # Errors
    /// [`RuleError`] for a state that was not declared.
    fn evaluation(&self, weights: &ParamVec, state: &VectorState) -> Result<ParamVec, RuleError>;
}

/// What an [`Averaging`] may look at.
pub struct AveragingContext<'a> {
    /// The average's vectors, by name.
    pub state: VectorState,
    /// Numbers that it keeps on the host, by name; they must depend on rates and counts alone.
    pub numbers: &'a mut BTreeMap<String, f64>,
    /// The training weights before the step, in the type in which statistics are kept.
    pub weights: &'a ParamVec,
    /// The weights that the optimizer stepped to.
    pub moved: &'a ParamVec,
    /// The base learning rate.
    pub lr: f64,
    /// Steps made before this one.
    pub step: u64,
}

/// Gives an average the constructor that puts it over another optimizer.
macro_rules! over {
    ($averaging:ident) => {
        $crate::config::over_base!(
            $averaging,
            checked_averaging,
            "average",
            "and for an optimizer that is averaged already"
        );
    };
}

use over;
