use osculate::optim::registry::{OptimizerKind, OptimizerSpec, words_of};
use osculate_program::Output;

use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::report::{Column, Grid, Notation};
use crate::shell;
use crate::tuned;
use crate::workload::Workloads;

/// `osculate list`.
pub(super) fn optimizers(out: &Output) -> Result<(), BenchError> {
    let mut grid = Grid::new([
        Column::new("name"),
        Column::new("what it does").prose(24),
        Column::new("gradients").spare(2),
        Column::new("state").prose(10).spare(1),
        Column::new("rate"),
    ]);
    for method in OptimizerKind::all() {
        let entrant = Entrant::new(method)?;
        grid.rows.push(vec![
            method.name().to_string(),
            text(&entrant.recipe),
            gradients(&entrant.recipe),
            short_state(method.row().state).to_string(),
            entrant.documented_rate().to_string(),
        ]);
    }
    out.say(grid.write(Notation::of(out)));
    out.tell(
        "gradients: evaluations a step; state: numbers kept for each parameter, of a square matrix where that \
         matters; rate: a peak learning rate to start from. `osculate list soap` tells all of one, `osculate list \
         --workloads` what they are raced on.",
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
fn short_state(state: &str) -> &str {
    let first = state.split(',').next().unwrap_or(state);
    first.trim_end_matches(" on a square matrix")
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
    let own = recipe.learning_rate();
    let adamw = OptimizerKind::ADAMW.learning_rate();
    let name = recipe.to_string();
    let mut text = if recipe.kind() == OptimizerKind::ADAMW {
        String::new()
    } else {
        format!("That is {:.3} times AdamW's.", own / adamw).replace(".000 ", " ")
    };
    if let Some([middle, least, most]) = tuned::over_adamw(&name)
        && name != OptimizerKind::ADAMW.name()
    {
        text += &format!(
            " In the study its best rate was {middle:.2} times AdamW's best on the same workload (median of eight; \
             {least:.3} to {most:.0})."
        );
    }
    if recipe.kind() == OptimizerKind::SOAP {
        text += " AdamW's usual 0.003 is too low for it: start higher.";
    }
    text.trim().to_string()
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
