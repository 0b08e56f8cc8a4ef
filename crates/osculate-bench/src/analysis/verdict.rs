//! What follows from the runs on a workload, in words.

use super::{Cost, EntrantResults, Results, RunResult, WorkloadResults};
use crate::stats::{median, paired_test, smallest_p};
use crate::workload::TargetRule;

/// Differences that chance explains at least this often are called none.
pub const CHANCE: f64 = 0.05;

/// A difference to the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// All pairs are equal.
    Tied,
    /// Chance explains it.
    None,
    /// In its favour.
    Better,
    /// Against it.
    Worse,
}

impl Difference {
    /// Of paired differences whose mean is positive in its favour.
    pub fn of(mean: f64, p: f64, all_equal: bool) -> Self {
        match () {
            () if all_equal => Self::Tied,
            () if p >= CHANCE => Self::None,
            () if mean > 0.0 => Self::Better,
            () => Self::Worse,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tied => "tied",
            Self::None => "none",
            Self::Better => "better",
            Self::Worse => "worse",
        }
    }
}

/// How an optimizer compares with the baseline on a workload.
#[derive(Debug, Clone, PartialEq)]
struct Comparison {
    label: String,
    /// Steps and seconds to the target over the baseline's, and whether it is the sooner one; `None` where most of
    /// its runs do not arrive.
    steps: Option<(f64, Difference)>,
    seconds: Option<(f64, Difference)>,
    /// Last measurements, its own and the baseline's.
    ends: [String; 2],
    end: Difference,
}

/// The verdict on a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Who wins, in one sentence.
    pub headline: String,
    /// One sentence for each of the others.
    pub details: Vec<String>,
}

/// The verdict on a workload; `None` where the baseline did not finish or stands alone.
pub fn verdict(one: &WorkloadResults, results: &Results) -> Option<Verdict> {
    let baseline = one.entrant(&results.baseline)?;
    baseline.last?;
    let rivals = one
        .entrants
        .iter()
        .filter(|rival| rival.label != results.baseline);
    let found: Vec<Comparison> = rivals
        .filter(|rival| !rival.runs.is_empty())
        .map(|rival| compare(rival, baseline, one))
        .collect();
    if found.is_empty() {
        return None;
    }
    let seeds = baseline.runs.len();
    let decided = smallest_p(seeds) < CHANCE;
    let target = match (one.about.target, one.target) {
        (TargetRule::BaselineEnd, _) => format!("where {} ends", results.baseline),
        (_, Some(target)) => one.about.metric.show(target),
        (_, None) => "the target".to_string(),
    };
    Some(Verdict {
        headline: headline(&found, &results.baseline, seeds),
        details: found
            .iter()
            .map(|one| detail(one, &results.baseline, &target, decided))
            .collect(),
    })
}

fn compare(own: &EntrantResults, baseline: &EntrantResults, one: &WorkloadResults) -> Comparison {
    let metric = &one.about.metric;
    let shown = |entrant: &EntrantResults| {
        let last = entrant.last.map(|last| metric.show(last.estimate));
        last.unwrap_or_else(|| "no end".to_string())
    };
    let end = own.paired.map_or(Difference::None, |paired| {
        let all_equal = paired.wins + paired.losses == 0;
        Difference::of(paired.test.mean, paired.test.p, all_equal)
    });
    let way = |cost: Cost| way(own, baseline, one, cost);
    let steps = way(Cost::Steps);
    Comparison {
        label: own.label.clone(),
        steps,
        seconds: way(Cost::Seconds),
        ends: [shown(own), shown(baseline)],
        end,
    }
}

/// The way to the target over the baseline's, the median of the seeds, and whether it is shorter. A run that does not
/// arrive counts in the test as one that would have at twice its length. `None` where most do not.
///
/// Where the target is what the baseline ends at, that is what it ends at with the same seed.
fn way(
    own: &EntrantResults,
    baseline: &EntrantResults,
    one: &WorkloadResults,
    cost: Cost,
) -> Option<(f64, Difference)> {
    let metric = &one.about.metric;
    let arrival = |run: &RunResult, target: f64| {
        let reached = run.points.iter().find(|point| {
            // Measurements are kept to six digits.
            let slack = 1e-5 * target.abs();
            let value = point.metric.unwrap_or(f64::NAN);
            metric.reaches(value, target) || (value - target).abs() <= slack
        });
        // A run may begin there.
        reached.map(|point| cost.of(point).max(f64::EPSILON))
    };
    let (mut ratios, mut differences) = (Vec::new(), Vec::new());
    for run in &own.runs {
        let other = baseline.runs.iter().find(|other| other.seed == run.seed)?;
        let target = match one.about.target {
            TargetRule::BaselineEnd => other.last?,
            _ => one.target?,
        };
        let late = |run: &RunResult| run.points.last().map(|point| 2.0 * cost.of(point));
        let [its, own] = [other, run].map(|run| arrival(run, target));
        ratios.push(own.unwrap_or(f64::INFINITY) / its.or_else(|| late(other))?);
        let ratio = own.or_else(|| late(run))? / its.or_else(|| late(other))?;
        differences.push(-ratio.ln());
    }
    let ratio = median(&ratios).filter(|ratio| ratio.is_finite())?;
    let test = paired_test(&differences)?;
    let all_equal = differences.iter().all(|difference| *difference == 0.0);
    Some((ratio, Difference::of(test.mean, test.p, all_equal)))
}

