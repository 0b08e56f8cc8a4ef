//! What a step did.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;
use osculate_curvature::{Cost, FiniteFlags, ParamVec, Provenance};

/// Why a parameter was left out of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// Its gradient held a NaN or an infinity, at the weights or at the perturbed weights. The
    /// parameter and its state are as they were.
    Gradient,
    /// Its curvature estimate did. Where the method has an older estimate it went on with that;
    /// otherwise the parameter and its state are as they were.
    Curvature,
    /// Its updated weights or state would have. The parameter and its state are as they were; of burn's
    /// optimizers, which change their state as they step, the parameter alone.
    Update,
}

/// A parameter that was left out of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Path of the parameter.
    pub path: String,
    /// Why.
    pub reason: SkipReason,
}

/// What a step did.
///
/// Numbers that live on the device are read back when they are asked for, not before: a loop that
/// looks at the report once in a hundred steps does not wait for them in the others. (A step itself waits once for
/// each device, where it takes numbers from its generator:
/// [`RandomStream`](osculate_curvature::RandomStream).) The norm of the
/// gradient is not even computed before, so a report holds its gradient: drop it with the step, or
/// [`compact`](Self::compact) it to keep it.
#[derive(Debug, Clone)]
pub struct StepReport {
    pub(crate) loss: Tensor<1>,
    gradient: GradientNorm,
    pub(crate) cost: Cost,
    pub(crate) curvature_age: Option<usize>,
    pub(crate) win_rate: Option<Tensor<1>>,
    pub(crate) checks: Vec<(SkipReason, FiniteFlags)>,
    pub(crate) state_bytes: usize,
    pub(crate) solver_failures: usize,
    pub(crate) provenance: Option<Provenance>,
    pub(crate) fallback: Option<Arc<str>>,
    pub(crate) step_size_factor: Option<Tensor<1>>,
    pub(crate) fresh: Vec<FreshState>,
    pub(crate) groups: Vec<GroupReport>,
}

/// The norm of a step's gradient, or what it is computed from.
#[derive(Debug, Clone)]
enum GradientNorm {
    Read(f64),
    Known(Box<Tensor<1>>),
    Of(ParamVec),
}

/// A parameter whose state began anew in a step, because it is another parameter than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshState {
    /// Path of the parameter.
    pub path: String,
    /// What changed.
    pub change: String,
}

/// A parameter group in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupReport {
    /// Name of the group.
    pub name: String,
    /// How many parameters it has.
    pub parameters: usize,
    /// Their learning rate, where it is the same for all.
    pub lr: Option<f64>,
}

impl StepReport {
    /// The report of an optimizer outside this crate: loss and gradient norm are tensors of one element.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use osculate_curvature::Cost;
    /// use osculate_optim::StepReport;
    ///
    /// let number = |x: f32| Tensor::<1>::from_data([x], &Device::flex());
    /// let report = StepReport::new(number(0.5), number(2.0), Cost::GRADIENT);
    /// assert_eq!((report.loss(), report.gradient_norm()), (0.5, 2.0));
    /// assert!(report.skipped().is_empty());
    /// ```
    pub fn new(loss: Tensor<1>, gradient_norm: Tensor<1>, cost: Cost) -> Self {
        Self::with(loss, GradientNorm::Known(Box::new(gradient_norm)), cost)
    }

    pub(crate) fn of_gradient(loss: Tensor<1>, gradient: ParamVec, cost: Cost) -> Self {
        Self::with(loss, GradientNorm::Of(gradient), cost)
    }

