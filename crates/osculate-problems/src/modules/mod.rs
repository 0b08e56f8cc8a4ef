//! Small networks of the usual kinds.
//!
//! Every `forward` gives logits of shape `[rows, classes]`. [`seeded`] draws a network's weights on
//! the host, so that one seed gives one network on every backend.

mod attention;
mod colour_net;
mod conv_net;
mod embedding;
mod encoder;
mod group_net;
mod language_model;
mod mlp;
mod recurrent;
mod transformer;
mod weights;

pub use colour_net::{ColourNet, ColourNetConfig};
pub use conv_net::{ConvNet, ConvNetConfig};
pub use embedding::{EmbeddingClassifier, EmbeddingClassifierConfig};
pub use encoder::{EncoderModel, EncoderModelConfig};
pub use group_net::{GroupNet, GroupNetConfig};
pub use language_model::{LanguageModel, LanguageModelConfig};
pub use mlp::{Activation, Mlp, MlpConfig};
pub use recurrent::{Recurrent, RecurrentConfig};
pub use transformer::{TransformerBlock, TransformerBlockConfig};
pub use weights::{cast, cycled_labels, seeded};
