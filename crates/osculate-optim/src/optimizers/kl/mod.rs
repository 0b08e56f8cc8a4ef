//! KL-Shampoo and KL-SOAP: two uses of factors that are estimated with each other's inverse.

mod adam;
mod factors;
mod settings;
pub(crate) mod shampoo;
pub(crate) mod soap;

pub use shampoo::{KlShampoo, KlShampooConfig};
pub use soap::{KlSoap, KlSoapConfig};
