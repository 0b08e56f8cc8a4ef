use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use osculate::prelude::Objective;
use osculate_problems::characters::Characters;
use osculate_problems::modules::LanguageModel;

use super::stage::Stage;
use super::{About, Metric, Schedule, Workload, WorkloadError, text};

/// The files to train on, the first that is there, and the part of the text that is trained on.
const FILES: [&str; 3] = ["wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"];
const TRAINED: f64 = 0.9;

/// A language model of characters on WikiText, from a folder.
#[derive(Debug, Clone)]
pub struct WikiText {
    stage: Stage,
    text: Arc<Characters>,
    file: String,
    fingerprint: String,
}

impl WikiText {
    /// Reads `wiki.train.tokens` of a folder, or the validation or test part where it is missing.
    ///
    /// # Errors
    /// [`WorkloadError`] where none of them can be read.
    pub fn open(folder: &Path) -> Result<Self, WorkloadError> {
        let file = FILES.into_iter().find(|file| folder.join(file).is_file());
        let file = file.ok_or_else(|| {
            WorkloadError::new(format_args!(
                "{} holds none of {}",
                folder.display(),
                FILES.join(", ")
            ))
        })?;
        let path = folder.join(file);
        let text = fs::read_to_string(&path).map_err(|error| {
            WorkloadError::new(format_args!("cannot read {}: {error}", path.display()))
        })?;
        Ok(Self {
            stage: Stage::Report,
            text: Arc::new(Characters::new(&text, TRAINED).map_err(WorkloadError::new)?),
            file: file.to_string(),
            fingerprint: format!(
                "{} bytes, checksum {:08x}",
                text.len(),
                crc32fast::hash(text.as_bytes())
            ),
        })
    }
}

impl Workload for WikiText {
    type Model = LanguageModel;

    fn about(&self) -> About {
        About::new(
            "wikitext",
            "WikiText, transformer of 2 layers of width 64",
            Metric::loss("test loss").linear(),
            1000,
        )
        .because("the text that language models are compared on")
        .on(format!(
            "{} of the folder, by characters, in batches of 16 windows of 64; loss in nats a character on its last twentieth, in tuning on the twentieth before",
            self.file
        ))
        .with_schedule(Schedule::WarmUpCosine)
    }

    fn fingerprint(&self) -> Option<String> {
        Some(self.fingerprint.clone())
    }

    fn model(&self, seed: u64, device: &Device) -> Result<LanguageModel, WorkloadError> {
        Ok(text::model(&self.text, seed, device))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<LanguageModel>>, WorkloadError> {
        text::batch(&self.text, seed, step, device)
    }

    fn measure(&self, model: &LanguageModel, device: &Device) -> Result<f64, WorkloadError> {
        text::measure(&self.text, self.stage, model, device)
    }

    fn for_tuning(&self) -> Option<Box<dyn Workload<Model = LanguageModel>>> {
        Some(Box::new(Self {
            stage: Stage::Tuning,
            ..self.clone()
        }))
    }

    fn curvature_batch(
        &self,
        device: &Device,
    ) -> Result<Option<Box<dyn Objective<LanguageModel>>>, WorkloadError> {
        text::curvature_batch(&self.text, device).map(Some)
    }
}
