//! burn's own optimizers.

use burn::grad_clipping::GradientClippingConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    AdaGradConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig, ModuleOptimizer,
    RmsPropConfig, SgdConfig,
};
use serde_json::Value;

use super::spec::read_plain;
use super::{OptimizerRow, SpecError, read, to_value};
use crate::driver::Driver;
use crate::record::{KeepDtype, KeptState};

/// burn's optimizer, with what its `init` adds to it, such that its state resumes in every type.
fn kept<O>(optimizer: O, settings: &Value) -> Result<Driver, SpecError>
where
    O: KeptState + Clone + Send + Sync + 'static,
{
    let mut optimizer = ModuleOptimizer::from(KeepDtype(optimizer));
    for name in ["grad_clipping", "gradient_clipping"] {
        let clipping: Option<GradientClippingConfig> = read_plain(&settings[name], name)?;
        if let Some(clipping) = clipping {
            optimizer = optimizer.with_grad_clipping(clipping.init());
        }
    }
    Ok(optimizer.into())
}

macro_rules! rows {
    ($($row:ident, $name:literal, $lr:literal, $text:literal, $state:literal: $config:ident = $default:expr;)*) => {
        $(
            pub(crate) static $row: OptimizerRow = OptimizerRow {
                name: $name,
                text: $text,
                learning_rate: $lr,
                gradients: 1.0,
                state: $state,
                defaults: || to_value(&$default),
                build: |settings| kept(read::<$config>(settings, "settings")?.build(), settings),
            };
        )*
    };
}

rows! {
    SGD, "sgd", 5e-2, "SGD with momentum 0.9 (burn's)", "1": SgdConfig = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)));
    ADAM, "adam", 3e-3, "Adam (burn's)", "2": AdamConfig = AdamConfig::new();
    ADAMW, "adamw", 3e-3, "Adam with decoupled weight decay (burn's)", "2":
        AdamWConfig = AdamWConfig::new().with_weight_decay(1e-2);
    ADAGRAD, "adagrad", 1e-2, "AdaGrad (burn's)", "1": AdaGradConfig = AdaGradConfig::new();
    RMSPROP, "rmsprop", 1e-3, "RMSProp (burn's)", "1": RmsPropConfig = RmsPropConfig::new();
    ADAN, "adan", 3e-3, "Adam with Nesterov momentum (burn's)", "4": AdanConfig = AdanConfig::new();
    LAMB, "lamb", 1e-2, "Adam scaled layer by layer (burn's)", "2": LambConfig = LambConfig::new();
    LION, "lion", 3e-4, "sign of an interpolated momentum (burn's)", "1": LionConfig = LionConfig::new();
}
