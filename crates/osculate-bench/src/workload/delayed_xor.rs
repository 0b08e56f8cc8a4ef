use burn::tensor::{Device, Tensor};
use osculate::prelude::*;
use osculate_problems::delayed_xor::{CHANNELS, delayed_xor};
use osculate_problems::modules::{Recurrent, RecurrentConfig, seeded};

use super::digits::accuracy;
use super::stage::Stage;
use super::{About, Metric, Workload, WorkloadError};

/// A recurrent network that must tell whether two marked bits of a sequence differ.
#[derive(Debug, Clone, Copy, Default)]
pub struct DelayedXor {
    stage: Stage,
}

/// Rows and length of a batch.
const SEQUENCES: [usize; 2] = [64, 12];
/// Sequences that are measured, and their seeds: no seeds of runs.
const MEASURED: usize = 512;
const MEASURED_SEED: u64 = u64::MAX;
const TUNING_SEED: u64 = u64::MAX - 1;

fn forward(model: &Recurrent, sequences: &Tensor<3>) -> Tensor<2> {
    model.forward(sequences.clone())
}

impl Workload for DelayedXor {
    type Model = Recurrent;

    fn about(&self) -> About {
        About::new(
            "delayed-xor",
            "Delayed xor, recurrent net of width 32",
            Metric::accuracy("accuracy on new sequences"),
            1000,
        )
        .because("a long plateau and gradients through time: methods without curvature get stuck")
        .on("new random sequences of 12 bits in every batch of 64, two of them marked; measured on 512 other sequences, and on 512 more in tuning")
    }

    fn model(&self, seed: u64, device: &Device) -> Result<Recurrent, WorkloadError> {
        Ok(seeded(RecurrentConfig::new(CHANNELS, 2).init(device), seed))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Recurrent>>, WorkloadError> {
        let batch =
            delayed_xor(SEQUENCES, seed, step as u64, device).map_err(WorkloadError::new)?;
        let criterion = Criterion::cross_entropy(batch.answers);
        Ok(Box::new(SupervisedBatch::new(
            batch.sequences,
            forward,
            criterion,
        )))
    }

    fn measure(&self, model: &Recurrent, device: &Device) -> Result<f64, WorkloadError> {
        let shape = [MEASURED, SEQUENCES[1]];
        let seed = match self.stage {
            Stage::Report => MEASURED_SEED,
            Stage::Tuning => TUNING_SEED,
        };
        let batch = delayed_xor(shape, seed, 0, device).map_err(WorkloadError::new)?;
        Ok(accuracy(forward(model, &batch.sequences), batch.answers))
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = Recurrent>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
        }))
    }
}
