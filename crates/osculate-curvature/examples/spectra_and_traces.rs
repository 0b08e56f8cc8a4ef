//! How many products the spectrum and the trace of a network's curvature take.
//!
//! `cargo run --release -p osculate-curvature --example spectra_and_traces`
//!
//! The networks are those of `benches/benches/exact.rs`, as they are drawn before training.
//!
//! The first table counts Lanczos steps for the four largest eigenpairs to a residual of 1e-3 of the
//! largest magnitude. The second, for the smallest network, compares the trace of the Gauss-Newton
//! matrix by five estimators with its true value, which is summed over all outputs: the root mean
//! square of the relative error over 20 seeds, and the fewest products for which it is within 2 %.
#![allow(clippy::print_stdout, reason = "an example shows its results")]
#![allow(clippy::expect_used, reason = "an example stops where it cannot go on")]

use burn::module::Module;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, s};
use osculate_curvature::{
    Criterion, CurvatureError, CurvatureOperator, GaussNewton, GradientOracle, Hessian,
    HutchinsonConfig, KrylovTraceConfig, LanczosConfig, Objective, SketchConfig, SupervisedBatch,
    hutch_pp, hutchinson_trace, krylov_trace, lanczos, xnystrace, xtrace,
};
use osculate_problems::modules::{Mlp, MlpConfig};

const SEEDS: u64 = 20;
const VOCABULARY: usize = 64;

#[derive(Module, Debug)]
struct ConvNet {
    first: Conv2d,
    first_norm: GroupNorm,
    second: Conv2d,
    second_norm: GroupNorm,
    pool: AvgPool2d,
    head: Linear,
}

impl ConvNet {
    fn new(device: &Device) -> Self {
        Self {
            first: Conv2dConfig::new([3, 16], [3, 3]).init(device),
            first_norm: GroupNormConfig::new(4, 16).init(device),
            second: Conv2dConfig::new([16, 32], [3, 3]).init(device),
            second_norm: GroupNormConfig::new(4, 32).init(device),
            pool: AvgPool2dConfig::new([4, 4]).with_strides([4, 4]).init(),
            head: LinearConfig::new(32 * 9, 10).init(device),
        }
    }

    fn forward(&self, x: &Tensor<4>) -> Tensor<2> {
        let x = relu(self.first_norm.forward(self.first.forward(x.clone())));
        let x = relu(self.second_norm.forward(self.second.forward(x)));
        self.head.forward(self.pool.forward(x).flatten(1, 3))
    }
}

#[derive(Module, Debug)]
struct Transformer {
    embedding: Embedding,
    encoder: TransformerEncoder,
    head: Linear,
}

impl Transformer {
    fn new(device: &Device) -> Self {
        let config = TransformerEncoderConfig::new(64, 256, 4, 4);
        Self {
            embedding: EmbeddingConfig::new(VOCABULARY, 64).init(device),
            encoder: config.with_dropout(0.0).with_norm_first(true).init(device),
            head: LinearConfig::new(64, VOCABULARY).init(device),
        }
    }

    fn forward(&self, tokens: &Tensor<2, Int>) -> Tensor<2> {
        let [rows, length] = tokens.dims();
        let x = self.embedding.forward(tokens.clone());
        let mask = generate_autoregressive_mask(rows, length, &x.device());
        let input = TransformerEncoderInput::new(x).mask_attn(mask);
        self.head.forward(self.encoder.forward(input)).flatten(0, 1)
    }
}

