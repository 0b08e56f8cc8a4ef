use std::fmt::Write as _;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};

use super::summary::{Spread, SummaryRow, summarise};
use crate::race::{NetResults, RaceResults};

/// The tables for the terminal.
pub fn terminal(results: &RaceResults) -> String {
    let mut text = String::new();
    for net in &results.models {
        let _ = writeln!(text, "{}\n{}\n", heading(net), table(net, results, false));
    }
    text + &notes(results)
}

/// The tables for a Markdown page.
pub fn markdown(results: &RaceResults) -> String {
    let mut text = String::from("# Race on handwritten digits\n\n");
    for net in &results.models {
        let _ = writeln!(
            text,
            "## {}\n\n{}\n",
            heading(net),
            table(net, results, true)
        );
    }
    text + &notes(results)
}

fn heading(net: &NetResults) -> String {
    format!("{} ({} parameters)", net.title, net.parameters)
}

fn notes(results: &RaceResults) -> String {
    let state = if results.complete {
        ""
    } else {
        "Partial: the race was interrupted, and unfinished runs count as they stood.\n"
    };
    let plural = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    format!(
        "{state}{}, {} of batches of {}, cosine schedule; {}, {} cores, burn {}, osculate \
         {}; {:.0} s in all.\n\
         Best accuracy: mean ± standard deviation over seeds of the best test accuracy. To {:.0}%: mean \
         over the seeds that reached it (their number in brackets where not all did). Seconds leave \
         testing out. Step time: mean of a run's steps, over AdamW's. Sharpness: largest Hessian eigenvalue at the \
         final weights on 256 training images.\n",
        plural(results.seeds.len(), "seed"),
        plural(results.epochs, "epoch"),
        results.batch_size,
        results.device,
        results.cores,
        results.burn_version,
        results.osculate_version,
        results.seconds,
        100.0 * results.target_accuracy,
    )
}

fn table(net: &NetResults, results: &RaceResults, markdown: bool) -> Table {
    let target = format!("{:.0}%", 100.0 * results.target_accuracy);
    let mut table = Table::new();
    table.load_style(if markdown {
        ASCII_MARKDOWN
    } else {
        UTF8_FULL_CONDENSED
    });
    table.set_header([
        "optimizer".to_string(),
        "best accuracy %".to_string(),
        format!("steps to {target}"),
        format!("gradients to {target}"),
        format!("seconds to {target}"),
        "step time".to_string(),
        "state / params".to_string(),
        "sharpness".to_string(),
    ]);
    for row in summarise(&net.runs, results.target_accuracy) {
        table.add_row(cells(&row));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cells(row: &SummaryRow) -> [String; 8] {
    let spread = |spread: Option<Spread>, factor: f64| match spread {
        Some(Spread { mean, .. }) if row.runs == 1 => format!("{:.1}", factor * mean),
        Some(Spread { mean, deviation }) => {
            format!("{:.1} ± {:.1}", factor * mean, factor * deviation)
        }
        None => "—".to_string(),
    };
    let reached = |value: Option<f64>, digits: usize| match value {
        None => "—".to_string(),
        Some(value) if row.reached == row.runs => format!("{value:.digits$}"),
        Some(value) => format!("{value:.digits$} ({}/{})", row.reached, row.runs),
    };
    let mut name = row.optimizer.to_string();
    for (count, what) in [(row.diverged, "diverged"), (row.failed, "failed")] {
        if count > 0 {
            name += &format!(" ({count} {what})");
        }
    }
    [
        name,
        spread(row.best_accuracy, 100.0),
        reached(row.steps_to_target, 0),
        reached(row.gradients_to_target, 0),
        reached(row.seconds_to_target, 2),
        row.step_time_ratio
            .map_or("—".to_string(), |ratio| format!("{ratio:.2}x")),
        format!("{:.2}", row.state_ratio),
        spread(row.sharpness, 1.0),
    ]
}
