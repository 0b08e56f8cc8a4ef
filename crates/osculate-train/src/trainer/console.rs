//! What a run shows while it is under way.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::task::{Metrics, listed};

const TEMPLATE: &str = "{bar:30} {pos}/{len} steps, {eta} left  {msg}";

/// A progress bar on a terminal's standard error; messages go above it, or to the log where there is
/// no terminal.
pub(crate) struct Console {
    bar: ProgressBar,
}

impl Console {
    pub(crate) fn new(steps: u64, made: u64, visible: bool) -> Self {
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_position(made);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar }
    }

    /// Says something that stays.
    pub(crate) fn say<'a>(&self, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        if self.bar.is_hidden() {
            tracing::info!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Says something that the user should know.
    pub(crate) fn warn(&self, text: &str) {
        if self.bar.is_hidden() {
            tracing::warn!("{text}");
        } else {
            self.bar.println(format!("warning: {text}"));
        }
    }

    pub(crate) fn step(&self, made: u64) {
        self.bar.set_position(made);
    }

    pub(crate) fn show(&self, loss: f64, lr: f64, metrics: &Metrics) {
        self.bar
            .set_message(format!("loss {loss:.4}  lr {lr:.2e}  {}", listed(metrics)));
    }

    /// Shows what takes its time.
    pub(crate) fn busy(&self, text: &'static str) {
        self.bar.set_message(text);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
