//! A run that is killed at a random moment and resumed is the run that was not, for every family of
//! optimizers.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Tensor, TensorData};
use osculate::optim::StateRecord;
use rstest::rstest;
use serde_json::Value;
use wikitext::config::{Config, Size};
use wikitext::model::Transformer;

const STEPS: u64 = 24;

/// Flags of a small run: dropout, two batches a step, a pass that ends within the run.
const FLAGS: &str = "--width 16 --layers 1 --heads 2 --length 8 --batch 2 --dropout 0.1 \
    --accumulate 2 --checkpoint-every 3 --log-every 2 --evaluate-every 7 --evaluate-sequences 2 \
    --seed 9";

struct Run {
    folder: PathBuf,
    data: PathBuf,
    optimizer: &'static str,
}

impl Run {
    fn start(&self, resume: bool) -> Child {
        let steps = STEPS.to_string();
        let length = ["--steps", &steps];
        self.spawn(if resume { &[] } else { &length }, resume)
    }

    fn spawn(&self, flags: &[&str], resume: bool) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wikitext"));
        command.arg("--out").arg(&self.folder);
        command.args(["--sample", "0", "--device", "flex"]);
        if resume {
            command.arg("--resume");
        } else {
            command.args(FLAGS.split_whitespace());
            command.args(["--optimizer", self.optimizer]);
            command.arg("--data").arg(&self.data);
        }
        command
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn finish(&self, resume: bool) -> String {
        let output = self.start(resume).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", self.optimizer);
        said
    }

    /// Starts the run and kills it a moment after it has written a checkpoint and to its log. Says
    /// whether it was killed before it ended.
    fn kill_after(&self, moment: Duration, resume: bool) -> bool {
        let before = self.written();
        let mut child = self.start(resume);
        self.wait_until(&mut child, |run| {
            run.written() != before && run.newest().is_some()
        });
        std::thread::sleep(moment);
        let killed = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        killed
    }

    /// Waits until something holds, or the run has ended.
    fn wait_until(&self, child: &mut Child, holds: impl Fn(&Run) -> bool) {
        let begin = Instant::now();
        while !holds(self) && child.try_wait().unwrap().is_none() {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "the run does not go on"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn written(&self) -> String {
        fs::read_to_string(self.folder.join("metrics.jsonl")).unwrap_or_default()
    }

    /// Step of the newest checkpoint.
    fn newest(&self) -> Option<u64> {
        let entries = fs::read_dir(self.folder.join("checkpoints")).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
            .max()
    }

    fn last_checkpoint(&self) -> PathBuf {
        self.folder.join(format!("checkpoints/step-{STEPS:09}"))
    }

    fn weights(&self) -> Vec<(String, TensorData)> {
        let mut config = Config::new(Size::Tiny);
        (config.width, config.layers, config.heads) = (16, 1, 2);
        let record = ModuleRecord::load(self.last_checkpoint().join("model.bpk")).unwrap();
        let model = Transformer::new(&config.model(256), &Device::flex());
        let mut weights = Weights::default();
        model.load_record(record).visit(&mut weights);
        weights.values
    }

    fn state(&self) -> StateRecord {
        StateRecord::load(&self.last_checkpoint().join("optimizer.bpk")).unwrap()
    }

    /// The log without its seconds.
    fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("metrics.jsonl")).unwrap();
        text.lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                line.as_object_mut().unwrap().remove("seconds").unwrap();
                line
            })
            .collect()
    }
}

#[derive(Default)]
struct Weights {
    path: Vec<String>,
    values: Vec<(String, TensorData)>,
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, _kind: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _kind: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values
            .push((self.path.join("."), param.val().to_data()));
    }
}

/// A folder with a text, for runs with one optimizer.
struct Place {
    folder: tempfile::TempDir,
    optimizer: &'static str,
}

impl Place {
    fn new(optimizer: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = " = Lobster = \n \n Homarus gammarus is a species of clawed lobster . \n";
        fs::write(folder.path().join("wiki.train.raw"), line.repeat(6)).unwrap();
        fs::write(folder.path().join("wiki.valid.raw"), line.repeat(2)).unwrap();
        Self { folder, optimizer }
    }

    fn run(&self, name: &str) -> Run {
        Run {
            folder: self.folder.path().join(name),
            data: self.folder.path().to_path_buf(),
            optimizer: self.optimizer,
        }
    }

    /// The run that nothing disturbs.
    fn finished(&self, name: &str) -> Run {
        let run = self.run(name);
        run.finish(false);
        run
    }
}

/// A moment of up to 60 milliseconds, from the clock.
fn random() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Duration::from_millis(u64::from(now.subsec_micros() % 60))
}

#[rstest]
fn killed_and_resumed_is_uninterrupted(
    #[values(
        "sgd",
        "adamw",
        "sam",
        "asam",
        "gsam",
        "looksam",
        "adahessian",
        "sophia-h",
        "sophia-g",
        "shampoo",
        "soap",
        "kl-shampoo",
        "kl-soap",
        "psgd-kron",
        "psgd-lra",
        "muon"
    )]
    optimizer: &'static str,
) {
    let place = Place::new(optimizer);
    let whole = place.finished("whole");

    let killed = place.run("killed");
    for resume in [false, true] {
        let moment = random();
        let hit = killed.kill_after(moment, resume);
        println!("{optimizer}: killed {moment:?} after a checkpoint; before the end: {hit}");
    }
    assert!(killed.finish(true).contains("going on from"));

    assert_eq!(killed.weights(), whole.weights());
    assert_eq!(killed.state(), whole.state());
    assert_eq!(killed.log(), whole.log());
}

#[test]
fn a_damaged_checkpoint_is_left_out_and_said() {
    let place = Place::new("soap");
    let whole = place.finished("whole");

    let (damaged, weights, log) = (place.run("damaged"), whole.weights(), whole.log());
    damaged.finish(false);
    // The last checkpoint loses its end, the one before has a changed byte.
    let model = damaged.last_checkpoint().join("model.bpk");
    let bytes = fs::read(&model).unwrap();
    fs::write(&model, &bytes[..bytes.len() - 5]).unwrap();
    let before = damaged
        .folder
        .join("checkpoints/step-000000021/optimizer.bpk");
    let mut bytes = fs::read(&before).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&before, bytes).unwrap();

    let said = damaged.finish(true);
    assert!(said.contains("step-000000024: model.bpk has"), "{said}");
    assert!(
        said.contains("step-000000021: optimizer.bpk has another checksum"),
        "{said}"
    );
    assert!(
        said.contains("going on from") && said.contains("step-000000018"),
        "{said}"
    );
    assert_eq!(damaged.weights(), weights);
    assert_eq!(damaged.log(), log);

    for entry in fs::read_dir(damaged.folder.join("checkpoints")).unwrap() {
        fs::write(entry.unwrap().path().join("trainer.json"), "{").unwrap();
    }
    let output = damaged.start(true).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("no checkpoint"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_and_writes_a_checkpoint() {
    let place = Place::new("adamw");
    let run = place.run("stopped");
    let mut child = run.spawn(&["--steps", "1000000"], false);
    run.wait_until(&mut child, |run| !run.written().is_empty());
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stopped = run.newest().unwrap();
    assert!(stopped > 0);

    let gradients = (stopped + 5).to_string();
    let child = run.spawn(&["--max-gradients", &gradients], true);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("going on from"),
        "{said}"
    );
    assert_eq!(run.newest(), Some(stopped + 5));
}
