use super::{Deflation, NegativeCurvature, Solution, SolveConfig, finite_norm};
use crate::error::CurvatureError;
use crate::operator::CurvatureOperator;
use crate::params::ParamVec;
use crate::tally::Tally;

/// Solves `(A + δ I) x = b` for a positive definite `A + δ I` by conjugate gradients.
///
/// `preconditioner` is an approximate *inverse*: [`Nystrom::preconditioner`](super::Nystrom) or
/// [`DiagonalOperator::damped_inverse`](crate::DiagonalOperator::damped_inverse). Jacobi's often
/// makes things worse for neural networks, whose curvature is far from diagonal.
///
/// Where a direction of curvature at most zero is met, the method stops, returns the last iterate
/// and the direction: `x` is then a descent direction of `½ xᵀ(A + δ I)x - bᵀx`, and
/// [`Solution::solved`] an error. At the end the residual is made by a product of its own, unless
/// [`SolveConfig::verified`] is off, and the method starts anew from it where the recurrence had promised too
/// much.
///
/// Cost: one product a step, and one or more for residuals. Memory: four vectors (five with a
/// preconditioner).
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::LayoutMismatch`],
/// [`CurvatureError::NonFinite`], [`CurvatureError::BudgetTooSmall`],
/// [`CurvatureError::IndefinitePreconditioner`], and as the operator's products. Negative curvature is in
/// the [`Solution`].
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_curvature::{
///     Batched, GradientOracle, Hessian, SolveConfig, conjugate_gradient,
/// };
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(5, 2).init(&device);
/// let x = Tensor::<2>::random([20, 5], Distribution::Default, &device);
/// let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
///     (model.forward(x.clone()) - 1.0).square().mean()
/// });
/// let oracle = GradientOracle::new(&model, &objective);
/// let gradient = &oracle.clean()?.gradient;
/// let solution =
///     conjugate_gradient(&Hessian::new(&oracle)?, gradient, None, &SolveConfig::damped(1e-2))?;
/// assert!(solution.converged && solution.relative_residual < 2e-5);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub fn conjugate_gradient(
    operator: &dyn CurvatureOperator,
    b: &ParamVec,
    preconditioner: Option<&dyn CurvatureOperator>,
    config: &SolveConfig,
) -> Result<Solution, CurvatureError> {
    let _span = tracing::debug_span!("conjugate_gradient", steps = config.steps).entered();
    solve(operator, b, preconditioner, None, config)
}

/// The same with the directions of a [`Deflation`] solved for exactly and kept out of the search:
/// eigenvectors of outliers, or solutions of similar systems.
///
/// The damping must be the deflation's.
///
/// Cost: as [`conjugate_gradient`], and two dot products for each direction a step.
///
/// Paper: Saad, Yeung, Erhel, Guyomarc'h, <https://doi.org/10.1137/S1064829598339761>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use osculate_curvature::{Batched, GradientOracle, Hessian};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(3, 1).with_bias(false).init(&device);
/// # let x = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], &device);
/// # let objective = Batched::new(x, |model: &Linear, x: &Tensor<2>| {
/// #     model.forward(x.clone()).square().sum().mul_scalar(0.5)
/// # });
/// # let oracle = GradientOracle::new(&model, &objective);
/// # use osculate_curvature::CurvatureOperator;
/// use osculate_curvature::{Deflation, ParamVec, SolveConfig, deflated_conjugate_gradient};
/// let hessian = Hessian::new(&oracle)?; // diag(1, 4, 9) for this loss
/// let (layout, damping) = (hessian.layout(), 1.0);
/// let deflation = Deflation::new(&hessian, &[ParamVec::basis(&layout, 2)], damping)?;
/// let b = ParamVec::from_values(&layout, &[2.0, 5.0, 10.0]);
/// let config = SolveConfig { tolerance: 1e-5, ..SolveConfig::damped(damping) };
/// let solution = deflated_conjugate_gradient(&hessian, &b, &deflation, &config)?;
/// assert!(solution.converged);
/// assert!(solution.x.to_values().iter().all(|x| (x - 1.0).abs() < 1e-3));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As [`conjugate_gradient`], and [`CurvatureError::InvalidSetting`] for another damping.
pub fn deflated_conjugate_gradient(
    operator: &dyn CurvatureOperator,
    b: &ParamVec,
    deflation: &Deflation,
    config: &SolveConfig,
) -> Result<Solution, CurvatureError> {
    let _span = tracing::debug_span!("deflated_cg", steps = config.steps).entered();
    CurvatureError::check(
        config.damping == deflation.damping(),
        "damping",
        config.damping,
        "the damping that the deflation was made for",
    )?;
    solve(operator, b, None, Some(deflation), config)
}

/// What a restart of the recurrence needs.
struct Search<'a> {
    operator: &'a dyn CurvatureOperator,
    preconditioner: Option<&'a dyn CurvatureOperator>,
    deflation: Option<&'a Deflation>,
    damping: f64,
}

impl Search<'_> {
    /// `(A + δ I) v`.
    fn product(&self, v: &ParamVec, tally: &mut Tally) -> Result<ParamVec, CurvatureError> {
        let product = tally.apply(self.operator, v)?;
        Ok(product.axpy(self.damping, v))
    }

    /// The preconditioned residual.
    fn precondition(&self, r: &ParamVec) -> Result<ParamVec, CurvatureError> {
        match self.preconditioner {
            Some(inverse) => Ok(inverse.apply(r)?.value),
            None => Ok(r.clone()),
        }
    }

    /// A search direction, less its part along the deflated ones.
    fn direction(&self, z: ParamVec) -> ParamVec {
        match self.deflation {
            Some(deflation) => deflation.remove(z),
            None => z,
        }
    }
}

/// `rᵀ P r` for a residual of this norm, which a preconditioner must make positive.
fn positive(form: f64, search: &Search<'_>, norm: f64) -> Result<f64, CurvatureError> {
    // NaN is told where the next curvature is.
    if search.preconditioner.is_some() && form <= 0.0 && norm > 0.0 {
        return Err(CurvatureError::IndefinitePreconditioner { form });
    }
    Ok(form)
}

fn solve(
    operator: &dyn CurvatureOperator,
    b: &ParamVec,
    preconditioner: Option<&dyn CurvatureOperator>,
    deflation: Option<&Deflation>,
    config: &SolveConfig,
) -> Result<Solution, CurvatureError> {
    operator.layout().check(b.layout())?;
    let mut tally = config.validate(b)?;
    let search = Search {
        operator,
        preconditioner,
        deflation,
        damping: config.damping,
    };
    let b = b.to_compute_dtype();
    let size = finite_norm(&b)?;
    let (mut x, mut r) = match &config.initial {
        Some(initial) => {
            let x = initial.to_compute_dtype();
            let r = b.sub(&search.product(&x, &mut tally)?);
            (x, r)
        }
        None => (b.scale(0.0), b.clone()),
    };
    let mut residuals = vec![finite_norm(&r)?];
    let goal = config.tolerance * size;
    let mut negative = None;
    let mut steps = 0;
    // The residual from a product, of the last time that it was made.
    let mut certain = config.initial.is_none() || residuals[0] <= goal;
    let mut last_certain = f64::INFINITY;
    'restart: loop {
        if let Some(deflation) = deflation {
            (x, r) = deflation.solve_within(x, r);
            certain = false;
        }
        let z = search.precondition(&r)?;
        let mut norm = r.norm();
        let mut rz = positive(r.dot(&z), &search, norm)?;
        let mut p = search.direction(z);
        if deflation.is_some() && steps == 0 {
            residuals[0] = norm;
        }
        while norm > goal && steps < config.steps && (steps == 0 || tally.affords(1)) {
            let q = search.product(&p, &mut tally)?;
            let curvature = p.dot(&q);
            let length = p.dot(&p);
            if !curvature.is_finite() || !length.is_finite() {
                return Err(CurvatureError::NonFinite {
                    what: "the curvature along a search direction",
                    value: curvature,
                });
            }
            if curvature <= 0.0 {
                negative = Some(NegativeCurvature {
                    direction: p,
                    curvature: curvature / length,
                });
                break 'restart;
            }
            let alpha = rz / curvature;
            x = x.axpy(alpha, &p);
            r = r.axpy(-alpha, &q);
            norm = r.norm();
            residuals.push(norm);
            steps += 1;
            certain = false;
            let z = search.precondition(&r)?;
            let next = positive(r.dot(&z), &search, norm)?;
            p = search.direction(z).axpy(next / rz, &p);
            rz = next;
        }
        if certain || !config.verified || !tally.affords(1) {
            break;
        }
        r = b.sub(&search.product(&x, &mut tally)?);
        certain = true;
        let norm = r.norm();
        let stalled = norm > 0.5 * last_certain;
        last_certain = norm;
        if let Some(last) = residuals.last_mut() {
            *last = norm;
        }
        if norm <= goal || stalled || steps >= config.steps {
            break;
        }
    }
    let norm = r.norm();
    let relative_residual = if size > 0.0 { norm / size } else { norm };
    Ok(Solution {
        converged: negative.is_none() && norm <= goal,
        x,
        relative_residual,
        residuals,
        negative_curvature: negative,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{Shifted, Structure};
    use crate::solve::tests::{X4, a4};
    use crate::tally::Budget;
    use crate::testing::{assert_close, mixed};

    fn tight(damping: f64) -> SolveConfig {
        SolveConfig {
            damping,
            tolerance: 1e-10,
            ..SolveConfig::default()
        }
    }

    #[test]
    fn it_is_the_oracles() {
        let (operator, b) = a4();
        let found = conjugate_gradient(&operator, &b, None, &tight(0.1)).unwrap();
        assert_close(&found.x.to_values(), &X4, 1e-8);
        let norms = [
            2.5,
            1.3685429318970208,
            0.6007528875835604,
            0.08557756768550236,
        ];
        assert_close(&found.residuals[..4], &norms, 1e-10);
        assert!(found.converged && found.relative_residual < 1e-10);
    }

    #[test]
    fn negative_curvature_is_found_at_the_oracles_step() {
        let (operator, b) = a4();
        let found = conjugate_gradient(&operator, &b, None, &tight(-0.5)).unwrap();
        let negative = found.negative_curvature.as_ref().unwrap();
        assert!((negative.curvature + 0.5156319650960817).abs() < 1e-10);
        assert_eq!(found.products, 4);
        assert!(!found.converged);
        let p = &negative.direction;
        let shifted = Shifted::new(&operator, -0.5).apply(p).unwrap().value;
        assert!((p.dot(&shifted) / p.dot(p) - negative.curvature).abs() < 1e-12);
        let error = found.solved().unwrap_err().to_string();
        assert_eq!(
            error,
            "the operator is not positive definite: its curvature along a search direction is \
             -5.156e-1; raise the damping by more than that, use a positive semi-definite operator \
             (Gauss-Newton), or solve with `minres`"
        );
    }

    #[test]
    fn a_warm_start_saves_steps() {
        let eigenvalues: Vec<f64> = (1..=40).map(|i| 20.0 / f64::from(i * i)).collect();
        let operator = mixed(&eigenvalues, &[15, 25], Structure::PositiveSemidefinite);
        let b = ParamVec::gaussian(&operator.layout(), 3);
        let cold = conjugate_gradient(&operator, &b, None, &SolveConfig::damped(0.1)).unwrap();
        let similar = b.axpy(1e-3, &ParamVec::gaussian(&operator.layout(), 4));
        let warm = SolveConfig {
            initial: Some(cold.x.clone()),
            ..SolveConfig::damped(0.1)
        };
        let warm = conjugate_gradient(&operator, &similar, None, &warm).unwrap();
        assert!(warm.converged && warm.products < cold.products);
    }

    #[test]
    fn what_is_not_verified_costs_its_steps_alone() {
        let (operator, b) = a4();
        for tolerance in [1e-10, 0.5] {
            let mut config = tight(0.1);
            (config.tolerance, config.verified) = (tolerance, false);
            let found = conjugate_gradient(&operator, &b, None, &config).unwrap();
            assert_eq!(found.products, found.residuals.len() - 1);
            let found = crate::solve::minres(&operator, &b, &config).unwrap();
            assert_eq!(found.products, found.residuals.len() - 1);
        }
    }

    #[test]
    fn budgets_end_it_early() {
        let (operator, b) = a4();
        let config = SolveConfig {
            budget: Budget::products(2),
            ..tight(0.1)
        };
        let found = conjugate_gradient(&operator, &b, None, &config).unwrap();
        assert_eq!(found.products, 2);
        assert!(!found.converged);
        assert!(matches!(
            found.solved(),
            Err(CurvatureError::NotSolved { products: 2, .. })
        ));
    }
}
