//! The engine, driven by a rule that is simple enough to check by hand.

use burn::module::{Module, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor, TensorData};

use osculate_linalg::BlockPartition;

use super::*;
use crate::driver::{Driver, NonFinitePolicy, StepErrorCause, StepPolicy};
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer};
use crate::parameter::Parameter;
use crate::record::StateRecord;

/// `m = 0.9 m + g + noise`, `θ = θ - lr m`, and the number of steps in `bf16`. Every third step
/// "refreshes", which fails from a step on.
#[derive(Debug, Clone)]
struct Toy {
    max: usize,
    noise: f64,
    fails_from: u64,
}

const TOY: Toy = Toy {
    max: 2,
    noise: 0.5,
    fails_from: u64::MAX,
};

impl BlockRule for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&parameter.shape, self.max)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n = dims.iter().product();
        vec![Field::new("m", n, compute), Field::new("t", 1, DType::BF16)]
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let n = stack.block_len();
        let noise = stack.rademacher(3, n).mul_scalar(self.noise);
        let m = stack.state.take("m")?.mul_scalar(0.9) + stack.gradient.clone() + noise;
        let t = stack.state.take("t")?.add_scalar(1.0);
        stack.state.put("m", m.clone())?;
        stack.state.put("t", t)?;
        let refresh = Refresh::new(RefreshSchedule::Every { period: 3 });
        let solves = stack
            .due(&refresh, 0, 1)
            .into_iter()
            .map(|row| Solve {
                row,
                factor: 0,
                result: if stack.step >= self.fails_from {
                    Err("no convergence".to_string())
                } else {
                    Ok(())
                },
            })
            .collect::<Vec<_>>();
        Ok(Stepped {
            refreshed: !solves.is_empty(),
            solves,
            ..Stepped::along(m)
        })
    }
}

#[derive(Module, Debug)]
struct Net {
    a: Param<Tensor<2>>,
    b: Param<Tensor<2>>,
    c: Param<Tensor<1>>,
    d: Param<Tensor<3>>,
}

fn param<const D: usize>(shape: [usize; D], phase: f64, at: (&Device, DType)) -> Param<Tensor<D>> {
    let n: usize = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|i| (i as f64 * 1.7 + phase).sin()).collect();
    let tensor = Tensor::<D>::from_data(TensorData::new(values, shape), at);
    Param::initialized(ParamId::new(), tensor.require_grad())
}

fn net(dtype: DType) -> Net {
    let device = Device::flex().autodiff();
    let at = (&device, dtype);
    Net {
        a: param([3, 4], 0.1, at),
        b: param([2, 2], 0.2, at),
        c: param([5], 0.3, at),
        d: param([1, 3, 2], 0.4, at),
    }
}

fn values(net: &Net) -> Vec<f64> {
    let host = |data: TensorData| data.iter::<f64>().collect::<Vec<_>>();
    [
        host(net.a.val().into_data()),
        host(net.b.val().into_data()),
        host(net.c.val().into_data()),
        host(net.d.val().into_data()),
    ]
    .concat()
}

/// A loss in which `b` takes part only where `with_b`.
fn loss(net: &Net, step: usize, with_b: bool, scale_of_c: f64) -> Tensor<1> {
    let shift = (step as f64 * 0.37).cos();
    let a = net.a.val().add_scalar(shift).square().sum();
    let c = net.c.val().add_scalar(shift).square().sum();
    let d = net.d.val().add_scalar(shift).square().sum();
    let sum = a + c.mul_scalar(scale_of_c) + d;
    if with_b {
        sum + net.b.val().sub_scalar(shift).square().sum()
    } else {
        sum
    }
}

fn closure_run(
    optimizer: &mut impl ClosureOptimizer<Net>,
    mut net: Net,
    steps: std::ops::Range<usize>,
    with_b: impl Fn(usize) -> bool,
) -> Net {
    for step in steps {
        let with_b = with_b(step);
        let objective = |net: &Net| loss(net, step, with_b, 1.0);
        net = optimizer.step(0.1, net, &objective).unwrap().model;
    }
    net
}

