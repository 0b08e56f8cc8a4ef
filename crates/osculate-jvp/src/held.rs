//! Modules as inputs of a recorded function.

use std::collections::HashMap;
use std::ops::Deref;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Bool, Device, Int, Tensor};

use crate::placeholder::is_recorded;
use crate::tensors::{AnyTensor, Tensors};

/// A module that is handed over as an input and not trained: the critic that a generator is trained
/// against, a teacher, a moving average of the weights.
///
/// It is a copy in evaluation mode, without autodiff and with running statistics of its own:
/// evaluations neither move them nor draw dropout masks in it, and nothing is differentiated by its
/// parameters. What it is applied to stays connected to autodiff.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation::tanh};
/// use osculate_jvp::{Held, Program};
///
/// let device = Device::flex().autodiff();
/// let generator: Linear = LinearConfig::new(2, 3).init(&device);
/// let critic: Linear = LinearConfig::new(3, 1).init(&device);
/// let latent = Tensor::<2>::ones([4, 2], &device);
/// let inputs = (latent, Held::new(&critic));
/// let program = Program::record(&generator, &inputs, |generator: &Linear, (latent, critic)| {
///     critic.forward(tanh(generator.forward(latent.clone()))).mean()
/// })?;
/// assert_eq!(program.inputs().len(), 3);
/// # Ok::<(), osculate_jvp::JvpError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Held<M>(M);

impl<M: Module> Held<M> {
    /// A copy of `module` in evaluation mode. The weights are shared, not copied.
    pub fn new(module: &M) -> Self {
        Self(module.valid())
    }
}

impl<M> Deref for Held<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M: Module> Tensors for Held<M> {
    fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
        let mut mapper = Mapper {
            f,
            made: HashMap::new(),
            recording: None,
        };
        // A clone would share its running statistics, and mapping changes those in place.
        let module = self.0.valid().map(&mut mapper);
        Self(match mapper.recording {
            Some(device) => module.to_device(&device),
            None => module,
        })
    }
}

struct Mapper<'a> {
    f: &'a mut dyn FnMut(AnyTensor) -> AnyTensor,
    made: HashMap<ParamId, AnyTensor>,
    /// Where tensors that are not parameters must follow.
    recording: Option<Device>,
}

impl Mapper<'_> {
    fn map(&mut self, id: ParamId, tensor: AnyTensor) -> AnyTensor {
        if let Some(made) = self.made.get(&id) {
            return made.clone();
        }
        let made = (self.f)(tensor);
        if is_recorded(made.value()) {
            self.recording = Some(Device::new(made.dispatch_device()));
        }
        self.made.insert(id, made.clone());
        made
    }
}

macro_rules! map_kinds {
    ($($name:ident $kind:ty),*) => {$(
        fn $name<const D: usize>(
            &mut self,
            param: Param<Tensor<D, $kind>>,
        ) -> Param<Tensor<D, $kind>> {
            let (id, tensor, mapper) = param.consume();
            let made = self.map(id, tensor.into());
            Param::from_mapped_value(id, Tensor::from_dispatch(made.into_value()), mapper)
        }
    )*};
}

impl ModuleMapper for Mapper<'_> {
    map_kinds!(map_float burn::tensor::Float, map_int Int, map_bool Bool);
}
