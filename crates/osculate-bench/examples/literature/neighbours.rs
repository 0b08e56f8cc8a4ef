//! What users of other libraries mix in, over the methods that it is mixed into.

use osculate_bench::entrant::Entrant;
use osculate_bench::error::BenchError;
use osculate_bench::study::{Budget, rates};
use osculate_bench::workload::Workloads;

use crate::runs::{Context, Method, compared, tuned};

/// A method, and what it is measured against.
const METHODS: [(&str, &str); 8] = [
    ("soap", "soap"),
    ("prodigy(soap)", "soap"),
    ("mars(soap)", "soap"),
    ("hyperball(soap)", "soap"),
    ("shampoo", "shampoo"),
    ("mars(shampoo)", "shampoo"),
    ("muon", "muon"),
    ("normuon", "muon"),
];

pub fn run(context: &Context, workload: &str) -> Result<(), BenchError> {
    let workloads = Workloads::built_in();
    let trainer = workloads.get(workload)?;
    let about = trainer.about();
    // The longer runs are fewer.
    let (trials, seeds) = if workload == "char-lm" {
        (5, 4)
    } else {
        (7, 6)
    };
    let mut methods = Vec::new();
    for (name, _) in METHODS {
        let entrant: Entrant = name.parse()?;
        // The estimate of a rate is what is to be found out about, not to be searched around.
        let width = if name.starts_with("prodigy") {
            3.0
        } else {
            30.0
        };
        let budget = Budget {
            trials,
            width,
            ..Budget::default()
        };
        let rates = rates(entrant.documented_rate(), &budget).into_iter();
        methods.push(Method {
            name: name.to_string(),
            tries: rates.map(|lr| (entrant.clone(), lr)).collect(),
        });
    }
    let tuned = tuned(context, trainer, methods, (about.steps, seeds))?;
    context.out.tell(format_args!(
        "{}: {} steps, mean ± standard error over {} seeds; each method at the best of {trials} rates.",
        about.title,
        about.steps,
        context.seeds(seeds).count()
    ));
    let base = |name: &str| {
        METHODS
            .iter()
            .find(|row| row.0 == name)
            .map_or("", |row| row.1)
    };
    context.show(&compared(&tuned, &about.metric, base));
    Ok(())
}
