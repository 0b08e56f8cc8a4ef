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

use plot::Colour;

use crate::analysis::Results;

/// The colour of every optimizer, the same in all figures: the baseline is black.
#[derive(Debug, Clone)]
pub struct Palette {
    labels: Vec<String>,
}

impl Palette {
    /// The colours of the optimizers of some results.
    pub fn of(results: &Results) -> Self {
        let mut labels: Vec<String> = results.labels().into_iter().map(String::from).collect();
        labels.sort_by_key(|label| (*label != results.baseline, label.clone()));
        Self { labels }
    }

    fn colour(&self, label: &str) -> Colour {
        let place = self.labels.iter().position(|known| known == label);
        Colour::number(place.unwrap_or(0))
    }

    /// The optimizers in the order of the legend.
    fn labels(&self) -> &[String] {
        &self.labels
    }
}
