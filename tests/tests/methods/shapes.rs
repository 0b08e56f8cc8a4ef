//! Parameters of every rank and of unusual shapes, in every element type, for every optimizer.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use osculate_curvature::{Criterion, Drawing, Objective, ParamVec, Supervised};
use osculate_optim::{ClosureOptimizer, StateRecord, StepPolicy};
use osculate_problems::modules::cast;
use osculate_tests::subject::Subject;
use osculate_tests::{for_each_optimizer, on_every_backend};

/// One-element, one-wide, empty, transposed and tied parameters, and ranks up to 6, beyond which the
/// ndarray backend has no tensors.
#[derive(Module, Debug)]
struct Odd {
    single: Param<Tensor<1>>,
    empty: Param<Tensor<1>>,
    row: Param<Tensor<2>>,
    column: Param<Tensor<2>>,
    transposed: Param<Tensor<2>>,
    hollow: Param<Tensor<3>>,
    rank5: Param<Tensor<5>>,
    rank6: Param<Tensor<6>>,
    frozen: Param<Tensor<2>>,
    tied: [Param<Tensor<2>>; 2],
}

fn tensor<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i as f32 + D as f32).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn parameter<const D: usize>(tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), tensor.require_grad())
}

impl Odd {
    fn new(device: &Device) -> Self {
        let tied = parameter(tensor([2, 2], device));
        Self {
            single: parameter(tensor([1], device)),
            empty: parameter(tensor([0], device)),
            row: parameter(tensor([1, 7], device)),
            column: parameter(tensor([5, 1], device)),
            transposed: parameter(tensor([3, 4], device).transpose()),
            hollow: parameter(tensor([2, 0, 3], device)),
            rank5: parameter(tensor([1, 2, 1, 3, 1], device)),
            rank6: parameter(tensor([1, 2, 1, 2, 1, 2], device)),
            frozen: Param::initialized(ParamId::new(), tensor([2, 3], device)),
            tied: [tied.clone(), tied],
        }
    }

    /// All elements that take part, in one vector.
    fn elements(&self) -> Tensor<1> {
        fn part<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<1> {
            param.val().reshape([-1])
        }
        Tensor::cat(
            vec![
                part(&self.single),
                part(&self.row),
                part(&self.column),
                part(&self.transposed),
                part(&self.rank5),
                part(&self.rank6),
                part(&self.frozen),
                part(&self.tied[0]),
                part(&self.tied[1]),
            ],
            0,
        )
    }

    /// Nothing, as a function of the parameters without elements.
    fn nothing(&self) -> Tensor<1> {
        self.empty.val().sum() + self.hollow.val().sum()
    }

    /// A loss in which every element has curvature, neighbours interact and no gradient is zero.
    fn loss(&self) -> Tensor<1> {
        let all = self.elements();
        let n = all.dims()[0];
        let neighbours = all.clone().slice(1..n) * all.clone().slice(0..n - 1);
        let bowl = all.sub_scalar(0.3).square().mul_scalar(2.0);
        bowl.sum() + neighbours.sum() + self.nothing()
    }

    /// Logits of shape `[6, 2]` to which every element contributes.
    fn logits(&self) -> Tensor<2> {
        let all = self.elements();
        let (n, at) = (all.dims()[0], (&all.device(), all.dtype()));
        let features: Vec<f64> = (0..6 * n).map(|i| (i as f64 * 1.3).cos()).collect();
        let features = Tensor::<2>::from_data(TensorData::new(features, [6, n]), at);
        let score = features.matmul(all.reshape([n, 1])) + self.nothing().reshape([1, 1]);
        Tensor::cat(vec![score.clone(), score.neg()], 1)
    }

    /// The loss that an optimizer can work with.
    /// A batch, with others for who draws them.
    fn objective(&self, supervised: bool) -> Box<dyn Objective<Odd>> {
        let device = self.single.val().device();
        let batch = move || -> Box<dyn Objective<Odd>> {
            if !supervised {
                return Box::new(|model: &Odd| model.loss());
            }
            let labels = Tensor::<1, Int>::from_data([0, 1, 1, 0, 1, 0], &device);
            Box::new(Supervised::new(
                |model: &Odd| model.logits(),
                Criterion::cross_entropy(labels),
            ))
        };
        Box::new(Drawing::new(batch(), move |_| Ok(batch())))
    }

    fn values(&self) -> Vec<f64> {
        fn read<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f64> {
            param.val().into_data().iter::<f64>().collect()
        }
        [
            read(&self.single),
            read(&self.row),
            read(&self.column),
            read(&self.transposed),
            read(&self.rank5),
            read(&self.rank6),
            read(&self.frozen),
            read(&self.tied[0]),
            read(&self.tied[1]),
        ]
        .concat()
    }
}

