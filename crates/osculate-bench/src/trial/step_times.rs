use std::time::Instant;

use burn::module::Module;
use osculate::prelude::{ClosureOptimizer, Objective};
use serde::{Deserialize, Serialize};

use super::record::same_rate;
use super::{Watch, caught};
use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::stats::median;

/// What is to be measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepTimesSpec {
    /// The optimizers with their learning rates; ratios refer to the first.
    pub entrants: Vec<(Entrant, f64)>,
    /// Rounds, in each of which every optimizer makes one block of steps; a round before them is not
    /// counted.
    pub rounds: usize,
    /// Steps in a block: a multiple of the periods at which methods do their rarer work.
    pub block: usize,
}

impl StepTimesSpec {
    /// Whether a result of the other is a result of this.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(own, theirs): (&(Entrant, f64), &(Entrant, f64))| {
            same_rate(own.1, theirs.1) && own.0.is_same(&theirs.0)
        };
        (self.rounds, self.block) == (other.rounds, other.block)
            && self.entrants.len() == other.entrants.len()
            && self.entrants.iter().zip(&other.entrants).all(same)
    }
}

/// Step times of several optimizers, measured in turns in one process: what slows the machine down for
/// a while slows all of them down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepTimes {
    /// What was measured.
    pub spec: StepTimesSpec,
    /// One for each optimizer, in the order given.
    pub entrants: Vec<StepBlocks>,
}

/// The blocks of one optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepBlocks {
    /// Name of the optimizer.
    pub label: String,
    /// Mean seconds of a step, block by block.
    pub seconds: Vec<f64>,
    /// Bytes of the optimizer's state at the end.
    pub state_bytes: usize,
    /// Why a step was not made; there are no more blocks then.
    pub failure: Option<String>,
}

impl StepTimes {
    /// Why they cannot be what a measurement has left, if they cannot.
    pub fn defect(&self) -> Option<String> {
        let rounds = self.spec.rounds;
        let asked = self.spec.entrants.iter().map(|(entrant, _)| &entrant.label);
        if !asked.eq(self.entrants.iter().map(|blocks| &blocks.label)) {
            return Some("they are the step times of other optimizers".to_string());
        }
        let short =
            |blocks: &&StepBlocks| blocks.failure.is_none() && blocks.seconds.len() != rounds;
        self.entrants.iter().find(short).map(|blocks| {
            format!(
                "{} has {} rounds of {rounds}",
                blocks.label,
                blocks.seconds.len()
            )
        })
    }

    /// Of a measurement that could not be made, and why.
    pub fn failed(spec: &StepTimesSpec, message: &str) -> Self {
        let blocks = |(entrant, _): &(Entrant, f64)| StepBlocks {
            label: entrant.label.clone(),
            seconds: Vec::new(),
            state_bytes: 0,
            failure: Some(message.to_string()),
        };
        Self {
            spec: spec.clone(),
            entrants: spec.entrants.iter().map(blocks).collect(),
        }
    }

    /// The median over the rounds of an optimizer's step time over that of the first in the same
    /// round.
    pub fn ratio(&self, label: &str) -> Option<f64> {
        let first = self.entrants.first()?;
        let blocks = self.entrants.iter().find(|blocks| blocks.label == label)?;
        let ratios: Vec<f64> = blocks
            .seconds
            .iter()
            .zip(&first.seconds)
            .map(|(own, reference)| own / reference)
            .collect();
        median(&ratios)
    }

    /// The median over the rounds of an optimizer's step time, in seconds.
    pub fn seconds(&self, label: &str) -> Option<f64> {
        let blocks = self.entrants.iter().find(|blocks| blocks.label == label)?;
        median(&blocks.seconds)
    }
}

/// An optimizer with its model.
struct Lane<M> {
    optimizer: Box<dyn ClosureOptimizer<M>>,
    model: Option<M>,
    lr: f64,
    blocks: StepBlocks,
}

