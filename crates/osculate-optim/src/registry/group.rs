//! Parameter groups as data.

use serde::Deserialize;
use serde_json::{Value, json};

use super::merge::merge;
use super::spec::{OptimizerSpec, SpecError, build_of};
use crate::config::{Check, ConfigError};
use crate::driver::{ParameterGroup, Select};

/// A parameter group in settings. Of several conditions all must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupSpec {
    name: String,
    /// Texts of which the path contains one.
    #[serde(default)]
    paths: Vec<String>,
    /// Ranks below this one.
    rank_below: Option<usize>,
    /// Type of the layer.
    layer: Option<String>,
    lr_factor: Option<f64>,
    weight_decay: Option<f64>,
    /// Settings of the method that differ.
    settings: Option<Value>,
}

impl GroupSpec {
    pub(super) fn build(self, spec: &OptimizerSpec) -> Result<ParameterGroup, SpecError> {
        let mut select = Select::by(|_| true);
        let mut conditions = 0;
        if !self.paths.is_empty() {
            select = select.and(Select::paths(self.paths));
            conditions += 1;
        }
        if let Some(rank) = self.rank_below {
            select = select.and(Select::rank(..rank));
            conditions += 1;
        }
        if let Some(layer) = &self.layer {
            select = select.and(Select::layer(layer));
            conditions += 1;
        }
        let chosen: Result<(), ConfigError> = Check::of("groups")
            .that(
                conditions > 0,
                "paths, rank_below, layer",
                "none",
                "at least one condition",
            )
            .finish();
        chosen?;
        let mut group = ParameterGroup::new(&self.name, select);
        if let Some(factor) = self.lr_factor {
            group = group.with_lr_factor(factor);
        }
        if let Some(rate) = self.weight_decay {
            group = group.with_weight_decay(rate);
        }
        // Settings that say what is there already make no part of their own: its blocks stay stacked.
        let overrides = self.settings.unwrap_or_else(|| json!({}));
        let mut settings = spec.settings().clone();
        merge(&mut settings, &overrides, "groups.settings")?;
        if settings != *spec.settings() {
            group = group.with_update(build_of(spec.kind(), &settings)?);
        }
        Ok(group)
    }
}
