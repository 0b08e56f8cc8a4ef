//! Decay of the weights, over any direction.

mod hyperball;

pub use hyperball::Hyperball;

pub(crate) use hyperball::ROW as HYPERBALL;

use burn::config::Config;

/// In which order a step decays and moves. The first four differ by `lr² λ u` at most; each method has its
/// authors' one.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum DecayForm {
    /// `θ ← (1 - lr λ) θ - lr u`.
    Before,
    /// `θ ← (1 - lr λ) (θ - lr u)`.
    After,
    /// `θ ← θ - lr (u + λ θ)`, with the sum made first.
    Together,
    /// `θ ← (θ - lr u) / (1 + lr λ)`: the proximal step of `λ |θ|² / 2`.
    Proximal,
    /// No decay: steps of the angle `lr` that keep the norm of a matrix, see [`Hyperball`]. Any rate above 0 turns
    /// it on.
    Hyperball,
}

/// Decoupled weight decay at a rate `λ`, in units of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightDecay {
    /// `λ`; 0 for none.
    pub rate: f64,
    /// The order of decay and step.
    pub form: DecayForm,
}

impl WeightDecay {
    /// No decay.
    pub const NONE: Self = Self {
        rate: 0.0,
        form: DecayForm::Before,
    };

    /// A decay of this rate and form.
    pub const fn new(rate: f64, form: DecayForm) -> Self {
        Self { rate, form }
    }

    /// How much of the weights a step at the rate 1 takes off.
    pub(crate) fn shrinks(self) -> f64 {
        match self.form {
            DecayForm::Hyperball => 0.0,
            _ => self.rate,
        }
    }
}
