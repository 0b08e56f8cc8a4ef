//! What a step of every member of the family is made of.

use burn::tensor::{Bool, DType, Tensor};

use super::precondition::{Clip, PsgdFit, averaged, fourth_moment};
use super::probes::Probes;
use crate::matrix::{Field, Refresh, Stack, Stepped, put_rows, take_rows};

/// Steps since the first gradient that was not zero.
pub(super) const COUNT: &str = "count";
/// The averaged gradient.
pub(super) const MOMENTUM: &str = "m";

/// The settings that all members have.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub fit: PsgdFit,
    pub momentum: f64,
    pub damping: f64,
    pub init_scale: Option<f64>,
    pub refresh: Refresh,
    pub update_first: bool,
    pub clip: Clip,
    pub weight_decay: f64,
    pub probes: Probes,
}

impl Shared {
    /// The state that all members have besides their preconditioner.
    pub(super) fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let mut fields = vec![Field::new(COUNT, 1, compute)];
        if self.momentum > 0.0 {
            fields.push(Field::new(MOMENTUM, dims.iter().product(), compute));
        }
        fields
    }

    pub(super) fn wants_product(&self, step: u64) -> bool {
        self.fit == PsgdFit::Newton && self.refresh.due(step, 0)
    }
}

/// Validates the settings that all members have, and gathers them.
macro_rules! shared {
    ($config:ident, $check:expr) => {{
        let check = $check
            .decay("momentum", $config.momentum)
            .positive("lr_preconditioner", $config.lr_preconditioner)
            .that(
                $config.lr_preconditioner <= 1.0,
                "lr_preconditioner",
                $config.lr_preconditioner,
                "at most 1",
            )
            .decay("lipschitz_decay", $config.lipschitz_decay)
            .non_negative("damping", $config.damping)
            .positive("init_scale", $config.init_scale.unwrap_or(1.0))
            .positive("clip_rms", $config.clip_rms.unwrap_or(1.0))
            .positive("clip_element", $config.clip_element.unwrap_or(1.0))
            .non_negative("weight_decay", $config.weight_decay)
            .policy(&$config.policy);
        $config
            .schedule
            .check(check)
            .finish()
            .map(|()| $crate::matrix::psgd::descent::Shared {
                fit: $config.fit,
                momentum: $config.momentum,
                damping: $config.damping,
                init_scale: $config.init_scale,
                refresh: $crate::matrix::Refresh::new($config.schedule),
                update_first: $config.update_first,
                clip: $crate::matrix::psgd::precondition::Clip {
                    rms: $config.clip_rms,
                    element: $config.clip_element,
                },
                weight_decay: $config.weight_decay,
                probes: $crate::matrix::psgd::probes::Probes::new($config.policy.seed),
            })
    }};
}

pub(super) use shared;

/// A preconditioner that is fitted.
pub(super) trait Preconditioner {
    /// Its tensors for a stack of blocks, whose first dimension is the stack's.
    type State;

    /// The state from what is kept of it, in the order of the rule's fields.
    fn unpack(&self, fields: Vec<Tensor<2>>, dims: &[usize]) -> Self::State;

    /// What is kept of the state.
    fn pack(&self, state: Self::State) -> Vec<Tensor<2>>;

