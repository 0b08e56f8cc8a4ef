use super::tridiagonal::{Decomposition, decompose};
use super::{EigenPair, honest};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance, larger};
use crate::params::ParamVec;

/// Settings of [`lanczos`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LanczosConfig {
    /// How many eigenpairs to return from the upper end. Default 4.
    pub largest: usize,
    /// How many to return from the lower end: the most negative curvature. Default 0.
    pub smallest: usize,
    /// Largest number of steps, each of which costs one product and keeps one vector. Default 60.
    pub steps: usize,
    /// Residual that counts as converged, relative to the largest magnitude of the spectrum.
    /// Default 1e-3. Finite-difference products cannot honour much less in `f32`.
    pub tolerance: f64,
    /// Seed of the starting vector. Default 0.
    pub seed: u64,
}

impl Default for LanczosConfig {
    fn default() -> Self {
        Self {
            largest: 4,
            smallest: 0,
            steps: 60,
            tolerance: 1e-3,
            seed: 0,
        }
    }
}

/// Both ends of an operator's spectrum.
#[derive(Debug, Clone)]
pub struct Spectrum {
    /// Largest eigenvalues, in descending order. Fewer than asked where the Krylov space closed.
    pub largest: Vec<EigenPair>,
    /// Smallest (most negative) eigenvalues, in ascending order.
    pub smallest: Vec<EigenPair>,
    /// Number of steps taken.
    pub steps: usize,
    /// What the products cost.
    pub cost: Cost,
    /// Largest known error of a product, as an absolute error of the eigenvalues; `None` where the
    /// products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any.
    pub provenance: Provenance,
    /// Whether every pair asked for converged, as far as the space has as many, and the products
    /// are as exact as the tolerance asks: `product_error` is at most the tolerance times the largest
    /// magnitude of the spectrum.
    pub converged: bool,
}

