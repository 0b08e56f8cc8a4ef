//! Gradients and outputs at and around the weights, without touching the model.

mod passes;

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::objective::{GradientObjective, Objective, SupervisedObjective};
use crate::params::{ParamLayout, ParamVec, Snapshot, collect_registered};
use crate::stream::RandomStream;
use passes::{accumulate, backward, forward, pass};

/// A loss and its gradient at one point.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The loss, one element, without autodiff. NaN where the objective is a
    /// [`GradientObjective`](crate::GradientObjective).
    pub loss: Tensor<1>,
    /// The gradient with respect to every parameter that received one.
    pub gradient: ParamVec,
    /// The outputs of shape `[samples, outputs]`, where the objective is supervised, one batch, and
    /// the gradient was made from them.
    pub outputs: Option<Tensor<2>>,
}

struct Clean<M> {
    evaluation: Evaluation,
    model: M,
}

/// Evaluates one objective at a model's weights `θ` and around them.
///
/// The model is only read. Every evaluation runs on a probe model that shares nothing with it:
/// weights are restored by never having been changed, whatever the objective does, a panic
/// included. All evaluations of one oracle are made of the same function: the device's random
/// generator is seeded alike before each (so every pass sees one dropout mask), and each probe has
/// running statistics of its own. After each the generator goes on from a seed that follows from what
/// the program would have drawn next (see [`RandomStream`]): its noise never repeats. The CPU backends
/// have one generator for the whole program: other threads must not draw from it or seed it while a
/// model with dropout is evaluated.
///
/// The first evaluation at `θ` itself, the *clean pass*, is kept. [`into_model`](Self::into_model)
/// gives the model after exactly that one pass, which is where batch normalisation's running
/// statistics have moved once.
///
/// # Example
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::GradientOracle;
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(3, 1).init(&device);
/// let x = Tensor::<2>::ones([5, 3], &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let oracle = GradientOracle::new(&model, &loss);
/// let gradient = &oracle.clean()?.gradient;
/// assert_eq!(gradient.layout().num_elements(), 4);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct GradientOracle<'a, M: Module> {
    objective: &'a dyn Objective<M>,
    snapshot: Snapshot<M>,
    stream: Arc<RandomStream>,
    seed: u64,
    noise_seed: Option<u64>,
    /// Whether an evaluation drew random numbers, where it is watched.
    drew: Option<Cell<bool>>,
    clean: OnceCell<Clean<M>>,
    parameters: OnceCell<ParamVec>,
    cost: Cell<Cost>,
}

impl<'a, M: Module> GradientOracle<'a, M> {
    /// An oracle at the model's present weights, with seed 0.
    pub fn new(model: &M, objective: &'a dyn Objective<M>) -> Self {
        Self {
            objective,
            snapshot: Snapshot::new(model),
            stream: Arc::new(RandomStream::of(model.devices())),
            seed: 0,
            noise_seed: None,
            drew: None,
            clean: OnceCell::new(),
            parameters: OnceCell::new(),
            cost: Cell::new(Cost::ZERO),
        }
    }

    /// Sets the seed that the device's random generator gets before each evaluation. Default 0: every
    /// oracle sees the same noise.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the seed of the device's generator alone, where [`seed`](Self::seed) is for other numbers.
    pub fn with_noise_seed(mut self, seed: u64) -> Self {
        self.noise_seed = Some(seed);
        self
    }

    /// Looks whether evaluations draw random numbers: [`drew`](Self::drew) tells. It costs two draws that are
    /// read back for each.
    pub fn watching_draws(mut self) -> Self {
        self.drew = Some(Cell::new(false));
        self
    }

    /// Whether somebody looks.
    pub fn watches_draws(&self) -> bool {
        self.drew.is_some()
    }

    /// Whether an evaluation drew random numbers on the model's devices, as dropout does; `false` where nobody
    /// looked.
    pub fn drew(&self) -> bool {
        self.drew.as_ref().is_some_and(Cell::get)
    }

    /// The program's random streams on the model's devices.
    pub fn stream(&self) -> &RandomStream {
        &self.stream
    }

