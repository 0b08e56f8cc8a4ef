//! What a result may spend, and what it has spent.

use std::time::{Duration, Instant};

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Product, Provenance, larger};
use crate::params::ParamVec;

/// Limits on what an estimate or a solution may spend. Without limits by default.
///
/// A method stops before the product that would exceed a limit and returns what it has, with
/// `converged` false. Prices are learnt from the products already made, so the first product of all
/// is always made.
///
/// ```
/// use std::time::Duration;
/// use osculate_curvature::Budget;
/// let budget = Budget::gradients(50.0).and_seconds(Duration::from_secs(2));
/// assert_eq!(budget.products, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    /// Largest number of operator products.
    pub products: Option<usize>,
    /// Largest cost in [gradient evaluations](Cost::gradient_evaluations).
    pub gradient_evaluations: Option<f64>,
    /// Longest wall-clock time.
    pub time: Option<Duration>,
}

impl Budget {
    /// At most this many products.
    pub fn products(products: usize) -> Self {
        Self {
            products: Some(products),
            ..Self::default()
        }
    }

    /// At most this many gradient evaluations.
    pub fn gradients(gradient_evaluations: f64) -> Self {
        Self {
            gradient_evaluations: Some(gradient_evaluations),
            ..Self::default()
        }
    }

    /// At most this much wall-clock time.
    pub fn seconds(time: Duration) -> Self {
        Self {
            time: Some(time),
            ..Self::default()
        }
    }

    /// The same budget with a limit on wall-clock time.
    pub fn and_seconds(self, time: Duration) -> Self {
        Self {
            time: Some(time),
            ..self
        }
    }

    fn validate(&self) -> Result<(), CurvatureError> {
        if let Some(products) = self.products {
            CurvatureError::check(
                products > 0,
                "budget.products",
                products,
                "at least one product",
            )?;
        }
        if let Some(gradients) = self.gradient_evaluations {
            CurvatureError::check(
                gradients.is_finite() && gradients > 0.0,
                "budget.gradient_evaluations",
                gradients,
                "a positive finite number",
            )?;
        }
        if let Some(time) = self.time {
            CurvatureError::check(
                !time.is_zero(),
                "budget.time",
                format_args!("{time:?}"),
                "more than no time",
            )?;
        }
        Ok(())
    }
}

/// Makes products, adds up what they cost, and says when the budget is spent.
pub(crate) struct Tally {
    budget: Budget,
    start: Instant,
    pub(crate) products: usize,
    pub(crate) cost: Cost,
    pub(crate) product_error: Option<f64>,
    /// How the products were made, the worst of them.
    pub(crate) provenance: Provenance,
}

impl Tally {
    pub(crate) fn new(budget: Budget) -> Result<Self, CurvatureError> {
        budget.validate()?;
        Ok(Self {
            budget,
            start: Instant::now(),
            products: 0,
            cost: Cost::ZERO,
            product_error: None,
            provenance: Provenance::Exact,
        })
    }

    /// Without limits.
    pub(crate) fn unlimited() -> Self {
        Self {
            budget: Budget::default(),
            start: Instant::now(),
            products: 0,
            cost: Cost::ZERO,
            product_error: None,
            provenance: Provenance::Exact,
        }
    }

    /// `A v`.
    pub(crate) fn apply(
        &mut self,
        operator: &dyn CurvatureOperator,
        v: &ParamVec,
    ) -> Result<ParamVec, CurvatureError> {
        let product = operator.apply(v)?;
        self.charge(product)
    }

    /// `A v` for each vector, as many at once as the operator likes.
    pub(crate) fn apply_all(
        &mut self,
        operator: &dyn CurvatureOperator,
        vectors: &[ParamVec],
    ) -> Result<Vec<ParamVec>, CurvatureError> {
        let mut values = Vec::with_capacity(vectors.len());
        let mut rest = vectors;
        while !rest.is_empty() {
            // The width of an operator can be known only after its first product.
            let (now, later) = rest.split_at(operator.width().clamp(1, rest.len()));
            let products = match now {
                [one] => vec![operator.apply(one)?],
                several => operator.apply_many(several)?,
            };
            for product in products {
                values.push(self.charge(product)?);
            }
            rest = later;
        }
        Ok(values)
    }

