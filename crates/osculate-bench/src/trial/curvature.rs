use burn::module::Module;
use osculate::curvature::{CurvatureError, GradientOracle, Hessian, LanczosConfig, lanczos};
use osculate::prelude::Objective;
use serde::{Deserialize, Serialize};

/// Both ends of the Hessian's spectrum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curvature {
    /// Largest eigenvalues, in descending order. The first is the sharpness.
    pub largest: Vec<f64>,
    /// The smallest eigenvalue.
    pub smallest: Option<f64>,
    /// Whether all of them converged to a hundredth of the largest.
    pub converged: bool,
    /// Whether the products were exact; `None` in older results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Estimated error of the products where they were finite differences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_error: Option<f64>,
    /// Why they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// Eigenvalues from the upper end.
const LARGEST: usize = 8;
/// Products at most.
const PRODUCTS: usize = 48;

impl Curvature {
    /// The Hessian of a loss at a model's weights. Costs up to 48 products, two to three gradients
    /// each.
    ///
    /// # Errors
    /// As [`lanczos`].
    pub fn measure<M: Module>(
        model: &M,
        objective: &dyn Objective<M>,
    ) -> Result<Self, CurvatureError> {
        let oracle = GradientOracle::new(model, objective);
        let dimension = oracle.layout()?.num_elements();
        let config = LanczosConfig {
            largest: LARGEST.min(dimension.saturating_sub(1)).max(1),
            smallest: usize::from(dimension > 1),
            steps: PRODUCTS,
            tolerance: 1e-2,
            ..LanczosConfig::default()
        };
        let found = lanczos(&Hessian::new(&oracle)?, &config)?;
        Ok(Self {
            largest: found.largest.iter().map(|pair| pair.value).collect(),
            smallest: found.smallest.first().map(|pair| pair.value),
            converged: found.converged,
            exact: Some(found.provenance.is_exact()),
            product_error: found.product_error.filter(|error| error.is_finite()),
            fallback: found.provenance.reason().map(|why| why.to_string()),
        })
    }
}
