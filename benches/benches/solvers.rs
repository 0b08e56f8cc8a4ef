//! Solvers on one matrix of size 512 and on a stack of 8 of size 256, stacked and one by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on stops"
)]

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use osculate_linalg::{
    EighConfig, OrthogonalIterationConfig, Ridge, Triangle, cholesky, eigh, eigh_inverse_root,
    orthogonal_iteration, polar_express, substitute,
};

/// Positive definite matrices with noise in every element.
fn covariances(k: usize, n: usize) -> Tensor<3> {
    let values: Vec<f32> = (0..k * n * n)
        .map(|i| ((i as f32 + 1.0) * 12.9898).sin() * 43.758)
        .map(|x| x.fract() - 0.5)
        .collect();
    let x = Tensor::<3>::from_data(TensorData::new(values, [k, n, n]), &Device::flex());
    x.clone().matmul(x.swap_dims(1, 2)) / n as f32
}

type Solver = fn(Tensor<3>) -> Tensor<3>;

const SOLVERS: [(&str, Solver); 7] = [
    ("matmul", |a| a.clone().matmul(a)),
    ("eigh", |a| {
        eigh(a, &EighConfig::default()).expect("solved").vectors
    }),
    ("orthogonal_iteration", |a| {
        let config = OrthogonalIterationConfig::default();
        orthogonal_iteration(a.clone(), a, &config)
            .expect("solved")
            .vectors
    }),
    ("eigh_inverse_root", |a| {
        let ridge = Ridge::relative(1e-6);
        eigh_inverse_root(a, 0.25, ridge, &EighConfig::default())
            .expect("solved")
            .roots
    }),
    ("polar_express_5", |a| polar_express(a, 5)),
    ("cholesky", |a| cholesky(a, 0.0).expect("solved").factors),
    ("substitute", |a| {
        substitute(a.clone(), a, Triangle::Lower).expect("solved")
    }),
];

fn solvers(criterion: &mut Criterion) {
    for (name, solver) in SOLVERS {
        let mut group = criterion.benchmark_group(name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1500));
        let single = covariances(1, 512);
        group.bench_function(BenchmarkId::new("single", "512"), |bencher| {
            bencher.iter(|| black_box(solver(single.clone())));
        });
        let stack = covariances(8, 256);
        group.bench_function(BenchmarkId::new("stacked", "8x256"), |bencher| {
            bencher.iter(|| black_box(solver(stack.clone())));
        });
        let matrices: Vec<_> = stack.split(1, 0);
        group.bench_function(BenchmarkId::new("one by one", "8x256"), |bencher| {
            bencher.iter(|| {
                for matrix in &matrices {
                    black_box(solver(matrix.clone()));
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, solvers);
criterion_main!(benches);
