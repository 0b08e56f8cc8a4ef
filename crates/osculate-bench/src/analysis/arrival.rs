use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::entrant::timed;
use crate::stats::{Bootstrap, Interval, Time, survival_median};
use crate::trial::{Point, Trial};
use crate::workload::{About, Metric};

/// What the way to the target is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Steps.
    Steps,
    /// Gradient evaluations.
    Evaluations,
    /// Seconds in steps: of all cores together where the device is a CPU and trials run side by side,
    /// else by the clock on the wall.
    Seconds,
}

impl Cost {
    /// All of them.
    pub const ALL: [Cost; 3] = [Cost::Steps, Cost::Evaluations, Cost::Seconds];

    /// Name in headings and file names.
    pub fn name(self) -> &'static str {
        match self {
            Cost::Steps => "steps",
            Cost::Evaluations => "evaluations",
            Cost::Seconds => "seconds",
        }
    }

    /// The place of a point.
    pub fn of(self, point: &Point) -> f64 {
        match self {
            Cost::Steps => point.step as f64,
            Cost::Evaluations => point.evaluations,
            Cost::Seconds => point.seconds,
        }
    }
}

/// How many runs reached the target, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// Runs that did.
    pub runs: usize,
    /// In steps: the censored median with the interval of its bootstrap, infinite where too few runs
    /// arrived.
    pub steps: Interval,
    /// In gradient evaluations.
    pub evaluations: Interval,
    /// In seconds.
    pub seconds: Interval,
}

impl Reached {
    /// The censored median in one measure, `None` where too few runs arrived.
    pub fn median(&self, cost: Cost) -> Option<f64> {
        let found = self.arrival(cost).estimate;
        found.is_finite().then_some(found)
    }

    /// The arrival in one measure.
    pub fn arrival(&self, cost: Cost) -> Interval {
        match cost {
            Cost::Steps => self.steps,
            Cost::Evaluations => self.evaluations,
            Cost::Seconds => self.seconds,
        }
    }
}

/// Puts first what came sooner to the target, and of equals what ended better: each is the arrival and the
/// last measurement, of which `None` is the worst.
pub(super) fn sooner(metric: &Metric, a: [Option<f64>; 2], b: [Option<f64>; 2]) -> Ordering {
    let sign = if metric.higher_is_better { -1.0 } else { 1.0 };
    let key = |[arrival, last]: [Option<f64>; 2]| {
        [arrival, last.map(|last| sign * last)].map(|value| value.unwrap_or(f64::INFINITY))
    };
    let (a, b) = (key(a), key(b));
    a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]))
}

/// When runs reached a target; `None` of no runs.
///
/// The measurements are taken as they were made: one that is rounded for keeping may miss a target that it
/// has set itself.
pub(super) fn reached(
    runs: &[&Trial],
    about: &About,
    target: f64,
    cpu_time: bool,
) -> Option<Reached> {
    let runs: Vec<Vec<Point>> = runs
        .iter()
        .map(|run| timed(run, cpu_time).collect())
        .collect();
    let times = |cost: Cost| -> Vec<Time> {
        let time = |points: &Vec<Point>| -> Time {
            let hit = points.iter().find(|point| {
                let value = point.metric;
                value.is_some_and(|value| about.metric.reaches(value, target))
            });
            match (hit, points.last()) {
                (Some(point), _) => Time::happened(cost.of(point)),
                (None, Some(point)) => Time::censored(cost.of(point)),
                // It broke down before it was measured.
                (None, None) => Time::censored(0.0),
            }
        };
        // A run that broke down early was not watched for less time: it will never arrive. It counts
        // as watched for as long as the longest.
        let mut times: Vec<Time> = runs.iter().map(time).collect();
        let longest = times.iter().map(|time| time.at).fold(0.0, f64::max);
        for time in times.iter_mut().filter(|time| !time.happened) {
            time.at = longest;
        }
        times
    };
    let arrival = |cost: Cost| {
        let statistic = |sample: &[Time]| survival_median(sample).unwrap_or(f64::INFINITY);
        Bootstrap::default().interval(&times(cost), statistic)
    };
    Some(Reached {
        runs: times(Cost::Steps)
            .iter()
            .filter(|time| time.happened)
            .count(),
        steps: arrival(Cost::Steps)?,
        evaluations: arrival(Cost::Evaluations)?,
        seconds: arrival(Cost::Seconds)?,
    })
}
