use burn::config::Config;
use burn::tensor::{DType, Tensor};
use osculate_curvature::{Criterion, ParamVec};

use super::{FilterContext, GradientFilter, over};
use crate::engine::RuleError;
use crate::registry::{OptimizerRow, base_of, over_sgd, read, to_value};

/// The orthogonal gradient: the part of the gradient along the weights is taken out, for each tensor.
///
/// ```text
/// g⊥ = g - (<w, g> / <w, w>) w
/// g' = g⊥ |g| / |g⊥|
/// ```
///
/// A network that fits its data lowers cross-entropy further by scaling its weights up, which changes no
/// decision and ends in logits so large that gradients round to zero. Without that direction training goes
/// on, and grokking does not wait for weight decay.
///
/// Tensors of one element are left alone (all of their gradient is along them), and so is the length of a
/// `g⊥` that is rounding: below 1e-6 of `|g|`, 1e-12 in double precision. Weights of zero keep their gradient.
/// With momentum or a preconditioner it is the gradient that is orthogonal, not the step.
///
/// - Cost: four passes over the elements.
/// - State: the optimizer's.
/// - Defaults: those of the authors' code, each tensor for itself and at the old length. The paper's text has
///   the whole vector without rescaling: `global` true, `rescale` false.
/// - Learning rate: the optimizer's own.
/// - When not to use it: for regression, in which the length of the weights matters; a mean squared error is
///   refused. With weight decay, which undoes it.
///
/// [`Criterion::stable_max`](osculate_curvature::Criterion::stable_max) is the same paper's loss that needs no
/// filter.
///
/// Paper: Prieto et al., *Grokking at the Edge of Numerical Stability*, <https://arxiv.org/abs/2501.04697>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use osculate_curvature::{Criterion, Supervised};
/// use osculate_optim::{ClosureOptimizer, PerpGrad};
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
/// let mut optimizer = PerpGrad::new().over(SgdConfig::new().init())?;
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
pub struct PerpGrad {
    /// Takes all parameters as one vector. Default `false`: each tensor for itself.
    #[config(default = false)]
    pub global: bool,
    /// Gives what is left the length of the gradient. Default `true`.
    #[config(default = true)]
    pub rescale: bool,
}

over!(PerpGrad);

impl PerpGrad {
    /// The factor that gives a rest of length `left` the length `whole`.
    fn factor(&self, whole: Tensor<1>, left: Tensor<1>) -> Tensor<1> {
        if !self.rescale {
            return left.ones_like();
        }
        let rounding = if left.dtype() == DType::F64 {
            1e-12
        } else {
            1e-6
        };
        let nothing = left.clone().lower_equal(whole.clone().mul_scalar(rounding));
        (whole / left.add_scalar(TINY)).mask_fill(nothing, 1.0)
    }
}

/// What the authors' code adds to what divides.
const TINY: f64 = 1e-30;

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "perp-grad",
    text: "the gradient without its part along the weights",
    learning_rate: 5e-2,
    gradients: 1.0,
    state: "the base's",
    defaults: || over_sgd(to_value(&PerpGrad::new())?),
    build: |settings| Ok(read::<PerpGrad>(settings, "settings")?.over(base_of(settings)?)?),
};

impl GradientFilter for PerpGrad {
    fn name(&self) -> &'static str {
        "perp-grad"
    }

    fn refuses(&self, criterion: &Criterion) -> Option<&'static str> {
        matches!(criterion, Criterion::Mse { .. }).then_some(
            "a criterion of classes: in a regression the length of the weights sets the size of the outputs",
        )
    }

    fn filter(
        &self,
        context: &FilterContext<'_>,
        gradient: &ParamVec,
    ) -> Result<ParamVec, RuleError> {
        let wide = gradient.to_compute_dtype();
        // A weight that is not finite would take all others with it.
        let weights = context.weights.to_compute_dtype().finite_or_zero();
        // Unit vectors keep the squares of tiny and huge weights in range.
        let left = if self.global {
            let unit = weights.scale_by(&weights.norm_on_device().add_scalar(TINY).recip());
            let left = wide.axpy_by(&wide.dot_on_device(&unit).neg(), &unit);
            left.scale_by(&self.factor(wide.norm_on_device(), left.norm_on_device()))
        } else {
            let lengths = weights.norms_on_device().into_iter();
            let over: Vec<_> = lengths.map(|w| w.add_scalar(TINY).recip()).collect();
            let unit = weights.scale_each_by(&over);
            let left = wide.zip_map(&unit, |g, u| {
                let along = (g.clone() * u.clone()).sum();
                g - u * along
            });
            let norms = wide.norms_on_device().into_iter();
            let factors = norms.zip(left.norms_on_device());
            let factors: Vec<_> = factors.map(|(g, left)| self.factor(g, left)).collect();
            let mut scaled = left.scale_each_by(&factors).into_tensors().into_iter();
            wide.map(|(entry, g)| match scaled.next() {
                Some(scaled) if entry.num_elements() > 1 => scaled,
                _ => g.clone(),
            })
        };
        Ok(left.map(|(entry, x)| x.clone().cast(entry.dtype)))
    }
}
