//! Lines in the place of the dashboard. burn's own would end the program where the reader of a pipe leaves.

use std::error::Error;
use std::fmt::Display;
use std::io::Write;

use burn::train::LearnerSummary;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

/// Says which epoch begins, and at the end what burn has to sum up.
#[derive(Debug, Default)]
pub struct Plain {
    epoch: usize,
    epochs: usize,
}

/// Writes a line. That it cannot be written is found out at the end of the program.
fn say(text: impl Display) {
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}

impl TrainingProgressLogger for Plain {
    fn start(&mut self, epochs: usize, epoch: usize, _: Option<usize>, _: Option<&str>) {
        (self.epoch, self.epochs) = (epoch, epochs);
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn start_split(&mut self, split: &str, items: usize) {
        let Self { epoch, epochs } = self;
        say(format_args!(
            "epoch {epoch} of {epochs}, {split}: {items} images"
        ));
    }

    fn update_split(&mut self, _: usize) {}

    fn end_split(&mut self) {}

    fn end(&mut self) {}

    fn log_event_training(&mut self, event: String) {
        say(event);
    }
}

impl EvaluationProgressLogger for Plain {
    fn start_global_progress(&mut self, _: usize) {}

    fn start_test(&mut self, _: &str, _: usize) {}

    fn update_test_progress(&mut self, _: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, event: String) {
        say(event);
    }
}

impl MetricsRendererTraining for Plain {
    fn update_train(&mut self, _: MetricState) {}

    fn update_valid(&mut self, _: MetricState) {}

    fn on_train_end(&mut self, summary: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        if let Some(summary) = summary {
            say(summary);
        }
        Ok(())
    }
}

impl MetricsRendererEvaluation for Plain {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl MetricsRenderer for Plain {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, _: MetricDefinition) {}
}
