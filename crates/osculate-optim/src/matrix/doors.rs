//! The constructors that every configuration of a matrix rule has.

use crate::config::{Check, ConfigError, NonFinitePolicy, StepPolicy};

/// Checks that a policy can be followed by burn's `Optimizer`, which sees one parameter at a time
/// and returns no errors.
pub(crate) fn check_per_param(
    config: &'static str,
    policy: &StepPolicy,
    wants_products: bool,
) -> Result<(), ConfigError> {
    let errors = policy.non_finite == NonFinitePolicy::Error;
    Check::of(config)
        .that(
            !wants_products,
            "fit",
            "Newton",
            "whitening: burn's optimizers see no Hessian; use `stacked()`",
        )
        .that(
            !errors,
            "policy.non_finite",
            "Error",
            "`Skip` or `Propagate`: burn's optimizers return no errors; use `stacked()`",
        )
        .that(
            policy.clip_norm.is_none(),
            "policy.clip_norm",
            policy.clip_norm.unwrap_or_default(),
            "none: burn's optimizers see one parameter at a time; use `stacked()`",
        )
        .finish()
}

/// Gives a configuration with `rule(&self) -> Result<Rule, ConfigError>` and a field `policy` its
/// constructors.
macro_rules! matrix_doors {
    ($config:ident, $rule:ident) => {
        impl $config {
            /// The optimizer of one parameter, for `ModuleOptimizer::with_group`.
            ///
            /// # Errors
            /// [`ConfigError`](crate::ConfigError) for an invalid setting, and for a policy that
            /// one parameter alone cannot follow: an error for gradients that are not finite,
            /// clipping by the global norm, or curvature products.
            pub fn build(&self) -> Result<$crate::PerParam<$rule>, $crate::ConfigError> {
                let rule = self.rule()?;
                let products = $crate::MatrixRule::wants_product(&rule, 0);
                $crate::matrix::check_per_param(stringify!($config), &self.policy, products)?;
                Ok($crate::PerParam::new(rule, self.policy.non_finite))
            }

            /// A burn optimizer of a whole module, for `Learner` or burn's own loop.
            ///
            /// It does not know which parameter is which: all draw the same random numbers, where
            /// the method draws any, and refresh their preconditioners in the same steps.
            /// [`init_for`](Self::init_for) does better.
            ///
            /// # Errors
            /// As [`build`](Self::build).
            pub fn init(&self) -> Result<burn::optim::ModuleOptimizer, $crate::ConfigError> {
                Ok(self.build()?.into())
            }

            /// A burn optimizer for the parameters of this module, told their paths. Its steps are
            /// those of [`stacked`](Self::stacked).
            ///
            /// # Errors
            /// As [`build`](Self::build).
            pub fn init_for<M: burn::module::Module>(
                &self,
                module: &M,
            ) -> Result<burn::optim::ModuleOptimizer, $crate::ConfigError> {
                Ok(self.build()?.for_module(module))
            }

            /// The optimizer behind the closure door, which stacks equal blocks of all parameters.
            ///
            /// # Errors
            /// [`ConfigError`](crate::ConfigError) for an invalid setting.
            pub fn stacked(&self) -> Result<$crate::Stacked<$rule>, $crate::ConfigError> {
                Ok($crate::Stacked::new(self.rule()?, self.policy.clone()))
            }
        }
    };
}

pub(crate) use matrix_doors;
