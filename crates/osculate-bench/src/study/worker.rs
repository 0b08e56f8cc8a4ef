use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use burn::tensor::Device;

use super::board::{State, Task};
use super::{Board, Claim, Job, Store, StudyConfig};
use crate::error::BenchError;
use crate::trial::{Outcome, Trial, Watch};
use crate::workload::Workloads;

/// What happens while a worker works.
#[derive(Debug)]
pub enum Event<'a> {
    /// A job is begun.
    Begun(&'a Job),
    /// A job has a result.
    Done(&'a Job),
    /// A file was no result: where it is now, and why. The job is run again.
    SetAside(&'a Job, PathBuf, String),
}

/// Pause between two looks at a folder where others are at work.
const PAUSE: Duration = Duration::from_millis(250);

/// Runs what is open in a study until all of it is done, by this process or others.
///
/// # Errors
/// [`BenchError::Interrupted`] where the watch says so; the trial under way is then lost, and
/// nothing else. Otherwise what the workloads and the folder say.
pub fn work(
    store: &Store,
    config: &StudyConfig,
    workloads: &Workloads,
    device: &Device,
    watch: &Watch,
    events: &dyn Fn(Event),
) -> Result<(), BenchError> {
    let mut board = Board::new(store, config, workloads)?;
    let mut open = config.jobs();
    while !open.is_empty() {
        let (mut left, mut ran) = (Vec::new(), false);
        for job in std::mem::take(&mut open) {
            if watch.stopped() {
                return Err(BenchError::Interrupted);
            }
            match board.state(&job)? {
                State::Done | State::Impossible => continue,
                State::Waiting => {
                    left.push(job);
                    continue;
                }
                State::Open(_) | State::Corrupt(..) => (),
            }
            let Some(claim) = store.claim(&job)? else {
                left.push(job);
                continue;
            };
            // Another process may have finished between the look and the claim.
            match board.state(&job)? {
                State::Done | State::Impossible => continue,
                State::Waiting => {
                    left.push(job);
                    continue;
                }
                State::Open(task) => {
                    events(Event::Begun(&job));
                    run(&task, &claim, &job, store, workloads, device, watch)?;
                }
                State::Corrupt(task, why) => {
                    let aside = store.set_aside(&claim)?;
                    events(Event::SetAside(&job, aside, why));
                    events(Event::Begun(&job));
                    run(&task, &claim, &job, store, workloads, device, watch)?;
                }
            }
            ran = true;
            events(Event::Done(&job));
            // The result is read back from its file: what is reported is what was kept.
            board.state(&job)?;
        }
        open = left;
        if !ran && !open.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn run(
    task: &Task,
    claim: &Claim,
    job: &Job,
    store: &Store,
    workloads: &Workloads,
    device: &Device,
    watch: &Watch,
) -> Result<(), BenchError> {
    let workload = workloads.get(job.workload())?;
    match task {
        Task::Trial(spec) => {
            // A panic must not end the other trials of a study of hours.
            let made = catch_unwind(AssertUnwindSafe(|| workload.train(spec, device, watch)));
            let trial = made.unwrap_or_else(|payload| {
                let mut trial = Trial::new(spec.as_ref().clone());
                trial.outcome = Outcome::Failed {
                    message: format!("it panicked: {}", text(payload.as_ref())),
                };
                Ok(trial)
            })?;
            if trial.outcome == Outcome::Interrupted {
                return Err(BenchError::Interrupted);
            }
            store.write(claim, &trial)
        }
        Task::StepTimes(spec) => {
            let times = workload.step_times(spec, device, watch)?;
            store.write(claim, &times)
        }
    }
}

fn text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_string())
        })
        .unwrap_or_else(|| "without a message".to_string())
}
