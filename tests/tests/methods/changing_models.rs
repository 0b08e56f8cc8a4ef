//! Layers that change in the middle of a training: their state is fresh, said once, and that of the
//! others is as if nothing had happened.

use std::ops::Range;

use burn::tensor::{DType, Device};
use osculate_optim::{
    ClosureOptimizer, RecordError, StateRecord, StatefulOptimizer, StepErrorCause, StepPolicy,
};
use osculate_tests::for_each_optimizer;
use osculate_tests::layered::{Change, Layers, PATHS, Targets};
use osculate_tests::pack::{entries_of, without};
use osculate_tests::subject::Subject;

/// An optimizer under test.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    make: fn(StepPolicy) -> Subject<Layers>,
}

/// Steps before the change, and after it.
const BEFORE: usize = 3;
const AFTER: usize = 4;
const LR: f64 = 0.01;

/// Methods in which every parameter is in the step of every other: by a norm over all of them, by
/// finite differences along one probe, or by targets that are drawn for all outputs together.
const COUPLED: [&str; 28] = [
    "sam",
    "sam_adaptive",
    "asam",
    "gsam",
    "looksam",
    "looksam_per_tensor",
    "gam",
    "fast_gam",
    "friendly_sam",
    "perp_grad_global",
    "adahessian",
    "adahessian_lazy",
    "sophia_h",
    "sophia_g",
    "psgd_kron_newton",
    "optimistic_extrapolated",
    "induced_metric",
    "newton_cg",
    "sania",
    "sania_adam",
    "armijo",
    "prodigy",
    "mars_exact",
    "armijo_mars",
    "sania_sam",
    "momentum_sam",
    "momo_shampoo",
    "ema_sam",
];

impl Case {
    fn optimizer(self) -> Subject<Layers> {
        (self.make)(StepPolicy::new().with_seed(11))
    }

    fn loaded(self, record: StateRecord) -> Subject<Layers> {
        let mut optimizer = self.optimizer();
        optimizer.load_record(record).expect("its own record");
        optimizer
    }

    fn batch(self, model: &Layers, step: usize) -> Targets {
        Targets::new(model, step, self.name == "sophia_g")
    }

    /// Steps, with the paths that each report calls fresh.
    fn reported(
        self,
        optimizer: &mut Subject<Layers>,
        mut model: Layers,
        steps: Range<usize>,
    ) -> (Layers, Vec<Vec<String>>) {
        let mut fresh = Vec::new();
        for step in steps {
            let batch = self.batch(&model, step);
            let made = optimizer.step(LR, model, &batch).expect("a step");
            let paths = made.report.fresh().iter().map(|fresh| fresh.path.clone());
            let mut paths: Vec<String> = paths.collect();
            paths.sort_by_key(|path| PATHS.iter().position(|own| own == path));
            fresh.push(paths);
            assert_eq!(made.report.skipped(), []);
            model = made.model;
        }
        assert!(model.values().iter().all(|x| x.is_finite()));
        (model, fresh)
    }

    fn advance(
        self,
        optimizer: &mut Subject<Layers>,
        model: Layers,
        steps: Range<usize>,
    ) -> Layers {
        self.reported(optimizer, model, steps).0
    }
}

/// A record as it comes back from a file.
fn through_bytes(record: &StateRecord) -> StateRecord {
    StateRecord::from_bytes(record.to_bytes().expect("a record")).expect("a record")
}

fn bits(values: Vec<f64>) -> Vec<u64> {
    values.into_iter().map(f64::to_bits).collect()
}

/// The weights to evaluate.
fn evaluated(optimizer: &Subject<Layers>, model: &Layers) -> Vec<u64> {
    let model = optimizer.evaluation_model(model).expect("its own average");
    bits(model.values())
}

