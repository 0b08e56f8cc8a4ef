use burn::module::{Module, ParamGroup};

use super::second_difference::step;
use super::{Penalty, PenaltyValue};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::objective::Objective;
use crate::operator::{CurvatureOperator, Hessian};
use crate::oracle::GradientOracle;
use crate::params::{ParamVec, assign};

/// Settings of [`AlignmentPenalty`].
#[derive(Debug, Clone)]
pub struct AlignmentConfig {
    /// Weight of `Σ_e |H_e g_e - H̄ ḡ|²`. Default 1.
    pub hessian: f64,
    /// Weight of `Σ_e |g_e - ḡ|²`. Default 1.
    pub gradient: f64,
    /// Whose gradients and Hessian block are aligned: the classifier's head, in the paper. Default
    /// `None`: all parameters.
    pub group: Option<ParamGroup>,
}

impl Default for AlignmentConfig {
    fn default() -> Self {
        Self {
            hessian: 1.0,
            gradient: 1.0,
            group: None,
        }
    }
}

/// How differently several domains (environments, groups of people) curve the loss at the same
/// weights: `α Σ_e |H_e g_e - H̄ ḡ|² + β Σ_e |g_e - ḡ|²` with the gradient `ḡ` and the Hessian `H̄`
/// of the domains' mean loss.
///
/// Where all domains agree in gradients and curvature, what is learnt on one holds on the others. The
/// penalty's gradient needs third derivatives, which are differences of exact Hessian products.
///
/// Cost for each domain: one gradient, seven Hessian products, and four more gradients and products at
/// moved weights.
///
/// Paper: Hemati, Zhang, Estiri, Chen, <https://arxiv.org/abs/2308.11778>.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::Device;
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let layout = osculate_curvature::GradientOracle::new(&model, &|m: &Linear| m.weight.val().sum()).layout()?;
/// # let at = osculate_curvature::ParamVec::from_values(&layout, &[0.5, 2.0]);
/// # let model = osculate_curvature::assign(model, &at);
/// use osculate_curvature::{AlignmentConfig, AlignmentPenalty, Objective, Penalty};
/// let first = |model: &Linear| model.weight.val().square().sum();
/// let second = |model: &Linear| model.weight.val().powi_scalar(4).sum();
/// let of = |domains: Vec<&dyn Objective<Linear>>| {
///     AlignmentPenalty::new(domains, AlignmentConfig::default())?.evaluate(&model)
/// };
/// assert!(of(vec![&first, &first])?.value < 1e-3);
/// assert!(of(vec![&first, &second])?.value > 1.0);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct AlignmentPenalty<'a, M> {
    domains: Vec<&'a dyn Objective<M>>,
    config: AlignmentConfig,
}

impl<'a, M> AlignmentPenalty<'a, M> {
    /// Aligns these domains' losses.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for fewer than two domains, or weights that are not finite.
    pub fn new(
        domains: Vec<&'a dyn Objective<M>>,
        config: AlignmentConfig,
    ) -> Result<Self, CurvatureError> {
        let count = domains.len();
        CurvatureError::check(
            count >= 2,
            "number of domains",
            count,
            "at least two domains",
        )?;
        for (name, weight) in [("hessian", config.hessian), ("gradient", config.gradient)] {
            CurvatureError::check(weight.is_finite(), name, weight, "a finite number")?;
        }
        Ok(Self { domains, config })
    }

    /// The vector with zeros outside the aligned parameters.
    fn project(&self, v: &ParamVec) -> Result<ParamVec, CurvatureError> {
        match &self.config.group {
            None => Ok(v.clone()),
            Some(group) => {
                let positions = v.layout().select(group)?;
                Ok(v.subset(&positions).embed(v.layout(), &positions))
            }
        }
    }
}

/// One domain at the model's weights.
struct Domain<'a, M: Module> {
    oracle: GradientOracle<'a, M>,
    gradient: ParamVec,
    product: ParamVec,
}

