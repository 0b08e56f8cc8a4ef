//! Devices whose default types are set once, and what is asserted of every network.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, DeviceConfig, FloatDType, Int, Tensor, TensorData};
use osculate_curvature::{
    Batched, CurvatureOperator, GradientOracle, HutchinsonConfig, LanczosConfig, Objective,
    ParamVec, Provenance, Tensors, hutchinson_trace, lanczos,
};

use crate::checks::{assert_exact, exact};
use crate::models::fill;

/// The generator, for one test at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Flex, where tensors are `f64` unless something else is asked for.
pub fn double() -> Device {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        Device::flex()
            .configure(DeviceConfig::default().float_dtype(FloatDType::F64))
            .unwrap();
    });
    Device::flex().autodiff()
}

/// ndarray, where tensors are `f32`.
#[expect(
    deprecated,
    reason = "ndarray is the second backend that runs without an accelerator"
)]
pub fn single() -> Device {
    Device::ndarray().autodiff()
}

/// The default type of a device.
pub fn dtype(device: &Device) -> DType {
    device.settings().float_dtype.into()
}

/// Deterministic numbers in -1..1, in the device's default type.
pub fn numbers<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    crate::checks::tensor(shape, seed, device, dtype(device))
}

/// Deterministic integers below `limit`.
pub fn integers<const D: usize>(
    shape: [usize; D],
    limit: usize,
    seed: usize,
    device: &Device,
) -> Tensor<D, Int> {
    let n = shape.iter().product();
    let values: Vec<i64> = (0..n)
        .map(|k| ((k * (seed + 5) + k / 3 + seed) % limit) as i64)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Exact products in `f64`, and spectra and traces in `f32` that agree with them.
pub fn holds<M, I, F>(
    what: &str,
    make: impl Fn(&Device) -> M,
    inputs: impl Fn(&Device) -> I,
    loss: F,
) where
    M: Module,
    I: Tensors,
    F: Fn(&M, &I) -> Tensor<1> + Copy,
{
    let device = double();
    let model = fill(make(&device), DType::F64);
    let objective = Batched::new(inputs(&device), loss);
    assert_exact(what, &model, &objective);
    assert_statistics(what, &model, &objective);
    let double = summary(what, &model, &objective);

    let device = single();
    let model = fill(make(&device), DType::F32);
    let single = summary(what, &model, &Batched::new(inputs(&device), loss));
    let size = double.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    for (single, double) in single.iter().zip(&double) {
        assert!(
            (single - double).abs() <= 1e-3 * size,
            "{what}: {single} in single precision, {double} in double"
        );
    }
}

/// The largest eigenvalues and the estimated trace.
fn summary<M: Module>(what: &str, model: &M, objective: &dyn Objective<M>) -> Vec<f64> {
    let oracle = GradientOracle::new(model, objective).with_seed(5);
    let hessian = exact(&oracle);
    let config = LanczosConfig {
        largest: 2,
        tolerance: 1e-4,
        steps: 80,
        ..LanczosConfig::default()
    };
    let spectrum = lanczos(&hessian, &config).unwrap();
    let config = HutchinsonConfig {
        probes: 4,
        ..HutchinsonConfig::default()
    };
    let trace = hutchinson_trace(&hessian, &config).unwrap();
    assert_eq!(spectrum.provenance, Provenance::Exact, "{what}");
    assert_eq!(trace.provenance, Provenance::Exact, "{what}");
    assert!(spectrum.converged, "{what}: {spectrum:?}");
    let values = spectrum.largest.iter().map(|pair| pair.value);
    values.chain([trace.value]).collect()
}

/// Running statistics: after products, those of one pass.
fn assert_statistics<M: Module>(what: &str, model: &M, objective: &dyn Objective<M>) {
    let before = statistics(model);
    let oracle = GradientOracle::new(model, objective);
    let hessian = exact(&oracle);
    let v = ParamVec::gaussian(&hessian.layout(), 1);
    hessian.apply(&v).unwrap();
    assert_eq!(statistics(model), before, "{what}");
    let after = statistics(&oracle.into_model().unwrap());
    let once = GradientOracle::new(model, objective);
    once.clean().unwrap();
    assert_eq!(after, statistics(&once.into_model().unwrap()), "{what}");
    assert_eq!(after != before, !before.is_empty(), "{what}");
}

/// Running means and variances of a module's batch normalisation, as they stand in its record.
pub fn statistics<M: Module>(model: &M) -> Vec<f64> {
    struct Read {
        path: Vec<String>,
        values: Vec<f64>,
    }
    impl ModuleVisitor for Read {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self
                .path
                .last()
                .is_some_and(|name| name.starts_with("running"))
            {
                self.values.extend(param.val().into_data().iter::<f64>());
            }
        }
    }
    // Evaluation mode applies what the layers hold back.
    let mut read = Read {
        path: Vec::new(),
        values: Vec::new(),
    };
    model.valid().visit(&mut read);
    read.values
}
