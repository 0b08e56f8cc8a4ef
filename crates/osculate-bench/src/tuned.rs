//! Learning rates that the study has found.

use crate::entrant::Entrant;
use crate::stats::median;

/// The optimizers of [`RATES`], in the order of its columns.
const LABELS: [&str; 10] = [
    "adamw",
    "sgd",
    "sam",
    "sam-0.5",
    "adahessian",
    "sophia-h",
    "shampoo",
    "soap",
    "psgd-kron",
    "muon",
];

/// The best peak learning rates in `docs/study`, one row for each workload, to three digits.
const RATES: [(&str, [f64; 10]); 8] = [
    (
        "digits-noise",
        [
            0.000215, 0.0113, 0.0113, 0.113, 0.0113, 6.79e-5, 0.000215, 0.000679, 0.000358,
            0.000452,
        ],
    ),
    (
        "delayed-xor",
        [
            0.00679, 0.113, 1.13, 0.358, 0.0358, 0.00215, 0.00679, 0.00679, 0.00358, 0.0143,
        ],
    ),
    (
        "autoencoder",
        [
            0.00679, 0.358, 0.358, 0.358, 0.0358, 0.00215, 0.00679, 0.00679, 0.00358, 0.0143,
        ],
    ),
    (
        "pinn",
        [
            0.0679, 1.13, 1.13, 0.358, 0.358, 0.00679, 0.0679, 0.00679, 0.00358, 0.0143,
        ],
    ),
    (
        "digits-conv",
        [
            0.0679, 1.13, 0.358, 0.113, 0.113, 0.00679, 0.0215, 0.0679, 0.0113, 0.0452,
        ],
    ),
    (
        "logistic",
        [
            0.215, 3.58, 3.58, 3.58, 3.58, 0.215, 0.215, 0.215, 0.358, 1.43,
        ],
    ),
    (
        "factorisation",
        [
            0.215, 0.0358, 0.00113, 0.00113, 0.358, 0.0215, 0.215, 0.0215, 0.0113, 0.0143,
        ],
    ),
    (
        "char-lm",
        [
            0.00679, 0.113, 0.113, 0.0358, 0.113, 0.00679, 0.0215, 0.0215, 0.0113, 0.0452,
        ],
    ),
];

/// The rate of [`LABELS`] that is AdamW's.
const ADAMW: usize = 0;

/// The best rate of the study for an optimizer with its usual settings on a workload, where it was part of it.
pub(crate) fn rate(workload: &str, entrant: &Entrant) -> Option<f64> {
    let (_, rates) = RATES.iter().find(|(name, _)| *name == workload)?;
    let column = LABELS.iter().position(|label| *label == entrant.label)?;
    // Another optimizer may have been given the name.
    let plain = LABELS[column].parse::<Entrant>().ok();
    let same = plain.is_some_and(|plain| plain.is_same(entrant)) || entrant.label == "sam-0.5";
    same.then(|| rates[column])
}

/// An optimizer's best rates in the study over AdamW's on the same workload: the median, the least and the
/// greatest.
pub fn over_adamw(label: &str) -> Option<[f64; 3]> {
    let column = LABELS.iter().position(|known| *known == label)?;
    let mut ratios: Vec<f64> = RATES
        .iter()
        .map(|(_, rates)| rates[column] / rates[ADAMW])
        .collect();
    ratios.sort_by(f64::total_cmp);
    Some([median(&ratios)?, ratios[0], ratios[ratios.len() - 1]])
}

/// A ratio in two digits.
pub(crate) fn times(ratio: f64) -> String {
    let digits = (1.0 - ratio.log10().floor()).max(0.0) as usize;
    let text = format!("{ratio:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Results;

    #[test]
    fn the_rates_are_those_of_the_study() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/study/results.json");
        let study = Results::read(path.as_ref()).unwrap();
        assert_eq!(study.workloads.len(), RATES.len());
        for (name, rates) in RATES {
            let found = study.workloads.iter().find(|one| one.about.name == name);
            for (label, rate) in LABELS.iter().zip(rates) {
                let lr = found.unwrap().entrant(label).unwrap().lr.unwrap();
                assert!(
                    (lr / rate - 1.0).abs() < 5e-3,
                    "{name}, {label}: {lr}, not {rate}"
                );
            }
        }
    }

    /// The documentation of the optimizers cannot ask for the figures, and has them in words.
    #[test]
    fn the_pages_of_the_optimizers_have_the_figures() {
        for (label, page) in [
            ("sgd", "optimizers/sgdw.rs"),
            ("sam", "gradient/sam.rs"),
            ("adahessian", "optimizers/adahessian/mod.rs"),
            ("sophia-h", "optimizers/sophia.rs"),
            ("shampoo", "optimizers/shampoo/mod.rs"),
            ("soap", "optimizers/soap.rs"),
            ("psgd-kron", "optimizers/psgd/kron.rs"),
            ("muon", "optimizers/muon.rs"),
        ] {
            let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../osculate-optim/src/");
            let text = std::fs::read_to_string(format!("{root}{page}")).unwrap();
            let words: Vec<&str> = text
                .split_whitespace()
                .filter(|word| *word != "///")
                .collect();
            let text = words.join(" ");
            let [middle, least, most] = over_adamw(label).unwrap().map(times);
            let middle = match middle.as_str() {
                "1" => String::new(),
                other => format!("{other} times "),
            };
            let told = format!(
                "{middle}AdamW's best on the same workload (median of eight; {least} to {most} times)"
            );
            assert!(text.contains(&told), "{page} does not say: {told}");
        }
    }

    #[test]
    fn rates_go_with_usual_settings() {
        let soap: Entrant = "soap".parse().unwrap();
        assert_eq!(rate("char-lm", &soap), Some(0.0215));
        assert_eq!(rate("rosenbrock", &soap), None);
        let other = soap.with_settings(["beta_2=0.9"]).unwrap();
        assert_eq!(rate("char-lm", &other), None);
        assert_eq!(over_adamw("adamw"), Some([1.0; 3]));
        assert_eq!(over_adamw("lion"), None);
    }
}
