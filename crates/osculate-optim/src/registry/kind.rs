use std::fmt;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;
use thiserror::Error;

use super::{SpecError, burn_rows};
use crate::driver::Driver;
use crate::{averaging, filter, gradient, optimizers, step_size, weight_decay};

/// What the registry knows of an optimizer: one row, in the method's own file.
///
/// ```
/// use burn::optim::SgdConfig;
/// use osculate_optim::registry::{OptimizerKind, OptimizerRow, OptimizerSpec, register};
///
/// static PLAIN: OptimizerRow = OptimizerRow {
///     name: "plain-sgd",
///     text: "SGD without momentum",
///     learning_rate: 0.1,
///     gradients: 1.0,
///     state: "0",
///     defaults: || Ok(serde_json::json!({})),
///     build: |_| Ok(SgdConfig::new().init().into()),
/// };
///
/// register(&PLAIN)?;
/// let spec: OptimizerSpec = "sam(plain-sgd)".parse()?;
/// assert_eq!(spec.kind(), OptimizerKind::SAM);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OptimizerRow {
    /// Its name in flags and files: lower case letters, digits and hyphens.
    pub name: &'static str,
    /// What it does, in one line.
    pub text: &'static str,
    /// A peak learning rate to start a search from, for small networks at the batch sizes of examples. The page of the
    /// configuration says where it comes from.
    pub learning_rate: f64,
    /// Gradient evaluations a step with the default settings.
    pub gradients: f64,
    /// State elements for each parameter element, in words.
    pub state: &'static str,
    /// The default settings as a JSON object.
    pub defaults: fn() -> Result<Value, SpecError>,
    /// Makes the optimizer of such an object.
    pub build: fn(&Value) -> Result<Driver, SpecError>,
}