    /// The seed of the evaluations.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The objective.
    pub fn objective(&self) -> &'a dyn Objective<M> {
        self.objective
    }

    /// The objective as outputs and criterion.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], naming `what` needed it.
    pub fn supervised(
        &self,
        what: &'static str,
    ) -> Result<&'a dyn SupervisedObjective<M>, CurvatureError> {
        self.objective
            .supervised()
            .ok_or(CurvatureError::NotSupervised { what })
    }

    /// The terms of an objective that is a sum of outputs' criteria, at least one.
    pub(crate) fn supervised_terms(
        &self,
        what: &'static str,
    ) -> Result<Vec<&'a dyn SupervisedObjective<M>>, CurvatureError> {
        let terms = self.objective.supervised_terms();
        if terms.is_empty() {
            return Err(CurvatureError::NotSupervised { what });
        }
        Ok(terms)
    }

    /// What has been spent so far.
    pub fn cost(&self) -> Cost {
        self.cost.get()
    }

    /// The evaluation at `θ`. The first call costs one gradient, later calls nothing.
    ///
    /// # Errors
    /// Whatever the objective fails with, and [`CurvatureError::NoGradient`] where no parameter
    /// takes part in the loss.
    pub fn clean(&self) -> Result<&Evaluation, CurvatureError> {
        if let Some(clean) = self.clean.get() {
            return Ok(&clean.evaluation);
        }
        let model = self.snapshot.probe(None, true)?;
        let evaluation = self.evaluate(&model, self.objective)?;
        if evaluation.gradient.layout().is_empty() {
            return Err(CurvatureError::NoGradient);
        }
        Ok(&self
            .clean
            .get_or_init(|| Clean { evaluation, model })
            .evaluation)
    }

    /// The parameters that received a gradient in the clean pass.
    ///
    /// # Errors
    /// As [`clean`](Self::clean).
    pub fn layout(&self) -> Result<Arc<ParamLayout>, CurvatureError> {
        Ok(self.clean()?.gradient.layout().clone())
    }

    /// The weights `θ`, over the parameters that received a gradient.
    ///
    /// # Errors
    /// As [`clean`](Self::clean).
    pub fn parameters(&self) -> Result<&ParamVec, CurvatureError> {
        let layout = self.layout()?;
        Ok(self
            .parameters
            .get_or_init(|| self.snapshot.values(&layout)))
    }

    /// The model after its one clean pass, or `None` before it.
    pub fn into_model(self) -> Option<M> {
        self.clean.into_inner().map(|clean| clean.model)
    }

    /// A copy of what [`into_model`](Self::into_model) gives; the oracle goes on evaluating at the weights
    /// before.
    pub fn model_after(&self) -> Option<M> {
        self.clean.get().map(|clean| clean.model.clone())
    }

    /// Loss and gradient at `θ + scale * offset`. The gradient has the offset's layout: parameters
    /// that take no part in the loss there have zeros.
    ///
    /// Cost: one gradient evaluation, and a copy of the moved weights while it runs.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] for the offset of another model, and whatever the objective
    /// fails with.
    pub fn evaluate_at(&self, offset: &ParamVec, scale: f64) -> Result<Evaluation, CurvatureError> {
        self.evaluate_of(self.objective, offset, scale)
    }

    /// [`evaluate_at`](Self::evaluate_at) `θ + offset` on another batch, which the objective draws by
    /// number; `what` is who asks.
    ///
    /// # Errors
    /// [`CurvatureError::NoDraws`] for an objective with one batch, and as
    /// [`evaluate_at`](Self::evaluate_at).
    pub fn evaluate_drawn(
        &self,
        what: &'static str,
        number: u64,
        offset: &ParamVec,
    ) -> Result<Evaluation, CurvatureError> {
        let drawn = self.guarded(|| {
            let drawn = self.objective.draw(number);
            Ok(drawn.ok_or(CurvatureError::NoDraws { what })??)
        })?;
        self.evaluate_of(drawn.as_ref(), offset, 1.0)
    }

    fn evaluate_of(
        &self,
        objective: &dyn Objective<M>,
        offset: &ParamVec,
        scale: f64,
    ) -> Result<Evaluation, CurvatureError> {
        let model = self.snapshot.probe(Some((offset, scale)), true)?;
        let evaluation = self.evaluate(&model, objective)?;
        Ok(Evaluation {
            gradient: conform(evaluation.gradient, offset.layout()),
            ..evaluation
        })
    }

    /// An oracle of the same objective at `θ + offset`, with the same seed. An evaluation that was made
    /// there with [`evaluate_at`](Self::evaluate_at) is taken over as its clean pass.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] for the offset of another model.
    pub fn moved(
        &self,
        offset: &ParamVec,
        evaluation: Option<Evaluation>,
    ) -> Result<Self, CurvatureError> {
        let model = self.snapshot.probe(Some((offset, 1.0)), true)?;
        let snapshot = Snapshot::new(&model);
        let clean = match evaluation {
            Some(evaluation) => OnceCell::from(Clean { evaluation, model }),
            None => OnceCell::new(),
        };
        Ok(Self {
            objective: self.objective,
            snapshot,
            stream: self.stream.clone(),
            seed: self.seed,
            noise_seed: self.noise_seed,
            drew: None,
            clean,
            parameters: OnceCell::new(),
            cost: Cell::new(Cost::ZERO),
        })
    }

    /// Outputs at `θ + scale * offset`, or at `θ` for `None`, without recording a tape.
    ///
    /// Cost: one forward pass.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], [`CurvatureError::LayoutMismatch`] for the offset of another
    /// model, or a panic of the forward pass.
    pub fn outputs_at(
        &self,
        offset: Option<(&ParamVec, f64)>,
    ) -> Result<Tensor<2>, CurvatureError> {
        let supervised = self.supervised("an output")?;
        let model = self.snapshot.probe(offset, false)?;
        self.spend(Cost::FORWARD);
        self.guarded(|| Ok(supervised.outputs(&model).without_autodiff()))
    }

    /// The loss at `θ` by the supervised terms of the objective, one element: of an objective that runs its
    /// own backward pass nothing else tells it.
    ///
    /// Cost: one forward pass for each term.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], as the criterion for its outputs, or a panic of the forward pass.
    pub fn supervised_loss(&self) -> Result<Tensor<1>, CurvatureError> {
        let model = self.snapshot.probe(None, false)?;
        self.loss_of_terms(&model)
    }

    fn loss_of_terms(&self, model: &M) -> Result<Tensor<1>, CurvatureError> {
        let terms = self.supervised_terms("a loss")?;
        let mut losses = Vec::with_capacity(terms.len());
        for term in terms {
            self.spend(Cost::FORWARD);
            let loss = self.guarded(|| {
                let outputs = term.outputs(model).without_autodiff();
                term.criterion().loss(outputs)
            });
            losses.push(loss?);
        }
        Ok(Tensor::cat(losses, 0).sum())
    }

    /// The loss at `θ + scale * offset`, one element, without recording a tape. Of an objective that runs its
    /// own backward pass it is that of the supervised terms, as in [`supervised_loss`](Self::supervised_loss).
    ///
    /// Cost: one forward pass for each term or part.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] for the offset of another model, and whatever the objective fails
    /// with.
    pub fn loss_at(&self, offset: &ParamVec, scale: f64) -> Result<Tensor<1>, CurvatureError> {
        let model = self.snapshot.probe(Some((offset, scale)), false)?;
        if self.objective.gradient().is_some() {
            return self.loss_of_terms(&model);
        }
        let whole = |objective: &dyn Objective<M>| -> Result<Tensor<1>, CurvatureError> {
            self.spend(Cost::FORWARD);
            let (loss, _) = forward(&model, objective)?;
            Ok(loss.without_autodiff().reshape([1]))
        };
        // Under one seed for all parts, as in the clean pass.
        self.guarded(|| match self.objective.parts() {
            [] => whole(self.objective),
            parts => {
                let losses = parts
                    .iter()
                    .map(|part| Ok(whole(part.objective())?.mul_scalar(part.weight())));
                let losses = losses.collect::<Result<Vec<_>, CurvatureError>>()?;
                Ok(Tensor::cat(losses, 0).sum())
            }
        })
    }

    /// The gradient at `θ` of a scalar function of the outputs: for `sum(outputs * u)` with a
    /// constant `u` it is the vector-Jacobian product `J^T u`.
    ///
    /// Cost: one gradient evaluation.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], or a panic of either pass.
    pub fn pull_back(
        &self,
        layout: &Arc<ParamLayout>,
        scalar: impl FnOnce(Tensor<2>) -> Result<Tensor<1>, CurvatureError>,
    ) -> Result<ParamVec, CurvatureError> {
        let supervised = self.supervised("a vector-Jacobian product")?;
        self.pull_back_of(supervised, layout, scalar)
    }

    /// The same for one of the terms of the objective.
    pub(crate) fn pull_back_of(
        &self,
        supervised: &dyn SupervisedObjective<M>,
        layout: &Arc<ParamLayout>,
        scalar: impl FnOnce(Tensor<2>) -> Result<Tensor<1>, CurvatureError>,
    ) -> Result<ParamVec, CurvatureError> {
        let model = self.snapshot.probe(None, true)?;
        self.spend(Cost::GRADIENT);
        let gradient = self.guarded(|| {
            let value = scalar(supervised.outputs(&model))?;
            backward(&model, value)
        })?;
        Ok(conform(gradient, layout))
    }

    /// A model at `θ` that shares nothing with any other.
    pub(crate) fn model(&self) -> Result<M, CurvatureError> {
        self.snapshot.probe(None, true)
    }

    /// The same at weights moved by `scale * offset`.
    pub(crate) fn model_at(&self, offset: &ParamVec, scale: f64) -> Result<M, CurvatureError> {
        self.snapshot.probe(Some((offset, scale)), true)
    }

    /// Runs with the devices seeded as for every evaluation.
    pub(crate) fn seeded<T>(&self, run: impl FnOnce() -> T) -> T {
        let seed = self.noise_seed.unwrap_or(self.seed);
        let Some(watched) = &self.drew else {
            return self.stream.seeded(seed, run);
        };
        let (made, drew) = self.stream.watched(seed, run);
        watched.set(watched.get() || drew);
        made
    }

    fn evaluate(
        &self,
        model: &M,
        objective: &dyn Objective<M>,
    ) -> Result<Evaluation, CurvatureError> {
        let _span = tracing::trace_span!("gradient").entered();
        self.spend(Cost::GRADIENT);
        if let Some(objective) = objective.gradient() {
            return self.guarded(|| self.own_pass(model, objective));
        }
        self.guarded(|| match objective.parts() {
            [] => pass(model, objective),
            parts => accumulate(model, parts),
        })
    }

    /// The passes of an objective that runs them itself.
    fn own_pass(
        &self,
        model: &M,
        objective: &dyn GradientObjective<M>,
    ) -> Result<Evaluation, CurvatureError> {
        if !self.snapshot.is_trained() {
            // Its own backward pass would panic.
            return Err(CurvatureError::NoGradient);
        }
        let gradient = collect_registered(model, objective.gradients(model)?);
        let device = model.devices().into_iter().next().unwrap_or_default();
        Ok(Evaluation {
            gradient,
            loss: Tensor::full([1], f64::NAN, &device.inner()),
            outputs: None,
        })
    }

    /// Seeds the devices and turns a panic of the user's code into an error.
    fn guarded<T>(
        &self,
        run: impl FnOnce() -> Result<T, CurvatureError>,
    ) -> Result<T, CurvatureError> {
        // Nothing outlives the closure but its result: the probe model is dropped with it.
        self.seeded(|| catch_unwind(AssertUnwindSafe(run)))
            .unwrap_or_else(|payload| {
                Err(CurvatureError::ObjectivePanicked {
                    message: panic_message(payload.as_ref()),
                })
            })
    }

    /// Counts passes.
    pub(crate) fn spend(&self, cost: Cost) {
        self.cost.set(self.cost.get() + cost);
    }
}

/// Rewrites a gradient to a layout, with zeros for parameters that it lacks.
fn conform(gradient: ParamVec, layout: &Arc<ParamLayout>) -> ParamVec {
    if gradient.layout().is_compatible(layout) {
        return ParamVec::new(layout.clone(), gradient.into_tensors());
    }
    let zeros = ParamVec::zeros(layout);
    let tensors = zeros
        .iter()
        .map(|(entry, zero)| gradient.get(&entry.path).unwrap_or(zero).clone())
        .collect();
    ParamVec::new(layout.clone(), tensors)
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the panic carried no message".to_string())
}
