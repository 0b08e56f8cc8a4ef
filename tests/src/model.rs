//! A small model with parameters of ranks 1 to 4, and the objectives that the suites put on it.

use burn::module::{Module, Param};
use burn::tensor::activation::tanh;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use osculate_curvature::{
    Criterion, Objective, ObjectiveError, ParamLayout, ParamVec, SupervisedObjective, assign,
};

/// Classes of the model's outputs.
const CLASSES: usize = 4;
/// Features of the model's inputs.
const FEATURES: usize = 3;
/// Samples in a batch.
const ROWS: usize = 6;

/// Four weights of twelve elements each, of ranks 1 to 4, whose sum maps features to logits.
#[derive(Module, Debug)]
pub struct Ranked {
    /// Rank 1.
    pub rank1: Param<Tensor<1>>,
    /// Rank 2.
    pub rank2: Param<Tensor<2>>,
    /// Rank 3.
    pub rank3: Param<Tensor<3>>,
    /// Rank 4.
    pub rank4: Param<Tensor<4>>,
}

/// Deterministic numbers between -1 and 1.
pub fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n)
        .map(|i| ((i as f64 + 1.0) * 12.9898 + phase * 78.233).sin())
        .collect()
}

/// `n` labels that run through `classes`.
pub fn labels(n: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = (0..n).map(|row| (row % classes) as i64).collect();
    Tensor::from_data(TensorData::new(labels, [n]), device)
}

fn weights<const D: usize>(
    shape: [usize; D],
    phase: f64,
    at: (&Device, DType),
) -> Param<Tensor<D>> {
    let n = shape.iter().product();
    let tensor = Tensor::<D>::from_data(TensorData::new(wave(n, phase), shape), at);
    Param::initialized(burn::module::ParamId::new(), tensor.require_grad())
}

impl Ranked {
    /// The model with fixed weights.
    pub fn new(device: &Device, dtype: DType) -> Self {
        let at = (device, dtype);
        Self {
            rank1: weights([12], 0.1, at),
            rank2: weights([3, 4], 0.2, at),
            rank3: weights([2, 3, 2], 0.3, at),
            rank4: weights([1, 3, 2, 2], 0.4, at),
        }
    }

    /// A model with the same weights and new identities, as a program that starts again makes it.
    pub fn rebuilt(&self, device: &Device, dtype: DType) -> Self {
        let layout = self.layout();
        let values = ParamVec::of_module(self, &layout);
        assign(Self::new(device, dtype), &values)
    }

    fn layout(&self) -> std::sync::Arc<ParamLayout> {
        let loss = |model: &Self| model.logits(features(&model.rank1.val())).sum();
        let oracle = osculate_curvature::GradientOracle::new(self, &loss);
        oracle.layout().expect("every parameter has a gradient")
    }

    fn matrices(&self) -> [Tensor<2>; 4] {
        [
            self.rank1.val().reshape([FEATURES, CLASSES]),
            self.rank2.val(),
            self.rank3.val().reshape([FEATURES, CLASSES]),
            self.rank4.val().reshape([FEATURES, CLASSES]),
        ]
    }

    /// Logits of shape `[rows, classes]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.matrices()
            .into_iter()
            .enumerate()
            .map(|(index, matrix)| {
                let scaled = features.clone().mul_scalar(0.5 + index as f64 * 0.25);
                // One path is not linear, so that the Hessian is not the Gauss-Newton matrix.
                if index == 0 {
                    tanh(scaled.matmul(matrix))
                } else {
                    scaled.matmul(matrix)
                }
            })
            .reduce(|sum, part| sum + part)
            .expect("there are four matrices")
    }

    /// All weights, read back in `f64`.
    pub fn values(&self) -> Vec<f64> {
        let host = |data: TensorData| data.iter::<f64>().collect::<Vec<_>>();
        [
            host(self.rank1.val().into_data()),
            host(self.rank2.val().into_data()),
            host(self.rank3.val().into_data()),
            host(self.rank4.val().into_data()),
        ]
        .concat()
    }

    /// The weights of the parameter of a rank, read back in `f64`.
    pub fn values_of_rank(&self, rank: usize) -> Vec<f64> {
        self.values()[(rank - 1) * 12..rank * 12].to_vec()
    }
}

fn features(like: &Tensor<1>) -> Tensor<2> {
    let data = TensorData::new(wave(ROWS * FEATURES, 0.9), [ROWS, FEATURES]);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every gradient is zero.
    Zero,
    /// Every gradient is of the size 1e-20.
    Tiny,
    /// Every gradient is of the size 1e15.
    Huge,
    /// One element of the parameter of this rank has a gradient of 1e15.
    Spike(usize),
    /// One element of the parameter of this rank has a gradient that is not a number.
    Nan(usize),
    /// One element of the parameter of this rank has an infinite gradient.
    Inf(usize),
    /// The parameter of this rank takes no part in the loss.
    Missing(usize),
}

