use super::sketch::{finite, probed, rank_tolerance, unit_trace};
use super::{Estimate, ProbeDistribution, SketchConfig, SketchedTrace};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::{ParamVec, random, thin_qr};
use crate::tally::Tally;

/// The trace by Hutch++: exact on the span that a third of the products finds, sampled outside it.
///
/// With `Q` an orthonormal basis of `A S` for a third of the products, the estimate is
/// `tr(Qᵀ A Q) + mean_z zᵀ (I - Q Qᵀ) A (I - Q Qᵀ) z`. It is unbiased given `Q`, and its standard
/// error is that of the second term. Where a few eigenvalues carry the trace its error falls as
/// `1 / products`; on flat spectra it is worse than
/// [`hutchinson_trace`](super::hutchinson_trace), which spends nothing on `Q`.
///
/// Where `products` reaches the dimension, all unit vectors are multiplied instead and the result
/// is exact.
///
/// Cost: `products` products. Memory: `2 / 3 products` vectors.
///
/// Paper: Meyer, Musco, Musco, Woodruff, <https://arxiv.org/abs/2010.09649>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{SketchConfig, hutch_pp};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// // With as many products as dimensions the trace is exact.
/// let trace = hutch_pp(&hessian, &SketchConfig::default())?;
/// assert!(trace.exact && (trace.estimate.value - 14.0).abs() < 1e-3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for fewer than 6 products, [`CurvatureError::BudgetTooSmall`],
/// [`CurvatureError::NonFinite`] where a product is not finite, and as the operator's products.
pub fn hutch_pp(
    operator: &dyn CurvatureOperator,
    config: &SketchConfig,
) -> Result<SketchedTrace, CurvatureError> {
    let _span = tracing::debug_span!("hutch_pp", products = config.products).entered();
    let tally = config.tally(6)?;
    let layout = operator.layout();
    if config.products >= layout.num_elements() {
        return unit_trace(operator, tally);
    }
    let third = config.products / 3;
    let draw = |stream: u64| {
        let layout = layout.clone();
        let seed = random::mix(config.seed, stream);
        move |index: usize| ProbeDistribution::Rademacher.draw(&layout, seed, index as u64)
    };
    from_probes(
        operator,
        third,
        config.products - 2 * third,
        draw(1),
        draw(2),
        tally,
    )
}

/// Hutch++ with the given probes for the span and for what lies outside it.
fn from_probes(
    operator: &dyn CurvatureOperator,
    sketch: usize,
    rest: usize,
    draw_sketch: impl Fn(usize) -> ParamVec,
    draw_rest: impl Fn(usize) -> ParamVec,
    mut tally: Tally,
) -> Result<SketchedTrace, CurvatureError> {
    let (_, images) = probed(operator, sketch, 2, draw_sketch, &mut tally)?;
    let complete = images.len() == sketch;
    let rest = if complete { rest } else { images.len() };
    let basis = thin_qr(&images, rank_tolerance(&images))?.basis;
    drop(images);
    let mut trace = 0.0;
    for (q, aq) in basis
        .vectors()
        .iter()
        .zip(tally.apply_all(operator, basis.vectors())?)
    {
        trace += q.dot(&aq);
    }
    let outside = |index: usize| basis.split(&draw_rest(index).to_compute_dtype()).1;
    let (probes, products) = probed(operator, rest, 0, outside, &mut tally)?;
    let samples = probes
        .iter()
        .zip(&products)
        .map(|(z, az)| finite(z.dot(az)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SketchedTrace {
        estimate: Estimate::from_samples(&samples).affine(1.0, finite(trace)?),
        rank: basis.len(),
        exact: false,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
        converged: complete && samples.len() == rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Structure;
    use crate::tally::Budget;
    use crate::testing::{m12, mixed, signs};

    #[test]
    fn it_is_the_oracles() {
        let operator = m12();
        let layout = operator.layout();
        let (s, z) = (signs(&layout, 1, 4), signs(&layout, 5, 4));
        let found = from_probes(
            &operator,
            4,
            4,
            |index| s[index].clone(),
            |index| z[index].clone(),
            Tally::unlimited(),
        )
        .unwrap();
        assert!((found.estimate.value - 20.09580388690142).abs() < 1e-10);
        let error = found.estimate.standard_error.unwrap();
        assert!((error - 0.34014565746372255).abs() < 1e-10);
        assert_eq!((found.products, found.rank), (12, 4));
    }

    #[test]
    fn a_matrix_of_low_rank_is_exact() {
        let mut eigenvalues = vec![0.0; 40];
        eigenvalues[..3].copy_from_slice(&[5.0, 2.0, -1.0]);
        let operator = mixed(&eigenvalues, &[40], Structure::Symmetric);
        let config = SketchConfig {
            products: 18,
            ..SketchConfig::default()
        };
        let found = hutch_pp(&operator, &config).unwrap();
        assert_eq!(found.rank, 3);
        assert!((found.estimate.value - 6.0).abs() < 1e-9);
    }

    #[test]
    fn small_problems_are_solved_exactly_and_budgets_are_kept() {
        let config = SketchConfig {
            products: 12,
            ..SketchConfig::default()
        };
        let found = hutch_pp(&m12(), &config).unwrap();
        assert!(found.exact && (found.estimate.value - 19.72).abs() < 1e-10);
        let eigenvalues: Vec<f64> = (1..=30).map(|i| 1.0 / f64::from(i)).collect();
        let operator = mixed(&eigenvalues, &[30], Structure::PositiveSemidefinite);
        let short = SketchConfig {
            budget: Budget::products(14),
            ..SketchConfig::default()
        };
        let error = hutch_pp(
            &operator,
            &SketchConfig {
                products: 5,
                ..short
            },
        );
        assert!(error.is_err());
        let found = hutch_pp(
            &operator,
            &SketchConfig {
                products: 24,
                ..short
            },
        )
        .unwrap();
        assert!(found.products <= 14 && !found.converged, "{found:?}");
    }
}
