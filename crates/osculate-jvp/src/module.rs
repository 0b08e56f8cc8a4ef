//! Reading a module's parameters, and replacing them by recorded placeholders.

use std::collections::{HashMap, HashSet};

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, DType, Device, Int, Shape, Tensor};
use burn_dispatch::DispatchAutodiffContext;

use crate::mode::Mode;
use crate::path::ModulePath;
use crate::placeholder::{associate, is_recorded, placeholder};
use crate::tensors::{AnyTensor, is_autodiff};

/// A parameter or piece of state of a recorded module.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Dotted path inside the module.
    pub path: String,
    /// Identity. Parameters of one identity are tied: the first path stands for all.
    pub id: ParamId,
    /// Shape.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
    /// Whether it is trained: a float tensor that requires a gradient.
    pub trained: bool,
}

/// The parameters of a module in visiting order, without repetitions, with their values.
pub(crate) fn parameters<M: Module>(module: &M) -> Vec<(Parameter, AnyTensor)> {
    read(module)
        .into_iter()
        .map(|(parameter, value)| (parameter, AnyTensor::from_value(value.inner())))
        .collect()
}

/// The tensors of a module's parameters, as they are: with their autodiff.
pub(crate) fn live_parameters<M: Module>(module: &M) -> Vec<AnyTensor> {
    read(module).into_iter().map(|(_, value)| value).collect()
}

fn read<M: Module>(module: &M) -> Vec<(Parameter, AnyTensor)> {
    reader(module).found
}

fn reader<M: Module>(module: &M) -> Reader {
    let mut reader = Reader::default();
    module.visit(&mut reader);
    reader
}

/// What burn's visitors call the layer whose statistics may be those of the batch.
const BATCH_NORM: &str = "Struct:BatchNorm";

/// What of a module is in training.
pub(crate) struct Training {
    /// Whether any of its tensors is on autodiff.
    pub(crate) autodiff: bool,
    /// Positions, among its parameters, of the running means of batch normalisation in training.
    pub(crate) running_means: Vec<usize>,
    /// Whether other layers are.
    pub(crate) others: bool,
}

pub(crate) fn training<M: Module>(module: &M) -> Training {
    let reader = reader(module);
    let (norms, others): (Vec<_>, Vec<_>) = reader
        .training
        .iter()
        .partition(|(container, _)| container == BATCH_NORM);
    let means: HashSet<String> = norms
        .into_iter()
        .map(|(_, path)| format!("{path}running_mean"))
        .collect();
    let found = reader.found.iter().enumerate();
    Training {
        autodiff: found
            .clone()
            .any(|(_, (_, value))| is_autodiff(value.value())),
        running_means: found
            .filter(|(_, (parameter, _))| means.contains(&parameter.path))
            .map(|(index, _)| index)
            .collect(),
        others: !others.is_empty(),
    }
}

#[derive(Default)]
struct Reader {
    path: ModulePath,
    containers: Vec<String>,
    found: Vec<(Parameter, AnyTensor)>,
    seen: HashSet<ParamId>,
    /// The type of every layer whose flag is set, and the start of the paths of its fields.
    training: Vec<(String, String)>,
}

impl Reader {
    fn push(&mut self, id: ParamId, tensor: AnyTensor, trained: bool) {
        if !self.seen.insert(id) {
            return;
        }
        let parameter = Parameter {
            path: self.path.as_str().to_string(),
            id,
            shape: tensor.shape(),
            dtype: tensor.dtype(),
            trained,
        };
        self.found.push((parameter, tensor));
    }
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name);
        self.containers.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
        self.containers.pop();
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        if !flag.is_enabled() {
            return;
        }
        let container = self.containers.last().cloned().unwrap_or_default();
        let fields = self.path.as_str().len() - self.path.name().len();
        let fields = self.path.as_str()[..fields].to_string();
        self.training.push((container, fields));
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.push(param.id, param.val().into(), param.is_require_grad());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.push(param.id, param.val().into(), false);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.push(param.id, param.val().into(), false);
    }
}

