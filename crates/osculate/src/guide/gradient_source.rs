//! Add a place at which the gradient is taken.
//!
//! A [`GradientSource`](crate::prelude::GradientSource) may evaluate the gradient at offsets from the weights,
//! as often as it likes, and hands one on to the update. Curvature is then taken at the same point. It goes
//! over every method, and under every step-size policy and average.
//!
//! This is the extragradient method (Korpelevich, 1976): the gradient a step ahead.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::optim::SgdConfig;
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::prelude::*;
//!
//! /// The gradient at `θ - distance g`. Cost: 2 gradient evaluations a step.
//! #[derive(Debug, Clone, Copy)]
//! struct Extragradient {
//!     distance: f64,
//! }
//!
//! impl GradientSource for Extragradient {
//!     fn name(&self) -> &'static str {
//!         "extragradient"
//!     }
//!
//!     fn take(&self, context: &mut GradientContext<'_>) -> Result<TakenGradient, StepErrorCause> {
//!         let offset = context.gradient().scale(-self.distance);
//!         Ok(TakenGradient {
//!             gradient: context.gradient_at(&offset)?,
//!             point: GradientPoint::LastEvaluated,
//!             refreshed: None,
//!         })
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let mut model: Linear = LinearConfig::new(4, 3).init(&device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//!
//! let soap = SoapConfig::new().init()?.with_gradient(Extragradient { distance: 0.05 });
//! let mut optimizer = Momo::new().over(soap)?;
//! let mut losses = Vec::new();
//! for _ in 0..10 {
//!     let step = optimizer.step(0.05, model, &loss)?;
//!     assert_eq!(step.report.cost().gradient_evaluations(), 2.0);
//!     losses.push(step.report.loss());
//!     model = step.model;
//! }
//! assert!(losses[9] < losses[0]);
//!
//! // A distance of 0 is the optimizer itself.
//! let sgd = || Driver::from(SgdConfig::new().init());
//! let mut still = sgd().with_gradient(Extragradient { distance: 0.0 });
//! let a = still.step(0.1, model.clone(), &loss)?.model;
//! let b = sgd().step(0.1, model, &loss)?.model;
//! assert_eq!(a.weight.to_data(), b.weight.to_data());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A source with memory declares [`VectorField`](crate::prelude::VectorField)s and finds them, by name, in
//! `context.state`.
