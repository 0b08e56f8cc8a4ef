//! Give parts of a model other settings.
//!
//! A [`ParameterGroup`](crate::prelude::ParameterGroup) is a selection of parameters, by path, rank, type of
//! layer or a predicate, with what differs for them: a factor of the learning rate, the rate of the weight
//! decay, or a whole update. Groups go with every optimizer.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::activation::tanh;
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::prelude::*;
//!
//! #[derive(Module, Debug)]
//! struct Net {
//!     body: Linear,
//!     head: Linear,
//! }
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let mut model = Net {
//!     body: LinearConfig::new(4, 8).init(&device),
//!     head: LinearConfig::new(8, 2).init(&device),
//! };
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Net| {
//!     let hidden = tanh(model.body.forward(x.clone()));
//!     model.head.forward(hidden).square().mean()
//! };
//!
//! let mut optimizer = SoapConfig::new()
//!     .with_weight_decay(0.1)
//!     .init()?
//!     // No decay on biases and on the gains of normalisations.
//!     .with_group(ParameterGroup::without_decay())?
//!     // The head at a tenth of the rate, by another method.
//!     .with_group(
//!         ParameterGroup::new("head", Select::path("head"))
//!             .with_lr_factor(0.1)
//!             .with_update(SophiaConfig::h().init()?),
//!     )?;
//!
//! let mut losses = Vec::new();
//! for _ in 0..10 {
//!     let step = optimizer.step(0.01, model, &loss)?;
//!     losses.push(step.report.loss());
//!     // What a step did, by group.
//!     let groups = step.report.groups();
//!     assert_eq!((groups[0].name.as_str(), groups[0].parameters), ("without-decay", 2));
//!     assert_eq!((groups[1].name.as_str(), groups[1].lr), ("head", Some(0.001)));
//!     model = step.model;
//! }
//! assert!(losses[9] < losses[0]);
//!
//! // A group that matches nothing is an error, which lists the paths that there are.
//! let lost = ParameterGroup::new("lost", Select::path("encoder"));
//! let mut optimizer = SoapConfig::new().init()?.with_group(lost)?;
//! let error = optimizer.step(0.01, model, &loss).unwrap_err();
//! assert!(error.to_string().contains("head.weight"), "{error}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - A parameter in several groups has the rate factor, the decay and the update of the last group that
//!   has one.
//! - [`ParameterGroup::optional`](crate::prelude::ParameterGroup::optional) lets a group match nothing.
//! - [`ParameterGroup::layerwise_decay`](crate::prelude::ParameterGroup::layerwise_decay) makes one group
//!   for each layer, with rates that fall towards the input;
//!   [`embeddings_and_head`](crate::prelude::ParameterGroup::embeddings_and_head) takes those apart.
//! - The decay of a group reaches the driver's decoupled decay, not one inside burn's optimizers: set that
//!   to 0 and use [`Driver::with_weight_decay`](crate::prelude::Driver::with_weight_decay).
//! - burn's schedulers have groups of their own: `optimizer.step(scheduler.step(), ..)` takes them as they
//!   come.
//!
//! By name groups are a setting:
//!
//! ```
//! use osculate::prelude::*;
//! use serde_json::json;
//!
//! let soap: OptimizerSpec = "soap".parse()?;
//! let spec = soap.clone().with_overrides(&json!({
//!     "groups": [
//!         { "name": "vectors", "rank_below": 2, "weight_decay": 0.0 },
//!         { "name": "head", "paths": ["head"], "lr_factor": 0.1, "settings": { "beta_2": 0.99 } },
//!     ],
//! }))?;
//! assert_eq!(spec.settings()["groups"][1]["settings"]["beta_2"], 0.99);
//!
//! // A setting that the method does not have is an error, also in a group.
//! let wrong = soap.with_overrides(&json!({
//!     "groups": [{ "name": "head", "paths": ["head"], "settings": { "rho": 0.1 } }],
//! }));
//! assert!(wrong.unwrap_err().to_string().contains("groups.settings.rho"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
