use std::path::Path;
use std::sync::Arc;

use super::{
    About, Autoencoder, CharLm, Cifar, DelayedXor, DigitsConv, DigitsMlp, DigitsNoise,
    Factorisation, Logistic, Pinn, Quadratic, RosenbrockValley, WikiText, Workload,
};
use crate::error::BenchError;
use crate::trial::Trainer;

/// The workloads of a program, by name.
#[derive(Clone)]
pub struct Workloads {
    all: Vec<Arc<dyn Trainer>>,
}

impl Workloads {
    /// None.
    pub fn empty() -> Self {
        Self { all: Vec::new() }
    }

    /// Those whose data is part of the program.
    pub fn built_in() -> Self {
        Self::empty()
            .with(DigitsMlp::default())
            .with(DigitsConv::default())
            .with(DigitsNoise::default())
            .with(CharLm::default())
            .with(Autoencoder::default())
            .with(Logistic)
            .with(Quadratic)
            .with(RosenbrockValley)
            .with(Factorisation)
            .with(DelayedXor::default())
            .with(Pinn::default())
    }

    /// Adds a workload, in the place of one with the same name.
    pub fn with(mut self, workload: impl Workload + 'static) -> Self {
        let name = workload.about().name;
        self.all.retain(|known| known.about().name != name);
        self.all.push(Arc::new(workload));
        self
    }

    /// Adds those whose data lies in folders.
    ///
    /// # Errors
    /// [`BenchError::Workload`] where a folder does not hold the data.
    pub fn with_folders(
        self,
        cifar: Option<&Path>,
        wikitext: Option<&Path>,
    ) -> Result<Self, BenchError> {
        let failed = |name: &str| {
            let name = name.to_string();
            move |source| BenchError::Workload { name, source }
        };
        let mut workloads = self;
        if let Some(folder) = cifar {
            workloads = workloads.with(Cifar::open(folder).map_err(failed("cifar"))?);
        }
        if let Some(folder) = wikitext {
            workloads = workloads.with(WikiText::open(folder).map_err(failed("wikitext"))?);
        }
        Ok(workloads)
    }

    /// A workload by name.
    ///
    /// # Errors
    /// [`BenchError::Usage`], which lists the names.
    pub fn get(&self, name: &str) -> Result<&dyn Trainer, BenchError> {
        self.all
            .iter()
            .find(|workload| workload.about().name == name)
            .map(AsRef::as_ref)
            .ok_or_else(|| {
                let known: Vec<String> = self.abouts().map(|about| about.name).collect();
                let folders = match name {
                    "cifar" | "wikitext" => format!("; {name} needs --{name} DIR"),
                    _ => String::new(),
                };
                BenchError::Usage(format!(
                    "there is no workload {name:?}; known are: {}{folders}",
                    known.join(", ")
                ))
            })
    }

    /// What the workloads are.
    pub fn abouts(&self) -> impl Iterator<Item = About> {
        self.all.iter().map(|workload| workload.about())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_says_what_it_is() {
        let workloads = Workloads::built_in();
        let abouts: Vec<About> = workloads.abouts().collect();
        assert_eq!(abouts.len(), 11);
        for about in &abouts {
            let file_safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(about.name.chars().all(file_safe), "{}", about.name);
            assert!(about.steps > 0 && !about.title.is_empty());
            assert!(
                !about.reason.is_empty() && !about.data.is_empty(),
                "{}",
                about.name
            );
        }
        let unknown = workloads.get("digit").err().map(|error| error.to_string());
        assert!(unknown.is_some_and(|text| text.contains("digits-mlp")));
        let folder = workloads.get("cifar").err().map(|error| error.to_string());
        assert!(folder.is_some_and(|text| text.contains("--cifar DIR")));
    }

    #[test]
    fn a_workload_of_the_same_name_takes_the_place() {
        let workloads = Workloads::built_in().with(DigitsMlp::default());
        assert_eq!(workloads.abouts().count(), 11);
        let none = Workloads::empty().with_folders(Some(Path::new("/nowhere")), None);
        assert!(
            none.err()
                .is_some_and(|e| e.to_string().contains("/nowhere"))
        );
    }
}
