use super::document::{Block, Figure};
use super::figure::{Palette, curves, profiles, solutions};
use super::findings::{findings, winners};
use super::grid::{Column, Grid};
use super::tables::{outcome, price, rate, rates, standings, tuning};
use crate::analysis::{
    BASELINE_SHARE, CHANCE, Edge, EntrantResults, LARGEST_FACTOR, Results, WorkloadResults, verdict,
};
use crate::error::BenchError;
use crate::stats::smallest_p;
use crate::study::Budget;
use crate::workload::TargetRule;

/// The page of a race or a study.
pub(super) fn page(results: &Results) -> Result<Vec<Block>, BenchError> {
    let palette = Palette::of(results);
    let mut blocks = vec![Block::Heading(1, results.title.clone())];
    if !results.complete {
        blocks.push(Block::Text(
            "Partial: trials are missing, and what follows counts those there are.".to_string(),
        ));
    }
    blocks.push(Block::Text(opening(results)));
    verdicts(results, &mut blocks);
    if !results.standings.is_empty() {
        blocks.push(Block::Table(standings(results)));
        blocks.push(Block::Text(format!(
            "Ordered by the score over seconds. Score: the mean height of the performance profile between \
             the factors 1 and {LARGEST_FACTOR}, as in AlgoPerf; 1 is fastest to every target, 0 never \
             within {LARGEST_FACTOR} times the fastest. Seeds won and lost compare the last measurements, \
             seed by seed, over all workloads; p is the two-sided permutation test of wins less losses, in which \
             a workload with all its seeds counts once, because its seeds share one tuned rate. {} cannot give \
             less than {:.3}, and no correction for many optimizers is made.",
            plural(results.workloads.len(), "workload"),
            smallest_p(results.workloads.len())
        )));
        blocks.push(Block::Figure(Figure {
            name: "profiles".to_string(),
            svg: profiles(results, &palette)?,
            caption: "For each factor, the part of the workloads on which an optimizer reaches the target \
                      within that factor of the best."
                .to_string(),
        }));
        blocks.push(Block::Heading(3, "Best on each workload".to_string()));
        blocks.push(Block::Table(winners(results)));
    }
    for one in &results.workloads {
        workload_blocks(one, results, &palette, &mut blocks)?;
    }
    if let Some(budget) = &results.budget {
        blocks.push(Block::Heading(2, "Protocol".to_string()));
        blocks.push(Block::List(protocol(results, budget)));
        blocks.push(Block::Heading(2, "What this does not show".to_string()));
        blocks.push(Block::List(limits(results)));
    }
    blocks.push(Block::Heading(2, "How to read the tables".to_string()));
    blocks.push(Block::List(reading(results)));
    blocks.push(Block::Heading(2, "Optimizers and settings".to_string()));
    blocks.push(Block::Folded(
        "Settings of every optimizer".to_string(),
        settings(results),
    ));
    if !results.command.is_empty() {
        blocks.push(Block::Heading(2, "Command".to_string()));
        blocks.push(Block::Command(results.command.clone()));
    }
    blocks.push(Block::Heading(2, "Environment".to_string()));
    blocks.push(Block::List(environment(results)));
    Ok(blocks)
}

