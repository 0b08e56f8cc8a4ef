//! What a step of every member of the family is made of.

use burn::tensor::{Bool, DType, Tensor};

use super::precondition::{PsgdFit, averaged, fourth_moment};
use super::settings::{COUNT, MOMENTUM, Settings};
use crate::engine::{BlockState, RuleError, Stack, StackedCurvature, Stepped, take_rows};

/// A preconditioner that is fitted.
pub(super) trait Preconditioner {
    /// Its tensors for a stack of blocks, whose first dimension is the stack's.
    type State: Rows;

    /// Takes its tensors out of the state of a stack.
    fn take(&self, state: &mut BlockState, dims: &[usize]) -> Result<Self::State, RuleError>;

    /// Puts them back.
    fn put(&self, state: &mut BlockState, own: Self::State) -> Result<(), RuleError>;

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

/// The state of a stack, of which some rows, in rising order, are updated by themselves.
pub(super) trait Rows {
    /// These rows alone.
    fn rows(&self, rows: &[usize]) -> Self;

    /// The whole, with these rows replaced by those of `part`.
    fn with_rows(self, rows: &[usize], part: Self) -> Self;
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
    settings: &Settings,
    stack: &mut Stack<'_>,
) -> Result<Stepped, RuleError> {
    let dims = stack.dims;
    let count = stack.state.take(COUNT)?;
    let state = preconditioner.take(&mut stack.state, dims)?;
    let gradient = stack.gradient.clone();
    let momentum = if settings.momentum > 0.0 {
        let m = stack.state.take(MOMENTUM)?;
        averaged(m, gradient, &count, settings.momentum)
    } else {
        gradient
    };

    let fitted = Fitted::of(settings, stack, &momentum)?;
    let state = match &fitted {
        Some(fitted) => {
            let scale = first_scale(settings, stack, &count, fitted);
            preconditioner.start(state, stack, scale)
        }
        None => state,
    };
    let direction = |state: &P::State| preconditioner.apply(state, momentum.clone(), dims);
    let (direction, (state, refreshed)) = if settings.update_first {
        let updated = refreshed(preconditioner, settings, state, stack, fitted);
        (direction(&updated.0), updated)
    } else {
        let direction = direction(&state);
        let updated = refreshed(preconditioner, settings, state, stack, fitted);
        (direction, updated)
    };

    // The count starts with the first preconditioner.
    let begun = preconditioner.is_there(&state).float();
    let count = count + begun.cast(stack.gradient.dtype());
    preconditioner.put(&mut stack.state, state)?;
    stack.state.put(COUNT, count)?;
    if settings.momentum > 0.0 {
        stack.state.put(MOMENTUM, momentum)?;
    }
    Ok(Stepped {
        refreshed,
        ..Stepped::along(settings.clip.apply(direction))
    })
}

/// What the preconditioner is fitted to in a step.
struct Fitted {
    /// `h`, `[k, n]`.
    source: Tensor<2>,
    /// `v`, `[k, n]`, where `h` was made of it.
    probe: Option<Tensor<2>>,
}

impl Fitted {
    /// `None` where there is no Hessian product in this step.
    fn of(
        settings: &Settings,
        stack: &Stack<'_>,
        momentum: &Tensor<2>,
    ) -> Result<Option<Self>, RuleError> {
        let (source, probe) = match (settings.fit, &stack.curvature) {
            (PsgdFit::Whitening, _) => (stack.gradient.clone(), None),
            (PsgdFit::WhiteningMomentum, _) => (momentum.clone(), None),
            (PsgdFit::Newton, None) => return Ok(None),
            (PsgdFit::Newton, Some(StackedCurvature::Product { probe, product, .. })) => {
                (product.clone(), Some(probe.clone()))
            }
            (PsgdFit::Newton, Some(StackedCurvature::Diagonal { .. })) => {
                return Err(RuleError::Curvature {
                    rule: settings.name,
                    expected: "Hessian products",
                    found: "a diagonal",
                });
            }
        };
        Ok(Some(Self { source, probe }))
    }
}

/// Where a row of the source is not zero.
fn live(source: &Tensor<2>) -> Tensor<2, Bool> {
    source.clone().abs().max_dim(1).greater_elem(0.0)
}

/// The scale of the first `Q`, `[k, 1]`: 0 for blocks that have one, and for those without a signal
/// to measure it on.
fn first_scale(
    settings: &Settings,
    stack: &Stack<'_>,
    count: &Tensor<2>,
    Fitted { source, probe }: &Fitted,
) -> Tensor<2> {
    let scale = match settings.init_scale {
        Some(scale) => stack.zeros(1).add_scalar(scale),
        None => {
            let damping = settings.damping.max(f64::from(f32::MIN_POSITIVE));
            let of_source = fourth_moment(source, damping).sqrt().recip();
            match probe {
                Some(probe) => of_source * probe.clone().square().mean_dim(1).sqrt().sqrt(),
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
    settings: &Settings,
    state: P::State,
    stack: &Stack<'_>,
    fitted: Option<Fitted>,
) -> (P::State, bool) {
    let due: Vec<usize> = match settings.fit {
        // A product is made for all blocks at once, so all use it.
        PsgdFit::Newton => (0..stack.len()).collect(),
        _ => stack.due(&settings.refresh, 0, 1),
    };
    let (Some(fitted), Some(&first)) = (fitted, due.first()) else {
        return (state, false);
    };
    let phase = match settings.fit {
        PsgdFit::Newton => 0,
        _ => stack.rows[first].phase,
    };
    let live = live(&fitted.source);
    let Fitted { source, probe } = damped(preconditioner, settings, stack, fitted, &live);
    let update = Update {
        dims: stack.dims,
        source: take_rows(&source, &due),
        probe: probe.map(|probe| take_rows(&probe, &due)),
        live: take_rows(&live.float(), &due).greater_elem(0.5),
        index: settings.refresh.index(stack.step, phase),
    };
    if due.len() == stack.len() {
        // Without a copy of the old state, so that its memory can be reused.
        return (preconditioner.update(state, update), true);
    }
    let part = preconditioner.update(state.rows(&due), update);
    (state.with_rows(&due, part), true)
}

/// The source with noise, and the probe that goes with it.
fn damped<P: Preconditioner>(
    preconditioner: &P,
    settings: &Settings,
    stack: &Stack<'_>,
    Fitted { source, probe }: Fitted,
    live: &Tensor<2, Bool>,
) -> Fitted {
    let wanted = probe.is_none() && preconditioner.whitens_with_probe();
    if settings.damping == 0.0 && !wanted {
        return Fitted { source, probe };
    }
    let drawn = settings.probes.draw(stack, stack.block_len());
    let source = if settings.damping > 0.0 {
        with_noise(source, drawn.clone(), settings.damping, live)
    } else {
        source
    };
    Fitted {
        source,
        probe: probe.or(wanted.then_some(drawn)),
    }
}

/// Adds noise; leaves rows of zeros as they are, or they would seem to carry a signal.
fn with_noise(
    source: Tensor<2>,
    noise: Tensor<2>,
    damping: f64,
    live: &Tensor<2, Bool>,
) -> Tensor<2> {
    let epsilon = if source.dtype() == DType::F64 {
        f64::EPSILON
    } else {
        f64::from(f32::EPSILON)
    };
    let size = source.clone().abs().mul_scalar(epsilon).add_scalar(damping);
    let dead = live.clone().bool_not().expand(source.dims());
    source + (noise * size).mask_fill(dead, 0.0)
}
