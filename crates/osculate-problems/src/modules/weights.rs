use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

/// Draws every weight anew on the host, so that a seed gives the same network on every backend.
///
/// Weights of rank 2 and above are normal with variance `1 / fan_in`; biases become zero; other
/// vectors, such as the scales of a norm layer and its running statistics, stay as they are.
pub fn seeded<M: Module>(module: M, seed: u64) -> M {
    module.map(&mut Seeder {
        rng: ChaCha8Rng::seed_from_u64(seed),
        path: Vec::new(),
    })
}

struct Seeder {
    rng: ChaCha8Rng,
    path: Vec<String>,
}

impl ModuleMapper for Seeder {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let dims = tensor.dims();
        let bias = self.path.last().is_some_and(|name| name == "bias");
        if D < 2 && !bias {
            return Param::from_mapped_value(id, tensor, mapper);
        }
        let n: usize = dims.iter().product();
        let values: Vec<f32> = if bias {
            vec![0.0; n]
        } else {
            // Linear weights are [in, out], convolutions [out, in, ...].
            let fan_in = if D == 2 { dims[0] } else { n / dims[0] };
            let scale = (fan_in as f64).sqrt().recip();
            (0..n)
                .map(|_| (scale * self.rng.sample::<f64, _>(StandardNormal)) as f32)
                .collect()
        };
        let at = (&tensor.device(), tensor.dtype());
        let drawn = Tensor::<D>::from_data(TensorData::new(values, dims), at);
        let drawn = drawn.set_require_grad(tensor.is_require_grad());
        Param::from_mapped_value(id, drawn, mapper)
    }
}

/// Labels `0, 7, 14, ..`, modulo the number of classes.
pub fn cycled_labels(n: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = (0..n).map(|i| (i * 7 % classes) as i64).collect();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Converts every float tensor of a module, running statistics included.
pub fn cast<M: Module>(module: M, dtype: DType) -> M {
    module.map(&mut Caster(dtype))
}

struct Caster(DType);

impl ModuleMapper for Caster {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (active, tracked) = (tensor.is_require_grad(), tensor.is_autodiff());
        let mut converted = tensor.inner().cast(self.0);
        if tracked {
            converted = converted.autodiff().set_require_grad(active);
        }
        Param::from_mapped_value(id, converted, mapper)
    }
}
