//! The optimizers that can race, with the settings they race with.

use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use clap::ValueEnum;
use osculate::prelude::*;
use serde_json::Value;

use crate::error::BenchError;

/// An optimizer by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Adam with decoupled weight decay.
    #[value(name = "adamw")]
    AdamW,
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Sharpness-aware minimisation over SGD.
    Sam,
    /// Adaptive SAM over SGD.
    Asam,
    /// Surrogate-gap guided SAM over SGD.
    Gsam,
    /// SAM over SGD with a reused second gradient.
    #[value(name = "looksam")]
    LookSam,
    /// Adam with Hutchinson's curvature in the place of squared gradients.
    #[value(name = "adahessian")]
    AdaHessian,
    /// Sophia with Hutchinson's diagonal.
    SophiaH,
    /// Sophia with the Gauss-Newton-Bartlett diagonal.
    SophiaG,
    /// Shampoo grafted to Adam.
    Shampoo,
    /// Adam in Shampoo's eigenbasis.
    Soap,
    /// Shampoo with factors fitted by Kullback-Leibler divergence.
    KlShampoo,
    /// SOAP with factors fitted by Kullback-Leibler divergence.
    KlSoap,
    /// PSGD with a Kronecker product, whitening gradients.
    PsgdKron,
    /// Muon for matrices, AdamW for the rest.
    Muon,
}

/// What `osculate list` says of an optimizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Name on the command line.
    pub name: &'static str,
    /// One line.
    pub text: &'static str,
    /// Gradient evaluations a step.
    pub gradients: &'static str,
    /// State elements for each parameter element.
    pub state: &'static str,
    /// Learning rate in the race.
    pub lr: f64,
    /// Settings as JSON.
    pub settings: String,
}

impl Method {
    /// The optimizers of a race without `--optimizers`.
    pub const RACE: [Method; 6] = [
        Method::AdamW,
        Method::Sgd,
        Method::Sam,
        Method::AdaHessian,
        Method::SophiaH,
        Method::SophiaG,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::AdamW => "adamw",
            Method::Sgd => "sgd",
            Method::Sam => "sam",
            Method::Asam => "asam",
            Method::Gsam => "gsam",
            Method::LookSam => "looksam",
            Method::AdaHessian => "adahessian",
            Method::SophiaH => "sophia-h",
            Method::SophiaG => "sophia-g",
            Method::Shampoo => "shampoo",
            Method::Soap => "soap",
            Method::KlShampoo => "kl-shampoo",
            Method::KlSoap => "kl-soap",
            Method::PsgdKron => "psgd-kron",
            Method::Muon => "muon",
        }
    }

    /// Peak learning rate in the race: the best of a coarse grid (factors of two to three) on seeds
    /// that are not raced.
    pub fn learning_rate(self) -> f64 {
        match self {
            Method::AdamW => 1e-2,
            Method::Sgd | Method::Sam | Method::Asam | Method::Gsam | Method::LookSam => 5e-2,
            Method::AdaHessian => 5e-2,
            Method::SophiaH => 3e-3,
            Method::SophiaG => 3e-3,
            Method::Shampoo | Method::KlShampoo => 1e-2,
            Method::Soap | Method::KlSoap => 1e-2,
            Method::PsgdKron => 1e-2,
            Method::Muon => 2e-2,
        }
    }

    /// What `osculate list` prints.
    pub fn summary(self) -> Summary {
        let (text, gradients, state) = match self {
            Method::AdamW => ("Adam with decoupled weight decay (burn's)", "1", "2"),
            Method::Sgd => ("SGD with momentum 0.9 (burn's)", "1", "1"),
            Method::Sam => ("SGD at sharpness-aware gradients", "2", "1"),
            Method::Asam => ("SAM that follows the scale of each weight", "2", "1"),
            Method::Gsam => ("SAM that also narrows the surrogate gap", "2", "1"),
            Method::LookSam => ("SAM with its second gradient every 5th step", "1.2", "2"),
            Method::AdaHessian => ("Adam with Hutchinson's curvature", "3", "2"),
            Method::SophiaH => ("clipped steps by Hutchinson's diagonal", "1.2", "2"),
            Method::SophiaG => ("clipped steps by sampled Gauss-Newton", "1.1", "2"),
            Method::Shampoo => ("Kronecker-factored AdaGrad, grafted to Adam", "1", "4"),
            Method::Soap => ("Adam in Shampoo's eigenbasis", "1", "6"),
            Method::KlShampoo => ("Shampoo with factors fitted by KL", "1", "5"),
            Method::KlSoap => ("SOAP with factors fitted by KL", "1", "6"),
            Method::PsgdKron => ("Kronecker product that whitens gradients", "1", "2"),
            Method::Muon => ("orthogonal steps for matrices, AdamW beside", "1", "1"),
        };
        Summary {
            name: self.name(),
            text,
            gradients,
            state,
            lr: self.learning_rate(),
            settings: self.settings(0),
        }
    }

    /// The settings with which the method is made, as JSON on one line; those of the base optimizer
    /// stand under `base`.
    pub fn settings(self, seed: u64) -> String {
        let parse = |text: String| match serde_json::from_str::<Value>(&text) {
            Ok(value) => value,
            Err(_) => Value::String(text),
        };
        let over_sgd = |text: String| {
            let mut value = parse(text);
            if let Value::Object(settings) = &mut value {
                let base = serde_json::json!({ "sgd": parse(sgd().to_string()) });
                settings.insert("base".to_string(), base);
            }
            value
        };
        let value = match self {
            Method::AdamW => parse(adamw().to_string()),
            Method::Sgd => parse(sgd().to_string()),
            Method::Sam => over_sgd(sam(seed).to_string()),
            Method::Asam => over_sgd(asam(seed).to_string()),
            Method::Gsam => over_sgd(gsam(seed).to_string()),
            Method::LookSam => over_sgd(looksam(seed).to_string()),
            Method::AdaHessian => parse(adahessian(seed).to_string()),
            Method::SophiaH => parse(sophia_h(seed).to_string()),
            Method::SophiaG => parse(sophia_g(seed).to_string()),
            Method::Shampoo => parse(shampoo(seed).to_string()),
            Method::Soap => parse(soap(seed).to_string()),
            Method::KlShampoo => parse(kl_shampoo(seed).to_string()),
            Method::KlSoap => parse(kl_soap(seed).to_string()),
            Method::PsgdKron => parse(psgd_kron(seed).to_string()),
            Method::Muon => serde_json::json!({
                "muon": parse(muon(seed).to_string()),
                "rest": { "adamw": parse(adamw().to_string()), "lr": MUON_REST_LR },
            }),
        };
        value.to_string()
    }

    /// Makes the optimizer for a run with this seed.
    ///
    /// # Errors
    /// [`BenchError::Config`].
    pub fn make<M: Module>(self, seed: u64) -> Result<Box<dyn ClosureOptimizer<M>>, BenchError> {
        let first_order = |base: ModuleOptimizer| FirstOrder::new(base).with_policy(policy(seed));
        Ok(match self {
            Method::AdamW => Box::new(first_order(adamw().init())?),
            Method::Sgd => Box::new(first_order(sgd().init())?),
            Method::Sam => Box::new(sam(seed).init(sgd().init())?),
            Method::Asam => Box::new(asam(seed).init(sgd().init())?),
            Method::Gsam => Box::new(gsam(seed).init(sgd().init())?),
            Method::LookSam => Box::new(looksam(seed).init(sgd().init())?),
            Method::AdaHessian => Box::new(adahessian(seed).init()?),
            Method::SophiaH => Box::new(sophia_h(seed).init()?),
            Method::SophiaG => Box::new(sophia_g(seed).init()?),
            Method::Shampoo => Box::new(shampoo(seed).stacked()?),
            Method::Soap => Box::new(soap(seed).stacked()?),
            Method::KlShampoo => Box::new(kl_shampoo(seed).stacked()?),
            Method::KlSoap => Box::new(kl_soap(seed).stacked()?),
            Method::PsgdKron => Box::new(psgd_kron(seed).stacked()?),
            Method::Muon => {
                let hybrid = Hybrid::by_rank(muon(seed).stacked()?, adamw().init());
                Box::new(hybrid.with_rest_lr(MUON_REST_LR)?)
            }
        })
    }
}

