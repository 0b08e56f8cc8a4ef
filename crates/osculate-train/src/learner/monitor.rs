//! What the steps of a training did, for metrics and for the caller.

use std::collections::VecDeque;
use std::ops::Range;
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
    /// Items of which it is known which step they went into.
    known: u64,
    steps: VecDeque<Step>,
    last: Option<Arc<Observed>>,
    supervised_distance: Option<f64>,
    error: Option<Arc<LearnerError>>,
}

/// A step, or batches that no step was made on.
#[derive(Debug)]
struct Step {
    /// Number of its first item, and of the item after its last.
    items: Range<u64>,
    observed: Option<Arc<Observed>>,
}

/// What is known of a processed item.
pub(super) enum Item {
    /// Its step is still to be made.
    Waiting,
    /// It went into this step.
    Of(Arc<Observed>),
    /// No step was made on it, or the step is forgotten.
    Without,
}

/// Steps that are kept: burn processes items on another thread, which lags behind by two, and the
/// items of a step on several devices after the step.
const KEPT: usize = 128;

impl Monitor {
    /// A metric of the training split.
    pub fn metric(&self, quantity: Quantity) -> StepMetric {
        StepMetric::new(quantity, self.clone())
    }

    /// What the last step did, `None` before the first.
    pub fn last(&self) -> Option<Arc<Observed>> {
        self.lock().last.clone()
    }

    /// How far the gradient of [`SupervisedModel::supervised`](super::SupervisedModel::supervised) is from
    /// that of the model's training step on the first batch, relative to the latter; `None` before the
    /// first step and without a supervised form. Above a hundredth a `tracing` warning says so once:
    /// methods then make their curvature of another loss than the one that is trained.
    pub fn supervised_distance(&self) -> Option<f64> {
        self.lock().supervised_distance
    }

    pub(super) fn note_distance(&self, distance: f64) {
        self.lock().supervised_distance = Some(distance);
    }

    /// Why the training stopped, if it stopped on an error of the strategy. Errors of burn's own
    /// parts, such as its data loaders, and the errors of an [`InStep`](super::InStep)'s steps, are in
    /// `LearningResult::error` alone.
    pub fn error(&self) -> Option<Arc<LearnerError>> {
        self.lock().error.clone()
    }

    /// Keeps the report of a step, which the next items went into.
    pub(super) fn publish(&self, observed: Arc<Observed>, items: usize) {
        self.keep(Some(observed), items);
    }

    /// Notes that no step was made on the next items.
    pub(super) fn pass_over(&self, items: usize) {
        if items > 0 {
            self.keep(None, items);
        }
    }

    fn keep(&self, observed: Option<Arc<Observed>>, items: usize) {
        let mut shared = self.lock();
        let first = shared.known;
        shared.known += items as u64;
        let items = first..shared.known;
        if observed.is_some() {
            shared.last.clone_from(&observed);
        }
        shared.steps.push_back(Step { items, observed });
        if shared.steps.len() > KEPT {
            shared.steps.pop_front();
        }
    }

    /// What is known of the processed item with this number, counted from 0.
    pub(super) fn item(&self, number: u64) -> Item {
        let shared = self.lock();
        if number >= shared.known {
            return Item::Waiting;
        }
        let mut steps = shared.steps.iter();
        let step = steps.find(|step| step.items.contains(&number));
        let observed = step.and_then(|step| step.observed.clone());
        observed.map_or(Item::Without, Item::Of)
    }

    pub(super) fn fail(&self, error: Arc<LearnerError>) {
        self.lock().error = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // No code panics while it holds the lock, and the data would be whole if it did.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