    /// Adds the first `Q`, `scale` `[k, 1]` times the identity. The scale is 0 for blocks that have
    /// one.
    fn start(&self, state: Self::State, stack: &Stack<'_>, scale: Tensor<2>) -> Self::State;

    /// Whether a block has a preconditioner, `[k, 1]`.
    fn is_there(&self, state: &Self::State) -> Tensor<2, Bool>;

    /// Whether whitening takes a random probe.
    fn whitens_with_probe(&self) -> bool;

    /// Moves the blocks whose source is not zero.
    fn update(&self, state: Self::State, update: Update<'_>) -> Self::State;

    /// `P x`.
    fn apply(&self, state: &Self::State, x: Tensor<2>, dims: &[usize]) -> Tensor<2>;
}

/// One update of a stack.
pub(super) struct Update<'a> {
    pub dims: &'a [usize],
    /// `h`, `[k, n]`.
    pub source: Tensor<2>,
    /// `v`, `[k, n]`; `None` where its expectation is to be taken.
    pub probe: Option<Tensor<2>>,
    /// Where the source is not zero, `[k, 1]`.
    pub live: Tensor<2, Bool>,
    /// How many updates were due before, alike for all blocks of the stack that are due together.
    pub index: u64,
}

/// Makes the step of a rule.
pub(super) fn step<P: Preconditioner>(
    preconditioner: &P,
    shared: &Shared,
    mut stack: Stack<'_>,
) -> Stepped {
    let mut kept = std::mem::take(&mut stack.state);
    let m = if shared.momentum > 0.0 {
        kept.pop()
    } else {
        None
    };
    let count = kept.pop().unwrap_or_else(|| stack.zeros(1));
    let state = preconditioner.unpack(kept, stack.dims);
    let gradient = stack.gradient.clone();
    let momentum = match m {
        Some(m) => averaged(m, gradient.clone(), &count, shared.momentum),
        None => gradient.clone(),
    };

    let source = match (shared.fit, &stack.product) {
        (PsgdFit::Whitening, _) => Some(gradient),
        (PsgdFit::WhiteningMomentum, _) => Some(momentum.clone()),
        (PsgdFit::Newton, pair) => pair.as_ref().map(|pair| pair.product.clone()),
    };
    let state = match &source {
        Some(source) => {
            let scale = first_scale(shared, &stack, &count, source);
            preconditioner.start(state, &stack, scale)
        }
        None => state,
    };
    let direction = |state: &P::State| preconditioner.apply(state, momentum.clone(), stack.dims);
    let (direction, (state, refreshed)) = if shared.update_first {
        let updated = refreshed(preconditioner, shared, state, &stack, source);
        (direction(&updated.0), updated)
    } else {
        let direction = direction(&state);
        let updated = refreshed(preconditioner, shared, state, &stack, source);
        (direction, updated)
    };
    let direction = shared.clip.apply(direction);

    // The count starts with the first preconditioner.
    let begun = preconditioner.is_there(&state).float();
    let count = count + begun.cast(stack.weights.dtype());
    let decay = 1.0 - stack.lr * shared.weight_decay;
    let weights = stack.weights.clone().mul_scalar(decay) - direction.mul_scalar(stack.lr);
    let mut kept = preconditioner.pack(state);
    kept.push(count);
    if shared.momentum > 0.0 {
        kept.push(momentum);
    }
    Stepped {
        weights,
        state: kept,
        solves: Vec::new(),
        refreshed,
    }
}

/// Where a row of the source is not zero.
fn live(source: &Tensor<2>) -> Tensor<2, Bool> {
    source.clone().abs().max_dim(1).greater_elem(0.0)
}

/// The scale of the first `Q`, `[k, 1]`: 0 for blocks that have one, and for those without a signal
/// to measure it on.
fn first_scale(
    shared: &Shared,
    stack: &Stack<'_>,
    count: &Tensor<2>,
    source: &Tensor<2>,
) -> Tensor<2> {
    let scale = match shared.init_scale {
        Some(scale) => stack.zeros(1).add_scalar(scale),
        None => {
            let damping = shared.damping.max(f64::from(f32::MIN_POSITIVE));
            let of_source = fourth_moment(source, damping).sqrt().recip();
            match &stack.product {
                Some(pair) => of_source * pair.probe.clone().square().mean_dim(1).sqrt().sqrt(),
                None => of_source,
            }
        }
    };
    let fresh = count.clone().equal_elem(0.0);
    scale.mask_fill(fresh.bool_and(live(source)).bool_not(), 0.0)
}

/// The update of the rows that are due, or of none.
fn refreshed<P: Preconditioner>(
    preconditioner: &P,
    shared: &Shared,
    state: P::State,
    stack: &Stack<'_>,
    source: Option<Tensor<2>>,
) -> (P::State, bool) {
    let due: Vec<usize> = match shared.fit {
        // A product is made for all blocks at once, so all use it.
        PsgdFit::Newton => (0..stack.len()).collect(),
        _ => stack.due(&shared.refresh, 0, 1),
    };
    let (Some(source), Some(&first)) = (source, due.first()) else {
        return (state, false);
    };
    let live = live(&source);
    let (source, probe) = pair(preconditioner, shared, stack, source, &live);
    let slot = match shared.fit {
        PsgdFit::Newton => 0,
        _ => stack.rows[first].slot,
    };
    let update = Update {
        dims: stack.dims,
        source: take_rows(&source, &due),
        probe: probe.map(|probe| take_rows(&probe, &due)),
        live: take_rows(&live.float(), &due).greater_elem(0.5),
        index: shared.refresh.index(stack.step, slot),
    };
    if due.len() == stack.len() {
        return (preconditioner.update(state, update), true);
    }
    let all = preconditioner.pack(state);
    let part = all.iter().map(|tensor| take_rows(tensor, &due)).collect();
    let part = preconditioner.unpack(part, stack.dims);
    let part = preconditioner.pack(preconditioner.update(part, update));
    let merged = all.into_iter().zip(part);
    let merged = merged
        .map(|(all, part)| put_rows(all, &due, part))
        .collect();
    (preconditioner.unpack(merged, stack.dims), true)
}

/// The source with damping, and the probe that goes with it.
fn pair<P: Preconditioner>(
    preconditioner: &P,
    shared: &Shared,
    stack: &Stack<'_>,
    source: Tensor<2>,
    live: &Tensor<2, Bool>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let of_product = stack.product.as_ref().map(|pair| pair.probe.clone());
    let wanted = of_product.is_none() && preconditioner.whitens_with_probe();
    if shared.damping == 0.0 && !wanted {
        return (source, of_product);
    }
    let drawn = shared.probes.draw(stack, stack.block_len());
    let source = if shared.damping > 0.0 {
        damped(source, drawn.clone(), shared.damping, live)
    } else {
        source
    };
    (source, of_product.or(wanted.then_some(drawn)))
}

/// Adds noise; leaves rows of zeros as they are, or they would seem to carry a signal.
fn damped(source: Tensor<2>, noise: Tensor<2>, damping: f64, live: &Tensor<2, Bool>) -> Tensor<2> {
    let epsilon = if source.dtype() == DType::F64 {
        f64::EPSILON
    } else {
        f64::from(f32::EPSILON)
    };
    let size = source.clone().abs().mul_scalar(epsilon).add_scalar(damping);
    let dead = live.clone().bool_not().expand(source.dims());
    source + (noise * size).mask_fill(dead, 0.0)
}
