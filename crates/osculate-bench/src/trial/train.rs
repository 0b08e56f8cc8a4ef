use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Device;
use cpu_time::ProcessTime;
use osculate::curvature::{Drawing, GradientOracle, ObjectiveError};
use osculate::prelude::{ClosureOptimizer, Objective};

use super::rates;
use super::step_times::interleaved;
use super::{
    Curvature, Environment, MOST_STEPS, Outcome, Point, Products, Rates, RatesSpec, StepTimes,
    StepTimesSpec, Trial, TrialSpec, caught, computes_here, peak_memory, reset_peak_memory,
};
use crate::error::BenchError;
use crate::workload::{About, Workload, WorkloadError};

/// How a run is watched and stopped.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// A run ends after the step in which this becomes set.
    pub stop: &'a AtomicBool,
    /// Called after every step with the number of steps made and the last measurement.
    pub progress: &'a dyn Fn(usize, Option<f64>),
}

static NEVER: AtomicBool = AtomicBool::new(false);

impl Default for Watch<'_> {
    fn default() -> Self {
        Self {
            stop: &NEVER,
            progress: &|_, _| (),
        }
    }
}

impl Watch<'_> {
    /// Whether to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A workload whose network's type is forgotten. Every [`Workload`] is one.
pub trait Trainer: Send + Sync {
    /// What the workload is.
    fn about(&self) -> About;

    /// Whether tuning trials are measured on data of their own: see [`Workload::for_tuning`].
    fn tunes_apart(&self) -> bool;

    /// What tells its data from others: see [`Workload::fingerprint`].
    fn fingerprint(&self) -> Option<String>;

    /// Trains a network, on a device without autodiff.
    ///
    /// A loss that is no number, or a step that fails, ends the run and is in its outcome.
    ///
    /// # Errors
    /// [`BenchError::Recipe`] where the optimizer cannot be made, [`BenchError::Workload`] where the
    /// workload fails.
    fn train(&self, spec: &TrialSpec, device: &Device, watch: &Watch) -> Result<Trial, BenchError>;

    /// Measures the step times of several optimizers in turns.
    ///
    /// # Errors
    /// As [`train`](Trainer::train).
    fn step_times(
        &self,
        spec: &StepTimesSpec,
        device: &Device,
        watch: &Watch,
    ) -> Result<StepTimes, BenchError>;

    /// Looks for learning rates from the first weights of a seed.
    ///
    /// # Errors
    /// As [`train`](Trainer::train), and [`BenchError::Step`] where a step cannot be made.
    fn rates(&self, spec: &RatesSpec, device: &Device) -> Result<Rates, BenchError>;
}

impl<W: Workload> Trainer for W {
    fn about(&self) -> About {
        Workload::about(self)
    }

    fn tunes_apart(&self) -> bool {
        self.for_tuning().is_some()
    }

    fn fingerprint(&self) -> Option<String> {
        Workload::fingerprint(self)
    }

    fn train(&self, spec: &TrialSpec, device: &Device, watch: &Watch) -> Result<Trial, BenchError> {
        match self.for_tuning() {
            Some(searched) if spec.tuning => {
                Run::begin(searched.as_ref(), spec, device)?.finish(watch)
            }
            _ => Run::begin(self, spec, device)?.finish(watch),
        }
    }

    fn rates(&self, spec: &RatesSpec, device: &Device) -> Result<Rates, BenchError> {
        rates::rates(self, spec, device)
    }

    fn step_times(
        &self,
        spec: &StepTimesSpec,
        device: &Device,
        watch: &Watch,
    ) -> Result<StepTimes, BenchError> {
        let failed = |source| failure(self, source);
        let training = device.clone().autodiff();
        interleaved(
            spec,
            || self.model(0, &training).map_err(failed),
            |step| {
                let steps = (spec.rounds + 1) * spec.block;
                drawing(self, (0, step, steps), &training).map_err(failed)
            },
            watch,
        )
    }
}

/// The batch of a step, of a run with a seed and so many steps, that hands out others: those of steps after
/// the run's end.
pub(super) fn drawing<'a, W: Workload + ?Sized>(
    workload: &'a W,
    (seed, step, steps): (u64, usize, usize),
    device: &'a Device,
) -> Result<Box<dyn Objective<W::Model> + 'a>, WorkloadError> {
    let own = workload.batch(seed, step, device)?;
    let others = move |number: u64| {
        let later = step + steps * (number as usize + 1);
        let drawn = workload.batch(seed, later, device);
        drawn.map_err(ObjectiveError::new)
    };
    Ok(Box::new(Drawing::new(own, others)))
}

pub(super) fn failure<W: Workload + ?Sized>(workload: &W, source: WorkloadError) -> BenchError {
    BenchError::Workload {
        name: Workload::about(workload).name,
        source,
    }
}

/// A run under way.
struct Run<'a, M> {
    workload: &'a dyn Workload<Model = M>,
    about: About,
    spec: &'a TrialSpec,
    device: Device,
    training: Device,
    trial: Trial,
    wall: Duration,
    processor: Duration,
    /// Time of the first step, which compiles and allocates what later ones use.
    first: Duration,
    evaluations: f64,
    made: usize,
    losses: Vec<f64>,
}

