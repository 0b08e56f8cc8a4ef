use super::krylov::Krylov;
use super::tridiagonal::Decomposition;
use super::{EigenPair, honest};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::{Basis, ParamVec};
use crate::tally::Tally;

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
    /// largest errors of any, and why.
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
///
/// Cost: one product a step; residuals come out of the recurrence, at no product of their own. Memory:
/// one vector a step. The four largest pairs of a Gauss-Newton matrix take 15 and 16 products on two
/// perceptrons, 12 on a convolutional network and 22 on a transformer, whose fourth and fifth eigenvalue
/// are 3 % apart; those of the Hessian 25, 27, 19 and 42 (`cargo run --release -p spectra`). Starts from the
/// gradient or from random outputs pulled back do not change that by more than one or two. Blocks take more,
/// and so do restarts, which only save memory.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{LanczosConfig, lanczos};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let spectrum = lanczos(&hessian, &LanczosConfig { largest: 2, ..LanczosConfig::default() })?;
/// assert!((spectrum.largest[0].value - 9.0).abs() < 1e-3);
/// assert!(spectrum.converged && spectrum.provenance.is_exact());
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
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

    let start = ParamVec::gaussian(&operator.layout(), config.seed).to_compute_dtype();
    let mut krylov = Krylov::start(&start, Basis::default())?;
    let mut tally = Tally::unlimited();
    loop {
        let product = tally.apply(operator, krylov.current())?;
        krylov.absorb(product)?;
        let last = krylov.closed() || krylov.steps() >= config.steps;
        // The small eigenproblem costs little beside a product.
        if last || krylov.steps() > wanted {
            let (ritz, scale) = ritz_pairs(&krylov, config)?;
            if last || ritz.iter().all(|pair| pair.converged) {
                return Ok(into_spectrum(&krylov, config, (&ritz, scale), &tally));
            }
        }
    }
}

struct Ritz {
    value: f64,
    residual: f64,
    converged: bool,
    coefficients: Vec<f64>,
    from_above: bool,
}

/// The wanted Ritz pairs, upper end first, and the largest magnitude of all.
fn ritz_pairs(krylov: &Krylov, config: &LanczosConfig) -> Result<(Vec<Ritz>, f64), CurvatureError> {
    let size = krylov.steps();
    let Decomposition { values, vectors } = krylov.decompose()?;
    let largest = config.largest.min(size);
    let smallest = config.smallest.min(size - largest);
    let scale = values.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    let pair = |index: usize, from_above: bool| {
        let coefficients: Vec<f64> = (0..size).map(|row| vectors[(row, index)]).collect();
        let residual = (krylov.remainder() * coefficients[size - 1]).abs();
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
    Ok((above.chain(below).collect(), scale))
}

fn into_spectrum(
    krylov: &Krylov,
    config: &LanczosConfig,
    (ritz, scale): (&[Ritz], f64),
    tally: &Tally,
) -> Spectrum {
    let (mut largest, mut smallest) = (Vec::new(), Vec::new());
    for pair in ritz {
        let end = if pair.from_above {
            &mut largest
        } else {
            &mut smallest
        };
        end.push(EigenPair {
            value: pair.value,
            vector: krylov.combine(&pair.coefficients),
            residual: pair.residual,
            converged: pair.converged,
        });
    }
    // The whole space has no more pairs than those found; a smaller one that is closed hides the copies of
    // multiple eigenvalues.
    let complete = complete(krylov.dimension(), config, &largest, &smallest);
    let pairs = complete && ritz.iter().all(|pair| pair.converged);
    let known = honest(tally.product_error, config.tolerance * scale);
    Spectrum {
        converged: pairs && known,
        largest,
        smallest,
        steps: krylov.steps(),
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
    }
}

/// Whether as many pairs were found as were asked for, or as there are.
fn complete(
    dimension: usize,
    config: &LanczosConfig,
    largest: &[EigenPair],
    smallest: &[EigenPair],
) -> bool {
    let (above, below) = wanted(dimension, config.largest, config.smallest);
    largest.len() == above && smallest.len() == below
}

/// How many of the pairs asked for a space of this dimension can have at either end.
pub(super) fn wanted(dimension: usize, largest: usize, smallest: usize) -> (usize, usize) {
    let above = largest.min(dimension);
    (above, smallest.min(dimension - above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Structure;
    use crate::testing::mixed;

    #[test]
    fn a_space_smaller_than_what_is_asked_for_converges() {
        for n in [1, 2, 3, 5] {
            let eigenvalues: Vec<f64> = (1..=n).map(|i| f64::from(i) - 2.0).collect();
            let operator = mixed(&eigenvalues, &[n as usize], Structure::Symmetric);
            let found = lanczos(&operator, &LanczosConfig::default()).unwrap();
            assert!(found.converged, "{n}: {found:?}");
            assert_eq!(found.largest.len(), 4.min(n as usize));
            let both = LanczosConfig {
                smallest: 3,
                ..LanczosConfig::default()
            };
            assert!(lanczos(&operator, &both).unwrap().converged);
        }
    }

    #[test]
    fn pairs_match_the_matrix() {
        let eigenvalues: Vec<f64> = (0..30).map(|i| 9.0 / (1.0 + f64::from(i)) - 1.5).collect();
        let operator = mixed(&eigenvalues, &[13, 17], Structure::Symmetric);
        let config = LanczosConfig {
            largest: 3,
            smallest: 2,
            tolerance: 1e-8,
            ..LanczosConfig::default()
        };
        let found = lanczos(&operator, &config).unwrap();
        let ends = eigenvalues
            .iter()
            .take(3)
            .chain(eigenvalues.iter().rev().take(2));
        for (pair, value) in found.largest.iter().chain(&found.smallest).zip(ends) {
            assert!((pair.value - value).abs() < 1e-7, "{} {value}", pair.value);
            let product = operator.apply(&pair.vector).unwrap().value;
            let residual = product.axpy(-pair.value, &pair.vector).norm();
            assert!((residual - pair.residual).abs() < 1e-9);
        }
    }
}