fn burn_run(
    optimizer: &mut ModuleOptimizer,
    mut net: Net,
    steps: std::ops::Range<usize>,
    with_b: impl Fn(usize) -> bool,
) -> Net {
    for step in steps {
        let gradients = loss(&net, step, with_b(step), 1.0).backward();
        let gradients = GradientsParams::from_grads(gradients, &net);
        net = optimizer.step(0.1, net, gradients);
    }
    net
}

fn stacked() -> Driver {
    Driver::of_blocks(TOY)
}

fn per_param() -> PerParameter<Toy> {
    PerParameter::new(TOY).unwrap()
}

#[test]
fn both_ways_in_make_the_same_steps() {
    // In some steps a parameter has no gradient, so the stacks change.
    let with_b = |step: usize| step % 3 != 1;
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let start = net(dtype);
        let mut module = per_param().for_module(&start);
        let by_module = burn_run(&mut module, start.clone(), 0..7, with_b);
        let by_closure = closure_run(&mut stacked(), start.clone(), 0..7, with_b);
        assert_eq!(values(&by_module), values(&by_closure), "{dtype:?}");
        assert_ne!(values(&by_module), values(&start));
    }
}

#[test]
fn a_parameter_without_a_gradient_keeps_its_state() {
    let mut optimizer = stacked();
    let start = closure_run(&mut optimizer, net(DType::F64), 0..2, |_| true);
    let before = optimizer.to_record();
    let after = closure_run(&mut optimizer, start.clone(), 2..5, |_| false);
    let record = optimizer.to_record();
    assert_eq!(
        values(&after)[12..16],
        values(&start)[12..16],
        "the weights of b"
    );
    let own: Vec<&str> = record
        .tensor_names()
        .filter(|name| name.starts_with("b#"))
        .collect();
    assert_eq!(own, ["b#0.m", "b#0.t"]);
    for name in own {
        assert_eq!(record.tensor(name), before.tensor(name));
    }
    assert_ne!(record.tensor("a#0.m"), before.tensor("a#0.m"));
}

#[test]
fn records_of_both_ways_in_resume_at_every_step() {
    let with_b = |step: usize| step % 3 != 1;
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let start = net(dtype);
        let whole = values(&closure_run(&mut stacked(), start.clone(), 0..7, with_b));
        for cut in 0..7 {
            let mut first = stacked();
            let half = closure_run(&mut first, start.clone(), 0..cut, with_b);
            let bytes = first.to_record().to_bytes().unwrap();
            let mut second = stacked();
            let record = StateRecord::from_bytes(bytes).unwrap();
            second.load_record(record).unwrap();
            assert_eq!(second.to_record(), first.to_record());
            assert_eq!(second.state_bytes(), first.state_bytes());
            let resumed = closure_run(&mut second, half, cut..7, with_b);
            assert_eq!(values(&resumed), whole, "closure optimizer, cut at {cut}");

            let mut first = per_param().for_module(&start);
            let half = burn_run(&mut first, start.clone(), 0..cut, with_b);
            let bytes = first.into_bytes().unwrap();
            let second = per_param().for_module(&start).from_bytes(bytes).unwrap();
            let resumed = burn_run(&mut second.clone(), half, cut..7, with_b);
            assert_eq!(values(&resumed), whole, "burn's optimizer, cut at {cut}");
        }
    }
}

#[test]
fn the_state_of_a_block_is_kept_in_its_own_type() {
    let mut optimizer = stacked();
    closure_run(&mut optimizer, net(DType::F32), 0..2, |_| true);
    let record = optimizer.to_record();
    let t = record.tensor("a#3.t").unwrap();
    assert_eq!(t.dtype(), DType::BF16);
    assert_eq!(t.iter::<f64>().collect::<Vec<_>>(), [2.0]);
    assert_eq!(record.tensor("a#3.m").unwrap().dtype(), DType::F32);
    // 27 elements in 4 + 1 + 3 + 2 blocks.
    assert_eq!(optimizer.state_bytes(), 27 * 4 + 10 * 2);
}

