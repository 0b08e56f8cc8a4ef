//! What every optimizer must do: resume, and survive gradients that are no use. The suites call these
//! for all optimizers of the workspace, and a crate of its own optimizers calls them for those.

use burn::tensor::{DType, Device};
use osculate_optim::{
    ClosureOptimizer, NonFinitePolicy, SkipReason, StateRecord, StepErrorCause, StepPolicy,
};

use crate::model::{Batch, Fault, Ranked};
use crate::subject::Subject;

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

/// A run that is interrupted and resumed is bit for bit the run that was not, at every step.
pub fn resumes(make: fn(StepPolicy) -> Subject, device: &Device, dtype: DType) {
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

const FAULTS: [Fault; 7] = [
    Fault::Zero,
    Fault::Tiny,
    Fault::Huge,
    Fault::Spike(0),
    Fault::Nan(0),
    Fault::Inf(0),
    Fault::Missing(0),
];

fn at_rank(fault: Fault, rank: usize) -> Fault {
    match fault {
        Fault::Spike(_) => Fault::Spike(rank),
        Fault::Nan(_) => Fault::Nan(rank),
        Fault::Inf(_) => Fault::Inf(rank),
        Fault::Missing(_) => Fault::Missing(rank),
        fault => fault,
    }
}

/// Zero, tiny, huge, spiked, NaN, infinite and missing gradients leave finite weights, for every rank;
/// what is skipped stays as it was.
pub fn survives(make: fn(StepPolicy) -> Subject, supervised: bool, device: &Device, dtype: DType) {
    for fault in FAULTS {
        for rank in 1..=4 {
            let fault = at_rank(fault, rank);
            // A fault of all parameters need not be tried for each rank.
            if fault.rank().is_some() || rank == 1 {
                survives_fault(make, supervised, fault, device, dtype);
            }
        }
    }
}

fn survives_fault(
    make: fn(StepPolicy) -> Subject,
    supervised: bool,
    fault: Fault,
    device: &Device,
    dtype: DType,
) {
    // Before the first step, when there is no state yet, and in the middle of a run.
    for good_steps in [0, 2] {
        let context = format!("{fault:?} after {good_steps} steps");
        let mut optimizer = make(StepPolicy::new());
        let mut model = Ranked::new(device, dtype);
        for step in 0..good_steps {
            let batch = Batch::new(&model, step, supervised, Fault::None);
            model = optimizer.step(0.01, model, &batch).expect(&context).model;
        }
        let before = model.clone();
        let record_before = optimizer.to_record();
        let batch = Batch::new(&model, good_steps, supervised, fault);
        let step = optimizer.step(0.01, model, &batch).expect(&context);
        model = step.model;
        assert!(
            model.values().iter().all(|x| x.is_finite()),
            "{context}: a weight is not finite"
        );
        let skipped = step.report.skipped();
        match fault {
            Fault::Nan(rank) | Fault::Inf(rank) => {
                let path = format!("rank{rank}");
                assert!(
                    skipped
                        .iter()
                        .any(|skip| skip.path == path && skip.reason == SkipReason::Gradient),
                    "{context}: {path} is not counted in {skipped:?}"
                );
                assert_eq!(
                    model.values_of_rank(rank),
                    before.values_of_rank(rank),
                    "{context}: the skipped parameter moved"
                );
                let record = optimizer.to_record();
                // An average of the weights goes on, also of weights that stand still.
                let own = |name: &&str| name.starts_with(&path) && !name.contains("#averaging.");
                for name in record.tensor_names().filter(own) {
                    let old = record_before.tensor(name);
                    let new = record.tensor(name).expect("listed");
                    let untouched = match old {
                        Some(old) => old == new,
                        // State that holds weights starts at the present ones, all other at zero.
                        None => {
                            new.iter::<f64>().all(|x| x == 0.0)
                                || new.iter::<f64>().eq(before.values_of_rank(rank))
                        }
                    };
                    assert!(untouched, "{context}: the skipped state {name} changed");
                }
                if !supervised {
                    let other = rank % 4 + 1;
                    assert_ne!(
                        model.values_of_rank(other),
                        before.values_of_rank(other),
                        "{context}: a sound parameter was held back"
                    );
                }
            }
            Fault::Missing(rank) if !supervised => assert_eq!(
                model.values_of_rank(rank),
                before.values_of_rank(rank),
                "{context}: a parameter without a gradient moved"
            ),
            Fault::Zero | Fault::Tiny | Fault::Spike(_) if !supervised => assert!(
                !skipped
                    .iter()
                    .any(|skip| skip.reason == SkipReason::Gradient),
                "{context}: {skipped:?}"
            ),
            _ => {}
        }
        for step in 0..3 {
            let batch = Batch::new(&model, step, supervised, Fault::None);
            model = optimizer.step(0.01, model, &batch).expect(&context).model;
        }
        assert!(
            model.values().iter().all(|x| x.is_finite()),
            "{context}: a weight is not finite afterwards"
        );
    }
}

/// Under `Error`, the step names the parameter and changes nothing.
pub fn refuses(make: fn(StepPolicy) -> Subject, supervised: bool, device: &Device, dtype: DType) {
    let policy = StepPolicy::new().with_non_finite(NonFinitePolicy::Error);
    let mut optimizer = make(policy);
    let mut model = Ranked::new(device, dtype);
    let good = Batch::new(&model, 0, supervised, Fault::None);
    model = optimizer.step(0.01, model, &good).expect("a step").model;
    let (values, record) = (model.values(), optimizer.to_record());
    let batch = Batch::new(&model, 1, supervised, Fault::Nan(2));
    let error = optimizer.step(0.01, model, &batch).expect_err("a NaN");
    assert!(
        matches!(&error.cause, StepErrorCause::NonFiniteGradient { paths }
            if paths.iter().any(|path| path == "rank2")),
        "{error}"
    );
    assert_eq!(error.model.values(), values);
    assert_eq!(optimizer.to_record(), record);
}

/// After a first batch that is no use, the next step is a first step: nothing of the bad batch is
/// left to make it longer.
pub fn starts_over(
    make: fn(StepPolicy) -> Subject,
    supervised: bool,
    device: &Device,
    dtype: DType,
) {
    let start = Ranked::new(device, dtype);
    let length = |model: &Ranked| -> f64 {
        let moved = model.values().into_iter().zip(start.values());
        moved.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let good = |step: usize| Batch::new(&start, step, supervised, Fault::None);
    let mut fresh = make(StepPolicy::new());
    let first = fresh.step(0.01, start.clone(), &good(1)).expect("a step");
    let want = length(&first.model);

    let mut optimizer = make(StepPolicy::new());
    let mut model = start.clone();
    for rank in 1..=4 {
        // Supervised faults are in the features, so one is enough to spoil every parameter.
        let batch = Batch::new(&model, 0, supervised, Fault::Nan(rank));
        if rank == 1 || !supervised {
            model = optimizer.step(0.0, model, &batch).expect("a step").model;
        }
    }
    let next = optimizer.step(0.01, model, &good(1)).expect("a step");
    let got = length(&next.model);
    // Momentum of the sound parameters makes it a few times longer.
    assert!(got <= 6.0 * want, "{got} after a bad batch, {want} without");
}
