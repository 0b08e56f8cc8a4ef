//! The task on the embedded digits, and the program as a child process.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Tensor};
use cifar::augment::Augmentation;
use cifar::config::Config;
use cifar::models::Architecture;
use cifar::task::{Classification, load_images};
use osculate::optim::registry::{OptimizerKind, OptimizerSpec};
use osculate::prelude::ClosureOptimizer;
use osculate_train::trainer::{BatchAt, Task};
use tempfile::tempdir;

fn task(change: impl FnOnce(&mut Config)) -> Classification {
    let mut config = Config::default();
    change(&mut config);
    let set = load_images(&config).unwrap();
    Classification::new(&config, set, Device::flex()).unwrap()
}

fn at(epoch: u64, index: usize) -> BatchAt {
    BatchAt {
        seed: 5,
        epoch,
        index,
    }
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

#[test]
fn batches_are_a_function_of_seed_epoch_and_place() {
    let task = task(|config| config.batch = 100);
    let batch = |at| task.training_batch(at).unwrap();
    assert_eq!(task.batches_per_epoch(), 15);
    let first = batch(at(2, 7));
    assert_eq!(first.images.dims(), [100, 1, 8, 8]);
    assert_eq!(values(&first.images), values(&batch(at(2, 7)).images));
    for other in [
        at(2, 8),
        at(3, 7),
        BatchAt {
            seed: 6,
            ..at(2, 7)
        },
    ] {
        assert_ne!(values(&first.images), values(&batch(other).images));
    }
    // The last batch is shorter, and there is none after it.
    assert_eq!(batch(at(0, 14)).labels.dims(), [42]);
    assert!(task.training_batch(at(0, 15)).is_none());
    assert!(task.batch(at(0, 15)).is_err());
}

#[test]
fn an_epoch_without_changes_holds_every_image_once_and_normalised() {
    let task = task(|config| {
        config.augmentation.crop = Some(0);
    });
    assert_eq!(task.augmentation(), Augmentation::NONE);
    let mut pixels = Vec::new();
    let mut counts = [0; 10];
    for index in 0..task.batches_per_epoch() {
        let batch = task.training_batch(at(0, index)).unwrap();
        pixels.extend(values(&batch.images));
        for label in batch.labels.into_data().iter::<i64>() {
            counts[label as usize] += 1;
        }
    }
    let n = pixels.len() as f64;
    assert_eq!(pixels.len(), 1442 * 64);
    let mean = pixels.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = pixels
        .iter()
        .map(|x| (f64::from(*x) - mean).powi(2))
        .sum::<f64>()
        / n;
    assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4);
    let mut expected = [0; 10];
    for label in task.set().train.labels() {
        expected[usize::from(*label)] += 1;
    }
    assert_eq!(counts, expected);
}

#[test]
fn noise_changes_training_labels_alone() {
    let clean = task(|_| {});
    let noisy = task(|config| config.label_noise = 0.4);
    assert_eq!(clean.set().test, noisy.set().test);
    let (clean, noisy) = (clean.set().train.labels(), noisy.set().train.labels());
    let wrong = clean.iter().zip(noisy).filter(|(a, b)| a != b).count();
    assert_eq!(wrong, 577);
}

/// The loss that is trained has the smoothing in it, the loss that is reported has not.
#[test]
fn smoothing_is_in_the_training_loss() {
    let loss = |smoothing, architecture| {
        let task = task(|config| {
            config.label_smoothing = smoothing;
            config.model = Some(architecture);
        });
        let model = task.model(1).unwrap();
        let batch = task.batch(at(0, 0)).unwrap();
        let trained = batch.objective.loss(&model).unwrap().into_scalar::<f64>();
        (trained, task.evaluate(&model.valid()).unwrap())
    };
    for architecture in [Architecture::ResNet8, Architecture::Vit] {
        let (plain, reported) = loss(0.0, architecture);
        let (smoothed, reported_too) = loss(0.5, architecture);
        assert_ne!(plain, smoothed);
        assert_eq!(reported, reported_too);
    }
}

#[test]
fn the_evaluation_agrees_with_one_pass_over_all_images() {
    let task = task(|config| config.augmentation.crop = Some(0));
    let model = task.model(3).unwrap().valid();
    let metrics = task.evaluate(&model).unwrap();
    let test = &task.set().test;
    let mut pixels = Vec::new();
    let normalisation = cifar::normalise::Normalisation::of(&task.set().train);
    for position in 0..test.len() {
        normalisation.extend(test.image(position), 64, &mut pixels);
    }
    let images = Tensor::<1>::from_floats(pixels.as_slice(), &Device::flex());
    let logits = values(&model.forward(images.reshape([355, 1, 8, 8])));
    let (mut loss, mut correct) = (0.0, 0.0);
    for (row, label) in logits.chunks(10).zip(test.labels()) {
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let label = usize::from(*label);
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
        loss += largest + sum.ln() - row[label];
        correct += f64::from(u8::from(row[label] >= largest));
    }
    assert_eq!(metrics[0].0, "test_loss");
    assert!((metrics[0].1 - loss / 355.0).abs() < 1e-4);
    assert_eq!(metrics[1], ("test_accuracy".to_string(), correct / 355.0));
}