#[test]
fn a_gradient_that_is_not_finite_leaves_its_parameter_alone() {
    for good_steps in [0, 2] {
        let mut optimizer = stacked();
        let start = closure_run(&mut optimizer, net(DType::F32), 0..good_steps, |_| true);
        let before = optimizer.to_record();
        let bad = |net: &Net| loss(net, 2, true, f64::NAN);
        let step = optimizer.step(0.1, start.clone(), &bad).unwrap();
        assert_eq!(step.report.skipped()[0].path, "c");
        assert_eq!(values(&step.model)[16..21], values(&start)[16..21]);
        assert_ne!(values(&step.model)[..12], values(&start)[..12]);
        for name in before.tensor_names().filter(|name| name.starts_with("c#")) {
            assert_eq!(before.tensor(name), optimizer.to_record().tensor(name));
        }

        let mut module = per_param().for_module(&start);
        let gradients = loss(&start, 2, true, f64::NAN).backward();
        let gradients = GradientsParams::from_grads(gradients, &start);
        let stepped = module.step(0.1, start.clone(), gradients);
        assert_eq!(values(&stepped)[16..21], values(&start)[16..21]);
        assert_ne!(values(&stepped)[..12], values(&start)[..12]);
    }
}

#[test]
fn an_update_that_is_not_finite_is_skipped_or_refused() {
    // The gradient of c is finite, its momentum overflows.
    let huge = |net: &Net| net.c.val().mul_scalar(3e37).sum() + net.a.val().sum();
    let mut optimizer = stacked();
    let mut model = net(DType::F32);
    for _ in 0..20 {
        model = optimizer.step(1e-30, model, &huge).unwrap().model;
    }
    let record = optimizer.to_record();
    for name in record.tensor_names() {
        let finite = record
            .tensor(name)
            .unwrap()
            .iter::<f64>()
            .all(f64::is_finite);
        assert!(finite, "{name}");
    }
    let policy = StepPolicy::new().with_non_finite(NonFinitePolicy::Error);
    let mut optimizer = Driver::of_blocks(TOY).with_policy(policy).unwrap();
    let mut model = net(DType::F32);
    let error = loop {
        // At this rate the loss stays finite.
        match optimizer.step(1e-42, model, &huge) {
            Ok(step) => model = step.model,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error.cause, StepErrorCause::NonFiniteUpdate { paths } if paths == &["c"]),
        "{error}"
    );
}

#[test]
fn solver_failures_are_counted_and_bounded() {
    let rule = Toy {
        fails_from: 2,
        ..TOY
    };
    let mut optimizer = Driver::of_blocks(rule);
    let mut model = net(DType::F64);
    let (mut failures, mut steps) = (0, 0);
    let error = loop {
        let objective = |net: &Net| loss(net, steps, true, 1.0);
        match optimizer.step(0.1, model, &objective) {
            Ok(step) => {
                failures += step.report.solver_failures();
                model = step.model;
                // A record in the middle of a row of failures carries it on.
                let record = optimizer.to_record();
                optimizer.load_record(record).unwrap();
            }
            Err(error) => break error,
        }
        steps += 1;
    };
    assert!(
        matches!(
            &error.cause,
            StepErrorCause::Solver {
                failures: 4,
                factor: 0,
                ..
            }
        ),
        "{error}"
    );
    // Ten blocks, each with three failures that are tolerated.
    assert_eq!(failures, 10 * 3);
    let record = optimizer.to_record();
    let error = optimizer.step(0.1, error.model, &|net: &Net| loss(net, 11, true, 1.0));
    assert!(error.is_err(), "the row of failures goes on");
    assert_eq!(optimizer.to_record(), record);
}

#[test]
fn a_record_of_other_settings_is_refused() {
    let mut optimizer = stacked();
    closure_run(&mut optimizer, net(DType::F32), 0..1, |_| true);
    let rule = Toy { max: 3, ..TOY };
    let mut other = Driver::of_blocks(rule);
    other.load_record(optimizer.to_record()).unwrap();
    let objective = |net: &Net| loss(net, 0, true, 1.0);
    let error = other.step(0.1, net(DType::F32), &objective).unwrap_err();
    assert!(matches!(error.cause, StepErrorCause::State(_)), "{error}");
}
