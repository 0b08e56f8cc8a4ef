//! The recorded objective of an oracle, checked against its clean pass.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use osculate_jvp::{AnyTensor, Bound, KeptJacobian, Mode, Program, Tangents, Wrt};

use super::batches::{Batch, batches, bind};
use super::fallback::{Attempts, is_recoverable};
use super::keeping::{KEPT_PRODUCT, KEPT_PULL_BACK, KEPT_TANGENT, Keeping};
use super::reproduced::scalar;
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};

/// Forward passes of a replay with one tangent: one for the values, two for the tangents.
const TANGENT: Cost = Cost {
    forwards: 3,
    backwards: 0,
};
/// A replay with first and second derivatives: products of two factors have five terms in all.
const SECOND: Cost = Cost {
    forwards: 5,
    backwards: 0,
};
/// A replay with tangents and the backward pass of both.
const PRODUCT: Cost = Cost {
    forwards: 3,
    backwards: 2,
};

/// What is recorded of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    Loss,
    Outputs,
}

/// A recorded function at the oracle's weights, with the layout of the oracle's gradient.
pub(crate) struct Replay {
    pub(super) recorded: Recorded,
    /// One for each batch.
    pub(super) pieces: Vec<Piece>,
    pub(super) layout: Arc<ParamLayout>,
    pub(super) checked: Cell<bool>,
    pub(super) keeping: Keeping,
}

/// A recorded batch, whose loss has a share in the whole.
pub(super) struct Piece {
    weight: f64,
    pub(super) bound: Bound,
    /// For each layout entry, its position among the program's parameters.
    positions: Vec<usize>,
    /// The program of second derivatives along a direction, made at its first use.
    second: OnceCell<Program>,
}

