use osculate::optim::{RangeCurve, RangeTest};
use osculate_program::Output;

use crate::cli::LrArgs;
use crate::error::BenchError;
use crate::report::{Grid, Notation};
use crate::trial::RatesSpec;
use crate::workload::Workloads;

/// Lines of a curve.
const LINES: usize = 30;
/// Width of its bars.
const WIDTH: f64 = 50.0;

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
        entrant: args.optimizer.parse()?,
        test,
        seed: args.seed,
        noise: args.noise,
    };
    let device = osculate::device::select(args.device.as_deref())?;
    let found = workload.rates(&spec, &device)?;
    out.say(drawn(&found.curve));
    let rate = |rate: Option<f64>| match rate {
        Some(rate) => format!("{rate:.2e}"),
        None => "none: the loss does not fall".to_string(),
    };
    out.say(format_args!(
        "\nto start from, where the loss falls fastest: {}\nlargest, where it is least: {}",
        rate(found.curve.steepest()),
        rate(found.curve.largest()),
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
        out.say(format_args!(
            "\n{}\nAt the first weights, for so many of the workload's batches as one; flat from {:.1} on.",
            grid.write(Notation::of(out)),
            noise.saturation()
        ));
    }
    Ok(0)
}

/// The averaged losses as bars, one line for each of some rates.
fn drawn(curve: &RangeCurve) -> String {
    let points = &curve.points;
    let most = points.iter().map(|point| point.average).fold(0.0, f64::max);
    let every = points.len().div_ceil(LINES).max(1);
    let mut text = format!("{:>9}  {:>10}\n", "rate", "loss");
    for point in points.iter().step_by(every) {
        let share = if most > 0.0 {
            point.average.max(0.0) / most
        } else {
            0.0
        };
        let bar = "#".repeat((WIDTH * share).round() as usize);
        text += &format!("{:>9.2e}  {:>10.4}  {bar}\n", point.lr, point.average);
    }
    if curve.diverged {
        text += "then it grew without end\n";
    }
    text.trim_end().to_string()
}