/// Eigenpairs at the ends of the spectrum, by Lanczos' method with full reorthogonalisation.
///
/// Every new vector is orthogonalised twice against all before it, so no ghost copies of converged
/// eigenvalues appear; copies of a multiple eigenvalue beyond the first are not found either. The
/// run stops as soon as all pairs asked for have converged, or when the Krylov space is exhausted.
/// Eigenvalues are no more exact than the products: where these are off by more than the tolerance,
/// the spectrum has not converged, and a `tracing` warning says what helps.
///
/// Cost: one product a step. Memory: one vector a step.
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`] where a product is not finite,
/// [`CurvatureError::Eigensolver`], and as the operator's products.
pub fn lanczos(
    operator: &dyn CurvatureOperator,
    config: &LanczosConfig,
) -> Result<Spectrum, CurvatureError> {
    let _span = tracing::debug_span!("lanczos", steps = config.steps).entered();
    let wanted = config.largest + config.smallest;
    CurvatureError::check(
        wanted > 0,
        "largest + smallest",
        wanted,
        "at least one pair",
    )?;
    CurvatureError::check(
        config.steps >= wanted,
        "steps",
        config.steps,
        "at least as many steps as eigenpairs",
    )?;
    CurvatureError::check(
        config.tolerance.is_finite() && config.tolerance > 0.0,
        "tolerance",
        config.tolerance,
        "a positive finite number",
    )?;

    let mut krylov = Krylov::start(operator, config.seed);
    let limit = config.steps.min(krylov.dimension);
    loop {
        let closed = krylov.extend()?;
        let steps = krylov.basis.len();
        let last = closed || steps >= limit;
        // The small eigenproblem is cheap beside a product, but not free.
        if last || (steps > wanted && steps.is_multiple_of(4)) {
            let ritz = krylov.ritz(config, closed)?;
            if last || ritz.iter().all(|pair| pair.converged) {
                return krylov.into_spectrum(config, &ritz);
            }
        }
        krylov.advance();
    }
}

struct Krylov<'a> {
    operator: &'a dyn CurvatureOperator,
    dimension: usize,
    basis: Vec<ParamVec>,
    diagonal: Vec<f64>,
    off_diagonal: Vec<f64>,
    /// The next direction, not yet of unit length.
    rest: ParamVec,
    cost: Cost,
    product_error: Option<f64>,
    provenance: Provenance,
}

struct Ritz {
    value: f64,
    residual: f64,
    converged: bool,
    coefficients: Vec<f64>,
    from_above: bool,
}

impl<'a> Krylov<'a> {
    fn start(operator: &'a dyn CurvatureOperator, seed: u64) -> Self {
        let layout = operator.layout();
        Self {
            operator,
            dimension: layout.num_elements(),
            basis: Vec::new(),
            diagonal: Vec::new(),
            off_diagonal: Vec::new(),
            rest: ParamVec::gaussian(&layout, seed).to_compute_dtype(),
            cost: Cost::ZERO,
            product_error: None,
            provenance: Provenance::Exact,
        }
    }

    /// Takes one step: a product, and the part of it that is new. Returns whether nothing is new.
    fn extend(&mut self) -> Result<bool, CurvatureError> {
        if self.basis.is_empty() {
            self.rest = self.rest.scale(1.0 / self.rest.norm());
            self.basis.push(self.rest.clone());
        }
        let current = &self.basis[self.basis.len() - 1];
        let product = self.operator.apply(current)?;
        self.cost += product.cost;
        self.product_error = larger(self.product_error, product.error());
        self.provenance = self.provenance.worst(product.provenance);
        let mut rest = product.value;
        let mut alpha = 0.0;
        // The second pass removes what rounding left of the first.
        for _ in 0..2 {
            let overlaps = rest.dot_many(&self.basis);
            alpha += overlaps[overlaps.len() - 1];
            for (overlap, vector) in overlaps.iter().zip(&self.basis) {
                rest = rest.axpy(-overlap, vector);
            }
        }
        let beta = rest.norm();
        if !alpha.is_finite() || !beta.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a Lanczos coefficient",
                value: if alpha.is_finite() { beta } else { alpha },
            });
        }
        self.diagonal.push(alpha);
        self.off_diagonal.push(beta);
        self.rest = rest;
        Ok(beta <= 1e-10 * self.scale() || self.basis.len() >= self.dimension)
    }

    /// The largest magnitude of the coefficients.
    fn scale(&self) -> f64 {
        let coefficients = self.diagonal.iter().chain(&self.off_diagonal);
        coefficients.fold(0.0_f64, |max, x| max.max(x.abs()))
    }

    fn advance(&mut self) {
        let beta = self.off_diagonal[self.off_diagonal.len() - 1];
        self.basis.push(self.rest.scale(1.0 / beta));
    }

    /// The wanted Ritz pairs, upper end first.
    fn ritz(&self, config: &LanczosConfig, closed: bool) -> Result<Vec<Ritz>, CurvatureError> {
        let size = self.diagonal.len();
        let beta = if closed {
            0.0
        } else {
            self.off_diagonal[size - 1]
        };
        let Decomposition { values, vectors } =
            decompose(&self.diagonal, &self.off_diagonal[..size - 1])?;
        let largest = config.largest.min(size);
        let smallest = config.smallest.min(size - largest);
        let scale = values.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
        let pair = |index: usize, from_above: bool| {
            let coefficients: Vec<f64> = (0..size).map(|row| vectors[(row, index)]).collect();
            let residual = (beta * coefficients[size - 1]).abs();
            Ritz {
                value: values[index],
                residual,
                converged: residual <= config.tolerance * scale,
                coefficients,
                from_above,
            }
        };
        let above = (0..largest).map(|i| pair(size - 1 - i, true));
        let below = (0..smallest).map(|i| pair(i, false));
        Ok(above.chain(below).collect())
    }

    fn into_spectrum(
        self,
        config: &LanczosConfig,
        ritz: &[Ritz],
    ) -> Result<Spectrum, CurvatureError> {
        let (mut largest, mut smallest) = (Vec::new(), Vec::new());
        for pair in ritz {
            let zero = self.basis[0].scale(0.0);
            let vector = pair
                .coefficients
                .iter()
                .zip(&self.basis)
                .fold(zero, |sum, (c, q)| sum.axpy(*c, q));
            let end = if pair.from_above {
                &mut largest
            } else {
                &mut smallest
            };
            end.push(EigenPair {
                value: pair.value,
                vector,
                residual: pair.residual,
                converged: pair.converged,
            });
        }
        // The whole space has no more pairs than those found; a smaller one that is closed hides the
        // copies of multiple eigenvalues.
        let complete = self.basis.len() >= self.dimension
            || (largest.len() == config.largest && smallest.len() == config.smallest);
        let pairs = complete && ritz.iter().all(|pair| pair.converged);
        let known = honest(self.product_error, config.tolerance * self.scale());
        Ok(Spectrum {
            converged: pairs && known,
            largest,
            smallest,
            steps: self.diagonal.len(),
            cost: self.cost,
            product_error: self.product_error,
            provenance: self.provenance,
        })
    }
}
