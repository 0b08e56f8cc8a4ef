//! Small networks of the usual kinds.
//!
//! Every `forward` gives logits of shape `[rows, classes]`. [`seeded`] draws a network's weights on
//! the host, so that one seed gives one network on every backend.

mod conv_net;
mod embedding;
mod mlp;
mod transformer;
mod weights;

pub use conv_net::{ConvNet, ConvNetConfig};
pub use embedding::{EmbeddingClassifier, EmbeddingClassifierConfig};
pub use mlp::{Activation, Mlp, MlpConfig};
pub use transformer::{TransformerBlock, TransformerBlockConfig};
pub use weights::{cast, seeded};