impl Replay {
    /// Records the objective in the modes in which it may have been trained, until `accept` finds
    /// no fault with one. Gives that recording and what `accept` made of it.
    pub(super) fn find<M: Module, T>(
        oracle: &GradientOracle<'_, M>,
        attempts: &Attempts,
        recorded: Recorded,
        mut accept: impl FnMut(&Replay) -> Result<T, CurvatureError>,
    ) -> Result<(Self, T), CurvatureError> {
        let model = oracle.model()?;
        let batches = batches(oracle)?;
        let mut modes = Mode::candidates(&model);
        attempts.order(&mut modes);
        let mut modes = VecDeque::from(modes);
        let mut failure = None;
        while let Some(mode) = modes.pop_front() {
            let mut attempt = || {
                let programs = batches
                    .iter()
                    .map(|batch| batch.record(recorded, &model, mode))
                    .collect::<Result<Vec<Program>, _>>()?;
                // Layers that could draw and do not, such as dropout of probability 0, are
                // recorded in fewer operations without training.
                let draws = programs.iter().any(|program| program.num_draws() > 0);
                if mode == Mode::Training && !draws && !modes.is_empty() {
                    return Ok(None);
                }
                let bounds = bind(oracle, &batches, recorded, &programs, &model)?;
                let replay = Self::new(oracle, recorded, &batches, bounds)?;
                let made = accept(&replay)?;
                Ok(Some((replay, made)))
            };
            match attempt() {
                Ok(Some(found)) => {
                    tracing::debug!(?mode, "recorded");
                    attempts.served(mode);
                    return Ok(found);
                }
                Ok(None) => modes.push_back(mode),
                Err(error) if is_recoverable(&error) => {
                    // What keeps training mode from being recorded is seldom what can be mended.
                    if failure.is_none() || mode != Mode::Training {
                        failure = Some(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or(CurvatureError::NotRecordable))
    }

    fn new<M: Module>(
        oracle: &GradientOracle<'_, M>,
        recorded: Recorded,
        batches: &[Batch<'_, M>],
        bounds: Vec<Bound>,
    ) -> Result<Self, CurvatureError> {
        let layout = oracle.layout()?;
        let pieces = batches
            .iter()
            .zip(bounds)
            .map(|(batch, bound)| {
                Ok(Piece {
                    weight: batch.weight,
                    positions: positions(&layout, bound.program())?,
                    bound,
                    second: OnceCell::new(),
                })
            })
            .collect::<Result<_, CurvatureError>>()?;
        Ok(Self {
            recorded,
            pieces,
            layout,
            checked: Cell::new(false),
            keeping: Keeping::default(),
        })
    }

    /// The same recording at weights moved by `scale * offset`.
    pub(super) fn at<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        offset: &ParamVec,
        scale: f64,
    ) -> Result<Self, CurvatureError> {
        let model = oracle.model_at(offset, scale)?;
        let batches = batches(oracle)?;
        let programs: Vec<Program> = self
            .pieces
            .iter()
            .map(|piece| piece.bound.program().clone())
            .collect();
        let bounds = bind(oracle, &batches, self.recorded, &programs, &model)?;
        Self::new(oracle, self.recorded, &batches, bounds)
    }

    /// How many products are best asked for at once.
    pub(super) fn width(&self) -> usize {
        self.pieces.first().map_or(1, |piece| piece.bound.width())
    }

    /// The Hessian times `v`. The first product is preceded by a check of the recording, or is one
    /// itself where `v` is a random probe.
    pub(super) fn hvp<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
        random: bool,
        within: f64,
    ) -> Result<ParamVec, CurvatureError> {
        if !random {
            self.check(oracle)?;
        }
        if let Some(kept) = self.kept_hessians(oracle, 1, within) {
            let products = self.pieces.iter().zip(kept).map(|(piece, kept)| {
                oracle.spend(KEPT_PRODUCT);
                let product = kept.product(&piece.direction(v))?;
                Ok(piece.vector(&self.layout, product))
            });
            return self.total(products.collect::<Result<_, CurvatureError>>()?);
        }
        let mut first_order = [0.0; 2];
        let mut products = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            oracle.spend(PRODUCT);
            let made = piece.bound.hvp(&piece.direction(v), Wrt::Parameters)?;
            if !self.checked.get() {
                first_order[0] += piece.weight * scalar(made.value);
                first_order[1] += piece.weight * scalar(made.slope);
            }
            products.push(piece.vector(&self.layout, made.product));
        }
        if !self.checked.get() {
            self.compare(oracle, v, first_order)?;
        }
        self.total(products)
    }

    /// The Hessian times each vector, side by side where the device can, and what each costs. The
    /// recording has been checked.
    pub(super) fn hvps<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        vectors: &[ParamVec],
        within: f64,
    ) -> Result<(Vec<ParamVec>, Cost), CurvatureError> {
        let kept = self.kept_hessians(oracle, vectors.len(), within);
        let cost = if kept.is_some() {
            KEPT_PRODUCT
        } else {
            PRODUCT
        };
        let mut by_vector = vec![Vec::with_capacity(self.pieces.len()); vectors.len()];
        for (index, piece) in self.pieces.iter().enumerate() {
            let directions: Vec<Tangents> = vectors.iter().map(|v| piece.direction(v)).collect();
            let products = match kept {
                Some(kept) => kept[index].products(&directions)?,
                None => {
                    let made = piece.bound.hvps(&directions, Wrt::Parameters)?.into_iter();
                    made.map(|made| made.product).collect()
                }
            };
            for (all, product) in by_vector.iter_mut().zip(products) {
                oracle.spend(cost);
                all.push(piece.vector(&self.layout, product));
            }
        }
        let values = by_vector.into_iter().map(|all| self.total(all));
        let each = self.pieces.iter().map(|_| cost).sum();
        Ok((values.collect::<Result<_, _>>()?, each))
    }

    /// The sum of the pieces' parts.
    fn total(&self, parts: Vec<ParamVec>) -> Result<ParamVec, CurvatureError> {
        let weighted = self.pieces.iter().zip(parts);
        let weighted = weighted.map(|(piece, part)| match piece.weight {
            1.0 => part,
            weight => part.scale(weight),
        });
        weighted
            .reduce(|sum, part| sum.add(&part))
            .ok_or(CurvatureError::NotRecordable)
    }

    /// `v^T H v` by forward passes alone.
    pub(super) fn curvature_along<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<f64, CurvatureError> {
        let mut sums = [0.0; 3];
        for piece in &self.pieces {
            oracle.spend(SECOND);
            let second = piece.second()?;
            let along = piece.bound.along(second, piece.direction(v))?.evaluate()?;
            for (sum, part) in sums.iter_mut().zip(along) {
                *sum += piece.weight * scalar(part);
            }
        }
        let [value, slope, curvature] = sums;
        // The second program is derived from the recording, and is compared as the recording is.
        self.compare(oracle, v, [value, slope])?;
        Ok(curvature)
    }

    /// The recorded results, in one, and their derivative along `v`.
    pub(super) fn along<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<Vec<(f64, AnyTensor, AnyTensor)>, CurvatureError> {
        let pieces = self.pieces.iter().map(|piece| {
            oracle.spend(TANGENT);
            let mut jvp = piece.bound.jvp(&[piece.direction(v)])?;
            let output = jvp.outputs.pop();
            let tangent = jvp.tangents.pop().and_then(|mut all| all.pop());
            match (output, tangent) {
                (Some(output), Some(tangent)) => Ok((piece.weight, output, tangent)),
                _ => Err(CurvatureError::NotRecordable),
            }
        });
        pieces.collect()
    }

    /// Recorded outputs of all batches, and their derivative along `v`.
    pub(super) fn outputs_along<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        v: &ParamVec,
    ) -> Result<(Tensor<2>, Tensor<2>), CurvatureError> {
        let (outputs, tangents) = self
            .along(oracle, v)?
            .into_iter()
            .map(|(_, output, tangent)| (output.float::<2>(), tangent.float::<2>()))
            .unzip();
        Ok((joined(outputs), joined(tangents)))
    }

