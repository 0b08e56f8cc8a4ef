use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// The paths of a module's float tensors, with their identities in the running program.
#[derive(Default)]
pub(crate) struct ModulePaths {
    path: Vec<String>,
    ids: BTreeMap<String, ParamId>,
}

impl ModulePaths {
    pub(crate) fn of<M: Module>(model: &M) -> Self {
        let mut paths = Self::default();
        model.visit(&mut paths);
        paths
    }

    pub(crate) fn id(&self, path: &str) -> Option<ParamId> {
        self.ids.get(path).copied()
    }
}

impl ModuleVisitor for ModulePaths {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.ids.insert(self.path.join("."), param.id);
    }
}