/// Every method makes finite steps on a network with batch normalisation, with smoothed labels.
#[test]
fn every_optimizer_trains_the_network() {
    let task = task(|config| {
        config.batch = 16;
        config.label_smoothing = 0.1;
    });
    // Entropy-SGD draws further batches in a step, which this loop has not.
    let methods = OptimizerKind::all().into_iter();
    for method in methods.filter(|method| *method != OptimizerKind::ENTROPY_SGD) {
        let recipe = OptimizerSpec::new(method);
        let mut optimizer = recipe.make(1).unwrap();
        let mut model = task.model(0).unwrap();
        for index in 0..2 {
            let batch = task.batch(at(0, index)).unwrap();
            let lr = recipe.learning_rate();
            let step = optimizer
                .step(lr, model, batch.objective.as_ref())
                .unwrap_or_else(|error| panic!("{method}: {error}"));
            model = step.model;
            assert!(step.report.loss().is_finite(), "{method}");
            assert_eq!(step.report.skipped(), [], "{method}");
        }
        let metrics = task.evaluate(&model.valid()).unwrap();
        assert!(
            metrics.iter().all(|(_, value)| value.is_finite()),
            "{method}"
        );
    }
}

fn cifar(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cifar"))
        .args(["--no-progress", "--batch", "32", "--train-images", "320"])
        .args(["--test-images", "100", "--seed", "7", "--device", "flex"])
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

fn stderr(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every number of a model, running statistics included.
struct Bits(Vec<u32>);

impl ModuleVisitor for Bits {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = values(&param.val());
        self.0.extend(values.iter().map(|value| value.to_bits()));
    }
}

/// A run in parts: the second part reads everything but the folder from `config.json`.
#[test]
fn a_run_in_two_parts_is_the_run_in_one() {
    let folder = tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        "--epochs",
        "2",
        "--optimizer",
        "sgd",
        "--label-noise",
        "0.2",
    ];
    let more = ["--cutout", "3", "--schedule", "one-cycle"];
    let whole = out("whole");
    let text = stdout(&cifar(
        &[
            &settings[..],
            &more,
            &["--out", &whole, "--checkpoint-every", "3"],
        ]
        .concat(),
    ));
    assert!(text.contains("D A T A   F O L D E R"), "{text}");
    let parts = out("parts");
    let budget = [
        "--out",
        &parts,
        "--max-gradients",
        "13",
        "--checkpoint-every",
        "3",
    ];
    stdout(&cifar(&[&settings[..], &more, &budget].concat()));
    stdout(&cifar(&[
        "--out",
        &parts,
        "--resume",
        "--max-gradients",
        "1e9",
    ]));
    let weights = |run: &str| {
        let path = Path::new(run).join("checkpoints/step-000000020/model.bpk");
        let model = task(|_| {}).model(0).unwrap();
        let model = model.try_load_record(ModuleRecord::load(path).unwrap());
        let mut bits = Bits(Vec::new());
        model.unwrap().visit(&mut bits);
        bits.0
    };
    assert!(weights(&whole) == weights(&parts), "weights differ");
    let lines = |run: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(Path::new(run).join("metrics.jsonl")).unwrap();
        text.lines()
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                line.as_object_mut().unwrap().remove("seconds");
                line
            })
            .collect()
    };
    assert_eq!(lines(&whole).last(), lines(&parts).last());
}

#[test]
fn mistakes_are_explained() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("run").display().to_string();
    let empty = folder.path().display().to_string();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--crop", "8"], &["augmentation.crop = 8", "shorter side"]),
        (
            &["--data", &empty],
            &["data_batch_1.bin", "https://", &empty],
        ),
        (&["--batch", "0"], &["batch = 0", "at least 1"]),
        (&["--label-smoothing", "1"], &["label_smoothing = 1"]),
        (&["--label-noise", "1.5"], &["label_noise = 1.5"]),
        (&["--optimizer", "adamm"], &["adamm", "adamw", "shampoo"]),
    ];
    for (arguments, parts) in cases {
        let mut all = vec!["--no-progress", "--out", &out];
        all.extend(arguments);
        let output = Command::new(env!("CARGO_BIN_EXE_cifar"))
            .args(&all)
            .output()
            .unwrap();
        let message = stderr(&output);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
    assert!(!Path::new(&out).exists());
}

#[cfg(not(feature = "download"))]
#[test]
fn a_download_asks_for_its_feature() {
    let out = tempdir().unwrap().path().join("run");
    let output = Command::new(env!("CARGO_BIN_EXE_cifar"))
        .args(["--download", "cifar-100", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let message = stderr(&output);
    for part in ["CIFAR-100", "--features download"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(!out.exists());
}

/// burn-dataset takes an existing folder in its cache for the data set; one that is not whole is
/// noticed.
#[cfg(feature = "download")]
#[test]
fn an_interrupted_download_is_noticed() {
    let cache = tempdir().unwrap();
    for part in ["train", "test"] {
        let class = cache
            .path()
            .join("burn-dataset/cifar10")
            .join(part)
            .join("cat");
        fs::create_dir_all(&class).unwrap();
        let pixels = image::RgbImage::from_pixel(32, 32, image::Rgb([1, 2, 3]));
        pixels.save(class.join("1.png")).unwrap();
    }
    let out = cache.path().join("run");
    let output = Command::new(env!("CARGO_BIN_EXE_cifar"))
        .env("XDG_CACHE_HOME", cache.path())
        .args(["--download", "cifar-10", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let message = stderr(&output);
    for part in ["burn-dataset/cifar10", "50000", "1 training"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}
