//! What the steps of a training did, for metrics and for the caller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use osculate_optim::StepReport;

use super::error::LearnerError;
use super::metric::{Quantity, StepMetric};

/// What is known about one step.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The optimizer's report.
    pub report: StepReport,
    /// Largest curvature at the weights after the step, where it was measured: see
    /// [`CurvatureProbe`](super::CurvatureProbe).
    pub sharpness: Option<f64>,
    /// Trace of the curvature there.
    pub trace: Option<f64>,
}

/// A view of a training under [`Osculate`](super::Osculate) or with an [`InStep`](super::InStep): its
/// metrics, its last step and its error.
///
/// Clones see the same training.
///
/// ```
/// use burn::optim::AdamWConfig;
/// use osculate_optim::Driver;
/// use osculate_train::learner::{Osculate, Quantity};
/// # use burn::train::LearnerModel;
/// # fn typed<M: LearnerModel>() {
/// let strategy = Osculate::<M>::new(Driver::from(AdamWConfig::new().init()));
/// let monitor = strategy.monitor();
/// // For `SupervisedTraining::metric_train_numeric`:
/// let gradients = monitor.metric(Quantity::GradientEvaluations);
/// # let _ = gradients;
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Number of the first report that is kept.
    first: u64,
    reports: VecDeque<Arc<Observed>>,
    error: Option<Arc<LearnerError>>,
}

/// Reports that are kept: burn processes items on another thread, which lags behind by two, and the
/// items of a step on several devices after the step.
const KEPT: usize = 128;

impl Monitor {
    /// A metric of the training split.
    pub fn metric(&self, quantity: Quantity) -> StepMetric {
        StepMetric::new(quantity, self.clone())
    }

    /// What the last step did, `None` before the first.
    pub fn last(&self) -> Option<Arc<Observed>> {
        self.lock().reports.back().cloned()
    }

    /// Why the training stopped, if it stopped on an error of the strategy. Errors of burn's own
    /// parts, such as its data loaders, and of an [`InStep`](super::InStep), are in
    /// `LearningResult::error` alone.
    pub fn error(&self) -> Option<Arc<LearnerError>> {
        self.lock().error.clone()
    }

    /// Keeps the report of the next processed item.
    pub(super) fn publish(&self, observed: Arc<Observed>) {
        let mut shared = self.lock();
        shared.reports.push_back(observed);
        if shared.reports.len() > KEPT {
            shared.reports.pop_front();
            shared.first += 1;
        }
    }

    /// The report of the processed item with this number, counted from 0.
    pub(super) fn item(&self, number: u64) -> Option<Arc<Observed>> {
        let shared = self.lock();
        let index = number.checked_sub(shared.first)?;
        shared.reports.get(usize::try_from(index).ok()?).cloned()
    }

    pub(super) fn fail(&self, error: Arc<LearnerError>) {
        self.lock().error = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // No code panics while it holds the lock, and the data would be whole if it did.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
