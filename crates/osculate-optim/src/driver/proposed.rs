//! What all parts propose, together.

use burn::tensor::{Bool, Tensor};
use osculate_curvature::{FiniteFlags, ParamVec};

use super::apply::finite;
use super::step::Field;
use crate::update::{Proposal, ProposalKind};

/// The proposals of all parts, by parameter.
pub(super) struct Proposed {
    /// Directions of rules; `None` for burn's parameters.
    pub directions: Vec<Option<Tensor<1>>>,
    pub holds: Vec<Option<Tensor<1, Bool>>>,
    /// Whether gradient and new state are finite.
    pub flags: Vec<Option<Tensor<1, Bool>>>,
    /// Parts that are burn optimizers.
    pub burn: Vec<usize>,
}

impl Proposed {
    pub fn of(field: &Field, proposals: Vec<Option<Proposal>>) -> Self {
        let n = field.weights.layout().len();
        let mut proposed = Self {
            directions: vec![None; n],
            holds: vec![None; n],
            flags: vec![None; n],
            burn: Vec::new(),
        };
        for (part, (proposal, positions)) in proposals.into_iter().zip(&field.parts).enumerate() {
            let Some(Proposal {
                kind, hold, flags, ..
            }) = proposal
            else {
                continue;
            };
            match kind {
                ProposalKind::OnModel => proposed.burn.push(part),
                ProposalKind::Direction(directions) => {
                    for (&at, direction) in positions.iter().zip(directions) {
                        proposed.directions[at] = Some(direction);
                    }
                }
            }
            for (&at, hold) in positions.iter().zip(hold.into_iter().flatten()) {
                proposed.holds[at] = hold;
            }
            for (&at, flag) in positions
                .iter()
                .zip(flags.iter().flat_map(FiniteFlags::tensors))
            {
                proposed.flags[at] = Some(flag.clone());
            }
        }
        proposed
    }

    /// Set for the parameters that are not held, and whose direction can be taken where the others are
    /// skipped.
    pub fn moving(&self, direction: &ParamVec, skips: bool) -> FiniteFlags {
        let all = FiniteFlags::all(direction.layout());
        let each = direction.tensors().iter().zip(all.tensors()).enumerate();
        let flags = each.map(|(at, (u, all))| {
            let mut flag = match skips {
                true => finite(u),
                false => all.clone(),
            };
            if let (true, Some(own)) = (skips, &self.flags[at]) {
                flag = flag.bool_and(own.clone());
            }
            if let Some(hold) = &self.holds[at] {
                flag = flag.bool_and(hold.clone().bool_not());
            }
            flag
        });
        FiniteFlags::new(direction.layout().clone(), flags.collect())
    }

    /// Positions of the parameters that have a direction.
    pub fn of_rules(&self) -> Vec<usize> {
        let directions = self.directions.iter().enumerate();
        let own = directions.filter(|(_, direction)| direction.is_some());
        own.map(|(at, _)| at).collect()
    }

    /// Takes for directions what burn's optimizers stepped along. At a rate of 0 they tell none.
    pub fn take_directions_of(&mut self, stepped: &ParamVec, weights: &ParamVec, lrs: &[f64]) {
        for (at, (entry, new)) in stepped.iter().enumerate() {
            if self.directions[at].is_some() {
                continue;
            }
            let new = new.clone().cast(entry.compute_dtype());
            let moved = weights.tensors()[at].clone() - new;
            self.directions[at] = Some(match lrs[at] > 0.0 {
                true => moved.div_scalar(lrs[at]),
                false => moved.zeros_like(),
            });
        }
    }

    /// The cautious mask.
    pub fn mask(&mut self, gradient: &ParamVec) {
        for (at, (entry, gradient)) in gradient.iter().enumerate() {
            let direction = self.directions[at].take();
            self.directions[at] = direction.map(|u| cautious(u, gradient, entry.num_elements()));
        }
    }
}

/// A direction without the elements that go against the gradient, scaled up for those.
fn cautious(direction: Tensor<1>, gradient: &Tensor<1>, elements: usize) -> Tensor<1> {
    if elements == 0 {
        return direction;
    }
    let against = (direction.clone() * gradient.clone()).lower_equal_elem(0.0);
    let n = elements as f64;
    let kept = direction.ones_like().mask_fill(against.clone(), 0.0).sum();
    let scale = kept.clamp_min(n / 1000.0).recip().mul_scalar(n);
    direction.mask_fill(against, 0.0) * scale
}
