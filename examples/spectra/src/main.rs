//! How many products the spectrum and the trace of a network's curvature take.
//!
//! `cargo run --release -p spectra -- [name]`
//!
//! The networks are those of `benches/benches/exact.rs`, as they are drawn before training; a name picks
//! those that contain it.
//!
//! The first lines count products for the four largest eigenpairs to a residual of 1e-3 of the
//! largest magnitude, by Lanczos' method with one vector and with blocks. The tables compare the
//! trace of the Gauss-Newton matrix by six estimators with its true value, which is summed over all
//! outputs: the root mean square of the relative error over 20 seeds, until plain Hutchinson, Krylov or XNysTrace is
//! within 2 %. A product is one forward and one backward pass with tangents; the last one, by the factor, makes two probes of
//! the backward pass alone for each. The transformer's is that of two of its eight sequences, whose outputs take a minute. The
//! Hessian's trace takes thousands of probes by any of them, because its eigenvalues cancel.
#![allow(clippy::print_stdout, reason = "an example shows its results")]
#![allow(clippy::expect_used, reason = "an example stops where it cannot go on")]

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use osculate::curvature::{
    BlockLanczosConfig, Criterion, CurvatureError, CurvatureOperator, Factor, GaussNewton,
    GaussNewtonFactor, GradientOracle, Hessian, HutchinsonConfig, KrylovTraceConfig, LanczosConfig,
    Objective, SketchConfig, SupervisedBatch, TraceEstimate, block_lanczos, factor_trace, hutch_pp,
    hutchinson_trace, krylov_trace, lanczos, xnystrace, xtrace,
};
use osculate_problems::modules::{
    EncoderModel, EncoderModelConfig, GroupNet, GroupNetConfig, Mlp, MlpConfig, cycled_labels,
};

const SEEDS: u64 = 20;
const GOAL: f64 = 0.02;
const VOCABULARY: usize = 64;

/// The trace of the Gauss-Newton matrix `Fᵀ F`: the sum of the squared norms of `Fᵀ e` over all outputs.
fn exact_trace(factor: &dyn Factor) -> Result<f64, CurvatureError> {
    let mut unit = vec![0.0; factor.rows()];
    let mut trace = 0.0;
    for row in 0..unit.len() {
        unit[row] = 1.0;
        let gradient = factor.transpose(&unit)?.value;
        trace += gradient.dot(&gradient);
        unit[row] = 0.0;
    }
    Ok(trace)
}

/// Root mean square of the relative errors over the seeds.
fn error(
    truth: f64,
    estimate: impl Fn(u64) -> Result<f64, CurvatureError>,
) -> Result<f64, CurvatureError> {
    let mut squares = 0.0;
    for seed in 0..SEEDS {
        squares += (estimate(seed)? / truth - 1.0).powi(2);
    }
    Ok((squares / SEEDS as f64).sqrt())
}

/// Numbers of products that are tried.
const PRODUCTS: [usize; 13] = [2, 4, 6, 8, 10, 12, 15, 18, 21, 24, 30, 36, 48];
/// Fewest products of the estimators that first look for large eigenvalues.
const FEWEST: usize = 6;
const ESTIMATORS: [&str; 6] = [
    "Hutchinson",
    "Hutch++",
    "XTrace",
    "Krylov",
    "XNysTrace",
    "factor",
];

/// The means of the first probes for each seed.
struct Probes(Vec<Vec<f64>>);

impl Probes {
    fn draw(
        probes: usize,
        estimate: impl Fn(&HutchinsonConfig) -> Result<TraceEstimate, CurvatureError>,
    ) -> Result<Self, CurvatureError> {
        let each = (0..SEEDS).map(|seed| {
            let config = HutchinsonConfig {
                probes,
                seed,
                ..HutchinsonConfig::default()
            };
            let samples = estimate(&config)?.samples.into_iter();
            Ok(samples.map(|blocks| blocks.iter().sum()).collect())
        });
        each.collect::<Result<_, _>>().map(Self)
    }

    fn mean(&self, seed: u64, probes: usize) -> f64 {
        self.0[seed as usize][..probes].iter().sum::<f64>() / probes as f64
    }
}

