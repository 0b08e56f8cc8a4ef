use super::grid::{Column, Grid, NOTHING};
use super::tables::place;
use crate::analysis::{Cost, Results, WorkloadResults};
use crate::stats::smallest_p;

/// The main results in words, made from the numbers.
pub(super) fn findings(results: &Results) -> Vec<String> {
    let mut found = Vec::new();
    let by = |cost: Cost| {
        let mut order: Vec<_> = results.standings.iter().collect();
        order.sort_by(|a, b| b.profile(cost).score.total_cmp(&a.profile(cost).score));
        order
    };
    for cost in [Cost::Seconds, Cost::Evaluations, Cost::Steps] {
        let order = by(cost);
        let Some(first) = order.first() else { continue };
        let rank = order.iter().position(|s| s.label == results.baseline);
        let name = match cost {
            Cost::Seconds => "seconds",
            Cost::Evaluations => "gradient evaluations",
            Cost::Steps => "steps",
        };
        // What is shown as equal is called equal.
        let score = |s: &&crate::analysis::Standing| format!("{:.2}", s.profile(cost).score);
        let tied: Vec<&str> = order
            .iter()
            .filter(|other| score(other) == score(first))
            .map(|other| other.label.as_str())
            .collect();
        let mut text = match &tied[..] {
            [_] => format!(
                "Counted in {name}, {} scores highest ({})",
                first.label,
                score(first)
            ),
            tied => format!(
                "Counted in {name}, {} are tied ({})",
                tied.join(", "),
                score(first)
            ),
        };
        let rank = rank.filter(|_| !tied.contains(&results.baseline.as_str()));
        match rank {
            None => text.push('.'),
            Some(rank) => {
                text += &format!(
                    "; {} is number {} of {} ({:.2}).",
                    results.baseline,
                    rank + 1,
                    order.len(),
                    order[rank].profile(cost).score
                );
            }
        }
        found.push(text);
    }
    let ahead: Vec<String> = results
        .standings
        .iter()
        .filter(|s| s.p.is_some_and(|p| p < 0.05) && s.wins > s.losses)
        .map(|s| format!("{} ({} of {})", s.label, s.wins, s.wins + s.losses))
        .collect();
    let behind: Vec<String> = results
        .standings
        .iter()
        .filter(|s| s.p.is_some_and(|p| p < 0.05) && s.wins < s.losses)
        .map(|s| format!("{} ({} of {})", s.label, s.wins, s.wins + s.losses))
        .collect();
    let list = |names: Vec<String>| {
        if names.is_empty() {
            "none".to_string()
        } else {
            names.join(", ")
        }
    };
    if smallest_p(results.workloads.len()) >= 0.05 {
        found.push(format!(
            "Where a run ends up, against tuned {}: so few workloads cannot decide; the table counts seeds.",
            results.baseline
        ));
        found.extend(narrow(results));
        return found;
    }
    found.push(format!(
        "Where a run ends up, seed by seed against tuned {}: better on more workloads than chance explains \
         (p < 0.05): {}; worse: {}. The rest cannot be told apart.",
        results.baseline,
        list(ahead),
        list(behind)
    ));
    found.extend(narrow(results));
    found
}

/// Where the search did not reach far enough for the baseline, which makes the others look better than they are.
fn narrow(results: &Results) -> Option<String> {
    let at_edge = |w: &&WorkloadResults| {
        let baseline = w.entrant(&results.baseline);
        baseline.is_some_and(|baseline| baseline.at_edge().is_some())
    };
    let names: Vec<&str> = results
        .workloads
        .iter()
        .filter(at_edge)
        .map(|w| w.about.name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "On {} of {} workloads ({}) the best rate of {} is the lowest or the highest that was tried. A \
             wider search may make it better there, and what is said against it holds for this search only.",
            names.len(),
            results.workloads.len(),
            names.join(", "),
            results.baseline
        )
    })
}

/// Who is best on each workload, in each sense.
pub(super) fn winners(results: &Results) -> Grid {
    let mut grid = Grid::new([
        Column::new("workload"),
        Column::new("target"),
        Column::new("fewest steps"),
        Column::new("fewest gradients"),
        Column::new("fewest seconds"),
        Column::new(format!("seconds of {}", results.baseline)),
        Column::new("best at the end"),
        Column::new(format!("{} at the end", results.baseline)),
    ]);
    for one in &results.workloads {
        let metric = &one.about.metric;
        let fewest = |cost: Cost| {
            let times = one.entrants.iter();
            let times = times.filter_map(|e| Some((e.reached?.median(cost)?, e.label.as_str())));
            let times: Vec<_> = times.collect();
            let least = times.iter().map(|(value, _)| *value).reduce(f64::min);
            best(&times, least, place)
        };
        let baseline = one.entrant(&results.baseline);
        let ends = one.entrants.iter();
        let ends: Vec<_> = ends
            .filter_map(|e| Some((e.last?.estimate, e.label.as_str())))
            .collect();
        let end = ends
            .iter()
            .map(|(value, _)| *value)
            .reduce(|a, b| metric.better(a, b));
        let seconds = baseline.and_then(|e| e.reached?.median(Cost::Seconds));
        let last = baseline.and_then(|e| e.last);
        grid.rows.push(vec![
            one.about.name.clone(),
            one.target.map_or(NOTHING.to_string(), |t| metric.show(t)),
            fewest(Cost::Steps),
            fewest(Cost::Evaluations),
            fewest(Cost::Seconds),
            seconds.map_or(NOTHING.to_string(), place),
            best(&ends, end, |value| metric.show(value)),
            last.map_or(NOTHING.to_string(), |last| metric.show(last.estimate)),
        ]);
    }
    grid
}

/// Who has the best of some values, with the value: all whose value is shown as the same.
fn best(values: &[(f64, &str)], best: Option<f64>, show: impl Fn(f64) -> String) -> String {
    let Some(best) = best else {
        return NOTHING.to_string();
    };
    let as_good = values
        .iter()
        .filter(|(value, _)| show(*value) == show(best));
    let labels: Vec<&str> = as_good.map(|(_, label)| *label).collect();
    let tied = if labels.len() > 1 { " tied" } else { "" };
    format!("{}{tied} ({})", labels.join(", "), show(best))
}
