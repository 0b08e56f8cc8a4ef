//! A recorded function.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Device, Shape};
use burn_dispatch::DispatchDevice;

use crate::capture::capture;
use crate::context::Context;
use crate::dual::Value;
use crate::error::JvpError;
use crate::graph::Graph;
use crate::mode::Mode;
use crate::module::{self, Norms, Parameter};
use crate::placeholder;
use crate::quiet::quietly;
use crate::rules::{self, Status};
use crate::tensors::{AnyTensor, Tensors};

/// Shape and element type of an input or a result.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Shape.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

/// The operations of a function of a module's parameters and of input tensors.
///
/// [`record`](Self::record) runs the function once on tensors that have a shape and no value, and
/// keeps the operations. The program can then be [bound](Self::bind) to any weights and inputs of
/// the same shapes and element types and differentiated: see [`Bound`](crate::Bound).
///
/// What the function sees while it is recorded:
/// - Parameters and inputs without values. Reading one is [`JvpError::ReadBack`].
/// - No autodiff, and so no training mode: batch normalisation uses its running statistics and
///   dropout does nothing, unless the program is [recorded in another mode](Self::record_in).
///   Compare [`Bound::evaluate`](crate::Bound::evaluate) with the real function where that matters.
/// - No `detach`, which computes nothing: use [`detach`](crate::detach) instead, where second
///   derivatives must not pass.
/// - Tensors of the module that are not parameters (tables of a positional encoding, for instance)
///   as constants, as are tensors that the function creates. They are part of the program.
///
/// Cost: some microseconds for each operation. No weight and no input is copied.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation::tanh};
/// use osculate_jvp::Program;
///
/// let device = Device::flex();
/// let model: Linear = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([4, 3], &device);
/// let program = Program::record(&model, &x, |model: &Linear, x| tanh(model.forward(x.clone())).mean())?;
/// let loss = program.bind(&model, &x)?.evaluate()?.remove(0).float::<1>();
/// let expected = tanh(model.forward(x)).mean();
/// assert!((loss - expected).into_scalar::<f32>().abs() < 1e-6);
/// # Ok::<(), osculate_jvp::JvpError>(())
/// ```
///
/// A clone shares the operations.
#[derive(Debug, Clone)]
pub struct Program {
    pub(crate) parameters: Arc<[Parameter]>,
    pub(crate) inputs: Arc<[InputSpec]>,
    pub(crate) graph: Arc<Graph>,
    /// A device like those that the program was recorded for.
    pub(crate) device: DispatchDevice,
}

impl Program {
    /// Records `f` for parameters and inputs of the shapes and element types of `module` and
    /// `inputs`. `f` may return any structure of tensors.
    ///
    /// # Errors
    /// [`JvpError::NoRule`], [`JvpError::ReadBack`], [`JvpError::ForeignTensor`] and
    /// [`JvpError::Panicked`].
    pub fn record<M, I, O>(
        module: &M,
        inputs: &I,
        f: impl FnOnce(&M, &I) -> O,
    ) -> Result<Self, JvpError>
    where
        M: Module,
        I: Tensors,
        O: Tensors,
    {
        Self::recorded(Mode::Evaluation, Norms::Quiet, module, inputs, f)
    }

    /// Records `f` as [`record`](Self::record) does, with layers that train or do not as `mode`
    /// says.
    ///
    /// ```
    /// use burn::nn::{BatchNorm, BatchNormConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use osculate_jvp::{Mode, Program};
    ///
    /// let device = Device::flex().autodiff();
    /// let norm: BatchNorm = BatchNormConfig::new(2).init(&device);
    /// let x = Tensor::<2>::from_data([[1.0, 0.0], [3.0, 5.0]], &device);
    /// let in_training = |mode| {
    ///     let program = Program::record_in(mode, &norm, &x, |norm: &BatchNorm, x| {
    ///         norm.forward(x.clone())
    ///     })?;
    ///     Ok::<_, osculate_jvp::JvpError>(program.bind(&norm, &x)?.evaluate()?.remove(0))
    /// };
    /// let expected = norm.forward(x.clone()).inner();
    /// for mode in [Mode::BatchStatistics, Mode::Training] {
    ///     let error = in_training(mode)?.float::<2>() - expected.clone();
    ///     assert!(error.abs().max().into_scalar::<f32>() < 1e-6);
    /// }
    /// # Ok::<(), osculate_jvp::JvpError>(())
    /// ```
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_in<M, I, O>(
        mode: Mode,
        module: &M,
        inputs: &I,
        f: impl Fn(&M, &I) -> O,
    ) -> Result<Self, JvpError>
    where
        M: Module,
        I: Tensors,
        O: Tensors,
    {
        let record = |norms: Norms| Self::recorded(mode, norms, module, inputs, &f);
        let means = match mode {
            Mode::Evaluation => return record(Norms::Quiet),
            Mode::BatchStatistics | Mode::Training => module::training(module).running_means,
        };
        if mode == Mode::Training && means.is_empty() {
            return record(Norms::Train);
        }
        let mut program = record(Norms::Quiet)?;
        let graph = Arc::make_mut(&mut program.graph);
        if mode == Mode::Training {
            let slots = means.iter().map(|&mean| graph.arguments[mean]).collect();
            match graph.clone().with_norms(&slots) {
                Some(joined) => *graph = joined,
                // A layer of one's own that is called as burn's is.
                None => return record(Norms::Train),
            }
        }
        graph.batch_statistics = graph.normalises_by(&means);
        Ok(program)
    }

