//! The batches of an objective, and their recordings.

use burn::module::Module;
use osculate_jvp::{Bound, Mode, Program};

use super::replay::Recorded;
use crate::error::CurvatureError;
use crate::objective::{Objective, Recordable};
use crate::oracle::GradientOracle;

/// A batch of an objective, and its share in the loss.
pub(super) struct Batch<'a, M> {
    pub(super) weight: f64,
    recordable: &'a dyn Recordable<M>,
}

/// The batches of an objective: one, or those that are accumulated.
pub(super) fn batches<'a, M: Module>(
    oracle: &GradientOracle<'a, M>,
) -> Result<Vec<Batch<'a, M>>, CurvatureError> {
    let mut found = Vec::new();
    collect(oracle.objective(), 1.0, &mut found)?;
    Ok(found)
}

fn collect<'a, M>(
    objective: &'a dyn Objective<M>,
    weight: f64,
    found: &mut Vec<Batch<'a, M>>,
) -> Result<(), CurvatureError> {
    if let Some(recordable) = objective.recordable() {
        found.push(Batch { weight, recordable });
        return Ok(());
    }
    if objective.parts().is_empty() {
        return Err(CurvatureError::NotRecordable);
    }
    for part in objective.parts() {
        collect(part.objective(), weight * part.weight(), found)?;
    }
    Ok(())
}

impl<M: Module> Batch<'_, M> {
    pub(super) fn record(
        &self,
        recorded: Recorded,
        model: &M,
        mode: Mode,
    ) -> Result<Program, CurvatureError> {
        let program = match recorded {
            Recorded::Loss => self.recordable.record_loss_in(mode, model),
            Recorded::Outputs => self
                .recordable
                .record_outputs_in(mode, model)
                .ok_or(CurvatureError::NotRecordable)?,
        };
        Ok(program?)
    }
}

/// Binds recordings, in the order of an evaluation: random numbers are drawn after its seed.
pub(super) fn bind<M: Module>(
    oracle: &GradientOracle<'_, M>,
    batches: &[Batch<'_, M>],
    recorded: Recorded,
    programs: &[Program],
    model: &M,
) -> Result<Vec<Bound>, CurvatureError> {
    let bind = || {
        let bound = batches.iter().zip(programs).map(|(batch, program)| {
            Ok(match recorded {
                Recorded::Loss => batch.recordable.bind_loss(program, model)?,
                Recorded::Outputs => batch.recordable.bind_outputs(program, model)?,
            })
        });
        bound.collect()
    };
    if programs.iter().any(|program| program.num_draws() > 0) {
        oracle.seeded(bind)
    } else {
        bind()
    }
}
