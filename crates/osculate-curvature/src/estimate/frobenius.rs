use super::{Estimate, HutchinsonConfig};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::{ParamVec, random};
use crate::tally::Tally;

/// How the squared Frobenius norm of an operator is spread over the blocks of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockMasses {
    /// Path of each parameter.
    pub paths: Vec<String>,
    /// `‖A_ab‖_F²` for the block of rows `a` and columns `b`.
    pub masses: Vec<Vec<Estimate>>,
    /// `Σ_a≠b ‖A_ab‖_F² / ‖A‖_F²`: what a block-diagonal approximation leaves out.
    pub outside: Estimate,
    /// Number of products made.
    pub products: usize,
    /// What they cost.
    pub cost: Cost,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
}

/// The squared Frobenius norm `‖A‖_F² = Σ λ_i²`, the mean of `|A z|²` over probes.
///
/// `relative_tolerance` is not looked at: all probes that the budget covers are used.
///
/// Cost: one product for each probe.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{HutchinsonConfig, squared_frobenius_norm};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// // 1 + 16 + 81.
/// let squared = squared_frobenius_norm(&hessian, &HutchinsonConfig::default())?;
/// assert!((squared.value - 98.0).abs() < 1e-2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::NonFinite`] where a product is not finite,
/// and as the operator's products.
pub fn squared_frobenius_norm(
    operator: &dyn CurvatureOperator,
    config: &HutchinsonConfig,
) -> Result<Estimate, CurvatureError> {
    config.validate()?;
    let layout = operator.layout();
    let mut tally = Tally::new(config.budget)?;
    let mut samples = Vec::with_capacity(config.probes);
    while samples.len() < config.probes {
        let products = config.products(operator, &layout, samples.len(), &mut tally)?;
        if products.is_empty() {
            break;
        }
        for (_, product) in products {
            samples.push(checked(product.dot(&product))?);
        }
    }
    Ok(Estimate::from_samples(&samples))
}

/// The squared Frobenius norm of every block of rows and columns, and what lies outside the diagonal
/// blocks.
///
/// A probe `z_b` that is zero outside parameter `b` gives `E |(A z_b)_a|² = ‖A_ab‖_F²` for all `a`.
/// One probe of all parameters at once would mix the columns.
///
/// Cost: `probes` products for each parameter tensor. For a large model, restrict the operator
/// first.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{
///     Batched, GradientOracle, Hessian, HutchinsonConfig, block_masses,
/// };
/// # let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(1, 1).init(&device);
/// let x = Tensor::<2>::from_data([[1.0], [2.0]], &device);
/// let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
///     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// });
/// let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // [[5, 3], [3, 2]] for weight and bias
/// let found = block_masses(&hessian, &HutchinsonConfig::default())?;
/// assert!((found.outside.value - 18.0 / 47.0).abs() < 1e-3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for no probes, [`CurvatureError::NonFinite`] where a product is
/// not finite, and as the operator's products.
pub fn block_masses(
    operator: &dyn CurvatureOperator,
    config: &HutchinsonConfig,
) -> Result<BlockMasses, CurvatureError> {
    config.validate()?;
    let layout = operator.layout();
    let count = layout.len();
    let mut tally = Tally::new(config.budget)?;
    // For each probe, the masses by column and row.
    let mut samples: Vec<Vec<Vec<f64>>> = Vec::with_capacity(config.probes);
    for probe in 0..config.probes {
        if probe > 0 && !tally.affords(count) {
            break;
        }
        let seed = random::mix(config.seed, probe as u64);
        let z = config.distribution.draw(&layout, seed, 0);
        let parts: Vec<ParamVec> = (0..count)
            .map(|column| z.subset(&[column]).embed(&layout, &[column]))
            .collect();
        let products = tally.apply_all(operator, &parts)?;
        let columns = products
            .iter()
            .map(|product| {
                let blocks = product.block_dots(product);
                checked(blocks.iter().sum())?;
                Ok(blocks)
            })
            .collect::<Result<Vec<_>, CurvatureError>>()?;
        samples.push(columns);
    }
    let mass = |row: usize, column: usize| {
        let values: Vec<f64> = samples.iter().map(|sample| sample[column][row]).collect();
        Estimate::from_samples(&values)
    };
    let pairs: Vec<[f64; 2]> = samples
        .iter()
        .map(|columns| {
            let all: f64 = columns.iter().flatten().sum();
            let within: f64 = columns
                .iter()
                .enumerate()
                .map(|(b, column)| column[b])
                .sum();
            [all - within, all]
        })
        .collect();
    Ok(BlockMasses {
        paths: layout
            .entries()
            .iter()
            .map(|entry| entry.path.clone())
            .collect(),
        masses: (0..count)
            .map(|row| (0..count).map(|column| mass(row, column)).collect())
            .collect(),
        outside: Estimate::jackknife(&pairs, |[outside, all]| outside / all),
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
    })
}

fn checked(value: f64) -> Result<f64, CurvatureError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(CurvatureError::NonFinite {
            what: "the squared norm of a product",
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::dense_matrix;
    use crate::testing::m12;

    #[test]
    fn norms_of_all_blocks_are_found() {
        let operator = m12();
        let config = HutchinsonConfig {
            probes: 400,
            ..HutchinsonConfig::default()
        };
        let whole = squared_frobenius_norm(&operator, &config).unwrap();
        let apart = (whole.value - 145.5554) / whole.standard_error.unwrap();
        assert!(apart.abs() < 3.5, "{apart}");

        let rows = dense_matrix(&operator).unwrap();
        let square = |from: (usize, usize), to: (usize, usize)| -> f64 {
            (from.0..to.0)
                .flat_map(|row| (from.1..to.1).map(move |column| row * 12 + column))
                .map(|index| rows[index] * rows[index])
                .sum()
        };
        let exact = [
            [square((0, 0), (5, 5)), square((0, 5), (5, 12))],
            [square((5, 0), (12, 5)), square((5, 5), (12, 12))],
        ];
        let found = block_masses(&operator, &config).unwrap();
        for (row, exact) in found.masses.iter().zip(exact) {
            for (mass, exact) in row.iter().zip(exact) {
                let apart = (mass.value - exact) / mass.standard_error.unwrap();
                assert!(apart.abs() < 3.5, "{mass:?} for {exact}");
            }
        }
        let outside = 2.0 * exact[0][1] / 145.5554;
        let apart = (found.outside.value - outside) / found.outside.standard_error.unwrap();
        assert!(apart.abs() < 3.5, "{:?} for {outside}", found.outside);
        assert_eq!(found.products, 800);
    }
}
