//! Putting roles over a driver.

use std::sync::Arc;

use super::{Driver, ParameterGroup, Select};
use crate::averaging::Averaging;
use crate::config::{Check, ConfigError};
use crate::curvature::CurvatureSource;
use crate::filter::GradientFilter;
use crate::gradient::GradientSource;
use crate::step_size::StepSize;
use crate::vector_state::VectorStore;

impl Driver {
    /// Takes the gradient, and with it the curvature, from another source. Settings that are out of their
    /// range are an error of the first step; the source's own `over` tells at once.
    pub fn with_gradient(mut self, source: impl GradientSource + 'static) -> Self {
        self.gradient = Arc::new(source);
        self.gradient_state = VectorStore::default();
        self.changed();
        self
    }

    /// Filters the gradient, whatever its source, after the filters that are there; about invalid settings see
    /// [`with_gradient`](Self::with_gradient).
    pub fn with_filter(mut self, filter: impl GradientFilter + 'static) -> Self {
        self.filters.push(Arc::new(filter));
        self.changed();
        self
    }

    /// Takes curvature from another source than the method's own.
    pub fn with_curvature(mut self, source: impl CurvatureSource + 'static) -> Self {
        self.curvature = Some(Arc::new(source));
        self.changed();
        self
    }

    /// Lets a policy choose how far a step goes; about invalid settings see
    /// [`with_gradient`](Self::with_gradient).
    pub fn with_step_size(mut self, policy: impl StepSize + 'static) -> Self {
        self.step_size = Some(Arc::new(policy));
        self.step_size_state = VectorStore::default();
        self.changed();
        self
    }

    /// Averages the weights; about invalid settings see [`with_gradient`](Self::with_gradient).
    pub fn with_averaging(mut self, average: impl Averaging + 'static) -> Self {
        self.averaging = Some(Arc::new(average));
        self.averaging_state = VectorStore::default();
        self.numbers.clear();
        self.changed();
        self
    }

    /// Gives the parameters outside of a selection another update: this one's for matrices, say, and
    /// AdamW's for the rest. Gradient source, policies, averages, groups and decays over the method are this
    /// driver's: they go over the whole model.
    ///
    /// ```
    /// use osculate_optim::{MuonConfig, ParameterGroup, Select, SophiaConfig};
    ///
    /// let matrices = Select::rank(2..).except(Select::paths(["embedding", "head"]));
    /// let optimizer = MuonConfig::new()
    ///     .init()?
    ///     .for_selected(matrices.clone(), SophiaConfig::h().init()?)?
    ///     // The rest at a tenth of the learning rate.
    ///     .with_group(ParameterGroup::new("rest", !matrices).with_lr_factor(0.1))?;
    /// # Ok::<(), osculate_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] for a `rest` that is more than a method.
    pub fn for_selected(
        self,
        selected: Select,
        rest: impl Into<Driver>,
    ) -> Result<Self, ConfigError> {
        self.beside(ParameterGroup::new("selected", selected), rest.into())
    }

    /// This update for a group, another for the rest.
    fn beside(mut self, mut group: ParameterGroup, rest: Driver) -> Result<Self, ConfigError> {
        let own = group.name.clone();
        let mut number = 2;
        while self.groups.iter().any(|other| other.name == group.name) {
            group.name = format!("{own}-{number}");
            number += 1;
        }
        let rest = rest.into_update("Driver", "rest")?;
        group.update = Some(std::mem::replace(&mut self.update, rest));
        self.groups.insert(0, group);
        self.changed();
        Ok(self)
    }

    /// [`for_selected`](Self::for_selected) with the parameters of rank 2 and more, where there are any.
    ///
    /// ```
    /// use burn::optim::AdamWConfig;
    /// use osculate_optim::{MuonConfig, StatefulOptimizer};
    /// let optimizer = MuonConfig::new().init()?.for_matrices(AdamWConfig::new().init())?;
    /// assert_eq!(optimizer.name(), "hybrid");
    /// # Ok::<(), osculate_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`for_selected`](Self::for_selected).
    pub fn for_matrices(self, rest: impl Into<Driver>) -> Result<Self, ConfigError> {
        let matrices = ParameterGroup::new("matrices", Select::rank(2..));
        self.beside(matrices.optional(), rest.into())
    }

    pub(crate) fn for_some_matrices(
        self,
        matrices: Select,
        rest: impl Into<Driver>,
    ) -> Result<Self, ConfigError> {
        let group = ParameterGroup::new("matrices", matrices);
        self.beside(group.optional(), rest.into())
    }

    pub(crate) fn checked_gradient(
        self,
        config: &'static str,
        source: impl GradientSource + 'static,
    ) -> Result<Self, ConfigError> {
        let present = self.gradient.name();
        Check::of(config)
            .that(
                present == "clean",
                "base",
                present,
                "an optimizer whose gradient is taken at the weights: one source of gradients, then step \
                 sizes and averages over it",
            )
            .that(
                self.step_size.is_none() && self.averaging.is_none(),
                "base",
                &self.name,
                "an optimizer without step sizes or averages, which go over gradient sources",
            )
            .finish()?;
        Ok(self.with_gradient(source))
    }

    pub(crate) fn checked_filter(
        self,
        config: &'static str,
        filter: impl GradientFilter + 'static,
    ) -> Result<Self, ConfigError> {
        let mut present = self.filters.iter();
        Check::of(config)
            .that(
                present.all(|own| own.name() != filter.name()),
                "base",
                &self.name,
                "an optimizer without this filter: once is enough",
            )
            .that(
                self.step_size.is_none() && self.averaging.is_none(),
                "base",
                &self.name,
                "an optimizer without step sizes or averages, which go over filters",
            )
            .finish()?;
        Ok(self.with_filter(filter))
    }

    pub(crate) fn checked_step_size(
        self,
        config: &'static str,
        policy: impl StepSize + 'static,
    ) -> Result<Self, ConfigError> {
        Check::of(config)
            .that(
                self.step_size.is_none() && self.averaging.is_none(),
                "base",
                &self.name,
                "an optimizer without step sizes or averages: averages go over step sizes",
            )
            .finish()?;
        Ok(self.with_step_size(policy))
    }

    pub(crate) fn checked_averaging(
        self,
        config: &'static str,
        average: impl Averaging + 'static,
    ) -> Result<Self, ConfigError> {
        Check::of(config)
            .that(
                self.averaging.is_none(),
                "base",
                &self.name,
                "an optimizer without an average: there is one average of the weights",
            )
            .finish()?;
        Ok(self.with_averaging(average))
    }
}
