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

use entrant::Entrant;

/// Steps and losses of matrix methods against a tuned AdamW.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    study: Study,
    /// Only these methods.
    #[arg(long, value_delimiter = ',', global = true)]
    methods: Vec<Entrant>,
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
    match &arguments.study {
        Study::Quadratic => closed_form::quadratic(&methods(&Entrant::FOR_VECTORS), &device),
        Study::Factorisation => closed_form::factorisation(&methods(&Entrant::ALL), &device),
        Study::Digits => digits::study(&methods(&Entrant::ALL), &device),
        Study::Text { path, steps } => {
            text::study(path, *steps, &methods(&Entrant::FOR_TEXT), &device)
        }
    }
}
