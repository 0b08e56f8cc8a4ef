//! Texts and files that are none of ours: never a panic, and a result of a study is never lost.
//! `PROPTEST_CASES` makes it longer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../osculate-train/tests/common/mutate.rs"]
mod mutate;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use burn::tensor::Device;
use mutate::{changed, changes};
use osculate_bench::analysis::{Results, analyse};
use osculate_bench::cli::{Cli, parse_seeds};
use osculate_bench::entrant::Entrant;
use osculate_bench::report;
use osculate_bench::study::{Board, Budget, Store, StudyConfig, work};
use osculate_bench::trial::Watch;
use osculate_bench::workload::Workloads;
use proptest::prelude::*;
use tempfile::TempDir;

fn config() -> StudyConfig {
    StudyConfig {
        workloads: vec!["quadratic".to_string()],
        entrants: vec![
            "adamw".parse().unwrap(),
            "x=sam"
                .parse::<Entrant>()
                .unwrap()
                .with_settings(["rho=0.1"])
                .unwrap(),
        ],
        baseline: "adamw".to_string(),
        budget: Budget {
            trials: 1,
            seeds: 1,
            rounds: 0,
            length: 0.02,
            measurements: 3,
            ..Budget::default()
        },
        data: Default::default(),
    }
}

/// A study that is done, and its report.
static STUDY: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    finish(&folder).unwrap();
    folder
});

fn finish(folder: &TempDir) -> Result<Results, String> {
    let told = |error: osculate_bench::error::BenchError| {
        let text = error.to_string();
        assert!(!text.is_empty() && text.len() < 10_000, "{text}");
        text
    };
    let (device, workloads) = (Device::flex(), Workloads::built_in());
    let (store, config) = Store::open(folder.path(), Some(&config())).map_err(told)?;
    work(
        &store,
        &config,
        &workloads,
        &device,
        &Watch::default(),
        &|_| (),
    )
    .map_err(told)?;
    let mut board = Board::new(&store, &config, &workloads).map_err(told)?;
    let (progress, _) = board.read_all().map_err(told)?;
    let results = analyse(
        &board,
        &store,
        &config,
        progress.done == progress.all,
        &device,
    )
    .map_err(told)?;
    report::write_all(&results, folder.path()).map_err(told)?;
    Ok(results)
}

const RESULTS: [&str; 4] = [
    "trials/quadratic/adamw/tune-00.json",
    "trials/quadratic/adamw/run-s0.json",
    "trials/quadratic/x/tune-00.json",
    "trials/quadratic/x/run-s0.json",
];

