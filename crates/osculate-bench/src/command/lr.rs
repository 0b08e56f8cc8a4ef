use osculate::optim::{RangeCurve, RangePoint, RangeTest};
use osculate_program::Output;

use crate::cli::LrArgs;
use crate::error::BenchError;
use crate::report::{Grid, Notation, range_chart};
use crate::trial::RatesSpec;
use crate::workload::Workloads;

/// Rows of a table of losses.
const ROWS: usize = 30;

/// `osculate lr`.
pub(super) fn run(args: &LrArgs, workloads: Workloads, out: &Output) -> Result<u8, BenchError> {
    let folders = &args.folders;
    let workloads =
        workloads.with_folders(folders.cifar.as_deref(), folders.wikitext.as_deref())?;
    let workload = workloads.get(&args.workload)?;
    let test = RangeTest::new()
        .with_from(args.from)
        .with_to(args.to)
        .with_steps(args.steps);
    test.validate()?;
    let spec = RatesSpec {
        entrant: args.entrant()?,
        test,
        seed: args.seed,
        noise: args.noise,
    };
    let device = osculate::device::select(args.device.as_deref())?;
    let found = workload.rates(&spec, &device)?;
    let curve = &found.curve;
    let (start, largest) = (curve.steepest(), curve.largest());
    let marks: Vec<f64> = start.into_iter().chain(largest).collect();
    out.tell(format_args!(
        "{} on {}: the average of the losses before a step, while the rate grows from step to step{}.",
        spec.entrant.label,
        args.workload,
        if curve.diverged { ", to where it grew without end" } else { "" },
    ));
    let chart = out
        .columns()
        .and_then(|columns| range_chart(curve, &marks, columns));
    let [first, second] = match &chart {
        Some(_) => ["left dot: ", "right dot: "],
        None => [""; 2],
    };
    out.say(chart.unwrap_or_else(|| table(curve).write(Notation::of(out))));
    let rate = |rate: Option<f64>| match rate {
        Some(rate) => format!("{rate:.2e}"),
        None => "none: the loss does not fall".to_string(),
    };
    out.say(format_args!(
        "{first}to start from, where the loss falls fastest: {}\n{second}largest, where it is least: {}",
        rate(start),
        rate(largest),
    ));
    if let Some(noise) = found.noise {
        let mut grid = Grid::new(["batches", "sharpness", "SGD's largest rate"]);
        for batches in [1, 2, 4, 8, 16, 32] {
            grid.rows.push(vec![
                batches.to_string(),
                format!("{:.3}", noise.sharpness_of(batches)),
                format!("{:.3}", noise.sgd(batches)),
            ]);
        }
        out.say(format_args!("\n{}", grid.write(Notation::of(out))));
        let flat = match noise.noise() > 0.0 {
            true => format!("flat from {:.1} on", noise.saturation()),
            false => "no less sharp where there are more".to_string(),
        };
        out.tell(format_args!(
            "At the first weights, for so many of the workload's batches as one; {flat}."
        ));
    }
    Ok(0)
}

/// The averaged losses at some of the rates, the last among them.
fn table(curve: &RangeCurve) -> Grid {
    let points = &curve.points;
    let every = points.len().div_ceil(ROWS).max(1);
    let mut grid = Grid::new(["rate", "loss"]);
    let row =
        |point: &RangePoint| vec![format!("{:.2e}", point.lr), format!("{:.4}", point.average)];
    grid.rows = points.iter().rev().step_by(every).map(row).collect();
    grid.rows.reverse();
    grid
}