    /// The derivative of the outputs of all batches along each of several directions, from what is
    /// kept.
    pub(super) fn kept_along<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        kept: &[KeptJacobian],
        vectors: &[ParamVec],
    ) -> Result<Vec<Tensor<2>>, CurvatureError> {
        let mut by_vector = vec![Vec::with_capacity(self.pieces.len()); vectors.len()];
        for (piece, kept) in self.pieces.iter().zip(kept) {
            let directions: Vec<Tangents> = vectors.iter().map(|v| piece.direction(v)).collect();
            for (all, tangents) in by_vector.iter_mut().zip(kept.jvps(&directions)?) {
                oracle.spend(KEPT_TANGENT);
                all.extend(tangents.into_iter().map(AnyTensor::float::<2>));
            }
        }
        Ok(by_vector.into_iter().map(joined).collect())
    }

    /// What one cotangent costs in [`pull_back`](Self::pull_back).
    pub(super) fn price_of_pull_back(&self) -> Cost {
        let each = match self.keeping.jacobians() {
            Some(_) => KEPT_PULL_BACK,
            None => Cost::GRADIENT,
        };
        self.pieces.iter().map(|_| each).sum()
    }

    /// `J^T u` for outputs weighted by each of the cotangents.
    pub(super) fn pull_back<M: Module>(
        &self,
        oracle: &GradientOracle<'_, M>,
        cotangents: &[Tensor<2>],
    ) -> Result<Vec<ParamVec>, CurvatureError> {
        let kept = self.keeping.jacobians();
        let price = self.price_of_pull_back();
        let mut row = 0;
        let mut sums: Vec<Option<ParamVec>> = vec![None; cotangents.len()];
        for (index, piece) in self.pieces.iter().enumerate() {
            let rows = piece.rows();
            let own = cotangents.iter().map(|u| u.clone().narrow(0, row, rows));
            let own: Vec<Vec<AnyTensor>> = own.map(|u| vec![u.into()]).collect();
            row += rows;
            let gradients = match kept {
                Some(kept) => kept[index].vjps(&own)?,
                None => {
                    let each = own.into_iter().map(|own| {
                        let made = piece.bound.vjp(Wrt::Parameters, |_| own)?;
                        Ok(made.1)
                    });
                    each.collect::<Result<_, CurvatureError>>()?
                }
            };
            for (sum, gradient) in sums.iter_mut().zip(gradients) {
                let part = piece.vector(&self.layout, gradient);
                *sum = Some(match sum.take() {
                    Some(sum) => sum.add(&part),
                    None => part,
                });
            }
        }
        let sums = sums.into_iter().inspect(|_| oracle.spend(price));
        sums.map(|sum| sum.ok_or(CurvatureError::NotRecordable))
            .collect()
    }
}

impl Piece {
    /// A vector of parameter space as a direction of the program.
    fn direction(&self, v: &ParamVec) -> Tangents {
        let mut parameters = vec![None; self.bound.program().parameters().len()];
        for ((entry, tensor), &position) in v.iter().zip(&self.positions) {
            let tensor = tensor.clone().without_autodiff().cast(entry.dtype);
            let any = AnyTensor::from(tensor);
            parameters[position] = Some(any.reshaped(entry.shape.clone()));
        }
        Tangents {
            parameters,
            ..Tangents::default()
        }
    }

    /// A gradient of the program as a vector of parameter space, in the type of statistics.
    fn vector(&self, layout: &Arc<ParamLayout>, mut gradient: Tangents) -> ParamVec {
        let entries = layout.entries().iter().zip(&self.positions);
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
        ParamVec::new(layout.clone(), tensors).to_compute_dtype()
    }

    /// Rows of the recorded outputs.
    fn rows(&self) -> usize {
        let results = self.bound.program().results();
        results.first().map_or(0, |result| result.shape[0])
    }

    fn second(&self) -> Result<&Program, CurvatureError> {
        if let Some(second) = self.second.get() {
            return Ok(second);
        }
        let second = self.bound.program().second_derivative(Wrt::Parameters)?;
        Ok(self.second.get_or_init(|| second))
    }
}

/// The tensors below one another.
fn joined(mut tensors: Vec<Tensor<2>>) -> Tensor<2> {
    match tensors.len() {
        1 => tensors.remove(0),
        _ => Tensor::cat(tensors, 0),
    }
}

fn positions(layout: &ParamLayout, program: &Program) -> Result<Vec<usize>, CurvatureError> {
    let parameters = program.parameters();
    let position = |path: &str| parameters.iter().position(|other| other.path == path);
    let entries = layout.entries().iter();
    entries
        .map(|entry| {
            position(&entry.path).ok_or_else(|| CurvatureError::LayoutMismatch {
                expected: entry.path.clone(),
                got: "no recorded parameter of that path".to_string(),
            })
        })
        .collect()
}