impl<M: Module> AlignmentPenalty<'_, M> {
    /// `T[g, c] + H P H c` for the mean loss of some domains: the gradient of `c · P H P g`, with `g`
    /// their gradient and `c` constant.
    fn pull(
        &self,
        model: &M,
        domains: &[Domain<'_, M>],
        g: &ParamVec,
        c: &ParamVec,
        extra: &mut Cost,
    ) -> Result<ParamVec, CurvatureError> {
        let share = 1.0 / domains.len() as f64;
        let zero = c.scale(0.0);
        let product = |v: &ParamVec| -> Result<ParamVec, CurvatureError> {
            domains.iter().try_fold(zero.clone(), |sum, domain| {
                let product = Hessian::new(&domain.oracle)?.apply(v)?.value;
                Ok(sum.axpy(share, &product))
            })
        };
        let twice = product(&self.project(&product(c)?)?)?;
        if c.max_abs() == 0.0 {
            return Ok(twice);
        }
        let oracle = &domains[0].oracle;
        let h = step(oracle, c, 1.0 / 3.0)?;
        let weights = oracle.parameters()?;
        let offset = c.map(|(entry, x)| x.clone().cast(entry.dtype));
        let mut change = zero.clone();
        for sign in [1.0, -1.0] {
            let moved = assign(model.clone(), &weights.axpy(sign * h, &offset));
            for domain in domains {
                let oracle = GradientOracle::new(&moved, domain.oracle.objective());
                let product = Hessian::new(&oracle)?.apply(g)?.value;
                change = change.axpy(sign * share * 0.5 / h, &product);
                *extra += oracle.cost();
            }
        }
        Ok(change.add(&twice))
    }
}

impl<M: Module> Penalty<M> for AlignmentPenalty<'_, M> {
    fn evaluate(&self, model: &M) -> Result<PenaltyValue, CurvatureError> {
        let mut domains = Vec::with_capacity(self.domains.len());
        for objective in &self.domains {
            let oracle = GradientOracle::new(model, *objective);
            let gradient = self.project(&oracle.clean()?.gradient.to_compute_dtype())?;
            let product = self.project(&Hessian::new(&oracle)?.apply(&gradient)?.value)?;
            domains.push(Domain {
                oracle,
                gradient,
                product,
            });
        }
        let share = 1.0 / domains.len() as f64;
        let zero = domains[0].gradient.scale(0.0);
        for domain in &domains {
            zero.layout().check(domain.gradient.layout())?;
        }
        let (mut mean, mut curved) = (zero.clone(), zero.clone());
        for domain in &domains {
            mean = mean.axpy(share, &domain.gradient);
        }
        for domain in &domains {
            let product = Hessian::new(&domain.oracle)?.apply(&mean)?.value;
            curved = curved.axpy(share, &self.project(&product)?);
        }
        let (alpha, beta) = (self.config.hessian, self.config.gradient);
        let mut extra = Cost::ZERO;
        let (mut value, mut gradient, mut total) = (0.0, zero.clone(), zero);
        for domain in &domains {
            let apart = domain.product.sub(&curved);
            let deviation = domain.gradient.sub(&mean);
            value += alpha * apart.dot(&apart) + beta * deviation.dot(&deviation);
            let one = std::slice::from_ref(domain);
            let own = self.pull(model, one, &domain.gradient, &apart, &mut extra)?;
            gradient = gradient.axpy(2.0 * alpha, &own);
            // The deviations sum to zero, so the mean has no term of its own here.
            let turned = Hessian::new(&domain.oracle)?.apply(&deviation)?.value;
            gradient = gradient.axpy(2.0 * beta, &turned);
            total = total.add(&apart);
        }
        let shared = self.pull(model, &domains, &mean, &total, &mut extra)?;
        gradient = gradient.axpy(-2.0 * alpha, &shared);
        let own: Cost = domains.iter().map(|domain| domain.oracle.cost()).sum();
        Ok(PenaltyValue {
            value,
            gradient,
            cost: own + extra,
        })
    }
}
