//! Damaged and foreign states of optimizers: never a panic, and a model that is not touched where a state
//! is refused. `PROPTEST_CASES` makes it longer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../crates/osculate-train/tests/common/mutate.rs"]
mod mutate;

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use burn_pack::{Reader, Scalar, Writer};
use mutate::{changed, changes};
use osculate_curvature::{Criterion, Drawing, Objective, SupervisedBatch};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{ClosureOptimizer, Driver, StateRecord, StatefulOptimizer};
use osculate_tests::model::wave;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Module, Debug)]
struct Net {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Net {
    fn new() -> Self {
        fn param<const D: usize>(shape: [usize; D], at: &Device) -> Param<Tensor<D>> {
            let n = shape.iter().product();
            let data = TensorData::new(wave(n, n as f64), shape);
            let tensor = Tensor::<D>::from_data(data, (at, DType::F32));
            Param::initialized(ParamId::new(), tensor.require_grad())
        }
        let device = Device::flex().autodiff();
        Self {
            weight: param([3, 2], &device),
            bias: param([2], &device),
        }
    }

    fn values(&self) -> Vec<f64> {
        let parts = [self.weight.val().into_data(), self.bias.val().into_data()];
        parts.iter().flat_map(|part| part.iter::<f64>()).collect()
    }
}

fn batch() -> Drawing<'static, Net> {
    fn one() -> impl Objective<Net> + 'static {
        let at = (&Device::flex(), DType::F32);
        let inputs = TensorData::new(wave(12, 0.4), [4, 3]);
        // Classes, not numbers: the orthogonal gradient refuses a squared error.
        let classes = osculate_tests::model::labels(4, 2, &Device::flex());
        SupervisedBatch::new(
            Tensor::<2>::from_data(inputs, at),
            |net: &Net, x: &Tensor<2>| {
                x.clone().matmul(net.weight.val()) + net.bias.val().unsqueeze::<2>()
            },
            Criterion::cross_entropy(classes),
        )
    }
    Drawing::new(Box::new(one()), |_| Ok(Box::new(one())))
}

fn optimizer(kind: OptimizerKind) -> Driver {
    OptimizerSpec::new(kind).build(1).unwrap()
}

/// A state of two steps of each optimizer.
static STATES: LazyLock<Vec<(OptimizerKind, Vec<u8>)>> = LazyLock::new(|| {
    let states = OptimizerKind::all().into_iter().map(|kind| {
        let (mut optimizer, mut model) = (optimizer(kind), Net::new());
        for _ in 0..2 {
            model = optimizer.step(1e-3, model, &batch()).unwrap().model;
        }
        (kind, optimizer.to_record().to_bytes().unwrap())
    });
    states.collect()
});

/// Steps an optimizer with the state. It fails with the model as it was, or goes on with a state that can
/// be saved again.
fn go_on(kind: OptimizerKind, bytes: Vec<u8>) {
    let told = |error: &dyn std::error::Error| {
        let text = error.to_string();
        assert!(!text.is_empty() && text.len() < 20_000, "{text}");
    };
    let record = match StateRecord::from_bytes(bytes) {
        Ok(record) => record,
        Err(error) => return told(&error),
    };
    let mut optimizer = optimizer(kind);
    let fresh = optimizer.to_record();
    if let Err(error) = optimizer.load_record(record) {
        assert_eq!(optimizer.to_record(), fresh, "{kind}: {error}");
        return told(&error);
    }
    let mut model = Net::new();
    let start = model.values();
    for _ in 0..2 {
        match optimizer.step(1e-3, model, &batch()) {
            Ok(made) => model = made.model,
            Err(error) => {
                told(&error.cause);
                return;
            }
        }
    }
    assert_eq!(start.len(), model.values().len());
    let bytes = optimizer.to_record().to_bytes().unwrap();
    let again = StateRecord::from_bytes(bytes).unwrap();
    assert_eq!(optimizer.to_record().num_bytes(), again.num_bytes());
}

/// What may befall one entry of a state.
#[derive(Debug, Clone)]
enum Fault {
    Gone(Index),
    Count(Index, u64),
    Number(Index, f64),
    Flag(Index, bool),
    Fill(Index, f32),
    Shape(Index, Vec<usize>),
    Wide(Index),
    Renamed(Index, Index),
}

fn fault() -> impl Strategy<Value = Fault> {
    let counts = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(i64::MAX as u64),
        Just(1 << 33),
        any::<u64>(),
    ];
    let numbers = prop_oneof![
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(-1.0),
        Just(0.0),
        Just(1e300),
        any::<f64>(),
    ];
    let fills = prop_oneof![
        Just(f32::NAN),
        Just(f32::NEG_INFINITY),
        Just(-1.0_f32),
        Just(0.0_f32),
        Just(3e38_f32),
        Just(1e-42_f32),
    ];
    prop_oneof![
        any::<Index>().prop_map(Fault::Gone),
        (any::<Index>(), counts).prop_map(|(at, value)| Fault::Count(at, value)),
        (any::<Index>(), numbers).prop_map(|(at, value)| Fault::Number(at, value)),
        (any::<Index>(), any::<bool>()).prop_map(|(at, value)| Fault::Flag(at, value)),
        (any::<Index>(), fills).prop_map(|(at, value)| Fault::Fill(at, value)),
        (any::<Index>(), proptest::collection::vec(0..5_usize, 0..4))
            .prop_map(|(at, shape)| Fault::Shape(at, shape)),
        any::<Index>().prop_map(Fault::Wide),
        (any::<Index>(), any::<Index>()).prop_map(|(at, to)| Fault::Renamed(at, to)),
    ]
}

