//! The settings that all members of the family have.

use burn::tensor::{Bool, DType, Tensor};

use super::geometry::floored;
use super::precondition::{Clip, PsgdFit};
use super::probes::Probes;
use crate::curvature::{CurvatureSource, Hutchinson};
use crate::engine::{Field, Refresh};
use crate::weight_decay::{DecayForm, WeightDecay};

/// Steps since the first gradient that was not zero.
pub(super) const COUNT: &str = "count";
/// The averaged gradient.
pub(super) const MOMENTUM: &str = "m";
/// Keeps the probes of Hessian products apart from others of the same seed.
const PRODUCT_STREAM: u64 = 0x4E45_5754;

/// What every rule of the family keeps of its configuration.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Name of the rule.
    pub name: &'static str,
    pub fit: PsgdFit,
    pub momentum: f64,
    pub lr_preconditioner: f64,
    pub lipschitz_decay: f64,
    pub damping: f64,
    pub init_scale: Option<f64>,
    pub refresh: Refresh,
    pub update_first: bool,
    pub clip: Clip,
    pub weight_decay: f64,
    pub probes: Probes,
}

impl Settings {
    /// The state that all members have besides their preconditioner.
    pub(super) fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let mut fields = vec![Field::new(COUNT, 1, compute)];
        if self.momentum > 0.0 {
            fields.push(Field::new(MOMENTUM, dims.iter().product(), compute));
        }
        fields
    }

    pub(super) fn wants_curvature(&self, step: u64) -> bool {
        self.fit == PsgdFit::Newton && self.refresh.due(step, 0)
    }

    pub(super) fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        match self.fit {
            PsgdFit::Newton => Some(Box::new(Hutchinson::gaussian().with_stream(PRODUCT_STREAM))),
            _ => None,
        }
    }

    pub(super) fn weight_decay(&self) -> WeightDecay {
        WeightDecay::new(self.weight_decay, DecayForm::Before)
    }

    /// The new Lipschitz bound `[k, 1]`, an average that only falls slowly, and the step size for it.
    /// Blocks without a signal keep their bound and have a step size of 0.
    pub(super) fn step_size(
        &self,
        old: Tensor<2>,
        present: Tensor<2>,
        live: &Tensor<2, Bool>,
    ) -> (Tensor<2>, Tensor<2>) {
        let average = old.clone().mul_scalar(self.lipschitz_decay)
            + present.clone().mul_scalar(1.0 - self.lipschitz_decay);
        let bound = average.max_pair(present);
        let mu = floored(bound.clone())
            .recip()
            .mul_scalar(self.lr_preconditioner);
        let mu = mu.mask_fill(live.clone().bool_not(), 0.0);
        (old.mask_where(live.clone(), bound), mu)
    }
}

/// Declares a configuration: the settings of the family, of which `fit` and `lr_preconditioner` have
/// defaults of their own, and then those of the member. All are fields of the configuration itself, so
/// that its JSON is flat; burn's `Config` cannot flatten a struct within another.
///
/// `PsgdFit` and `RefreshSchedule` must be in scope, for the defaults are parsed where the macro is used.
macro_rules! psgd_config {
    (
        $(#[$page:meta])*
        pub struct $config:ident {
            $(#[$fit_doc:meta])*
            fit: $fit:tt,
            $(#[$lr_doc:meta])*
            lr_preconditioner: $lr:tt,
            $($own:tt)*
        }
    ) => {
        $(#[$page])*
        #[derive(burn::config::Config, Debug)]
        pub struct $config {
            $(#[$fit_doc])*
            #[config(default = $fit)]
            pub fit: PsgdFit,
            $(#[$lr_doc])*
            #[config(default = $lr)]
            pub lr_preconditioner: f64,
            /// Decay of the gradient's average; 0 for none. Default 0.9, as in the authors' wrapper for
            /// language models.
            #[config(default = 0.9)]
            pub momentum: f64,
            /// Decay of the Lipschitz bound of the preconditioner's descent. Default 0.9; the authors
            /// advise 0.999 for sparse gradients.
            #[config(default = 0.9)]
            pub lipschitz_decay: f64,
            /// Standard deviation of the noise on the fitted gradient, which bounds `P` by its inverse.
            /// Rounding noise of the same relative size as the type's is added too. 0 for none. Default
            /// 1e-9.
            #[config(default = 1e-9)]
            pub damping: f64,
            /// Scale `s` of the first `Q = s I`, an equal part of it in each factor; measured on the
            /// first gradient that is not zero for `None`. Default `None`.
            pub init_scale: Option<f64>,
            /// In which steps the preconditioner is updated. Default: in all.
            #[config(default = "RefreshSchedule::ALWAYS")]
            pub schedule: RefreshSchedule,
            /// Updates the preconditioner before it is applied to the same gradient. Default `true`.
            #[config(default = true)]
            pub update_first: bool,
            /// Largest root mean square of a preconditioned block. Default 2.
            #[config(default = "Some(2.0)")]
            pub clip_rms: Option<f64>,
            /// Largest magnitude of an element of it. Default 10.
            #[config(default = "Some(10.0)")]
            pub clip_element: Option<f64>,
            /// Decoupled weight decay, applied before the step. Default 0.
            #[config(default = 0.0)]
            pub weight_decay: f64,
            $($own)*
        }

        impl $config {
            /// The settings of the family for the rule of this name, after a check of the member's own.
            fn settings(
                &self,
                name: &'static str,
                check: $crate::config::Check,
            ) -> Result<$crate::optimizers::psgd::settings::Settings, $crate::config::ConfigError> {
                let check = check
                    .decay("momentum", self.momentum)
                    .positive("lr_preconditioner", self.lr_preconditioner)
                    .that(
                        self.lr_preconditioner <= 1.0,
                        "lr_preconditioner",
                        self.lr_preconditioner,
                        "at most 1",
                    )
                    .decay("lipschitz_decay", self.lipschitz_decay)
                    .non_negative("damping", self.damping)
                    .positive("init_scale", self.init_scale.unwrap_or(1.0))
                    .positive("clip_rms", self.clip_rms.unwrap_or(1.0))
                    .positive("clip_element", self.clip_element.unwrap_or(1.0))
                    .non_negative("weight_decay", self.weight_decay);
                self.schedule.check(check).finish()?;
                Ok($crate::optimizers::psgd::settings::Settings {
                    name,
                    fit: self.fit,
                    momentum: self.momentum,
                    lr_preconditioner: self.lr_preconditioner,
                    lipschitz_decay: self.lipschitz_decay,
                    damping: self.damping,
                    init_scale: self.init_scale,
                    refresh: $crate::engine::Refresh::new(self.schedule),
                    update_first: self.update_first,
                    clip: $crate::optimizers::psgd::precondition::Clip {
                        rms: self.clip_rms,
                        element: self.clip_element,
                    },
                    weight_decay: self.weight_decay,
                    probes: $crate::optimizers::psgd::probes::Probes::default(),
                })
            }
        }
    };
}

pub(super) use psgd_config;