    /// Books a product.
    pub(crate) fn charge(&mut self, product: Product) -> Result<ParamVec, CurvatureError> {
        self.book(1, product.cost, product.error(), product.provenance)?;
        Ok(product.value)
    }

    /// Books products that another method made.
    pub(crate) fn book(
        &mut self,
        products: usize,
        cost: Cost,
        error: Option<f64>,
        provenance: Provenance,
    ) -> Result<(), CurvatureError> {
        let first = self.products == 0;
        self.products += products;
        self.cost += cost;
        self.product_error = larger(self.product_error, error);
        self.provenance = self.provenance.worst(provenance);
        if first && let Some(budget) = self.budget.gradient_evaluations {
            let needed = self.cost.gradient_evaluations() / products.max(1) as f64;
            if needed > budget {
                return Err(CurvatureError::BudgetTooSmall { budget, needed });
            }
        }
        Ok(())
    }

    /// How many further products the budget allows, as far as prices are known.
    pub(crate) fn affordable(&self) -> usize {
        let mut count = usize::MAX;
        if let Some(products) = self.budget.products {
            count = count.min(products.saturating_sub(self.products));
        }
        if self.products == 0 {
            return count;
        }
        let made = self.products as f64;
        if let Some(budget) = self.budget.gradient_evaluations {
            let spent = self.cost.gradient_evaluations();
            // Differences of sums of thirds are a little off.
            count = count.min(((budget - spent) * made / spent.max(1e-300) + 1e-9) as usize);
        }
        if let Some(budget) = self.budget.time {
            let spent = self.start.elapsed().as_secs_f64();
            let left = budget.as_secs_f64() - spent;
            count = count.min((left * made / spent.max(1e-300)).max(0.0) as usize);
        }
        count
    }

    /// How many products to make at once, of so many that are best. Where prices are limited and not known yet, the
    /// first tells.
    pub(crate) fn at_once(&self, width: usize) -> usize {
        let priced = self.budget.gradient_evaluations.is_some() || self.budget.time.is_some();
        let width = if priced && self.products == 0 {
            1
        } else {
            width
        };
        width.min(self.affordable())
    }

    /// Whether the budget allows this many further products.
    pub(crate) fn affords(&self, products: usize) -> bool {
        self.affordable() >= products
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::layout;

    fn product(cost: Cost) -> Product {
        Product {
            value: ParamVec::zeros(&layout(&[2])),
            cost,
            provenance: Provenance::Exact,
        }
    }

    #[test]
    fn a_budget_ends_before_it_is_exceeded() {
        let mut tally = Tally::new(Budget::gradients(5.0)).unwrap();
        assert!(tally.affords(1));
        let two = Cost::GRADIENT + Cost::GRADIENT;
        tally.charge(product(two)).unwrap();
        assert_eq!(tally.affordable(), 1);
        tally.charge(product(two)).unwrap();
        assert!(!tally.affords(1));

        let mut tally = Tally::new(Budget::products(2)).unwrap();
        tally.charge(product(Cost::ZERO)).unwrap();
        assert_eq!(tally.affordable(), 1);
    }

    #[test]
    fn a_budget_below_one_product_is_an_error() {
        let mut tally = Tally::new(Budget::gradients(0.5)).unwrap();
        let error = tally.charge(product(Cost::GRADIENT)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the budget of 0.5 gradient evaluations is too small for one product, which takes 1; \
             allow at least that"
        );
        for budget in [
            Budget::products(0),
            Budget::gradients(f64::NAN),
            Budget::seconds(Duration::ZERO),
        ] {
            assert!(Tally::new(budget).is_err(), "{budget:?}");
        }
    }

    #[test]
    fn time_is_a_budget() {
        let mut tally = Tally::new(Budget::seconds(Duration::from_millis(5))).unwrap();
        tally.charge(product(Cost::ZERO)).unwrap();
        std::thread::sleep(Duration::from_millis(6));
        assert!(!tally.affords(1));
    }
}
