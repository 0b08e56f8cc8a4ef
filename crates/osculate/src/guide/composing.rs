//! Put optimizers over each other.
//!
//! An optimizer is a [`Driver`](crate::prelude::Driver) of roles, and every choice of one role goes with
//! every choice of the others. From the inside out:
//!
//! 1. the update: a method's configuration, or any burn optimizer through `Driver::from`;
//! 2. where the gradient is taken: [`Sam`](crate::prelude::Sam), [`Asam`](crate::prelude::Asam),
//!    [`Gsam`](crate::prelude::Gsam), [`LookSam`](crate::prelude::LookSam),
//!    [`Mars`](crate::prelude::Mars),
//!    [`FriendlySam`](crate::prelude::FriendlySam), [`Gam`](crate::prelude::Gam),
//!    [`FastGam`](crate::prelude::FastGam), [`Amp`](crate::prelude::Amp), [`Awp`](crate::prelude::Awp),
//!    [`EntropySgd`](crate::prelude::EntropySgd);
//! 3. what is taken out of it: [`PerpGrad`](crate::prelude::PerpGrad),
//!    [`CentralisedGradient`](crate::prelude::CentralisedGradient),
//!    [`AdaptiveClip`](crate::prelude::AdaptiveClip), any number of them, over or under the source;
//! 4. how far a step goes: [`Momo`](crate::prelude::Momo), [`Sania`](crate::prelude::Sania),
//!    [`Armijo`](crate::prelude::Armijo), [`Prodigy`](crate::prelude::Prodigy),
//!    [`RandomScale`](crate::prelude::RandomScale);
//! 5. which weights are evaluated: [`ScheduleFree`](crate::prelude::ScheduleFree),
//!    [`Ema`](crate::prelude::Ema), [`Lookahead`](crate::prelude::Lookahead),
//!    [`MomentumSam`](crate::prelude::MomentumSam).
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::prelude::*;
//!
//! let soap = SoapConfig::new().init()?;
//! let sam_soap = Sam::new(0.05).over(soap)?;
//! let mut optimizer = ScheduleFree::new().over(Momo::new().over(sam_soap)?)?;
//! assert_eq!(optimizer.name(), "schedule-free(momo(sam(soap)))");
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let mut model: Linear = LinearConfig::new(4, 3).init(&device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//! let mut first = None;
//! for _ in 0..10 {
//!     let step = optimizer.step(0.1, model, &loss)?;
//!     first.get_or_insert(step.report.loss());
//!     model = step.model;
//! }
//! // The averaged weights: those to validate, and to save for inference.
//! let averaged = optimizer.evaluation_model(&model)?;
//! let last = f64::from(loss(&averaged).into_scalar::<f32>());
//! assert!(first.is_some_and(|first| last < first));
//!
//! // The same by name.
//! let spec: OptimizerSpec = "schedule-free(momo(sam(soap)))".parse()?;
//! assert_eq!(spec.build(0)?.name(), optimizer.name());
//! let spec = spec.with_overrides(&serde_json::json!({
//!     "beta": 0.95,
//!     "base": { "momo": { "base": { "sam": { "rho": 0.1 } } } },
//! }))?;
//! assert_eq!(spec.settings()["base"]["momo"]["base"]["sam"]["rho"], 0.1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An order that means nothing is an error, which says what would:
//!
//! ```
//! use osculate::prelude::*;
//!
//! let twice = Sam::new(0.05).over(Gsam::new(0.05).over(SoapConfig::new().init()?)?);
//! let error = twice.unwrap_err().to_string();
//! assert!(error.contains("one source of gradients"), "{error}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What needs no place in the order are methods of the driver: another source of curvature, weight decay in
//! one of four forms, the cautious mask, parameter groups, and an optimizer for matrices beside one for
//! the rest:
//!
//! ```
//! use osculate::prelude::*;
//!
//! let muon = MuonConfig::new()
//!     .init()?
//!     .for_matrices(SophiaConfig::h().init()?)?
//!     .with_curvature(Hutchinson::rademacher())
//!     .with_weight_decay(WeightDecay::new(0.01, DecayForm::Before))?
//!     .with_cautious_mask();
//! assert_eq!(muon.name(), "hybrid");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
