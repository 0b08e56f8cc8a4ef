//! Flat minima on digits of which 40 % are labelled wrongly.

use osculate_bench::entrant::Entrant;
use osculate_bench::error::BenchError;
use osculate_bench::trial::Trainer;
use osculate_bench::workload::DigitsNoise;

use crate::runs::{Context, Method, compared, lattice, tuned};

const SEEDS: u64 = 6;
/// Tries of each method.
const TRIES: usize = 15;
/// Rates are searched from the documented one by this factor up and down.
const WIDTH: f64 = 30.0;

/// Methods over SGD, and three sizes of what each of them is about.
const METHODS: [(&str, &str, [f64; 3]); 6] = [
    ("sam", "rho", [0.05, 0.2, 0.8]),
    ("friendly-sam", "rho", [0.05, 0.2, 0.8]),
    ("momentum-sam", "rho", [0.1, 0.3, 1.0]),
    ("awp", "gamma", [0.01, 0.05, 0.25]),
    ("gam", "rho", [0.05, 0.2, 0.8]),
    ("fast-gam", "rho", [0.05, 0.2, 0.8]),
];

pub fn run(context: &Context) -> Result<(), BenchError> {
    let workload = DigitsNoise::default();
    let trainer: &dyn Trainer = &workload;
    let about = trainer.about();
    let mut methods = Vec::new();
    for base in ["sgd", "adamw"] {
        methods.push(method(base, "", &[])?);
    }
    for (name, setting, sizes) in METHODS {
        methods.push(method(name, setting, &sizes)?);
    }
    let tuned = tuned(context, trainer, methods, (about.steps, SEEDS))?;
    context.out.tell(format_args!(
        "{}: {} steps, mean ± standard error over {} seeds; each method at the best of {TRIES} tries, which are \
         rates and, but for the bases, three sizes of its perturbation.",
        about.title,
        about.steps,
        context.seeds(SEEDS).count()
    ));
    context.show(&compared(&tuned, &about.metric, |_| "sgd"));
    Ok(())
}

fn method(name: &str, setting: &str, sizes: &[f64]) -> Result<Method, BenchError> {
    let plain: Entrant = name.parse()?;
    let centre = plain.documented_rate();
    let rates = lattice(centre / WIDTH, centre * WIDTH, TRIES / sizes.len().max(1));
    let entrants = match sizes {
        [] => vec![plain],
        sizes => {
            let with = |size: &f64| plain.clone().with_settings([format!("{setting}={size}")]);
            sizes.iter().map(with).collect::<Result<_, _>>()?
        }
    };
    let tries = entrants
        .iter()
        .flat_map(|entrant| rates.iter().map(|lr| (entrant.clone(), *lr)));
    Ok(Method {
        name: name.to_string(),
        tries: tries.collect(),
    })
}
