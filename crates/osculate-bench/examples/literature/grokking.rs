//! Does the orthogonal gradient remove the stall of grokking?
//!
//! Prieto et al. train on 40 % of the sums modulo 113 without weight decay: AdamW in single precision stays near
//! chance on the others, with the orthogonal gradient it learns them within 300 steps.

use burn::module::Module;
use burn::optim::AdamWConfig;
use burn::tensor::{Device, Int, Tensor};
use osculate::prelude::*;
use osculate_problems::modular_addition::{ModularAddition, SumBatch};
use osculate_problems::modules::{Activation, Mlp, MlpConfig, seeded};

use super::Fallible;

const MODULUS: usize = 113;
const WIDTH: usize = 200;
const STEPS: usize = 300;
const LOOKS: usize = 50;
const LR: f64 = 0.01;

fn accuracy(model: &Mlp, batch: &SumBatch) -> f64 {
    let model = model.valid();
    let predicted: Tensor<1, Int> = model.forward(batch.pairs.clone()).argmax(1).squeeze_dim(1);
    let right = predicted.equal(batch.sums.clone()).int().sum();
    f64::from(right.into_scalar::<i32>()) / batch.sums.dims()[0] as f64
}

fn train(name: &str, mut optimizer: Driver, stable: bool) -> Fallible<()> {
    let device = Device::flex();
    let training = device.clone().autodiff();
    let task = ModularAddition::new(MODULUS, 0.4, 0)?;
    let (shown, rest) = (task.train(&device), task.test(&device));
    let batch = task.train(&training);
    let criterion = match stable {
        true => Criterion::stable_max(batch.sums),
        false => Criterion::cross_entropy(batch.sums),
    };
    let forward = |model: &Mlp, x: &Tensor<2>| model.forward(x.clone());
    let objective = SupervisedBatch::new(batch.pairs, forward, criterion);
    let widths = vec![2 * MODULUS, WIDTH, WIDTH, MODULUS];
    let config = MlpConfig::new(widths).with_activation(Activation::Relu);
    let mut model = seeded(config.init(&training), 0);
    for step in 1..=STEPS {
        let made = optimizer.step(LR, model, &objective)?;
        model = made.model;
        if step % LOOKS == 0 {
            println!(
                "| {name} | {step} | {:.3e} | {:.1} | {:.1} |",
                made.report.loss(),
                100.0 * accuracy(&model, &shown),
                100.0 * accuracy(&model, &rest),
            );
        }
    }
    Ok(())
}

pub fn run() -> Fallible<()> {
    println!("| optimizer | step | loss | right of those shown, % | right of the others, % |");
    println!("|---|---|---|---|---|");
    let adamw = || {
        let config = AdamWConfig::new().with_weight_decay(0.0);
        config.with_epsilon(1e-8).init()
    };
    train("adamw", adamw().into(), false)?;
    train(
        "perp-grad over adamw",
        PerpGrad::new().over(adamw())?,
        false,
    )?;
    train("adamw, StableMax", adamw().into(), true)
}