impl<'a, M: Module> Run<'a, M> {
    fn begin(
        workload: &'a dyn Workload<Model = M>,
        spec: &'a TrialSpec,
        device: &Device,
    ) -> Result<Self, BenchError> {
        let about = workload.about();
        if !(1..=MOST_STEPS).contains(&spec.steps) || spec.measurements > MOST_STEPS {
            return Err(BenchError::Usage(format!(
                "{}: a run of {} steps with {} measurements; expected at least 1 step, and at most {MOST_STEPS} of \
                 each",
                about.name, spec.steps, spec.measurements
            )));
        }
        reset_peak_memory();
        let mut trial = Trial::new(spec.clone());
        trial.environment = Some(Environment::current(device));
        Ok(Self {
            workload,
            about,
            spec,
            device: device.clone(),
            training: device.clone().autodiff(),
            trial,
            wall: Duration::ZERO,
            processor: Duration::ZERO,
            first: Duration::ZERO,
            evaluations: 0.0,
            made: 0,
            losses: Vec::new(),
        })
    }

    fn failed(&self, source: WorkloadError) -> BenchError {
        failure(self.workload, source)
    }

    fn finish(mut self, watch: &Watch) -> Result<Trial, BenchError> {
        let spec = self.spec;
        let mut optimizer = spec.entrant.make::<M>(spec.seed)?;
        let made = self.workload.model(spec.seed, &self.training);
        let mut model = made.map_err(|error| self.failed(error))?;
        let mut metric = self.measure(&*optimizer, &model)?;
        let training = self.training.clone();
        while self.made < spec.steps {
            if watch.stopped() {
                self.trial.outcome = Outcome::Interrupted;
                break;
            }
            let at = (spec.seed, self.made, spec.steps);
            let batch = drawing(self.workload, at, &training);
            let objective = batch.map_err(|error| self.failed(error))?;
            let lr = spec.lr * self.about.schedule.factor(self.made, spec.steps);
            let (wall, processor) = (Instant::now(), ProcessTime::now());
            let taken = caught(|| optimizer.step(lr, model, objective.as_ref()))
                .and_then(|step| step.map_err(|error| error.cause.to_string()));
            let step = match taken {
                Ok(step) => step,
                Err(message) => {
                    // What was measured until now stays.
                    self.trial.outcome = Outcome::Failed { message };
                    self.end(optimizer.state_bytes());
                    return Ok(self.trial);
                }
            };
            // Reading the loss waits for the device, so the clock sees the whole step.
            let loss = step.report.loss();
            let elapsed = wall.elapsed();
            self.processor += processor.elapsed();
            self.wall += elapsed;
            model = step.model;
            if self.made == 0 {
                self.first = elapsed;
                let oracle = GradientOracle::new(&model, objective.as_ref());
                let layout = oracle.layout()?;
                self.trial.parameters = layout.num_elements();
                self.trial.parameter_bytes = layout.num_bytes();
            }
            self.evaluations += step.report.cost().gradient_evaluations();
            self.trial.skipped += step.report.skipped().len();
            self.trial.products = Products::with(self.trial.products.take(), &step.report);
            self.losses.push(loss);
            self.made += 1;
            if spec.measures_after(self.made) || !loss.is_finite() {
                metric = self.measure(&*optimizer, &model)?;
                if !loss.is_finite() || metric.is_none() {
                    self.trial.outcome = Outcome::Diverged;
                    break;
                }
            }
            (watch.progress)(self.made, metric);
        }
        self.end(optimizer.state_bytes());
        if spec.curvature && self.trial.outcome == Outcome::Finished {
            let model = self.evaluation_model(&*optimizer, &model)?;
            self.measure_curvature(&model)?;
        }
        Ok(self.trial)
    }

    /// Notes what the run has taken.
    fn end(&mut self, state_bytes: usize) {
        self.trial.state_bytes = state_bytes;
        self.trial.step_seconds =
            (self.wall - self.first).as_secs_f64() / (self.made.max(2) - 1) as f64;
        self.trial.peak_memory = peak_memory();
    }

    /// The model to measure: with averaged weights where the optimizer averages.
    fn evaluation_model(
        &self,
        optimizer: &dyn ClosureOptimizer<M>,
        model: &M,
    ) -> Result<M, BenchError> {
        let made = optimizer.evaluation_model(model);
        made.map_err(|cause| BenchError::Step {
            optimizer: self.spec.entrant.label.clone(),
            message: cause.to_string(),
        })
    }

    /// Adds a point, unless there is one of this step, and returns its metric.
    fn measure(
        &mut self,
        optimizer: &dyn ClosureOptimizer<M>,
        model: &M,
    ) -> Result<Option<f64>, BenchError> {
        let model = self.evaluation_model(optimizer, model)?;
        let value = self.workload.measure(&model.valid(), &self.device);
        let value = value.map_err(|error| self.failed(error))?;
        let metric = value.is_finite().then_some(value);
        let loss = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        self.losses.clear();
        self.trial.points.push(Point {
            step: self.made,
            evaluations: self.evaluations,
            seconds: self.wall.as_secs_f64(),
            cpu_seconds: computes_here(&self.device).then_some(self.processor.as_secs_f64()),
            train_loss: loss.is_finite().then_some(loss),
            metric,
        });
        Ok(metric)
    }

    fn measure_curvature(&mut self, model: &M) -> Result<(), BenchError> {
        let objective = self.workload.curvature_batch(&self.training);
        let Some(objective) = objective.map_err(|error| self.failed(error))? else {
            return Ok(());
        };
        // The run itself is sound: what the solution's Hessian does not give is no reason to lose it.
        let found = caught(|| Curvature::measure(model, objective.as_ref()))
            .and_then(|found| found.map_err(|error| error.to_string()));
        match found {
            Ok(found) => self.trial.curvature = Some(found),
            Err(message) => self.trial.curvature_error = Some(message),
        }
        Ok(())
    }
}