fn traces<M: Module>(name: &str, oracle: &GradientOracle<'_, M>) -> Result<(), CurvatureError> {
    let factor = GaussNewtonFactor::new(oracle)?;
    let truth = exact_trace(&factor)?;
    let operator = GaussNewton::new(oracle)?;
    println!("\n{name}: trace of Gauss-Newton {truth:.4}, relative error over {SEEDS} seeds");
    print!("{:>10}", "products");
    ESTIMATORS.iter().for_each(|name| print!(" {name:>11}"));
    println!();
    let mut firsts = [None; ESTIMATORS.len()];
    // The probes of fewer are the first of those of more.
    let most = PRODUCTS[PRODUCTS.len() - 1];
    let probes = Probes::draw(most, |config| hutchinson_trace(&operator, config))?;
    let halves = Probes::draw(2 * most, |config| factor_trace(&factor, config))?;
    for products in PRODUCTS {
        let sketch = |seed| SketchConfig {
            products,
            seed,
            ..SketchConfig::default()
        };
        let sketched = |estimate: &dyn Fn(u64) -> Result<f64, CurvatureError>| {
            let enough = products >= FEWEST;
            enough.then(|| error(truth, estimate)).transpose()
        };
        let errors = [
            Some(error(truth, |seed| Ok(probes.mean(seed, products)))?),
            sketched(&|seed| Ok(hutch_pp(&operator, &sketch(seed))?.estimate.value))?,
            sketched(&|seed| Ok(xtrace(&operator, &sketch(seed))?.estimate.value))?,
            sketched(&|seed| {
                let config = KrylovTraceConfig {
                    steps: products * 3 / 4,
                    probes: products - products * 3 / 4,
                    seed,
                    ..KrylovTraceConfig::default()
                };
                Ok(krylov_trace(&operator, &config)?.estimate.value)
            })?,
            sketched(&|seed| Ok(xnystrace(&operator, &sketch(seed))?.estimate.value))?,
            Some(error(truth, |seed| Ok(halves.mean(seed, 2 * products)))?),
        ];
        print!("{products:>10}");
        for error in errors {
            match error {
                Some(error) => print!(" {:>9.2} %", 100.0 * error),
                None => print!(" {:>11}", "-"),
            }
        }
        println!();
        for (first, error) in firsts.iter_mut().zip(errors) {
            if first.is_none() && error.is_some_and(|error| error <= GOAL) {
                *first = Some(products);
            }
        }
        let [plain, .., krylov, nystrom, _] = firsts;
        if plain.or(krylov).or(nystrom).is_some() {
            let found = ESTIMATORS.iter().zip(firsts);
            let found = found.filter_map(|(name, first)| Some(format!("{name} at {}", first?)));
            let found: Vec<String> = found.collect();
            println!(
                "within 2 %: {}; the others at more products\n",
                found.join(", ")
            );
            return Ok(());
        }
    }
    panic!("{name}: no estimator is within 2 %");
}

fn pairs<M: Module>(name: &str, oracle: &GradientOracle<'_, M>) -> Result<(), CurvatureError> {
    let (gauss_newton, hessian) = (GaussNewton::new(oracle)?, Hessian::new(oracle)?);
    let operators: [(&str, &dyn CurvatureOperator); 2] =
        [("Gauss-Newton", &gauss_newton), ("Hessian", &hessian)];
    for (what, operator) in operators {
        let alone = lanczos(operator, &LanczosConfig::default())?;
        assert!(alone.converged);
        print!(
            "{name}, {what}: largest {:.4}, {} products with one vector",
            alone.largest[0].value, alone.steps
        );
        for block in [2, 4] {
            let config = BlockLanczosConfig {
                block: Some(block),
                ..BlockLanczosConfig::default()
            };
            let found = block_lanczos(operator, &config)?;
            print!(", {} with {block}", found.steps);
        }
        println!();
    }
    let dimension = gauss_newton.layout().num_elements();
    println!("{name}: {dimension} parameters");
    Ok(())
}

fn main() -> Result<(), CurvatureError> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let device = Device::flex().autodiff();
    for widths in [vec![64, 256, 256, 10], vec![64, 1024, 1024, 10]] {
        let name = format!("mlp {widths:?}");
        if !name.contains(&wanted) {
            continue;
        }
        device.seed(1);
        let objective = SupervisedBatch::new(
            Tensor::<2>::random([128, 64], Distribution::Default, &device),
            |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
            Criterion::cross_entropy(cycled_labels(128, 10, &device)),
        );
        let small = widths[1] == 256;
        let model = MlpConfig::new(widths).init(&device);
        let oracle = GradientOracle::new(&model, &objective);
        pairs(&name, &oracle)?;
        if small {
            traces(&name, &oracle)?;
        }
    }
    if "conv net".contains(&wanted) {
        device.seed(1);
        let objective = SupervisedBatch::new(
            Tensor::<4>::random([32, 3, 16, 16], Distribution::Default, &device),
            |model: &GroupNet, x: &Tensor<4>| model.forward(x.clone()),
            Criterion::cross_entropy(cycled_labels(32, 10, &device)),
        );
        let model = GroupNetConfig::new().init(&device);
        let oracle = GradientOracle::new(&model, &objective);
        pairs("conv net", &oracle)?;
        traces("conv net", &oracle)?;
    }
    if "transformer".contains(&wanted) {
        device.seed(1);
        let model = EncoderModelConfig::new(VOCABULARY).init(&device);
        let objective = transformer(8, &device);
        pairs("transformer", &GradientOracle::new(&model, &objective))?;
        let objective = transformer(2, &device);
        traces("transformer", &GradientOracle::new(&model, &objective))?;
    }
    Ok(())
}

/// The loss of so many sequences of 32 tokens.
fn transformer(rows: usize, device: &Device) -> impl Objective<EncoderModel> + use<> {
    let tokens = cycled_labels(rows * 32, VOCABULARY, device);
    SupervisedBatch::new(
        tokens.reshape([rows, 32]),
        |model: &EncoderModel, tokens: &Tensor<2, Int>| model.forward(tokens.clone()),
        Criterion::cross_entropy(cycled_labels(rows * 32, VOCABULARY - 1, device)),
    )
}
