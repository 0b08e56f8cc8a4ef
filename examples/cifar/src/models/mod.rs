//! The networks, for images of any size and number of channels.

mod layers;
mod precision;
mod resnet;
mod vision_transformer;
mod wide_resnet;

pub use precision::Precision;
pub use resnet::ResNet;
pub use vision_transformer::VisionTransformer;
pub use wide_resnet::WideResNet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use osculate_problems::modules::seeded;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::data::ImageShape;

/// A network that cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The sides of the images are no multiples of a patch.
    #[error(
        "images of {} x {} pixels cannot be cut into patches of {patch} x {patch}; use a residual \
         network",
        sides[0], sides[1]
    )]
    Patches {
        /// Height and width of an image.
        sides: [usize; 2],
        /// Side of a patch.
        patch: usize,
    },

    /// The images are too small for two halvings.
    #[error("images of {} x {} pixels are too small, expected at least 4 x 4", sides[0], sides[1])]
    TooSmall {
        /// Height and width of an image.
        sides: [usize; 2],
    },

    /// The device has no arithmetic in the element type.
    #[error("the device {device} cannot compute in {precision:?}; use --precision f32")]
    Precision {
        /// The precision asked for.
        precision: Precision,
        /// The device.
        device: String,
    },
}

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Architecture {
    /// ResNet-8: a third of ResNet-20, to try things out on a CPU (0.08 M parameters).
    #[value(name = "resnet8")]
    #[serde(rename = "resnet8")]
    ResNet8,
    /// ResNet-20 (0.27 M parameters).
    #[value(name = "resnet20")]
    #[serde(rename = "resnet20")]
    ResNet20,
    /// WRN-16-4, a wide ResNet (2.7 M parameters).
    #[value(name = "wrn-16-4")]
    #[serde(rename = "wrn-16-4")]
    Wrn16x4,
    /// A vision transformer of 6 blocks of width 128 on patches of 4 x 4 (1.2 M parameters).
    #[value(name = "vit")]
    #[serde(rename = "vit")]
    Vit,
}

impl Architecture {
    /// Makes the network with weights that are a function of the seed, the same on every backend:
    /// normal with variance one over the number of inputs, biases zero.
    ///
    /// # Errors
    /// [`ModelError`] for images that the network cannot take, and where the device lacks the
    /// precision.
    pub fn init(
        self,
        shape: ImageShape,
        classes: usize,
        precision: Precision,
        seed: u64,
        device: &Device,
    ) -> Result<Classifier, ModelError> {
        precision.check(device)?;
        let sides = [shape.height, shape.width];
        if sides.iter().any(|side| *side < 4) {
            return Err(ModelError::TooSmall { sides });
        }
        let channels = shape.channels;
        let resnet = |per_stage| ResNet::new(per_stage, channels, classes, precision, device);
        let model = match self {
            Architecture::ResNet8 => Classifier::ResNet(resnet(1)),
            Architecture::ResNet20 => Classifier::ResNet(resnet(3)),
            Architecture::Wrn16x4 => Classifier::WideResNet(WideResNet::new(
                [2, 4],
                channels,
                classes,
                precision,
                device,
            )),
            Architecture::Vit => Classifier::VisionTransformer(VisionTransformer::new(
                shape, classes, precision, device,
            )?),
        };
        Ok(seeded(model, seed))
    }
}

/// Any of the networks.
#[derive(Module, Debug)]
pub enum Classifier {
    /// ResNet-8 or ResNet-20.
    ResNet(ResNet),
    /// A wide ResNet.
    WideResNet(WideResNet),
    /// A vision transformer.
    VisionTransformer(VisionTransformer),
}

impl Classifier {
    /// Logits `[rows, classes]` of images `[rows, channels, height, width]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Classifier::ResNet(net) => net.forward(images),
            Classifier::WideResNet(net) => net.forward(images),
            Classifier::VisionTransformer(net) => net.forward(images),
        }
    }

    /// Number of weights that are trained: running statistics do not count. The model must be on a
    /// device with autodiff.
    pub fn trainable(&self) -> usize {
        let mut counter = Counter(0);
        self.visit(&mut counter);
        counter.0
    }
}

struct Counter(usize);

impl ModuleVisitor for Counter {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.0 += param.lazy_shape().num_elements();
        }
    }
}

#[cfg(test)]
mod tests;
