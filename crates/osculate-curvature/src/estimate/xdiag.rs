use super::diagonal::{DiagonalEstimate, Moments};
use super::sketch::unit_diagonal;
use super::xtrace::{Sketch, remove};
use super::{ProbeDistribution, SketchConfig};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::ParamVec;
use crate::tally::Tally;

/// The diagonal by XDiag: exact on a low-rank span, sampled outside it, with every probe used for
/// both as in [`xtrace`](super::xtrace).
///
/// The mean over `i` of `diag(Q_i Q_iᵀ A) + w_i ⊙ (I - Q_i Q_iᵀ) A w_i`, for random signs `w_i`.
/// Where outliers carry the operator it has several times less error than
/// [`hutchinson_diagonal`](super::hutchinson_diagonal) at the same cost; on flat spectra it has
/// more. It uses that `A` is symmetric: finite differences across kinks are not.
///
/// Where `products` reaches the dimension, all unit vectors are multiplied instead, and the
/// standard errors are zero.
///
/// Cost: `products` products. Memory: `3 / 2 products` vectors.
///
/// Paper: Epperly, Tropp, Webber, <https://arxiv.org/abs/2301.07825>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{SketchConfig, xdiag};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let diagonal = xdiag(&hessian, &SketchConfig::default())?;
/// assert!((diagonal.value.to_values()[2] - 9.0).abs() < 1e-2);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for fewer than 4 products, [`CurvatureError::BudgetTooSmall`],
/// [`CurvatureError::NonFinite`] where a product is not finite, and as the operator's products.
pub fn xdiag(
    operator: &dyn CurvatureOperator,
    config: &SketchConfig,
) -> Result<DiagonalEstimate, CurvatureError> {
    let _span = tracing::debug_span!("xdiag", products = config.products).entered();
    let mut tally = config.tally(4)?;
    let layout = operator.layout();
    if config.products >= layout.num_elements() {
        let value = unit_diagonal(operator, &mut tally)?;
        let mut moments = Moments::default();
        moments.add(value.clone());
        let exact = moments.finish(tally.cost, tally.product_error, true)?;
        return Ok(DiagonalEstimate {
            standard_error: Some(value.scale(0.0)),
            provenance: tally.provenance,
            ..exact
        });
    }
    let draw =
        |index: usize| ProbeDistribution::Rademacher.draw(&layout, config.seed, index as u64);
    from_probes(operator, config.products / 2, draw, tally)
}

