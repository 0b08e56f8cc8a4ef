use super::{Factor, SolveConfig, finite_norm};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::params::ParamVec;

/// The right-hand side of `(Jᵀ J + δ I) x = b`.
#[derive(Debug, Clone)]
pub enum RightHandSide {
    /// `b = Jᵀ r` for a residual of one number for each row: the best conditioned way to a
    /// natural-gradient or Levenberg-Marquardt step. The damping may be 0.
    Residual(Vec<f64>),
    /// Any `b`. The damping must be positive.
    Vector(ParamVec),
}

/// The end of [`lsmr`].
#[derive(Debug, Clone)]
pub struct LsmrSolution {
    /// The last iterate.
    pub x: ParamVec,
    /// Norm of `b - (Jᵀ J + δ I) x` before the first step and after each, as the recurrence has it.
    pub residuals: Vec<f64>,
    /// The last of them, relative to the first.
    pub relative_residual: f64,
    /// Number of steps taken.
    pub steps: usize,
    /// What the products with the factor and its transpose cost.
    pub cost: Cost,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
}

/// Solves `(Jᵀ J + δ I) x = b` by LSMR, on the factor `J` itself.
///
/// It minimises `|[J; sqrt(δ) I] x - [r; b / sqrt(δ)]|`, whose condition number is the *root* of
/// that of the normal equations: fewer steps than [`conjugate_gradient`](super::conjugate_gradient),
/// and half of the digits are not lost. The residual of the normal equations never grows.
///
/// Cost: one product with `J` and one with `Jᵀ` a step, about one of `Jᵀ J`. Memory: six vectors.
/// Of the settings, `initial` and `budget` are not used.
///
/// Paper: Fong, Saunders, <https://arxiv.org/abs/1006.0758>.
///
/// [`GaussNewtonFactor`](crate::GaussNewtonFactor) is the factor of a network,
/// [`GradientRows`](super::GradientRows) one of stored gradients.
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
/// use osculate_curvature::{DenseFactor, RightHandSide, SolveConfig, lsmr};
/// # let layout = Hessian::new(&oracle)?.layout();
/// let factor = DenseFactor::new(layout, &[1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0])?;
/// let config = SolveConfig { tolerance: 1e-6, ..SolveConfig::damped(0.0) };
/// let solution = lsmr(&factor, &RightHandSide::Residual(vec![1.0, 2.0, 3.0]), &config)?;
/// // J x is the residual itself, at x = (1, 1, 1).
/// assert!(solution.converged && solution.steps <= 3);
/// assert!(solution.x.to_values().iter().all(|x| (x - 1.0).abs() < 1e-4));
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// [`CurvatureError::InvalidSetting`], [`CurvatureError::LayoutMismatch`],
/// [`CurvatureError::NonFinite`], and as the factor's products.
pub fn lsmr(
    factor: &dyn Factor,
    right: &RightHandSide,
    config: &SolveConfig,
) -> Result<LsmrSolution, CurvatureError> {
    let _span = tracing::debug_span!("lsmr", steps = config.steps).entered();
    let zero = ParamVec::zeros(&factor.layout()).to_compute_dtype();
    config.validate(&zero)?;
    let needs_damping = matches!(right, RightHandSide::Vector(_));
    CurvatureError::check(
        config.damping > 0.0 || (config.damping == 0.0 && !needs_damping),
        "damping",
        config.damping,
        "a positive number (0 is possible for a residual)",
    )?;
    let system = Augmented {
        factor,
        root: config.damping.sqrt(),
    };
    let mut cost = Cost::ZERO;
    let mut u = match right {
        RightHandSide::Residual(residual) => {
            CurvatureError::check(
                residual.len() == factor.rows(),
                "length of the residual",
                residual.len(),
                "one number for each row of the factor",
            )?;
            Pair {
                top: residual.clone(),
                bottom: zero.clone(),
            }
        }
        RightHandSide::Vector(b) => {
            zero.layout().check(b.layout())?;
            finite_norm(b)?;
            Pair {
                top: vec![0.0; factor.rows()],
                bottom: b.to_compute_dtype().scale(1.0 / system.root),
            }
        }
    };
    let mut beta = u.norm()?;
    u.scale(inverse(beta));
    let mut v = system.transpose(&u, &mut cost)?;
    let mut alpha = finite_norm(&v)?;
    v = v.scale(inverse(alpha));

    let (mut alpha_bar, mut zeta_bar) = (alpha, alpha * beta);
    let (mut rho, mut rho_bar, mut c_bar, mut s_bar) = (1.0_f64, 1.0_f64, 1.0_f64, 0.0_f64);
    let (mut h, mut h_bar, mut x) = (v.clone(), zero.clone(), zero);
    let first = zeta_bar.abs();
    let mut residuals = vec![first];
    let mut steps = 0;
    while zeta_bar.abs() > config.tolerance * first && steps < config.steps {
        u = system.apply(&v, &mut cost)?.minus(alpha, u);
        beta = u.norm()?;
        u.scale(inverse(beta));
        v = system.transpose(&u, &mut cost)?.axpy(-beta, &v);
        alpha = finite_norm(&v)?;
        v = v.scale(inverse(alpha));

        let rho_before = rho;
        rho = alpha_bar.hypot(beta);
        let (c, s) = (alpha_bar / rho, beta / rho);
        let theta = s * alpha;
        alpha_bar = c * alpha;

        let rho_bar_before = rho_bar;
        let theta_bar = s_bar * rho;
        let turned = c_bar * rho;
        rho_bar = turned.hypot(theta);
        c_bar = turned / rho_bar;
        s_bar = theta / rho_bar;
        let zeta = c_bar * zeta_bar;
        zeta_bar *= -s_bar;

        h_bar = h.axpy(-theta_bar * rho / (rho_before * rho_bar_before), &h_bar);
        x = x.axpy(zeta / (rho * rho_bar), &h_bar);
        h = v.axpy(-theta / rho, &h);
        residuals.push(zeta_bar.abs());
        steps += 1;
    }
    let last = zeta_bar.abs();
    Ok(LsmrSolution {
        x,
        relative_residual: last * inverse(first),
        residuals,
        steps,
        cost,
        converged: last <= config.tolerance * first,
    })
}

