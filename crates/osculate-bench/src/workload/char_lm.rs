use std::sync::OnceLock;

use burn::tensor::Device;
use osculate::prelude::Objective;
use osculate_problems::characters::Characters;
use osculate_problems::jargon;
use osculate_problems::modules::LanguageModel;

use super::stage::Stage;
use super::{About, Metric, Schedule, Workload, WorkloadError, text};

/// A language model of characters on the embedded Jargon File.
#[derive(Debug, Clone, Copy, Default)]
pub struct CharLm {
    stage: Stage,
}

/// Part of the text that is trained on.
const TRAINED: f64 = 0.9;

fn characters() -> Result<&'static Characters, WorkloadError> {
    static TEXT: OnceLock<Result<Characters, WorkloadError>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let text = jargon::text().map_err(WorkloadError::new)?;
        Characters::new(text, TRAINED).map_err(WorkloadError::new)
    })
    .as_ref()
    .map_err(Clone::clone)
}

impl Workload for CharLm {
    type Model = LanguageModel;

    fn about(&self) -> About {
        About::new(
            "char-lm",
            "Characters, transformer of 2 layers of width 64",
            Metric::loss("test loss").linear(),
            120,
        )
        .because("attention, embeddings and layer norm: what matrix methods were made for")
        .on("the Jargon File, 1.6 million characters (public domain, embedded), in batches of 16 windows of 64; loss in nats a character on 48 windows of its last twentieth, in tuning of the twentieth before")
        .with_schedule(Schedule::WarmUpCosine)
    }

    fn model(&self, seed: u64, device: &Device) -> Result<LanguageModel, WorkloadError> {
        Ok(text::model(characters()?, seed, device))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<LanguageModel>>, WorkloadError> {
        text::batch(characters()?, seed, step, device)
    }

    fn measure(&self, model: &LanguageModel, device: &Device) -> Result<f64, WorkloadError> {
        text::measure(characters()?, self.stage, model, device)
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = LanguageModel>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
        }))
    }

    fn curvature_batch(
        &self,
        device: &Device,
    ) -> Result<Option<Box<dyn Objective<LanguageModel>>>, WorkloadError> {
        text::curvature_batch(characters()?, device).map(Some)
    }
}