/// An optimizer by name.
#[derive(Clone, Copy)]
pub struct OptimizerKind(&'static OptimizerRow);

/// A name that no optimizer has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no optimizer is called `{name}`; there are {}", OptimizerKind::names().join(", "))]
pub struct UnknownOptimizer {
    /// The name given.
    pub name: String,
}

macro_rules! kinds {
    ($($kind:ident = $row:expr;)*) => {
        impl OptimizerKind {
            $(
                #[doc = concat!("The optimizer of this name.")]
                pub const $kind: Self = Self(&$row);
            )*

            /// Those of this crate: burn's, then ours.
            pub const BUILT_IN: &'static [Self] = &[$(Self::$kind),*];
        }
    };
}

kinds! {
    SGD = burn_rows::SGD;
    ADAM = burn_rows::ADAM;
    ADAMW = burn_rows::ADAMW;
    ADAGRAD = burn_rows::ADAGRAD;
    RMSPROP = burn_rows::RMSPROP;
    ADAN = burn_rows::ADAN;
    LAMB = burn_rows::LAMB;
    LION = burn_rows::LION;
    SAM = gradient::SAM;
    ASAM = gradient::ASAM;
    GSAM = gradient::GSAM;
    LOOKSAM = gradient::LOOKSAM;
    FRIENDLY_SAM = gradient::FRIENDLY_SAM;
    GAM = gradient::GAM;
    FAST_GAM = gradient::FAST_GAM;
    AMP = gradient::AMP;
    AWP = gradient::AWP;
    ENTROPY_SGD = gradient::ENTROPY_SGD;
    PERP_GRAD = filter::PERP_GRAD;
    CENTRALISED_GRADIENT = filter::CENTRALISED_GRADIENT;
    ADAPTIVE_CLIP = filter::ADAPTIVE_CLIP;
    MARS = gradient::MARS;
    ADAHESSIAN = optimizers::adahessian::ROW;
    SASSHA = optimizers::sassha::ROW;
    SOPHIA_H = optimizers::sophia::ROW_H;
    SOPHIA_G = optimizers::sophia::ROW_G;
    SHAMPOO = optimizers::shampoo::ROW;
    SOAP = optimizers::soap::ROW;
    KL_SHAMPOO = optimizers::kl::shampoo::ROW;
    KL_SOAP = optimizers::kl::soap::ROW;
    PSGD_KRON = optimizers::psgd::kron::ROW;
    PSGD_LRA = optimizers::psgd::lra::ROW;
    PSGD_DENSE = optimizers::psgd::dense::ROW;
    PSGD_DIAGONAL = optimizers::psgd::diagonal::ROW;
    MUON = optimizers::muon::ROW;
    NORMUON = optimizers::normuon::ROW;
    AVERAGED_GRADIENT = optimizers::momentum::ROW;
    SGDW = optimizers::sgdw::ROW;
    OPTIMISTIC_AMSGRAD = optimizers::optimistic_amsgrad::ROW;
    INDUCED_METRIC = optimizers::induced_metric::ROW;
    ADAGRAD_SQR = optimizers::squared_gradient::ROW_ADAGRAD;
    ADAM_SQR = optimizers::squared_gradient::ROW_ADAM;
    NEWTON_CG = optimizers::newton_cg::ROW;
    MOMO = step_size::MOMO;
    SANIA = step_size::SANIA;
    ARMIJO = step_size::ARMIJO;
    PRODIGY = step_size::PRODIGY;
    RANDOM_SCALE = step_size::RANDOM_SCALE;
    HYPERBALL = weight_decay::HYPERBALL;
    SCHEDULE_FREE = averaging::SCHEDULE_FREE;
    EMA = averaging::EMA;
    LOOKAHEAD = averaging::LOOKAHEAD;
    MOMENTUM_SAM = averaging::MOMENTUM_SAM;
}

/// Rows of other crates.
static REGISTERED: RwLock<Vec<&'static OptimizerRow>> = RwLock::new(Vec::new());

/// Adds an optimizer of another crate to the registry: it then goes by name everywhere, in flags, files and
/// compositions. Adding the same row again changes nothing.
///
/// # Errors
/// [`SpecError::NameTaken`] for the name of another row.
pub fn register(row: &'static OptimizerRow) -> Result<OptimizerKind, SpecError> {
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if registered.iter().any(|own| std::ptr::eq(*own, row)) {
        return Ok(OptimizerKind(row));
    }
    let built_in = OptimizerKind::BUILT_IN.iter().map(|kind| kind.0);
    let taken = built_in.chain(registered.iter().copied());
    if taken.into_iter().any(|own| own.name == row.name) {
        return Err(SpecError::NameTaken {
            name: row.name.to_string(),
        });
    }
    registered.push(row);
    Ok(OptimizerKind(row))
}

impl OptimizerKind {
    /// All optimizers: burn's, those of this crate, and registered ones.
    pub fn all() -> Vec<Self> {
        let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
        let built_in = Self::BUILT_IN.iter().copied();
        built_in
            .chain(registered.iter().map(|row| Self(row)))
            .collect()
    }

    fn names() -> Vec<&'static str> {
        Self::all().iter().map(|kind| kind.name()).collect()
    }

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Its row.
    pub fn row(self) -> &'static OptimizerRow {
        self.0
    }

    /// What it does, in one line.
    pub fn text(self) -> &'static str {
        self.0.text
    }

    /// Gradient evaluations a step with the default settings.
    pub fn gradients(self) -> f64 {
        self.0.gradients
    }

    /// A peak learning rate to start a search from.
    pub fn learning_rate(self) -> f64 {
        self.0.learning_rate
    }
}

impl PartialEq for OptimizerKind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for OptimizerKind {}

impl std::hash::Hash for OptimizerKind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OptimizerKind {
    type Err = UnknownOptimizer;

    fn from_str(name: &str) -> Result<Self, UnknownOptimizer> {
        let found = Self::all().into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownOptimizer {
            name: name.to_string(),
        })
    }
}

impl serde::Serialize for OptimizerKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for OptimizerKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}
