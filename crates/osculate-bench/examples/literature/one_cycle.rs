//! Super-convergence: one cycle up to a large rate in a run several times shorter than usual.

use osculate_bench::entrant::Entrant;
use osculate_bench::error::BenchError;
use osculate_bench::report::Grid;
use osculate_bench::trial::Trainer;
use osculate_bench::workload::{DigitsConv, Schedule};

use crate::runs::{Context, Ends, Method, lattice, rate, tuned};
use crate::workloads::Rescheduled;

const SEEDS: u64 = 8;
/// Steps of the runs: 2, 4, 8 and 16 passes over the images.
const LENGTHS: [usize; 4] = [46, 92, 184, 368];
const RATES: usize = 9;

pub fn run(context: &Context) -> Result<(), BenchError> {
    let sgd: Entrant = "sgd".parse()?;
    let mut grid = Grid::new(["schedule", "steps", "best rate", "test accuracy, %"]);
    let schedules = [
        ("constant", Schedule::Constant),
        ("cosine", Schedule::Cosine),
        ("one-cycle", Schedule::OneCycle),
    ];
    for (name, schedule) in schedules {
        let inner = Box::new(DigitsConv::default());
        let workload = Rescheduled { inner, schedule };
        let trainer: &dyn Trainer = &workload;
        let metric = trainer.about().metric;
        for steps in LENGTHS {
            let rates = lattice(0.01, 10.0, RATES).into_iter();
            let method = Method {
                name: name.to_string(),
                tries: rates.map(|lr| (sgd.clone(), lr)).collect(),
            };
            for best in tuned(context, trainer, vec![method], (steps, SEEDS))? {
                grid.rows.push(vec![
                    best.name,
                    steps.to_string(),
                    rate(best.lr),
                    Ends::of(&best.trials).show(&metric),
                ]);
            }
        }
    }
    context.out.tell(format_args!(
        "digits-conv under SGD with momentum 0.9: each schedule and length at the best of {RATES} peak rates, mean ± \
         standard error over {} seeds",
        context.seeds(SEEDS).count()
    ));
    context.show(&grid);
    Ok(())
}
