use std::error::Error;

use burn::module::{Module, ParamGroup};
use burn::optim::AdamWConfig;
use clap::ValueEnum;
use osculate::optim::{
    ClosureOptimizer, FirstOrder, Hybrid, MuonConfig, PsgdFit, PsgdKronConfig, ShampooConfig,
    SoapConfig,
};

/// A method of the studies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Entrant {
    /// burn's AdamW.
    Adamw,
    /// PSGD with a Kronecker product, whitening.
    PsgdKron,
    /// The same, fitted to Hessian products.
    PsgdKronNewton,
    /// Muon for matrices, AdamW for the rest.
    Muon,
    /// SOAP.
    Soap,
    /// Shampoo, grafted to Adam.
    Shampoo,
}

/// Settings of a study.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Preconditions vectors with full matrices.
    pub dense_vectors: bool,
    /// The learning rate of AdamW in a hybrid, as a part of that of Muon.
    pub rest_lr: f64,
    /// Step size of PSGD's preconditioner.
    pub lr_preconditioner: f64,
    /// PSGD's dense factors may have this many times the elements of their block.
    pub max_skew: f64,
}

/// The given learning rates, or the study's own.
pub fn rates_or(given: &[f64], own: &[f64]) -> Vec<f64> {
    if given.is_empty() { own } else { given }.to_vec()
}

impl Entrant {
    /// All that precondition matrices, and AdamW.
    pub const ALL: [Self; 6] = [
        Self::Adamw,
        Self::PsgdKron,
        Self::PsgdKronNewton,
        Self::Muon,
        Self::Soap,
        Self::Shampoo,
    ];

    /// Those that precondition a vector with a full matrix, and AdamW.
    pub const FOR_VECTORS: [Self; 5] = [
        Self::Adamw,
        Self::PsgdKron,
        Self::PsgdKronNewton,
        Self::Soap,
        Self::Shampoo,
    ];

    /// One gradient evaluation a step.
    pub const FOR_TEXT: [Self; 5] = [
        Self::Adamw,
        Self::PsgdKron,
        Self::Muon,
        Self::Soap,
        Self::Shampoo,
    ];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adamw => "AdamW",
            Self::PsgdKron => "PSGD-Kron",
            Self::PsgdKronNewton => "PSGD-Kron, Newton",
            Self::Muon => "Muon + AdamW",
            Self::Soap => "SOAP",
            Self::Shampoo => "Shampoo",
        }
    }

    /// Makes the optimizer, without weight decay.
    pub fn make<M: Module>(
        self,
        settings: Settings,
    ) -> Result<Box<dyn ClosureOptimizer<M>>, Box<dyn Error>> {
        let max_skew = if settings.dense_vectors {
            f64::MAX
        } else {
            settings.max_skew
        };
        let kron = PsgdKronConfig::new()
            .with_max_skew(max_skew)
            .with_lr_preconditioner(settings.lr_preconditioner);
        let adamw = AdamWConfig::new().with_weight_decay(0.0);
        Ok(match self {
            Self::Adamw => Box::new(FirstOrder::new(adamw.init())),
            Self::PsgdKron => Box::new(kron.stacked()?),
            Self::PsgdKronNewton => Box::new(kron.with_fit(PsgdFit::Newton).stacked()?),
            Self::Muon => {
                let ends = ParamGroup::from_any_predicates(vec!["embedding", "head"]);
                let hybrid = Hybrid::by_rank(MuonConfig::new().stacked()?, adamw.init());
                Box::new(hybrid.except(ends).with_rest_lr(settings.rest_lr)?)
            }
            Self::Soap => {
                let config = SoapConfig::new()
                    .with_weight_decay(0.0)
                    .with_precondition_1d(settings.dense_vectors);
                Box::new(config.stacked()?)
            }
            Self::Shampoo => Box::new(ShampooConfig::new().stacked()?),
        })
    }
}
