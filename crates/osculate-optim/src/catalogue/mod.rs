//! Every optimizer by name, with its settings as data: for programs whose users choose the optimizer
//! in a flag or a file.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use osculate_optim::catalogue::{Method, Recipe};
//! use serde_json::json;
//!
//! let method: Method = "sam".parse()?;
//! let recipe = Recipe::new(method).with_overrides(&json!({ "rho": 0.1, "base": { "adamw": {} } }))?;
//! let mut optimizer = recipe.make::<Linear>(42)?;
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(2, 1).init(&device);
//! let x = Tensor::<2>::ones([4, 2], &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//! let step = optimizer.step(recipe.learning_rate(), model, &loss)?;
//! # drop(step);
//!
//! let wrong = Recipe::new(method).with_overrides(&json!({ "roh": 0.1 }));
//! assert!(wrong.unwrap_err().to_string().contains("rho"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base;
mod merge;
mod method;
mod recipe;

pub use method::{Method, UnknownMethod};
pub use recipe::{Recipe, RecipeError};
