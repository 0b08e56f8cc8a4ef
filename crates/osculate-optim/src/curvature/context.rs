//! What a curvature source may evaluate.

use std::cell::Cell;
use std::sync::Arc;

use burn::module::Module;
use osculate_curvature::{
    Cost, CurvatureError, CurvatureOperator, Evaluation, GradientOracle, Hessian, HessianConfig,
    HvpFallback, ParamLayout, ParamVec, Product, Provenance, Structure, gnb_sample,
};

use crate::record::StateRecord;

/// An oracle of any model.
pub(crate) trait ErasedOracle {
    fn parameters(&self) -> Result<&ParamVec, CurvatureError>;
    fn clean(&self) -> Result<&Evaluation, CurvatureError>;
    fn seed(&self) -> u64;
    fn cost(&self) -> Cost;
    fn gauss_newton_bartlett(&self, seed: u64) -> Result<ParamVec, CurvatureError>;
    /// Calls `run` with the Hessian, and tells what is to be kept of its products.
    fn with_hessian(
        &self,
        config: HessianConfig,
        memory: &ProductMemory,
        run: &mut dyn FnMut(&dyn CurvatureOperator) -> Result<(), CurvatureError>,
    ) -> Result<Found, CurvatureError>;
}

/// An operator that remembers how its products were made.
struct Watched<'a> {
    operator: &'a dyn CurvatureOperator,
    worst: Cell<Option<Provenance>>,
}

impl Watched<'_> {
    fn seen(&self, product: Product) -> Product {
        let own = product.provenance;
        let worst = self.worst.get().map_or(own, |worst| worst.worst(own));
        self.worst.set(Some(worst));
        product
    }
}

impl CurvatureOperator for Watched<'_> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.operator.layout()
    }

    fn structure(&self) -> Structure {
        self.operator.structure()
    }

    fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(self.seen(self.operator.apply(v)?))
    }

    fn apply_probe(&self, z: &ParamVec) -> Result<Product, CurvatureError> {
        Ok(self.seen(self.operator.apply_probe(z)?))
    }
}

/// The finite-difference step to keep, and how the products of a step were made.
pub(crate) type Found = (Option<f64>, Option<Provenance>);

impl<M: Module> ErasedOracle for GradientOracle<'_, M> {
    fn parameters(&self) -> Result<&ParamVec, CurvatureError> {
        self.parameters()
    }

    fn clean(&self) -> Result<&Evaluation, CurvatureError> {
        self.clean()
    }

    fn seed(&self) -> u64 {
        self.seed()
    }

    fn cost(&self) -> Cost {
        self.cost()
    }

    fn gauss_newton_bartlett(&self, seed: u64) -> Result<ParamVec, CurvatureError> {
        gnb_sample(self, seed)
    }

    fn with_hessian(
        &self,
        config: HessianConfig,
        memory: &ProductMemory,
        run: &mut dyn FnMut(&dyn CurvatureOperator) -> Result<(), CurvatureError>,
    ) -> Result<Found, CurvatureError> {
        let hessian = Hessian::with_config(self, config)?
            .with_first_step(memory.last_step)
            .with_fallback(memory.fallback.clone());
        let watched = Watched {
            operator: &hessian,
            worst: Cell::new(None),
        };
        run(&watched)?;
        Ok((hessian.last_step(), watched.worst.get()))
    }
}

/// What must survive from one Hessian product to the next.
#[derive(Debug, Default)]
pub(crate) struct ProductMemory {
    /// The finite-difference step that worked last: looking for it anew at every estimate would cost
    /// two forward passes. It is part of the state, or a resumed run would differ.
    last_step: Option<f64>,
    /// Why exact products are not possible, once that is known.
    fallback: HvpFallback,
    /// Whether that was known after the last step that was made. It is part of the state too.
    differences: bool,
}

impl Clone for ProductMemory {
    /// By value: a clone may step another model, of which exact products are possible.
    fn clone(&self) -> Self {
        let fallback = match self.fallback.reason() {
            Some(reason) => HvpFallback::decided(reason),
            None => HvpFallback::default(),
        };
        Self { fallback, ..*self }
    }
}

impl ProductMemory {
    /// Forgets what was found out in a step that was not made.
    pub(crate) fn discard(&mut self) {
        if !self.differences && self.fallback.reason().is_some() {
            self.fallback = HvpFallback::default();
        }
    }

    /// Takes over what an estimate found, once its step has been made.
    pub(crate) fn commit(&mut self, last_step: Option<f64>) {
        self.last_step = last_step;
        self.differences = self.fallback.reason().is_some();
    }

    pub(crate) fn last_step(&self) -> Option<f64> {
        self.last_step
    }

    /// `role` stands before the names.
    pub(crate) fn write(&self, record: &mut StateRecord, role: &str) {
        let name = |name: &str| format!("{role}{name}");
        record.set_optional(&name("finite_difference_step"), self.last_step);
        let differences = self.differences.then_some(1.0);
        record.set_optional(&name("finite_differences"), differences);
    }

