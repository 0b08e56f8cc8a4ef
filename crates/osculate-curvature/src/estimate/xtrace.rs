use faer::Mat;

use super::sketch::{finite, leave_one_out, probed, rank_tolerance, unit_trace};
use super::{Estimate, ProbeDistribution, SketchConfig, SketchedTrace};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::{ParamVec, ThinQr, thin_qr};
use crate::tally::Tally;

/// The trace by XTrace: every probe is both part of the low-rank span and, with itself left out, a
/// sample of what lies outside it.
///
/// For `l = products / 2` probes `w_i` with `Y = A W = Q R`, and `Q_i` a basis of all columns of `Y`
/// but the `i`-th, the estimate is the mean over `i` of
/// `tr(Q_iᵀ A Q_i) + (n - l + 1) / |r_i|² · r_iᵀ A r_i`, `r_i = (I - Q_i Q_iᵀ) w_i`. All of it follows
/// from `Y` and `A Q`. Probes are normal, and the factor, which gives each remainder the length
/// that it should have (resphering), removes the part of the variance that flat spectra cause.
///
/// It is the estimator of choice where a few outliers carry the trace, as at the end of training.
/// The samples are not independent, and the standard error is too small by about a quarter on
/// average; the [interval](Estimate::half_width) allows for that. Where `products` reaches the
/// dimension, all unit vectors are multiplied instead and the result is exact.
///
/// Cost: `products` products. Memory: `3 / 2 products` vectors.
///
/// Paper: Epperly, Tropp, Webber, <https://arxiv.org/abs/2301.07825>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{SketchConfig, xtrace};
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
/// let trace = xtrace(&hessian, &SketchConfig::default())?;
/// assert!(trace.exact && (trace.estimate.value - 14.0).abs() < 1e-3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for fewer than 4 products, [`CurvatureError::BudgetTooSmall`],
/// [`CurvatureError::NonFinite`] where a product is not finite, and as the operator's products.
pub fn xtrace(
    operator: &dyn CurvatureOperator,
    config: &SketchConfig,
) -> Result<SketchedTrace, CurvatureError> {
    let _span = tracing::debug_span!("xtrace", products = config.products).entered();
    let tally = config.tally(4)?;
    let layout = operator.layout();
    if config.products >= layout.num_elements() {
        return unit_trace(operator, tally);
    }
    let draw = |index: usize| ProbeDistribution::Gaussian.draw(&layout, config.seed, index as u64);
    from_probes(operator, config.products / 2, draw, true, tally)
}

fn from_probes(
    operator: &dyn CurvatureOperator,
    count: usize,
    draw: impl Fn(usize) -> ParamVec,
    resphere: bool,
    mut tally: Tally,
) -> Result<SketchedTrace, CurvatureError> {
    let sketch = Sketch::new(operator, count, draw, &mut tally)?;
    let (rank, n) = (sketch.qr.basis.len(), operator.layout().num_elements());
    let mut projected = Mat::<f64>::zeros(rank, rank);
    for column in 0..rank {
        let overlaps = sketch.qr.basis.coefficients(&sketch.images[column]);
        for (row, overlap) in overlaps.into_iter().enumerate() {
            projected[(row, column)] = overlap;
        }
    }
    let trace: f64 = (0..rank).map(|k| projected[(k, k)]).sum();
    let mut samples = Vec::with_capacity(sketch.probes.len());
    for (index, w) in sketch.probes.iter().enumerate() {
        let s: Vec<f64> = (0..rank).map(|row| sketch.left_out[(row, index)]).collect();
        let mut u = sketch.qr.basis.coefficients(w);
        remove(&s, &mut u);
        let minus: Vec<f64> = u.iter().map(|x| -x).collect();
        let r = sketch.qr.basis.add(w.clone(), &minus);
        let ar = sketch.image_of(&minus, sketch.products[index].clone());
        let used = rank - usize::from(s.iter().any(|x| *x != 0.0));
        let scale = if resphere {
            (n - used) as f64 / r.dot(&r)
        } else {
            1.0
        };
        let form: f64 = (0..rank)
            .flat_map(|row| (0..rank).map(move |column| (row, column)))
            .map(|(row, column)| s[row] * projected[(row, column)] * s[column])
            .sum();
        samples.push(finite(trace - form + scale * r.dot(&ar))?);
    }
    Ok(SketchedTrace {
        estimate: Estimate::from_samples(&samples),
        rank,
        exact: false,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
        converged: samples.len() == count,
    })
}

/// Takes the part along the unit vector `s`, or nothing for zero, out of `u`.
pub(super) fn remove(s: &[f64], u: &mut [f64]) {
    let along: f64 = s.iter().zip(u.iter()).map(|(a, b)| a * b).sum();
    for (u, s) in u.iter_mut().zip(s) {
        *u -= along * s;
    }
}

/// Probes `W`, `Y = A W = Q R` and `A Q`.
pub(super) struct Sketch {
    pub(super) probes: Vec<ParamVec>,
    pub(super) products: Vec<ParamVec>,
    pub(super) qr: ThinQr,
    /// `A Q`.
    pub(super) images: Vec<ParamVec>,
    /// As [`leave_one_out`] gives it.
    pub(super) left_out: Mat<f64>,
}

impl Sketch {
    pub(super) fn new(
        operator: &dyn CurvatureOperator,
        count: usize,
        draw: impl Fn(usize) -> ParamVec,
        tally: &mut Tally,
    ) -> Result<Self, CurvatureError> {
        let (probes, products) = probed(operator, count, 1, draw, tally)?;
        let qr = thin_qr(&products, rank_tolerance(&products))?;
        let images = tally.apply_all(operator, qr.basis.vectors())?;
        let left_out = leave_one_out(&qr);
        Ok(Self {
            probes,
            products,
            qr,
            images,
            left_out,
        })
    }