/// The inverse, or 0 of 0.
fn inverse(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// A vector of the rows of `[J; sqrt(δ) I]`.
struct Pair {
    top: Vec<f64>,
    bottom: ParamVec,
}

impl Pair {
    fn norm(&self) -> Result<f64, CurvatureError> {
        let top: f64 = self.top.iter().map(|x| x * x).sum();
        let norm = (top + self.bottom.dot(&self.bottom)).sqrt();
        if norm.is_finite() {
            Ok(norm)
        } else {
            Err(CurvatureError::NonFinite {
                what: "the norm of a residual",
                value: norm,
            })
        }
    }

    fn scale(&mut self, by: f64) {
        self.top.iter_mut().for_each(|x| *x *= by);
        self.bottom = self.bottom.scale(by);
    }

    /// `self - by * other`.
    fn minus(self, by: f64, other: Self) -> Self {
        let top = self.top.iter().zip(other.top).map(|(x, y)| x - by * y);
        Self {
            top: top.collect(),
            bottom: self.bottom.axpy(-by, &other.bottom),
        }
    }
}

struct Augmented<'a> {
    factor: &'a dyn Factor,
    root: f64,
}

impl Augmented<'_> {
    fn apply(&self, v: &ParamVec, cost: &mut Cost) -> Result<Pair, CurvatureError> {
        let product = self.factor.apply(v)?;
        *cost += product.cost;
        Ok(Pair {
            top: product.value,
            bottom: v.scale(self.root),
        })
    }

    fn transpose(&self, u: &Pair, cost: &mut Cost) -> Result<ParamVec, CurvatureError> {
        let product = self.factor.transpose(&u.top)?;
        *cost += product.cost;
        Ok(product.value.to_compute_dtype().axpy(self.root, &u.bottom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{CurvatureOperator, DenseOperator, Structure};
    use crate::solve::tests::B4;
    use crate::solve::{DenseFactor, conjugate_gradient};
    use crate::testing::{Lcg, assert_close, layout};

    fn tight(damping: f64) -> SolveConfig {
        SolveConfig {
            damping,
            tolerance: 1e-11,
            ..SolveConfig::default()
        }
    }

    #[test]
    fn any_right_hand_side_is_the_oracles() {
        let layout = layout(&[4]);
        let rows = [1.0, 0.0, 2.0, 0.0, 0.0, 1.0, -1.0, 0.5];
        let factor = DenseFactor::new(layout.clone(), &rows).unwrap();
        let b = ParamVec::from_values(&layout, &B4);
        let found = lsmr(&factor, &RightHandSide::Vector(b.clone()), &tight(0.1)).unwrap();
        let expected = [
            2.17282404508453,
            -4.959298685034439,
            -0.695053224796492,
            7.5203506574827825,
        ];
        assert_close(&found.x.to_values(), &expected, 1e-9);
        assert!(found.converged);
        let error = lsmr(&factor, &RightHandSide::Vector(b), &tight(0.0)).unwrap_err();
        assert!(error.to_string().starts_with("damping = 0 is invalid"));
        assert!(lsmr(&factor, &RightHandSide::Residual(vec![1.0]), &tight(0.1)).is_err());
    }

    #[test]
    fn a_residual_takes_fewer_steps_than_the_normal_equations() {
        let (m, n) = (30, 20);
        let layout = layout(&[8, 12]);
        // Columns of very different lengths: the normal equations have their squares.
        let mut rows = Lcg::new(9).normal(m * n);
        for (index, x) in rows.iter_mut().enumerate() {
            *x *= 0.6_f64.powi((index % n) as i32);
        }
        let factor = DenseFactor::new(layout.clone(), &rows).unwrap();
        let residual = Lcg::new(4).normal(m);
        let gram: Vec<f64> = (0..n * n)
            .map(|at| {
                (0..m)
                    .map(|k| rows[k * n + at / n] * rows[k * n + at % n])
                    .sum()
            })
            .collect();
        let operator = DenseOperator::new(layout, gram, Structure::PositiveSemidefinite).unwrap();
        let b = factor.transpose(&residual).unwrap().value;
        let config = SolveConfig {
            damping: 1e-4,
            tolerance: 1e-7,
            ..SolveConfig::default()
        };
        let least = lsmr(&factor, &RightHandSide::Residual(residual), &config).unwrap();
        let normal = conjugate_gradient(&operator, &b, None, &config).unwrap();
        assert!(least.converged && normal.converged);
        assert!(least.x.sub(&normal.x).norm() < 1e-3 * normal.x.norm());
        let product = operator.apply(&least.x).unwrap().value.axpy(1e-4, &least.x);
        let residual = b.sub(&product).norm();
        assert!(
            (residual - least.residuals[least.steps]).abs() < 1e-8,
            "{residual}"
        );
        assert!(
            least
                .residuals
                .windows(2)
                .all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12))
        );
    }
}
