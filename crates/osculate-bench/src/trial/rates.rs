use burn::tensor::Device;
use osculate::curvature::{Accumulated, BatchRate, ObjectiveError, batch_sharpness};
use osculate::optim::{RangeCurve, RangeTest};

use super::train::{drawing, failure};
use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::workload::Workload;

/// What to look for a learning rate with.
#[derive(Debug, Clone)]
pub struct RatesSpec {
    /// The optimizer.
    pub entrant: Entrant,
    /// The run in which the rate grows.
    pub test: RangeTest,
    /// Seed of weights, batches and probes.
    pub seed: u64,
    /// Whether the sharpness of batches at the first weights is wanted too.
    pub noise: bool,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Rates {
    /// Losses over the rate.
    pub curve: RangeCurve,
    /// Sharpness and noise, with the workload's own batch as the unit of batch sizes.
    pub noise: Option<BatchRate>,
}

/// Batches that count as one large one.
const TOGETHER: usize = 8;
/// Batches of each size whose sharpness is averaged.
const AVERAGED: usize = 4;

pub(super) fn rates<W: Workload>(
    workload: &W,
    spec: &RatesSpec,
    device: &Device,
) -> Result<Rates, BenchError> {
    let training = device.clone().autodiff();
    let failed = |source| failure(workload, source);
    let model = workload.model(spec.seed, &training).map_err(failed)?;
    let mut optimizer = spec.entrant.make::<W::Model>(spec.seed)?;
    let batch = |step| {
        let drawn = drawing(workload, (spec.seed, step, spec.test.steps), &training);
        drawn.map_err(ObjectiveError::new)
    };
    let curve = spec.test.run(&mut *optimizer, model.clone(), batch);
    let curve = curve.map_err(|error| BenchError::Step {
        optimizer: spec.entrant.label.clone(),
        message: error.to_string(),
    })?;
    if !spec.noise {
        return Ok(Rates { curve, noise: None });
    }
    let batch = |step| workload.batch(spec.seed, step, &training).map_err(failed);
    let single = (0..AVERAGED).map(batch).collect::<Result<Vec<_>, _>>()?;
    let (of_one, _) = batch_sharpness(&model, &single)?;
    let mut together = Vec::new();
    for group in 0..AVERAGED {
        let own = group * TOGETHER..(group + 1) * TOGETHER;
        let parts = own.map(|step| Ok((batch(step)?, 1)));
        let parts = parts.collect::<Result<Vec<_>, BenchError>>()?;
        together.push(Box::new(Accumulated::new(parts)) as Box<_>);
    }
    let (of_many, _) = batch_sharpness(&model, &together)?;
    let noise = BatchRate::fit((1, of_one), (TOGETHER, of_many))?;
    Ok(Rates {
        curve,
        noise: Some(noise),
    })
}
