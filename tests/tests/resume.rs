//! A run that is interrupted and resumed is bit for bit the run that was not, at every step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use burn::tensor::{DType, Device};
use osculate_optim::{ClosureOptimizer, StateRecord, StepPolicy};
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::subject::Subject;
use osculate_tests::{for_each_optimizer, on_every_backend};

const STEPS: usize = 7;

fn advance(optimizer: &mut Subject, mut model: Ranked, steps: std::ops::Range<usize>) -> Ranked {
    for step in steps {
        let batch = Batch::new(&model, step, true, Fault::None);
        model = optimizer.step(0.01, model, &batch).expect("a step").model;
    }
    model
}

fn bits(model: &Ranked) -> Vec<u64> {
    model.values().into_iter().map(f64::to_bits).collect()
}

fn resumes(make: fn(StepPolicy) -> Subject, device: &Device, dtype: DType) {
    let policy = StepPolicy::new().with_seed(11);
    let mut whole = make(policy.clone());
    let expected = advance(&mut whole, Ranked::new(device, dtype), 0..STEPS);
    let record = whole.to_record();

    for cut in 0..STEPS {
        let mut first = make(policy.clone());
        let half = advance(&mut first, Ranked::new(device, dtype), 0..cut);
        let bytes = first.to_record().to_bytes().expect("a record");

        let mut second = make(policy.clone());
        second
            .load_record(StateRecord::from_bytes(bytes).expect("a record"))
            .expect("the optimizer's own record");
        assert_eq!(
            second.to_record(),
            first.to_record(),
            "the state right after loading, cut at {cut}"
        );
        let rebuilt = half.rebuilt(device, dtype);
        let resumed = advance(&mut second, rebuilt, cut..STEPS);
        assert_eq!(bits(&resumed), bits(&expected), "weights, cut at {cut}");
        assert_eq!(second.to_record(), record, "state, cut at {cut}");
    }
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| resumes($make, device, dtype));
        }
    };
}

for_each_optimizer!(suite);
