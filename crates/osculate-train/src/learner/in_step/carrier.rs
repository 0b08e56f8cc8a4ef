//! A burn optimizer that changes nothing and carries another optimizer's state through burn's
//! checkpoints.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{
    GradientsParams, LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource,
};
use burn::tensor::{Device, Tensor, TensorData};
use osculate_optim::{RecordError, StateRecord, StatefulOptimizer};

/// What [`Carrier`] keeps as its state of one parameter.
#[derive(Clone)]
pub(super) enum Carried {
    /// Makes the bytes when burn saves, which is seldom.
    Live(Arc<dyn Fn() -> Vec<u8> + Send + Sync>),
    /// Bytes that burn has loaded.
    Loaded(Arc<Vec<u8>>),
}

impl Carried {
    /// An optimizer's state after so many steps.
    pub(super) fn of<O: StatefulOptimizer + Send + 'static>(optimizer: O, steps: u64) -> Self {
        let optimizer = Mutex::new(optimizer);
        Self::Live(Arc::new(move || {
            let optimizer = optimizer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = steps.to_le_bytes().to_vec();
            // burn's records cannot fail to be made, so a state that cannot be written is left out,
            // and found missing when it is loaded.
            bytes.extend(optimizer.to_record().to_bytes().unwrap_or_default());
            bytes
        }))
    }

    /// The number of steps and the state, where this was loaded.
    pub(super) fn loaded(&self) -> Option<Result<(u64, StateRecord), RecordError>> {
        let Self::Loaded(bytes) = self else {
            return None;
        };
        let (steps, state) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let state = StateRecord::from_bytes(state.to_vec());
        Some(state.map(|state| (u64::from_le_bytes(*steps), state)))
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Live(make) => make(),
            Self::Loaded(bytes) => bytes.to_vec(),
        }
    }
}

const STATE: &str = "state";

impl RecordState for Carried {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        let bytes = self.bytes();
        let length = bytes.len();
        out.push_tensor(prefix, STATE, TensorData::new(bytes, [length]));
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _device: &Device) -> Option<Self> {
        let data = src.take_tensor(prefix, STATE)?;
        Some(Self::Loaded(Arc::new(data.as_bytes().to_vec())))
    }
}

#[derive(Clone)]
pub(super) struct Carrier;

/// What is handed to the carrier for its next step, and what it had before: burn passes an optimizer
/// nothing but tensors.
#[derive(Default)]
struct Exchange {
    given: Option<Carried>,
    found: Option<Carried>,
    reached: bool,
}

thread_local! {
    static EXCHANGE: RefCell<Exchange> = RefCell::default();
}

impl Optimizer for Carrier {
    type State<const D: usize> = Carried;

    fn step<const D: usize>(
        &self,
        _lr: LearningRate,
        tensor: Tensor<D>,
        _grad: Tensor<D>,
        state: Option<Carried>,
    ) -> (Tensor<D>, Option<Carried>) {
        let kept = EXCHANGE.with_borrow_mut(|exchange| {
            exchange.reached = true;
            exchange.found.clone_from(&state);
            exchange.given.take().or(state)
        });
        (tensor, kept)
    }

    fn to_device<const D: usize>(state: Carried, _device: &Device) -> Carried {
        state
    }
}

/// The state that an optimizer carries, if it is a [`Carrier`]. A `given` one takes its place.
///
/// The first trainable parameter stands for all.
pub(super) fn exchange<M: Module>(
    carrier: &mut ModuleOptimizer,
    model: &M,
    lr: ModuleLearningRate,
    given: Option<Carried>,
) -> Exchanged {
    EXCHANGE.set(Exchange {
        given,
        ..Exchange::default()
    });
    let mut zero = Zero(GradientsParams::new());
    model.visit(&mut zero);
    // Any other optimizer would move the weight: what it makes of the model is not used.
    drop(carrier.step(lr, model.clone(), zero.0));
    let exchange = EXCHANGE.take();
    Exchanged {
        is_carrier: exchange.reached,
        found: exchange.found,
    }
}

/// The result of [`exchange`].
pub(super) struct Exchanged {
    pub(super) is_carrier: bool,
    pub(super) found: Option<Carried>,
}

/// Makes a gradient of zero for the first trainable parameter.
struct Zero(GradientsParams);

impl ModuleVisitor for Zero {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.0.is_empty() && param.is_require_grad() {
            let zero = param.val().without_autodiff().zeros_like();
            self.0.register(param.id, zero);
        }
    }
}
