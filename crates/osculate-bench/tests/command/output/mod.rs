//! What the commands show at 80, 100 and 140 columns, as snapshots: a change of one is looked at before it is
//! taken over (`INSTA_UPDATE=always` writes them).

use super::program::{osculate, text};

/// Name of the snapshots and words of the command.
const COMMANDS: [(&str, &[&str]); 16] = [
    ("help", &["--help"]),
    ("race-help", &["race", "--help"]),
    ("study-help", &["study", "--help"]),
    ("tune-help", &["tune", "--help"]),
    ("list-help", &["list", "--help"]),
    ("lr-help", &["lr", "--help"]),
    ("bench-step-help", &["bench-step", "--help"]),
    ("compare-help", &["compare", "--help"]),
    ("report-help", &["report", "--help"]),
    ("list-adahessian", &["list", "adahessian"]),
    ("list-memory", &["list", "--memory", "64x32"]),
    ("list", &["list"]),
    ("list-soap", &["list", "soap"]),
    ("list-sam", &["list", "sam(soap)"]),
    ("workloads", &["list", "--workloads"]),
    (
        "compare",
        &[
            "compare",
            "../../docs/study/results.json",
            "../../docs/study/results.json",
        ],
    ),
];

fn shown(words: &[&str], columns: Option<usize>) -> String {
    let mut command = osculate(words);
    match columns {
        Some(columns) => command.env("COLUMNS", columns.to_string()),
        None => command.env_remove("COLUMNS"),
    };
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout)
}

#[test]
fn everything_fits_where_it_is_shown() {
    for (name, words) in COMMANDS {
        for columns in [80, 100, 140] {
            let told = shown(words, Some(columns));
            for line in told.lines() {
                let width = line.chars().count();
                assert!(
                    width <= columns,
                    "{name} at {columns} columns, {width}: {line}"
                );
            }
            insta::assert_snapshot!(format!("{name}-{columns}"), told);
        }
    }
}

#[test]
fn a_pipe_gets_everything() {
    for (name, words) in [
        ("list", &["list"][..]),
        ("workloads", &["list", "--workloads"]),
    ] {
        let told = shown(words, None);
        assert!(
            !told.contains('\u{1b}') && !told.contains("No room"),
            "{told}"
        );
        insta::assert_snapshot!(format!("{name}-piped"), told);
    }
}
