use burn::config::Config;
use osculate_curvature::ParamVec;

use super::{FilterContext, GradientFilter, by_output, over};
use crate::config::{Check, ConfigError};
use crate::engine::RuleError;
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// Gradient centralisation: the gradient of each output's weights without its mean.
///
/// ```text
/// g_o = g_o - mean(g_o)        over the inputs and the kernel of the output o
/// ```
///
/// It goes over weights of layers, of rank `min_rank` and more; vectors and the tables of `Embedding` are left
/// alone. Outputs are told from inputs by the layer's type:
/// [`Parameter::orientation`](crate::Parameter::orientation).
///
/// - Cost: two passes over the elements.
/// - State: the optimizer's.
/// - Defaults: `min_rank` 2, the authors'; 3 is their setting for convolutions alone.
/// - Learning rate: the optimizer's own.
/// - When not to use it: where inputs are not centred and their mean carries the answer, which the sum of an
///   output's weights must then be free to follow.
///
/// Paper: Yong et al., *Gradient Centralization*, <https://arxiv.org/abs/2004.01461>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use osculate_curvature::{Criterion, Supervised};
/// use osculate_optim::{ClosureOptimizer, CentralisedGradient};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([6, 4], Distribution::Default, &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2], &device);
/// let batch = Supervised::new(
///     move |model: &Linear| model.forward(x.clone()),
///     Criterion::cross_entropy(y),
/// );
/// let mut optimizer = CentralisedGradient::new().over(SgdConfig::new().init())?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.5, model, &batch)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct CentralisedGradient {
    /// Smallest number of dimensions of a parameter that is centralised, 2 or more. Default 2.
    #[config(default = 2)]
    pub min_rank: usize,
}

over!(CentralisedGradient);

impl CentralisedGradient {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a rank below 2.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("CentralisedGradient")
            .that(self.min_rank >= 2, "min_rank", self.min_rank, "at least 2")
            .finish()
    }

    fn centralises(&self, parameter: &Parameter) -> bool {
        parameter.rank() >= self.min_rank && &*parameter.layer != "Embedding"
    }
}

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "centralised",
    text: "each output's gradient without its mean",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&CentralisedGradient::new())?),
    build: |settings| {
        Ok(read::<CentralisedGradient>(settings, "settings")?.over(base_of(settings)?)?)
    },
};

impl GradientFilter for CentralisedGradient {
    fn name(&self) -> &'static str {
        "centralised"
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn filter(
        &self,
        context: &FilterContext<'_>,
        gradient: &ParamVec,
    ) -> Result<ParamVec, RuleError> {
        Ok(context.map(gradient, |parameter, g, _| {
            if !self.centralises(parameter) {
                return g;
            }
            let n = parameter.num_elements();
            let g = by_output(parameter, g);
            if g.dims()[0] * g.dims()[2] == 1 {
                // The mean of one weight's gradient is all of it.
                return g.reshape([n]);
            }
            let mean = g.clone().mean_dim(0).mean_dim(2);
            (g - mean).reshape([n])
        }))
    }
}
