//! What a curvature source may evaluate.

use std::cell::Cell;
use std::sync::Arc;

use burn::module::Module;
use osculate_curvature::{
    Cost, CurvatureError, CurvatureOperator, Evaluation, GaussNewton, GradientOracle, Hessian,
    HessianConfig, ParamLayout, ParamVec, Product, Provenance, StepRule, Structure, gnb_sample,
};

use super::memory::{Found, Kinks, ProductMemory};
use super::sources::unjudged;

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
    /// `H z` of a random probe, or `G z` where the Hessian's products are differences that kinks spoil.
    fn probe_product(
        &self,
        memory: &ProductMemory,
        z: &ParamVec,
    ) -> Result<(ParamVec, Found), CurvatureError>;
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
            .with_first_step(memory.last_step())
            .with_fallback(memory.fallback.clone());
        let watched = Watched {
            operator: &hessian,
            worst: Cell::new(None),
        };
        run(&watched)?;
        Ok(Found {
            last_step: hessian.last_step(),
            provenance: watched.worst.get(),
            fallback: hessian.fallback().map(Arc::from),
            kinks: memory.kinks(),
        })
    }

    fn probe_product(
        &self,
        memory: &ProductMemory,
        z: &ParamVec,
    ) -> Result<(ParamVec, Found), CurvatureError> {
        let has_outputs = self.objective().supervised().is_some();
        let mut kinks = memory.kinks();
        let config = match (kinks, memory.last_step()) {
            // The step that was found to be the best.
            (Kinks::Many, Some(length)) if !has_outputs => HessianConfig {
                step: StepRule::Fixed { length },
                ..unjudged()
            },
            _ => unjudged(),
        };
        let hessian = Hessian::with_config(self, config)?
            .with_first_step(memory.last_step())
            .with_fallback(memory.fallback.clone());
        let found = |product: &Product, fallback: Option<Arc<str>>, kinks: Kinks| Found {
            last_step: match product.provenance {
                Provenance::FiniteDifference { step, .. } if kinks == Kinks::Many => Some(step),
                _ => hessian.last_step(),
            },
            provenance: Some(product.provenance),
            fallback,
            kinks,
        };
        if let Some(exact) = hessian.apply_exactly(z, true)? {
            let found = found(&exact, None, kinks);
            return Ok((exact.value, found));
        }
        let why = hessian.fallback().unwrap_or_default();
        if kinks != Kinks::Many || !has_outputs {
            let mut product = if kinks == Kinks::Unknown {
                let (product, serves) = hessian.judge(z)?;
                kinks = match serves {
                    Some(true) => Kinks::Few,
                    Some(false) => Kinks::Many,
                    None => Kinks::Unknown,
                };
                product
            } else {
                hessian.apply_probe(z)?
            };
            if kinks == Kinks::Many && memory.kinks() == Kinks::Unknown && !has_outputs {
                // Looks for the best step, which is kept.
                let judging = HessianConfig {
                    estimate_error: true,
                    ..unjudged()
                };
                product = Hessian::with_config(self, judging)?
                    .with_fallback(memory.fallback.clone())
                    .apply_probe(z)?;
            }
            if kinks != Kinks::Many || !has_outputs {
                let found = found(&product, Some(why.into()), kinks);
                return Ok((product.value, found));
            }
            tracing::warn!(
                %why,
                "the loss has kinks (ReLU, max pooling) or noise within the steps of finite differences: \
                 products with the Gauss-Newton matrix stand in for the Hessian's. Hand the batch over \
                 (`SupervisedBatch`) for exact products of the Hessian"
            );
        }
        let product = GaussNewton::new(self)?
            .with_fallback(memory.fallback.clone())
            .apply_probe(z)?;
        let why = format!(
            "Gauss-Newton products, because the loss has kinks or noise within the steps of finite differences: {why}"
        );
        let found = found(&product, Some(why.into()), kinks);
        Ok((product.value, found))
    }
}

/// The point at which a [`CurvatureSource`](super::CurvatureSource) estimates: the weights at which
/// the gradient of the step was taken, perturbed ones under SAM.
pub struct CurvatureContext<'a> {
    oracle: &'a dyn ErasedOracle,
    memory: &'a ProductMemory,
    step: u64,
    found: Found,
    step_gradient: Option<&'a ParamVec>,
}

impl<'a> CurvatureContext<'a> {
    pub(crate) fn new(oracle: &'a dyn ErasedOracle, memory: &'a ProductMemory, step: u64) -> Self {
        Self {
            oracle,
            memory,
            step,
            found: Found::before(memory),
            step_gradient: None,
        }
    }

    pub(crate) fn with_step_gradient(mut self, gradient: &'a ParamVec) -> Self {
        self.step_gradient = Some(gradient);
        self
    }

    /// What the products have shown.
    pub(crate) fn found(self) -> Found {
        self.found
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

    /// `H z` for a random probe `z`, or `G z` with the Gauss-Newton matrix where the objective has outputs,
    /// the Hessian's products cannot be exact, and kinks of the network spoil them: the first difference
    /// of a run is judged, at two gradients more where it looks doubtful, and the run goes on as it decides.
    ///
    /// Cost: 2 to 2.7 gradient evaluations; of Gauss-Newton 1.7, and up to 3 while it looks for its step.
    ///
    /// # Errors
    /// As [`Hessian`](osculate_curvature::Hessian)'s and [`GaussNewton`](osculate_curvature::GaussNewton)'s.
    pub fn probe_product(&mut self, z: &ParamVec) -> Result<ParamVec, CurvatureError> {
        let (product, found) = self.oracle.probe_product(self.memory, z)?;
        self.found.update(found);
        Ok(product)
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
        let found = self
            .oracle
            .with_hessian(config, self.memory, &mut |hessian| {
                result = run.take().map(|run| run(hessian)).transpose()?;
                Ok(())
            })?;
        self.found.update(found);
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
