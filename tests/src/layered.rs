//! A model whose layers can be exchanged in the middle of a training, and whose gradients are apart:
//! that of a layer depends on its own weights alone.

use burn::module::{Module, Param, ParamId};
use burn::tensor::activation::tanh;
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{Criterion, Objective, ObjectiveError, SupervisedObjective};

use crate::model::wave;

/// Paths of the parameters, in the order of the module.
pub const PATHS: [&str; 5] = ["vector", "matrix", "same", "kernel", "extra"];

/// Layers of ranks 1 to 4, two of them of one shape.
#[derive(Module, Debug)]
pub struct Layers {
    /// Rank 1, `[5]`.
    pub vector: Param<Tensor<1>>,
    /// Rank 2, `[4, 8]`: the one that changes.
    pub matrix: Param<Tensor<2>>,
    /// Rank 2, `[4, 8]`: stacked with the one that changes, where a method stacks.
    pub same: Param<Tensor<2>>,
    /// Rank 4, `[2, 3, 2, 2]`.
    pub kernel: Param<Tensor<4>>,
    /// Rank 3, `[2, 3, 2]`: the one that comes and goes.
    pub extra: Option<Param<Tensor<3>>>,
}

/// What happens to a model in the middle of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `[4, 8]` becomes `[4, 9]`.
    Wider,
    /// `[4, 8]` becomes `[4, 5]`.
    Narrower,
    /// `[4, 8]` becomes `[8, 4]`: as many elements as before.
    Transposed,
    /// The same shape, other values, another identity.
    Remade,
    /// A layer goes.
    Removed,
    /// A layer comes.
    Added,
    /// All values stay, and all identities are new.
    Renewed,
}

impl Change {
    /// All changes.
    pub const ALL: [Self; 7] = [
        Self::Wider,
        Self::Narrower,
        Self::Transposed,
        Self::Remade,
        Self::Removed,
        Self::Added,
        Self::Renewed,
    ];

    /// Whether a parameter has another shape afterwards.
    pub fn reshapes(self) -> bool {
        matches!(self, Self::Wider | Self::Narrower | Self::Transposed)
    }

    /// The parameters whose state is of no use afterwards.
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Wider | Self::Narrower | Self::Transposed | Self::Remade => &["matrix"],
            Self::Removed | Self::Added => &["extra"],
            Self::Renewed => &PATHS,
        }
    }

    /// Those that were there before, and are another parameter now.
    pub fn fresh(self) -> &'static [&'static str] {
        match self {
            Self::Removed | Self::Added => &[],
            _ => self.paths(),
        }
    }
}

fn weights<const D: usize>(
    shape: [usize; D],
    phase: f64,
    at: (&Device, DType),
) -> Param<Tensor<D>> {
    let n = shape.iter().product();
    let tensor = Tensor::<D>::from_data(TensorData::new(wave(n, phase), shape), at);
    Param::initialized(ParamId::new(), tensor.require_grad())
}

/// A parameter with the same values and a new identity.
fn renewed<const D: usize>(param: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), param.val().detach().require_grad())
}

fn host<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f64> {
    param.val().into_data().iter::<f64>().collect()
}

impl Layers {
    /// The model with fixed weights, with all layers.
    pub fn new(device: &Device, dtype: DType) -> Self {
        let at = (device, dtype);
        Self {
            vector: weights([5], 0.1, at),
            matrix: weights([4, 8], 0.2, at),
            same: weights([4, 8], 0.3, at),
            kernel: weights([2, 3, 2, 2], 0.4, at),
            extra: Some(weights([2, 3, 2], 0.5, at)),
        }
    }

    /// The model from which a change starts.
    pub fn before(change: Change, device: &Device, dtype: DType) -> Self {
        let model = Self::new(device, dtype);
        match change {
            Change::Added => Self {
                extra: None,
                ..model
            },
            _ => model,
        }
    }

    /// The model with another matrix of this shape, of a new identity.
    pub fn with_matrix(mut self, shape: [usize; 2], phase: f64) -> Self {
        let weight = self.same.val();
        self.matrix = weights(shape, phase, (&weight.device(), weight.dtype()));
        self
    }

    /// The model after a change.
    pub fn changed(self, change: Change) -> Self {
        let weight = self.same.val();
        let at = (&weight.device(), weight.dtype());
        match change {
            Change::Wider => self.with_matrix([4, 9], 0.6),
            Change::Narrower => self.with_matrix([4, 5], 0.6),
            Change::Transposed => self.with_matrix([8, 4], 0.6),
            Change::Remade => self.with_matrix([4, 8], 0.6),
            Change::Removed => Self {
                extra: None,
                ..self
            },
            Change::Added => Self {
                extra: Some(weights([2, 3, 2], 0.7, at)),
                ..self
            },
            Change::Renewed => self.rebuilt(),
        }
    }

