use super::trace::Samples;
use super::{HutchinsonConfig, TraceEstimate};
use crate::error::CurvatureError;
use crate::operator::Provenance;
use crate::solve::Factor;
use crate::tally::Tally;

/// The trace of `A = Jᵀ J` from its factor: the mean of `|Jᵀ u|²` over random `u`, with the trace of every
/// parameter's diagonal block from the same probes, `E |(Jᵀ u)_b|² = tr A_bb`.
///
/// For Rademacher probes the variance of one probe is `2 (|A|_F² - sum_i (J Jᵀ)_ii²)`, where
/// [`hutchinson_trace`](super::hutchinson_trace) has the squares of `A`'s own diagonal. Where there are fewer rows than
/// parameters, as for most networks, the same trace is spread over fewer elements, whose squares are larger: more is
/// taken away. A flat spectrum, such as a transformer's before training, gains most. Where a few eigenvalues carry the
/// trace [`xnystrace`](super::xnystrace) and [`krylov_trace`](super::krylov_trace) need fewer products, and where `A` is nearly
/// diagonal, or has fewer parameters than rows, `hutchinson_trace`.
///
/// Cost: half a product for each probe, the transposed one: see [`GaussNewtonFactor`](crate::GaussNewtonFactor). Limits of
/// the [`Budget`](crate::Budget) on products count these. Memory: a vector, and one number for each row.
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
/// use osculate_curvature::{
///     GaussNewton, GaussNewtonFactor, HutchinsonConfig, dense_diagonal, factor_trace,
/// };
/// let factor = GaussNewtonFactor::new(&oracle)?;
/// let config = HutchinsonConfig { probes: 200, ..HutchinsonConfig::default() };
/// let trace = factor_trace(&factor, &config)?;
/// let exact: f64 = dense_diagonal(&GaussNewton::new(&oracle)?)?.to_values().iter().sum();
/// assert!((trace.value / exact - 1.0).abs() < 0.1);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::BudgetTooSmall`], [`CurvatureError::NonFinite`] where a product
/// is not finite, and as the factor's products.
pub fn factor_trace(
    factor: &dyn Factor,
    config: &HutchinsonConfig,
) -> Result<TraceEstimate, CurvatureError> {
    let _span = tracing::debug_span!("factor_trace", probes = config.probes).entered();
    config.validate()?;
    let (layout, rows) = (factor.layout(), factor.rows());
    let mut samples = Samples::of(&layout);
    let mut tally = Tally::new(config.budget)?;
    while samples.wants_more(config) {
        let index = samples.count();
        let width = tally.at_once(factor.width().clamp(1, config.probes - index));
        let probes: Vec<Vec<f64>> = (index..index + width)
            .map(|index| {
                config
                    .distribution
                    .draw_rows(rows, config.seed, index as u64)
            })
            .collect();
        if probes.is_empty() {
            break;
        }
        let products = factor.transpose_many(&probes)?;
        CurvatureError::check(
            products.len() == probes.len(),
            "number of transposed products",
            products.len(),
            "one for each vector",
        )?;
        for product in products {
            tally.book(1, product.cost, None, Provenance::Exact)?;
            if samples.wants_more(config) {
                let value = product.value.to_compute_dtype();
                let squares = value.block_dots(&value);
                samples.add(squares, config, "the square of a factor's product")?;
            }
        }
    }
    Ok(samples.finish(&layout, config, tally))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::DenseFactor;
    use crate::tally::Budget;
    use crate::testing::{Lcg, layout};

    /// A factor whose rows are neither orthogonal nor of one length, with its rows.
    fn factor(rows: usize, lengths: &[usize]) -> (DenseFactor, Vec<Vec<f64>>) {
        let n = lengths.iter().sum();
        let mut numbers = Lcg::new(5);
        let shared = numbers.normal(n);
        let elements: Vec<Vec<f64>> = (0..rows)
            .map(|row| {
                let scale = 1.0 / (1.0 + row as f64);
                let own = numbers.normal(n);
                let mixed = own.iter().zip(&shared).map(|(a, b)| scale * (a + b));
                mixed.collect()
            })
            .collect();
        let factor = DenseFactor::new(layout(lengths), &elements.concat()).unwrap();
        (factor, elements)
    }

    fn squares<'a>(numbers: impl IntoIterator<Item = &'a f64>) -> f64 {
        numbers.into_iter().map(|x| x * x).sum()
    }

    fn config(probes: usize, seed: u64) -> HutchinsonConfig {
        HutchinsonConfig {
            probes,
            seed,
            ..HutchinsonConfig::default()
        }
    }

    #[test]
    fn it_is_unbiased_in_every_block_with_the_variance_that_it_says() {
        let (factor, rows) = factor(7, &[4, 6]);
        let probes = 4000;
        let found = factor_trace(&factor, &config(probes, 1)).unwrap();
        assert!(found.converged && found.probes == probes);
        let truth = squares(rows.iter().flatten());
        let blocks = [
            squares(rows.iter().flat_map(|row| &row[..4])),
            squares(rows.iter().flat_map(|row| &row[4..])),
        ];
        let apart = |value: f64, error: Option<f64>, truth: f64| (value - truth) / error.unwrap();
        assert!(apart(found.value, found.standard_error, truth).abs() < 3.5);
        for (block, truth) in found.blocks.iter().zip(blocks) {
            let apart = apart(block.value, block.standard_error, truth);
            assert!(apart.abs() < 3.5, "{block:?} {truth}");
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut variance = 0.0;
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[..i] {
                variance += 4.0 * dot(a, b).powi(2);
            }
        }
        let measured = found.standard_error.unwrap().powi(2) * probes as f64;
        assert!(
            (measured / variance - 1.0).abs() < 0.15,
            "{measured} {variance}"
        );
    }

    #[test]
    fn intervals_cover_on_small_and_larger_factors() {
        for (size, lengths) in [(6, vec![4, 5]), (40, vec![20, 40])] {
            let (factor, rows) = factor(size, &lengths);
            let truth = squares(rows.iter().flatten());
            let mut covered = 0;
            for seed in 0..400 {
                let estimate = factor_trace(&factor, &config(12, seed)).unwrap().estimate();
                let (low, high) = estimate.interval(0.95).unwrap();
                covered += usize::from(low <= truth && truth <= high);
            }
            let rate = f64::from(covered as u32) / 400.0;
            assert!((rate - 0.95).abs() <= 0.05, "{size}: {rate}");
        }
    }

    #[test]
    fn orthogonal_rows_need_one_probe_of_signs() {
        let rows = [3.0, 0.0, 4.0, 0.0, 2.0, 0.0];
        let factor = DenseFactor::new(layout(&[1, 2]), &rows).unwrap();
        for seed in 0..5 {
            let found = factor_trace(&factor, &config(1, seed)).unwrap();
            assert!((found.value - 29.0).abs() < 1e-12);
            assert!(found.standard_error.is_none());
        }
    }

    #[test]
    fn budgets_tolerances_and_numbers_that_are_none() {
        let (dense, _) = factor(7, &[4, 6]);
        let limited = HutchinsonConfig {
            budget: Budget::products(5),
            ..config(9, 0)
        };
        let found = factor_trace(&dense, &limited).unwrap();
        assert!(found.probes == 5 && !found.converged);
        let tolerant = HutchinsonConfig {
            relative_tolerance: Some(0.2),
            ..config(4000, 0)
        };
        let found = factor_trace(&dense, &tolerant).unwrap();
        assert!(found.converged && found.probes < 4000);
        assert!(matches!(
            factor_trace(&dense, &config(0, 0)),
            Err(CurvatureError::InvalidSetting { .. })
        ));
        let broken = DenseFactor::new(layout(&[2]), &[1.0, f64::NAN]).unwrap();
        assert!(matches!(
            factor_trace(&broken, &config(2, 0)),
            Err(CurvatureError::NonFinite { .. })
        ));
    }
}