fn changes(case: Case, device: &Device, dtype: DType) {
    for change in Change::ALL {
        let told = format!("{}, {change:?}", case.name);
        let start = Layers::before(change, device, dtype);
        let mut whole = case.optimizer();
        let half = case.advance(&mut whole, start.clone(), 0..BEFORE);
        let saved = through_bytes(&whole.to_record());

        // Going on, with one report.
        let changed = half.clone().changed(change);
        let (first, fresh) = case.reported(&mut whole, changed.clone(), BEFORE..BEFORE + 1);
        assert_eq!(fresh, [change.fresh()], "{told}: what is said to be fresh");
        let after_one = whole.to_record();
        let (end, fresh) = case.reported(&mut whole, first.clone(), BEFORE + 1..BEFORE + AFTER);
        assert!(
            fresh.iter().all(Vec::is_empty),
            "{told}: said again {fresh:?}"
        );
        let record = whole.to_record();

        // The state of what changed is that of an optimizer that has never met it.
        let mut stranger = case.loaded(without(&saved, change.paths()));
        let (model, fresh) = case.reported(&mut stranger, changed.clone(), BEFORE..BEFORE + 1);
        assert_eq!(
            bits(model.values()),
            bits(first.values()),
            "{told}: fresh state"
        );
        assert_eq!(stranger.to_record(), after_one, "{told}: fresh record");
        assert_eq!(fresh, [Vec::<String>::new()], "{told}: a stranger");
        if change == Change::Removed {
            assert_eq!(entries_of(&record, "extra"), Vec::<String>::new(), "{told}");
        } else {
            assert!(!entries_of(&record, change.paths()[0]).is_empty(), "{told}");
        }

        // Resumed after the change, at every step.
        let mut cut = after_one;
        let mut at_cut = first;
        for step in BEFORE + 1..BEFORE + AFTER {
            let mut resumed = case.loaded(through_bytes(&cut));
            let (model, fresh) =
                case.reported(&mut resumed, at_cut.rebuilt(), step..BEFORE + AFTER);
            assert_eq!(
                bits(model.values()),
                bits(end.values()),
                "{told}: cut at {step}"
            );
            assert_eq!(resumed.to_record(), record, "{told}: state, cut at {step}");
            let evaluated = evaluated(&whole, &end);
            assert_eq!(self::evaluated(&resumed, &model), evaluated, "{told}");
            assert!(fresh.iter().all(Vec::is_empty), "{told}: resumed {fresh:?}");
            let mut next = case.loaded(cut);
            at_cut = case.advance(&mut next, at_cut, step..step + 1);
            cut = next.to_record();
        }

        // Saved before the change and resumed with the changed model. An identity is not in a record.
        if change.reshapes() {
            let mut resumed = case.loaded(saved.clone());
            let (model, fresh) =
                case.reported(&mut resumed, changed.rebuilt(), BEFORE..BEFORE + AFTER);
            assert_eq!(bits(model.values()), bits(end.values()), "{told}: loaded");
            assert_eq!(resumed.to_record(), record, "{told}: state, loaded");
            assert_eq!(fresh[0], change.fresh(), "{told}: said after loading");
            assert!(fresh[1..].iter().all(Vec::is_empty), "{told}: {fresh:?}");
        }
        if change == Change::Removed {
            refused(case, &mut case.loaded(saved), changed, &told);
        }

        // The others go on as if nothing had happened.
        if !COUPLED.contains(&case.name) {
            let unchanged = case.advance(&mut case.optimizer(), start, 0..BEFORE + AFTER);
            for path in PATHS.iter().filter(|path| !change.paths().contains(path)) {
                let (got, want) = (end.values_at(path), unchanged.values_at(path));
                assert_eq!(bits(got), bits(want), "{told}: {path}");
            }
        }
    }
}

/// A loaded state of a parameter that the model does not have is refused by its path, and the model
/// comes back as it was.
fn refused(case: Case, optimizer: &mut Subject<Layers>, model: Layers, told: &str) {
    let (values, batch) = (model.values(), case.batch(&model, BEFORE));
    let error = optimizer.step(LR, model, &batch).expect_err(told);
    let StepErrorCause::State(RecordError::Mismatch { path, .. }) = &error.cause else {
        panic!("{told}: {error:?}");
    };
    assert_eq!(path, "extra", "{told}");
    assert_eq!(error.model.values(), values, "{told}");
}

/// The optimizer's own record of a model with another width, loaded in the middle of a training.
fn another_record(case: Case, device: &Device, dtype: DType) {
    let name = case.name;
    let start = Layers::new(device, dtype);
    let mut other = case.optimizer();
    let wide = start.clone().with_matrix([4, 9], 0.8);
    case.advance(&mut other, wide, 0..BEFORE);
    let record = through_bytes(&other.to_record());

    let mut running = case.optimizer();
    let half = case.advance(&mut running, start, 0..BEFORE);
    running.load_record(record.clone()).expect("its own kind");
    let (first, fresh) = case.reported(&mut running, half.clone(), BEFORE..BEFORE + 1);
    assert_eq!(fresh, [["matrix"]], "{name}");

    let mut stranger = case.loaded(without(&record, &["matrix"]));
    let want = case.advance(&mut stranger, half, BEFORE..BEFORE + 1);
    assert_eq!(bits(first.values()), bits(want.values()), "{name}");
    let saved = running.to_record();
    assert_eq!(stranger.to_record(), saved, "{name}");

    let mut resumed = case.loaded(through_bytes(&saved));
    let steps = BEFORE + 1..BEFORE + AFTER;
    let model = case.advance(&mut resumed, first.rebuilt(), steps.clone());
    let end = case.advance(&mut running, first, steps);
    assert_eq!(bits(model.values()), bits(end.values()), "{name}");
    assert_eq!(resumed.to_record(), running.to_record(), "{name}");
}

