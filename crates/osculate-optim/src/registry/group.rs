//! Parameter groups as data.

use serde::Deserialize;
use serde_json::{Value, json};

use super::kind::OptimizerKind;
use super::merge::merge;
use super::spec::{OptimizerSpec, SpecError, build_of};
use super::{for_matrices, matrices, only_entry};
use crate::config::{Check, ConfigError};
use crate::driver::{Driver, ParameterGroup, Select};

/// A parameter group in settings. Of several conditions all must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupSpec {
    name: String,
    /// Patterns of which the path has one, as in [`Select::path`].
    #[serde(default)]
    paths: Vec<String>,
    /// Ranks below this one.
    rank_below: Option<usize>,
    /// Type of the layer.
    layer: Option<String>,
    lr_factor: Option<f64>,
    weight_decay: Option<f64>,
    /// Settings that differ, of the innermost method alone.
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
            let update = method(spec.kind(), spec.settings(), &settings)?;
            if let Some(within) = matrices_of(spec.kind(), &settings)? {
                // Vectors and excepted matrices are not Muon's.
                group.select = group.select.and(within);
                let plain: Result<(), ConfigError> = Check::of("groups")
                    .that(
                        group.lr_factor.is_none() && group.weight_decay.is_none(),
                        "settings",
                        &self.name,
                        "settings of Muon, which are for matrices, in a group by themselves: `lr_factor` and \
                         `weight_decay` in another of the same parameters",
                    )
                    .finish();
                plain?;
            }
            group = group.with_update(update);
        }
        Ok(group)
    }
}

/// The innermost method of settings that differ from the optimizer's there alone.
fn method(kind: OptimizerKind, whole: &Value, settings: &Value) -> Result<Driver, SpecError> {
    let alone = for_matrices(kind);
    let inner = if alone.is_some() {
        kind.name()
    } else if settings.get("base").is_some() {
        "base"
    } else {
        return build_of(kind, settings);
    };
    let outer = settings.as_object().into_iter().flatten();
    let other = outer.filter(|(key, value)| *key != inner && whole.get(key) != Some(value));
    let other: Vec<&str> = other.map(|(key, _)| key.as_str()).collect();
    let inmost: Result<(), ConfigError> = Check::of("groups")
        .that(
            other.is_empty(),
            "settings",
            other.join(", "),
            "settings of the innermost method: what goes over it goes over the whole model",
        )
        .finish();
    inmost?;
    if let Some(alone) = alone {
        return alone(&settings[inner], &format!("groups.settings.{inner}"));
    }
    let (name, settings) = only_entry(&settings["base"], "groups.settings.base")?;
    let kind = name.parse().map_err(|source| SpecError::UnknownBase {
        path: "groups.settings.base".to_string(),
        source,
    })?;
    let before = whole.get("base").and_then(|base| base.get(name));
    method(kind, before.unwrap_or(settings), settings)
}

/// What a method for matrices steps, at whatever depth it is the base; `None` for other methods.
fn matrices_of(kind: OptimizerKind, settings: &Value) -> Result<Option<Select>, SpecError> {
    if for_matrices(kind).is_some() {
        return Ok(Some(matrices(settings)?));
    }
    let Some(base) = settings.get("base") else {
        return Ok(None);
    };
    let (name, settings) = only_entry(base, "groups.settings.base")?;
    let kind = name.parse().map_err(|source| SpecError::UnknownBase {
        path: "groups.settings.base".to_string(),
        source,
    })?;
    matrices_of(kind, settings)
}