    pub(crate) fn read(record: &StateRecord, role: &str) -> Self {
        let find = |name: &str| record.optional(&format!("{role}{name}"));
        let differences = find("finite_differences").is_some();
        Self {
            last_step: find("finite_difference_step"),
            fallback: if differences {
                HvpFallback::decided("products were not exact before the run was resumed")
            } else {
                HvpFallback::default()
            },
            differences,
        }
    }
}

/// The point at which a [`CurvatureSource`](super::CurvatureSource) estimates: the weights at which
/// the gradient of the step was taken, perturbed ones under SAM.
pub struct CurvatureContext<'a> {
    oracle: &'a dyn ErasedOracle,
    memory: &'a ProductMemory,
    step: u64,
    last_step: Option<f64>,
    provenance: Option<Provenance>,
    step_gradient: Option<&'a ParamVec>,
}

impl<'a> CurvatureContext<'a> {
    pub(crate) fn new(oracle: &'a dyn ErasedOracle, memory: &'a ProductMemory, step: u64) -> Self {
        Self {
            oracle,
            memory,
            step,
            last_step: memory.last_step(),
            provenance: None,
            step_gradient: None,
        }
    }

    pub(crate) fn with_step_gradient(mut self, gradient: &'a ParamVec) -> Self {
        self.step_gradient = Some(gradient);
        self
    }

    /// The finite-difference step to keep, and how the products were made.
    pub(crate) fn found(self) -> Found {
        (self.last_step, self.provenance)
    }

    /// The weights at the point.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    pub fn parameters(&self) -> Result<&ParamVec, CurvatureError> {
        self.oracle.parameters()
    }

    /// The gradient at the point, as it came out of the backward pass. Costs nothing: it was taken
    /// before.
    ///
    /// # Errors
    /// Whatever the objective failed with.
    pub fn gradient(&self) -> Result<&ParamVec, CurvatureError> {
        Ok(&self.oracle.clean()?.gradient)
    }

    /// The gradient that the update goes by: after its source, its filters and clipping.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    pub fn step_gradient(&self) -> Result<&ParamVec, CurvatureError> {
        match self.step_gradient {
            Some(gradient) => Ok(gradient),
            None => self.gradient(),
        }
    }

    /// The parameters that take part.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    pub fn layout(&self) -> Result<Arc<ParamLayout>, CurvatureError> {
        Ok(self.gradient()?.layout().clone())
    }

    /// Steps made before this one.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// A seed that is a function of the run's seed and the step's number.
    pub fn seed(&self) -> u64 {
        self.oracle.seed()
    }

    /// `H v` at the point, in the type in which statistics are kept. `v` should be of the size of a
    /// standard normal vector. Finite differences start from the step that worked last.
    ///
    /// Cost: 2 to 2.7 gradient evaluations.
    ///
    /// # Errors
    /// As [`Hessian`](osculate_curvature::Hessian)'s.
    pub fn hessian_product(
        &mut self,
        config: HessianConfig,
        v: &ParamVec,
    ) -> Result<ParamVec, CurvatureError> {
        Ok(self
            .with_hessian(config, |hessian| hessian.apply_probe(v))?
            .value)
    }

    /// [`hessian_product`](Self::hessian_product) with a vector of any length that is no random probe. Reads
    /// its norm back.
    pub(crate) fn product_along(
        &mut self,
        config: HessianConfig,
        v: &ParamVec,
    ) -> Result<ParamVec, CurvatureError> {
        Ok(self.with_hessian(config, |hessian| hessian.apply(v))?.value)
    }

    /// Calls `run` with the Hessian at the point, an operator to estimate or solve with.
    ///
    /// Cost: 2 to 2.7 gradient evaluations for each product.
    ///
    /// # Errors
    /// Those of `run`, and as [`Hessian`](osculate_curvature::Hessian)'s.
    pub fn with_hessian<T>(
        &mut self,
        config: HessianConfig,
        run: impl FnOnce(&dyn CurvatureOperator) -> Result<T, CurvatureError>,
    ) -> Result<T, CurvatureError> {
        let (mut run, mut result) = (Some(run), None);
        let (last_step, provenance) =
            self.oracle
                .with_hessian(config, self.memory, &mut |hessian| {
                    result = run.take().map(|run| run(hessian)).transpose()?;
                    Ok(())
                })?;
        if provenance.is_some() {
            (self.provenance, self.last_step) = (provenance, last_step);
        }
        // `run` is called once, and its error returned above.
        result.ok_or(CurvatureError::NoGradient)
    }

    /// One sample of the Gauss-Newton-Bartlett diagonal `B ĝ ⊙ ĝ`, from targets that the model draws.
    ///
    /// Cost: 1 gradient evaluation.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], and as the oracle.
    pub fn gauss_newton_bartlett(&mut self, seed: u64) -> Result<ParamVec, CurvatureError> {
        self.oracle.gauss_newton_bartlett(seed)
    }
}