fn headline(found: &[Comparison], baseline: &str, seeds: usize) -> String {
    if smallest_p(seeds) >= CHANCE {
        return format!(
            "with {seeds} {} nothing can be told from chance; 6 can.",
            if seeds == 1 { "seed" } else { "seeds" }
        );
    }
    let is = |way: &Option<(f64, Difference)>, wanted: Difference| {
        way.is_some_and(|(_, is)| is == wanted)
    };
    let those = |wanted: &dyn Fn(&Comparison) -> bool| -> Vec<&str> {
        let chosen = found.iter().filter(|one| wanted(one));
        chosen.map(|one| one.label.as_str()).collect()
    };
    let better = Difference::Better;
    let in_time = those(&|one| is(&one.seconds, better));
    let in_steps = those(&|one| is(&one.steps, better) && !is(&one.seconds, better));
    let at_the_end = those(&|one| one.end == better);
    let mut parts = Vec::new();
    if !in_time.is_empty() {
        let are = if in_time.len() == 1 { "is" } else { "are" };
        parts.push(format!(
            "{} {are} faster than {baseline}, in steps and in time",
            listed(&in_time)
        ));
    }
    if !in_steps.is_empty() {
        let take = if in_steps.len() == 1 { "takes" } else { "take" };
        parts.push(format!(
            "{} {take} fewer steps than {baseline}, but not less time",
            listed(&in_steps)
        ));
    }
    if !at_the_end.is_empty() {
        let end = if at_the_end.len() == 1 { "ends" } else { "end" };
        let all = at_the_end.len() == found.len() && found.len() > 1;
        let who = if all {
            "all others".to_string()
        } else {
            listed(&at_the_end)
        };
        parts.push(format!("{who} {end} better than {baseline}"));
    }
    if parts.is_empty() {
        let behind = |one: &Comparison| {
            one.end == Difference::Worse
                || is(&one.seconds, Difference::Worse)
                || one.steps.is_none()
        };
        return if found.iter().all(behind) {
            format!("{baseline} wins.")
        } else {
            format!("nobody is ahead of {baseline} by more than chance explains.")
        };
    }
    parts.join("; ") + "."
}

/// Names in a sentence.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_string(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn detail(one: &Comparison, baseline: &str, target: &str, decided: bool) -> String {
    let part = |(ratio, sooner): (f64, Difference)| {
        let chance = decided && sooner == Difference::None;
        let doubt = if chance { " (may be chance)" } else { "" };
        format!("{:.0} %{doubt}", 100.0 * ratio)
    };
    let way = match (one.steps.map(part), one.seconds.map(part)) {
        (Some(steps), Some(seconds)) => {
            format!("gets to {target} in {steps} of {baseline}'s steps and {seconds} of its time")
        }
        _ => format!("does not get to {target} in most runs"),
    };
    let [own, its] = &one.ends;
    let end = match one.end {
        _ if !decided => format!("ends at {own}, {baseline} at {its}"),
        Difference::Tied => format!("tied at the end, {own}"),
        Difference::None => {
            format!("no difference at the end but by chance, {own} to {baseline}'s {its}")
        }
        Difference::Better => format!("ends better, {own} to {baseline}'s {its}"),
        Difference::Worse => format!("ends worse, {own} to {baseline}'s {its}"),
    };
    format!("{}: {way}; {end}.", one.label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::example::race;

    fn told(seeds: u64, entrants: &[(&str, f64, f64)]) -> Verdict {
        let results = race(seeds, entrants);
        verdict(&results.workloads[0], &results).unwrap()
    }

    #[test]
    fn who_is_faster_is_said_in_steps_and_in_time() {
        let found = told(
            6,
            &[
                ("adamw", 0.9, 1.0),
                ("soap", 0.8, 3.0),
                ("muon", 0.8, 1.5),
                ("sgd", 0.95, 0.9),
            ],
        );
        assert_eq!(
            found.headline,
            "muon is faster than adamw, in steps and in time; soap takes fewer steps than adamw, but not less time; \
             soap and muon end better than adamw."
        );
        let soap = &found.details[0];
        // ln 0.9 / ln 0.8 is 0.47, and a step takes three times as long.
        assert_eq!(
            soap,
            "soap: gets to where adamw ends in 48 % of adamw's steps and 142 % of its time; ends better, 1.36e-4 to adamw's 0.015."
        );
        let sgd = &found.details[2];
        assert!(
            sgd.starts_with("sgd: does not get to where adamw ends in most runs; ends worse"),
            "{sgd}"
        );
    }

    #[test]
    fn what_chance_explains_is_no_difference() {
        let few = told(2, &[("adamw", 0.9, 1.0), ("soap", 0.8, 1.0)]);
        assert_eq!(
            few.headline,
            "with 2 seeds nothing can be told from chance; 6 can."
        );
        assert!(
            few.details[0].ends_with("; ends at 1.34e-4, adamw at 0.015."),
            "{:?}",
            few.details
        );
        let same = told(6, &[("adamw", 0.9, 1.0), ("soap", 0.9, 1.0)]);
        assert_eq!(
            same.headline,
            "nobody is ahead of adamw by more than chance explains."
        );
        assert!(
            same.details[0].ends_with("tied at the end, 0.015."),
            "{:?}",
            same.details
        );
        let worse = told(6, &[("adamw", 0.9, 1.0), ("soap", 0.95, 1.0)]);
        assert_eq!(worse.headline, "adamw wins.");
        let alone = race(6, &[("adamw", 0.9, 1.0)]);
        assert_eq!(verdict(&alone.workloads[0], &alone), None);
    }
}
