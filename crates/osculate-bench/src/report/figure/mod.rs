//! Figures, as SVG.

mod curves;
mod plot;
mod profiles;
mod ruler;
mod solutions;
mod ticks;

pub use curves::curves;
pub use profiles::profiles;
pub use solutions::solutions;

pub(super) use curves::{Curve, range_of, scale};

use plot::Colour;

use crate::analysis::Results;

/// The optimizers of a report in the order of its legends, the baseline first. Each has one colour in all
/// reports.
#[derive(Debug, Clone)]
pub struct Palette {
    labels: Vec<String>,
}

impl Palette {
    /// The optimizers of some results.
    pub fn of(results: &Results) -> Self {
        let mut labels: Vec<String> = results.labels().into_iter().map(String::from).collect();
        labels.sort_by_key(|label| (*label != results.baseline, label.clone()));
        Self { labels }
    }

    fn colour(&self, label: &str) -> Colour {
        Colour::of(label)
    }

    /// The optimizers in the order of the legend.
    fn labels(&self) -> &[String] {
        &self.labels
    }
}
