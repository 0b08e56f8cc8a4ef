//! When products are made exactly and when by finite differences.

use std::cell::OnceCell;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use osculate_jvp::Mode;

use crate::error::CurvatureError;

/// How Hessian-vector products are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HvpMode {
    /// Exactly where the objective can be recorded and the recording is the same function, by
    /// finite differences elsewhere. A fallback is announced once by a `tracing` warning.
    #[default]
    Auto,
    /// Exactly, or not at all.
    Exact,
    /// By finite differences.
    FiniteDifference,
}

/// Why products are finite differences.
///
/// `Display` gives it in words; what exactly stood in the way is in the operator's `fallback`, such as
/// [`Hessian::fallback`](super::Hessian::fallback), and in the warning that announces it.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{CurvatureOperator, DifferenceReason, GradientOracle, Hessian, ParamVec};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 2).init(&device);
/// # let x = Tensor::<2>::ones([5, 3], &device);
/// let closure = |model: &Linear| model.forward(x.clone()).square().mean();
/// let oracle = GradientOracle::new(&model, &closure);
/// let hessian = Hessian::new(&oracle)?;
/// let product = hessian.apply(&ParamVec::gaussian(&hessian.layout(), 0))?;
/// assert_eq!(product.provenance.reason(), Some(DifferenceReason::BatchKept));
/// assert!(hessian.fallback().is_some_and(|why| why.contains("SupervisedBatch")));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DifferenceReason {
    /// [`HvpMode::FiniteDifference`] asked for them.
    Asked,
    /// The objective keeps its batch to itself: hand it over by [`Batched`](crate::Batched) or
    /// [`SupervisedBatch`](crate::SupervisedBatch).
    BatchKept,
    /// The objective's code cannot be recorded or differentiated: it reads a value, captures a tensor, or
    /// has an operation without a rule.
    NotDifferentiable,
    /// The recording is another function than the objective.
    NotReproduced,
}

impl Display for DifferenceReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Asked => "finite differences were asked for",
            Self::BatchKept => "the batch was not handed over",
            Self::NotDifferentiable => "the objective cannot be recorded and differentiated",
            Self::NotReproduced => "the recorded objective is another function",
        })
    }
}

/// Why [`HvpMode::Auto`] makes products by finite differences for good, once it has had to.
///
/// Clones share the decision. An optimizer hands one to the operators of all its steps, so that
/// recording is not tried again, and the reason not told again, at every step. It holds what is
/// true of the objective's code: an operation without a rule, a value that is read, a captured
/// tensor. What is true of one step alone is decided anew by every operator: a batch that is not
/// handed over ([`CurvatureError::NotRecordable`]), a recording that is another function there
/// ([`CurvatureError::NotReproduced`]).
#[derive(Debug, Clone, Default)]
pub struct HvpFallback {
    decision: Arc<Decision>,
}

#[derive(Debug, Default)]
struct Decision {
    reason: OnceLock<String>,
    warned: AtomicBool,
    /// The mode in which a recording was last found to be the function that is trained.
    mode: Mutex<Option<Mode>>,
}

impl HvpFallback {
    /// A decision made earlier, for a run that is resumed: whether exact products are possible can
    /// depend on the batch, and the run must go on as it began.
    pub fn decided(reason: impl Into<String>) -> Self {
        let fallback = Self::default();
        fallback.decision.reason.get_or_init(|| reason.into());
        fallback
    }

    /// The reason, if there was one.
    pub fn reason(&self) -> Option<&str> {
        self.decision.reason.get().map(String::as_str)
    }

    /// Tells the reason, once for all clones.
    fn warn(&self, reason: &str) {
        if !self.decision.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%reason, "curvature products fall back to finite differences");
        }
    }
}

/// One operator's attempts at exact products.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    shared: HvpFallback,
    /// Why they failed for this operator alone.
    here: OnceCell<(DifferenceReason, String)>,
}

impl Attempts {
    pub(super) fn sharing(shared: HvpFallback) -> Self {
        Self {
            shared,
            here: OnceCell::new(),
        }
    }

    /// Puts the mode that served last before the others. It only saves the attempts that would fail
    /// again: which mode serves is decided by the comparison.
    pub(super) fn order(&self, modes: &mut [Mode]) {
        let last = *self.mode();
        if let Some(at) = modes.iter().position(|mode| Some(*mode) == last) {
            modes[..=at].rotate_right(1);
        }
    }

    pub(super) fn served(&self, mode: Mode) {
        *self.mode() = Some(mode);
    }

    fn mode(&self) -> std::sync::MutexGuard<'_, Option<Mode>> {
        let mode = self.shared.decision.mode.lock();
        mode.unwrap_or_else(PoisonError::into_inner)
    }

    /// Why products are finite differences, where they are.
    pub(super) fn reason(&self) -> Option<&str> {
        self.shared
            .reason()
            .or_else(|| self.here.get().map(|(_, text)| text.as_str()))
    }

    /// The kind of that reason, for products that were made under `mode`.
    pub(super) fn kind(&self, mode: HvpMode) -> DifferenceReason {
        match (mode, self.here.get()) {
            (HvpMode::FiniteDifference, _) => DifferenceReason::Asked,
            // What all operators share is what is true of the objective's code.
            _ if self.shared.reason().is_some() => DifferenceReason::NotDifferentiable,
            (_, Some((kind, _))) => *kind,
            (_, None) => DifferenceReason::Asked,
        }
    }

    /// Runs `exact` as the mode says. `None` asks for finite differences.
    pub(super) fn attempt<T>(
        &self,
        mode: HvpMode,
        exact: impl FnOnce() -> Result<T, CurvatureError>,
    ) -> Result<Option<T>, CurvatureError> {
        let known = mode == HvpMode::Auto && self.reason().is_some();
        if mode == HvpMode::FiniteDifference || known {
            return Ok(None);
        }
        match exact() {
            Ok(made) => Ok(Some(made)),
            Err(error) if mode == HvpMode::Auto && is_recoverable(&error) => {
                let reason = error.to_string();
                self.shared.warn(&reason);
                match error {
                    CurvatureError::NotRecordable => {
                        self.here
                            .get_or_init(|| (DifferenceReason::BatchKept, reason));
                    }
                    CurvatureError::NotReproduced { .. } => {
                        self.here
                            .get_or_init(|| (DifferenceReason::NotReproduced, reason));
                    }
                    _ => {
                        self.shared.decision.reason.get_or_init(|| reason);
                    }
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether finite differences may still work.
pub(super) fn is_recoverable(error: &CurvatureError) -> bool {
    matches!(
        error,
        CurvatureError::Jvp(_)
            | CurvatureError::NotRecordable
            | CurvatureError::NotReproduced { .. }
    )
}
