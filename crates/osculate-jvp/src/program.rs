//! A recorded function.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Device, Shape};
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_dispatch::{Dispatch, DispatchDevice};

use crate::capture::capture;
use crate::context::Context;
use crate::dual::{Dual, Value};
use crate::error::JvpError;
use crate::graph::Graph;
use crate::module::{self, Parameter};
use crate::placeholder;
use crate::rules::{self, Status};
use crate::tensors::{AnyTensor, Tensors};

/// Shape and element type of an input.
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
///   dropout does nothing. Compare [`Bound::evaluate`](crate::Bound::evaluate) with the real
///   function where that matters.
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
        // Evaluation mode is what parts a module from the running statistics it shares.
        let detached = module.valid();
        Self::record_on(module::parameters(module), inputs, |device| {
            let (recorded, parameters) = module::with_placeholders(detached, device);
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
        Self::record_on(Vec::new(), inputs, |_| {
            (Vec::new(), move |inputs: &I| f(inputs).tensors())
        })
    }

    /// Records the function that `prepare` makes on the recording device, with the placeholders of
    /// the parameters.
    fn record_on<I: Tensors, F: FnOnce(&I) -> Vec<AnyTensor>>(
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
                made
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

    /// Number of recorded operations that the outputs depend on.
    pub fn num_operations(&self) -> usize {
        self.graph.steps.len()
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
            && self.graph.outputs == other.graph.outputs
            && self.parameters.len() == other.parameters.len()
            && self
                .parameters
                .iter()
                .zip(other.parameters.iter())
                .all(|(a, b)| (&a.path, &a.shape, a.dtype) == (&b.path, &b.shape, b.dtype))
    }

    /// The constants, on a device.
    pub(crate) fn constants_on(&self, device: &DispatchDevice) -> Vec<Value> {
        self.graph
            .constants
            .iter()
            .map(|(_, data)| match data.dtype() {
                dtype if dtype.is_float() => Dispatch::float_from_data(data.clone(), device),
                dtype if dtype.is_bool() => Dispatch::bool_from_data(data.clone(), device),
                _ => Dispatch::int_from_data(data.clone(), device),
            })
            .collect()
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
            .find(|rule| rule.status == Status::Unsupported);
        match unsupported {
            Some(rule) => Err(JvpError::no_rule(rule.operation)),
            None => Ok(()),
        }
    }

    /// Runs the operations on the arguments (parameters, then inputs) and constants, both given
    /// with their tangents, on a device with or without autodiff.
    pub(crate) fn replay(
        &self,
        arguments: Vec<Dual>,
        constants: Vec<Dual>,
        device: &DispatchDevice,
    ) -> Result<Vec<Dual>, JvpError> {
        let graph = &self.graph;
        let run = || {
            let mut cx = Context::new(graph.reads.clone(), device);
            for (&slot, dual) in graph.arguments.iter().zip(arguments) {
                cx.bind(slot, dual);
            }
            for ((slot, _), dual) in graph.constants.iter().zip(constants) {
                cx.bind(*slot, dual);
            }
            for step in &graph.steps {
                rules::apply(step, &mut cx)?;
            }
            graph.outputs.iter().map(|output| cx.get(output)).collect()
        };
        catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|payload| Err(JvpError::from_panic(payload.as_ref())))
    }
}