fn trains(make: fn(StepPolicy) -> Subject<Odd>, supervised: bool, device: &Device, dtype: DType) {
    let start = cast(Odd::new(device), dtype);
    let mut model = start.clone();
    let mut optimizer = make(StepPolicy::new());
    let objective = start.objective(supervised);
    let mut losses = Vec::new();
    for step in 0..6 {
        if step == 3 {
            // The state survives a round trip whatever its shapes are.
            let bytes = optimizer.to_record().to_bytes().expect("a record");
            optimizer = make(StepPolicy::new());
            let record = StateRecord::from_bytes(bytes).expect("a record");
            optimizer.load_record(record).expect("its own record");
        }
        let step = optimizer
            .step(1e-2, model, objective.as_ref())
            .expect("a step");
        assert!(step.report.skipped().is_empty());
        losses.push(step.report.loss());
        model = step.model;
    }
    let name = optimizer.name();
    let values = model.values();
    assert!(values.iter().all(|x| x.is_finite()), "{name}: {values:?}");
    assert!(losses[5] < losses[0], "{name}: {losses:?}");
    assert_eq!(model.transposed.dims(), [4, 3]);
    assert_eq!(model.empty.dims(), [0]);
    assert_eq!(model.hollow.dims(), [2, 0, 3]);
    let read = |param: &Param<Tensor<2>>| param.val().into_data();
    assert_eq!(read(&model.frozen), read(&start.frozen), "{name}");
    assert_eq!(read(&model.tied[0]), read(&model.tied[1]), "{name}");
    assert_ne!(read(&model.tied[0]), read(&start.tied[0]), "{name}");
    assert_ne!(
        model.rank6.val().into_data(),
        start.rank6.val().into_data(),
        "{name}"
    );
}

/// Half-precision parameters: statistics are kept in `f32`, and the weights move.
fn half_precision(make: fn(StepPolicy) -> Subject<Odd>, supervised: bool, device: &Device) {
    for dtype in [DType::BF16, DType::F16] {
        let start = cast(Odd::new(device), dtype);
        let mut model = start.clone();
        let mut optimizer = make(StepPolicy::new());
        let objective = start.objective(supervised);
        for _ in 0..3 {
            let step = optimizer
                .step(1e-1, model, objective.as_ref())
                .expect("a step");
            model = step.model;
        }
        assert_eq!(model.row.val().dtype(), dtype);
        let values = model.values();
        assert!(values.iter().all(|x| x.is_finite()), "{dtype:?}");
        assert_ne!(values, start.values(), "{dtype:?}");
    }
}

/// One parameter of burn's highest rank.
#[derive(Module, Debug)]
struct Deep {
    weight: Param<Tensor<8>>,
}

fn highest_rank(make: fn(StepPolicy) -> Subject<Deep>, supervised: bool, device: &Device) {
    let mut model = Deep {
        weight: parameter(tensor([1, 1, 2, 1, 1, 2, 1, 2], device)),
    };
    let before = model.weight.val().into_data();
    let labels = Tensor::<1, Int>::from_data([0, 1], device);
    let outputs = |model: &Deep| model.weight.val().reshape([2, 4]).square();
    let batch = move || -> Box<dyn Objective<Deep>> {
        if supervised {
            let criterion = Criterion::cross_entropy(labels.clone());
            return Box::new(Supervised::new(outputs, criterion));
        }
        // Its gradient is not along the weights, where an orthogonal one would vanish.
        Box::new(move |model: &Deep| outputs(model).sum() + model.weight.val().sum())
    };
    let objective = Drawing::new(batch(), move |_| Ok(batch()));
    let mut optimizer = make(StepPolicy::new());
    for _ in 0..3 {
        let step = optimizer.step(1e-2, model, &objective).expect("a step");
        model = step.model;
    }
    let after = model.weight.val().into_data();
    assert!(after.iter::<f64>().all(f64::is_finite));
    assert_ne!(after, before);
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;

            on_every_backend!(|device: &Device, dtype: DType| {
                trains($make, $supervised, device, dtype)
            });

            #[test]
            fn rank8() {
                highest_rank($make, $supervised, &Device::flex().autodiff());
            }

            #[test]
            fn half() {
                half_precision($make, $supervised, &Device::flex().autodiff());
            }
        }
    };
}

for_each_optimizer!(suite);

#[test]
fn the_layout_follows_gradients() {
    let model = Odd::new(&Device::flex().autodiff());
    let objective = |model: &Odd| model.loss();
    let oracle = osculate_curvature::GradientOracle::new(&model, &objective);
    let layout = oracle.layout().expect("gradients");
    let paths: Vec<&str> = layout.entries().iter().map(|e| e.path.as_str()).collect();
    assert!(!paths.contains(&"frozen"), "{paths:?}");
    assert_eq!(paths.iter().filter(|p| p.starts_with("tied")).count(), 1);
    let probe = ParamVec::rademacher(&layout, 1);
    assert_eq!(probe.to_values().len(), layout.num_elements());
}
