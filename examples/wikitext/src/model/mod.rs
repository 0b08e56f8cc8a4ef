//! A decoder-only transformer.

mod attention;
mod rotary;
mod transformer;

pub use attention::Attention;
pub use rotary::Rotary;
pub use transformer::{Block, Transformer, TransformerConfig};
