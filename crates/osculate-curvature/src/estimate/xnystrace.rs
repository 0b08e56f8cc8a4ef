use faer::{Mat, Side};

use super::sketch::{finite, probed, rank_tolerance, unit_trace};
use super::{Estimate, ProbeDistribution, SketchConfig, SketchedTrace};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::{ParamVec, thin_qr};
use crate::tally::Tally;

/// The samples share nearly all of their low-rank part. Their standard error is too small by more than
/// that of independent samples, which this makes up for: without it intervals of a nominal 95 % hold
/// 89 % on an inverse-square spectrum.
const DEPENDENCE: f64 = 1.3;

/// The trace of a positive semi-definite operator by XNysTrace, at *one* product for each direction
/// that [`xtrace`](super::xtrace) takes two for.
///
/// For probes `w_i` with `Y = A W` and `H = Wᵀ Y`, the Nystrom approximation without the `i`-th probe
/// is `Â_i = Y_-i H_-i⁻¹ Y_-iᵀ`, and the estimate is the mean over `i` of
/// `tr Â_i + (n - l + 1) / |r_i|² · w_iᵀ (A - Â_i) w_i`, with `r_i` the part of `w_i` outside the other
/// probes: `tr(H⁻¹ Yᵀ Y) - (H⁻¹ Yᵀ Y H⁻¹)_ii / (H⁻¹)_ii + (n - l + 1) ((Wᵀ W)⁻¹)_ii / (H⁻¹)_ii`. Only
/// the products, their factor `Y = Q R` and two small matrices of dot products are needed.
///
/// It is for Gauss-Newton and Fisher matrices. An indefinite Hessian is an error where the sketch
/// sees it: take [`krylov_trace`](super::krylov_trace) or [`xtrace`](super::xtrace). Where `products`
/// reaches the dimension, all unit vectors are multiplied instead and the result is exact.
///
/// Cost: `products` products. Memory: `2 products` vectors.
///
/// Paper: Epperly, Tropp, Webber, <https://arxiv.org/abs/2301.07825>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Int, Tensor};
/// # use osculate_curvature::{Criterion, GradientOracle, SupervisedBatch};
/// # let device = Device::flex().autodiff();
/// # device.seed(1);
/// # let model: Linear = LinearConfig::new(8, 3).init(&device);
/// # let x = Tensor::<2>::random([16, 8], Distribution::Default, &device);
/// # let labels = Tensor::<1, Int>::arange(0..16, &device).remainder_scalar(3);
/// # let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
/// # let objective = SupervisedBatch::new(x, forward, Criterion::cross_entropy(labels));
/// # let oracle = GradientOracle::new(&model, &objective);
/// # use osculate_curvature::{GaussNewton, SketchConfig, dense_diagonal, xnystrace};
/// let gauss_newton = GaussNewton::new(&oracle)?; // 27 weights
/// let config = SketchConfig { products: 12, ..SketchConfig::default() };
/// let trace = xnystrace(&gauss_newton, &config)?;
/// let exact: f64 = dense_diagonal(&gauss_newton)?.to_values().iter().sum();
/// assert!((trace.estimate.value / exact - 1.0).abs() < 0.2);
/// let (low, high) = trace.estimate.interval(0.95).expect("more than one sample");
/// assert!(low < exact && exact < high && trace.products == 12);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::NotPositiveDefinite`] for an operator that is not positive semi-definite,
/// [`CurvatureError::InvalidSetting`] for fewer than 4 products, [`CurvatureError::BudgetTooSmall`],
/// [`CurvatureError::NonFinite`] where a product is not finite, and as the operator's products.
pub fn xnystrace(
    operator: &dyn CurvatureOperator,
    config: &SketchConfig,
) -> Result<SketchedTrace, CurvatureError> {
    let _span = tracing::debug_span!("xnystrace", products = config.products).entered();
    let mut tally = config.tally(4)?;
    let layout = operator.layout();
    if config.products >= layout.num_elements() {
        return unit_trace(operator, tally);
    }
    let draw = |index: usize| ProbeDistribution::Gaussian.draw(&layout, config.seed, index as u64);
    let (probes, products) = probed(operator, config.products, 0, draw, &mut tally)?;
    from_products(&probes, products, &tally, config.products)
}