    fn recorded<M, I, O>(
        mode: Mode,
        norms: Norms,
        module: &M,
        inputs: &I,
        f: impl FnOnce(&M, &I) -> O,
    ) -> Result<Self, JvpError>
    where
        M: Module,
        I: Tensors,
        O: Tensors,
    {
        Self::record_on(mode, module::parameters(module), inputs, |device| {
            let (recorded, parameters) = module::with_placeholders(module, device, mode, norms);
            (parameters, move |inputs: &I| f(&recorded, inputs).tensors())
        })
    }

    /// Records a function of tensors alone.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_function<I, O>(inputs: &I, f: impl FnOnce(&I) -> O) -> Result<Self, JvpError>
    where
        I: Tensors,
        O: Tensors,
    {
        Self::record_on(Mode::Evaluation, Vec::new(), inputs, |_| {
            (Vec::new(), move |inputs: &I| f(inputs).tensors())
        })
    }

    /// Records the function that `prepare` makes on the recording device, with the placeholders of
    /// the parameters.
    fn record_on<I: Tensors, F: FnOnce(&I) -> Vec<AnyTensor>>(
        mode: Mode,
        parameters: Vec<(Parameter, AnyTensor)>,
        inputs: &I,
        prepare: impl FnOnce(&Device) -> (Vec<AnyTensor>, F),
    ) -> Result<Self, JvpError> {
        let _span = tracing::debug_span!("record").entered();
        let (parameters, values): (Vec<Parameter>, Vec<AnyTensor>) = parameters.into_iter().unzip();
        let given = inputs.tensors();
        let specs: Vec<InputSpec> = given
            .iter()
            .map(|tensor| InputSpec {
                shape: tensor.shape(),
                dtype: tensor.dtype(),
            })
            .collect();
        let device = values
            .iter()
            .chain(&given)
            .next()
            .map(AnyTensor::dispatch_device);
        let device = device.unwrap_or_default();
        let graph = capture(&device, false, |device| {
            let (mut arguments, f) = prepare(device);
            let inputs = inputs.map_tensors(&mut |tensor| {
                let made = placeholder::placeholder(tensor.shape(), tensor.dtype(), device);
                arguments.push(made.clone());
                match mode {
                    Mode::Training => placeholder::associate(made, tensor.value().autodiff),
                    Mode::Evaluation | Mode::BatchStatistics => made,
                }
            });
            let outputs = f(&inputs);
            Ok((arguments, outputs))
        })?;
        let program = Self {
            parameters: parameters.into(),
            inputs: specs.into(),
            graph: Arc::new(graph),
            device,
        };
        program.check_rules()?;
        Ok(program)
    }

    /// The parameters and the state of the module, in visiting order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The inputs, in the order of [`Tensors::tensors`].
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// Shapes and element types of the results.
    pub fn results(&self) -> Vec<InputSpec> {
        let results = self.graph.outputs.iter();
        let results = results.map(|result| InputSpec {
            shape: result.shape.clone(),
            dtype: result.dtype,
        });
        results.collect()
    }

    /// Number of recorded operations that the outputs depend on.
    pub fn num_operations(&self) -> usize {
        self.graph.steps.len()
    }

    /// Number of random tensors that the function draws. They are drawn when the program is bound.
    pub fn num_draws(&self) -> usize {
        self.graph.draws.len()
    }

    /// Names of the recorded operations, as in [`rules`](crate::rules), in execution order.
    pub fn operations(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.graph
            .steps
            .iter()
            .map(|step| rules::rule(step).operation)
    }

    /// Whether both programs are made of the same operations on the same shapes. Data of constants
    /// is not compared.
    pub fn same_operations(&self, other: &Program) -> bool {
        self.inputs == other.inputs
            && self.graph.steps == other.graph.steps
            && self.graph.draws == other.graph.draws
            && self.graph.batch_statistics == other.graph.batch_statistics
            && self.graph.outputs == other.graph.outputs
            && self.parameters.len() == other.parameters.len()
            && self
                .parameters
                .iter()
                .zip(other.parameters.iter())
                .all(|(a, b)| (&a.path, &a.shape, a.dtype) == (&b.path, &b.shape, b.dtype))
    }

    /// What a replay needs beside its arguments: constants, then random tensors, which are drawn.
    pub(crate) fn givens_on(&self, device: &DispatchDevice) -> Result<Vec<Value>, JvpError> {
        let mut givens = self.constants_on(device);
        givens.extend(self.draw(device)?);
        Ok(givens)
    }

    /// The random tensors, drawn from the generator of a device in recorded order.
    fn draw(&self, device: &DispatchDevice) -> Result<Vec<Value>, JvpError> {
        quietly(|| {
            let mut cx = Context::of_draws(&self.graph, device);
            let mut drawn = Vec::with_capacity(self.graph.draws.len());
            for draw in &self.graph.draws {
                rules::apply(draw, &mut cx)?;
                for out in draw.outputs() {
                    drawn.push(cx.value(out)?);
                }
            }
            Ok(drawn)
        })?
    }

    /// The constants, on a device.
    pub(crate) fn constants_on(&self, device: &DispatchDevice) -> Vec<Value> {
        self.graph.constants_on(device)
    }

    /// The same program with some of its results.
    pub(crate) fn with_outputs(&self, keep: impl Fn(usize) -> bool) -> Result<Program, JvpError> {
        let graph = self.graph.with_outputs(keep);
        Ok(Program {
            graph: Arc::new(graph),
            ..self.clone()
        })
    }

    pub(crate) fn check_rules(&self) -> Result<(), JvpError> {
        let unsupported = self
            .graph
            .steps
            .iter()
            .map(rules::rule)
            .find(|rule| matches!(rule.status, Status::Unsupported | Status::Backward));
        match unsupported {
            Some(rule) => Err(JvpError::no_rule(rule.operation)),
            None => Ok(()),
        }
    }
}
