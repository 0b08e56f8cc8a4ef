use super::grid::{Column, Grid, NOTHING};
use crate::analysis::{Cost, Difference, EntrantResults, Reached, Results, WorkloadResults};
use crate::stats::{Interval, median};
use crate::trial::Outcome;
use crate::workload::Metric;

/// What the optimizers reached on a workload, and when, with intervals.
pub fn outcome(results: &WorkloadResults, baseline: &str) -> Grid {
    let metric = &results.about.metric;
    let mut grid = Grid::new(
        [
            "optimizer".to_string(),
            "learning rate".to_string(),
            format!("last {}", metric.heading()),
            format!("best {}", metric.heading()),
            format!("difference to {baseline}, p"),
        ]
        .into_iter()
        .chain(arrival_headings(results)),
    );
    for entrant in with_results(results) {
        let mut row = vec![
            name(entrant),
            or_nothing(entrant.lr.map(rate)),
            value(entrant.last, entrant, metric),
            value(entrant.best, entrant, metric),
            significance(entrant),
        ];
        row.extend(Cost::ALL.map(|cost| arrival(entrant, cost, true)));
        grid.rows.push(row);
    }
    grid.without_empty_columns()
}

/// What the optimizers cost on a workload, and how sharp their solutions are.
pub fn price(results: &WorkloadResults) -> Grid {
    let mut grid = Grid::new([
        "optimizer",
        "step time",
        "state / params",
        "peak memory, MB",
        "sharpness",
        "smallest eigenvalue",
        "skipped updates",
    ]);
    for entrant in with_results(results) {
        let curvatures = entrant.runs.iter().filter_map(|run| run.curvature.as_ref());
        let smallest: Vec<f64> = curvatures
            .filter_map(|curvature| curvature.smallest)
            .collect();
        let skipped: usize = entrant.runs.iter().map(|run| run.skipped).sum();
        let mut row = vec![name(entrant)];
        row.extend(costs(entrant));
        row.insert(
            3,
            or_nothing(
                entrant
                    .peak_memory
                    .map(|b| format!("{:.0}", b as f64 / 1e6)),
            ),
        );
        row.push(or_nothing(median(&smallest).map(number)));
        row.push(if skipped > 0 {
            skipped.to_string()
        } else {
            NOTHING.to_string()
        });
        grid.rows.push(row);
    }
    grid.without_empty_columns()
}

/// Outcome and price for a terminal.
pub fn brief(results: &WorkloadResults) -> Grid {
    let metric = &results.about.metric;
    let [steps, gradients, seconds] = arrival_headings(results).map(Column::new);
    let mut grid = Grid::new([
        Column::new("optimizer"),
        Column::new("rate").spare(6),
        Column::new(format!("last {}", metric.heading())),
        Column::new("best").spare(2),
        steps,
        gradients.spare(4),
        seconds,
        Column::new("step time").spare(5),
        Column::new("state / params").spare(3),
        Column::new("sharpness").spare(1),
    ]);
    for entrant in with_results(results) {
        let best = entrant.best.map(|best| metric.show(best.estimate));
        let mut row = vec![
            name(entrant),
            or_nothing(entrant.lr.map(rate)),
            value(entrant.last, entrant, metric),
            or_nothing(best),
        ];
        row.extend(Cost::ALL.map(|cost| arrival(entrant, cost, false)));
        row.extend(costs(entrant));
        grid.rows.push(row);
    }
    grid.without_empty_columns()
}

/// The optimizers that were run, or that could not be.
fn with_results(results: &WorkloadResults) -> impl Iterator<Item = &EntrantResults> {
    let any = |e: &&EntrantResults| !e.runs.is_empty() || e.failure.is_some();
    results.entrants.iter().filter(any)
}

fn arrival_headings(results: &WorkloadResults) -> [String; 3] {
    let target = results
        .target
        .map(|target| results.about.metric.show(target));
    let target = target.unwrap_or_else(|| "target".to_string());
    ["steps", "gradients", "seconds"].map(|what| format!("{what} to {target}"))
}

