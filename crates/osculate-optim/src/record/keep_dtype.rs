use burn::optim::momentum::MomentumState;
use burn::optim::{
    AdaGrad, AdaGradState, Adam, AdamState, AdamW, AdamWState, Adan, AdanState,
    AdaptiveMomentumState, AdaptiveNesterovMomentumState, CenteredState, Lamb, LambState,
    LearningRate, Lion, LionState, LrDecayState, Optimizer, RecordState, RmsProp,
    RmsPropMomentumState, RmsPropState, Sgd, SgdState, SquareAvgState, StateSink, StateSource,
    join_path,
};
use burn::tensor::{Device, Tensor};

/// A burn optimizer whose saved state keeps its element types.
///
/// burn 0.22.1 reloads optimizer state as the device's default type, so the moments of an `F64` model
/// come back as `F32`. Wrapped in `KeepDtype` the optimizer makes the same steps, and its records restore
/// bit for bit. It is needed only for `F64` models where `F64` is not the device's default; without it
/// the first step warns, and [`load_record`](crate::StatefulOptimizer::load_record) refuses such a record
/// rather than round it. A [`Driver`](crate::Driver) keeps the state of half-precision models in `F32`, and
/// the [registry](crate::registry) wraps burn's optimizers itself.
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
/// Implemented for [`AdaGrad`], [`Adam`], [`AdamW`], [`Adan`], [`Lamb`], [`Lion`], [`RmsProp`] and [`Sgd`].
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

impl KeptState for AdaGrad {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<AdaGradState<D>> {
        let prefix = join_path(prefix, "lr_decay");
        let time = usize::try_from(source.take_scalar(&prefix, "time")?).ok()?;
        let sum = tensor(&prefix, "sum", source, device)?;
        Some(AdaGradState::new(LrDecayState::new(time, sum)))
    }
}

impl KeptState for Adan {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<AdanState<D>> {
        let prefix = join_path(prefix, "momentum");
        let time = usize::try_from(source.take_scalar(&prefix, "time")?).ok()?;
        let mut take = |leaf| tensor(&prefix, leaf, source, device);
        Some(AdanState::new(AdaptiveNesterovMomentumState {
            time,
            exp_avg: take("exp_avg")?,
            exp_avg_sq: take("exp_avg_sq")?,
            exp_avg_diff: take("exp_avg_diff")?,
            neg_pre_grad: take("neg_pre_grad")?,
        }))
    }
}

impl KeptState for Lamb {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<LambState<D>> {
        Some(LambState {
            time: usize::try_from(source.take_scalar(prefix, "time")?).ok()?,
            moment_1: tensor(prefix, "moment_1", source, device)?,
            moment_2: tensor(prefix, "moment_2", source, device)?,
        })
    }
}

impl KeptState for RmsProp {
    fn unflatten<const D: usize>(
        prefix: &str,
        source: &mut StateSource,
        device: &Device,
    ) -> Option<RmsPropState<D>> {
        let mut take = |part, leaf| tensor(&join_path(prefix, part), leaf, source, device);
        let square_avg = SquareAvgState::new(take("square_avg", "square_avg")?);
        let centered = CenteredState::new(take("centered", "grad_avg"), take("centered", "avg")?);
        let momentum = take("momentum", "buf").map(RmsPropMomentumState::new);
        Some(RmsPropState::new(square_avg, centered, momentum))
    }
}
