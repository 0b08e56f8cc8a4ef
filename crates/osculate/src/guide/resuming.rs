//! Save a training in a loop of your own, and go on with it bit for bit.
//!
//! Three things make a training what it is: the weights, with the running statistics of normalisation
//! layers; the optimizer's state; and where the data are.
//!
//! - [`settled`](crate::prelude::settled) gives the model to save. A record of the model itself lacks the
//!   last update of the running statistics, which burn holds back until the next forward pass.
//! - [`to_record`](crate::prelude::StatefulOptimizer::to_record) gives the optimizer's state, from which also
//!   dropout masks and other noise of the next steps follow. It is in the state's own types: `f64` models under
//!   a burn optimizer of your own need [`KeepDtype`](crate::prelude::KeepDtype).
//! - Draw batches from the number of the step or epoch. What a loop draws on the device between steps goes on
//!   from a seed that no program can read: seed the device where you save and where you load, as here.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::prelude::*;
//!
//! #[derive(Module, Debug)]
//! struct Net {
//!     first: Linear,
//!     norm: BatchNorm,
//!     dropout: Dropout,
//!     second: Linear,
//! }
//!
//! impl Net {
//!     fn new(device: &Device) -> Self {
//!         Self {
//!             first: LinearConfig::new(4, 8).init(device),
//!             norm: BatchNormConfig::new(8).init(device),
//!             dropout: DropoutConfig::new(0.2).init(),
//!             second: LinearConfig::new(8, 1).init(device),
//!         }
//!     }
//!     fn loss(&self, x: Tensor<2>) -> Tensor<1> {
//!         let hidden = self.norm.forward(self.first.forward(x));
//!         self.second.forward(self.dropout.forward(hidden)).square().mean()
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! let epoch = |number: u64, mut model: Net, optimizer: &mut Driver| {
//!     device.seed(number);
//!     for _ in 0..3 {
//!         let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//!         let step = optimizer.step(1e-2, model, &|model: &Net| model.loss(x.clone()))?;
//!         model = step.model;
//!     }
//!     Ok::<_, Box<dyn std::error::Error>>(model)
//! };
//! let adamw = || Driver::from(burn::optim::AdamWConfig::new().init());
//!
//! let mut optimizer = adamw();
//! let model = epoch(0, Net::new(&device), &mut optimizer)?;
//! let (weights, state) = (settled(&model).into_record(), optimizer.to_record());
//! let whole = epoch(1, model, &mut optimizer)?;
//!
//! // Another program, later.
//! let mut optimizer = adamw();
//! optimizer.load_record(state)?;
//! let resumed = epoch(1, Net::new(&device).load_record(weights), &mut optimizer)?;
//!
//! let all = |model: &Net| {
//!     let (first, norm) = (&model.first.weight, &model.norm);
//!     let statistics = [&norm.running_mean, &norm.running_var].map(|own| own.value_sync().into_data());
//!     (first.val().into_data(), statistics)
//! };
//! assert_eq!(all(&resumed), all(&whole));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
