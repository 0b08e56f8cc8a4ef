//! PSGD and Muon over 50 fixed gradients, against `oracles/matrix_traces.py`.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::{
    ClosureOptimizer, Driver, MuonConfig, MuonOrthogonalizer, PsgdDenseConfig, PsgdDiagonalConfig,
    PsgdFit, PsgdGeometry, PsgdKronConfig, PsgdLraConfig, SpectralNorm, StateRecord,
    StatefulOptimizer,
};
use osculate_tests::on_every_backend;
use osculate_tests::single::record_with;

const STEPS: usize = 50;
const KEPT: [usize; 4] = [0, 9, 24, 49];
const LR: f64 = 0.02;
const DECAY: f64 = 0.1;
const MATRIX: [usize; 2] = [4, 6];
const TENSOR: [usize; 3] = [2, 3, 4];
const VECTOR: [usize; 1] = [5];

type Traces = BTreeMap<String, Vec<Vec<f64>>>;

fn wave(n: usize, phase: f64) -> Vec<f64> {
    (1..=n)
        .map(|i| {
            let x = (i as f64 * 12.9898 + phase * 78.233).sin() * 43_758.545_3;
            2.0 * (x - x.floor()) - 1.0
        })
        .collect()
}

fn gradient(n: usize, step: usize) -> Vec<f64> {
    let fast = wave(n, step as f64 + 1.0);
    let slow = wave(n, 0.5);
    let pairs = fast.into_iter().zip(slow).enumerate();
    pairs
        .map(|(i, (fast, slow))| (fast + 0.5 * slow) * (1 + i % 3) as f64)
        .collect()
}

fn probe(n: usize, step: u64) -> Vec<f64> {
    let wave = wave(n, 0.25 + step as f64);
    wave.into_iter()
        .map(|x| if x >= 0.0 { 1.0 } else { -1.0 })
        .collect()
}

/// The parameters of all traces at once.
#[derive(Module, Debug)]
struct Net {
    matrix: Param<Tensor<2>>,
    tensor: Param<Tensor<3>>,
    vector: Param<Tensor<1>>,
}

fn param<const D: usize>(shape: [usize; D], at: (&Device, DType)) -> Param<Tensor<D>> {
    let values = wave(shape.iter().product(), 0.75);
    let tensor = Tensor::<D>::from_data(TensorData::new(values, shape), at);
    Param::initialized(ParamId::new(), tensor.require_grad())
}

impl Net {
    fn new(at: (&Device, DType)) -> Self {
        Self {
            matrix: param(MATRIX, at),
            tensor: param(TENSOR, at),
            vector: param(VECTOR, at),
        }
    }

    fn loss(&self, step: usize) -> Tensor<1> {
        let part = |flat: Tensor<1>| {
            let n = flat.dims()[0];
            let data = TensorData::new(gradient(n, step), [n]);
            let gradient = Tensor::<1>::from_data(data, (&flat.device(), flat.dtype()));
            (flat * gradient).sum()
        };
        part(self.matrix.val().flatten(0, 1))
            + part(self.tensor.val().flatten(0, 2))
            + part(self.vector.val())
    }

    fn values(&self) -> [(&'static str, Vec<f64>); 3] {
        let host = |data: TensorData| data.iter::<f64>().collect::<Vec<_>>();
        [
            ("matrix", host(self.matrix.val().into_data())),
            ("tensor", host(self.tensor.val().into_data())),
            ("vector", host(self.vector.val().into_data())),
        ]
    }
}

fn expected() -> Traces {
    serde_json::from_str(include_str!("../../data/matrix_traces.json")).expect("valid JSON")
}

/// A run's distance from a trace is at most this, relative to numbers of about 1.
fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-9 } else { 1e-4 }
}

fn compare(name: &str, net: &Net, kept: usize, dtype: DType, tolerance: f64) {
    let traces = expected();
    for (kind, got) in net.values() {
        let want = &traces[&format!("{name}.{kind}")][kept];
        for (got, want) in got.iter().zip(want) {
            assert!(
                (got - want).abs() <= tolerance,
                "{name}.{kind}, step {}, {dtype:?}: {got} instead of {want}",
                KEPT[kept] + 1
            );
        }
    }
}

