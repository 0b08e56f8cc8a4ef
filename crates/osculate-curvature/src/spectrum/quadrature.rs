//! Gauss quadratures of the spectral measure seen by random probes.

use std::sync::Arc;

use super::krylov::Krylov;
use super::tridiagonal::Decomposition;
use crate::error::CurvatureError;
use crate::estimate::ProbeDistribution;
use crate::operator::CurvatureOperator;
use crate::params::{Basis, ParamLayout, ParamVec};
use crate::tally::Tally;

/// What one probe `z` sees of the spectrum: nodes and weights with
/// `zᵀ f(A) z = mass · Σ_j weights_j f(nodes_j)` for every polynomial `f` of degree below twice the
/// number of nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Quadrature {
    /// Ritz values, in ascending order.
    pub nodes: Vec<f64>,
    /// Weights, which are positive and sum to 1.
    pub weights: Vec<f64>,
    /// How many eigenvalues the probe stands for: the dimension, less what was deflated.
    pub mass: f64,
    /// Whether the Krylov space closed: the rule is then exact for every function and this probe.
    pub exact: bool,
}

impl Quadrature {
    pub(super) fn new(krylov: &Krylov, mass: f64) -> Result<Self, CurvatureError> {
        let Decomposition { values, vectors } = krylov.decompose()?;
        let weights = (0..values.len()).map(|j| vectors[(0, j)] * vectors[(0, j)]);
        Ok(Self {
            weights: weights.collect(),
            nodes: values,
            mass,
            exact: krylov.closed(),
        })
    }

    /// `mass · Σ_j weights_j f(nodes_j)`.
    pub fn integrate(&self, f: impl Fn(f64) -> f64) -> f64 {
        let terms = self.nodes.iter().zip(&self.weights);
        self.mass * terms.map(|(node, weight)| weight * f(*node)).sum::<f64>()
    }
}

/// Where probes come from.
pub(super) struct Probes {
    pub(super) layout: Arc<ParamLayout>,
    pub(super) distribution: ProbeDistribution,
    pub(super) seed: u64,
}

impl Probes {
    fn draw(&self, index: usize) -> ParamVec {
        let probe = self
            .distribution
            .draw(&self.layout, self.seed, index as u64);
        probe.to_compute_dtype()
    }

    /// How many eigenvalues a probe outside `deflated` stands for.
    fn mass(&self, probe: &ParamVec, deflated: &Basis) -> f64 {
        let free = (self.layout.num_elements() - deflated.len()) as f64;
        match self.distribution {
            // The direction of a normal probe does not depend on its length, whose mean is known.
            ProbeDistribution::Gaussian => free,
            ProbeDistribution::Rademacher if deflated.len() == 0 => free,
            ProbeDistribution::Rademacher => {
                let (_, rest) = deflated.split(probe);
                rest.dot(&rest)
            }
        }
    }
}

/// Runs Lanczos' method on several probes, as many side by side as the operator likes. Probes whose
/// steps the budget does not cover are left out, but for the first.
pub(super) fn quadratures(
    operator: &dyn CurvatureOperator,
    probes: &Probes,
    count: usize,
    steps: usize,
    deflated: &Basis,
    tally: &mut Tally,
) -> Result<Vec<Quadrature>, CurvatureError> {
    let mut made = Vec::with_capacity(count);
    while made.len() < count {
        let abreast = operator.width().clamp(1, count - made.len());
        if !made.is_empty() && !tally.affords(abreast * steps) {
            break;
        }
        let vectors: Vec<ParamVec> = (made.len()..made.len() + abreast)
            .map(|index| probes.draw(index))
            .collect();
        let masses: Vec<f64> = vectors.iter().map(|z| probes.mass(z, deflated)).collect();
        let runs = run_abreast(operator, &vectors, steps, deflated, tally)?;
        for (run, mass) in runs.iter().zip(masses) {
            made.push(Quadrature::new(run, mass)?);
        }
    }
    Ok(made)
}

/// Lanczos' method from several vectors in lockstep.
pub(super) fn run_abreast(
    operator: &dyn CurvatureOperator,
    starts: &[ParamVec],
    steps: usize,
    deflated: &Basis,
    tally: &mut Tally,
) -> Result<Vec<Krylov>, CurvatureError> {
    let mut runs = starts
        .iter()
        .map(|start| Krylov::start(start, deflated.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    for _ in 0..steps {
        let mut open: Vec<&mut Krylov> = runs.iter_mut().filter(|run| !run.closed()).collect();
        if open.is_empty() || !tally.affords(open.len()) {
            break;
        }
        let vectors: Vec<ParamVec> = open.iter().map(|run| run.current().clone()).collect();
        let products = tally.apply_all(operator, &vectors)?;
        for (run, product) in open.iter_mut().zip(products) {
            run.absorb(product)?;
        }
    }
    Ok(runs)
}

/// A basis of the Krylov space of `start`, and the trace of the operator within it.
pub(crate) fn krylov_basis(
    operator: &dyn CurvatureOperator,
    start: &ParamVec,
    steps: usize,
    tally: &mut Tally,
) -> Result<(Basis, f64), CurvatureError> {
    let mut krylov = Krylov::start(start, Basis::default())?;
    while krylov.steps() < steps && !krylov.closed() && (krylov.steps() == 0 || tally.affords(1)) {
        let product = tally.apply(operator, krylov.current())?;
        krylov.absorb(product)?;
    }
    Ok(krylov.into_basis())
}
