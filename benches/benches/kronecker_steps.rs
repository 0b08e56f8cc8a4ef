//! Steps of the matrix methods in steps of AdamW on one matrix of size 512 and on 8 of size 256,
//! as closure optimizers; in products of matrices of that size, and in milliseconds; 8 matrices at once against one by
//! one; and how even the steps are.
//!
//! A unit of work is a whole refresh period, so that amortised costs are what is compared.
#![allow(missing_docs, reason = "a benchmark has no public items")]
#![allow(clippy::print_stdout, reason = "a benchmark shows its results")]
#![allow(
    clippy::expect_used,
    reason = "a benchmark stops where it cannot go on"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use criterion::Criterion;
use mimalloc::MiMalloc;
use osculate_benches::ratios::{Case, Ratios, median};
use osculate_optim::ClosureOptimizer;
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};

/// Training frees and asks for the same large blocks in every step; glibc gives them back to the system and
/// faults them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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

/// A model with the optimizer that trains it.
struct Run {
    optimizer: Box<dyn ClosureOptimizer<Matrices>>,
    model: Option<Matrices>,
}

impl Run {
    fn new(method: OptimizerKind, k: usize, n: usize) -> Self {
        Self {
            optimizer: OptimizerSpec::new(method).make(0).expect("valid settings"),
            model: Some(matrices(k, n)),
        }
    }

    fn step(&mut self) {
        let before = self.model.take().expect("a model");
        let step = self.optimizer.step(1e-4, before, &loss).expect("a step");
        self.model = Some(black_box(step.model));
    }

    fn period(&mut self) {
        for _ in 0..PERIOD {
            self.step();
        }
    }
}

/// Periods that are compared with products.
const PERIODS: usize = 7;
/// Steps of a unit of work: the default refresh period.
const PERIOD: usize = 10;
/// Steps before the evenness of steps is measured, and steps in which it is.
const STEPS: (usize, usize) = (20, 60);
/// Methods, with the largest accepted cost in steps of AdamW.
const METHODS: [(OptimizerKind, Option<f64>); 6] = [
    (OptimizerKind::SOAP, Some(60.0)),
    (OptimizerKind::SHAMPOO, Some(100.0)),
    (OptimizerKind::KL_SOAP, None),
    (OptimizerKind::KL_SHAMPOO, None),
    (OptimizerKind::PSGD_KRON, Some(120.0)),
    (OptimizerKind::MUON, None),
];

/// The median of a step, in milliseconds and in plain products of the stack with itself, which take turns with it.
fn in_products(method: OptimizerKind, k: usize, n: usize) -> (f64, f64) {
    let mut run = Run::new(method, k, n);
    let stack = matrices(k, n).weights.into_iter();
    let stack = Tensor::stack::<3>(stack.map(|weight| weight.val().inner()).collect(), 0);
    run.period();
    let timed = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..PERIOD).for_each(|_| work());
        start.elapsed()
    };
    let (mut steps, mut products) = (Vec::new(), Vec::new());
    for _ in 0..PERIODS {
        steps.push(timed(&mut || run.step()));
        products.push(timed(&mut || {
            black_box(stack.clone().matmul(stack.clone()));
        }));
    }
    let each = |times: &mut [Duration]| median(times).as_secs_f64() / PERIOD as f64;
    let (step, product) = (each(&mut steps), each(&mut products));
    (1e3 * step, step / product)
}

/// What burn's CPU backend takes for a mask of one flag over a row, over what it takes for a sum of the same rows:
/// why nothing is masked there where flags can be read instead.
fn mask_over_sum() -> f64 {
    let device = Device::flex();
    let row = |value: f64| Tensor::<2>::full([1, 512 * 512], value, &device);
    let (old, flag) = (
        row(1.0),
        Tensor::<2>::zeros([1, 1], &device).equal_elem(1.0),
    );
    let (mut masks, mut sums) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let (for_mask, for_sum) = (row(2.0), row(2.0));
        let start = Instant::now();
        let mask = flag.clone().expand(old.dims());
        black_box(for_mask.mask_where(mask, old.clone()));
        masks.push(start.elapsed());
        let start = Instant::now();
        black_box(for_sum + old.clone());
        sums.push(start.elapsed());
    }
    median(&mut masks).as_secs_f64() / median(&mut sums).as_secs_f64()
}

fn main() {
    let mut bench = Criterion::default().configure_from_args();
    let mut over_adamw = Ratios::default();
    for (group, k, n) in [("1 of 512x512", 1, 512), ("8 of 256x256", 8, 256)] {
        let mut adamw = Run::new(OptimizerKind::ADAMW, k, n);
        let cases = METHODS.map(|(method, limit)| {
            let mut run = Run::new(method, k, n);
            let case = Case::new(method.name(), move || run.period());
            match limit {
                Some(limit) => case.at_most(limit),
                None => case,
            }
        });
        let reference = ("adamw", || adamw.period());
        over_adamw.compare(&mut bench, group, reference, cases.into());
    }
    println!("\nsteps in milliseconds, and in products of the same matrices:");
    for (k, n) in [(1, 512), (8, 256), (4, 1024)] {
        for method in METHODS
            .map(|(method, _)| method)
            .into_iter()
            .chain([OptimizerKind::ADAMW])
        {
            let (milliseconds, products) = in_products(method, k, n);
            println!("{k} of {n}x{n}, {method}: {milliseconds:.1} ms, {products:.1} products");
        }
    }
    println!("a mask over a sum: {:.1}x", mask_over_sum());
    let mut over_single = Ratios::default();
    for (method, _) in METHODS {
        let mut singles: Vec<Run> = (0..8).map(|_| Run::new(method, 1, 256)).collect();
        let mut stack = Run::new(method, 8, 256);
        let case = Case::new(method.name(), || stack.period()).at_most(0.8);
        let reference = ("one by one", || singles.iter_mut().for_each(Run::period));
        over_single.compare(&mut bench, "8 of 256x256", reference, vec![case]);
    }
    bench.final_summary();
    println!("\n{}", over_adamw.table("AdamW"));
    println!("\nstacked:\n{}", over_single.table("one by one"));
    for (k, n) in [(1, 512), (8, 256)] {
        for (method, _) in METHODS {
            let mut run = Run::new(method, k, n);
            (0..STEPS.0).for_each(|_| run.step());
            let mut times: Vec<Duration> = (0..STEPS.1)
                .map(|_| {
                    let start = Instant::now();
                    run.step();
                    start.elapsed()
                })
                .collect();
            let longest = times.iter().max().copied().unwrap_or_default();
            println!(
                "{k} of {n}x{n}, {method}: longest of {} steps {:.2}x the median",
                times.len(),
                longest.as_secs_f64() / median(&mut times).as_secs_f64()
            );
        }
    }
}
