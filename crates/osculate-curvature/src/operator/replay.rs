//! The recorded objective of an oracle, checked against its clean pass.

use std::cell::{Cell, OnceCell};
use std::sync::{Arc, OnceLock};

use burn::module::Module;
use burn::tensor::{DType, Tensor};
use osculate_jvp::{Bound, HessianProduct, Program, Tangents, Wrt};

use super::step::epsilon;
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::objective::Recordable;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};

/// How Hessian-vector products are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HvpMode {
    /// Exactly where the objective can be recorded and the recording is the same function, by
    /// finite differences elsewhere. A fallback is announced once by a `tracing` warning.
    #[default]
    Auto,
    /// Exactly, or not at all.
    Exact,
    /// By finite differences.
    FiniteDifference,
}

/// Forward passes of a replay with one tangent: one for the values, two for the tangents.
pub(super) const TANGENT: Cost = Cost {
    forwards: 3,
    backwards: 0,
};
/// A replay with first and second derivatives: products of two factors have five terms in all.
const SECOND: Cost = Cost {
    forwards: 5,
    backwards: 0,
};
/// A replay with tangents and the backward pass of both.
pub(super) const PRODUCT: Cost = Cost {
    forwards: 3,
    backwards: 2,
};

/// Why [`HvpMode::Auto`] makes products by finite differences, once it has had to.
///
/// Clones share the decision. An optimizer hands one to the operators of all its steps, so that
/// recording is not tried again, and the reason not told again, at every step.
#[derive(Debug, Clone, Default)]
pub struct HvpFallback {
    reason: Arc<OnceLock<String>>,
}

impl HvpFallback {
    /// A decision made earlier, for a run that is resumed: whether exact products are possible can
    /// depend on the batch, and the run must go on as it began.
    pub fn decided(reason: impl Into<String>) -> Self {
        let fallback = Self::default();
        fallback.reason.get_or_init(|| reason.into());
        fallback
    }

