use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use osculate_program::exit::INTERRUPTED;

use crate::error::BenchError;
use crate::trial::Watch;

/// Pause between two looks at the workers.
const PAUSE: Duration = Duration::from_millis(300);
/// Lines of a log that an error shows.
const LINES: usize = 8;

/// Runs this program several times side by side, each with the given words and one thread for
/// arithmetic, until all of them end. Workers see the end of their standard input when this process
/// ends or `watch` stops it, and stop too. Their output is in `worker-PROCESS-N.log` in the folder.
///
/// `tick` is called a few times a second.
///
/// # Errors
/// [`BenchError::Interrupted`], [`BenchError::Workers`] where a worker fails, and
/// [`BenchError::File`].
pub fn run_workers(
    count: usize,
    words: &[OsString],
    folder: &Path,
    watch: &Watch,
    mut tick: impl FnMut() -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let program =
        std::env::current_exe().map_err(BenchError::file("find", Path::new("osculate")))?;
    let mut workers = Vec::new();
    for number in 0..count {
        let log = folder.join(format!("worker-{}-{number}.log", std::process::id()));
        let file = File::create(&log).map_err(BenchError::file("write", &log))?;
        let copy = file.try_clone().map_err(BenchError::file("write", &log))?;
        let mut command = Command::new(&program);
        command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(copy);
        if std::env::var_os("RAYON_NUM_THREADS").is_none() {
            command.env("RAYON_NUM_THREADS", "1");
        }
        let child = command
            .spawn()
            .map_err(BenchError::file("start", &program))?;
        workers.push(Worker {
            child,
            log,
            status: None,
        });
    }
    while workers.iter_mut().any(Worker::runs) {
        if watch.stopped() {
            for worker in &mut workers {
                // The end of its input tells the worker to stop.
                drop(worker.child.stdin.take());
            }
        }
        std::thread::sleep(PAUSE);
        tick()?;
    }
    if watch.stopped() {
        return Err(BenchError::Interrupted);
    }
    let interrupted = |worker: &Worker| worker.code() == Some(i32::from(INTERRUPTED));
    if workers.iter().any(interrupted) {
        return Err(BenchError::Interrupted);
    }
    let failed: Vec<&Worker> = workers.iter().filter(|w| w.code() != Some(0)).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(BenchError::Workers {
            count: failed.len(),
            log: first.log.clone(),
            message: last_lines(&first.log),
        }),
    }
}

struct Worker {
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Worker {
    fn runs(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_none()
    }

    fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut lines: VecDeque<&str> = VecDeque::new();
    for line in text.lines() {
        lines.push_back(line);
        if lines.len() > LINES {
            lines.pop_front();
        }
    }
    lines.into_iter().collect::<Vec<_>>().join("\n")
}
