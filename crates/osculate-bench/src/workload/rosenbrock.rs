use burn::tensor::Device;
use osculate::prelude::Objective;
use osculate_problems::closed_form::{Rosenbrock, VectorPoint};

use super::closed_form::{gap, objective, start};
use super::{About, Metric, Workload, WorkloadError};

/// Rosenbrock's function of 100 variables.
#[derive(Debug, Clone, Copy)]
pub struct RosenbrockValley;

/// Size of the noise that a seed adds to the start.
const NOISE: f64 = 0.1;

fn problem() -> Result<Rosenbrock, WorkloadError> {
    Rosenbrock::new(100).map_err(WorkloadError::new)
}

impl Workload for RosenbrockValley {
    type Model = VectorPoint;

    fn about(&self) -> About {
        About::new(
            "rosenbrock",
            "Rosenbrock's valley, 100 variables",
            Metric::loss("loss above the minimum"),
            1000,
        )
        .because("a curved valley, where the curvature of a moment ago misleads")
        .on("Σ 100 (x_{i+1} - x_i²)² + (1 - x_i)²; every seed starts elsewhere")
    }

    fn model(&self, seed: u64, device: &Device) -> Result<VectorPoint, WorkloadError> {
        Ok(start(&problem()?, NOISE, seed, device))
    }

    fn batch(
        &self,
        _seed: u64,
        _step: usize,
        _device: &Device,
    ) -> Result<Box<dyn Objective<VectorPoint>>, WorkloadError> {
        Ok(objective(&problem()?))
    }

    fn measure(&self, point: &VectorPoint, _device: &Device) -> Result<f64, WorkloadError> {
        gap(&problem()?, point, 0.0)
    }
}
