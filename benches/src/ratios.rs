//! Times of several cases over the time of a reference, taken in turns with it.

use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use criterion::Criterion;

/// A case of a comparison: what is run, and the largest ratio that is accepted.
pub struct Case<'a> {
    /// Name in the table.
    pub name: &'a str,
    /// Largest accepted ratio, where there is one.
    pub limit: Option<f64>,
    /// One unit of work.
    pub run: Box<dyn FnMut() + 'a>,
}

impl<'a> Case<'a> {
    /// A case without a limit.
    pub fn new(name: &'a str, run: impl FnMut() + 'a) -> Self {
        Self {
            name,
            limit: None,
            run: Box::new(run),
        }
    }

    /// Sets the largest accepted ratio.
    pub fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// Ratios of all comparisons of a benchmark.
#[derive(Debug, Default)]
pub struct Ratios {
    rows: Vec<[String; 5]>,
}

fn timed(run: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// The median; zero of nothing.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

impl Ratios {
    /// Benchmarks every case by criterion. Each of its runs is paired with one run of the
    /// reference, so that a slow spell of the machine meets both; the ratio is that of the medians.
    pub fn compare(
        &mut self,
        criterion: &mut Criterion,
        group: &str,
        (reference_name, mut reference): (&str, impl FnMut()),
        cases: Vec<Case<'_>>,
    ) {
        let mut criterion_group = criterion.benchmark_group(group);
        criterion_group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(4));
        criterion_group.bench_function(reference_name, |bencher| bencher.iter(&mut reference));
        for mut case in cases {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            criterion_group.bench_function(case.name, |bencher| {
                bencher.iter_custom(|runs| {
                    let mut total = Duration::ZERO;
                    for _ in 0..runs {
                        theirs.push(timed(&mut reference));
                        let time = timed(&mut case.run);
                        ours.push(time);
                        total += time;
                    }
                    total
                });
            });
            if ours.is_empty() {
                // Filtered out on the command line.
                continue;
            }
            let (ours, theirs) = (median(&mut ours), median(&mut theirs));
            let limit = case
                .limit
                .map_or(String::new(), |limit| format!("{limit:.2}x"));
            self.rows.push([
                group.to_string(),
                case.name.to_string(),
                format!("{:.3} ms", 1e3 * ours.as_secs_f64()),
                format!("{:.2}x", ours.as_secs_f64() / theirs.as_secs_f64()),
                limit,
            ]);
        }
        criterion_group.finish();
    }

    /// The table of all ratios.
    pub fn table(&self, over: &str) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "workload",
            "case",
            "median",
            &format!("over {over}"),
            "accepted",
        ]);
        for row in &self.rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}