/// One optimizer that steps two models of the same paths in turn starts anew with each.
fn two_models(case: Case, device: &Device, dtype: DType) {
    let name = case.name;
    let mut shared = case.optimizer();
    let one = case.advance(&mut shared, Layers::new(device, dtype), 0..BEFORE);
    let saved = shared.to_record();
    let two = Layers::new(device, dtype).with_matrix([4, 8], 0.9);
    let (got, fresh) = case.reported(&mut shared, two.clone(), BEFORE..BEFORE + 1);
    assert_eq!(fresh, [PATHS], "{name}");
    let mut stranger = case.loaded(without(&saved, &PATHS));
    let want = case.advance(&mut stranger, two, BEFORE..BEFORE + 1);
    assert_eq!(bits(got.values()), bits(want.values()), "{name}");
    let (_, fresh) = case.reported(&mut shared, one, BEFORE + 1..BEFORE + 2);
    assert_eq!(fresh, [PATHS], "{name}: back at the first");
}

/// A layer that is made anew again and again leaves nothing behind.
fn memory(case: Case, device: &Device, dtype: DType) {
    let name = case.name;
    let mut optimizer = case.optimizer();
    let mut model = case.advance(&mut optimizer, Layers::new(device, dtype), 0..1);
    let sizes = |optimizer: &Subject<Layers>| {
        let record = optimizer.to_record();
        let names = PATHS.iter().map(|path| entries_of(&record, path).len());
        (
            optimizer.state_bytes(),
            record.num_bytes(),
            names.sum::<usize>(),
        )
    };
    let before = sizes(&optimizer);
    for round in 0..20 {
        let batch = case.batch(&model, round);
        let remade = model.changed(Change::Remade);
        let step = optimizer.step(LR, remade, &batch).expect("a step");
        assert_eq!(step.report.fresh().len(), 1, "{name}, round {round}");
        assert!(
            step.report.state_bytes() <= before.0,
            "{name}, round {round}"
        );
        model = step.model;
    }
    assert_eq!(sizes(&optimizer), before, "{name}");
}

macro_rules! on {
    ($check:ident, $name:ident, $make:path, $dtype:ident) => {
        #[test]
        fn $check() {
            let device = Device::flex().autodiff();
            let case = Case {
                name: stringify!($name),
                make: $make,
            };
            super::$check(case, &device, DType::$dtype);
        }
    };
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;
            on!(changes, $name, $make, F32);
            on!(another_record, $name, $make, F32);
            on!(two_models, $name, $make, F32);
            on!(memory, $name, $make, F32);
        }
    };
}

for_each_optimizer!(suite);

/// A few in double precision, one of each kind.
mod f64 {
    use super::*;
    use osculate_tests::subject;

    macro_rules! suite_f64 {
        ($($name:ident)*) => {
            $(mod $name {
                use super::*;
                on!(changes, $name, subject::$name, F64);
                on!(another_record, $name, subject::$name, F64);
            })*
        };
    }

    suite_f64!(asam looksam gam friendly_sam adahessian sophia_h psgd_lra hybrid shampoo soap);
}

/// Policies and averages over other methods.
mod composed {
    use super::*;
    use osculate_optim::Driver;
    use osculate_tests::composed;

    fn subject(driver: Driver, policy: StepPolicy) -> Subject<Layers> {
        Box::new(driver.with_policy(policy).expect("valid"))
    }

    macro_rules! suite_composed {
        ($($name:ident)*) => {
            $(mod $name {
                use super::*;
                fn make(policy: StepPolicy) -> Subject<Layers> {
                    subject(composed::$name(), policy)
                }
                on!(changes, $name, make, F32);
                on!(another_record, $name, make, F32);
                on!(two_models, $name, make, F32);
                on!(memory, $name, make, F32);
            })*
        };
    }

    suite_composed!(momo_shampoo schedule_free_soap ema_sam lookahead);
}
