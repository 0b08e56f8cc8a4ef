//! Does one cycle at a large rate train in a fraction of the steps?
//!
//! Smith and Topin reach with one cycle up to a rate of 3, in an eighth of the steps, more than stepwise rates of
//! 0.1 to 0.35 reach in all. Here: the network of `digits-conv`, SGD with momentum, its usual cosine in 276 steps
//! and in fewer, against one cycle in as few. The rate of each is the best of those tried on held-out images.

use burn::module::Module;
use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use burn::tensor::Device;
use osculate::optim::{OneCycle, RateSchedule};
use osculate::prelude::*;
use osculate_bench::workload::{DigitsConv, Workload};
use osculate_problems::modules::ConvNet;

use super::{Fallible, percent};

const RATES: [f64; 5] = [0.03, 0.1, 0.3, 1.0, 3.0];
const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;
const STEPS: [usize; 4] = [276, 69, 46, 23];

fn train(
    workload: &dyn Workload<Model = ConvNet>,
    rate: &dyn Fn(usize) -> f64,
    steps: usize,
    seed: u64,
) -> Fallible<f64> {
    let device = Device::flex();
    let training = device.clone().autodiff();
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let sgd = SgdConfig::new().with_momentum(Some(momentum)).init();
    let mut optimizer = Driver::from(sgd);
    let mut model = workload.model(seed, &training)?;
    for step in 0..steps {
        let batch = workload.batch(seed, step, &training)?;
        model = optimizer.step(rate(step), model, batch.as_ref())?.model;
    }
    Ok(workload.measure(&model.valid(), &device)?)
}

pub fn run() -> Fallible<()> {
    println!("| schedule | steps | rate | test accuracy, % |");
    println!("|---|---|---|---|");
    let workload = DigitsConv::default();
    let Some(tuning) = workload.for_tuning() else {
        return Err("digits-conv holds nothing out".into());
    };
    for steps in STEPS {
        let cosine = |lr: f64| {
            let about = Workload::about(&workload);
            Box::new(move |step: usize| lr * about.schedule.factor(step, steps))
                as Box<dyn Fn(usize) -> f64>
        };
        let cycle = |lr: f64| {
            let cycle = OneCycle::new(lr, steps as u64)
                .with_rising(0.45)
                .with_start_divisor(10.0)
                .with_end_divisor(100.0)
                .with_three_phases(true)
                .with_linear(true);
            Box::new(move |step: usize| cycle.rate(step as u64)) as Box<dyn Fn(usize) -> f64>
        };
        let schedules: [(&str, &dyn Fn(f64) -> Box<dyn Fn(usize) -> f64>); 2] =
            [("cosine", &cosine), ("one cycle", &cycle)];
        for (name, schedule) in schedules {
            let mut best = (f64::NEG_INFINITY, 0.0);
            for lr in RATES {
                let found = train(tuning.as_ref(), &schedule(lr), steps, 0)?;
                if found > best.0 {
                    best = (found, lr);
                }
            }
            let found: Result<Vec<f64>, _> = SEEDS
                .map(|seed| train(&workload, &schedule(best.1), steps, seed))
                .collect();
            println!("| {name} | {steps} | {} | {} |", best.1, percent(&found?));
        }
    }
    Ok(())
}