proptest! {
    #[test]
    fn any_entrant_is_taken_or_refused(text in prop_oneof![
        "[a-zA-Z0-9._-]{0,8}=(sam|adamw|soap|muon|sophia-g)(:[ -~]{0,20})?",
        "(sam|adamw|soap|muon):\\{\"[a-z_0-9]{1,12}\": ?[ -~]{0,12}\\}",
        "\\PC{0,30}",
    ]) {
        match text.parse::<Entrant>() {
            Ok(entrant) => {
                let written = serde_json::to_string(&entrant).unwrap();
                let read: Entrant = serde_json::from_str(&written).unwrap();
                prop_assert!(entrant.is_same(&read), "{written}");
                let folder = std::path::Path::new(&entrant.label);
                prop_assert_eq!(folder.components().count(), 1, "{}", entrant.label);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    /// No two jobs of a study have one file or one lock, whatever its optimizers are called.
    #[test]
    fn any_labels_have_files_of_their_own(labels in proptest::collection::vec(
        prop_oneof![
            "[a-cA-C.]{0,3}(\\.json|\\.lock|\\.JSON)?",
            "(step-times|tune-00|run-s0)(\\.json|\\.lock)?",
            "\\PC{0,4}",
        ],
        1..5,
    )) {
        let mut study = config();
        let adamw = study.entrants[0].clone();
        study.entrants = labels.into_iter().map(|label| Entrant { label, ..adamw.clone() }).collect();
        study.baseline = study.entrants[0].label.clone();
        study.budget.rounds = 1;
        if study.validate(&Workloads::built_in()).is_ok() {
            let paths: Vec<String> = study.jobs().iter().map(|job| {
                job.path().to_str().unwrap().to_lowercase()
            }).collect();
            for (index, path) in paths.iter().enumerate() {
                for other in &paths[index + 1..] {
                    let (one, other) = (Path::new(path), Path::new(other));
                    prop_assert!(!one.starts_with(other) && !other.starts_with(one), "{one:?} {other:?}");
                    prop_assert!(one.with_extension("") != other.with_extension(""), "{one:?} {other:?}");
                }
            }
        }
    }

    /// A folder may have any name.
    #[cfg(unix)]
    #[test]
    fn results_are_kept_in_any_folder(name in mutate::name(), beside in mutate::name()) {
        let results = Results::read(&STUDY.path().join("results.json")).unwrap();
        let at = tempfile::tempdir().unwrap();
        let out = at.path().join(name);
        let (store, study) = Store::open(&out, Some(&config())).unwrap();
        fs::write(out.join(&beside), "of someone else").unwrap();
        Board::new(&store, &study, &Workloads::built_in()).unwrap().read_all().unwrap();
        report::write_all(&results, &out).unwrap();
        Results::read(&out.join("results.json")).unwrap();
        Store::open(&out, None).unwrap();
        prop_assert!(!study.command(&out).is_empty());
    }

    #[test]
    fn any_seeds_are_taken_or_refused(text in prop_oneof!["[0-9, ]{0,24}", "\\PC{0,16}"]) {
        if let Ok(seeds) = parse_seeds(&text) {
            prop_assert!(!seeds.is_empty() && seeds.len() <= 1000);
        }
    }

    #[test]
    fn any_options_are_taken_or_refused(words in proptest::collection::vec(prop_oneof![
        "--(lr|seeds|steps|target|optimizers|optimizer|set|workloads|entrant)",
        "[a-z]{1,6}=[0-9.e,-]{1,10}",
        "-?[0-9.e,]{1,8}",
        "\\PC{0,10}",
    ], 0..6)) {
        use clap::Parser;
        let words = ["osculate".to_string(), "race".to_string()].into_iter().chain(words);
        if let Ok(cli) = Cli::try_parse_from(words)
            && let Some(osculate_bench::cli::Command::Race(args)) = cli.command
            && let Ok(config) = args.validate()
        {
            prop_assert!(config.heats.iter().flat_map(|heat| heat.lanes()).all(|(_, lr)| lr > 0.0 && lr.is_finite()));
        }
    }

    #[test]
    fn any_results_are_read_or_refused(changes in changes()) {
        let bytes = fs::read(STUDY.path().join("results.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        fs::write(&path, changed(&bytes, &changes)).unwrap();
        match Results::read(&path) {
            Ok(results) => {
                let again = Results::read(&STUDY.path().join("results.json")).unwrap();
                let found = osculate_bench::compare::compare(&again, &results);
                found.table();
                let _ = report::write_all(&results, folder.path());
            }
            Err(error) => prop_assert!(error.to_string().contains("results.json")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(8), ..ProptestConfig::default() })]

    /// A damaged result is run again and its file kept; a damaged configuration is refused.
    #[test]
    fn a_damaged_study_is_mended_or_refused(which in 0..5_usize, changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        for file in RESULTS.into_iter().chain(["study.json"]) {
            let to = folder.path().join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(STUDY.path().join(file), to).unwrap();
        }
        let path = folder.path().join(RESULTS.get(which).unwrap_or(&"study.json"));
        let damaged = changed(&fs::read(&path).unwrap(), &changes);
        fs::write(&path, &damaged).unwrap();
        match finish(&folder) {
            Ok(results) => {
                prop_assert!(results.complete);
                let kept = fs::read_dir(path.parent().unwrap()).unwrap().any(|entry| {
                    let path = entry.unwrap().path();
                    path.is_file() && fs::read(path).unwrap() == damaged
                });
                // A configuration that became that of fewer seeds is made longer.
                prop_assert!(kept || which == RESULTS.len(), "what was damaged is still there");
            }
            Err(text) => prop_assert!(which == RESULTS.len(), "{text}"),
        }
    }
}
