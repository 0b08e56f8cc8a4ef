//! Forward-mode differentiation of unmodified burn modules.
//!
//! burn differentiates backward, once. This crate adds forward mode, and with both the second
//! derivatives: it [records](Program::record) a function of a module and of input tensors as burn
//! operations, [binds](Program::bind) weights and inputs, and replays the operations with a tangent
//! beside each value. The tangent of a loss `L` along `v` is the number `∇L · v`, made of ordinary
//! tracked operations, and one backward pass of it is the exact Hessian-vector product: on every
//! backend, and for code that nobody changed.
//!
//! | product | method | cost in gradients |
//! |---|---|---|
//! | results | [`Bound::evaluate`] | 1/3 |
//! | `J v` for one or several `v` | [`Bound::jvp`] | 1/3 + 2/3 each |
//! | `Jᵀ u` | [`Bound::vjp`] | 1 |
//! | `∇L` | [`Bound::gradient`] | 1 |
//! | `H v` | [`Bound::hvp`] | 2 to 2.7 |
//! | `H v` for several `v` | [`Bound::keep_hessian`] | 2/3 + 1.2 to 2 each |
//! | `J v` and `Jᵀ u` for several | [`Bound::keep_jacobian`] | 1/3 + 2/3 each |
//! | `v^T H v`, second derivatives by inputs | [`Program::second_derivative`] | 5/3 |
//! | derivatives inside a loss | [`Program::call`] | |
//!
//! Directions and gradients may lie in the parameters, in the inputs, or in both. Which operations
//! can be differentiated, and how, is listed by [`rules`].
//!
//! # What there is
//! - [`Program`] is a recorded function, [`Bound`] that function at weights and inputs, [`ProgramCache`] one program
//!   for each shape of a batch; [`Mode`] says whether layers train in it, and [`InputSpec`] and [`Parameter`] what it
//!   expects.
//! - [`Tangents`] is a direction or a gradient, [`Wrt`] what is differentiated by; [`Jvp`] and [`HessianProduct`] are what
//!   products give.
//! - [`HessianPlan`] and [`JacobianPlan`] plan several products at one point, [`KeptHessian`] and [`KeptJacobian`] make
//!   them, [`KeptMemory`] says what they take; [`is_cpu`] says where they are made side by side.
//! - [`Field`] differentiates a network by its inputs for differential equations, [`Along`] one line.
//! - [`Tensors`] is what a function may take and give, [`AnyTensor`] one tensor of it; [`Held`] hands a module over, and
//!   [`detach`] is a `detach` that recordings see.
//! - [`Rule`] and [`Status`] describe an operation; [`guide`] says how to add one.
//!
//! # Example: an exact Hessian-vector product
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor, activation::tanh};
//! use osculate_jvp::{Program, Tangents, Wrt};
//!
//! let device = Device::flex().autodiff();
//! let model: Linear = LinearConfig::new(3, 2).with_bias(false).init(&device);
//! let x = Tensor::<2>::ones([4, 3], &device);
//!
//! let program = Program::record(&model, &x, |model: &Linear, x| {
//!     tanh(model.forward(x.clone())).square().mean()
//! })?;
//! let v = Tangents {
//!     parameters: vec![Some(Tensor::<2>::ones([3, 2], &device).into())],
//!     ..Tangents::default()
//! };
//! let hv = program.bind(&model, &x)?.hvp(&v, Wrt::Parameters)?;
//! let hv = hv.product.parameters[0].clone().unwrap().float::<2>();
//! assert_eq!(hv.dims(), [3, 2]);
//! # Ok::<(), osculate_jvp::JvpError>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod adjoint;
mod binding;
mod bound;
mod cache;
mod capture;
mod context;
mod detach;
mod dual;
mod error;
mod field;
mod fold;
mod footprint;
mod graph;
pub mod guide;
mod held;
mod kept;
mod merge;
mod mode;
mod module;
mod normalised;
mod parallel;
mod partition;
mod path;
mod placeholder;
mod plan;
mod program;
mod quiet;
mod recorder;
mod replay;
mod reverse;
mod rules;
mod simplify;
mod tape;
mod tensors;
mod transform;

pub use bound::{Bound, HessianProduct, Jvp, Tangents, Wrt};
pub use cache::ProgramCache;
pub use detach::detach;
pub use error::JvpError;
pub use field::{Along, Field};
pub use held::Held;
pub use kept::{HessianPlan, JacobianPlan, KeptHessian, KeptJacobian, KeptMemory};
pub use mode::Mode;
pub use module::Parameter;
pub use parallel::is_cpu;
pub use path::ModulePath;
pub use program::{InputSpec, Program};
pub use rules::{Rule, Status, rules};
pub use tensors::{AnyTensor, Tensors};