fn policy(seed: u64) -> StepPolicy {
    StepPolicy::new().with_seed(seed)
}

fn adamw() -> AdamWConfig {
    AdamWConfig::new().with_weight_decay(1e-2)
}

fn sgd() -> SgdConfig {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    SgdConfig::new().with_momentum(Some(momentum))
}

fn sam(seed: u64) -> SamConfig {
    SamConfig::new().with_policy(policy(seed))
}

fn asam(seed: u64) -> AsamConfig {
    AsamConfig::new().with_policy(policy(seed))
}

fn gsam(seed: u64) -> GsamConfig {
    GsamConfig::new().with_policy(policy(seed))
}

fn looksam(seed: u64) -> LookSamConfig {
    LookSamConfig::new().with_policy(policy(seed))
}

fn adahessian(seed: u64) -> AdaHessianConfig {
    AdaHessianConfig::new().with_policy(policy(seed))
}

/// Curvature's weight in the race: with the paper's values, which are for long runs of large models,
/// hardly an element escapes the clip in so few steps, and Sophia is a sign method.
const SOPHIA_GAMMA: f64 = 1.0;

fn sophia_h(seed: u64) -> SophiaConfig {
    SophiaConfig::h()
        .with_gamma(SOPHIA_GAMMA)
        .with_policy(policy(seed))
}

fn sophia_g(seed: u64) -> SophiaConfig {
    SophiaConfig::g()
        .with_gamma(SOPHIA_GAMMA)
        .with_policy(policy(seed))
}

/// AdamW's learning rate beside Muon's, as a part of it.
const MUON_REST_LR: f64 = 0.3;

fn shampoo(seed: u64) -> ShampooConfig {
    ShampooConfig::new().with_policy(policy(seed))
}

fn soap(seed: u64) -> SoapConfig {
    SoapConfig::new().with_policy(policy(seed))
}

fn kl_shampoo(seed: u64) -> KlShampooConfig {
    KlShampooConfig::new().with_policy(policy(seed))
}

fn kl_soap(seed: u64) -> KlSoapConfig {
    KlSoapConfig::new().with_policy(policy(seed))
}

fn psgd_kron(seed: u64) -> PsgdKronConfig {
    PsgdKronConfig::new().with_policy(policy(seed))
}

fn muon(seed: u64) -> MuonConfig {
    MuonConfig::new().with_policy(policy(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for method in Method::value_variants() {
            let value = method.to_possible_value().unwrap();
            assert_eq!(value.get_name(), method.name());
            assert!(method.summary().settings.starts_with('{'));
        }
    }
}
