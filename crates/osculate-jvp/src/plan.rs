//! A recorded function with its backward pass in parts, and those parts at one point.

use std::sync::Arc;

use burn_backend::get_or_init_device_settings;
use burn_dispatch::Dispatch;

use crate::adjoint::{Adjoint, Recorded};
use crate::bound::{Bound, Tangents, Wrt};
use crate::dual::{Dual, Value, zeros_like};
use crate::error::JvpError;
use crate::footprint::footprint;
use crate::graph::Graph;
use crate::kept::KeptMemory;
use crate::partition::{Split, Stage, split};
use crate::program::Program;
use crate::rules;
use crate::simplify::simplify;
use crate::tensors::AnyTensor;

/// A function with its backward pass, in parts.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    program: Program,
    still: Arc<Graph>,
    stages: Arc<[Stage]>,
    /// Positions of the arguments that a direction covers.
    covered: Arc<[usize]>,
    gradients: Arc<[Option<usize>]>,
    fixed: Arc<[(usize, usize)]>,
    results: usize,
    pub(crate) memory: KeptMemory,
}

impl Plan {
    pub(crate) fn new(
        program: &Program,
        wrt: Wrt,
        kind: Adjoint,
        gradient: usize,
    ) -> Result<Self, JvpError> {
        Self::of(program, wrt, program.adjoint(wrt, kind)?, gradient)
    }

    pub(crate) fn of(
        program: &Program,
        wrt: Wrt,
        recorded: Recorded,
        gradient: usize,
    ) -> Result<Self, JvpError> {
        let settings = get_or_init_device_settings::<Dispatch>(&program.device);
        let own = program.graph.arguments.len();
        let graph = simplify(recorded.graph, own, settings.bool_dtype);
        let results = graph.outputs.len();
        let Split {
            still,
            stages,
            fixed,
        } = split(graph, &recorded.moving)?;
        let made = footprint(&still, true);
        let each = stages
            .iter()
            .map(|stage| footprint(&stage.graph, true).peak);
        let memory = KeptMemory {
            kept: made.results,
            peak: made.peak.max(made.results + each.max().unwrap_or(0)),
            gradient,
        };
        Ok(Self {
            program: program.clone(),
            still: Arc::new(still),
            stages: stages.into(),
            covered: program.covered(wrt).into(),
            gradients: recorded.gradients.into(),
            fixed: fixed.into(),
            results,
            memory,
        })
    }

    pub(crate) fn operations(&self) -> impl Iterator<Item = &'static str> + '_ {
        let steps = self.stages.iter().flat_map(|stage| &stage.graph.steps);
        steps.map(|step| rules::rule(step).operation)
    }

    pub(crate) fn keep(&self, bound: &Bound) -> Result<Kept, JvpError> {
        let expected = self.program.graph.arguments.len();
        if bound.arguments.len() != expected {
            return Err(JvpError::Count {
                what: "tensors of weights and inputs",
                expected,
                got: bound.arguments.len(),
            });
        }
        for (index, argument) in bound.arguments.iter().enumerate() {
            let argument = AnyTensor::from_value(argument.clone());
            self.program.check_argument("", index, &argument)?;
        }
        let arguments = bound.arguments.iter().cloned().map(Dual::constant);
        let mut givens = self.still.constants_on(&bound.device);
        givens.extend_from_slice(bound.drawn());
        let still = self
            .still
            .replay(arguments.collect(), givens, &bound.device)?;
        let still: Vec<Value> = still.into_iter().map(|dual| dual.value).collect();
        let shared = self.stages.iter().map(|stage| {
            let kept = stage.kept.iter().map(|&at| still[at].clone());
            kept.collect()
        });
        let mut fixed = vec![None; self.results];
        for &(at, from) in self.fixed.iter() {
            fixed[at] = Some(still[from].clone());
        }
        Ok(Kept {
            shared: shared.collect(),
            fixed,
            plan: self.clone(),
            bound: bound.clone(),
        })
    }
}

/// A plan at one point.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    plan: Plan,
    pub(crate) bound: Bound,
    /// What each stage reads of what was computed once.
    shared: Vec<Vec<Value>>,
    /// Those of the results that no stage makes.
    pub(crate) fixed: Vec<Option<Value>>,
}

impl Kept {
    /// The tensors of a direction, zeros where it has none.
    pub(crate) fn direction(&self, direction: &Tangents) -> Result<Vec<Value>, JvpError> {
        let mut given = self.bound.collect(core::slice::from_ref(direction))?;
        let mut take = |index: usize| given[index].pop().flatten();
        let covered = self.plan.covered.iter();
        let moving = covered
            .map(|&index| take(index).unwrap_or_else(|| zeros_like(&self.bound.arguments[index])));
        let moving = moving.collect();
        match given.iter().flatten().flatten().count() {
            0 => Ok(moving),
            others => Err(JvpError::Count {
                what: "tangents of what the plan does not differentiate by",
                expected: 0,
                got: others,
            }),
        }
    }

    /// The results of the whole that a stage makes.
    pub(crate) fn run(
        &self,
        stage: usize,
        moving: Vec<Value>,
    ) -> Result<Vec<Option<Value>>, JvpError> {
        let (plan, kept) = (&self.plan.stages[stage], &self.shared[stage]);
        let arguments = kept.iter().cloned().chain(moving);
        let arguments = arguments.map(Dual::constant).collect();
        let made = plan
            .graph
            .replay(arguments, Vec::new(), &self.bound.device)?;
        let mut results = self.fixed.clone();
        for (&at, dual) in plan.results.iter().zip(made) {
            results[at] = Some(dual.value);
        }
        Ok(results)
    }

    pub(crate) fn gradient(&self, results: Vec<Option<Value>>) -> Tangents {
        let all = self.plan.gradients.iter();
        let all = all.map(|at| at.and_then(|at| results[at].clone()));
        self.bound
            .split(all.map(|part| part.map(AnyTensor::from_value)).collect())
    }
}
