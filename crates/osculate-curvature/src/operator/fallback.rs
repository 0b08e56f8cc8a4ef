//! When products are made exactly and when by finite differences.

use std::cell::OnceCell;
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
    here: OnceCell<String>,
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
            .or_else(|| self.here.get().map(String::as_str))
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
                if matches!(error, CurvatureError::Jvp(_)) {
                    self.shared.decision.reason.get_or_init(|| reason);
                } else {
                    self.here.get_or_init(|| reason);
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
