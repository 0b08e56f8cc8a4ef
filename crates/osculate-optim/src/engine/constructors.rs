//! The constructors that every configuration of a block rule has.

/// Gives a configuration with `rule(&self) -> Result<Rule, ConfigError>` its constructors.
macro_rules! constructors {
    ($config:ident) => {
        impl $config {
            /// The closure optimizer, which stacks equal blocks of all parameters.
            ///
            /// # Errors
            /// [`ConfigError`](crate::ConfigError) for an invalid setting.
            pub fn init(&self) -> Result<$crate::Driver, $crate::ConfigError> {
                Ok($crate::Driver::of_blocks(self.rule()?))
            }

            /// A burn optimizer for the parameters of this module, for `Learner` or burn's own loop.
            /// Its steps are those of [`init`](Self::init), bit for bit.
            ///
            /// # Errors
            /// [`ConfigError`](crate::ConfigError) for an invalid setting, and for a rule that needs
            /// more than gradients.
            pub fn module_optimizer<M: burn::module::Module>(
                &self,
                module: &M,
            ) -> Result<burn::optim::ModuleOptimizer, $crate::ConfigError> {
                Ok($crate::PerParameter::new(self.rule()?)?.for_module(module))
            }
        }
    };
}

pub(crate) use constructors;
