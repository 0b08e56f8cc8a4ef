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

/// What of a run's settings depends on the model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Preconditions vectors with full matrices.
    pub dense_vectors: bool,
    /// The learning rate of AdamW in a hybrid, as a part of that of Muon.
    pub rest_lr: f64,
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
        shape: Shape,
    ) -> Result<Box<dyn ClosureOptimizer<M>>, Box<dyn Error>> {
        let kron =
            PsgdKronConfig::new().with_max_skew(if shape.dense_vectors { f64::MAX } else { 1.0 });
        let adamw = AdamWConfig::new().with_weight_decay(0.0);
        Ok(match self {
            Self::Adamw => Box::new(FirstOrder::new(adamw.init())),
            Self::PsgdKron => Box::new(kron.stacked()?),
            Self::PsgdKronNewton => Box::new(kron.with_fit(PsgdFit::Newton).stacked()?),
            Self::Muon => {
                let ends = ParamGroup::from_any_predicates(vec!["embedding", "head"]);
                let hybrid = Hybrid::by_rank(MuonConfig::new().stacked()?, adamw.init());
                Box::new(hybrid.except(ends).with_rest_lr(shape.rest_lr)?)
            }
            Self::Soap => {
                let config = SoapConfig::new()
                    .with_weight_decay(0.0)
                    .with_precondition_1d(shape.dense_vectors);
                Box::new(config.stacked()?)
            }
            Self::Shampoo => Box::new(ShampooConfig::new().stacked()?),
        })
    }
}
