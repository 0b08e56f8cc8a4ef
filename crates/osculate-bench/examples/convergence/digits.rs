use std::error::Error;

use burn::module::Module;
use burn::tensor::Device;
use osculate::prelude::*;
use osculate_problems::digits::{Batches, CLASSES, Digits, PIXELS};
use osculate_problems::modules::{Mlp, MlpConfig, seeded};

use crate::entrant::{Entrant, Shape};
use crate::model::schedule;

/// Learning rates of every method.
const RATES: [f64; 7] = [1e-3, 3e-3, 1e-2, 2e-2, 3e-2, 6e-2, 1e-1];
const EPOCHS: u64 = 12;
const BATCH: usize = 64;
const SEEDS: [u64; 3] = [0, 1, 2];
/// Mean loss on the test images that is the target.
const TARGET: f64 = 0.12;
/// Steps between two tests.
const TEST_EVERY: usize = 5;

/// Steps until a perceptron's test loss reaches the target, mean over the seeds.
pub fn study(methods: &[Entrant], device: &Device) -> Result<(), Box<dyn Error>> {
    println!(
        "digits, MLP 64-64-10: steps to a test loss of {TARGET}, mean of {} seeds",
        SEEDS.len()
    );
    for &method in methods {
        let mut best: Option<(f64, f64)> = None;
        let mut all = Vec::new();
        for lr in RATES {
            let mut steps = Vec::new();
            for seed in SEEDS {
                steps.extend(steps_to_target(method, lr, seed, device)?);
            }
            let mean = (steps.len() == SEEDS.len())
                .then(|| steps.iter().sum::<usize>() as f64 / steps.len() as f64);
            all.push(mean.map_or("-".to_string(), |mean| format!("{mean:.0}")));
            if let Some(mean) = mean
                && best.is_none_or(|(least, _)| mean < least)
            {
                best = Some((mean, lr));
            }
        }
        let best = best.map_or("not reached".to_string(), |(mean, lr)| {
            format!("{mean:.0} at {lr}")
        });
        println!(
            "{:18} {best:18} (by rate: {})",
            method.name(),
            all.join(" ")
        );
    }
    Ok(())
}

fn steps_to_target(
    method: Entrant,
    lr: f64,
    seed: u64,
    device: &Device,
) -> Result<Option<usize>, Box<dyn Error>> {
    let digits = Digits::load()?;
    let shape = Shape {
        dense_vectors: false,
        rest_lr: 0.3,
    };
    let mut optimizer = method.make::<Mlp>(shape)?;
    let mut model = seeded(MlpConfig::new(vec![PIXELS, 64, CLASSES]).init(device), seed);
    let test = digits.test().all(&device.clone().inner());
    let total = EPOCHS as usize * digits.train().len().div_ceil(BATCH);
    let mut made = 0;
    for epoch in 0..EPOCHS {
        for positions in Batches::new(digits.train().len(), BATCH, seed, epoch) {
            let batch = digits.train().batch(&positions, device);
            let images = batch.images;
            let objective = Supervised::new(
                move |model: &Mlp| model.forward(images.clone()),
                Criterion::cross_entropy(batch.labels),
            );
            let lr = lr * schedule(made, total);
            let step = optimizer.step(lr, model, &objective).map_err(|e| e.cause)?;
            model = step.model;
            made += 1;
            if made % TEST_EVERY == 0 {
                let logits = model.valid().forward(test.images.clone());
                let criterion = Criterion::cross_entropy(test.labels.clone());
                let loss = criterion.loss(logits)?.into_scalar::<f32>();
                if f64::from(loss) <= TARGET {
                    return Ok(Some(made));
                }
            }
        }
    }
    Ok(None)
}
