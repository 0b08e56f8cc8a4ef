//! How an update is made of a gradient: block rules, vector rules, and burn's optimizers as they are.

mod blocks;
mod burn;
mod burn_entries;
mod vector;
mod wide;

pub(crate) use blocks::BlockUpdate;
pub(crate) use burn::BurnUpdate;
pub(crate) use vector::VectorUpdate;
pub use vector::{VectorRule, VectorStep};

use std::fmt::Debug;
use std::sync::Arc;

use ::burn::tensor::{Bool, Tensor};
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec};

use crate::curvature::{CurvatureEstimate, CurvatureSource};
use crate::driver::{Expense, NonFinitePolicy, StepErrorCause};
use crate::parameter::{Parameter, ParameterTable};
use crate::record::{RecordError, StateRecord};
use crate::weight_decay::WeightDecay;

/// What an update is made of, for the parameters of one part of the model.
pub(crate) struct UpdateInput<'a> {
    pub parameters: &'a [Parameter],
    pub weights: &'a ParamVec,
    /// Zero where `flags` are not set.
    pub gradient: &'a ParamVec,
    pub curvature: Option<CurvatureEstimate>,
    pub curvature_flags: Option<FiniteFlags>,
    pub flags: Option<FiniteFlags>,
    pub loss: &'a Tensor<1>,
    /// Learning rate of each parameter.
    pub lrs: &'a [f64],
    pub step: u64,
    pub seed: u64,
    pub non_finite: NonFinitePolicy,
}

/// What an update proposes, before rate, decay and policies.
pub(crate) struct Proposal {
    pub kind: ProposalKind,
    /// For each parameter, whether it stands still; `None` where none does.
    pub hold: Option<Vec<Option<Tensor<1, Bool>>>>,
    /// Set where the new state is finite, and the gradient was; `None` where nobody looked.
    pub flags: Option<FiniteFlags>,
    /// Elements that were not clipped, and all elements.
    pub unclipped: Vec<(Tensor<1>, Tensor<1>)>,
    pub solver_failures: usize,
    pub refreshed: bool,
}

pub(crate) enum ProposalKind {
    /// Directions `u` in the compute type: the step is `θ - lr u`, decay apart.
    Direction(Vec<Tensor<1>>),
    /// burn's optimizer makes its step itself, on the model, at the full rate.
    OnModel,
}

/// An update behind one face, with its state.
pub(crate) trait Update: Debug + Send + Sync {
    fn name(&self) -> &str;

    fn clone_box(&self) -> Box<dyn Update>;

    fn needs_loss(&self) -> bool {
        false
    }

    fn wants_curvature(&self, step: u64) -> bool {
        let _ = step;
        false
    }

    fn curvature_source(&self) -> Option<Arc<dyn CurvatureSource>> {
        None
    }

    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::NONE
    }

    /// Makes the proposal and holds its state back.
    fn prepare(&mut self, input: UpdateInput<'_>) -> Result<Proposal, StepErrorCause>;

    /// Drops the held state of a step that was not made.
    fn discard(&mut self);

    /// Takes the held state over, but that of parameters whose flag is not set. Cannot fail.
    fn commit(&mut self, keep: Option<&FiniteFlags>);

    /// burn's optimizer, where the update is one.
    fn as_burn(&mut self) -> Option<&mut BurnUpdate> {
        None
    }

    fn is_burn(&self) -> bool {
        false
    }

    /// Drops the state of a parameter.
    fn forget(&mut self, path: &str, table: &ParameterTable) -> Result<(), RecordError>;

    /// Paths of the parameters that have state.
    fn paths(&self) -> Vec<String>;

    fn num_bytes(&self) -> usize;

    /// What it will keep of these parameters and spend on them.
    fn expenses(&self, entries: &[ParamEntry], parameters: &[Parameter]) -> Vec<Expense>;

    fn write(&self, record: &mut StateRecord, prefix: &str);

    /// The update with the state of a record; `own` tells which paths are its own.
    fn read(
        &self,
        record: &StateRecord,
        prefix: &str,
        own: &dyn Fn(&str) -> bool,
    ) -> Result<Box<dyn Update>, RecordError>;
}

impl Clone for Box<dyn Update> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}