/// Step time, state and sharpness.
fn costs(entrant: &EntrantResults) -> [String; 3] {
    [
        or_nothing(entrant.step_ratio.map(|ratio| format!("{ratio:.2}x"))),
        or_nothing(entrant.state_ratio.map(|ratio| format!("{ratio:.2}"))),
        or_nothing(entrant.sharpness.map(number)),
    ]
}

fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.to_string())
}

/// A measurement, with its interval where there are several seeds.
fn value(interval: Option<Interval>, entrant: &EntrantResults, metric: &Metric) -> String {
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
}

/// When the target was reached; how many runs reached it stands in brackets where not all did.
fn arrival(entrant: &EntrantResults, cost: Cost, intervals: bool) -> String {
    or_nothing(entrant.reached.map(|reached| {
        let interval = reached.arrival(cost);
        let all = entrant.runs.len();
        let mut text = place(interval.estimate);
        if intervals && all > 1 && reached.runs > 0 {
            text += &format!(" [{}, {}]", place(interval.low), place(interval.high));
        }
        text + &missing(reached, all)
    }))
}

/// How many runs arrived, where not all did.
fn missing(reached: Reached, all: usize) -> String {
    if reached.runs < all {
        format!(" ({}/{all})", reached.runs)
    } else {
        String::new()
    }
}

fn significance(entrant: &EntrantResults) -> String {
    or_nothing(entrant.paired.map(|paired| {
        let all_equal = paired.wins + paired.losses == 0;
        let difference = Difference::of(paired.test.mean, paired.test.p, all_equal);
        match difference {
            Difference::Tied => difference.word().to_string(),
            _ => format!("{}, {}", difference.word(), probability(paired.test.p)),
        }
    }))
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
        Column::new("optimizer"),
        Column::new("score, seconds"),
        Column::new("score, gradients").spare(2),
        Column::new("score, steps"),
        Column::new("targets reached").spare(1),
        Column::new(format!("seeds won : lost against {}", results.baseline)),
        Column::new("p"),
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

/// All learning rates of a race over several.
pub fn rates(results: &WorkloadResults) -> Grid {
    let metric = &results.about.metric;
    let [steps, ..] = arrival_headings(results);
    let mut grid = Grid::new([
        "optimizer".to_string(),
        "learning rate".to_string(),
        steps,
        format!("last {}", metric.heading()),
    ]);
    for entrant in &results.entrants {
        grid.rows.extend(entrant.rates.iter().map(|one| {
            let arrival = one.reached.map(|reached| {
                let median = place(reached.arrival(Cost::Steps).estimate);
                median + &missing(reached, one.runs)
            });
            vec![
                entrant.label.clone(),
                rate(one.lr),
                or_nothing(arrival),
                or_nothing(one.last.map(|last| metric.show(last))),
            ]
        }));
    }
    grid.without_empty_columns()
}

/// The tuning trials of a workload, the best rate of each optimizer first.
pub fn tuning(results: &WorkloadResults) -> Grid {
    let metric = &results.about.metric;
    let mut grid = Grid::new([
        Column::new("optimizer"),
        Column::new("best rate"),
        Column::new("its last measurement").spare(1),
        Column::new("all rates").prose(30),
    ]);
    for entrant in &results.entrants {
        let mut trials = entrant.tuning.clone();
        trials.sort_by(|a, b| a.lr.total_cmp(&b.lr));
        let best = trials.iter().find(|trial| Some(trial.lr) == entrant.lr);
        let measured = best.and_then(|trial| trial.last);
        let all: Vec<String> = trials
            .iter()
            .map(|trial| {
                let value = trial
                    .last
                    .map_or(NOTHING.to_string(), |last| metric.show(last));
                format!("{}:\u{a0}{value}", rate(trial.lr))
            })
            .collect();
        grid.rows.push(vec![
            name(entrant),
            or_nothing(best.map(|trial| rate(trial.lr))),
            or_nothing(measured.map(|value| metric.show(value))),
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
