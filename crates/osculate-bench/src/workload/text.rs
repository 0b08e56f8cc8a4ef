//! What the workloads on characters share.

use burn::tensor::{Device, Int, Tensor};
use osculate::prelude::*;
use osculate_problems::characters::{Characters, Part};
use osculate_problems::modules::{LanguageModel, LanguageModelConfig, seeded};

use super::WorkloadError;
use super::stage::Stage;

/// Rows and length of a batch.
const WINDOWS: [usize; 2] = [16, 64];
/// Windows that are measured, in one batch.
const MEASURED_ROWS: usize = 48;
/// Windows on which curvature is measured.
const CURVATURE_ROWS: usize = 4;
/// Seed of the windows that are measured: no seed of a run.
const MEASURED_SEED: u64 = u64::MAX;

fn forward(model: &LanguageModel, characters: &Tensor<2, Int>) -> Tensor<2> {
    model.forward(characters.clone())
}

/// A transformer of two layers of width 64 over 64 characters.
pub(super) fn model(text: &Characters, seed: u64, device: &Device) -> LanguageModel {
    let config = LanguageModelConfig::new(text.vocabulary().len(), WINDOWS[1]);
    seeded(config.init(device), seed)
}

/// The cross-entropy on 16 windows.
pub(super) fn batch(
    text: &Characters,
    seed: u64,
    step: usize,
    device: &Device,
) -> Result<Box<dyn Objective<LanguageModel>>, WorkloadError> {
    of(text, WINDOWS, seed, step, device)
}

/// The cross-entropy on few windows: curvature takes many passes.
pub(super) fn curvature_batch(
    text: &Characters,
    device: &Device,
) -> Result<Box<dyn Objective<LanguageModel>>, WorkloadError> {
    of(text, [CURVATURE_ROWS, WINDOWS[1]], 0, 0, device)
}

fn of(
    text: &Characters,
    shape: [usize; 2],
    seed: u64,
    step: usize,
    device: &Device,
) -> Result<Box<dyn Objective<LanguageModel>>, WorkloadError> {
    let windows = text
        .windows(Part::Train, shape, seed, step as u64, device)
        .map_err(WorkloadError::new)?;
    let criterion = Criterion::cross_entropy(windows.next);
    Ok(Box::new(SupervisedBatch::new(
        windows.characters,
        forward,
        criterion,
    )))
}

/// The mean cross-entropy on the same windows each time, in nats a character: of the test part, or of the
/// validation part in tuning.
pub(super) fn measure(
    text: &Characters,
    stage: Stage,
    model: &LanguageModel,
    device: &Device,
) -> Result<f64, WorkloadError> {
    let shape = [MEASURED_ROWS, WINDOWS[1]];
    let part = match stage {
        Stage::Report => Part::Test,
        Stage::Tuning => Part::Validation,
    };
    let windows = text
        .windows(part, shape, MEASURED_SEED, 0, device)
        .map_err(WorkloadError::new)?;
    let loss = Criterion::cross_entropy(windows.next)
        .loss(forward(model, &windows.characters))
        .map_err(WorkloadError::new)?;
    Ok(f64::from(loss.into_scalar::<f32>()))
}
