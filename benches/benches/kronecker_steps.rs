//! Steps of AdamW, SOAP, Shampoo and the KL family on one matrix of size 512 and on 8 of size 256,
//! behind the closure door. A benchmark's iteration is a whole number of refresh periods, so that
//! amortised costs are what is measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on stops"
)]

use std::hint::black_box;
use std::time::Duration;

use burn::module::{Module, Param, ParamId};
use burn::optim::AdamWConfig;
use burn::tensor::{Device, Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use osculate_optim::{
    ClosureOptimizer, FirstOrder, KlShampooConfig, KlSoapConfig, ShampooConfig, SoapConfig,
};

#[derive(Module, Debug)]
struct Matrices {
    weights: Vec<Param<Tensor<2>>>,
}

fn matrices(k: usize, n: usize) -> Matrices {
    let device = Device::flex().autodiff();
    let weights = (0..k)
        .map(|index| {
            let values: Vec<f32> = (0..n * n)
                .map(|i| (((i + index * 977) as f32 + 1.0) * 12.9898).sin() * 43.758)
                .map(|x| x.fract() - 0.5)
                .collect();
            let weight = Tensor::<2>::from_data(TensorData::new(values, [n, n]), &device);
            Param::initialized(ParamId::new(), weight.require_grad())
        })
        .collect();
    Matrices { weights }
}

/// Its gradient is cheap and changes from step to step.
fn loss(model: &Matrices) -> Tensor<1> {
    let terms = model
        .weights
        .iter()
        .map(|weight| weight.val().square().mean());
    terms.reduce(|a, b| a + b).expect("a matrix")
}

type Optimizer = Box<dyn ClosureOptimizer<Matrices>>;

fn optimizers() -> Vec<(&'static str, Optimizer)> {
    vec![
        (
            "adamw",
            Box::new(FirstOrder::new(AdamWConfig::new().init())),
        ),
        (
            "soap",
            Box::new(SoapConfig::new().stacked().expect("valid")),
        ),
        (
            "shampoo",
            Box::new(ShampooConfig::new().stacked().expect("valid")),
        ),
        (
            "kl_shampoo",
            Box::new(KlShampooConfig::new().stacked().expect("valid")),
        ),
        (
            "kl_soap",
            Box::new(KlSoapConfig::new().stacked().expect("valid")),
        ),
    ]
}

/// Steps of one iteration: the default refresh period.
const PERIOD: usize = 10;

fn steps(criterion: &mut Criterion) {
    for (size, k, n) in [("1x512", 1, 512), ("8x256", 8, 256)] {
        let mut group = criterion.benchmark_group(size);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2));
        for (name, mut optimizer) in optimizers() {
            let mut model = Some(matrices(k, n));
            group.bench_function(BenchmarkId::new(name, "10 steps"), |bencher| {
                bencher.iter(|| {
                    for _ in 0..PERIOD {
                        let before = model.take().expect("a model");
                        let step = optimizer.step(1e-4, before, &loss).expect("a step");
                        model = Some(black_box(step.model));
                    }
                });
            });
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("8x256 one by one");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    for (name, _) in optimizers() {
        let mut runs: Vec<_> = (0..8)
            .map(|_| {
                let found = optimizers().into_iter().find(|(other, _)| *other == name);
                (found.expect("listed").1, Some(matrices(1, 256)))
            })
            .collect();
        group.bench_function(BenchmarkId::new(name, "10 steps"), |bencher| {
            bencher.iter(|| {
                for _ in 0..PERIOD {
                    for (optimizer, model) in &mut runs {
                        let before = model.take().expect("a model");
                        let step = optimizer.step(1e-4, before, &loss).expect("a step");
                        *model = Some(black_box(step.model));
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
