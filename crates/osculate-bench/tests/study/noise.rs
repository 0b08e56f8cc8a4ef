//! What flat solutions are for: training on wrong labels.

use burn::tensor::Device;
use osculate_bench::entrant::Entrant;
use osculate_bench::trial::{Trial, TrialSpec, Watch};
use osculate_bench::workload::Workloads;

const SEEDS: u64 = 3;
/// The same for both: SGD with momentum is the base of SAM.
const LEARNING_RATE: f64 = 0.08;
/// A measurement after every pass over the images.
const EPOCHS: usize = 50;
const STEPS: usize = 23 * EPOCHS;

fn runs(entrant: &Entrant) -> Vec<Trial> {
    let workloads = Workloads::built_in();
    let train = |seed| {
        let mut spec = TrialSpec::new("digits-noise", entrant.clone(), LEARNING_RATE, STEPS);
        spec.measurements = EPOCHS;
        let workload = workloads.get("digits-noise").unwrap();
        let spec = spec.with_seed(seed);
        workload
            .train(&spec, &Device::flex(), &Watch::default())
            .unwrap()
    };
    (0..SEEDS).map(train).collect()
}

fn mean(trials: &[Trial], of: impl Fn(&Trial) -> f64) -> f64 {
    100.0 * trials.iter().map(of).sum::<f64>() / trials.len() as f64
}

fn last(trial: &Trial) -> f64 {
    trial.points.last().and_then(|point| point.metric).unwrap()
}

fn best(trial: &Trial) -> f64 {
    let metrics = trial.points.iter().filter_map(|point| point.metric);
    metrics.reduce(f64::max).unwrap()
}

/// With 40 % of the labels wrong, SGD learns them by heart in the end; SAM over the same SGD, with as many
/// steps at the same rate, ends above the best that SGD passes through on its way.
#[test]
fn sam_withstands_wrong_labels() {
    let (sgd, sam): (Entrant, Entrant) = ("sgd".parse().unwrap(), "sam".parse().unwrap());
    let (sgd, sam) = (runs(&sgd), runs(&sam.with_settings(["rho=0.5"]).unwrap()));
    let (sgd_last, sgd_best, sam_last) = (mean(&sgd, last), mean(&sgd, best), mean(&sam, last));
    let told = format!("SGD last {sgd_last:.1}, best {sgd_best:.1}, SAM last {sam_last:.1}");
    assert!(sam_last >= sgd_last + 10.0, "{told}");
    assert!(sam_last >= sgd_best + 0.5, "{told}");
}
