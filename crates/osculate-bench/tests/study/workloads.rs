//! Every workload can be trained, and training helps.

use std::fs;

use burn::tensor::Device;
use osculate_bench::entrant::Entrant;
use osculate_bench::trial::{Outcome, Trial, TrialSpec, Watch};
use osculate_bench::workload::{About, Workloads};

fn train(workloads: &Workloads, name: &str, entrant: &str, steps: usize) -> Trial {
    let entrant: Entrant = entrant.parse().unwrap();
    let lr = entrant.documented_rate();
    // Eigenvalues of a transformer take seconds.
    let mut spec = TrialSpec::new(name, entrant, lr, steps).with_curvature(!text(name));
    spec.measurements = 2;
    let workload = workloads.get(name).unwrap();
    workload
        .train(&spec, &Device::flex(), &Watch::default())
        .unwrap()
}

/// Whether it is a transformer on characters.
fn text(name: &str) -> bool {
    matches!(name, "char-lm" | "wikitext")
}

/// Steps that show an effect, in a second or so.
fn few(name: &str) -> usize {
    match name {
        _ if text(name) => 6,
        "cifar" => 3,
        "delayed-xor" => 300,
        _ => 60,
    }
}

fn check(workloads: &Workloads, about: &About) {
    let trial = train(workloads, &about.name, "adam", few(&about.name));
    assert_eq!(trial.outcome, Outcome::Finished, "{}", about.name);
    assert_eq!(trial.defect(), None, "{}", about.name);
    let metrics: Vec<f64> = trial
        .points
        .iter()
        .filter_map(|point| point.metric)
        .collect();
    assert_eq!(metrics.len(), 3, "{}", about.name);
    // Nothing is learnt of xor at first but that there is nothing to see.
    if about.name != "delayed-xor" {
        let better = about.metric.better(metrics[0], metrics[2]) == metrics[2];
        assert!(better, "{}: {metrics:?}", about.name);
    }
    assert!(trial.parameters > 0 && trial.points[2].evaluations == few(&about.name) as f64);
    if text(&about.name) {
        return;
    }
    let why = trial.curvature_error;
    let curvature = trial
        .curvature
        .unwrap_or_else(|| panic!("{}: {why:?}", about.name));
    assert!(curvature.largest[0].is_finite(), "{}", about.name);
    let descends = |pair: &[f64]| pair[0] >= pair[1];
    assert!(curvature.largest.windows(2).all(descends), "{}", about.name);
}

/// Every second built-in workload, from this one on.
fn are_learnt(from: usize) {
    let workloads = Workloads::built_in();
    for about in workloads.abouts().skip(from).step_by(2) {
        check(&workloads, &about);
    }
}

// Two tests use two cores.
#[test]
fn one_half_of_the_built_in_workloads_is_learnt() {
    are_learnt(0);
}

#[test]
fn the_other_half_is_learnt() {
    are_learnt(1);
}

#[test]
fn searches_are_measured_on_data_of_their_own() {
    let workloads = Workloads::built_in();
    let untrained = |name: &str, tuning: bool| {
        let mut spec = TrialSpec::new(name, "sgd".parse().unwrap(), 1e-9, 1);
        spec.tuning = tuning;
        let workload = workloads.get(name).unwrap();
        let trial = workload.train(&spec, &Device::flex(), &Watch::default());
        trial.unwrap().points[0].metric.unwrap()
    };
    for name in [
        "digits-mlp",
        "digits-conv",
        "digits-noise",
        "autoencoder",
        "delayed-xor",
        "char-lm",
    ] {
        assert_ne!(untrained(name, false), untrained(name, true), "{name}");
    }
    for name in [
        "pinn",
        "logistic",
        "quadratic",
        "rosenbrock",
        "factorisation",
    ] {
        assert_eq!(untrained(name, false), untrained(name, true), "{name}");
    }
}

#[test]
fn a_trial_is_repeated_number_for_number() {
    let workloads = Workloads::built_in();
    for name in ["digits-conv", "factorisation"] {
        let metrics = |trial: Trial| {
            let points = trial.points.into_iter();
            points
                .map(|point| (point.step, point.metric, point.train_loss))
                .collect::<Vec<_>>()
        };
        let once = metrics(train(&workloads, name, "sophia-h", 20));
        assert_eq!(
            once,
            metrics(train(&workloads, name, "sophia-h", 20)),
            "{name}"
        );
    }
}

#[test]
fn a_trial_tells_how_its_products_were_made() {
    let workloads = Workloads::built_in();
    let of = |entrant: &str| train(&workloads, "digits-mlp", entrant, 12);
    let made = of("sophia-h").products.unwrap();
    assert_eq!((made.exact_steps, made.difference_steps), (2, 0));
    assert_eq!((made.largest_error, made.largest_age), (None, 9));
    assert_eq!(made.fallback, None);
    let trial = of("sgd");
    assert_eq!(trial.products, None);
    assert_eq!(trial.curvature.unwrap().exact, Some(true));
}

/// Methods that a workload cannot serve say so, and the trial is kept.
#[test]
fn a_method_that_does_not_apply_fails_with_its_reason() {
    let workloads = Workloads::built_in();
    let trial = train(&workloads, "pinn", "sophia-g", 5);
    let Outcome::Failed { message } = &trial.outcome else {
        panic!("{:?}", trial.outcome);
    };
    assert!(!message.is_empty());
    assert_eq!(trial.defect(), None);
}

/// A moving average trains as the optimizer under it, and is what is measured.
#[test]
fn averaged_weights_are_measured() {
    let workloads = Workloads::built_in();
    let plain = train(&workloads, "digits-mlp", "sgd", 20);
    let averaged = train(&workloads, "digits-mlp", "ema(sgd)", 20);
    let losses = |trial: &Trial| -> Vec<Option<f64>> {
        trial.points.iter().map(|point| point.train_loss).collect()
    };
    assert_eq!(losses(&plain), losses(&averaged));
    let last = |trial: &Trial| trial.points.last().unwrap().metric;
    assert_ne!(last(&plain), last(&averaged));
    assert_eq!(plain.points[0].metric, averaged.points[0].metric);
}

#[test]
fn folders_bring_their_workloads() {
    let folder = tempfile::tempdir().unwrap();
    let record = |label: u8| {
        let pixels = (0..3072_usize).map(move |at| (at * usize::from(label + 1) % 251) as u8);
        std::iter::once(label).chain(pixels)
    };
    let records: Vec<u8> = (0..80).flat_map(|number| record(number % 10)).collect();
    for file in ["data_batch_1.bin", "test_batch.bin"] {
        fs::write(folder.path().join(file), &records).unwrap();
    }
    let text = " = Title = \n\nthe quick brown fox jumps over the lazy dog .\n".repeat(60);
    fs::write(folder.path().join("wiki.train.tokens"), text).unwrap();
    let workloads = Workloads::empty().with_folders(Some(folder.path()), Some(folder.path()));
    let workloads = workloads.unwrap();
    let names: Vec<String> = workloads.abouts().map(|about| about.name).collect();
    assert_eq!(names, ["cifar", "wikitext"]);
    let wikitext = workloads
        .abouts()
        .find(|about| about.name == "wikitext")
        .unwrap();
    check(&workloads, &wikitext);
    assert_eq!(
        train(&workloads, "cifar", "sgd", 3).outcome,
        Outcome::Finished
    );
}