/// How batch normalisation is recorded in training mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norms {
    /// As in evaluation, to be given the statistics of the batch afterwards: a layer that trains moves
    /// its running statistics, which burn cannot do twice in one recording.
    Quiet,
    /// As it is computed in training.
    Train,
}

/// A copy of the module with a placeholder for each parameter, and the placeholders in the order of
/// [`parameters`]. Tensors that are not parameters move to the device with their data.
pub(crate) fn with_placeholders<M: Module>(
    module: &M,
    device: &Device,
    mode: Mode,
    norms: Norms,
) -> (M, Vec<AnyTensor>) {
    let training = mode == Mode::Training;
    let contexts: HashMap<ParamId, DispatchAutodiffContext> = match training {
        true => read(module)
            .into_iter()
            .map(|(parameter, value)| (parameter.id, value.value().autodiff))
            .collect(),
        false => HashMap::new(),
    };
    // Evaluation mode is what parts a module from the running statistics it shares.
    let detached = module.valid();
    let clone = training.then(|| detached.clone());
    let mut replacer = Replacer {
        device,
        training,
        norms,
        containers: Vec::new(),
        made: Vec::new(),
        by_id: HashMap::new(),
    };
    let module = detached.map(&mut replacer).to_device(device);
    let Some(clone) = clone else {
        return (module, replacer.made);
    };
    // Running statistics are what a module shares with its clone. burn moves them to the device of
    // the layer's input, which it cannot do on a recording device with autodiff.
    let mut shared = Shared(HashSet::new());
    clone.visit(&mut shared);
    let module = module.map(&mut Associate {
        contexts,
        plain: shared.0,
    });
    (module, replacer.made)
}

struct Replacer<'a> {
    device: &'a Device,
    training: bool,
    norms: Norms,
    containers: Vec<String>,
    made: Vec<AnyTensor>,
    by_id: HashMap<ParamId, usize>,
}

impl Replacer<'_> {
    fn replace(&mut self, id: ParamId, tensor: AnyTensor) -> AnyTensor {
        if let Some(&index) = self.by_id.get(&id) {
            return self.made[index].clone();
        }
        let made = placeholder(tensor.shape(), tensor.dtype(), self.device);
        self.by_id.insert(id, self.made.len());
        self.made.push(made.clone());
        made
    }
}

/// Maps the parameters of one kind by a method that takes identity and tensor.
macro_rules! map_by {
    ($method:ident: $($name:ident $kind:ty),*) => {$(
        fn $name<const D: usize>(
            &mut self,
            param: Param<Tensor<D, $kind>>,
        ) -> Param<Tensor<D, $kind>> {
            let (id, tensor, mapper) = param.consume();
            let made = self.$method(id, tensor.into());
            Param::from_mapped_value(id, Tensor::from_dispatch(made.into_value()), mapper)
        }
    )*};
}

impl ModuleMapper for Replacer<'_> {
    map_by!(replace: map_float burn::tensor::Float, map_int Int, map_bool Bool);

    fn enter_module(&mut self, _name: &str, container_type: &str) {
        self.containers.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.containers.pop();
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        let norm = self
            .containers
            .last()
            .is_some_and(|name| name == BATCH_NORM);
        if self.training && !(norm && self.norms == Norms::Quiet) {
            flag.train()
        } else {
            flag
        }
    }
}

/// Associates recorded tensors with autodiff as the module's own were.
struct Associate {
    contexts: HashMap<ParamId, DispatchAutodiffContext>,
    plain: HashSet<ParamId>,
}

impl Associate {
    fn associate(&mut self, id: ParamId, tensor: AnyTensor) -> AnyTensor {
        match self.contexts.get(&id) {
            Some(&context) if !self.plain.contains(&id) => associate(tensor, context),
            _ => tensor,
        }
    }
}

impl ModuleMapper for Associate {
    map_by!(associate: map_float burn::tensor::Float, map_int Int, map_bool Bool);
}

/// Identities of float tensors that have been replaced by placeholders.
struct Shared(HashSet<ParamId>);

impl ModuleVisitor for Shared {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if is_recorded(&param.val().into_dispatch()) {
            self.0.insert(param.id);
        }
    }
}
