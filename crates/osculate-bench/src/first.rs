//! What is run where nothing is said.

use crate::cli::Heat;
use crate::entrant::Entrant;
use crate::error::BenchError;

/// SAM over AdamW, at the best radius and rate of `osculate tune --workload digits-noise --optimizer 'sam(adamw)'
/// --set rho=0.5 --trials 9 --width 20`, of those with 0.2 and 0.5.
const SAM: (&str, &str, f64) = ("sam(adamw)", "rho=0.5", 9.11e-4);

/// Steps on the autoencoder: fewer than the workload's, so that all is done within two minutes.
const AUTOENCODER_STEPS: usize = 500;

/// Where curvature pays, and where it does not: wrong labels, a network that is hard to train, and a
/// differential equation.
///
/// # Errors
/// [`BenchError::Recipe`].
pub(crate) fn heats() -> Result<Vec<Heat>, BenchError> {
    let matrices = || -> Result<Vec<Entrant>, BenchError> {
        let names = ["adamw", "shampoo", "soap", "psgd-kron", "muon"];
        names.iter().map(|name| name.parse()).collect()
    };
    let (name, radius, rate) = SAM;
    let sam = name.parse::<Entrant>()?.with_settings([radius])?;
    let mut noise = Heat::new("digits-noise", vec!["adamw".parse()?]);
    noise.entrants.push((sam, vec![rate]));
    let mut autoencoder = Heat::new("autoencoder", matrices()?);
    autoencoder.steps = Some(AUTOENCODER_STEPS);
    Ok(vec![noise, autoencoder, Heat::new("pinn", matrices()?)])
}