impl Fault {
    /// The rank that the fault is about.
    pub fn rank(self) -> Option<usize> {
        match self {
            Fault::Spike(rank) | Fault::Nan(rank) | Fault::Inf(rank) | Fault::Missing(rank) => {
                Some(rank)
            }
            _ => None,
        }
    }
}

/// A loss on the batch number `step`, as a plain loss or as outputs and criterion.
#[derive(Debug, Clone)]
pub struct Batch {
    step: usize,
    features: Tensor<2>,
    criterion: Criterion,
    supervised: bool,
    fault: Fault,
}

impl Batch {
    /// The batch of a step. All steps have different features and labels.
    pub fn new(model: &Ranked, step: usize, supervised: bool, fault: Fault) -> Self {
        let weight = model.rank1.val();
        Self::on((&weight.device(), weight.dtype()), step, supervised, fault)
    }

    fn on(at: (&Device, DType), step: usize, supervised: bool, fault: Fault) -> Self {
        let data = wave(ROWS * FEATURES, step as f64);
        let features = Tensor::from_data(TensorData::new(data, [ROWS, FEATURES]), at);
        let labels: Vec<i64> = (0..ROWS)
            .map(|row| ((row * 7 + step) % CLASSES) as i64)
            .collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(labels, [ROWS]), at.0);
        Self {
            step,
            features,
            criterion: Criterion::cross_entropy(targets),
            supervised,
            fault,
        }
    }

    /// The gradient that the fault adds to the parameter of its rank.
    fn injected(&self) -> Option<f64> {
        match self.fault {
            Fault::Spike(_) => Some(1e15),
            Fault::Nan(_) => Some(f64::NAN),
            Fault::Inf(_) => Some(f64::INFINITY),
            _ => None,
        }
    }
}

impl SupervisedObjective<Ranked> for Batch {
    // The faults of a supervised batch are in its features, as they would be in real data.
    fn outputs(&self, model: &Ranked) -> Tensor<2> {
        let features = self.features.clone();
        let features = match (self.fault, self.injected()) {
            (Fault::Zero, _) => features.mul_scalar(0.0),
            (Fault::Tiny, _) => features.mul_scalar(1e-20),
            (Fault::Huge, _) => features.mul_scalar(1e15),
            (_, Some(value)) => features.slice_fill([0..1, 0..1], value),
            _ => features,
        };
        model.logits(features)
    }

    fn criterion(&self) -> &Criterion {
        &self.criterion
    }
}

impl Objective<Ranked> for Batch {
    fn loss(&self, model: &Ranked) -> Result<Tensor<1>, ObjectiveError> {
        let mut model = model.clone();
        match self.fault {
            Fault::Missing(1) => model.rank1 = constant(&model.rank1),
            Fault::Missing(2) => model.rank2 = constant(&model.rank2),
            Fault::Missing(3) => model.rank3 = constant(&model.rank3),
            Fault::Missing(4) => model.rank4 = constant(&model.rank4),
            _ => {}
        }
        let outputs = model.logits(self.features.clone());
        let loss = self
            .criterion
            .loss(outputs)
            .map_err(|error| ObjectiveError::new(error.to_string()))?;
        let loss = match self.fault {
            Fault::Zero => loss.mul_scalar(0.0),
            Fault::Tiny => loss.mul_scalar(1e-20),
            Fault::Huge => loss.mul_scalar(1e15),
            _ => loss,
        };
        let (Some(value), Some(rank)) = (self.injected(), self.fault.rank()) else {
            return Ok(loss);
        };
        // A term that is linear in one element adds its factor to that element's gradient alone.
        let matrix = model.matrices()[rank - 1].clone();
        let mask = matrix.zeros_like().slice_fill([1..2, 2..3], value);
        let picked = matrix.slice([1..2, 2..3]) * mask.slice([1..2, 2..3]);
        Ok(loss + picked.sum())
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<Ranked>> {
        self.supervised.then_some(self as _)
    }

    // Those of other steps, with the same fault.
    fn draw(&self, number: u64) -> Option<Result<Box<dyn Objective<Ranked>>, ObjectiveError>> {
        let at = (&self.features.device(), self.features.dtype());
        let step = self.step + 100 * (number as usize + 1);
        let drawn = Self::on(at, step, self.supervised, self.fault);
        Some(Ok(Box::new(drawn)))
    }
}

fn constant<const D: usize>(param: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    Param::initialized(param.id, param.val().detach())
}