    fn with(loss: Tensor<1>, gradient: GradientNorm, cost: Cost) -> Self {
        Self {
            loss,
            gradient,
            cost,
            curvature_age: None,
            win_rate: None,
            checks: Vec::new(),
            state_bytes: 0,
            solver_failures: 0,
            provenance: None,
            fallback: None,
            step_size_factor: None,
            fresh: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// How this step's Hessian products were made, with their error where it was estimated, and why they
    /// were not exact; `None` in steps without any. How old the curvature in use is, is
    /// [`curvature_age`](Self::curvature_age).
    pub fn provenance(&self) -> Option<Provenance> {
        self.provenance
    }

    /// Why this step's products were no exact products of the Hessian, in words that name what stood in
    /// the way; `None` where they were, and in steps without products. It also tells where products with
    /// the Gauss-Newton matrix stood in for the Hessian's.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// What the step-size policy multiplied the learning rate by; `None` where the rate is the given
    /// one. Reads one number back.
    pub fn step_size_factor(&self) -> Option<f64> {
        self.step_size_factor.as_ref().map(scalar)
    }

    /// Parameters whose state began anew because they are others than before: a layer was replaced, made
    /// anew, or loaded from another record.
    pub fn fresh(&self) -> &[FreshState] {
        &self.fresh
    }

    /// The parameter groups, in the order in which they were added.
    pub fn groups(&self) -> &[GroupReport] {
        &self.groups
    }

    /// The loss at the weights before the step, NaN where the objective hands out gradients only
    /// ([`GradientObjective`](osculate_curvature::GradientObjective)). Reads one number back.
    pub fn loss(&self) -> f64 {
        scalar(&self.loss)
    }

    /// Euclidean norm over all parameters of the gradient at the weights before the step, before
    /// clipping, without parameters that are not finite. Reads one number back.
    pub fn gradient_norm(&self) -> f64 {
        match &self.gradient {
            GradientNorm::Read(norm) => *norm,
            GradientNorm::Known(norm) => scalar(norm),
            GradientNorm::Of(gradient) => scalar(&gradient.norm_on_device()),
        }
    }

    /// The report without the gradient, whose norm is computed: for reports that are kept beyond the next
    /// step. Reads nothing back but on CPUs.
    pub fn compact(mut self) -> Self {
        if let GradientNorm::Of(gradient) = &self.gradient {
            self.gradient = match plain_norm(gradient) {
                Some(norm) => GradientNorm::Read(norm),
                None => GradientNorm::Known(Box::new(gradient.norm_on_device())),
            };
        }
        self
    }

    /// Passes through the model that the step cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Steps since the curvature in use was estimated, 0 in the step that did; `None` for methods
    /// without curvature.
    pub fn curvature_age(&self) -> Option<usize> {
        self.curvature_age
    }

    /// The fraction of elements whose update was not clipped, `|m| < γ h`, among the parameters that
    /// took part, for methods that clip by element (Sophia). Reads one number back.
    pub fn win_rate(&self) -> Option<f64> {
        self.win_rate.as_ref().map(scalar)
    }

    /// Parameters that were left out, and why. Reads one flag for each parameter back, together.
    pub fn skipped(&self) -> Vec<Skipped> {
        let mut skipped: Vec<Skipped> = Vec::new();
        for (reason, flags) in &self.checks {
            for path in flags.flagged_paths() {
                // The first reason explains the later ones.
                if !skipped.iter().any(|skip| skip.path == path) {
                    skipped.push(Skipped {
                        path,
                        reason: *reason,
                    });
                }
            }
        }
        skipped
    }

    /// Solves of matrix factors that failed in this step. The method went on with the last good
    /// result.
    pub fn solver_failures(&self) -> usize {
        self.solver_failures
    }

    /// Bytes of the optimizer's state after the step.
    pub fn state_bytes(&self) -> usize {
        self.state_bytes
    }
}

/// Squares whose sum is outside may have left the range of `f32`.
const SAFE_SQUARES: Range<f64> = 1e-20..1e30;

/// The norm from squares that are not scaled, which takes half the work; `None` where they may have left their range,
/// and away from CPUs, where reading them would wait.
fn plain_norm(gradient: &ParamVec) -> Option<f64> {
    if !gradient.layout().on_cpu() {
        return None;
    }
    let squares = gradient
        .iter()
        .map(|(entry, x)| x.clone().cast(entry.compute_dtype()).square().sum());
    let total: f64 = squares.map(|square| scalar(&square)).sum();
    SAFE_SQUARES.contains(&total).then(|| total.sqrt())
}

fn scalar(tensor: &Tensor<1>) -> f64 {
    tensor.to_data().iter::<f64>().next().unwrap_or(f64::NAN)
}
