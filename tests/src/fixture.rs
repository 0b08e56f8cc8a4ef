//! Numbers kept bit for bit in `data`, and where they have to come out bit for bit.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::{Map, Value, json};

use crate::model::Ranked;

/// Tolerance on another processor, relative to numbers of 1 and more. SOAP and Shampoo by eigenvectors
/// amplify rounding where a factor has a kernel, in `F64` too: on the `ndarray` backend some of their
/// weights are 3e-2 away after two steps.
const ELSEWHERE: f64 = 1e-1;

/// Entries by name, with the processor that they were computed on.
///
/// Matrix products choose their kernel by the processor's features, and kernels add in different
/// orders. On a processor with the same features the numbers are compared bit for bit, on another
/// within a tolerance.
#[derive(Debug)]
pub struct Fixture {
    exact: bool,
    entries: Map<String, Value>,
}

impl Fixture {
    /// Reads a file.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let mut file: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{} is no JSON: {error}", path.display()));
        let exact = file["processor"] == processor();
        let Value::Object(entries) = file["entries"].take() else {
            panic!("{} has no entries", path.display());
        };
        Self { exact, entries }
    }

    /// Writes a file.
    pub fn write(path: &Path, entries: Map<String, Value>) {
        let file = json!({ "processor": processor(), "entries": entries });
        let text = serde_json::to_string_pretty(&file).expect("plain values");
        fs::write(path, text + "\n").expect("a file");
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// The names of all entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Checks numbers against those that were kept.
    ///
    /// # Panics
    /// Where one is not the same: bit for bit on a processor with the features of the one that the
    /// numbers were computed on, and within a part of a step on another.
    pub fn check(&self, got: &[f64], kept: &Value, dtype: DType, what: &str) {
        let want = from_bits(kept, dtype);
        assert_eq!(got.len(), want.len(), "{what}: how many");
        if self.exact {
            assert_eq!(bits(got, dtype), *kept, "{what}: {got:?} against {want:?}");
            return;
        }
        for (got, want) in got.iter().zip(&want) {
            assert!(
                (got - want).abs() <= ELSEWHERE * want.abs().max(1.0),
                "{what}: {got} against {want}, on another processor"
            );
        }
    }
}

/// The folder of the fixtures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// Bit patterns of numbers of an element type, in hexadecimal.
pub fn bits(values: &[f64], dtype: DType) -> Value {
    let words: Vec<String> = values
        .iter()
        .map(|&value| match dtype {
            DType::F64 => format!("{:016x}", value.to_bits()),
            DType::F32 => format!("{:08x}", (value as f32).to_bits()),
            other => panic!("no fixtures of {other:?}"),
        })
        .collect();
    words.join(" ").into()
}

/// The numbers of [`bits`].
pub fn from_bits(words: &Value, dtype: DType) -> Vec<f64> {
    let words = words.as_str().expect("bit patterns");
    words
        .split_whitespace()
        .map(|word| match dtype {
            DType::F64 => f64::from_bits(u64::from_str_radix(word, 16).expect("16 digits")),
            DType::F32 => f32::from_bits(u32::from_str_radix(word, 16).expect("8 digits")).into(),
            other => panic!("no fixtures of {other:?}"),
        })
        .collect()
}

/// A model with these weights. Its parameters have the identities 1 to 4, by which burn's records
/// are keyed.
pub fn ranked(values: &[f64], device: &Device, dtype: DType) -> Ranked {
    let model = Ranked::new(device, dtype);
    Ranked {
        rank1: with_values(&model.rank1, &values[..12], 1),
        rank2: with_values(&model.rank2, &values[12..24], 2),
        rank3: with_values(&model.rank3, &values[24..36], 3),
        rank4: with_values(&model.rank4, &values[36..], 4),
    }
}

fn with_values<const D: usize>(
    param: &Param<Tensor<D>>,
    values: &[f64],
    id: u64,
) -> Param<Tensor<D>> {
    let weight = param.val();
    let data = TensorData::new(values.to_vec(), weight.shape());
    let tensor = Tensor::<D>::from_data(data, (&weight.device(), weight.dtype()));
    Param::initialized(ParamId::from(id), tensor.require_grad())
}

/// The architecture and those of its features by which kernels are chosen.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let present = features.iter().filter(|(_, present)| *present);
    let names = present.map(|(name, _)| format!(" {name}"));
    std::env::consts::ARCH.to_string() + &names.collect::<String>()
}
