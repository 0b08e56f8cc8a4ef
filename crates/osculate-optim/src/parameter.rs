//! What an optimizer is told of a parameter: its path, its shape, and the layer it belongs to.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Tensor};
use osculate_curvature::{ParamEntry, ParamLayout};
use osculate_jvp::ModulePath;

/// A parameter as a rule or a group's predicate sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Dotted path inside the module, such as `encoder.0.weight`; empty where it is not known.
    pub path: Arc<str>,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// Element type of the tensor.
    pub dtype: DType,
    /// Type of the module that holds the parameter, such as `Linear`; empty where it is not known.
    pub layer: Arc<str>,
}

/// Which of a weight's first two dimensions are outputs of its layer, and which inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// `[out, in, ..]`: burn's convolutions, and what papers write. Also taken for weights of layers
    /// that are not known.
    OutIn,
    /// `[in, out, ..]`: burn's `Linear`, transposed convolutions and embeddings (of one-hot inputs).
    InOut,
}

impl Parameter {
    /// A parameter of a layer that is not known.
    pub fn new(path: &str, shape: &[usize], dtype: DType) -> Self {
        Self {
            path: Arc::from(path),
            shape: shape.to_vec(),
            dtype,
            layer: Arc::from(""),
        }
    }

    /// The last part of the path: `weight` of `encoder.0.weight`.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// The path without its last part: `encoder.0` of `encoder.0.weight`.
    pub fn layer_path(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(layer, _)| layer)
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Which dimensions are outputs, known from the layer's type. burn's `Linear` keeps its weight as
    /// `[in, out]` whatever its `LinearLayout`, which is about the file.
    pub fn orientation(&self) -> Orientation {
        match &*self.layer {
            "Linear" | "Embedding" | "ConvTranspose1d" | "ConvTranspose2d" | "ConvTranspose3d" => {
                Orientation::InOut
            }
            _ => Orientation::OutIn,
        }
    }
}

/// The float parameters of a module in visiting order, with their identities.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ParameterTable {
    pub(crate) entries: Vec<(ParamId, Parameter)>,
    /// Those that require a gradient.
    pub(crate) trainable: Vec<(ParamId, Parameter)>,
}

impl ParameterTable {
    pub(crate) fn of<M: Module>(module: &M) -> Self {
        let mut walk = Walk::default();
        module.visit(&mut walk);
        let entries = walk.entries;
        let trainable = entries.iter().filter(|entry| entry.trainable);
        let pair = |entry: &Walked| (entry.id, entry.parameter.clone());
        Self {
            trainable: trainable.map(pair).collect(),
            entries: entries.iter().map(pair).collect(),
        }
    }

    /// The layout of the parameters whose paths are wanted. Of tied ones the first stands for all.
    pub(crate) fn layout<M: Module>(
        module: &M,
        wanted: impl Fn(ParamId, &Parameter) -> bool,
    ) -> Arc<ParamLayout> {
        let mut walk = Walk::default();
        module.visit(&mut walk);
        let mut entries: Vec<ParamEntry> = Vec::new();
        for walked in walk.entries {
            let new = !entries.iter().any(|entry| entry.id == walked.id);
            if new && wanted(walked.id, &walked.parameter) {
                entries.push(ParamEntry {
                    path: walked.parameter.path.to_string(),
                    id: walked.id,
                    shape: walked.parameter.shape.clone().into(),
                    dtype: walked.parameter.dtype,
                    device: walked.device,
                });
            }
        }
        Arc::new(ParamLayout::new(entries))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&(ParamId, Parameter)> {
        self.entries
            .iter()
            .find(|(_, parameter)| &*parameter.path == path)
    }
}

#[derive(Default)]
struct Walk {
    path: ModulePath,
    layers: Vec<String>,
    entries: Vec<Walked>,
}

struct Walked {
    id: ParamId,
    parameter: Parameter,
    trainable: bool,
    device: Device,
}

impl ModuleVisitor for Walk {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name);
        self.layers.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
        self.layers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // The innermost container is the struct that has the parameter for its field.
        let structs = self.layers.iter().rev();
        let layer = structs
            .filter_map(|container| container.strip_prefix("Struct:"))
            .next()
            .unwrap_or_default();
        let value = param.val();
        let parameter = Parameter {
            path: Arc::from(self.path.as_str()),
            shape: value.shape().to_vec(),
            dtype: value.dtype(),
            layer: Arc::from(layer),
        };
        self.entries.push(Walked {
            id: param.id,
            parameter,
            trainable: param.is_require_grad(),
            device: value.device().inner(),
        });
    }
}

/// The paths, identities and shapes of a module's float parameters: cheap to compare from step to step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ModuleSignature(Vec<Mark>);

/// A parameter, with the hash of its path.
#[derive(Debug, Clone, PartialEq)]
struct Mark {
    path: u64,
    id: ParamId,
    shape: Vec<usize>,
    dtype: DType,
}

impl ModuleSignature {
    pub(crate) fn of<M: Module>(module: &M) -> Self {
        let mut marker = Marker::default();
        module.visit(&mut marker);
        Self(marker.marks)
    }
}

#[derive(Default)]
struct Marker {
    /// Hash of the path so far, at every depth.
    paths: Vec<u64>,
    marks: Vec<Mark>,
}

impl Marker {
    fn path(&self) -> u64 {
        self.paths.last().copied().unwrap_or(0)
    }
}

impl ModuleVisitor for Marker {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        let mut hasher = DefaultHasher::new();
        (self.path(), name).hash(&mut hasher);
        self.paths.push(hasher.finish());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.paths.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        self.marks.push(Mark {
            path: self.path(),
            id: param.id,
            shape: value.shape().to_vec(),
            dtype: value.dtype(),
        });
    }
}
