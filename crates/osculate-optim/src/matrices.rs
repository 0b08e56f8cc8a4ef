//! Matrices and the rest in burn's own loop.

use burn::module::{Module, ParamGroup};
use burn::optim::{LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

use crate::parameter::ParameterTable;

/// The parameters of rank 2 and more of a module, as a group for `ModuleOptimizer::with_group`.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::{AdamWConfig, ModuleOptimizer};
/// use burn::tensor::Device;
/// use osculate_optim::{MuonConfig, PerParameter, ScaledLr, matrices_of};
///
/// let model: Linear = LinearConfig::new(4, 3).init(&Device::flex().autodiff());
/// let optimizer = ModuleOptimizer::from(ScaledLr::new(AdamWConfig::new().build(), 0.05))
///     .with_group(matrices_of(&model), PerParameter::new(MuonConfig::new().rule()?)?, None);
/// assert!(!optimizer.has_gradient_clipping());
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
pub fn matrices_of<M: Module>(module: &M) -> ParamGroup {
    let parameters = ParameterTable::of(module).entries.into_iter();
    let matrices = parameters.filter(|(_, parameter)| parameter.rank() >= 2);
    let paths = matrices.map(|(_, parameter)| parameter.path.to_string());
    ParamGroup::from_paths(paths.collect())
}

/// A burn optimizer that is given a multiple of the learning rate: for groups whose optimizers need
/// rates of different sizes under one schedule.
#[derive(Debug, Clone)]
pub struct ScaledLr<O> {
    optimizer: O,
    factor: f64,
}

impl<O> ScaledLr<O> {
    /// Multiplies the learning rate of `optimizer` by `factor`.
    pub fn new(optimizer: O, factor: f64) -> Self {
        Self { optimizer, factor }
    }
}

impl<O: Optimizer> Optimizer for ScaledLr<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        self.optimizer.step(lr * self.factor, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        O::to_device(state, device)
    }
}
