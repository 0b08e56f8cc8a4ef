use super::grid::{Grid, NOTHING};
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
        let mut text = format!(
            "Counted in {name}, {} scores highest ({:.2})",
            first.label,
            first.profile(cost).score
        );
        match rank {
            Some(0) | None => text.push('.'),
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
        "workload".to_string(),
        "target".to_string(),
        "fewest steps".to_string(),
        "fewest gradients".to_string(),
        "fewest seconds".to_string(),
        format!("seconds of {}", results.baseline),
        "best at the end".to_string(),
        format!("{} at the end", results.baseline),
    ]);
    for one in &results.workloads {
        let metric = &one.about.metric;
        let fewest = |cost: Cost| {
            one.entrants
                .iter()
                .filter_map(|e| Some((e.reached?.median(cost)?, e.label.as_str())))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map_or(NOTHING.to_string(), |(value, label)| {
                    format!("{label} ({})", place(value))
                })
        };
        let baseline = one.entrant(&results.baseline);
        let best = one
            .entrants
            .iter()
            .filter_map(|e| Some((e.last?.estimate, e.label.as_str())))
            .reduce(|a, b| if metric.better(a.0, b.0) == a.0 { a } else { b });
        let seconds = baseline.and_then(|e| e.reached?.median(Cost::Seconds));
        let last = baseline.and_then(|e| e.last);
        grid.rows.push(vec![
            one.about.name.clone(),
            one.target.map_or(NOTHING.to_string(), |t| metric.show(t)),
            fewest(Cost::Steps),
            fewest(Cost::Evaluations),
            fewest(Cost::Seconds),
            seconds.map_or(NOTHING.to_string(), place),
            best.map_or(NOTHING.to_string(), |(value, label)| {
                format!("{label} ({})", metric.show(value))
            }),
            last.map_or(NOTHING.to_string(), |last| metric.show(last.estimate)),
        ]);
    }
    grid
}
