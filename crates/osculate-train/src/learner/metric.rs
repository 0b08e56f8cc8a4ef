//! Metrics for burn's dashboard and logs.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use super::monitor::{Item, Monitor, Observed};

/// What a [`StepMetric`] shows of every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// Largest curvature, in the steps where a [`CurvatureProbe`](super::CurvatureProbe) measured it.
    Sharpness,
    /// Trace of the curvature, in the same steps.
    Trace,
    /// Fraction of elements whose update was not clipped, for Sophia.
    WinRate,
    /// Steps since the curvature in use was estimated, for methods with curvature.
    CurvatureAge,
    /// 1 in steps whose Hessian products were exact and 0 in steps that made them by finite
    /// differences, so that the mean of an epoch is the share of exact ones; nothing in steps without
    /// products. The dashboard shows why they were not exact, and so does
    /// [`StepReport::fallback`](osculate_optim::StepReport::fallback) of [`Monitor::last`].
    ExactProducts,
    /// Estimated error of a step's Hessian products where they were finite differences, a norm in the
    /// unit of the product.
    ProductError,
    /// Parameters that were left out because of numbers that are not finite.
    SkippedParameters,
    /// Gradient evaluations that the step cost.
    GradientEvaluations,
    /// Euclidean norm of the gradient, before clipping.
    GradientNorm,
    /// Solves of matrix factors that failed, for matrix methods.
    SolverFailures,
}

impl Quantity {
    /// All quantities.
    pub const ALL: [Quantity; 10] = [
        Quantity::Sharpness,
        Quantity::Trace,
        Quantity::WinRate,
        Quantity::CurvatureAge,
        Quantity::ExactProducts,
        Quantity::ProductError,
        Quantity::SkippedParameters,
        Quantity::GradientEvaluations,
        Quantity::GradientNorm,
        Quantity::SolverFailures,
    ];

    /// Name in the dashboard and the logs.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Sharpness => "Sharpness",
            Quantity::Trace => "Curvature Trace",
            Quantity::WinRate => "Win Rate",
            Quantity::CurvatureAge => "Curvature Age",
            Quantity::ExactProducts => "Exact Products",
            Quantity::ProductError => "Product Error",
            Quantity::SkippedParameters => "Skipped Parameters",
            Quantity::GradientEvaluations => "Gradient Evaluations",
            Quantity::GradientNorm => "Gradient Norm",
            Quantity::SolverFailures => "Solver Failures",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Quantity::Sharpness => "Largest eigenvalue of the loss's curvature",
            Quantity::Trace => "Trace of the loss's curvature",
            Quantity::WinRate => "Fraction of elements whose update was not clipped",
            Quantity::CurvatureAge => "Steps since the curvature in use was estimated",
            Quantity::ExactProducts => "Whether the step's Hessian products were exact",
            Quantity::ProductError => "Estimated error of the step's finite differences",
            Quantity::SkippedParameters => "Parameters left out of the step",
            Quantity::GradientEvaluations => "Gradient evaluations of the step",
            Quantity::GradientNorm => "Norm of the gradient before clipping",
            Quantity::SolverFailures => "Failed solves of matrix factors in the step",
        }
    }

    /// What the dashboard says beside the value.
    fn explained(self, observed: &Observed) -> Option<String> {
        let why = observed.report.fallback().map(str::to_string);
        why.filter(|_| self == Quantity::ExactProducts)
    }

    /// The value in a step, which may read from the device.
    fn value(self, observed: &Observed) -> Option<f64> {
        let report = &observed.report;
        match self {
            Quantity::Sharpness => observed.sharpness,
            Quantity::Trace => observed.trace,
            Quantity::WinRate => report.win_rate(),
            Quantity::CurvatureAge => report.curvature_age().map(|age| age as f64),
            Quantity::ExactProducts => report
                .provenance()
                .map(|made| f64::from(u8::from(made.is_exact()))),
            Quantity::ProductError => report.provenance().and_then(|made| made.error()),
            Quantity::SkippedParameters => Some(report.skipped().len() as f64),
            Quantity::GradientEvaluations => Some(report.cost().gradient_evaluations()),
            Quantity::GradientNorm => Some(report.gradient_norm()),
            Quantity::SolverFailures => Some(report.solver_failures() as f64),
        }
    }
}

/// A metric of the optimizer's steps: `monitor.metric(Quantity::WinRate)` for
/// `SupervisedTraining::metric_train_numeric`. It works with any model.
///
/// Shown and logged are the value of the step and its mean over the items of the epoch. Steps without a
/// value count as not available, and so does a batch that waits for its step under accumulation in an
/// [`InStep`](super::InStep): the item that completes the step brings the values of all. A batch that no
/// step was made on has none. Numbers are read from the device on the thread that burn processes metrics
/// on. For the training split of the strategy that the monitor belongs to; elsewhere it has no
/// values.
#[derive(Clone)]
pub struct StepMetric {
    quantity: Quantity,
    name: MetricName,
    monitor: Monitor,
    /// Items of the training split seen so far, and those of them whose values were taken over.
    seen: u64,
    taken: u64,
    state: NumericMetricState,
    /// Whether the last item had a value.
    current: bool,
    /// Whether any item of the epoch had one.
    any: bool,
}

impl StepMetric {
    pub(super) fn new(quantity: Quantity, monitor: Monitor) -> Self {
        Self {
            quantity,
            name: Arc::new(quantity.name().to_string()),
            monitor,
            seen: 0,
            taken: 0,
            state: NumericMetricState::new(),
            current: false,
            any: false,
        }
    }

    /// Takes the value of a step over, for so many items, and gives what explains it.
    fn take(&mut self, step: Option<(Arc<Observed>, usize)>) -> Option<String> {
        let (observed, items) = step?;
        let value = self.quantity.value(&observed)?;
        self.current = true;
        self.any = true;
        self.state.update(value, items);
        self.quantity.explained(&observed)
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name.clone()).precision(3)
    }
}

impl Metric for StepMetric {
    /// Nothing of the model's output, so that every output fits.
    type Input = ();

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn description(&self) -> Option<String> {
        Some(self.quantity.description().to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: false,
        }
        .into()
    }

    fn update(
        &mut self,
        _item: &(),
        metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.current = false;
        // Items of the validation split carry no learning rate.
        if metadata.lr.is_none() {
            return Ok(SerializedEntry::not_available(None));
        }
        self.seen += 1;
        let mut step: Option<(Arc<Observed>, usize)> = None;
        while self.taken < self.seen {
            match (self.monitor.item(self.taken), &mut step) {
                (Item::Waiting, _) => break,
                (Item::Of(observed), Some((of, items))) if Arc::ptr_eq(&observed, of) => {
                    *items += 1
                }
                (Item::Of(observed), _) => {
                    self.take(step.replace((observed, 1)));
                }
                (Item::Without, _) => (),
            }
            self.taken += 1;
        }
        let why = self.take(step);
        if !self.current {
            return Ok(SerializedEntry::not_available(None));
        }
        let mut entry = self.state.compute_update(self.format());
        if let Some(why) = why {
            entry.formatted = format!("{} ({why})", entry.formatted);
        }
        Ok(entry)
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(if self.any {
            self.state.compute_final(self.format())
        } else {
            SerializedEntry::not_available(None)
        })
    }

    fn clear(&mut self) {
        self.state.reset();
        self.current = false;
        self.any = false;
    }
}

impl Numeric for StepMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.current.then(|| self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.any.then(|| self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