/// The entries of a state, apart.
struct Entries {
    metadata: BTreeMap<String, String>,
    scalars: BTreeMap<String, Scalar>,
    tensors: BTreeMap<String, TensorData>,
}

impl Entries {
    fn of(bytes: &[u8]) -> Self {
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())).unwrap();
        let (metadata, scalars) = (reader.metadata().clone(), reader.scalars().clone());
        let tensors = reader.into_tensors().unwrap().into_iter().map(|tensor| {
            let (name, dtype, shape, _, bytes) = tensor.into_parts().unwrap();
            (name, TensorData::from_bytes(bytes, shape, dtype))
        });
        Self {
            metadata,
            scalars,
            tensors: tensors.collect(),
        }
    }

    fn names(&self) -> Vec<String> {
        let scalars = self.scalars.keys().chain(self.tensors.keys());
        scalars.cloned().collect()
    }

    fn name(&self, at: Index, of: &[String]) -> Option<String> {
        (!of.is_empty()).then(|| of[at.index(of.len())].clone())
    }

    fn suffer(&mut self, fault: &Fault) {
        let (all, counts): (_, Vec<_>) = (self.names(), self.scalars.keys().cloned().collect());
        let vectors: Vec<_> = self.tensors.keys().cloned().collect();
        let mut set = |at: &Index, value: Scalar| {
            if let Some(name) = (!counts.is_empty()).then(|| &counts[at.index(counts.len())]) {
                self.scalars.insert(name.clone(), value);
            }
        };
        match fault {
            Fault::Count(at, value) => set(at, Scalar::UInt(*value)),
            Fault::Number(at, value) => set(at, Scalar::Float(*value)),
            Fault::Flag(at, value) => set(at, Scalar::Bool(*value)),
            Fault::Gone(at) => {
                if let Some(name) = self.name(*at, &all) {
                    self.scalars.remove(&name);
                    self.tensors.remove(&name);
                }
            }
            Fault::Fill(at, value) => self.replace(*at, &vectors, |data| {
                let count = data.num_elements();
                TensorData::new(vec![*value; count], data.shape().clone())
                    .convert_dtype(data.dtype())
            }),
            Fault::Shape(at, shape) => self.replace(*at, &vectors, |data| {
                let count: usize = shape.iter().product();
                TensorData::new(vec![0.5_f32; count], shape.clone()).convert_dtype(data.dtype())
            }),
            Fault::Wide(at) => self.replace(*at, &vectors, |data| {
                data.clone().convert_dtype(match data.dtype() {
                    DType::F64 => DType::F16,
                    _ => DType::F64,
                })
            }),
            Fault::Renamed(at, to) => {
                let (from, to) = (self.name(*at, &all), self.name(*to, &all));
                let (Some(from), Some(to)) = (from, to) else {
                    return;
                };
                if let Some(value) = self.scalars.remove(&from) {
                    self.scalars.insert(to, value);
                } else if let Some(data) = self.tensors.remove(&from) {
                    self.tensors.insert(to, data);
                }
            }
        }
    }

    fn replace(&mut self, at: Index, names: &[String], by: impl Fn(&TensorData) -> TensorData) {
        if let Some(data) = self
            .name(at, names)
            .and_then(|name| self.tensors.get_mut(&name))
        {
            *data = by(data);
        }
    }

    fn bytes(self) -> Vec<u8> {
        let tensors = self.tensors.into_iter().map(|(name, data)| {
            let (bytes, shape, dtype) = data.into_parts();
            burn_pack::Tensor::new(name, dtype, shape, None, bytes)
        });
        let mut writer = Writer::new(tensors.collect());
        for (name, value) in &self.metadata {
            writer = writer.with_metadata(name, value);
        }
        for (name, value) in self.scalars {
            writer = writer.with_scalar(&name, value);
        }
        writer.into_bytes().unwrap().to_vec()
    }
}

proptest! {
    #[test]
    fn any_state_is_gone_on_with_or_refused(which in any::<Index>(), changes in changes()) {
        let (kind, bytes) = &STATES[which.index(STATES.len())];
        go_on(*kind, changed(bytes, &changes));
    }

    #[test]
    fn any_entries_of_a_state_are_gone_on_with_or_refused(
        which in any::<Index>(),
        faults in proptest::collection::vec(fault(), 1..4),
    ) {
        let (kind, bytes) = &STATES[which.index(STATES.len())];
        let mut entries = Entries::of(bytes);
        faults.iter().for_each(|fault| entries.suffer(fault));
        go_on(*kind, entries.bytes());
    }

    #[test]
    fn any_file_of_a_state_is_read_or_named(which in any::<Index>(), changes in changes()) {
        let (_, bytes) = &STATES[which.index(STATES.len())];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.bpk");
        fs::write(&path, changed(bytes, &changes)).unwrap();
        if let Err(error) = StateRecord::load(&path) {
            prop_assert!(error.to_string().contains("state.bpk"), "{error}");
        }
    }
}
