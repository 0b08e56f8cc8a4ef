//! Where a run stands.

use std::fmt::{Display, Formatter};

use osculate_curvature::Cost;
use serde::{Deserialize, Serialize};

use super::log::CurvatureInUse;
use super::task::Metrics;

/// The best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps made before it.
    pub step: u64,
    /// Value of the judged metric.
    #[serde(with = "exact")]
    pub value: f64,
}

/// Losses since the last line of the log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) steps: u64,
    #[serde(with = "exact")]
    pub(crate) loss_sum: f64,
    pub(crate) skipped: u64,
    #[serde(default)]
    pub(crate) curvature: Option<CurvatureInUse>,
}

impl Window {
    /// The mean loss.
    pub(crate) fn mean(&self) -> f64 {
        self.loss_sum / self.steps as f64
    }
}

/// Everything of a run but weights and optimizer state. Schedule and batches follow from the step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Steps made.
    pub(crate) step: u64,
    pub(crate) forwards: u64,
    pub(crate) backwards: u64,
    #[serde(with = "exact")]
    pub(crate) seconds: f64,
    pub(crate) best: Option<Best>,
    pub(crate) window: Window,
    /// Mean training loss of the last line.
    #[serde(with = "exact")]
    pub(crate) train_loss: f64,
    /// Parameters left out of steps, summed over steps.
    pub(crate) skipped: u64,
    /// Steps that left every parameter out.
    #[serde(default)]
    pub(crate) idle: u64,
    pub(crate) evaluated: Option<Evaluated>,
    /// Whether what follows a step, such as its evaluation, is not all done.
    #[serde(default)]
    pub(crate) due: bool,
    /// Batches in a pass over the data.
    #[serde(default)]
    pub(crate) batches: u64,
    /// What the task says of its data.
    #[serde(default)]
    pub(crate) data: Option<String>,
    /// Length of the log when the checkpoint was written.
    pub(crate) log_bytes: u64,
}

/// What tells a run's data from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) batches: u64,
    pub(crate) fingerprint: Option<String>,
}

impl Data {
    /// Whether this and the other are known to differ.
    pub(crate) fn is_other(&self, other: &Self) -> bool {
        let fingerprints = self.fingerprint.as_ref().zip(other.fingerprint.as_ref());
        self.batches != other.batches || fingerprints.is_some_and(|(own, other)| own != other)
    }
}

impl Display for Data {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} batches a pass", self.batches)?;
        match &self.fingerprint {
            Some(fingerprint) => write!(f, " of {fingerprint}"),
            None => Ok(()),
        }
    }
}

/// The last evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluated {
    pub(crate) step: u64,
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    pub(crate) name: String,
    #[serde(with = "exact")]
    pub(crate) value: f64,
}

impl Evaluated {
    pub(crate) fn new(step: u64, metrics: &Metrics) -> Self {
        let metrics = metrics
            .iter()
            .map(|(name, value)| Metric {
                name: name.clone(),
                value: *value,
            })
            .collect();
        Self { step, metrics }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.metrics
            .iter()
            .map(|metric| (metric.name.clone(), metric.value))
            .collect()
    }
}

impl State {
    /// What the run was started on.
    pub(crate) fn data(&self) -> Data {
        Data {
            batches: self.batches,
            fingerprint: self.data.clone(),
        }
    }

    /// Adds what a step cost.
    pub(crate) fn spend(&mut self, cost: Cost) {
        self.forwards += cost.forwards;
        self.backwards += cost.backwards;
    }

    pub(crate) fn gradient_evaluations(&self) -> f64 {
        let cost = Cost {
            forwards: self.forwards,
            backwards: self.backwards,
        };
        cost.gradient_evaluations()
    }
}

/// Floats as text: `serde_json` may read the last digit of a number differently from what was
/// written, and knows no infinities.
mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:?}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_to_the_last_bit() {
        let mut value = 0.1_f64;
        for _ in 0..2000 {
            value = (value * 1.618_033_988_749_895 + 1e-7) % 3.7;
            let state = State {
                train_loss: value,
                best: Some(Best {
                    step: 3,
                    value: -value * 1e-200,
                }),
                window: Window {
                    steps: 1,
                    loss_sum: f64::INFINITY,
                    skipped: 0,
                    curvature: None,
                },
                evaluated: Some(Evaluated::new(3, &vec![("loss".to_string(), value)])),
                ..State::default()
            };
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        }
    }
}
