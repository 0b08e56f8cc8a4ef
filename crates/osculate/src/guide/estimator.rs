//! Add an estimator of curvature.
//!
//! An estimator is a function of a [`CurvatureOperator`](crate::curvature::CurvatureOperator): it asks for
//! products with vectors and never for a matrix. It then works for Hessian, Gauss-Newton and Fisher
//! matrices, their sums, multiples and blocks, and explicit matrices in tests.
//!
//! This one estimates the squared Frobenius norm, because `E |A z|^2 = |A|_F^2` for probes `z` of
//! independent elements of unit variance. It is checked as the estimators of the library are: against
//! an explicit matrix that is neither diagonal nor isotropic, in units of its own standard error.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::curvature::{
//!     CurvatureError, CurvatureOperator, DenseOperator, GradientOracle, Hessian, ProbeDistribution,
//!     Structure, dense_matrix,
//! };
//! use osculate::prelude::*;
//!
//! /// Mean and standard error of `|A z|^2` over probes. Cost: one product for each probe.
//! fn squared_frobenius_norm(
//!     operator: &dyn CurvatureOperator,
//!     probes: u64,
//!     seed: u64,
//! ) -> Result<(f64, f64), CurvatureError> {
//!     let layout = operator.layout();
//!     let (mut sum, mut squares) = (0.0, 0.0);
//!     for index in 0..probes {
//!         let z = ProbeDistribution::Rademacher.draw(&layout, seed, index);
//!         let square = operator.apply_probe(&z)?.value.norm().powi(2);
//!         sum += square;
//!         squares += square * square;
//!     }
//!     let n = probes as f64;
//!     let mean = sum / n;
//!     let variance = (squares / n - mean * mean) * n / (n - 1.0);
//!     Ok((mean, (variance / n).sqrt()))
//! }
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let model: Linear = LinearConfig::new(2, 1).init(&device);
//! let x = Tensor::<2>::random([8, 2], Distribution::Default, &device);
//! let batch = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
//!     model.forward(x.clone()).square().mean()
//! });
//! let oracle = GradientOracle::new(&model, &batch);
//! let hessian = Hessian::new(&oracle)?;
//!
//! // Against an explicit matrix.
//! let rows = vec![2.0, 1.0, -0.5, 1.0, 5.0, 0.7, -0.5, 0.7, 1.0];
//! let exact: f64 = rows.iter().map(|a| a * a).sum();
//! let matrix = DenseOperator::new(hessian.layout(), rows, Structure::Symmetric)?;
//! let (mean, error) = squared_frobenius_norm(&matrix, 200, 7)?;
//! assert!((mean - exact).abs() < 4.0 * error, "{mean} +- {error}, not {exact}");
//! assert!(error < 0.2 * exact);
//!
//! // On the Hessian of a loss.
//! let exact: f64 = dense_matrix(&hessian)?.iter().map(|a| a * a).sum();
//! let (mean, error) = squared_frobenius_norm(&hessian, 50, 7)?;
//! assert!((mean - exact).abs() < 4.0 * error, "{mean} +- {error}, not {exact}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An optimizer asks for curvature through a [`CurvatureSource`](crate::prelude::CurvatureSource): its
//! context gives Hessian products at the point at which the gradient was taken, so that an estimator of a
//! diagonal serves AdaHessian and Sophia, also under SAM:
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use osculate::curvature::{CurvatureError, HessianConfig, ProbeDistribution};
//! use osculate::prelude::*;
//!
//! /// `|z * H z|` of one probe of signs: no element is negative.
//! #[derive(Debug, Clone, Copy)]
//! struct Absolute;
//!
//! impl CurvatureSource for Absolute {
//!     fn name(&self) -> &'static str {
//!         "absolute"
//!     }
//!
//!     fn estimate(
//!         &self,
//!         context: &mut CurvatureContext<'_>,
//!     ) -> Result<CurvatureEstimate, CurvatureError> {
//!         let layout = context.layout()?;
//!         let z = ProbeDistribution::Rademacher.draw(&layout, context.seed(), 0);
//!         let product = context.hessian_product(HessianConfig::default(), &z)?;
//!         Ok(CurvatureEstimate::Diagonal(z.to_compute_dtype().hadamard(&product).abs()))
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let mut model: Linear = LinearConfig::new(4, 3).init(&device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
//! let loss = |model: &Linear| model.forward(x.clone()).square().mean();
//! let sophia = SophiaConfig::h().init()?.with_curvature(Absolute);
//! let mut optimizer = Sam::new(0.05).over(sophia)?;
//! let mut losses = Vec::new();
//! for _ in 0..10 {
//!     let step = optimizer.step(0.01, model, &loss)?;
//!     losses.push(step.report.loss());
//!     model = step.model;
//! }
//! assert!(losses[9] < losses[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