    /// A model with the same weights and new identities, as a program that starts again makes it.
    pub fn rebuilt(&self) -> Self {
        Self {
            vector: renewed(&self.vector),
            matrix: renewed(&self.matrix),
            same: renewed(&self.same),
            kernel: renewed(&self.kernel),
            extra: self.extra.as_ref().map(renewed),
        }
    }

    /// The weights of the parameter at a path, read back; nothing where there is none.
    pub fn values_at(&self, path: &str) -> Vec<f64> {
        match path {
            "vector" => host(&self.vector),
            "matrix" => host(&self.matrix),
            "same" => host(&self.same),
            "kernel" => host(&self.kernel),
            _ => self.extra.as_ref().map(host).unwrap_or_default(),
        }
    }

    /// All weights, read back.
    pub fn values(&self) -> Vec<f64> {
        PATHS.iter().flat_map(|path| self.values_at(path)).collect()
    }
}

/// Half the squared distance of `tanh` of the scaled weights from targets, summed over all elements.
/// Every batch has its own scales and targets. With outputs and a criterion it is the mean over all
/// elements instead, in which the size of one layer is in the gradient of all.
#[derive(Debug)]
pub struct Targets {
    step: usize,
    supervised: bool,
    criterion: Criterion,
}

impl Targets {
    /// The batch of a step, for a model of these shapes; with outputs and a criterion where that is
    /// asked for.
    pub fn new(model: &Layers, step: usize, supervised: bool) -> Self {
        let (_, targets): (Vec<_>, Vec<_>) = terms(model, step).into_iter().unzip();
        Self {
            step,
            supervised,
            criterion: Criterion::mse(Tensor::cat(targets, 1)),
        }
    }
}

/// Outputs and targets of a parameter, `[1, n]`.
fn term<const D: usize>(param: &Param<Tensor<D>>, step: usize, place: f64) -> [Tensor<2>; 2] {
    let weight = param.val();
    let (n, at) = (
        weight.shape().num_elements(),
        (&weight.device(), weight.dtype()),
    );
    let numbers = |phase: f64| {
        let data = TensorData::new(wave(n, phase + place), [1, n]);
        Tensor::<2>::from_data(data, at)
    };
    let scale = numbers(step as f64).mul_scalar(0.5).add_scalar(1.0);
    let target = numbers(step as f64 + 0.37).mul_scalar(0.5);
    [tanh(weight.reshape([1, n]) * scale), target]
}

fn terms(model: &Layers, step: usize) -> Vec<(Tensor<2>, Tensor<2>)> {
    let mut terms = vec![
        term(&model.vector, step, 0.11),
        term(&model.matrix, step, 0.12),
        term(&model.same, step, 0.13),
        term(&model.kernel, step, 0.14),
    ];
    terms.extend(model.extra.as_ref().map(|extra| term(extra, step, 0.15)));
    terms
        .into_iter()
        .map(|[outputs, targets]| (outputs, targets))
        .collect()
}

impl Objective<Layers> for Targets {
    fn loss(&self, model: &Layers) -> Result<Tensor<1>, ObjectiveError> {
        if self.supervised {
            let loss = self.criterion.loss(self.outputs(model));
            return loss.map_err(|error| ObjectiveError::new(error.to_string()));
        }
        let parts = terms(model, self.step).into_iter();
        let parts = parts.map(|(outputs, targets)| (outputs - targets).square().sum());
        let loss = parts.reduce(|sum, part| sum + part);
        loss.map(|loss| loss.mul_scalar(0.5))
            .ok_or_else(|| ObjectiveError::new("a model without parameters"))
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<Layers>> {
        self.supervised.then_some(self as _)
    }

    fn draw(&self, number: u64) -> Option<Result<Box<dyn Objective<Layers>>, ObjectiveError>> {
        Some(Ok(Box::new(Self {
            step: self.step + 100 * (number as usize + 1),
            supervised: false,
            criterion: self.criterion.clone(),
        })))
    }
}

impl SupervisedObjective<Layers> for Targets {
    fn outputs(&self, model: &Layers) -> Tensor<2> {
        let outputs = terms(model, self.step).into_iter();
        Tensor::cat(outputs.map(|(outputs, _)| outputs).collect(), 1)
    }

    fn criterion(&self) -> &Criterion {
        &self.criterion
    }
}
