use serde::{Deserialize, Serialize};

/// A performance profile (Dolan and Moré 2002): for each factor, the part of the workloads on which an
/// optimizer reaches the target within that factor of the fastest time of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Steps of the curve: a factor, and the part of the workloads from there on.
    pub points: Vec<(f64, f64)>,
    /// Mean height of the curve between the factors 1 and the largest one: AlgoPerf's score.
    pub score: f64,
}

impl Profile {
    /// The height of the curve at a factor.
    pub fn at(&self, factor: f64) -> f64 {
        let reached = self.points.iter().rev().find(|point| point.0 <= factor);
        reached.map_or(0.0, |point| point.1)
    }
}

/// The profiles of several optimizers. `times[o][w]` is the time of optimizer `o` to the target of
/// workload `w`, `None` where it was not reached; factors run from 1 to `largest`.
///
/// A workload whose target nobody reached counts as missed by all, and one that the list of an optimizer does not
/// come to as missed by it.
pub fn profiles(times: &[Vec<Option<f64>>], largest: f64) -> Vec<Profile> {
    let workloads = times.iter().map(Vec::len).max().unwrap_or(0);
    let time = |row: &Vec<Option<f64>>, w: usize| row.get(w).copied().flatten();
    let fastest: Vec<Option<f64>> = (0..workloads)
        .map(|w| times.iter().filter_map(|row| time(row, w)).reduce(f64::min))
        .collect();
    times
        .iter()
        .map(|row| profile(row, &fastest, largest))
        .collect()
}

fn profile(row: &[Option<f64>], fastest: &[Option<f64>], largest: f64) -> Profile {
    let mut ratios: Vec<f64> = row
        .iter()
        .zip(fastest)
        .filter_map(|(time, best)| Some(time.as_ref()? / best.as_ref()?))
        // Nothing over nothing: the fastest took no time.
        .map(|ratio| if ratio.is_nan() { 1.0 } else { ratio })
        .filter(|ratio| *ratio <= largest)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let part = 1.0 / fastest.len().max(1) as f64;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (index, ratio) in ratios.iter().enumerate() {
        let height = (index + 1) as f64 * part;
        match points.last_mut() {
            Some(last) if last.0 == *ratio => last.1 = height,
            _ => points.push((*ratio, height)),
        }
    }
    // Every workload adds a rectangle from its ratio to the largest factor.
    let area = ratios
        .iter()
        .fold(0.0, |area, ratio| area + (largest - ratio) * part);
    let width = largest - 1.0;
    let score = if width > 0.0 { area / width } else { 0.0 };
    Profile { points, score }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three optimizers on four workloads, worked out by hand.
    #[test]
    fn a_table_made_by_hand_comes_out() {
        let times = [
            vec![Some(10.0), Some(30.0), None, Some(8.0)],
            vec![Some(20.0), Some(15.0), None, Some(80.0)],
            vec![None, Some(60.0), None, Some(8.0)],
        ];
        let found = profiles(&times, 4.0);
        // Ratios: 1, 2, -, 1.
        assert_eq!(found[0].points, [(1.0, 0.5), (2.0, 0.75)]);
        assert!((found[0].score - (3.0 + 2.0 + 3.0) / 4.0 / 3.0).abs() < 1e-12);
        // Ratios: 2, 1, -, 10 (beyond the largest factor).
        assert_eq!(found[1].points, [(1.0, 0.25), (2.0, 0.5)]);
        assert!((found[1].score - (2.0 + 3.0) / 4.0 / 3.0).abs() < 1e-12);
        // Ratios: -, 4, -, 1.
        assert_eq!(found[2].points, [(1.0, 0.25), (4.0, 0.5)]);
        assert!((found[2].score - 3.0 / 4.0 / 3.0).abs() < 1e-12);
        assert_eq!(found[0].at(0.9), 0.0);
        assert_eq!(found[0].at(1.5), 0.5);
        assert_eq!(found[0].at(9.0), 0.75);
    }

    #[test]
    fn the_fastest_everywhere_scores_one() {
        let found = profiles(&[vec![Some(1.0), Some(2.0)], vec![None, None]], 4.0);
        assert!((found[0].score - 1.0).abs() < 1e-12);
        assert_eq!((found[1].score, found[1].points.len()), (0.0, 0));
        assert!(profiles(&[], 4.0).is_empty());
    }
}
