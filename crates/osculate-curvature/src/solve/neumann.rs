use super::finite_norm;
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::ParamVec;
use crate::spectrum::{LanczosConfig, lanczos};
use crate::tally::{Budget, Tally};

/// Settings of [`neumann`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeumannConfig {
    /// `δ` in `(A + δ I) x = b`, in the unit of the eigenvalues of `A`. Default 0.
    pub damping: f64,
    /// The scale `s`, which must exceed half of the largest eigenvalue of `A + δ I`. Default `None`:
    /// 1.1 times the largest eigenvalue, by at most 10 Lanczos steps.
    pub scale: Option<f64>,
    /// Number of terms after the first, each of which costs one product. Default 100.
    pub terms: usize,
    /// What may be spent. Default: no limit.
    pub budget: Budget,
}

impl Default for NeumannConfig {
    fn default() -> Self {
        Self {
            damping: 0.0,
            scale: None,
            terms: 100,
            budget: Budget::default(),
        }
    }
}

/// The end of [`neumann`].
#[derive(Debug, Clone)]
pub struct NeumannSolution {
    /// The truncated series.
    pub x: ParamVec,
    /// The scale `s` that was used.
    pub scale: f64,
    /// Norms of the residual `b - (A + δ I) x` after each term but the last.
    pub residuals: Vec<f64>,
    /// Number of terms after the first.
    pub terms: usize,
    /// About how much damping the truncation adds to `δ`: `s / (terms + 1)`.
    pub implicit_damping: f64,
    /// What the products cost.
    pub cost: Cost,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
}

impl NeumannSolution {
    /// The relative error of the component along an eigenvector of `A + δ I` with this eigenvalue:
    /// `(1 - λ / s)^(terms + 1)`.
    pub fn relative_error(&self, eigenvalue: f64) -> f64 {
        (1.0 - eigenvalue / self.scale)
            .powi(self.terms as i32 + 1)
            .abs()
    }
}