/// Runs optimizers in turns on a problem that is given by its model and its batches.
///
/// # Errors
/// [`BenchError::Usage`] where there is nothing to measure, [`BenchError::Recipe`] where an optimizer cannot be
/// made, and what `model` and `batch` say.
pub fn interleaved<'a, M: Module + 'a>(
    spec: &StepTimesSpec,
    model: impl Fn() -> Result<M, BenchError>,
    batch: impl Fn(usize) -> Result<Box<dyn Objective<M> + 'a>, BenchError>,
    watch: &Watch,
) -> Result<StepTimes, BenchError> {
    if spec.entrants.is_empty() || spec.rounds == 0 || spec.block == 0 {
        return Err(BenchError::Usage(format!(
            "step times of {} optimizers in {} rounds of {} steps: expected at least 1 of each",
            spec.entrants.len(),
            spec.rounds,
            spec.block
        )));
    }
    let mut lanes = Vec::new();
    for (entrant, lr) in &spec.entrants {
        lanes.push(Lane {
            optimizer: entrant.make::<M>(0)?,
            model: Some(model()?),
            lr: *lr,
            blocks: StepBlocks {
                label: entrant.label.clone(),
                seconds: Vec::new(),
                state_bytes: 0,
                failure: None,
            },
        });
    }
    for round in 0..=spec.rounds {
        let objectives = (0..spec.block)
            .map(|step| batch(round * spec.block + step))
            .collect::<Result<Vec<_>, _>>()?;
        for lane in &mut lanes {
            if watch.stopped() {
                return Err(BenchError::Interrupted);
            }
            if let Some(seconds) = lane.block(&objectives)
                && round > 0
            {
                lane.blocks.seconds.push(seconds);
            }
        }
    }
    Ok(StepTimes {
        spec: spec.clone(),
        entrants: lanes.into_iter().map(Lane::finish).collect(),
    })
}

impl<M: Module> Lane<M> {
    /// Makes a block of steps and returns the mean seconds of one.
    fn block(&mut self, objectives: &[Box<dyn Objective<M> + '_>]) -> Option<f64> {
        let model = self.model.take()?;
        let start = Instant::now();
        let made = caught(|| self.steps(model, objectives)).and_then(|made| made);
        let seconds = start.elapsed().as_secs_f64() / objectives.len().max(1) as f64;
        match made {
            Ok(model) => {
                self.model = Some(model);
                Some(seconds)
            }
            Err(message) => {
                self.blocks.failure = Some(message);
                None
            }
        }
    }

    fn steps(
        &mut self,
        mut model: M,
        objectives: &[Box<dyn Objective<M> + '_>],
    ) -> Result<M, String> {
        for objective in objectives {
            let step = self.optimizer.step(self.lr, model, objective.as_ref());
            let step = step.map_err(|error| error.cause.to_string())?;
            // Waits for the device.
            let _ = step.report.loss();
            model = step.model;
        }
        Ok(model)
    }

    fn finish(mut self) -> StepBlocks {
        self.blocks.state_bytes = self.optimizer.state_bytes();
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let blocks = |label: &str, seconds: &[f64]| StepBlocks {
            label: label.to_string(),
            seconds: seconds.to_vec(),
            state_bytes: 0,
            failure: None,
        };
        // The machine was ten times slower in the second round.
        let spec = |labels: &[&str], rounds| StepTimesSpec {
            entrants: labels
                .iter()
                .map(|label| (format!("{label}=sgd").parse().unwrap(), 0.1))
                .collect(),
            rounds,
            block: 1,
        };
        let mut times = StepTimes {
            spec: spec(&["adamw", "sam", "broken"], 3),
            entrants: vec![
                blocks("adamw", &[1.0, 10.0, 1.0]),
                blocks("sam", &[2.0, 20.0, 2.2]),
                blocks("broken", &[]),
            ],
        };
        assert_eq!(times.ratio("adamw"), Some(1.0));
        assert_eq!(times.ratio("sam"), Some(2.0));
        assert_eq!(times.ratio("broken"), None);
        assert_eq!(times.seconds("sam"), Some(2.2));
        assert!(times.defect().unwrap().contains("broken has 0 rounds of 3"));
        times.entrants.pop();
        assert!(times.defect().unwrap().contains("other optimizers"));
        assert!(!times.spec.is_same(&spec(&["adamw", "sam"], 3)));
        assert!(!times.spec.is_same(&spec(&["adamw", "sam", "broken"], 4)));
        let failed = StepTimes::failed(&times.spec, "no data");
        assert_eq!((failed.defect(), failed.ratio("sam")), (None, None));
    }
}
