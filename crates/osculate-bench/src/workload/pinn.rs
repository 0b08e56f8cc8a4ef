use std::f64::consts::PI;
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData, s};
use osculate::curvature::ObjectiveError;
use osculate::prelude::*;
use osculate_jvp::Field;
use osculate_problems::modules::{Activation, Mlp, MlpConfig, seeded};

use super::{About, Metric, Workload, WorkloadError};

/// A physics-informed network for the heat equation `∂u/∂t = α ∂²u/∂x²` on the unit square, with
/// `u = 0` at both ends and `u(x, 0) = sin(πx)`. The solution is `exp(-α π² t) sin(πx)`.
#[derive(Debug, Default)]
pub struct Pinn {
    /// Recorded at the first batch, for its number of points.
    field: OnceLock<Field>,
}

const ALPHA: f64 = 0.1;
/// Points along a side of the training grid and of the measured one.
const SIDE: usize = 12;
const MEASURED_SIDE: usize = 40;

/// The temperature: conditions are met by the form, whatever the network says.
fn temperature(network: &Mlp, points: &Tensor<2>) -> Tensor<2> {
    let x = points.clone().slice(s![.., 0..1]);
    let t = points.clone().slice(s![.., 1..2]);
    let inside = x.clone() * x.clone().neg().add_scalar(1.0);
    x.mul_scalar(PI).sin() + t * inside * network.forward(points.clone())
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

fn network(device: &Device) -> Mlp {
    MlpConfig::new(vec![2, 24, 24, 1])
        .with_activation(Activation::Tanh)
        .init(device)
}

impl Pinn {
    fn field(&self, points: &Tensor<2>) -> Result<Field, WorkloadError> {
        if let Some(field) = self.field.get() {
            return Ok(field.clone());
        }
        let model = network(&points.device());
        let field = Field::record(&model, points, temperature).map_err(WorkloadError::new)?;
        Ok(self.field.get_or_init(|| field).clone())
    }
}

impl Workload for Pinn {
    type Model = Mlp;

    fn about(&self) -> About {
        About::new(
            "pinn",
            "Heat equation, physics-informed net 2-24-24-1, tanh",
            Metric::loss("error of the solution, root mean square"),
            800,
        )
        .because("the loss holds derivatives by the inputs, which makes it ill-conditioned")
        .on("the residual at 144 points; measured against the exact solution at 1600 points")
    }

    fn model(&self, seed: u64, device: &Device) -> Result<Mlp, WorkloadError> {
        Ok(seeded(network(device), seed))
    }

    fn batch(
        &self,
        _seed: u64,
        _step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Mlp>>, WorkloadError> {
        let points = grid(SIDE, 0.02, device);
        let field = self.field(&points)?;
        Ok(Box::new(Fallible(
            move |model: &Mlp| -> Result<Tensor<1>, ObjectiveError> {
                let failed = |error| ObjectiveError::new(format!("{error}"));
                let by_time = field.partial(model, &points, 1).map_err(failed)?;
                let by_place = field.second_partial(model, &points, 0).map_err(failed)?;
                let residual = by_time - by_place.second.mul_scalar(ALPHA);
                Ok(residual.square().mean())
            },
        )))
    }

    fn measure(&self, model: &Mlp, device: &Device) -> Result<f64, WorkloadError> {
        let points = grid(MEASURED_SIDE, 0.0, device);
        let x = points.clone().slice(s![.., 0..1]);
        let t = points.clone().slice(s![.., 1..2]);
        let solution = t.mul_scalar(-ALPHA * PI * PI).exp() * x.mul_scalar(PI).sin();
        let error = temperature(model, &points) - solution;
        Ok(f64::from(error.square().mean().sqrt().into_scalar::<f32>()))
    }
}
