//! Choose an optimizer.
//!
//! Start with AdamW. It is cheap and robust, and everything else must earn its extra passes or products.
//! Then let the cost of a step and the size of the model decide:
//!
//! | the case | try | gradients a step |
//! |---|---|---|
//! | the model overfits, or labels are noisy | [`Sam`](crate::prelude::Sam) over what you have | 2 |
//! | the same, for fewer gradients | [`LookSam`](crate::prelude::LookSam) | 1.2 |
//! | layers of very different scales | [`Asam`](crate::prelude::Asam) | 2 |
//! | matrices of moderate size, expensive passes | [`SoapConfig`](crate::prelude::SoapConfig), [`ShampooConfig`](crate::prelude::ShampooConfig) | 1 |
//! | the same with little memory | [`MuonConfig`](crate::prelude::MuonConfig), [`PsgdKronConfig`](crate::prelude::PsgdKronConfig) | 1 |
//! | cross-entropy on large batches | [`SophiaConfig::g`](crate::prelude::SophiaConfig::g) | 1.1 |
//! | a smooth loss of strong curvature | [`AdaHessianConfig`](crate::prelude::AdaHessianConfig) | 3, less with a period |
//! | the learning rate is not known | [`Momo`](crate::prelude::Momo) over what you have | 1 |
//! | the length of the run is not known | [`ScheduleFree`](crate::prelude::ScheduleFree) over what you have | 1 |
//!
//! Compare at learning rates that are tuned alike: the rate of one method says little about that of
//! another. The registry has a rate to start from for each.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::prelude::*;
//!
//! let device = Device::flex().autodiff();
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//!
//! for name in ["adamw", "soap", "sam(adamw)", "sophia-h"] {
//!     let spec: OptimizerSpec = name.parse()?;
//!     let mut optimizer = spec.make::<Linear>(0)?;
//!     device.seed(1);
//!     let mut model: Linear = LinearConfig::new(4, 3).init(&device);
//!     let mut losses = Vec::new();
//!     for _ in 0..10 {
//!         let step = optimizer.step(spec.learning_rate(), model, &loss)?;
//!         losses.push(step.report.loss());
//!         model = step.model;
//!     }
//!     assert!(losses[9] < losses[0], "{name}: {losses:?}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