/// What came of it, before all tables.
fn verdicts(results: &Results, blocks: &mut Vec<Block>) {
    let mut found = Vec::new();
    if !results.standings.is_empty() {
        found.push(Block::List(findings(results)));
    }
    for one in &results.workloads {
        if let Some(verdict) = verdict(one, results) {
            found.push(Block::Heading(3, one.about.title.clone()));
            found.push(Block::Text(verdict.headline));
            found.push(Block::List(verdict.details));
        }
    }
    if !found.is_empty() {
        blocks.push(Block::Heading(2, "Verdicts".to_string()));
        blocks.append(&mut found);
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn opening(results: &Results) -> String {
    let optimizers = results.labels().len();
    let what = format!(
        "{} on {}, {}",
        plural(optimizers, "optimizer"),
        plural(results.workloads.len(), "workload"),
        plural(results.seeds.len(), "seed")
    );
    match &results.budget {
        Some(budget) => format!(
            "{what}. Every optimizer was tuned with the same {} on each workload before its runs.",
            plural(budget.trials, "trial")
        ),
        None => format!("{what}, at given learning rates."),
    }
}

fn workload_blocks(
    one: &WorkloadResults,
    results: &Results,
    palette: &Palette,
    blocks: &mut Vec<Block>,
) -> Result<(), BenchError> {
    let about = &one.about;
    blocks.push(Block::Heading(
        2,
        format!("{} ({})", about.title, about.name),
    ));
    blocks.push(Block::Text(format!("Why: {}.", about.reason)));
    blocks.push(Block::Text(format!(
        "Data: {}. {}, {}.{}",
        about.data,
        plural(one.parameters, "parameter"),
        plural(one.steps, "step"),
        target_text(one, results)
    )));
    let runs = one.entrants.iter().any(|entrant| !entrant.runs.is_empty());
    if runs {
        blocks.push(Block::Table(outcome(one, &results.baseline)));
        blocks.push(Block::Figure(Figure {
            name: format!("{}-curves", about.name),
            svg: curves(one, palette, results.cpu_time)?,
            caption: format!(
                "{}, measured on the way: the median of the seeds, with a band from the least to the greatest; \
                 the broken line is the target.",
                capital(&about.metric.name)
            ),
        }));
    }
    if runs {
        blocks.push(Block::Table(price(one)));
    }
    if let Some(svg) = solutions(one, palette)? {
        blocks.push(Block::Figure(Figure {
            name: format!("{}-solutions", about.name),
            svg,
            caption: "Left or alone: where the learning rate leads in the tuning trials that finished. Eigenvalues: of the \
                      Hessian of the training loss at the end of the runs, the median of the seeds."
                .to_string(),
        }));
    }
    let edges = edges(one);
    if !edges.is_empty() {
        blocks.push(Block::Text(format!(
            "The best rate lies at the edge of the search, beyond which a better one may be, of: {}.",
            edges.join(", ")
        )));
    }
    let failed: Vec<String> = one
        .entrants
        .iter()
        .filter_map(|e: &EntrantResults| Some(format!("{}: {}", e.label, e.failure.as_ref()?)))
        .collect();
    if !failed.is_empty() {
        blocks.push(Block::Text("Could not be run here:".to_string()));
        blocks.push(Block::List(failed));
    }
    if one.has_several_rates() {
        blocks.push(Block::Text(
            "Every optimizer is shown at the one of its rates that reached the target in the fewest steps; of \
             equal ones, and where none reached it, at that with the best end. These very runs have chosen it, \
             which flatters all alike where all had the same rates."
                .to_string(),
        ));
        blocks.push(Block::Folded("All rates".to_string(), rates(one)));
    }
    if one
        .entrants
        .iter()
        .any(|entrant| !entrant.tuning.is_empty())
    {
        blocks.push(Block::Folded("Tuning trials".to_string(), tuning(one)));
    }
    Ok(())
}

/// The optimizers whose best rate is the lowest or the highest that was tried.
fn edges(one: &WorkloadResults) -> Vec<String> {
    let edge = |entrant: &EntrantResults| {
        let side = match entrant.at_edge()? {
            Edge::Lowest => "lowest",
            Edge::Highest => "highest",
        };
        Some(format!("{} ({side})", entrant.label))
    };
    one.entrants.iter().filter_map(edge).collect()
}

/// The text with a capital at its beginning.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn target_text(one: &WorkloadResults, results: &Results) -> String {
    let metric = &one.about.metric;
    match (one.target, one.about.target) {
        (None, _) => String::new(),
        (Some(target), TargetRule::Value(_)) => {
            format!(" Target: {}.", metric.phrase(target))
        }
        (Some(target), TargetRule::BaselineEnd) => format!(
            " Target: {}, which all runs of {} end at or beyond.",
            metric.phrase(target),
            results.baseline
        ),
        (Some(target), TargetRule::Baseline) => format!(
            " Target: {}, the median over the seeds of the best that {} reached in the first {:.0} % of its \
             run{}.",
            metric.phrase(target),
            results.baseline,
            100.0 * BASELINE_SHARE,
            if one
                .entrant(&results.baseline)
                .is_some_and(|e| !e.rates.is_empty())
            {
                ", at the rate with the best end"
            } else {
                ""
            }
        ),
    }
}

fn protocol(results: &Results, budget: &Budget) -> Vec<String> {
    let apart = results.workloads.iter().filter(|w| w.tuned_apart);
    let mut apart: Vec<&str> = apart.map(|w| w.about.name.as_str()).collect();
    if apart.is_empty() {
        apart.push("no workload");
    }
    vec![
        format!(
            "Tuning: {} for each optimizer on each workload, at learning rates spread evenly in their \
             logarithm between 1/{w} and {w} times the rate that the optimizer's documentation begins a \
             search at (a lattice, shifted by the search seed {}). The places in the range are the same for \
             all. Other settings are the optimizers' defaults, but for Sophia's gamma \
             of 1 and for embeddings and heads, which Muon leaves to AdamW.",
            plural(budget.trials, "trial"),
            budget.search_seed,
            w = budget.width,
        ),
        "The trial with the best last measurement wins; of equal ones that with the better mean over its run. \
         Tuning trials have a seed of their own."
            .to_string(),
        format!(
            "Held out: on {} tuning trials are measured on data that no run is measured on; each workload \
             says which.",
            apart.join(", ")
        ),
        format!(
            "Runs: the winner with {}. Seed for seed, all optimizers start at the same weights and see the \
             same batches. A run is measured {} times.",
            plural(results.seeds.len(), "seed"),
            budget.measurements
        ),
        format!(
            "Step times were measured apart, in one process, in which all optimizers took turns ({} of ten \
             steps each); what is shown is the median over the rounds of the ratio to {} in the same round.",
            plural(budget.rounds, "round"),
            results.baseline
        ),
    ]
}

/// What the numbers do not say.
fn limits(results: &Results) -> Vec<String> {
    let mut items = vec![
        format!(
            "Targets come from {b} itself: by construction at least half of its runs reach them, at the \
             latest after {:.0} % of a run.",
            100.0 * BASELINE_SHARE,
            b = results.baseline
        ),
        "Only the learning rate is tuned. A method with a setting of its own that matters, such as SAM's \
         radius, may do better than here."
            .to_string(),
        "The tasks are small and the runs short. Pairs of seeds on one workload say little of another \
         workload, and nothing here says how the methods scale."
            .to_string(),
    ];
    let names = |apart: bool| {
        let found = results.workloads.iter().filter(|w| w.tuned_apart == apart);
        found.map(|w| w.about.name.as_str()).collect::<Vec<_>>()
    };
    if !names(false).is_empty() {
        items.push(format!(
            "Nothing is held out on {}: rates are chosen and runs judged on the same numbers, with other seeds.",
            names(false).join(", ")
        ));
    }
    items
}

fn reading(results: &Results) -> Vec<String> {
    let mut items = vec![
        "Last and best: the mean over the seeds, with the bootstrap's 95 % interval. Of a few seeds such an \
         interval is too narrow: of normal numbers it covers the truth in three of four cases with 3 seeds, \
         and in six of seven with 6."
            .to_string(),
        "To the target: Kaplan and Meier's median over the seeds, the first time by which at least half of the \
         runs are there, with the bootstrap's 95 % interval. Runs that never reach the target stay in it as \
         censored. In round brackets how many runs reached it where not all did; never: fewer than half did."
            .to_string(),
        if results.cpu_time {
            "Seconds: processor time of the process in the steps; trials run side by side with one thread \
             each. Measurements and the making of batches are left out."
                .to_string()
        } else {
            "Seconds: time by the clock on the wall in the steps. Measurements and the making of batches are left \
             out."
                .to_string()
        },
        "Step time: over the baseline's. State / params: bytes of the optimizer's state over bytes of the \
         parameters. Peak memory: the largest resident memory of a process in a run, of which the program itself \
         is a part. Sharpness: the largest eigenvalue of the Hessian of the training loss at the end, median \
         of the seeds."
            .to_string(),
    ];
    let pairs = results.workloads.iter().flat_map(|w| &w.entrants);
    let smallest = pairs
        .filter_map(|e| e.paired)
        .map(|paired| paired.test.smallest);
    if let Some(smallest) = smallest.reduce(f64::min) {
        items.push(format!(
            "Difference: none where chance explains it, with p at or above {CHANCE}; tied where all seeds are \
             equal. p: of the permutation test of the differences to {} in the last measurement, seed by seed (of \
             logarithms, where the axis is logarithmic). {} cannot give less than {}: on one \
             workload alone more is not to be had, and no correction for many comparisons is made.",
            results.baseline,
            plural(results.seeds.len(), "seed"),
            if smallest < 1e-3 { format!("{smallest:.0e}") } else { format!("{smallest:.3}") }
        ));
    }
    items
}

fn settings(results: &Results) -> Grid {
    let mut grid = Grid::new([
        Column::new("optimizer"),
        Column::new("method"),
        Column::new("settings").prose(30),
    ]);
    for label in results.labels() {
        let found = results.workloads.iter().find_map(|w| w.entrant(label));
        if let Some(entrant) = found {
            let settings = entrant.settings.to_string();
            grid.rows
                .push(vec![label.to_string(), entrant.method.clone(), settings]);
        }
    }
    grid
}

fn environment(results: &Results) -> Vec<String> {
    let environment = &results.environment;
    let mut items = vec![
        format!(
            "osculate {}, burn {}",
            environment.osculate, environment.burn
        ),
        format!(
            "{}, {} on {}",
            environment.device,
            plural(environment.cores, "core"),
            environment
                .processor
                .as_deref()
                .unwrap_or("an unknown processor")
        ),
        environment.system.clone(),
    ];
    items.extend(results.other_environments.iter().map(|other| {
        format!(
            "a part of the trials: osculate {}, burn {}, {}, {} on {}, {}",
            other.osculate,
            other.burn,
            other.device,
            plural(other.cores, "core"),
            other.processor.as_deref().unwrap_or("an unknown processor"),
            other.system
        )
    }));
    if let Some(seconds) = results.elapsed {
        items.push(format!(
            "{:.1} minutes from the first trial to the last",
            seconds / 60.0
        ));
    }
    if let Some(seconds) = results.processor_seconds {
        items.push(format!(
            "{:.1} minutes of processor time in the steps of all trials",
            seconds / 60.0
        ));
    }
    if results.budget.is_none() && !results.has_several_rates() {
        let rates = results.workloads.first().map(|w| {
            let pairs = w
                .entrants
                .iter()
                .filter_map(|e| Some(format!("{} {}", e.label, rate(e.lr?))));
            pairs.collect::<Vec<_>>().join(", ")
        });
        items.extend(rates.map(|rates| format!("peak learning rates: {rates}")));
    }
    items
}
