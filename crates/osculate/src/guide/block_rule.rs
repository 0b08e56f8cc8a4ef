//! Add a rule that works on blocks of parameters.
//!
//! A [`BlockRule`](crate::prelude::BlockRule) makes a direction of a gradient. It says how a parameter is cut
//! into blocks, declares its state by name, and treats a stack of equal blocks at once. Learning rate,
//! weight decay, step sizes, averages, records, skipped gradients and composition are the driver's.
//!
//! A method is one file with three parts: the configuration, the registry's row and the rule. This is
//! the whole file of Signum (Bernstein et al., *signSGD*, <https://arxiv.org/abs/1802.04434>):
//!
//! ```
//! use burn::config::Config;
//! use burn::tensor::DType;
//! use osculate::linalg::BlockPartition;
//! use osculate::optim::registry::{read, register, to_value};
//! use osculate::prelude::*;
//!
//! /// Steps along the sign of the averaged gradient.
//! ///
//! /// m = β m + (1 - β) g,   u = sign(m)
//! #[derive(Config, Debug)]
//! pub struct SignumConfig {
//!     /// Decay of the average, `β`. Default 0.9.
//!     #[config(default = 0.9)]
//!     pub beta: f64,
//!     /// Decoupled weight decay. Default 0.
//!     #[config(default = 0.0)]
//!     pub weight_decay: f64,
//! }
//!
//! impl SignumConfig {
//!     pub fn rule(&self) -> Result<Signum, ConfigError> {
//!         if !(0.0..1.0).contains(&self.beta) {
//!             return Err(ConfigError {
//!                 config: "SignumConfig",
//!                 field: "beta",
//!                 value: self.beta.to_string(),
//!                 expected: "at least 0 and below 1",
//!             });
//!         }
//!         Ok(Signum { config: self.clone() })
//!     }
//!
//!     pub fn init(&self) -> Result<Driver, ConfigError> {
//!         Ok(Driver::of_blocks(self.rule()?))
//!     }
//! }
//!
//! static ROW: OptimizerRow = OptimizerRow {
//!     name: "signum",
//!     text: "sign of the averaged gradient",
//!     learning_rate: 1e-2,
//!     gradients: 1.0,
//!     state: "1",
//!     defaults: || to_value(&SignumConfig::new()),
//!     build: |settings| Ok(read::<SignumConfig>(settings, "settings")?.init()?),
//! };
//!
//! #[derive(Debug, Clone)]
//! pub struct Signum {
//!     config: SignumConfig,
//! }
//!
//! impl BlockRule for Signum {
//!     fn name(&self) -> &'static str {
//!         "signum"
//!     }
//!
//!     // Element by element: a parameter is one long block.
//!     fn partition(&self, parameter: &Parameter) -> BlockPartition {
//!         BlockPartition::new(&[parameter.num_elements()], usize::MAX)
//!     }
//!
//!     fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
//!         vec![Field::new("m", dims.iter().product(), compute)]
//!     }
//!
//!     fn weight_decay(&self) -> WeightDecay {
//!         WeightDecay::new(self.config.weight_decay, DecayForm::Before)
//!     }
//!
//!     // The stack's tensors are `[blocks, elements]`.
//!     fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
//!         let beta = self.config.beta;
//!         let m = stack.state.take("m")?.mul_scalar(beta)
//!             + stack.gradient.clone().mul_scalar(1.0 - beta);
//!         stack.state.put("m", m.clone())?;
//!         Ok(Stepped::along(m.sign()))
//!     }
//! }
//!
//! // Now it goes by name, under what goes over other optimizers, and as a burn optimizer.
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//!
//! register(&ROW)?;
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let mut model: Linear = LinearConfig::new(4, 3).init(&device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//! let mut optimizer = "sam(signum)".parse::<OptimizerSpec>()?.make::<Linear>(0)?;
//! let mut losses = Vec::new();
//! for _ in 0..10 {
//!     let step = optimizer.step(0.01, model, &loss)?;
//!     losses.push(step.report.loss());
//!     model = step.model;
//! }
//! assert!(losses[9] < losses[0]);
//! let for_burn = PerParameter::new(SignumConfig::new().rule()?)?.for_module(&model);
//! # drop(for_burn);
//! assert!(SignumConfig::new().with_beta(1.0).init().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Further methods of the trait ask for curvature, join a weight and its bias into one block, tell rows
//! from columns, and hold blocks that have nothing to go by yet.
