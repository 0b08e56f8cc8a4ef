use osculate::optim::registry::{OptimizerKind, OptimizerSpec, words_of};
use osculate_program::Output;

use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::report::{Column, Grid, Notation};
use crate::shell;
use crate::tuned::{self, times};
use crate::workload::Workloads;

/// `osculate list`.
pub(super) fn optimizers(out: &Output) -> Result<(), BenchError> {
    let mut grid = Grid::new([
        Column::new("name"),
        Column::new("what it does").prose(24),
        Column::new("grads").spare(3),
        Column::new("state").spare(2),
        Column::new("rate"),
        Column::new("study").spare(1),
    ]);
    for method in OptimizerKind::all() {
        let entrant = Entrant::new(method)?;
        grid.rows.push(vec![
            method.name().to_string(),
            text(&entrant.recipe),
            gradients(&entrant.recipe),
            short_state(method.row().state),
            entrant.documented_rate().to_string(),
            tuned::over_adamw(method.name())
                .map_or_else(String::new, |[middle, ..]| format!("{}x", times(middle))),
        ]);
    }
    out.say(grid.write(Notation::of(out)));
    out.tell(
        "grads: gradient evaluations a step; state: numbers kept for each parameter, of a square matrix where that \
         matters, and `base` is what it goes over; rate: a peak learning rate to start from; study: its best rate over \
         AdamW's best on the same workload, the median of eight, where it was part of the study. `osculate list soap` \
         tells all of one, `osculate list --workloads` what they are raced on.",
    );
    Ok(())
}

/// Gradient evaluations a step, to two digits after the point.
fn gradients(recipe: &OptimizerSpec) -> String {
    let text = format!("{:.2}", recipe.gradients());
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// What it does, and what it goes over.
fn text(recipe: &OptimizerSpec) -> String {
    let kind = recipe.kind();
    match recipe.base() {
        Some(base) => format!("{}; over {base}", kind.text()),
        None => kind.text().to_string(),
    }
}

/// State in few words.
fn short_state(state: &str) -> String {
    let first = state.split(',').next().unwrap_or(state);
    let first = first.trim_end_matches(" on a square matrix");
    first.replace("the base's", "base")
}

/// `osculate list NAME`.
pub(super) fn optimizer(name: &str, out: &Output) -> Result<(), BenchError> {
    let entrant: Entrant = name.parse()?;
    let recipe = &entrant.recipe;
    let rate = entrant.documented_rate();
    out.tell(format_args!("{recipe}: {}", text(recipe)));
    out.say("");
    out.say(format_args!("gradients a step      {}", gradients(recipe)));
    out.tell(format_args!(
        "numbers a parameter   {}",
        recipe.kind().row().state
    ));
    out.say(format_args!("rate to start from    {rate}"));
    out.tell(advice(recipe));
    out.say("\nsettings, each for --set:");
    for setting in words_of(recipe.settings()) {
        out.say(format_args!("  {setting}"));
    }
    let setting = words_of(recipe.settings()).into_iter().next();
    let setting = setting.iter().flat_map(|setting| ["--set", setting]);
    let example = ["--optimizer", name].into_iter().chain(setting);
    out.say(format_args!("\nas in {}", shell::line(example)));
    Ok(())
}

/// Where a search for a rate begins, relative to AdamW's.
fn advice(recipe: &OptimizerSpec) -> String {
    let adamw = OptimizerKind::ADAMW;
    if recipe.kind() == adamw {
        return "All others are compared with it.".to_string();
    }
    let usual = adamw.learning_rate();
    let mut text = format!(
        "That is {} times AdamW's usual {usual}.",
        times(recipe.learning_rate() / usual)
    );
    match (found(recipe), recipe.base()) {
        (Some(found), _) => text += &format!(" In the study its best rate was {found}."),
        (None, Some(base)) => {
            let base = innermost(base);
            text += &format!(" The study has no figure for it over {base}");
            text += &match found(&base) {
                Some(found) => format!("; the best rate of {base} alone was {found}."),
                None => ".".to_string(),
            };
        }
        (None, None) => {
            text +=
                " The study has no figure for it; its documentation says where the rate comes from."
        }
    }
    if recipe.kind() == OptimizerKind::SOAP {
        text += " At 0.003 it is poor on small networks: start higher.";
    }
    text
}

/// What the study found of an optimizer's best rates, in words.
fn found(recipe: &OptimizerSpec) -> Option<String> {
    let [middle, least, most] = tuned::over_adamw(&recipe.to_string())?;
    let middle = match times(middle).as_str() {
        "1" => String::new(),
        other => format!("{other} times "),
    };
    let (least, most) = (times(least), times(most));
    Some(format!(
        "{middle}AdamW's best on the same workload (median of eight; {least} to {most} times)"
    ))
}

/// What an optimizer goes over at last.
fn innermost(recipe: OptimizerSpec) -> OptimizerSpec {
    match recipe.base() {
        Some(base) => innermost(base),
        None => recipe,
    }
}

/// `osculate list --workloads`.
pub(super) fn workloads(workloads: &Workloads, out: &Output) {
    let mut grid = Grid::new([
        Column::new("name"),
        Column::new("what it is").prose(24),
        Column::new("why").prose(24).spare(1),
        Column::new("metric").prose(14).spare(2),
        Column::new("steps"),
    ]);
    for about in workloads.abouts() {
        grid.rows.push(vec![
            about.name,
            about.title,
            about.reason,
            about.metric.name,
            about.steps.to_string(),
        ]);
    }
    out.say(grid.write(Notation::of(out)));
    out.tell("--cifar DIR and --wikitext DIR add the workloads cifar and wikitext.");
}