    /// The reason, if there was one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// Runs `exact` as the mode says. `None` asks for finite differences.
    pub(super) fn attempt<T>(
        &self,
        mode: HvpMode,
        exact: impl FnOnce() -> Result<T, CurvatureError>,
    ) -> Result<Option<T>, CurvatureError> {
        let known = mode == HvpMode::Auto && self.reason.get().is_some();
        if mode == HvpMode::FiniteDifference || known {
            return Ok(None);
        }
        match exact() {
            Ok(made) => Ok(Some(made)),
            Err(error) if mode == HvpMode::Auto && is_recoverable(&error) => {
                let reason = error.to_string();
                tracing::warn!(%reason, "curvature products fall back to finite differences");
                self.reason.get_or_init(|| reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether finite differences may still work.
fn is_recoverable(error: &CurvatureError) -> bool {
    matches!(
        error,
        CurvatureError::Jvp(_)
            | CurvatureError::NotRecordable
            | CurvatureError::NotReproduced { .. }
    )
}

/// A recorded function at the oracle's weights, with the layout of the oracle's gradient.
pub(crate) struct Replay {
    pub(super) bound: Bound,
    layout: Arc<ParamLayout>,
    /// For each layout entry, its position among the program's parameters.
    positions: Vec<usize>,
    checked: Cell<bool>,
    /// The program of second derivatives along a direction, made at its first use.
    second: OnceCell<Program>,
}

impl Replay {
    pub(super) fn loss<M: Module>(oracle: &GradientOracle<'_, M>) -> Result<Self, CurvatureError> {
        let model = oracle.model()?;
        let recordable = recordable(oracle)?;
        let program = recordable.record_loss(&model)?;
        Self::new(oracle, recordable.bind_loss(&program, &model)?)
    }

    pub(super) fn outputs<M: Module>(
        oracle: &GradientOracle<'_, M>,
    ) -> Result<Self, CurvatureError> {
        let model = oracle.model()?;
        let recordable = recordable(oracle)?;
        let program = recordable
            .record_outputs(&model)
            .ok_or(CurvatureError::NotRecordable)??;
        Self::new(oracle, recordable.bind_outputs(&program, &model)?)
    }

    fn new<M: Module>(
        oracle: &GradientOracle<'_, M>,
        bound: Bound,
    ) -> Result<Self, CurvatureError> {
        let layout = oracle.layout()?;
        let parameters = bound.program().parameters();
        let positions = layout
            .entries()
            .iter()
            .map(|entry| {
                let position = parameters.iter().position(|other| other.path == entry.path);
                position.ok_or_else(|| CurvatureError::LayoutMismatch {
                    expected: entry.path.clone(),
                    got: "no recorded parameter of that path".to_string(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bound,
            layout,
            positions,
            checked: Cell::new(false),
            second: OnceCell::new(),
        })
    }

    pub(super) fn program(&self) -> &Program {
        self.bound.program()
    }

    /// A vector of parameter space as a direction of the program.
    pub(super) fn direction(&self, v: &ParamVec) -> Tangents {
        let mut parameters = vec![None; self.program().parameters().len()];
        for ((entry, tensor), &position) in v.iter().zip(&self.positions) {
            let tensor = tensor.clone().without_autodiff().cast(entry.dtype);
            let any = osculate_jvp::AnyTensor::from(tensor);
            parameters[position] = Some(any.reshaped(entry.shape.clone()));
        }
        Tangents {
            parameters,
            ..Tangents::default()
        }
    }

    /// A gradient of the program as a vector of parameter space, in the type of statistics.
    fn vector(&self, mut gradient: Tangents) -> ParamVec {
        let entries = self.layout.entries().iter().zip(&self.positions);
        let tensors = entries
            .map(|(entry, &position)| {
                let part = gradient.parameters[position].take();
                let n = entry.num_elements();
                part.map_or_else(
                    || Tensor::zeros([n], (&entry.device, entry.dtype)),
                    |part| part.float_reshaped([n]),
                )
            })
            .collect();
        ParamVec::new(self.layout.clone(), tensors).to_compute_dtype()
    }

    /// The Hessian times `v`. The first product is preceded by a check of the recording, or is one
    /// itself where `v` is a random probe.
    pub(super) fn hvp<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
        random: bool,
    ) -> Result<ParamVec, CurvatureError> {
        if !random {
            self.check(oracle)?;
        }
        oracle.reseed();
        oracle.spend(PRODUCT);
        let HessianProduct {
            value,
            slope,
            product,
        } = self.bound.hvp(&self.direction(v), Wrt::Parameters)?;
        if !self.checked.get() {
            let recorded = [scalar(value), scalar(slope)];
            self.compare(oracle, v, recorded)?;
        }
        Ok(self.vector(product))
    }

    /// The Hessian times each vector, side by side where the device can. The recording has been
    /// checked.
    pub(super) fn hvps<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        vectors: &[ParamVec],
    ) -> Result<Vec<ParamVec>, CurvatureError> {
        oracle.reseed();
        let directions: Vec<Tangents> = vectors.iter().map(|v| self.direction(v)).collect();
        let products = self.bound.hvps(&directions, Wrt::Parameters)?;
        products.iter().for_each(|_| oracle.spend(PRODUCT));
        let vector = |made: HessianProduct| self.vector(made.product);
        Ok(products.into_iter().map(vector).collect())
    }

    /// `v^T H v` by forward passes alone.
    pub(super) fn curvature_along<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<f64, CurvatureError> {
        let second = match self.second.get() {
            Some(second) => second,
            None => {
                let second = self.program().second_derivative(Wrt::Parameters)?;
                self.second.get_or_init(|| second)
            }
        };
        oracle.reseed();
        oracle.spend(SECOND);
        let along = self.bound.along(second, self.direction(v))?.evaluate()?;
        Ok(along.into_iter().next_back().map_or(f64::NAN, scalar))
    }

    /// Compares the loss and its derivative along a random direction with the clean pass, once.
    pub(super) fn check<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
    ) -> Result<(), CurvatureError> {
        if self.checked.get() {
            return Ok(());
        }
        let v = ParamVec::gaussian(&self.layout, CHECK_SEED);
        oracle.reseed();
        oracle.spend(TANGENT);
        let jvp = self.bound.jvp(&[self.direction(&v)])?;
        let first = |tensors: &[osculate_jvp::AnyTensor]| tensors.first().cloned().map(scalar);
        let value = first(&jvp.outputs).unwrap_or(f64::NAN);
        let slope = jvp.tangents.first().and_then(|all| first(all));
        self.compare(oracle, &v, [value, slope.unwrap_or(f64::NAN)])
    }

    pub(super) fn compare<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
        [value, slope]: [f64; 2],
    ) -> Result<(), CurvatureError> {
        let clean = oracle.clean()?;
        let loss = scalar(clean.loss.clone().into());
        let gradient = clean.gradient.to_compute_dtype();
        let expected = v.to_compute_dtype().dot(&gradient);
        // A random direction meets the gradient with the gradient's own length. Other functions
        // are far above the tolerance, and rounding is far below it; so are backward passes that
        // burn approximates or computes in `f32` on some backends.
        let tolerance = (1e3 * epsilon(&self.layout)).clamp(1e-3, 0.1);
        let size = gradient.norm() * v.norm() / (self.layout.num_elements() as f64).sqrt().max(1.0);
        // An objective that hands out gradients has no loss to compare.
        let has_loss = oracle.objective().gradient().is_none();
        for (what, recorded, clean, size) in [
            ("loss", value, loss, loss.abs().max(1e-3)),
            ("slope along a random direction", slope, expected, size),
        ] {
            if what == "loss" && !has_loss {
                continue;
            }
            // What is not finite in either cannot be compared and is not hidden by it.
            let differs = (recorded - clean).abs() > tolerance * size;
            let one_finite = recorded.is_finite() != clean.is_finite();
            if differs || one_finite {
                return Err(CurvatureError::NotReproduced {
                    what,
                    recorded,
                    clean,
                });
            }
        }
        self.checked.set(true);
        Ok(())
    }
}

const CHECK_SEED: u64 = 0x5245_434F_5244;

fn recordable<'a, M: Module>(
    oracle: &GradientOracle<'a, M>,
) -> Result<&'a dyn Recordable<M>, CurvatureError> {
    oracle
        .objective()
        .recordable()
        .ok_or(CurvatureError::NotRecordable)
}

/// The element of a tensor of one element. One read-back.
pub(super) fn scalar(tensor: osculate_jvp::AnyTensor) -> f64 {
    let flat = tensor.float_reshaped([1]).cast(DType::F64);
    flat.into_data().iter::<f64>().sum()
}
