//! Add a rule that sees the whole model.
//!
//! A [`VectorRule`](crate::prelude::VectorRule) has all weights and gradients as vectors, the loss, and a few
//! numbers of its own on the device. It fits methods with a global norm, a line search's memory, or a
//! subspace. What it returns is a direction; the rest is the driver's, as for block rules.
//!
//! This is AdaGrad-Norm, one adaptive rate for the whole model (Ward et al.,
//! <https://arxiv.org/abs/1806.01811>):
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::curvature::ParamVec;
//! use osculate::prelude::*;
//!
//! /// s = s + |g|^2,   u = g / sqrt(s)
//! #[derive(Debug, Clone)]
//! struct AdaGradNorm;
//!
//! impl VectorRule for AdaGradNorm {
//!     fn name(&self) -> &'static str {
//!         "adagrad-norm"
//!     }
//!
//!     fn scalars(&self) -> &'static [&'static str] {
//!         &["sum"]
//!     }
//!
//!     fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
//!         let sum = step.state.scalar("sum")?;
//!         // Nothing is read back: the norm stays on the device.
//!         let norm = step.gradient.norm_on_device().cast(sum.dtype());
//!         let sum = sum + norm.square();
//!         step.state.put_scalar("sum", sum.clone())?;
//!         Ok(step.gradient.scale_by(&sum.add_scalar(1e-30).sqrt().recip()))
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let mut model: Linear = LinearConfig::new(4, 3).init(&device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//! let mut optimizer = Ema::new(0.9).over(Driver::of_vectors(AdaGradNorm))?;
//! let mut losses = Vec::new();
//! for _ in 0..10 {
//!     let step = optimizer.step(0.5, model, &loss)?;
//!     losses.push(step.report.loss());
//!     model = step.model;
//! }
//! assert!(losses[9] < losses[0]);
//!
//! // The sum of the squared norms is part of the record: a resumed run goes on with it.
//! let mut resumed = Ema::new(0.9).over(Driver::of_vectors(AdaGradNorm))?;
//! resumed.load_record(optimizer.to_record())?;
//! let a = optimizer.step(0.5, model.clone(), &loss)?.model;
//! let b = resumed.step(0.5, model, &loss)?.model;
//! assert_eq!(a.weight.to_data(), b.weight.to_data());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
