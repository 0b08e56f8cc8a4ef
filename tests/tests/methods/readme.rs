//! The README's table of optimizers is the registry's.
//!
//! With the environment variable `OSCULATE_UPDATE_README` set, the test writes the table instead.

use std::fmt::Write;
use std::path::Path;

use osculate_optim::registry::{OptimizerKind, OptimizerSpec};

const MARK: &str = "<!-- optimizers -->";

/// Gradient evaluations to two digits after the point, without zeros at the end.
fn short(gradients: f64) -> String {
    short_to(gradients, 2)
}

fn short_to(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    if digits == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// An optimizer's best rate over AdamW's in the study, and the range of it.
fn over_adamw(name: &str) -> String {
    let ratios = osculate_bench::tuned::over_adamw(name).filter(|_| name != "adamw");
    ratios.map_or(String::new(), |[middle, least, most]| {
        let digits = |ratio: f64| if ratio < 10.0 { 2 } else { 0 };
        let shown = |ratio: f64| short_to(ratio, digits(ratio));
        format!("{} ({} to {})", shown(middle), shown(least), shown(most))
    })
}

fn table() -> String {
    let mut text = String::from(
        "| name | what it does | gradients a step | state, numbers per parameter | rate to start from | times AdamW's in \
         the study |\n|---|---|---|---|---|---|\n",
    );
    for kind in OptimizerKind::BUILT_IN {
        let row = kind.row();
        let what = match OptimizerSpec::new(*kind).base() {
            Some(base) => format!("{}; over another, usually `{base}`", row.text),
            None => row.text.to_string(),
        };
        writeln!(
            text,
            "| `{}` | {what} | {} | {} | {:?} | {} |",
            row.name,
            short(row.gradients),
            row.state,
            row.learning_rate,
            over_adamw(row.name),
        )
        .expect("a text takes all that is written");
    }
    text
}

#[test]
fn the_table_of_optimizers_is_the_registrys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let parts: Vec<&str> = readme.split(MARK).collect();
    let [before, between, after] = parts[..] else {
        panic!("README.md has {} of `{MARK}`, expected 2", parts.len() - 1);
    };
    let expected = format!("\n{}", table());
    if std::env::var_os("OSCULATE_UPDATE_README").is_some() {
        let text = format!("{before}{MARK}{expected}{MARK}{after}");
        std::fs::write(&path, text).expect("README.md can be written");
        return;
    }
    assert_eq!(
        between, expected,
        "the table in README.md is old: OSCULATE_UPDATE_README=1 cargo test -p osculate-tests --test methods readme \
         writes it"
    );
}
