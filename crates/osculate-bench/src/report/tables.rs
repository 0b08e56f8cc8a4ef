use super::grid::{Grid, NOTHING};
use crate::analysis::{Cost, EntrantResults, Results, WorkloadResults};
use crate::stats::Interval;
use crate::trial::Outcome;

/// The table of one workload: what was reached, when, at what price.
pub fn workload(results: &WorkloadResults, baseline: &str) -> Grid {
    let metric = &results.about.metric;
    let target = results
        .target
        .map_or(String::new(), |target| metric.show(target));
    let to = |what: &str| format!("{what} to {target}");
    let mut grid = Grid::new([
        "optimizer".to_string(),
        "learning rate".to_string(),
        format!("last {}", metric.heading()),
        format!("best {}", metric.heading()),
        format!("p against {baseline}"),
        to("steps"),
        to("gradients"),
        to("seconds"),
        "step time".to_string(),
        "state / params".to_string(),
        "peak memory, MB".to_string(),
        "sharpness".to_string(),
    ]);
    for entrant in &results.entrants {
        grid.rows.push(row(entrant, results));
    }
    grid.without_empty_columns()
}

fn row(entrant: &EntrantResults, results: &WorkloadResults) -> Vec<String> {
    let metric = &results.about.metric;
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_string());
    let spread = |interval: Option<Interval>| {
        or_nothing(interval.map(|interval| {
            let Interval {
                estimate,
                low,
                high,
            } = interval;
            if entrant.runs.len() > 1 {
                format!(
                    "{} [{}, {}]",
                    metric.show(estimate),
                    metric.show(low),
                    metric.show(high)
                )
            } else {
                metric.show(estimate)
            }
        }))
    };
    let arrival = |cost: Cost| {
        or_nothing(entrant.reached.map(|reached| {
            let interval = reached.arrival(cost);
            let all = entrant.runs.len();
            let count = if reached.runs < all {
                format!(" ({}/{all})", reached.runs)
            } else {
                String::new()
            };
            if all > 1 {
                format!(
                    "{} [{}, {}]{count}",
                    place(interval.estimate),
                    place(interval.low),
                    place(interval.high)
                )
            } else {
                format!("{}{count}", place(interval.estimate))
            }
        }))
    };
    vec![
        name(entrant),
        or_nothing(entrant.lr.map(rate)),
        spread(entrant.last),
        spread(entrant.best),
        or_nothing(entrant.paired.map(|paired| {
            let way = if paired.test.mean > 0.0 {
                "better"
            } else if paired.test.mean < 0.0 {
                "worse"
            } else {
                "equal"
            };
            format!("{way}, {:.3}", paired.test.p)
        })),
        arrival(Cost::Steps),
        arrival(Cost::Evaluations),
        arrival(Cost::Seconds),
        or_nothing(entrant.step_ratio.map(|ratio| format!("{ratio:.2}x"))),
        or_nothing(entrant.state_ratio.map(|ratio| format!("{ratio:.2}"))),
        or_nothing(
            entrant
                .peak_memory
                .map(|bytes| format!("{:.0}", bytes as f64 / 1e6)),
        ),
        or_nothing(entrant.sharpness.map(number)),
    ]
}

/// The name, with what became of runs that did not finish.
fn name(entrant: &EntrantResults) -> String {
    if entrant.runs.is_empty() && entrant.failure.is_some() {
        return format!("{} (no trial finished)", entrant.label);
    }
    let failed = |run: &&crate::analysis::RunResult| matches!(run.outcome, Outcome::Failed { .. });
    let counts = [
        (entrant.diverged(), "diverged"),
        (entrant.runs.iter().filter(failed).count(), "failed"),
    ];
    let mut name = entrant.label.clone();
    for (count, what) in counts {
        if count > 0 {
            name += &format!(" ({count} {what})");
        }
    }
    name
}

/// The optimizers over all workloads.
pub fn standings(results: &Results) -> Grid {
    let mut grid = Grid::new([
        "optimizer".to_string(),
        "score, seconds".to_string(),
        "score, gradients".to_string(),
        "score, steps".to_string(),
        "targets reached".to_string(),
        format!("seeds won : lost against {}", results.baseline),
        "p".to_string(),
    ]);
    let counted = results
        .workloads
        .iter()
        .filter(|w| w.target.is_some())
        .count();
    for standing in &results.standings {
        let score = |cost: Cost| format!("{:.2}", standing.profile(cost).score);
        let is_baseline = standing.p.is_none();
        grid.rows.push(vec![
            standing.label.clone(),
            score(Cost::Seconds),
            score(Cost::Evaluations),
            score(Cost::Steps),
            format!("{} of {counted}", standing.reached),
            if is_baseline {
                NOTHING.to_string()
            } else {
                format!("{} : {}", standing.wins, standing.losses)
            },
            standing.p.map_or(NOTHING.to_string(), probability),
        ]);
    }
    grid
}

/// The tuning trials of a workload, the best rate of each optimizer first.
pub fn tuning(results: &WorkloadResults) -> Grid {
    let metric = &results.about.metric;
    let mut grid = Grid::new([
        "optimizer".to_string(),
        "best rate".to_string(),
        format!("last {}", metric.heading()),
        "all rates".to_string(),
    ]);
    for entrant in &results.entrants {
        let mut trials = entrant.tuning.clone();
        trials.sort_by(|a, b| a.lr.total_cmp(&b.lr));
        let best = trials
            .iter()
            .filter_map(|trial| Some((trial.last?, trial.lr)))
            .reduce(|a, b| if metric.better(a.0, b.0) == a.0 { a } else { b });
        let all: Vec<String> = trials
            .iter()
            .map(|trial| {
                let value = trial
                    .last
                    .map_or(NOTHING.to_string(), |last| metric.show(last));
                format!("{}: {value}", rate(trial.lr))
            })
            .collect();
        grid.rows.push(vec![
            name(entrant),
            best.map_or(NOTHING.to_string(), |(_, lr)| rate(lr)),
            best.map_or(NOTHING.to_string(), |(value, _)| metric.show(value)),
            all.join("  "),
        ]);
    }
    grid
}

fn probability(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_string()
    } else {
        format!("{p:.3}")
    }
}

/// A learning rate.
pub(super) fn rate(lr: f64) -> String {
    if (1e-3..10.0).contains(&lr) {
        let digits = (2 - lr.log10().floor() as i32).max(0) as usize;
        format!("{lr:.digits$}")
    } else {
        format!("{lr:.2e}")
    }
}

/// A place on the way to a target.
pub(super) fn place(value: f64) -> String {
    if !value.is_finite() {
        "never".to_string()
    } else if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

fn number(value: f64) -> String {
    if value == 0.0 || (0.01..1000.0).contains(&value.abs()) {
        format!("{value:.2}")
    } else {
        format!("{value:.1e}")
    }
}