/// An approximate solution of `(A + δ I) x = b` by a truncated Neumann series, as LiSSA has it.
///
/// `h_0 = b`, `h_t+1 = b + h_t - (A + δ I) h_t / s`, `x = h_T / s`: the component along an
/// eigenvector is `(1 - (1 - λ/s)^(T+1)) / λ` of `b`'s. The series *damps by being short*, by about
/// `s / (T + 1)`: [`NeumannSolution::implicit_damping`] and [`NeumannSolution::relative_error`] say
/// how much. [`conjugate_gradient`](super::conjugate_gradient) is far better with exact products on
/// a fixed batch; this is for comparison with results in the literature, and for products that differ
/// at every term.
///
/// The damping is that of `A + δ I`. In the first LiSSA programs, `(1 - d) h - H h / s` solves with
/// the damping `s d`.
///
/// Cost: `terms` products, and at most 10 to find the scale. Memory: two vectors.
///
/// Paper: Agarwal, Bullins, Hazan, <https://arxiv.org/abs/1602.03943>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{NeumannConfig, neumann};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let gradient = &oracle.clean()?.gradient;
/// let config = NeumannConfig { damping: 1.0, terms: 200, ..NeumannConfig::default() };
/// let solution = neumann(&hessian, gradient, &config)?;
/// let (x, g) = (solution.x.to_values(), gradient.to_values());
/// assert!((10.0 * x[2] - g[2]).abs() < 1e-3);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::SeriesDiverged`] where residuals grow because the
/// scale is too small and [`CurvatureError::NotPositiveDefinite`] where they do because the operator is
/// indefinite, [`CurvatureError::NonFinite`], [`CurvatureError::BudgetTooSmall`], and as the operator's products.
pub fn neumann(
    operator: &dyn CurvatureOperator,
    b: &ParamVec,
    config: &NeumannConfig,
) -> Result<NeumannSolution, CurvatureError> {
    let _span = tracing::debug_span!("neumann", terms = config.terms).entered();
    operator.layout().check(b.layout())?;
    CurvatureError::check(
        config.damping.is_finite(),
        "damping",
        config.damping,
        "a finite number",
    )?;
    CurvatureError::check(config.terms > 0, "terms", config.terms, "at least one term")?;
    let mut tally = Tally::new(config.budget)?;
    let b = b.to_compute_dtype();
    let size = finite_norm(&b)?;
    let scale = match config.scale {
        Some(scale) => scale,
        None => {
            let top = lanczos(
                operator,
                &LanczosConfig {
                    largest: 1,
                    steps: 10,
                    tolerance: 0.05,
                    ..LanczosConfig::default()
                },
            )?;
            tally.book(top.steps, top.cost, top.product_error, top.provenance)?;
            let bound = top
                .largest
                .first()
                .map_or(0.0, |pair| pair.value + pair.residual);
            1.1 * (bound + config.damping)
        }
    };
    CurvatureError::check(
        scale.is_finite() && scale > 0.0,
        "scale",
        scale,
        "a positive finite number above half of the largest eigenvalue",
    )?;
    let mut h = b.clone();
    let mut residuals: Vec<f64> = Vec::with_capacity(config.terms);
    let mut least = f64::INFINITY;
    let mut last = b.clone();
    while residuals.len() < config.terms && (residuals.is_empty() || tally.affords(1)) {
        let product = tally.apply(operator, &h)?.axpy(config.damping, &h);
        let residual = b.axpy(-1.0 / scale, &product);
        let norm = finite_norm(&residual)?;
        residuals.push(norm);
        least = least.min(norm);
        h = h.add(&residual);
        last = residual;
        if norm > 100.0 * size {
            break;
        }
    }
    // Residuals of a positive operator at a scale that is large enough fall at every term, down to where rounding
    // and the error of differences keep them.
    let end = residuals.last().copied().unwrap_or(0.0);
    let floor = (1e-4 * size).max(3.0 * tally.product_error.unwrap_or(0.0));
    if end > 1.01 * least && end > floor {
        let product = tally.apply(operator, &last)?.axpy(config.damping, &last);
        let curvature = last.dot(&product) / last.dot(&last);
        return Err(if curvature <= 0.0 {
            CurvatureError::NotPositiveDefinite { curvature }
        } else {
            CurvatureError::SeriesDiverged { scale }
        });
    }
    Ok(NeumannSolution {
        x: h.scale(1.0 / scale),
        scale,
        terms: residuals.len(),
        implicit_damping: scale / (residuals.len() + 1) as f64,
        residuals,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::tests::{X4, a4};
    use crate::testing::assert_close;

    #[test]
    fn it_is_the_oracles_and_the_closed_form() {
        let (operator, b) = a4();
        let config = NeumannConfig {
            damping: 0.1,
            scale: Some(6.0),
            terms: 40,
            ..NeumannConfig::default()
        };
        let found = neumann(&operator, &b, &config).unwrap();
        let expected = [
            0.2798645352382702,
            -0.5330694882964343,
            1.8486190605073538,
            0.7868871990753367,
        ];
        assert_close(&found.x.to_values(), &expected, 1e-10);
        let x = ParamVec::from_values(b.layout(), &X4);
        let error = found.x.sub(&x).norm() / x.norm();
        assert!((error - 0.33734754664222877).abs() < 1e-10);
        // The smallest eigenvalue of A + 0.1 carries nearly all of it.
        let smallest = found.relative_error(0.07072675070381378);
        assert!(smallest > error && smallest < 2.0 * error, "{smallest}");
        assert!((found.implicit_damping - 6.0 / 41.0).abs() < 1e-12);
    }

    #[test]
    fn the_scale_is_found_and_a_small_one_refused() {
        let (operator, b) = a4();
        let config = NeumannConfig {
            damping: 0.5,
            terms: 300,
            ..NeumannConfig::default()
        };
        let found = neumann(&operator, &b, &config).unwrap();
        assert!(
            found.scale > 4.661 + 0.5 && found.scale < 8.0,
            "{}",
            found.scale
        );
        let last = found.residuals[299];
        let product = operator.apply(&found.x).unwrap().value.axpy(0.5, &found.x);
        assert!(b.sub(&product).norm() <= last);
        let small = NeumannConfig {
            scale: Some(2.0),
            ..config
        };
        let error = neumann(&operator, &b, &small).unwrap_err();
        assert!(
            matches!(error, CurvatureError::SeriesDiverged { .. }),
            "{error}"
        );
    }
}
