//! The command line.

use std::path::PathBuf;

use clap::Parser;
use osculate::prelude::OptimizerSpec;
use osculate_program::exit;

/// Trains a perceptron on handwritten digits with burn's Learner and any optimizer.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP)]
pub struct Args {
    /// Optimizer, or one over another as in "sam(soap)". An unknown name lists those there are.
    #[arg(long, default_value = "sophia-g")]
    pub optimizer: OptimizerSpec,

    /// A setting of the optimizer, as in --set gamma=0.02; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// What --set once was.
    #[arg(long, hide = true)]
    pub settings: Option<String>,

    /// Peak of the cosine schedule. Default: the optimizer's own.
    #[arg(long)]
    pub lr: Option<f64>,

    /// Epochs in all, those before a checkpoint included.
    #[arg(long, default_value_t = 10)]
    pub epochs: usize,

    /// Images in a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch_size: u16,

    /// Seed of the weights, the batches and the optimizer.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Measures sharpness and trace every so many steps; 0 never does.
    #[arg(long, default_value_t = 20, value_name = "STEPS")]
    pub curvature: usize,

    /// Folder of logs and checkpoints. Default: osculate-results/learner/OPTIMIZER.
    #[arg(long)]
    pub dir: Option<PathBuf>,

    /// Goes on from the newest checkpoint in the folder.
    #[arg(long)]
    pub resume: bool,

    /// Prints lines instead of drawing the dashboard, which needs a terminal.
    #[arg(long)]
    pub plain: bool,

    /// Backend and device, such as "flex". Default: burn's, which BURN_DEVICE sets.
    #[arg(long)]
    pub device: Option<String>,
}

impl Args {
    pub fn directory(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| {
            let name = self.optimizer.to_string();
            PathBuf::from("osculate-results/learner").join(name)
        })
    }
}