fn from_probes(
    operator: &dyn CurvatureOperator,
    count: usize,
    draw: impl Fn(usize) -> ParamVec,
    mut tally: Tally,
) -> Result<DiagonalEstimate, CurvatureError> {
    let sketch = Sketch::new(operator, count, draw, &mut tally)?;
    let rank = sketch.qr.basis.len();
    let zero = sketch.probes[0].scale(0.0);
    // diag(Q Qᵀ A), the rows of Qᵀ A being the columns of A Q.
    let vectors = sketch.qr.basis.vectors().iter().zip(&sketch.images);
    let whole = vectors.fold(zero.clone(), |sum, (q, aq)| sum.add(&q.hadamard(aq)));
    let mut moments = Moments::default();
    for (index, w) in sketch.probes.iter().enumerate() {
        let s: Vec<f64> = (0..rank).map(|row| sketch.left_out[(row, index)]).collect();
        let along = sketch.qr.basis.add(zero.clone(), &s);
        let low = whole.sub(&along.hadamard(&sketch.image_of(&s, zero.clone())));
        // (I - Q_i Q_iᵀ) A w_i, with Qᵀ A w_i a column of R.
        let mut inside: Vec<f64> = (0..rank).map(|row| sketch.qr.r[(row, index)]).collect();
        remove(&s, &mut inside);
        let minus: Vec<f64> = inside.iter().map(|x| -x).collect();
        let rest = sketch.qr.basis.add(sketch.products[index].clone(), &minus);
        moments.add(low.add(&w.hadamard(&rest)));
    }
    let complete = sketch.probes.len() == count;
    let found = moments.finish(tally.cost, tally.product_error, complete)?;
    Ok(DiagonalEstimate {
        provenance: tally.provenance,
        ..found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{Estimate, HutchinsonConfig, hutchinson_diagonal};
    use crate::operator::{Structure, dense_diagonal};
    use crate::testing::{assert_close, m12, mixed, signs};

    #[test]
    fn it_is_the_oracles() {
        let operator = m12();
        let probes = signs(&operator.layout(), 1, 6);
        let draw = |index: usize| probes[index].clone();
        let found = from_probes(&operator, 6, draw, Tally::unlimited()).unwrap();
        let expected = [
            9.68192924124927,
            5.749053139267641,
            2.5815189114443746,
            0.1542848078168418,
            0.3090400709769967,
            0.23121600970922085,
            0.13026196604169102,
            0.01932989294649055,
            0.2805304543300792,
            -0.016690234076815764,
            0.42527781626394723,
            0.16068095572079846,
        ];
        assert_close(&found.value.to_values(), &expected, 1e-10);
        let error = found.standard_error.unwrap().to_values();
        assert!((error[5] - 0.15176900237402793).abs() < 1e-10);
    }

    #[test]
    fn the_sum_of_squares_is_the_oracles() {
        let operator = m12();
        let mut moments = Moments::default();
        for z in signs(&operator.layout(), 1, 12) {
            moments.add(z.hadamard(&operator.apply(&z).unwrap().value));
        }
        let found = moments.finish(crate::Cost::ZERO, None, true).unwrap();
        let squares = found.sum_of_squares().unwrap();
        assert!((squares - 129.34789014655905).abs() < 1e-9, "{squares}");
        assert!((found.value.dot(&found.value) - 130.02336294452604).abs() < 1e-9);
    }

    #[test]
    fn elements_are_unbiased_and_their_intervals_cover() {
        let eigenvalues: Vec<f64> = (1..=40)
            .map(|i| if i % 4 == 0 { -1.0 } else { 4.0 } / f64::from(i * i))
            .collect();
        let operator = mixed(&eigenvalues, &[12, 28], Structure::Symmetric);
        let truth = dense_diagonal(&operator).unwrap().to_values();
        let (mut covered, mut columns) = (0, vec![Vec::new(); 40]);
        let (mut cross, mut plain) = (0.0, 0.0);
        for seed in 0..400 {
            let config = SketchConfig {
                products: 16,
                seed,
                ..SketchConfig::default()
            };
            let found = xdiag(&operator, &config).unwrap();
            let half = found.half_width(0.95).unwrap().to_values();
            for (index, value) in found.value.to_values().into_iter().enumerate() {
                covered += usize::from((value - truth[index]).abs() <= half[index]);
                cross += (value - truth[index]).powi(2);
                columns[index].push(value);
            }
            if seed < 40 {
                let config = HutchinsonConfig {
                    probes: 16,
                    seed,
                    ..HutchinsonConfig::default()
                };
                let found = hutchinson_diagonal(&operator, &config).unwrap();
                let values = found.value.to_values();
                plain += values
                    .iter()
                    .zip(&truth)
                    .map(|(a, b)| (a - b).powi(2))
                    .sum::<f64>();
            }
        }
        let rate = covered as f64 / 16_000.0;
        assert!((rate - 0.95).abs() <= 0.05, "{rate}");
        for (values, truth) in columns.iter().zip(&truth) {
            let mean = Estimate::from_samples(values);
            let apart = (mean.value - truth) / mean.standard_error.unwrap();
            assert!(apart.abs() < 4.0, "{apart} standard errors");
        }
        assert!(cross / 400.0 < plain / 40.0, "{cross} {plain}");
    }

    #[test]
    fn small_problems_are_exact() {
        let found = xdiag(&m12(), &SketchConfig::default()).unwrap();
        let exact = dense_diagonal(&m12()).unwrap();
        assert_close(&found.value.to_values(), &exact.to_values(), 1e-12);
        assert_eq!(found.standard_error.unwrap().norm(), 0.0);
    }
}
