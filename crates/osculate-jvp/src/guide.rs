//! Add a rule.
//!
//! A rule is one line of a table. There is one table for each family of burn's operations, in a file of
//! `src/rules` such as `activation.rs`; a line has the operation's variant, its status, the formula of the
//! tangent for readers, and the code:
//!
//! ```text
//! Sigmoid(o) Differentiated "y (1 - y) ẋ" => cx.unary(o, D::sigmoid, |_, y| {
//!     D::float_sub(y.clone(), D::float_mul(y.clone(), y))
//! });
//! ```
//!
//! `cx` holds the values and tangents of the operation's arguments. Most rules are one of these calls:
//!
//! | the operation | the call |
//! |---|---|
//! | elementwise, `ẏ = slope(x, y) ẋ` | `cx.unary(o, f, slope)` |
//! | linear: the tangent goes through the operation itself | `cx.linear(..)`, `Dual::linear` |
//! | a product of two arguments | `Dual::bilinear` |
//! | constant wherever it has a derivative, such as `floor` | `cx.flat(o, f)` |
//!
//! What is written must itself be made of operations with a gradient, because a Hessian product is the
//! gradient of a tangent. A line with the status `Unsupported` refuses an operation by name, and a table that
//! misses an operation of its family does not compile.
//!
//! A test is one line too, in `tests/rules`: shapes, a range without kinks, and the function. It compares
//! first and second derivatives with central differences in `f64` and checks that the Hessian is symmetric:
//!
//! ```text
//! rule!(flex sigmoid: UNARY, in -2.0..2.0, |x: 2| activation::sigmoid(x));
//! ```
//!
//! The same check by hand, of a recorded function:
//!
//! ```
//! use burn::tensor::{DType, Device, Tensor, TensorData, activation::sigmoid};
//! use osculate_jvp::{Program, Status, Tangents, rules};
//!
//! let rule = rules().find(|rule| rule.operation == "Activation::Sigmoid").unwrap();
//! assert_eq!((rule.status, rule.tangent), (Status::Differentiated, "y (1 - y) ẋ"));
//!
//! let device = Device::flex();
//! let tensor = |values: [f64; 3]| {
//!     Tensor::<1>::from_data(TensorData::from(values), (&device, DType::F64))
//! };
//! let f = |x: &Tensor<1>| sigmoid(x.clone());
//! let (x, v) = (tensor([-1.0, 0.3, 2.0]), tensor([0.5, -1.0, 0.25]));
//!
//! let program = Program::record_function(&x, f)?;
//! let direction = Tangents {
//!     inputs: vec![Some(v.clone().into())],
//!     ..Tangents::default()
//! };
//! let jvp = program.bind_inputs(&x)?.jvp(&[direction])?;
//! let tangent = jvp.tangents[0][0].clone().float::<1>();
//!
//! let h = 1e-5;
//! let moved = |h: f64| f(&(x.clone() + v.clone().mul_scalar(h)));
//! let difference = (moved(h) - moved(-h)).div_scalar(2.0 * h);
//! let error: f64 = (tangent - difference).abs().max().into_scalar();
//! assert!(error < 1e-9, "{error}");
//! # Ok::<(), osculate_jvp::JvpError>(())
//! ```