fn by_closure(name: &str, mut optimizer: Driver, at: (&Device, DType), tolerance: f64) {
    let mut net = Net::new(at);
    for step in 0..STEPS {
        let loss = |net: &Net| net.loss(step);
        net = optimizer.step(LR, net, &loss).expect("a step").model;
        if let Some(kept) = KEPT.iter().position(|&kept| kept == step) {
            compare(name, &net, kept, at.1, tolerance);
        }
    }
}

fn by_burn(name: &str, mut optimizer: ModuleOptimizer, at: (&Device, DType), tolerance: f64) {
    let mut net = Net::new(at);
    for step in 0..STEPS {
        let gradients = GradientsParams::from_grads(net.loss(step).backward(), &net);
        net = optimizer.step(LR, net, gradients);
        if let Some(kept) = KEPT.iter().position(|&kept| kept == step) {
            compare(name, &net, kept, at.1, tolerance);
        }
    }
}

macro_rules! trace {
    ($name:ident, $config:expr) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                let config = $config;
                let (name, at, tolerance) = (stringify!($name), (device, dtype), tolerance(dtype));
                by_closure(name, config.init().expect("valid"), at, tolerance);
                by_burn(
                    name,
                    config.module_optimizer(&Net::new(at)).expect("valid"),
                    at,
                    tolerance,
                );
            });
        }
    };
}

fn kron() -> PsgdKronConfig {
    PsgdKronConfig::new()
        .with_lr_preconditioner(0.1)
        .with_damping(0.0)
        .with_weight_decay(DECAY)
        .with_norm(SpectralNorm::Exact)
}

trace!(kron_quad, kron());
trace!(kron_q05eq15, kron().with_geometry(PsgdGeometry::Q05Eq15));
trace!(kron_without_momentum, kron().with_momentum(0.0));
trace!(
    dense,
    PsgdDenseConfig::new()
        .with_fit(PsgdFit::Whitening)
        .with_damping(0.0)
        .with_weight_decay(DECAY)
);
trace!(
    diagonal,
    PsgdDiagonalConfig::new()
        .with_damping(0.0)
        .with_weight_decay(DECAY)
);
trace!(
    muon,
    MuonConfig::new()
        .with_iterations(16)
        .with_weight_decay(DECAY)
);
trace!(
    muon_newton_schulz,
    MuonConfig::new()
        .with_orthogonalizer(MuonOrthogonalizer::NewtonSchulz)
        .with_weight_decay(DECAY)
);

mod low_rank {
    use super::*;

    const RANK: usize = 3;

    /// A record with the trace's `U` and `V`.
    fn first_state(dtype: DType) -> StateRecord {
        let mut tensors = Vec::new();
        let mut counts = vec![("next_slot".to_string(), 3), ("steps".to_string(), 0)];
        let sizes = [("matrix", 24), ("tensor", 24), ("vector", 5)];
        for (slot, (path, n)) in sizes.into_iter().enumerate() {
            counts.push((format!("{path}#slot"), slot as u64));
            counts.push((format!("{path}#steps"), 0));
            for (field, values) in [
                ("d", vec![1.0; n]),
                ("u", wave(n * RANK, 0.1).iter().map(|x| 0.1 * x).collect()),
                ("v", wave(n * RANK, 0.2).iter().map(|x| 0.1 * x).collect()),
                ("lipschitz", vec![0.0; 3]),
                ("m", vec![0.0; n]),
                ("count", vec![0.0]),
            ] {
                tensors.push((format!("{path}#0.{field}"), values));
            }
        }
        // At a count of zero a first scale is added to `d`; the optimizer's is too small to matter.
        record_with("psgd-lra", tensors, counts, dtype)
    }

    on_every_backend!(|device: &Device, dtype: DType| {
        let optimizer = PsgdLraConfig::new()
            .with_rank(RANK)
            .with_damping(0.0)
            .with_init_scale(Some(f64::MIN_POSITIVE))
            .with_weight_decay(DECAY)
            .rule()
            .expect("valid")
            .with_probes(Arc::new(|_: &_, step: u64, n: usize| probe(n, step)));
        let mut optimizer = Driver::of_blocks(optimizer);
        optimizer.load_record(first_state(dtype)).expect("a record");
        by_closure("low_rank", optimizer, (device, dtype), tolerance(dtype));
    });
}
