//! Recording of operations.

use burn::tensor::Device;
use burn_backend::get_or_init_device_settings;
use burn_dispatch::{Dispatch, DispatchDevice};

use crate::error::JvpError;
use crate::graph::{Boundary, Graph};
use crate::merge::merge_duplicates;
use crate::quiet::quietly;
use crate::recorder::Recorder;
use crate::tensors::AnyTensor;

/// Records what `f` does on a recording device. It returns the arguments and the results. With
/// `simplify`, what is computed twice is computed once.
pub(crate) fn capture(
    like: &DispatchDevice,
    simplify: bool,
    f: impl FnOnce(&Device) -> Result<(Vec<AnyTensor>, Vec<AnyTensor>), JvpError>,
) -> Result<Graph, JvpError> {
    let recorder = Recorder::like(&get_or_init_device_settings::<Dispatch>(like))?;
    let device = recorder.device()?;
    let mut recorded: Result<Boundary, JvpError> = Err(JvpError::Internal {
        what: "nothing was recorded".to_string(),
    });
    // Results must outlive the scope: one that is dropped before counts as consumed.
    let mut alive = None;
    let run = || {
        device.capture_scope(|scope| {
            let mut outputs = Vec::new();
            recorded = f(device).and_then(|(arguments, results)| {
                let boundary = Boundary::new(&arguments, &results)?;
                outputs = boundary.outputs.clone();
                alive = Some((arguments, results));
                Ok(boundary)
            });
            let mut unique = Vec::new();
            for id in outputs {
                if !unique.contains(&id) {
                    unique.push(id);
                }
            }
            scope.complete([], unique)
        })
    };
    let captured = quietly(run)?;
    let mut boundary = recorded?;
    let captured = captured.map_err(|error| JvpError::Internal {
        what: error.to_string(),
    })?;
    drop(alive);
    let mut operations = captured.graph.operations;
    if simplify {
        merge_duplicates(&mut operations, &captured.values, &mut boundary);
    }
    Graph::new(operations, captured.values, &boundary)
}
