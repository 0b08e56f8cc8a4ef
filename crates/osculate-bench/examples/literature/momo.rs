//! MoMo's flat curve: as good as its base at the base's best rate, and still so at rates far above it.

use osculate_bench::entrant::Entrant;
use osculate_bench::error::BenchError;
use osculate_bench::report::Grid;
use osculate_bench::trial::{Trainer, TrialSpec};
use osculate_bench::workload::{Autoencoder, DigitsMlp, Schedule};

use crate::runs::{Context, Ends, lattice, rate};
use crate::workloads::Rescheduled;

const SEEDS: u64 = 5;
const RATES: usize = 7;

/// A method and the two decades of its rates.
const METHODS: [(&str, [f64; 2]); 4] = [
    ("averaged-gradient", [0.1, 10.0]),
    ("momo(averaged-gradient)", [0.1, 10.0]),
    ("adam", [1e-3, 0.1]),
    ("momo(adam)", [1e-3, 0.1]),
];

pub fn run(context: &Context) -> Result<(), BenchError> {
    // The paper's rates are constant.
    let schedule = Schedule::Constant;
    let inner = Box::new(DigitsMlp::default());
    study(context, &Rescheduled { inner, schedule })?;
    let inner = Box::new(Autoencoder::default());
    study(context, &Rescheduled { inner, schedule })
}

fn study(context: &Context, trainer: &dyn Trainer) -> Result<(), BenchError> {
    let about = trainer.about();
    context.out.tell(format_args!(
        "\n{}: {} over the learning rate, which is constant; {} steps, mean ± standard error over {} seeds",
        about.title,
        about.metric.name,
        about.steps,
        context.seeds(SEEDS).count()
    ));
    for (base, over) in [(0, 1), (2, 3)] {
        let mut rows = Vec::new();
        let [from, to] = METHODS[base].1;
        let lattice = lattice(from, to, RATES);
        for (name, _) in [METHODS[base], METHODS[over]] {
            let entrant: Entrant = name.parse()?;
            // Adam's averages begin at zero, and so do those over it.
            let entrant = match name {
                "momo(adam)" => entrant.with_settings(["bias_correction=true"])?,
                _ => entrant,
            };
            let specs: Vec<TrialSpec> = lattice
                .iter()
                .flat_map(|lr| {
                    let spec = TrialSpec::new(&about.name, entrant.clone(), *lr, about.steps);
                    context.with_seeds(&spec, SEEDS)
                })
                .collect();
            let trials = context.runs(trainer, &specs)?;
            let ends = trials.chunks(context.seeds(SEEDS).count());
            let ends = ends.map(|trials| Ends::of(trials).show(&about.metric));
            rows.push([name.to_string()].into_iter().chain(ends).collect());
        }
        let header = ["rate".to_string()].into_iter();
        let mut grid = Grid::new(header.chain(lattice.iter().map(|lr| rate(*lr))));
        grid.rows = rows;
        context.show(&grid);
    }
    Ok(())
}
