//! A physics-informed network for the heat equation.
//!
//! `∂u/∂t = α ∂²u/∂x²` on `0 < x < 1`, `0 < t < 1`, with `u = 0` at both ends and
//! `u(x, 0) = sin(πx)`. The solution is `exp(-α π² t) sin(πx)`.
//!
//! The network `n` enters as `u = sin(πx) + t x (1 - x) n(x, t)`, which meets the conditions by its
//! form, so that the loss is the residual of the equation alone. Its derivatives by `x` and `t` are
//! exact, and `backward` differentiates them by the weights.
//!
//! Run it with `cargo run --release -p heat-equation`.
#![allow(clippy::print_stdout, reason = "an example reports to the terminal")]

use std::f64::consts::PI;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData, activation::tanh, s};
use osculate::MainError;
use osculate::jvp::Field;

const ALPHA: f64 = 0.1;
const STEPS: usize = 800;
const SIDE: usize = 20;

#[derive(Module, Debug)]
struct Network {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Network {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            first: LinearConfig::new(2, width).init(device),
            second: LinearConfig::new(width, width).init(device),
            last: LinearConfig::new(width, 1).init(device),
        }
    }

    /// The temperature at points `(x, t)`.
    fn temperature(&self, points: &Tensor<2>) -> Tensor<2> {
        let x = points.clone().slice(s![.., 0..1]);
        let t = points.clone().slice(s![.., 1..2]);
        let hidden = tanh(self.first.forward(points.clone()));
        let network = self.last.forward(tanh(self.second.forward(hidden)));
        let inside = x.clone() * x.clone().neg().add_scalar(1.0);
        x.mul_scalar(PI).sin() + t * inside * network
    }
}

/// A regular grid of points in the unit square, kept off the boundary by `margin`.
fn grid(side: usize, margin: f64, device: &Device) -> Tensor<2> {
    let step = (1.0 - 2.0 * margin) / (side - 1) as f64;
    let at = |k: usize| margin + k as f64 * step;
    let values: Vec<f64> = (0..side * side)
        .flat_map(|k| [at(k % side), at(k / side)])
        .collect();
    Tensor::from_data(TensorData::new(values, [side * side, 2]), device)
}

fn solution(points: &Tensor<2>) -> Tensor<2> {
    let x = points.clone().slice(s![.., 0..1]);
    let t = points.clone().slice(s![.., 1..2]);
    t.mul_scalar(-ALPHA * PI * PI).exp() * x.mul_scalar(PI).sin()
}

fn main() -> Result<(), MainError> {
    let device = Device::flex().autodiff();
    device.seed(7);
    let mut model = Network::new(24, &device);
    let mut optimizer = AdamConfig::new().init();
    let points = grid(SIDE, 0.02, &device);
    let field = Field::record(&model, &points, Network::temperature)?;

    for step in 0..STEPS {
        let by_time = field.partial(&model, &points, 1)?;
        let by_place = field.second_partial(&model, &points, 0)?;
        let residual = by_time - by_place.second.mul_scalar(ALPHA);
        let loss = residual.square().mean();
        if step % 100 == 0 {
            let loss: f32 = loss.clone().into_scalar();
            println!("step {step:4}  mean squared residual {loss:.3e}");
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let rate = 1e-2 * 0.5 * (1.0 + (PI * step as f64 / STEPS as f64).cos());
        model = optimizer.step(rate, model, gradients);
    }

    let fresh = grid(50, 0.0, &device);
    let error = model.temperature(&fresh) - solution(&fresh);
    let largest: f32 = error.clone().abs().max().into_scalar();
    let rms: f32 = error.square().mean().sqrt().into_scalar();
    println!("error against the exact solution: largest {largest:.2e}, root mean square {rms:.2e}");
    Ok(())
}
