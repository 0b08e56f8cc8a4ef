use burn::tensor::Device;
use osculate::prelude::Objective;
use osculate_problems::closed_form::{FactorPoint, MatrixFactorisation};

use super::closed_form::{gap, objective, start};
use super::{About, Metric, Workload, WorkloadError};

/// A matrix as the product of two thin ones.
#[derive(Debug, Clone, Copy)]
pub struct Factorisation;

/// Size of the noise that a seed adds to the start.
const NOISE: f64 = 0.1;

fn problem() -> Result<MatrixFactorisation, WorkloadError> {
    MatrixFactorisation::new(20, 15, 3, 0).map_err(WorkloadError::new)
}

impl Workload for Factorisation {
    type Model = FactorPoint;

    fn about(&self) -> About {
        About::new(
            "factorisation",
            "Matrix factorisation, 20 x 15 of rank 3",
            Metric::loss("loss above the minimum"),
            600,
        )
        .because("saddle points and an indefinite Hessian, on parameters that are matrices")
        .on("½ |U Vᵀ - A|² for a random A of rank 3; every seed starts elsewhere")
    }

    fn model(&self, seed: u64, device: &Device) -> Result<FactorPoint, WorkloadError> {
        Ok(start(&problem()?, NOISE, seed, device))
    }

    fn batch(
        &self,
        _seed: u64,
        _step: usize,
        _device: &Device,
    ) -> Result<Box<dyn Objective<FactorPoint>>, WorkloadError> {
        Ok(objective(&problem()?))
    }

    fn measure(&self, point: &FactorPoint, _device: &Device) -> Result<f64, WorkloadError> {
        gap(&problem()?, point, 0.0)
    }
}
