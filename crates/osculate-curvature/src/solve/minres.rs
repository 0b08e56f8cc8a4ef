use super::{NegativeCurvature, Solution, SolveConfig, finite_norm};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::ParamVec;

/// Solves `(A + δ I) x = b` for any symmetric `A` by the minimal residual method.
///
/// The residual never grows, whatever the signs of the eigenvalues. At a saddle the solution of
/// `H x = -g` is the way *to* the saddle and no descent direction: look at `negative_curvature`,
/// which holds a Lanczos vector along which the operator is negative where one was met.
///
/// Cost: one product a step, and one for the last residual. Memory: seven vectors.
///
/// Paper: Paige, Saunders, <https://doi.org/10.1137/0712047>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{SolveConfig, minres};
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
/// let solution = minres(&hessian, gradient, &SolveConfig::damped(1.0))?;
/// let (x, g) = (solution.x.to_values(), gradient.to_values());
/// assert!((10.0 * x[2] - g[2]).abs() < 1e-4);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::LayoutMismatch`],
/// [`CurvatureError::NonFinite`], [`CurvatureError::BudgetTooSmall`], and as the operator's products.
pub fn minres(
    operator: &dyn CurvatureOperator,
    b: &ParamVec,
    config: &SolveConfig,
) -> Result<Solution, CurvatureError> {
    let _span = tracing::debug_span!("minres", steps = config.steps).entered();
    operator.layout().check(b.layout())?;
    let mut tally = config.validate(b)?;
    let b = b.to_compute_dtype();
    let size = finite_norm(&b)?;
    let zero = b.scale(0.0);
    let (mut x, r) = match &config.initial {
        Some(initial) => {
            let x = initial.to_compute_dtype();
            let product = tally.apply(operator, &x)?.axpy(config.damping, &x);
            (x, b.sub(&product))
        }
        None => (zero.clone(), b.clone()),
    };
    let goal = config.tolerance * size;
    // The recurrence and the product at the end differ by rounding.
    let stop = 0.7 * goal;
    let mut eta = finite_norm(&r)?;
    let mut residuals = vec![eta];
    let mut negative = None;
    let (mut before, mut v) = (zero.clone(), r.scale(1.0 / eta.max(f64::MIN_POSITIVE)));
    let (mut w_before, mut w) = (zero.clone(), zero);
    let mut beta = 0.0;
    // The last two rotations that make the tridiagonal matrix triangular.
    let ((mut c_before, mut s_before), (mut c, mut s)) = ((1.0, 0.0), (1.0, 0.0));
    let mut steps = 0;
    while eta.abs() > stop && steps < config.steps && (steps == 0 || tally.affords(1)) {
        let product = tally.apply(operator, &v)?.axpy(config.damping, &v);
        let alpha = v.dot(&product);
        let rest = product.axpy(-alpha, &v).axpy(-beta, &before);
        let next = rest.norm();
        if !alpha.is_finite() || !next.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "a Lanczos coefficient",
                value: if alpha.is_finite() { next } else { alpha },
            });
        }
        if alpha < 0.0 && negative.is_none() {
            negative = Some(NegativeCurvature {
                direction: v.clone(),
                curvature: alpha,
            });
        }
        let epsilon = s_before * beta;
        let turned = c_before * beta;
        let delta = c * turned + s * alpha;
        let gamma = c * alpha - s * turned;
        let rho = gamma.hypot(next);
        steps += 1;
        if rho == 0.0 {
            // Singular, and nothing more can be removed from the residual.
            break;
        }
        (c_before, s_before) = (c, s);
        (c, s) = (gamma / rho, next / rho);
        let w_next = v
            .axpy(-epsilon, &w_before)
            .axpy(-delta, &w)
            .scale(1.0 / rho);
        x = x.axpy(c * eta, &w_next);
        eta *= -s;
        residuals.push(eta.abs());
        (w_before, w) = (w, w_next);
        if next == 0.0 {
            break;
        }
        before = v;
        v = rest.scale(1.0 / next);
        beta = next;
    }
    let mut norm = eta.abs();
    if config.verified && steps > 0 && tally.affords(1) {
        let product = tally.apply(operator, &x)?.axpy(config.damping, &x);
        norm = b.sub(&product).norm();
    }
    Ok(Solution {
        x,
        relative_residual: if size > 0.0 { norm / size } else { norm },
        residuals,
        negative_curvature: negative,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
        converged: norm <= goal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Structure;
    use crate::solve::tests::{X4, a4};
    use crate::testing::{assert_close, mixed};

    fn tight(damping: f64) -> SolveConfig {
        SolveConfig {
            damping,
            tolerance: 1e-10,
            ..SolveConfig::default()
        }
    }

    #[test]
    fn residuals_are_the_oracles() {
        let (operator, b) = a4();
        let found = minres(&operator, &b, &tight(-0.5)).unwrap();
        let norms = [1.6745798982990656, 1.0967288782454683, 0.2804039768481233];
        assert_close(&found.residuals[1..4], &norms, 1e-10);
        assert!(found.converged && found.products == 5, "{}", found.products);
        assert!(found.relative_residual < 1e-12);
        let found = minres(&operator, &b, &tight(0.1)).unwrap();
        assert_close(&found.x.to_values(), &X4, 1e-8);
    }

    #[test]
    fn indefinite_systems_are_solved_and_residuals_fall() {
        let eigenvalues: Vec<f64> = (0..40)
            .map(|i| (f64::from(i) - 14.5) * if i % 2 == 0 { 0.3 } else { 1.0 })
            .collect();
        let operator = mixed(&eigenvalues, &[11, 29], Structure::Symmetric);
        let b = ParamVec::gaussian(&operator.layout(), 2);
        let config = SolveConfig {
            tolerance: 1e-8,
            ..SolveConfig::default()
        };
        let found = minres(&operator, &b, &config).unwrap();
        assert!(found.converged, "{}", found.relative_residual);
        assert!(
            found
                .residuals
                .windows(2)
                .all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12))
        );
        let negative = found.negative_curvature.unwrap();
        let product = operator.apply(&negative.direction).unwrap().value;
        assert!((negative.direction.dot(&product) - negative.curvature).abs() < 1e-10);
        let warm = SolveConfig {
            initial: Some(found.x.clone()),
            ..config
        };
        assert!(minres(&operator, &b, &warm).unwrap().products <= 2);
    }
}
