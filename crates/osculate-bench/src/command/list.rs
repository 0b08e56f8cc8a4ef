use osculate::optim::registry::OptimizerKind;
use osculate_program::Output;

use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::report::{Grid, Notation};
use crate::workload::Workloads;

/// `osculate list`.
pub(super) fn optimizers(out: &Output) -> Result<(), BenchError> {
    out.say(format_args!(
        "{:<18} {:<50} {:>9} {:>7}  settings",
        "name", "what it does", "gradients", "lr"
    ));
    for method in OptimizerKind::all() {
        let entrant = Entrant::new(method)?;
        out.say(format_args!(
            "{:<18} {:<50} {:>9} {:>7}  {}",
            method.name(),
            method.text(),
            method.gradients(),
            entrant.documented_rate(),
            entrant.recipe.settings()
        ));
    }
    out.say(
        "\ngradients: evaluations a step; lr: the peak rate at which a search begins; settings: those of this \
         program, which --entrant changes",
    );
    Ok(())
}

/// `osculate list --workloads`.
pub(super) fn workloads(workloads: &Workloads, out: &Output) {
    let mut grid = Grid::new(["name", "what it is", "metric", "steps"]);
    let mut reasons = String::new();
    for about in workloads.abouts() {
        reasons += &format!("{:<14} {}\n", about.name, about.reason);
        grid.rows.push(vec![
            about.name,
            about.title,
            about.metric.name,
            about.steps.to_string(),
        ]);
    }
    out.say(format_args!(
        "{}\n\n{reasons}",
        grid.write(Notation::Terminal)
    ));
    out.say("--cifar DIR and --wikitext DIR add the workloads cifar and wikitext.");
}
