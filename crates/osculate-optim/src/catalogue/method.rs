use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A name that no optimizer has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no optimizer is called `{name}`; there are {}", Method::names().join(", "))]
pub struct UnknownMethod {
    /// The name given.
    pub name: String,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $lr:literal, $gradients:literal, $text:literal;)*) => {
        /// An optimizer by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$doc])* $variant,)*
        }

        impl Method {
            /// All of them: burn's, then those of this crate.
            pub const ALL: &'static [Method] = &[$(Method::$variant),*];

            /// Its name in flags and files.
            pub fn name(self) -> &'static str {
                match self { $(Method::$variant => $name,)* }
            }

            /// What it does, in one line.
            pub fn text(self) -> &'static str {
                match self { $(Method::$variant => $text,)* }
            }

            /// Gradient evaluations a step with the default settings.
            pub fn gradients(self) -> f64 {
                match self { $(Method::$variant => $gradients,)* }
            }

            /// A peak learning rate to begin a search at: of small networks on batches of some dozens
            /// of examples.
            pub fn learning_rate(self) -> f64 {
                match self { $(Method::$variant => $lr,)* }
            }
        }
    };
}

methods! {
    /// burn's SGD, with momentum 0.9.
    Sgd, "sgd", 5e-2, 1.0, "SGD with momentum 0.9 (burn's)";
    /// burn's Adam.
    Adam, "adam", 3e-3, 1.0, "Adam (burn's)";
    /// burn's AdamW, with weight decay 0.01.
    AdamW, "adamw", 3e-3, 1.0, "Adam with decoupled weight decay (burn's)";
    /// burn's AdaGrad.
    AdaGrad, "adagrad", 1e-2, 1.0, "AdaGrad (burn's)";
    /// burn's RMSProp.
    RmsProp, "rmsprop", 1e-3, 1.0, "RMSProp (burn's)";
    /// burn's Adan.
    Adan, "adan", 3e-3, 1.0, "Adam with Nesterov momentum (burn's)";
    /// burn's LAMB.
    Lamb, "lamb", 1e-2, 1.0, "Adam scaled layer by layer (burn's)";
    /// burn's Lion.
    Lion, "lion", 3e-4, 1.0, "sign of an interpolated momentum (burn's)";
    /// Sharpness-aware minimisation, over SGD.
    Sam, "sam", 5e-2, 2.0, "SGD at sharpness-aware gradients";
    /// Adaptive SAM, over SGD.
    Asam, "asam", 5e-2, 2.0, "SAM that follows the scale of each weight";
    /// Surrogate-gap guided SAM, over SGD.
    Gsam, "gsam", 5e-2, 2.0, "SAM that also narrows the surrogate gap";
    /// SAM with a reused second gradient, over SGD.
    LookSam, "looksam", 5e-2, 1.2, "SAM with its second gradient every 5th step";
    /// Adam with Hutchinson's curvature in the place of squared gradients.
    AdaHessian, "adahessian", 5e-2, 3.0, "Adam with Hutchinson's curvature";
    /// Sophia with Hutchinson's diagonal.
    SophiaH, "sophia-h", 3e-3, 1.2, "clipped steps by Hutchinson's diagonal";
    /// Sophia with the Gauss-Newton-Bartlett diagonal; the objective must be supervised.
    SophiaG, "sophia-g", 3e-3, 1.1, "clipped steps by sampled Gauss-Newton";
    /// Shampoo, grafted to Adam.
    Shampoo, "shampoo", 3e-3, 1.0, "Kronecker-factored AdaGrad, grafted to Adam";
    /// Adam in Shampoo's eigenbasis.
    Soap, "soap", 3e-3, 1.0, "Adam in Shampoo's eigenbasis";
    /// Shampoo with factors fitted by Kullback-Leibler divergence.
    KlShampoo, "kl-shampoo", 3e-3, 1.0, "Shampoo with factors fitted by KL";
    /// SOAP with factors fitted by Kullback-Leibler divergence.
    KlSoap, "kl-soap", 3e-3, 1.0, "SOAP with factors fitted by KL";
    /// PSGD with a Kronecker product, whitening gradients.
    PsgdKron, "psgd-kron", 5e-3, 1.0, "Kronecker product that whitens gradients";
    /// PSGD with a diagonal plus low rank.
    PsgdLra, "psgd-lra", 5e-3, 1.0, "low-rank preconditioner that whitens gradients";
    /// PSGD with a triangular matrix for every block.
    PsgdDense, "psgd-dense", 5e-3, 1.0, "dense preconditioner that whitens gradients";
    /// PSGD with a diagonal.
    PsgdDiagonal, "psgd-diagonal", 5e-3, 1.0, "diagonal preconditioner that whitens gradients";
    /// Muon for what has rank 2 and more, AdamW for the rest.
    Muon, "muon", 2e-2, 1.0, "orthogonal steps for matrices, AdamW beside";
}

impl Method {
    fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|method| method.name()).collect()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        let found = Self::ALL.iter().find(|method| method.name() == name);
        found.copied().ok_or_else(|| UnknownMethod {
            name: name.to_string(),
        })
    }
}

impl TryFrom<String> for Method {
    type Error = UnknownMethod;

    fn try_from(name: String) -> Result<Self, UnknownMethod> {
        name.parse()
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.name().to_string()
    }
}
