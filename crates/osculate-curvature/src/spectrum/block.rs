use faer::{Mat, Side};

use super::lanczos::wanted;
use super::{EigenPair, Spectrum};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::{Basis, ParamVec};
use crate::tally::{Budget, Tally};

/// Settings of [`block_lanczos`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockLanczosConfig {
    /// Vectors of a block, whose products are made side by side where the operator can. Default
    /// `None`: as many as the operator likes at once, at least 2.
    pub block: Option<usize>,
    /// How many eigenpairs to return from the upper end. Default 4.
    pub largest: usize,
    /// How many to return from the lower end. Default 0.
    pub smallest: usize,
    /// Largest number of products, each of which keeps one vector. Default 120.
    pub products: usize,
    /// Residual that counts as converged, relative to the largest magnitude of the spectrum.
    /// Default 1e-3.
    pub tolerance: f64,
    /// Seed of the starting block. Default 0.
    pub seed: u64,
    /// What may be spent. Default: no limit.
    pub budget: Budget,
}

impl Default for BlockLanczosConfig {
    fn default() -> Self {
        Self {
            block: None,
            largest: 4,
            smallest: 0,
            products: 120,
            tolerance: 1e-3,
            seed: 0,
            budget: Budget::default(),
        }
    }
}

/// Eigenpairs at the ends of the spectrum, by Lanczos' method on blocks of vectors.
///
/// A block finds as many copies of a multiple eigenvalue as it has vectors, where
/// [`lanczos`](super::lanczos) finds one, and makes its products side by side on a CPU of several
/// cores. It needs more products in all for well separated eigenvalues. Every vector is
/// orthogonalised twice against all before it; directions that a block loses are dropped.
///
/// Cost: one product, and one vector of memory, for each vector of a block.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{BlockLanczosConfig, block_lanczos};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let spectrum = block_lanczos(&hessian, &BlockLanczosConfig::default())?;
/// let values: Vec<f64> = spectrum.largest.iter().map(|pair| pair.value.round()).collect();
/// assert_eq!(values, [9.0, 4.0, 1.0]);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`] where a product is not finite,
/// [`CurvatureError::Eigensolver`], [`CurvatureError::BudgetTooSmall`], and as the operator's
/// products.
pub fn block_lanczos(
    operator: &dyn CurvatureOperator,
    config: &BlockLanczosConfig,
) -> Result<Spectrum, CurvatureError> {
    let _span = tracing::debug_span!("block_lanczos", products = config.products).entered();
    let pairs = config.largest + config.smallest;
    CurvatureError::check(pairs > 0, "largest + smallest", pairs, "at least one pair")?;
    CurvatureError::check(
        config.products >= pairs,
        "products",
        config.products,
        "at least as many products as eigenpairs",
    )?;
    CurvatureError::check(
        config.tolerance.is_finite() && config.tolerance > 0.0,
        "tolerance",
        config.tolerance,
        "a positive finite number",
    )?;
    let layout = operator.layout();
    let block = config.block.unwrap_or_else(|| operator.width().max(2));
    CurvatureError::check(block > 0, "block", block, "at least one vector")?;

    CurvatureError::check(
        layout.num_elements() > 0,
        "elements of the space",
        0,
        "at least one",
    )?;
    let mut tally = Tally::new(config.budget)?;
    let mut space = Space::default();
    let starts: Vec<ParamVec> = (0..block.min(layout.num_elements()))
        .map(|index| {
            let seed = crate::params::random::mix(config.seed, index as u64);
            ParamVec::gaussian(&layout, seed).to_compute_dtype()
        })
        .collect();
    space.grow(&starts, 1e-10);
    loop {
        let fresh = space.fresh().to_vec();
        let products = tally.apply_all(operator, &fresh)?;
        space.absorb(&products)?;
        let next = space.next_len();
        let last = next == 0 || tally.products + next > config.products || !tally.affords(next);
        if last || tally.products > pairs {
            let ritz = space.ritz(config)?;
            if last || ritz.iter().all(|pair| pair.converged) {
                return Ok(space.into_spectrum(config, ritz, &tally));
            }
        }
    }
}

/// The span of the blocks so far, with the projected operator.
#[derive(Default)]
struct Space {
    basis: Basis,
    /// Products are known for this many vectors of the basis.
    known: usize,
    /// For each known vector `q_j`, the coefficients of `A q_j` along the basis, those of the block
    /// after it included.
    columns: Vec<Vec<f64>>,
}

struct Ritz {
    value: f64,
    residual: f64,
    converged: bool,
    coefficients: Vec<f64>,
    from_above: bool,
}

impl Space {
    /// Adds the directions of `vectors` that are new, and gives each vector's coefficients.
    fn grow(&mut self, vectors: &[ParamVec], floor: f64) -> Vec<Vec<f64>> {
        let mut all = Vec::with_capacity(vectors.len());
        for vector in vectors {
            let (mut coefficients, rest) = self.basis.split(vector);
            let norm = rest.norm();
            if norm > floor && self.basis.len() < vector.layout().num_elements() {
                self.basis.push(rest.scale(1.0 / norm));
                coefficients.push(norm);
            }
            all.push(coefficients);
        }
        all
    }

    /// The vectors whose products are not known.
    fn fresh(&self) -> &[ParamVec] {
        &self.basis.vectors()[self.known..]
    }

    fn next_len(&self) -> usize {
        self.basis.len() - self.known
    }