    /// `x + A Q c`.
    pub(super) fn image_of(&self, coefficients: &[f64], x: ParamVec) -> ParamVec {
        self.images
            .iter()
            .zip(coefficients)
            .fold(x, |sum, (image, c)| sum.axpy(*c, image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{HutchinsonConfig, hutch_pp, hutchinson_trace};
    use crate::operator::{DenseOperator, Structure};
    use crate::tally::Budget;
    use crate::testing::{m12, mixed, signs};

    fn from_signs(operator: &DenseOperator, count: u32, resphere: bool) -> SketchedTrace {
        let probes = signs(&operator.layout(), 1, count);
        let draw = |index: usize| probes[index].clone();
        from_probes(operator, count as usize, draw, resphere, Tally::unlimited()).unwrap()
    }

    #[test]
    fn it_is_the_oracles_naive_leave_one_out() {
        let operator = m12();
        for (resphere, value, error) in [
            (false, 20.41293830634204, 0.17127805181521794),
            (true, 20.4254784236213, 0.19752314392831993),
        ] {
            let found = from_signs(&operator, 6, resphere);
            assert!((found.estimate.value - value).abs() < 1e-10, "{found:?}");
            let apart = found.estimate.standard_error.unwrap() - error;
            assert!(apart.abs() < 1e-10);
            assert_eq!(found.products, 12);
        }
    }

    #[test]
    fn more_probes_than_the_rank_are_exact() {
        let mut eigenvalues = vec![0.0; 30];
        eigenvalues[..4].copy_from_slice(&[5.0, 2.0, 0.3, -1.0]);
        let operator = mixed(&eigenvalues, &[30], Structure::Symmetric);
        let found = xtrace(
            &operator,
            &SketchConfig {
                products: 16,
                ..SketchConfig::default()
            },
        )
        .unwrap();
        assert_eq!((found.rank, found.products), (4, 12));
        assert!((found.estimate.value - 6.3).abs() < 1e-9, "{found:?}");
    }

    /// The share of 400 seeds whose interval holds the trace, and the mean over the seeds in
    /// standard errors of the mean.
    fn coverage(truth: f64, estimate: impl Fn(u64) -> Estimate) -> (f64, f64) {
        let all: Vec<Estimate> = (0..400).map(estimate).collect();
        let holds = |estimate: &&Estimate| {
            let (low, high) = estimate.interval(0.95).unwrap();
            low <= truth && truth <= high
        };
        let rate = all.iter().filter(holds).count() as f64 / 400.0;
        let values: Vec<f64> = all.iter().map(|estimate| estimate.value).collect();
        let mean = Estimate::from_samples(&values);
        (rate, (mean.value - truth) / mean.standard_error.unwrap())
    }

    #[test]
    fn intervals_cover_on_steep_flat_and_indefinite_spectra() {
        let steep: Vec<f64> = (1..=60).map(|i| 1.0 / f64::from(i * i)).collect();
        let flat: Vec<f64> = (0..60).map(|i| 1.0 + f64::from(i) / 59.0).collect();
        let indefinite: Vec<f64> = (1..=30)
            .flat_map(|i| [1.0 / f64::from(i * i), -0.3 / f64::from(i * i)])
            .collect();
        for (name, eigenvalues) in [("steep", steep), ("flat", flat), ("indefinite", indefinite)] {
            let operator = mixed(&eigenvalues, &[25, 35], Structure::Symmetric);
            let truth: f64 = eigenvalues.iter().sum();
            let sketch = |seed: u64| SketchConfig {
                products: 18,
                seed,
                ..SketchConfig::default()
            };
            let plain = |seed: u64| HutchinsonConfig {
                probes: 18,
                seed,
                ..HutchinsonConfig::default()
            };
            let hutchinson = coverage(truth, |seed| {
                hutchinson_trace(&operator, &plain(seed))
                    .unwrap()
                    .estimate()
            });
            let plus = coverage(truth, |seed| {
                hutch_pp(&operator, &sketch(seed)).unwrap().estimate
            });
            let cross = coverage(truth, |seed| {
                xtrace(&operator, &sketch(seed)).unwrap().estimate
            });
            for (method, (rate, bias)) in [
                ("Hutchinson", hutchinson),
                ("Hutch++", plus),
                ("XTrace", cross),
            ] {
                assert!((rate - 0.95).abs() <= 0.05, "{method}, {name}: {rate}");
                assert!(
                    bias.abs() < 3.5,
                    "{method}, {name}: {bias} standard errors off"
                );
            }
        }
    }

    #[test]
    fn budgets_and_small_problems() {
        let config = SketchConfig {
            products: 40,
            budget: Budget::products(3),
            ..SketchConfig::default()
        };
        let error = xtrace(&m12(), &config).unwrap_err().to_string();
        assert_eq!(
            error,
            "products, or the budget's = 3 is invalid, expected at least 4 products"
        );
        let exact = xtrace(&m12(), &SketchConfig::default()).unwrap();
        assert!(exact.exact && (exact.estimate.value - 19.72).abs() < 1e-10);
        let eigenvalues: Vec<f64> = (1..=50).map(|i| 1.0 / f64::from(i)).collect();
        let operator = mixed(&eigenvalues, &[50], Structure::PositiveSemidefinite);
        let found = xtrace(
            &operator,
            &SketchConfig {
                budget: Budget::products(13),
                ..SketchConfig::default()
            },
        )
        .unwrap();
        assert_eq!(found.products, 12);
        assert!(!found.converged);
    }
}
