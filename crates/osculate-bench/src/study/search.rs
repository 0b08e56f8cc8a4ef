use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::Budget;
use crate::stats::mean;
use crate::trial::{Outcome, Trial};
use crate::workload::Metric;

/// Seed of all tuning trials: none of the winner's runs has it.
pub const TUNING_SEED: u64 = 1_000_003;

/// The places of `count` trials between 0 and 1: a lattice, one place in each of `count` equal parts, all at
/// the same random place of their part. The parts are visited in the order of van der Corput's sequence, so
/// that any beginning is spread over the interval.
fn places(count: usize, seed: u64) -> Vec<f64> {
    let shift: f64 = ChaCha8Rng::seed_from_u64(seed).random();
    let mut parts: Vec<usize> = (0..count).collect();
    parts.sort_by_key(|part| part.reverse_bits());
    parts
        .into_iter()
        .map(|part| (part as f64 + shift) / count as f64)
        .collect()
}

/// The learning rates of the tuning trials, spread evenly in their logarithm from `centre / width` to
/// `centre * width`.
pub fn rates(centre: f64, budget: &Budget) -> Vec<f64> {
    places(budget.trials, budget.search_seed)
        .into_iter()
        .map(|place| centre * budget.width.powf(2.0 * place - 1.0))
        .collect()
}

/// The number of the trial whose last measurement is best; where several are, the one whose mean over
/// the run is. Trials that did not finish cannot win; `None` where none did.
pub fn winner(trials: &[&Trial], metric: &Metric) -> Option<usize> {
    let sign = if metric.higher_is_better { 1.0 } else { -1.0 };
    let score = |trial: &Trial| {
        let values: Vec<f64> = trial
            .points
            .iter()
            .filter_map(|point| point.metric)
            .collect();
        let last = trial.points.last()?.metric?;
        Some((sign * last, sign * mean(&values)?))
    };
    trials
        .iter()
        .enumerate()
        .filter(|(_, trial)| trial.outcome == Outcome::Finished)
        .filter_map(|(index, trial)| Some((index, score(trial)?)))
        .reduce(|best, other| if other.1 > best.1 { other } else { best })
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Point, TrialSpec};

    #[test]
    fn rates_cover_the_range_evenly() {
        let budget = Budget {
            trials: 7,
            width: 10.0,
            search_seed: 3,
            ..Budget::default()
        };
        let mut found = rates(0.01, &budget);
        assert!(
            found.iter().all(|rate| (1e-3..=0.1).contains(rate)),
            "{found:?}"
        );
        assert_eq!(found, rates(0.01, &budget));
        // The first two lie in different halves.
        assert!((found[0] < 0.01) != (found[1] < 0.01), "{found:?}");
        found.sort_by(f64::total_cmp);
        // Seven places are a seventh apart: a factor of 100^(1/7).
        for pair in found.windows(2) {
            assert!(
                (pair[1] / pair[0] - 100.0_f64.powf(1.0 / 7.0)).abs() < 1e-6,
                "{found:?}"
            );
        }
        let other = Budget {
            search_seed: 4,
            ..budget
        };
        assert_ne!(rates(0.01, &budget), rates(0.01, &other));
    }

    fn trial(outcome: Outcome, metrics: &[f64]) -> Trial {
        let spec = TrialSpec::new("w", "adamw".parse().unwrap(), 0.1, metrics.len());
        let point = |(step, metric): (usize, &f64)| Point {
            step,
            evaluations: 0.0,
            seconds: 0.0,
            cpu_seconds: None,
            train_loss: None,
            metric: Some(*metric),
        };
        let mut trial = Trial::new(spec);
        trial.outcome = outcome;
        trial.points = metrics.iter().enumerate().map(point).collect();
        trial
    }

    #[test]
    fn the_best_last_measurement_wins_and_the_mean_breaks_ties() {
        let accuracy = Metric::accuracy("accuracy");
        let trials = [
            trial(Outcome::Finished, &[0.1, 0.5, 0.9]),
            trial(Outcome::Finished, &[0.1, 0.8, 0.9]),
            trial(Outcome::Diverged, &[0.1, 0.99, 0.99]),
            trial(Outcome::Finished, &[0.9, 0.9, 0.7]),
        ];
        let refs: Vec<&Trial> = trials.iter().collect();
        assert_eq!(winner(&refs, &accuracy), Some(1));
        assert_eq!(winner(&refs, &Metric::loss("loss")), Some(3));
        assert_eq!(winner(&refs[2..3], &accuracy), None);
        assert_eq!(winner(&[], &accuracy), None);
    }
}
