//! How many steps matrix methods need, against AdamW tuned over the same learning rates.
//!
//! ```text
//! cargo run --release -p osculate-bench --example convergence -- quadratic
//! cargo run --release -p osculate-bench --example convergence -- factorisation
//! cargo run --release -p osculate-bench --example convergence -- digits
//! cargo run --release -p osculate-bench --example convergence -- text book.txt
//! ```
//!
//! `quadratic` and `factorisation` count steps until the loss is a small part of the first;
//! `digits` counts steps until the mean test loss reaches a target; `text` trains a language model of
//! characters for a fixed number of steps and compares validation losses. Every method is run at
//! every learning rate of its grid, with one seed, and its best is reported.
#![allow(clippy::print_stdout, reason = "an example shows its results")]

mod closed_form;
mod digits;
mod entrant;
mod model;
mod text;

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::Device;
use clap::{Parser, Subcommand};

use entrant::{Entrant, Settings};

/// Steps and losses of matrix methods against a tuned AdamW.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    study: Study,
    /// Only these methods.
    #[arg(long, value_delimiter = ',', global = true)]
    methods: Vec<Entrant>,
    /// Learning rates in the place of the study's grid.
    #[arg(long, value_delimiter = ',', global = true)]
    rates: Vec<f64>,
    /// AdamW's learning rate beside Muon's, as a part of it.
    #[arg(long, default_value_t = 0.4, global = true)]
    rest_lr: f64,
    /// Step size of PSGD's preconditioner.
    #[arg(long, default_value_t = 0.4, global = true)]
    lr_preconditioner: f64,
    /// PSGD's dense factors may have this many times the elements of their block.
    #[arg(long, default_value_t = 4.0, global = true)]
    max_skew: f64,
}

#[derive(Subcommand)]
enum Study {
    /// A rotated quadratic of condition 1e6 in 20 variables.
    Quadratic,
    /// A factorisation of a 20 by 15 matrix of rank 3.
    Factorisation,
    /// A perceptron on the embedded digits.
    Digits,
    /// A transformer on the characters of a text.
    Text {
        /// The text, in UTF-8.
        path: PathBuf,
        /// Steps of every run.
        #[arg(long, default_value_t = 500)]
        steps: usize,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let device = Device::default().autodiff();
    let methods = |default: &[Entrant]| {
        if arguments.methods.is_empty() {
            default.to_vec()
        } else {
            arguments.methods.clone()
        }
    };
    let settings = Settings {
        dense_vectors: matches!(arguments.study, Study::Quadratic),
        rest_lr: arguments.rest_lr,
        lr_preconditioner: arguments.lr_preconditioner,
        max_skew: arguments.max_skew,
    };
    let rates = arguments.rates.as_slice();
    match &arguments.study {
        Study::Quadratic => {
            closed_form::quadratic(&methods(&Entrant::FOR_VECTORS), settings, rates, &device)
        }
        Study::Factorisation => {
            closed_form::factorisation(&methods(&Entrant::ALL), settings, rates, &device)
        }
        Study::Digits => digits::study(&methods(&Entrant::ALL), settings, rates, &device),
        Study::Text { path, steps } => text::study(
            path,
            *steps,
            &methods(&Entrant::FOR_TEXT),
            settings,
            rates,
            &device,
        ),
    }
}
