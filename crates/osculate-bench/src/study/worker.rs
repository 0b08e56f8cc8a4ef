use std::path::PathBuf;
use std::time::Duration;

use burn::tensor::Device;

use super::board::{State, Task};
use super::{Board, Claim, Job, Store, StudyConfig};
use crate::error::BenchError;
use crate::trial::{Outcome, StepTimes, Trial, Watch, caught};
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
        if watch.stopped() {
            return Err(BenchError::Interrupted);
        }
        let Some(next) = claim_next(&mut board, store, &mut open)? else {
            if !open.is_empty() {
                std::thread::sleep(PAUSE);
            }
            continue;
        };
        let job = &next.job;
        if let Some(why) = next.corrupt {
            let aside = store.set_aside(&next.claim)?;
            events(Event::SetAside(job, aside, why));
        }
        events(Event::Begun(job));
        run(
            &next.task,
            &next.claim,
            job,
            store,
            workloads,
            device,
            watch,
        )?;
        // What was kept counts, not what was measured: the file is read back.
        if let State::Corrupt(_, why) = board.state(job)? {
            return Err(BenchError::Content {
                path: store.root().join(job.path()),
                message: format!("what was just written cannot be read back: {why}"),
            });
        }
        events(Event::Done(job));
    }
    Ok(())
}

/// A job that this process has claimed.
struct Next {
    job: Job,
    claim: Claim,
    task: Task,
    /// Why the file that is there is no result.
    corrupt: Option<String>,
}

/// Claims the first job that can be run, and takes those that are done out of `open`. `None` where all that
/// is left waits for other processes.
fn claim_next(
    board: &mut Board,
    store: &Store,
    open: &mut Vec<Job>,
) -> Result<Option<Next>, BenchError> {
    let mut found = None;
    let mut left = Vec::new();
    let mut jobs = std::mem::take(open).into_iter();
    for job in jobs.by_ref() {
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
        // Another process may have finished it between the look and the claim.
        let (task, corrupt) = match board.state(&job)? {
            State::Open(task) => (task, None),
            State::Corrupt(task, why) => (task, Some(why)),
            State::Done | State::Impossible | State::Waiting => continue,
        };
        found = Some(Next {
            job,
            claim,
            task,
            corrupt,
        });
        break;
    }
    left.extend(jobs);
    *open = left;
    Ok(found)
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
            let made = caught(|| workload.train(spec, device, watch));
            let trial = made.unwrap_or_else(|message| {
                let mut trial = Trial::new(spec.as_ref().clone());
                trial.outcome = Outcome::Failed { message };
                Ok(trial)
            })?;
            if trial.outcome == Outcome::Interrupted {
                return Err(BenchError::Interrupted);
            }
            store.write(claim, &trial)
        }
        Task::StepTimes(spec) => {
            let times = caught(|| workload.step_times(spec, device, watch))
                .unwrap_or_else(|message| Ok(StepTimes::failed(spec, &message)))?;
            store.write(claim, &times)
        }
    }
}