    fn absorb(&mut self, products: &[ParamVec]) -> Result<(), CurvatureError> {
        let norms: Vec<f64> = products.iter().map(ParamVec::norm).collect();
        if let Some(&value) = norms.iter().find(|norm| !norm.is_finite()) {
            return Err(CurvatureError::NonFinite {
                what: "the norm of a product",
                value,
            });
        }
        let scale = norms.into_iter().fold(0.0, f64::max);
        self.known += products.len();
        let columns = self.grow(products, 1e-10 * scale);
        self.columns.extend(columns);
        Ok(())
    }

    fn ritz(&self, config: &BlockLanczosConfig) -> Result<Vec<Ritz>, CurvatureError> {
        let size = self.known;
        let element =
            |row: usize, column: usize| self.columns[column].get(row).copied().unwrap_or(0.0);
        // Rounding and finite differences leave the two triangles a little apart.
        let projected = Mat::from_fn(size, size, |row, column| {
            0.5 * (element(row, column) + element(column, row))
        });
        let eigen = projected
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| CurvatureError::Eigensolver { size })?;
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        let scale = values.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
        let pair = |index: usize, from_above: bool| {
            let coefficients: Vec<f64> = (0..size).map(|row| eigen.U()[(row, index)]).collect();
            // What a product has outside the space, in the vectors that come next.
            let outside = (size..self.basis.len()).map(|row| {
                let part = |(column, c): (usize, &f64)| c * element(row, column);
                coefficients.iter().enumerate().map(part).sum::<f64>()
            });
            let residual = outside.map(|x| x * x).sum::<f64>().sqrt();
            Ritz {
                value: values[index],
                residual,
                converged: residual <= config.tolerance * scale,
                coefficients,
                from_above,
            }
        };
        let largest = config.largest.min(size);
        let smallest = config.smallest.min(size - largest);
        let above = (0..largest).map(|i| pair(size - 1 - i, true));
        let below = (0..smallest).map(|i| pair(i, false));
        Ok(above.chain(below).collect())
    }

    fn into_spectrum(
        self,
        config: &BlockLanczosConfig,
        ritz: Vec<Ritz>,
        tally: &Tally,
    ) -> Spectrum {
        let zero = self.basis.vectors()[0].scale(0.0);
        let all = ritz.iter().all(|pair| pair.converged);
        let (mut largest, mut smallest) = (Vec::new(), Vec::new());
        for pair in ritz {
            let end = if pair.from_above {
                &mut largest
            } else {
                &mut smallest
            };
            end.push(EigenPair {
                value: pair.value,
                vector: self.basis.add(zero.clone(), &pair.coefficients),
                residual: pair.residual,
                converged: pair.converged,
            });
        }
        let dimension = zero.layout().num_elements();
        let counts = wanted(dimension, config.largest, config.smallest);
        let complete = (largest.len(), smallest.len()) == counts;
        Spectrum {
            converged: complete && all,
            largest,
            smallest,
            steps: tally.products,
            cost: tally.cost,
            product_error: tally.product_error,
            provenance: tally.provenance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Structure;
    use crate::testing::{m12, mixed};

    fn check(operator: &dyn CurvatureOperator, pairs: &[EigenPair], expected: &[f64]) {
        assert_eq!(pairs.len(), expected.len());
        for (pair, value) in pairs.iter().zip(expected) {
            assert!((pair.value - value).abs() < 1e-6, "{} {value}", pair.value);
            assert!((pair.vector.norm() - 1.0).abs() < 1e-10);
            let product = operator.apply(&pair.vector).unwrap().value;
            let residual = product.axpy(-pair.value, &pair.vector).norm();
            assert!(
                (residual - pair.residual).abs() < 1e-8,
                "{residual} {}",
                pair.residual
            );
        }
    }

    #[test]
    fn both_ends_are_found() {
        let operator = m12();
        let config = BlockLanczosConfig {
            block: Some(3),
            largest: 3,
            smallest: 2,
            tolerance: 1e-9,
            ..BlockLanczosConfig::default()
        };
        let found = block_lanczos(&operator, &config).unwrap();
        assert!(found.converged);
        check(&operator, &found.largest, &[10.0, 6.0, 3.0]);
        check(&operator, &found.smallest, &[-0.4, -0.05]);
    }

    #[test]
    fn copies_of_an_eigenvalue_are_found() {
        let mut eigenvalues = vec![7.0, 7.0, 7.0];
        eigenvalues.extend((0..27).map(|i| f64::from(i) * 0.1));
        let operator = mixed(&eigenvalues, &[30], Structure::PositiveSemidefinite);
        let config = BlockLanczosConfig {
            block: Some(3),
            largest: 4,
            tolerance: 1e-8,
            ..BlockLanczosConfig::default()
        };
        let found = block_lanczos(&operator, &config).unwrap();
        check(&operator, &found.largest, &[7.0, 7.0, 7.0, 2.6]);
    }

    #[test]
    fn a_block_wider_than_the_space_is_cut() {
        let operator = mixed(&[3.0, 1.0, -2.0], &[3], Structure::Symmetric);
        let config = BlockLanczosConfig {
            block: Some(8),
            largest: 3,
            ..BlockLanczosConfig::default()
        };
        let found = block_lanczos(&operator, &config).unwrap();
        assert_eq!(found.steps, 3);
        check(&operator, &found.largest, &[3.0, 1.0, -2.0]);
    }

    #[test]
    fn a_budget_ends_it_early() {
        let config = BlockLanczosConfig {
            block: Some(2),
            tolerance: 1e-12,
            budget: Budget::products(6),
            ..BlockLanczosConfig::default()
        };
        let found = block_lanczos(&m12(), &config).unwrap();
        assert_eq!(found.steps, 6);
        assert!(!found.converged);
    }
}
