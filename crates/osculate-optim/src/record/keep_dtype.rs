use burn::optim::momentum::MomentumState;
use burn::optim::{
    Adam, AdamState, AdamW, AdamWState, AdaptiveMomentumState, LearningRate, Lion, LionState,
    Optimizer, RecordState, Sgd, SgdState, StateSink, StateSource, join_path,
};
use burn::tensor::{Device, Tensor};

/// A burn optimizer whose saved state keeps its element types.
///
/// burn 0.22.1 reloads optimizer state as the device's default type, so the moments of an `F64` or
/// `BF16` model come back as `F32`. Wrapped in `KeepDtype` the optimizer makes the same steps, and
/// its records restore bit for bit. It is needed only where the model's type is not the device's
/// default; without it [`load_record`](crate::StatefulOptimizer::load_record) refuses such a record
/// rather than round it.
///
/// ```
/// use burn::optim::{AdamWConfig, ModuleOptimizer};
/// use osculate_optim::{Driver, KeepDtype, StatefulOptimizer};
/// let base = ModuleOptimizer::from(KeepDtype(AdamWConfig::new().build()));
/// let optimizer = Driver::from(base);
/// assert_eq!(optimizer.name(), "first-order");
/// ```
#[derive(Debug, Clone)]
pub struct KeepDtype<O>(pub O);

/// A burn optimizer whose state can be rebuilt with its element types.
///
/// Implemented for [`AdamW`], [`Adam`], [`Sgd`] and [`Lion`].
pub trait KeptState: Optimizer {
    /// Rebuilds what [`RecordState::state_flatten`] wrote, or `None` where an entry is missing.
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<Self::State<D>>;
}

impl<O: KeptState> Optimizer for KeepDtype<O> {
    type State<const D: usize> = Kept<O, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let (tensor, state) = self.0.step(lr, tensor, grad, state.map(|kept| kept.0));
        (tensor, state.map(Kept))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Kept(O::to_device(state.0, device))
    }
}

/// The state of an optimizer inside [`KeepDtype`].
pub struct Kept<O: Optimizer, const D: usize>(O::State<D>);

impl<O: Optimizer, const D: usize> Clone for Kept<O, D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<O: KeptState, const D: usize> RecordState for Kept<O, D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.0.state_flatten(prefix, out);
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        O::unflatten(prefix, src, device).map(Self)
    }
}

fn tensor<const D: usize>(
    prefix: &str,
    leaf: &str,
    source: &mut StateSource,
    device: &Device,
) -> Option<Tensor<D>> {
    let data = source.take_tensor(prefix, leaf)?;
    let dtype = data.dtype();
    Some(Tensor::from_data(data, (device, dtype)))
}

fn adaptive_momentum<const D: usize>(
    prefix: &str,
    source: &mut StateSource,
    device: &Device,
) -> Option<AdaptiveMomentumState<D>> {
    let prefix = join_path(prefix, "momentum");
    let time = usize::try_from(source.take_scalar(&prefix, "time")?).ok()?;
    let moment_1 = tensor(&prefix, "moment_1", source, device)?;
    let moment_2 = tensor(&prefix, "moment_2", source, device)?;
    let mut state = AdaptiveMomentumState::new(time, moment_1, moment_2);
    state.max_moment_2 = tensor(&prefix, "max_moment_2", source, device);
    Some(state)
}

impl KeptState for AdamW {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<AdamWState<D>> {
        adaptive_momentum(prefix, source, device).map(AdamWState::new)
    }
}

impl KeptState for Adam {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<AdamState<D>> {
        adaptive_momentum(prefix, source, device).map(AdamState::new)
    }
}

impl KeptState for Sgd {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<SgdState<D>> {
        // Without momentum there is nothing to keep.
        let velocity = tensor(&join_path(prefix, "momentum"), "velocity", source, device);
        Some(SgdState::new(velocity.map(MomentumState::new)))
    }
}

impl KeptState for Lion {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<LionState<D>> {
        tensor(prefix, "momentum", source, device).map(LionState::new)
    }
}
