//! What came of a run.

use std::fmt::{Display, Formatter};
use std::path::PathBuf;

use osculate_program::exit;

use super::state::Best;
use super::task::{Metrics, listed};

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps were made.
    Finished,
    /// The wall-clock budget is spent.
    OutOfTime,
    /// The budget of gradient evaluations is spent.
    OutOfGradients,
    /// It was asked to end, by a signal for instance. There was no last evaluation.
    Interrupted,
}

impl Ending {
    /// Exit code of the program: 0, or 130 for an interrupted run.
    pub fn exit_code(self) -> u8 {
        match self {
            Ending::Interrupted => exit::INTERRUPTED,
            _ => 0,
        }
    }
}

/// What came of a run. Its `Display` is a few lines for standard output.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Name of the optimizer.
    pub optimizer: String,
    /// Why the run ended.
    pub ending: Ending,
    /// Steps made, those before a resume included.
    pub step: u64,
    /// Steps planned.
    pub steps: u64,
    /// Passes over the data.
    pub passes: f64,
    /// Seconds, those before a resume included.
    pub seconds: f64,
    /// Gradient evaluations.
    pub gradient_evaluations: f64,
    /// Mean training loss of the last line of the log.
    pub train_loss: f64,
    /// Results of the last evaluation.
    pub metrics: Metrics,
    /// Name of the judged metric.
    pub judged: &'static str,
    /// The best evaluation.
    pub best: Option<Best>,
    /// Parameters left out of steps because something was not finite, summed over steps.
    pub skipped: u64,
    /// Trainable and other numbers of the model.
    pub parameters: usize,
    /// Bytes of the optimizer's state.
    pub state_bytes: usize,
    /// The output folder.
    pub out: PathBuf,
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let ending = match self.ending {
            Ending::Finished => "all steps made; --resume with more --steps or --epochs goes on",
            Ending::OutOfTime => "out of time; --resume with more, or with 0 for no end, goes on",
            Ending::OutOfGradients => "out of gradient evaluations; --resume with more goes on",
            Ending::Interrupted => "interrupted; --resume goes on",
        };
        writeln!(
            f,
            "{}: {} of {} steps ({:.2} passes) in {:.1} s, {:.0} gradient evaluations: {ending}",
            self.optimizer,
            self.step,
            self.steps,
            self.passes,
            self.seconds,
            self.gradient_evaluations,
        )?;
        writeln!(
            f,
            "{} parameters, {} bytes of optimizer state",
            self.parameters, self.state_bytes
        )?;
        writeln!(f, "training loss {:.4}", self.train_loss)?;
        if !self.metrics.is_empty() {
            writeln!(f, "last evaluation: {}", listed(&self.metrics))?;
        }
        if let Some(best) = self.best {
            writeln!(
                f,
                "best {}: {:.4} at step {}",
                self.judged, best.value, best.step
            )?;
        }
        if self.skipped > 0 {
            writeln!(f, "{} parameter updates left out, not finite", self.skipped)?;
        }
        write!(f, "results in {}", self.out.display())
    }
}
