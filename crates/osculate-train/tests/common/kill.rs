//! Kills a program at a random moment, and compares what runs leave behind. The tests of the example
//! programs include this file by its path.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use burn_pack::Reader;
use osculate::optim::StateRecord;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Most time that a program may take to its first checkpoint.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most times that a program may be faster than its killer.
const TRIES: usize = 20;

/// A program that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end, and says how long it took.
pub fn finish(command: &mut Command) -> (String, Duration) {
    let begin = Instant::now();
    let output = command.output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{command:?}: {said}");
    (said, begin.elapsed())
}

/// What a program said.
pub fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Starts a program in a folder that it makes, waits until `ready`, and kills it (SIGKILL on unix) at
/// a random moment within a time after that. A program that was faster is started anew and killed
/// sooner. `KILL_SEED` repeats the draw of the seed that was printed.
#[allow(clippy::print_stdout, reason = "a test that failed is to be repeated")]
pub fn kill(command: &mut Command, folder: &Path, ready: impl Fn() -> bool, within: Duration) {
    let seed = match std::env::var("KILL_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos())
        }
    };
    let mut moment = within.mul_f64(ChaCha8Rng::seed_from_u64(seed).random());
    for _ in 0..TRIES {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut running = Running(child.unwrap());
        wait_until(&mut running.0, &ready);
        std::thread::sleep(moment);
        let Some(status) = running.0.try_wait().unwrap() else {
            println!("{command:?}: killed {moment:?} after its first checkpoint, seed {seed}");
            return;
        };
        assert!(status.success(), "{command:?} ended with {status}");
        std::fs::remove_dir_all(folder).unwrap();
        moment /= 2;
    }
    panic!("{command:?} was always faster than it was killed");
}

/// Waits until something holds, or the program has ended.
fn wait_until(child: &mut Child, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() && child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < PATIENCE, "there is no checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the weights and the optimizer states in two pairs of files are equal bit for bit.
pub fn assert_same(a: [&Path; 2], b: [&Path; 2], what: &str) {
    let (weights, others) = (weights(a[0]), weights(b[0]));
    assert!(!weights.is_empty(), "{what}");
    assert!(weights == others, "{what}: the weights differ");
    let state = |path: &Path| StateRecord::load(path).unwrap();
    assert!(state(a[1]) == state(b[1]), "{what}: the states differ");
}

/// The bytes of the tensors in a file, by path. The identifiers beside them differ from run to run.
pub fn weights(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let reader = Reader::from_file(path).unwrap();
    reader
        .tensor_names()
        .into_iter()
        .map(|name| (name.to_string(), reader.tensor_data(name).unwrap()))
        .collect()
}
