//! Policies and averages over other methods.

use osculate_optim::{Driver, Ema, Lookahead, Momo, Sam, ScheduleFree, ShampooConfig, SoapConfig};

use crate::subject::{adamw, sgd};

/// MoMo over Shampoo.
pub fn momo_shampoo() -> Driver {
    let config = ShampooConfig::new().with_period(2).with_start(2);
    let shampoo = config.init().expect("valid");
    Momo::new().over(shampoo).expect("valid")
}

/// Schedule-Free over SOAP.
pub fn schedule_free_soap() -> Driver {
    let soap = SoapConfig::new().init().expect("valid");
    ScheduleFree::new().over(soap).expect("valid")
}

/// A moving average over SAM over AdamW.
pub fn ema_sam() -> Driver {
    let sam = Sam::new(0.05).over(adamw()).expect("valid");
    Ema::new(0.9).over(sam).expect("valid")
}

/// Lookahead over SGD.
pub fn lookahead() -> Driver {
    Lookahead::new().with_period(2).over(sgd()).expect("valid")
}
