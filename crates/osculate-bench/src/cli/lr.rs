use clap::Args;
use osculate::optim::registry::OptimizerKind;

use super::options::usage;
use super::{Folders, OptimizerArgs};
use crate::entrant::Entrant;
use crate::error::BenchError;

/// Options of a search for a learning rate.
#[derive(Debug, Clone, Args)]
pub struct LrArgs {
    /// The workload.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "digits-mlp",
        help_heading = "What to run"
    )]
    pub workload: String,
    /// The one optimizer. adamw where none is named.
    #[command(flatten)]
    pub optimizer: OptimizerArgs,
    /// The first rate.
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 1e-5,
        help_heading = "How much"
    )]
    pub from: f64,
    /// The last rate.
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 10.0,
        help_heading = "How much"
    )]
    pub to: f64,
    /// Steps from one to the other.
    #[arg(long, default_value_t = 150, help_heading = "How much")]
    pub steps: usize,
    /// Seed of weights and batches.
    #[arg(long, default_value_t = 0, help_heading = "How much")]
    pub seed: u64,
    /// Also measure the sharpness of batches at the first weights, and tell from it the largest stable rates of
    /// SGD on smaller and larger batches.
    #[arg(long, help_heading = "How much")]
    pub noise: bool,
    /// Device to compute on; overrides the environment variable BURN_DEVICE.
    #[arg(long, value_name = "NAME", help_heading = "Where")]
    pub device: Option<String>,
    /// Where workloads have their data.
    #[command(flatten)]
    pub folders: Folders,
}

impl LrArgs {
    /// The optimizer.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for several, and for one that does not exist.
    pub fn entrant(&self) -> Result<Entrant, BenchError> {
        let mut entrants = self.optimizer.entrants(&[])?;
        match (entrants.pop(), entrants.len()) {
            (None, _) => Entrant::new(OptimizerKind::ADAMW),
            (Some(only), 0) => Ok(only),
            (Some(_), others) => usage(format!(
                "--optimizer: {} are named, and `lr` looks for the rate of one",
                others + 1
            )),
        }
    }
}
