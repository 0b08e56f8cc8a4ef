//! The settings that KL-Shampoo and KL-SOAP share.

use burn::tensor::DType;
use osculate_linalg::{BlockPartition, MergeFrom, merge_dims};

use crate::config::{Check, ConfigError};
use crate::engine::{Field, RefreshSchedule};
use crate::optimizers::kronecker::{EIGENVALUES, Kronecker, factored_modes};
use crate::weight_decay::{DecayForm, WeightDecay};

/// Makes a public configuration of [`KlSettings`], with a page of its own, for the rule
/// `{ settings, schedule }`.
macro_rules! kl_configuration {
    ($(#[$page:meta])* $config:ident, $rule:ident) => {
        $(#[$page])*
        #[derive(burn::config::Config, Debug)]
        pub struct $config {
            /// Decay of the first moment. Default 0.9.
            #[config(default = 0.9)]
            pub beta_1: f64,
            /// Decay of the second moment, and of the factors unless `factor_beta` is set. Default
            /// 0.98.
            #[config(default = 0.98)]
            pub beta_2: f64,
            /// Added to the root that the first moment is divided by. Default 1e-8.
            #[config(default = 1e-8)]
            pub epsilon: f64,
            /// Weight decay, `θ ← (1 - lr λ) θ` after the update. Default 0.01.
            #[config(default = 0.01)]
            pub weight_decay: f64,
            /// When the eigenbases are refreshed. Default every 10 steps.
            #[config(default = "RefreshSchedule::Every { period: 10 }")]
            pub refresh: RefreshSchedule,
            /// Lets blocks and their factors take turns at the refresh, so that no step bears all
            /// of it. Default `true`; the authors refresh all in one step.
            #[config(default = true)]
            pub staggered: bool,
            /// Decay of the Kronecker factors and their eigenvalues. Default: `beta_2`.
            pub factor_beta: Option<f64>,
            /// The eigenvalues before the first estimate. Default 0.1.
            #[config(default = 0.1)]
            pub initial_eigenvalue: f64,
            /// Largest inverse root of an eigenvalue. It is lowered to the dimension, and not below
            /// 10. Default 4000.
            #[config(default = 4000.0)]
            pub clamp: f64,
            /// Longest dimension with a factor; longer ones have eigenvalues alone, a diagonal
            /// factor. Default 10000.
            #[config(default = 10000)]
            pub max_dim: usize,
            /// A dimension `d` of more than 1024 has eigenvalues alone where `d²` is more than so many
            /// times the elements of its block, as in embeddings and output layers of many rows: its
            /// basis would cost more than all else. Default 16.
            #[config(default = 16.0)]
            pub max_skew: f64,
            /// Merges dimensions, from the back and while their product is at most `max_dim`, until
            /// so many are left. Default 3.
            #[config(default = 3)]
            pub target_rank: usize,
            /// Cuts parameters into blocks of at most this size along each dimension. Default: none.
            pub block_size: Option<usize>,
            /// Keeps the eigenbases in bf16. Default `false`.
            #[config(default = false)]
            pub bf16_bases: bool,
        }

        impl $config {
            /// Checks the settings.
            ///
            /// # Errors
            /// [`ConfigError`] for a decay outside `[0, 1)`, a period, block or rank of 0, or a
            /// negative or non-finite number.
            pub fn validate(&self) -> Result<(), ConfigError> {
                self.settings().validate(stringify!($config))
            }

            /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
            /// [`PerParameter`](crate::PerParameter).
            ///
            /// # Errors
            /// As [`validate`](Self::validate).
            pub fn rule(&self) -> Result<$rule, ConfigError> {
                self.validate()?;
                Ok($rule {
                    settings: self.settings(),
                    schedule: FactorSchedule::new(self.refresh, self.staggered),
                })
            }

            fn settings(&self) -> KlSettings {
                KlSettings {
                    beta_1: self.beta_1,
                    beta_2: self.beta_2,
                    epsilon: self.epsilon,
                    weight_decay: self.weight_decay,
                    refresh: self.refresh,
                    factor_beta: self.factor_beta.unwrap_or(self.beta_2),
                    initial_eigenvalue: self.initial_eigenvalue,
                    clamp: self.clamp,
                    max_dim: self.max_dim,
                    max_skew: self.max_skew,
                    target_rank: self.target_rank,
                    block_size: self.block_size,
                    bf16_bases: self.bf16_bases,
                }
            }
        }

        constructors!($config);
    };
}

pub(super) use kl_configuration;

/// What both configurations say.
#[derive(Debug, Clone)]
pub(super) struct KlSettings {
    pub beta_1: f64,
    pub beta_2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    pub refresh: RefreshSchedule,
    pub factor_beta: f64,
    pub initial_eigenvalue: f64,
    pub clamp: f64,
    pub max_dim: usize,
    pub max_skew: f64,
    pub target_rank: usize,
    pub block_size: Option<usize>,
    pub bf16_bases: bool,
}

impl KlSettings {
    pub fn validate(&self, config: &'static str) -> Result<(), ConfigError> {
        let block = self.block_size.unwrap_or(1);
        let check = Check::of(config)
            .decay("beta_1", self.beta_1)
            .decay("beta_2", self.beta_2)
            .non_negative("epsilon", self.epsilon)
            .non_negative("weight_decay", self.weight_decay)
            .decay("factor_beta", self.factor_beta)
            .positive("initial_eigenvalue", self.initial_eigenvalue)
            .positive("clamp", self.clamp)
            .non_negative("max_skew", self.max_skew)
            .that(
                self.target_rank > 0,
                "target_rank",
                self.target_rank,
                "at least 1",
            )
            .that(block > 0, "block_size", block, "at least 1");
        self.refresh.check(check).finish()
    }

    pub fn partition(&self, shape: &[usize]) -> BlockPartition {
        let dims = merge_dims(shape, self.max_dim, MergeFrom::Back, self.target_rank);
        BlockPartition::new(&dims, self.block_size.unwrap_or(usize::MAX))
    }

    pub fn decay(&self) -> WeightDecay {
        WeightDecay::new(self.weight_decay, DecayForm::After)
    }

    /// Whether a block has factors at all: vectors and scalars have none.
    pub fn applies(dims: &[usize]) -> bool {
        !all_modes(dims).is_empty()
    }

    /// The modes with a factor.
    pub fn modes(&self, dims: &[usize]) -> Vec<usize> {
        factored_modes(dims, self.max_dim, self.max_skew)
    }

    /// The state tensors of the factors of a block.
    pub fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let basis = if self.bf16_bases {
            DType::BF16
        } else {
            compute
        };
        let mut fields = Kronecker::fields(dims, &self.modes(dims), compute, basis);
        let values = all_modes(dims).into_iter();
        fields.extend(values.map(|mode| Field::new(EIGENVALUES[mode], dims[mode], compute)));
        fields
    }
}

/// The modes with eigenvalues: none of vectors and scalars.
pub(super) fn all_modes(dims: &[usize]) -> Vec<usize> {
    factored_modes(dims, usize::MAX, f64::MAX)
}