fn labels(n: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = (0..n).map(|i| (i * 7 % classes) as i64).collect();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// The trace of the Gauss-Newton matrix of a mean cross-entropy: with `H_b = L Lᵀ / B` for the logits
/// of each row, it is the sum of the squared norms of `Jᵀ L e_c` over all rows and classes.
fn exact_trace<M: Module>(oracle: &GradientOracle<'_, M>) -> Result<f64, CurvatureError> {
    let layout = oracle.layout()?;
    let p = softmax(oracle.outputs_at(None)?, 1);
    let [rows, columns] = p.dims();
    let mut trace = 0.0;
    for row in 0..rows {
        let p = p.clone().slice(s![row..row + 1, ..]);
        for column in 0..columns {
            // L = diag(sqrt p) - p sqrt(p)ᵀ, whose square is diag(p) - p pᵀ.
            let root = p.clone().sqrt().slice([0..1, column..column + 1]);
            let unit = Tensor::<2>::zeros([1, columns], &p.device())
                .slice_assign([0..1, column..column + 1], root.clone());
            let factor = unit - p.clone() * root;
            let gradient = oracle.pull_back(&layout, |outputs| {
                let factor = Tensor::<2>::from_inner(factor);
                Ok((outputs.slice(s![row..row + 1, ..]) * factor).sum())
            })?;
            trace += gradient.dot(&gradient) / rows as f64;
        }
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

fn traces<M: Module>(name: &str, oracle: &GradientOracle<'_, M>) -> Result<(), CurvatureError> {
    let truth = exact_trace(oracle)?;
    let operator = GaussNewton::new(oracle)?;
    println!("\n{name}: trace of Gauss-Newton {truth:.4}, relative error over {SEEDS} seeds");
    println!(
        "{:>10} {:>11} {:>11} {:>11} {:>11} {:>11}",
        "products", "Hutchinson", "Hutch++", "XTrace", "Krylov", "XNysTrace"
    );
    let mut fewest = [None; 5];
    for products in [6_usize, 9, 12, 15, 18, 21, 24, 30, 36, 48] {
        let sketch = |seed| SketchConfig {
            products,
            seed,
            ..SketchConfig::default()
        };
        let errors = [
            error(truth, |seed| {
                let config = HutchinsonConfig {
                    probes: products,
                    seed,
                    ..HutchinsonConfig::default()
                };
                Ok(hutchinson_trace(&operator, &config)?.value)
            }),
            error(truth, |seed| {
                Ok(hutch_pp(&operator, &sketch(seed))?.estimate.value)
            }),
            error(truth, |seed| {
                Ok(xtrace(&operator, &sketch(seed))?.estimate.value)
            }),
            error(truth, |seed| {
                let config = KrylovTraceConfig {
                    steps: products * 3 / 4,
                    probes: products - products * 3 / 4,
                    seed,
                    ..KrylovTraceConfig::default()
                };
                Ok(krylov_trace(&operator, &config)?.estimate.value)
            }),
            error(truth, |seed| {
                Ok(xnystrace(&operator, &sketch(seed))?.estimate.value)
            }),
        ];
        print!("{products:>10}");
        for (index, error) in errors.into_iter().enumerate() {
            let error = error?;
            print!(" {:>9.2} %", 100.0 * error);
            if error <= 0.02 && fewest[index].is_none() {
                fewest[index] = Some(products);
            }
        }
        println!();
        // Hutchinson's error falls with the root: more rows would show nothing new.
        if fewest[1..].iter().all(Option::is_some) {
            break;
        }
    }
    println!("within 2 %: {fewest:?} products");
    let krylov = fewest[3].expect("48 products are enough");
    assert!(
        fewest[..3]
            .iter()
            .all(|other| other.is_none_or(|other| krylov < other))
    );
    Ok(())
}

fn pairs<M: Module>(name: &str, oracle: &GradientOracle<'_, M>) -> Result<(), CurvatureError> {
    let gauss_newton = lanczos(&GaussNewton::new(oracle)?, &LanczosConfig::default())?;
    let hessian = lanczos(&Hessian::new(oracle)?, &LanczosConfig::default())?;
    println!(
        "{name}: Gauss-Newton {} products, largest {:.4}; Hessian {} products, largest {:.4}",
        gauss_newton.steps, gauss_newton.largest[0].value, hessian.steps, hessian.largest[0].value
    );
    assert!(gauss_newton.converged && hessian.converged);
    Ok(())
}

fn all<M: Module>(
    name: &str,
    model: &M,
    objective: &dyn Objective<M>,
    trace: bool,
) -> Result<(), CurvatureError> {
    let oracle = GradientOracle::new(model, objective);
    pairs(name, &oracle)?;
    if trace {
        traces(name, &oracle)?;
    }
    let dimension = GaussNewton::new(&oracle)?.layout().num_elements();
    println!("{name}: {dimension} parameters\n");
    Ok(())
}

fn main() -> Result<(), CurvatureError> {
    let device = Device::flex().autodiff();
    device.seed(1);
    for widths in [vec![64, 256, 256, 10], vec![64, 1024, 1024, 10]] {
        let objective = SupervisedBatch::new(
            Tensor::<2>::random([128, 64], Distribution::Default, &device),
            |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
            Criterion::cross_entropy(labels(128, 10, &device)),
        );
        let small = widths[1] == 256;
        let name = format!("mlp {widths:?}");
        all(
            &name,
            &MlpConfig::new(widths).init(&device),
            &objective,
            small,
        )?;
    }
    let objective = SupervisedBatch::new(
        Tensor::<4>::random([32, 3, 16, 16], Distribution::Default, &device),
        |model: &ConvNet, x: &Tensor<4>| model.forward(x),
        Criterion::cross_entropy(labels(32, 10, &device)),
    );
    all("conv net", &ConvNet::new(&device), &objective, false)?;
    let objective = SupervisedBatch::new(
        labels(8 * 32, VOCABULARY, &device).reshape([8, 32]),
        |model: &Transformer, tokens: &Tensor<2, Int>| model.forward(tokens),
        Criterion::cross_entropy(labels(8 * 32, VOCABULARY - 1, &device)),
    );
    all(
        "transformer, 4 layers",
        &Transformer::new(&device),
        &objective,
        false,
    )
}
