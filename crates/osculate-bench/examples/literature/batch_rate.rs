//! Does the largest stable rate follow the batch size as its noise says?
//!
//! The sharpness of batches of 32 and 256 digits at a perceptron's first weights gives a rate for every size;
//! beside it the largest rate of a sweep, in steps of the root of two, at which 150 steps of plain SGD end with
//! a lower loss than they began with, and that at which they end lowest.

use burn::optim::SgdConfig;
use burn::tensor::{Device, Tensor};
use osculate::curvature::{BatchRate, batch_sharpness};
use osculate::prelude::*;
use osculate_problems::digits::{Batches, CLASSES, Digits, PIXELS};
use osculate_problems::modules::{Activation, Mlp, MlpConfig, seeded};

use super::Fallible;

const MEASURED: [usize; 2] = [32, 256];
const SIZES: [usize; 5] = [4, 16, 64, 256, 1024];
const STEPS: usize = 150;

fn objective(size: usize, step: usize, device: &Device) -> Fallible<Box<dyn Objective<Mlp>>> {
    let train = Digits::load()?.train();
    let a_pass = train.len() / size;
    let mut batches = Batches::new(train.len(), size, 0, (step / a_pass) as u64);
    let positions = batches.nth(step % a_pass).unwrap_or_default();
    let batch = train.batch(&positions, device);
    let forward = |model: &Mlp, x: &Tensor<2>| model.forward(x.clone());
    let criterion = Criterion::cross_entropy(batch.labels);
    Ok(Box::new(SupervisedBatch::new(
        batch.images,
        forward,
        criterion,
    )))
}

fn network(device: &Device) -> Mlp {
    let config = MlpConfig::new(vec![PIXELS, 64, CLASSES]).with_activation(Activation::Tanh);
    seeded(config.init(device), 0)
}

/// The loss on a large batch after the steps; infinite where it left the numbers.
fn trained(size: usize, lr: f64, device: &Device) -> Fallible<f64> {
    let mut optimizer = Driver::from(SgdConfig::new().init());
    let mut model = network(device);
    for step in 0..STEPS {
        let batch = objective(size, step, device)?;
        model = optimizer.step(lr, model, batch.as_ref())?.model;
    }
    loss(&model, device)
}

fn loss(model: &Mlp, device: &Device) -> Fallible<f64> {
    let all = objective(1024, 0, device)?;
    let loss = f64::from(all.loss(model)?.into_scalar::<f32>());
    Ok(if loss.is_finite() {
        loss
    } else {
        f64::INFINITY
    })
}

pub fn run() -> Fallible<()> {
    let device = Device::flex().autodiff();
    let model = network(&device);
    let mut measured = Vec::new();
    for size in MEASURED {
        let batches = (0..5).map(|step| objective(size, step, &device));
        let batches: Vec<_> = batches.collect::<Result<_, _>>()?;
        let (sharpness, cost) = batch_sharpness(&model, &batches)?;
        println!(
            "batches of {size}: sharpness {sharpness:.3}, {:.0} gradient evaluations",
            cost.gradient_evaluations()
        );
        measured.push((size, sharpness));
    }
    let rate = BatchRate::fit(measured[0], measured[1])?;
    println!(
        "sharpness {:.3}, noise {:.2}, saturation at batches of {:.1}",
        rate.sharpness(),
        rate.noise(),
        rate.saturation()
    );
    println!("| batch | rate from noise | largest that trains | best |");
    println!("|---|---|---|---|");
    let start = loss(&model, &device)?;
    for size in SIZES {
        let (mut largest, mut best) = (0.0, (f64::INFINITY, 0.0));
        for half_octave in -6..14 {
            let lr = 2.0_f64.powf(f64::from(half_octave) / 2.0);
            let end = trained(size, lr, &device)?;
            if end < start {
                largest = lr;
            }
            if end < best.0 {
                best = (end, lr);
            }
        }
        let suggested = rate.sgd(size);
        println!("| {size} | {suggested:.3} | {largest:.3} | {:.3} |", best.1);
    }
    Ok(())
}