fn from_products(
    probes: &[ParamVec],
    products: Vec<ParamVec>,
    tally: &Tally,
    wanted: usize,
) -> Result<SketchedTrace, CurvatureError> {
    let count = probes.len();
    let n = probes[0].layout().num_elements() as f64;
    let squares: f64 = products.iter().map(|y| y.dot(y)).sum();
    // A shift above rounding keeps small matrices definite; its trace is taken off again.
    let shift = rank_tolerance(&products) * finite(squares)?.sqrt() / n.sqrt();
    let shifted: Vec<ParamVec> = products
        .iter()
        .zip(probes)
        .map(|(y, w)| y.axpy(shift, w))
        .collect();
    drop(products);
    let gram = |left: &[ParamVec], right: &[ParamVec]| -> Mat<f64> {
        let columns: Vec<Vec<f64>> = right.iter().map(|x| x.dot_many(left)).collect();
        Mat::from_fn(count, count, |row, column| {
            0.5 * (columns[column][row] + columns[row][column])
        })
    };
    // With H = L Lᵀ and Y = Q R, Y H⁻¹ Yᵀ has the root Q B for B = R L⁻ᵀ. Dot products of Y with
    // itself would lose the small eigenvalues of H.
    let between = inverse_root(&gram(probes, &shifted))?;
    let among = inverse_root(&gram(probes, probes))?;
    let root = &thin_qr(&shifted, 0.0)?.r * between.transpose();
    let trace = root.squared_norm_l2();
    let free = n - count as f64 + 1.0;
    let samples = (0..count)
        .map(|i| {
            let own = between.col(i).squared_norm_l2();
            let dropped = (&root * between.col(i)).squared_norm_l2() / own;
            let rest = free * among.col(i).squared_norm_l2() / own;
            finite(trace - dropped + rest - shift * n)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let estimate = Estimate::from_samples(&samples);
    Ok(SketchedTrace {
        estimate: Estimate {
            standard_error: estimate.standard_error.map(|error| DEPENDENCE * error),
            ..estimate
        },
        rank: count,
        exact: false,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
        converged: count == wanted,
    })
}

/// `L⁻¹` of a small positive definite matrix `L Lᵀ`, whose inverse is `L⁻ᵀ L⁻¹`.
fn inverse_root(matrix: &Mat<f64>) -> Result<Mat<f64>, CurvatureError> {
    let size = matrix.nrows();
    let smallest = (0..size)
        .map(|k| matrix[(k, k)])
        .fold(f64::INFINITY, f64::min);
    let factor = matrix
        .llt(Side::Lower)
        .map_err(|_| CurvatureError::NotPositiveDefinite {
            curvature: smallest.min(0.0),
        })?;
    let lower = factor.L();
    let mut inverse = Mat::<f64>::zeros(size, size);
    for column in 0..size {
        for row in column..size {
            let known: f64 = (column..row)
                .map(|k| lower[(row, k)] * inverse[(k, column)])
                .sum();
            let unit = if row == column { 1.0 } else { 0.0 };
            inverse[(row, column)] = (unit - known) / lower[(row, row)];
        }
    }
    Ok(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::xtrace;
    use crate::operator::Structure;
    use crate::tally::Budget;
    use crate::testing::{Reflected, layout, m12, mixed, signs};

    #[test]
    fn it_is_the_naive_leave_one_out() {
        let eigenvalues: Vec<f64> = (1..=20).map(|i| 4.0 / f64::from(i * i)).collect();
        let operator = mixed(&eigenvalues, &[8, 12], Structure::PositiveSemidefinite);
        let probes = signs(&operator.layout(), 30, 5);
        let products: Vec<ParamVec> = probes
            .iter()
            .map(|w| operator.apply(w).unwrap().value)
            .collect();
        let naive: Vec<f64> = (0..5)
            .map(|i| {
                let others: Vec<usize> = (0..5).filter(|k| *k != i).collect();
                let dots = |a: &[ParamVec], b: &[ParamVec]| {
                    Mat::from_fn(4, 4, |row, column| a[others[row]].dot(&b[others[column]]))
                };
                let root = inverse_root(&dots(&probes, &products)).unwrap();
                let h = root.transpose() * &root;
                let k = dots(&products, &products);
                let approximation = &h * &k;
                let trace: f64 = (0..4).map(|k| approximation[(k, k)]).sum();
                let against: Vec<f64> = others
                    .iter()
                    .map(|k| products[*k].dot(&probes[i]))
                    .collect();
                let known: f64 = (0..4)
                    .flat_map(|a| (0..4).map(move |b| (a, b)))
                    .map(|(a, b)| against[a] * h[(a, b)] * against[b])
                    .sum();
                let kept: Vec<ParamVec> = others.iter().map(|k| probes[*k].clone()).collect();
                let outside = thin_qr(&kept, 1e-12).unwrap().basis.split(&probes[i]).1;
                let scale = 16.0 / outside.dot(&outside);
                trace + scale * (probes[i].dot(&products[i]) - known)
            })
            .collect();
        let tally = Tally::unlimited();
        let found = from_products(&probes, products, &tally, 5).unwrap();
        let expected = Estimate::from_samples(&naive);
        assert!(
            (found.estimate.value - expected.value).abs() < 1e-8,
            "{found:?} {expected:?}"
        );
        let error = found.estimate.standard_error.unwrap();
        let expected = DEPENDENCE * expected.standard_error.unwrap();
        assert!((error - expected).abs() < 1e-8, "{error} {expected}");
    }

    #[test]
    fn intervals_cover_and_outliers_cost_less() {
        let n = 500;
        let steep = Reflected::new(&layout(&[200, 300]), |i| 10.0 / (1.0 + i as f64).powi(2));
        let flat = Reflected::new(&layout(&[200, 300]), |i| 1.0 + i as f64 / n as f64);
        for operator in [&steep, &flat] {
            let truth = operator.trace();
            let (mut covered, mut values) = (0, Vec::new());
            for seed in 0..400 {
                let config = SketchConfig {
                    products: 12,
                    seed,
                    ..SketchConfig::default()
                };
                let found = xnystrace(operator, &config).unwrap();
                assert_eq!(found.products, 12);
                let (low, high) = found.estimate.interval(0.95).unwrap();
                covered += usize::from(low <= truth && truth <= high);
                values.push(found.estimate.value);
            }
            let rate = covered as f64 / 400.0;
            assert!((rate - 0.95).abs() <= 0.05, "{rate}");
            let mean = Estimate::from_samples(&values);
            let apart = (mean.value - truth) / mean.standard_error.unwrap();
            assert!(apart.abs() < 3.5, "{apart} standard errors");
        }
        let error = |cross: bool| {
            let squares = (0..60).map(|seed| {
                let config = SketchConfig {
                    products: 12,
                    seed,
                    ..SketchConfig::default()
                };
                let found = if cross {
                    xtrace(&steep, &config)
                } else {
                    xnystrace(&steep, &config)
                };
                (found.unwrap().estimate.value - steep.trace()).powi(2)
            });
            squares.sum::<f64>()
        };
        let (nystrom, cross) = (error(false), error(true));
        assert!(nystrom < cross, "{nystrom} against {cross}");
    }

    #[test]
    fn low_ranks_are_exact_and_indefinite_operators_refused() {
        let mut eigenvalues = vec![0.0; 40];
        eigenvalues[..3].copy_from_slice(&[5.0, 2.0, 0.5]);
        let operator = mixed(&eigenvalues, &[40], Structure::PositiveSemidefinite);
        let config = SketchConfig {
            products: 8,
            ..SketchConfig::default()
        };
        let found = xnystrace(&operator, &config).unwrap();
        assert!((found.estimate.value - 7.5).abs() < 1e-5, "{found:?}");
        let signed: Vec<f64> = (0..40).map(|i| f64::from(i) - 20.0).collect();
        let operator = mixed(&signed, &[40], Structure::Symmetric);
        let error = xnystrace(&operator, &config).unwrap_err();
        assert!(
            matches!(error, CurvatureError::NotPositiveDefinite { .. }),
            "{error}"
        );
        let few = SketchConfig {
            budget: Budget::products(3),
            ..config
        };
        assert!(xnystrace(&operator, &few).is_err());
        assert!(xnystrace(&m12(), &SketchConfig::default()).unwrap().exact);
    }
}
