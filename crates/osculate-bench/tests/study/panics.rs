//! A workload whose code panics does not stop a study.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use osculate::prelude::*;
use osculate_bench::study::{Board, Budget, Job, Store, StudyConfig, work};
use osculate_bench::trial::{Outcome, Watch};
use osculate_bench::workload::{About, Metric, Workload, WorkloadError, Workloads};

/// A line whose batches cannot be had from this step on.
struct Broken {
    name: &'static str,
    from: usize,
}

impl Workload for Broken {
    type Model = Linear;

    fn about(&self) -> About {
        About::new(self.name, "Line", Metric::loss("squared error"), 6)
    }

    fn model(&self, _seed: u64, device: &Device) -> Result<Linear, WorkloadError> {
        Ok(LinearConfig::new(1, 1).init(device))
    }

    fn batch(
        &self,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Box<dyn Objective<Linear>>, WorkloadError> {
        assert!(step < self.from, "no data in step {step} of seed {seed}");
        let x = Tensor::<2>::ones([2, 1], device);
        let loss = move |model: &Linear| model.forward(x.clone()).square().mean();
        Ok(Box::new(loss))
    }

    fn measure(&self, model: &Linear, device: &Device) -> Result<f64, WorkloadError> {
        let x = Tensor::<2>::ones([1, 1], device);
        let weights = model.clone().no_grad();
        Ok(f64::from(weights.forward(x).square().into_scalar::<f32>()))
    }
}

#[test]
fn a_study_ends_and_tells_why() {
    let folder = tempfile::tempdir().unwrap();
    let workloads = Workloads::empty()
        .with(Broken {
            name: "broken",
            from: 3,
        })
        // Its runs are sound, but not the longer measurement of step times.
        .with(Broken {
            name: "short",
            from: 6,
        });
    let config = StudyConfig {
        workloads: vec!["broken".to_string(), "short".to_string()],
        entrants: vec!["adamw".parse().unwrap(), "sgd".parse().unwrap()],
        baseline: "adamw".to_string(),
        budget: Budget {
            trials: 2,
            seeds: 1,
            rounds: 1,
            ..Budget::default()
        },
        data: Default::default(),
    };
    let (store, config) = Store::open(folder.path(), Some(&config)).unwrap();
    let device = Device::flex();
    let watch = Watch::default();
    work(&store, &config, &workloads, &device, &watch, &|_| ()).unwrap();
    let mut board = Board::new(&store, &config, &workloads).unwrap();
    let (progress, corrupt) = board.read_all().unwrap();
    assert_eq!((progress.done, corrupt.len()), (progress.all, 0));
    let tuned = |workload: &str| Job::Tune {
        workload: workload.to_string(),
        entrant: "sgd".to_string(),
        trial: 0,
    };
    let Outcome::Failed { message } = &board.trial(&tuned("broken")).unwrap().outcome else {
        panic!("it finished");
    };
    assert!(message.contains("no data in step 3"), "{message}");
    assert_eq!(board.winning_rate("broken", "sgd"), Some(None));
    let sound = board.trial(&tuned("short")).unwrap();
    assert_eq!(sound.outcome, Outcome::Finished);
    for workload in ["broken", "short"] {
        let failure = board.step_times(workload).unwrap().entrants[1]
            .failure
            .as_deref();
        assert!(
            failure.is_some_and(|why| why.contains("no data in step")),
            "{failure:?}"
        );
    }
}
