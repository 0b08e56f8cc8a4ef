//! Reading a module's parameters, and replacing them by recorded placeholders.

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, DType, Device, Int, Shape, Tensor};

use crate::placeholder::placeholder;
use crate::tensors::AnyTensor;

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
    let mut reader = Reader {
        path: Vec::new(),
        found: Vec::new(),
        seen: HashSet::new(),
    };
    module.visit(&mut reader);
    reader.found
}

struct Reader {
    path: Vec<String>,
    found: Vec<(Parameter, AnyTensor)>,
    seen: HashSet<ParamId>,
}

impl Reader {
    fn push(&mut self, id: ParamId, tensor: AnyTensor, trained: bool) {
        if !self.seen.insert(id) {
            return;
        }
        let parameter = Parameter {
            path: self.path.join("."),
            id,
            shape: tensor.shape(),
            dtype: tensor.dtype(),
            trained,
        };
        self.found.push((parameter, tensor));
    }
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
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

/// The module with a placeholder for each parameter, and the placeholders in the order of
/// [`parameters`]. Tensors that are not parameters move to the device with their data.
///
/// The module passed in must share no state with a live one.
pub(crate) fn with_placeholders<M: Module>(module: M, device: &Device) -> (M, Vec<AnyTensor>) {
    let mut replacer = Replacer {
        device,
        made: Vec::new(),
        by_id: HashMap::new(),
    };
    let module = module.map(&mut replacer).to_device(device);
    (module, replacer.made)
}

struct Replacer<'a> {
    device: &'a Device,
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

macro_rules! replace {
    ($name:ident, $kind:ty) => {
        fn $name<const D: usize>(
            &mut self,
            param: Param<Tensor<D, $kind>>,
        ) -> Param<Tensor<D, $kind>> {
            let (id, tensor, mapper) = param.consume();
            let made = self.replace(id, tensor.into());
            Param::from_mapped_value(id, Tensor::from_dispatch(made.into_value()), mapper)
        }
    };
}

impl ModuleMapper for Replacer<'_> {
    replace!(map_float, burn::tensor::Float);
    replace!(map_int, Int);
    replace!(map_bool, Bool);
}
