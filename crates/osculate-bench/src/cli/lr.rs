use clap::Args;

use super::Folders;

/// Options of a search for a learning rate.
#[derive(Debug, Clone, Args)]
pub struct LrArgs {
    /// The workload.
    #[arg(long, value_name = "NAME", default_value = "digits-mlp")]
    pub workload: String,
    /// The optimizer, or `NAME=OPTIMIZER:SETTINGS`.
    #[arg(long, value_name = "NAME", default_value = "adamw")]
    pub optimizer: String,
    /// The first rate.
    #[arg(long, value_name = "RATE", default_value_t = 1e-5)]
    pub from: f64,
    /// The last rate.
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    pub to: f64,
    /// Steps from one to the other.
    #[arg(long, default_value_t = 150)]
    pub steps: usize,
    /// Seed of weights and batches.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also measure the sharpness of batches at the first weights, and tell from it the largest stable rates of
    /// SGD on smaller and larger batches.
    #[arg(long)]
    pub noise: bool,
    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Where workloads have their data.
    #[command(flatten)]
    pub folders: Folders,
}
