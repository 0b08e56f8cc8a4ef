use burn::tensor::Device;
use osculate::prelude::Objective;
use osculate_problems::closed_form::{RotatedQuadratic, VectorPoint};

use super::closed_form::{gap, objective, start};
use super::{About, Metric, Workload, WorkloadError};

/// A quadratic whose axes are turned, with eigenvalues over six decades.
#[derive(Debug, Clone, Copy)]
pub struct Quadratic;

/// Size of the noise that a seed adds to the start.
const NOISE: f64 = 1.0;

fn problem() -> Result<RotatedQuadratic, WorkloadError> {
    RotatedQuadratic::new(20, 1e6, 0).map_err(WorkloadError::new)
}

impl Workload for Quadratic {
    type Model = VectorPoint;

    fn about(&self) -> About {
        About::new(
            "quadratic",
            "Rotated quadratic, 20 variables, condition 1e6",
            Metric::loss("loss above the minimum"),
            1000,
        )
        .because("exact arithmetic and no noise: which methods see directions of very different curvature that are not the axes")
        .on("½ (x - x*)ᵀ H (x - x*) with eigenvalues from 1 to 1e-6 along random directions; every seed starts elsewhere")
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
