//! Explicit matrices and reproducible probes for the tests of this crate.

use std::sync::Arc;

use burn::module::ParamId;
use burn::tensor::{DType, Device, Shape};

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, DenseOperator, Product, Provenance, Structure};
use crate::params::{ParamEntry, ParamLayout, ParamVec};

/// A layout of vectors `p0`, `p1`, .. of these lengths, in `f64`.
pub(crate) fn layout(lengths: &[usize]) -> Arc<ParamLayout> {
    let entries = lengths
        .iter()
        .enumerate()
        .map(|(index, &length)| ParamEntry {
            path: format!("layer{}.p{index}", index / 2),
            id: ParamId::new(),
            shape: Shape::from([length]),
            dtype: DType::F64,
            device: Device::flex(),
        });
    Arc::new(ParamLayout::new(entries.collect()))
}

/// The linear congruential generator of the oracles: `x <- 1664525 x + 1013904223 (mod 2^32)`.
pub(crate) struct Lcg(u32);

impl Lcg {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        (f64::from(self.next()) + 0.5) / 4_294_967_296.0
    }

    pub(crate) fn signs(&mut self, n: usize) -> Vec<f64> {
        let sign = |x: u32| if x >= 1 << 31 { 1.0 } else { -1.0 };
        (0..n).map(|_| sign(self.next())).collect()
    }

    pub(crate) fn normal(&mut self, n: usize) -> Vec<f64> {
        let mut one = || {
            let (a, b) = (self.uniform(), self.uniform());
            (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
        };
        (0..n).map(|_| one()).collect()
    }
}

/// A row-major matrix with these eigenvalues in the basis of the Householder reflectors of `axes`.
pub(crate) fn rotated(eigenvalues: &[f64], axes: &[Vec<f64>]) -> Vec<f64> {
    let q = basis(eigenvalues.len(), axes);
    let n = eigenvalues.len();
    let mut rows = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            let term = |k: usize| q[i * n + k] * eigenvalues[k] * q[j * n + k];
            rows[i * n + j] = (0..n).map(term).sum();
        }
    }
    rows
}

/// The product of Householder reflectors, row-major: its columns are the eigenvectors of
/// [`rotated`].
pub(crate) fn basis(n: usize, axes: &[Vec<f64>]) -> Vec<f64> {
    let mut q: Vec<f64> = (0..n * n)
        .map(|i| if i / n == i % n { 1.0 } else { 0.0 })
        .collect();
    for axis in axes {
        let norm: f64 = axis.iter().map(|x| x * x).sum();
        for row in q.chunks_mut(n) {
            let dot: f64 = row.iter().zip(axis).map(|(a, b)| a * b).sum();
            for (x, v) in row.iter_mut().zip(axis) {
                *x -= 2.0 * dot * v / norm;
            }
        }
    }
    q
}

/// The eigenvalues of [`m12`].
pub(crate) const M12_EIGENVALUES: [f64; 12] = [
    10.0, 6.0, 3.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.0, -0.05, -0.4,
];

fn m12_axes() -> Vec<Vec<f64>> {
    let up = (1..=12).map(f64::from).collect();
    let alternating = (1..=6)
        .flat_map(|i| [f64::from(i), -f64::from(i)])
        .collect();
    vec![up, alternating]
}

/// The indefinite 12 by 12 matrix of the oracle, over two parameters of 5 and 7 elements.
pub(crate) fn m12() -> DenseOperator {
    let rows = rotated(&M12_EIGENVALUES, &m12_axes());
    DenseOperator::new(layout(&[5, 7]), rows, Structure::Symmetric).unwrap()
}

/// A matrix of order `n` with these eigenvalues in a basis that mixes all axes, over parameters of
/// the given lengths.
pub(crate) fn mixed(eigenvalues: &[f64], lengths: &[usize], structure: Structure) -> DenseOperator {
    let n = eigenvalues.len();
    let axes: Vec<Vec<f64>> = (0..3).map(|k| Lcg::new(500 + k).normal(n)).collect();
    DenseOperator::new(layout(lengths), rotated(eigenvalues, &axes), structure).unwrap()
}

/// Signs of the oracle's generator for seeds `from`, `from + 1`, ..
pub(crate) fn signs(layout: &Arc<ParamLayout>, from: u32, count: u32) -> Vec<ParamVec> {
    let n = layout.num_elements();
    (from..from + count)
        .map(|seed| ParamVec::from_values(layout, &Lcg::new(seed).signs(n)))
        .collect()
}

pub(crate) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?} and {expected:?}");
    for (a, b) in found.iter().zip(expected) {
        let size = b.abs().max(1.0);
        assert!(
            (a - b).abs() <= tolerance * size,
            "{found:?} is not {expected:?}: {a} and {b}"
        );
    }
}

/// A large matrix: a diagonal one, reflected at the plane across a random axis.
pub(crate) struct Reflected {
    axis: ParamVec,
    diagonal: ParamVec,
}

impl Reflected {
    pub(crate) fn new(layout: &Arc<ParamLayout>, eigenvalue: impl Fn(usize) -> f64) -> Self {
        let values: Vec<f64> = (0..layout.num_elements()).map(eigenvalue).collect();
        let axis = ParamVec::gaussian(layout, 77);
        Self {
            axis: axis.scale(1.0 / axis.norm()),
            diagonal: ParamVec::from_values(layout, &values),
        }
    }

    pub(crate) fn trace(&self) -> f64 {
        self.diagonal.to_values().iter().sum()
    }

    fn reflect(&self, v: &ParamVec) -> ParamVec {
        v.axpy(-2.0 * self.axis.dot(v), &self.axis)
    }
}

impl CurvatureOperator for Reflected {
    fn layout(&self) -> Arc<ParamLayout> {
        self.axis.layout().clone()
    }

    fn structure(&self) -> Structure {
        Structure::Symmetric
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(Product {
            value: self.reflect(&self.diagonal.hadamard(&self.reflect(v))),
            cost: Cost::ZERO,
            provenance: Provenance::Exact,
        })
    }
}

/// An operator that likes four products at once.
pub(crate) struct Abreast(pub(crate) DenseOperator);

impl CurvatureOperator for Abreast {
    fn layout(&self) -> Arc<ParamLayout> {
        self.0.layout()
    }

    fn structure(&self) -> Structure {
        self.0.structure()
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        self.0.apply(v)
    }

    fn width(&self) -> usize {
        4
    }
}
