//! Frozen modules, batches and tensors of nothing, numbers that are none, directions, cotangents, inputs and
//! modules that do not fit, in every public function that takes them: a typed error, or an answer that is
//! right; never a panic.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Int, Tensor, activation::tanh};
use osculate_jvp::{
    AnyTensor, Bound, Field, Held, JvpError, Mode, Program, ProgramCache, Tangents, Wrt, detach,
};

fn device() -> Device {
    Device::flex().autodiff()
}

fn model() -> Linear {
    LinearConfig::new(3, 2).init(&device())
}

fn points(rows: usize) -> Tensor<2> {
    Tensor::ones([rows, 3], &device())
}

fn loss(model: &Linear, x: &Tensor<2>) -> Tensor<1> {
    tanh(model.forward(x.clone())).square().sum()
}

fn outputs(model: &Linear, x: &Tensor<2>) -> Tensor<2> {
    tanh(model.forward(x.clone()))
}

/// A loss at some weights and four points.
fn bound() -> Bound {
    let (model, x) = (model(), points(4));
    let program = Program::record(&model, &x, loss).unwrap();
    program.bind(&model, &x).unwrap()
}

fn tensor<const D: usize>(shape: [usize; D]) -> Option<AnyTensor> {
    Some(Tensor::<D>::ones(shape, &Device::flex()).into())
}

fn of_parameters(parameters: Vec<Option<AnyTensor>>) -> Tangents {
    Tangents {
        parameters,
        inputs: Vec::new(),
    }
}

fn fitting() -> Tangents {
    of_parameters(vec![tensor([3, 2]), tensor([2])])
}

/// The errors of every product along a direction.
fn along(direction: &Tangents) -> Vec<(&'static str, JvpError)> {
    let bound = bound();
    let program = bound.program().clone();
    let hessian = program.hessian_plan(Wrt::Parameters).unwrap();
    let jacobian = program.jacobian_plan(Wrt::Parameters).unwrap();
    let (hessian, jacobian) = (
        bound.keep_hessian(&hessian).unwrap(),
        bound.keep_jacobian(&jacobian).unwrap(),
    );
    let many = std::slice::from_ref(direction);
    let derivative = program.derivative(Wrt::Parameters).unwrap();
    [
        ("jvp", bound.jvp(many).map(drop)),
        ("hvp", bound.hvp(direction, Wrt::Parameters).map(drop)),
        ("hvps", bound.hvps(many, Wrt::Parameters).map(drop)),
        (
            "along",
            bound.along(&derivative, direction.clone()).map(drop),
        ),
        ("KeptHessian::product", hessian.product(direction).map(drop)),
        ("KeptHessian::products", hessian.products(many).map(drop)),
        ("KeptJacobian::jvp", jacobian.jvp(direction).map(drop)),
        ("KeptJacobian::jvps", jacobian.jvps(many).map(drop)),
    ]
    .into_iter()
    .map(|(name, made)| (name, made.expect_err(name)))
    .collect()
}

#[test]
fn directions_that_do_not_fit_are_refused_everywhere() {
    for direction in [
        of_parameters(vec![tensor([2, 3]), tensor([2])]),
        of_parameters(vec![tensor([3, 2]), tensor([1])]),
        of_parameters(vec![tensor([0]), tensor([2])]),
    ] {
        for (name, error) in along(&direction) {
            assert!(
                matches!(error, JvpError::Mismatch { .. }),
                "{name}: {error}"
            );
        }
    }
    let mut long = fitting();
    long.parameters.push(tensor([2]));
    let beside = Tangents {
        inputs: vec![None, tensor([4, 3])],
        ..fitting()
    };
    for direction in [of_parameters(vec![tensor([3, 2])]), long, beside] {
        for (name, error) in along(&direction) {
            assert!(matches!(error, JvpError::Count { .. }), "{name}: {error}");
        }
    }
    assert!(bound().hvp(&fitting(), Wrt::Parameters).is_ok());
}

#[test]
fn numbers_that_are_none_come_out_as_such() {
    let bound = bound();
    let nan = Tensor::<1>::from_data([f32::NAN, 0.0], &Device::flex());
    let direction = of_parameters(vec![None, Some(nan.into())]);
    let found = bound.hvp(&direction, Wrt::Parameters).unwrap();
    let slope: f32 = found.slope.float::<1>().into_scalar();
    assert!(slope.is_nan());
    // A direction of nothing is one of zeros.
    let found = bound.hvp(&Tangents::default(), Wrt::Parameters).unwrap();
    assert_eq!(found.slope.float::<1>().into_scalar::<f32>(), 0.0);
    assert!(bound.hvps(&[], Wrt::Both).unwrap().is_empty());
    assert!(bound.jvp(&[]).unwrap().tangents.is_empty());
}

/// The errors of everything that differentiates a program by some of its arguments.
fn by(bound: &Bound, wrt: Wrt) -> Vec<(&'static str, Result<(), JvpError>)> {
    let program = bound.program();
    let one = |outputs: &[AnyTensor]| {
        let ones = |_: &AnyTensor| Tensor::<1>::ones([1], &Device::flex()).into();
        outputs.iter().map(ones).collect()
    };
    let zero = Tangents::default();
    vec![
        ("gradient", bound.gradient(wrt).map(drop)),
        ("vjp", bound.vjp(wrt, one).map(drop)),
        ("hvp", bound.hvp(&zero, wrt).map(drop)),
        ("hvps", bound.hvps(&[zero], wrt).map(drop)),
        ("derivative", program.derivative(wrt).map(drop)),
        (
            "second_derivative",
            program.second_derivative(wrt).map(drop),
        ),
        ("hessian_plan", program.hessian_plan(wrt).map(drop)),
        ("jacobian_plan", program.jacobian_plan(wrt).map(drop)),
    ]
}

#[test]
fn what_has_nothing_to_differentiate_by_says_so() {
    let (frozen, x) = (model().no_grad(), points(4));
    let program = Program::record(&frozen, &x, loss).unwrap();
    let frozen = program.bind(&frozen, &x).unwrap();
    let labels = Tensor::<1, Int>::from_data([0, 2, 1], &device());
    let of_labels = |labels: &Tensor<1, Int>| labels.clone().float().sum();
    let program = Program::record_function(&labels, of_labels).unwrap();
    let whole = program.bind_inputs(&labels).unwrap();
    for (bound, wrt) in [
        (&frozen, Wrt::Parameters),
        (&whole, Wrt::Inputs),
        (&whole, Wrt::Both),
    ] {
        for (name, made) in by(bound, wrt) {
            let error = made.expect_err(name);
            assert!(
                matches!(error, JvpError::Independent { .. }),
                "{name}: {error}"
            );
        }
    }
    // The inputs are there, and a program without any can be evaluated.
    for (name, made) in by(&frozen, Wrt::Inputs) {
        made.expect(name);
    }
    assert_eq!(whole.evaluate().unwrap().len(), 1);
    let nothing = Program::record_function(&(), |()| ()).unwrap();
    assert!(
        nothing
            .bind_inputs(&())
            .unwrap()
            .evaluate()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn results_that_have_no_derivatives_are_refused() {
    let x = points(4);
    let integers = |x: &Tensor<2>| x.clone().argmax(1);
    let program = Program::record_function(&x, integers).unwrap();
    let bound = program.bind_inputs(&x).unwrap();
    assert_eq!(bound.evaluate().unwrap().len(), 1);
    let mut made = by(&bound, Wrt::Inputs);
    let direction = Tangents {
        inputs: vec![tensor([4, 3])],
        ..Tangents::default()
    };
    made.push(("jvp", bound.jvp(&[direction]).map(drop)));
    for (name, made) in made {
        let error = made.expect_err(name);
        assert!(
            matches!(error, JvpError::NotFloat { result: 0, .. }),
            "{name}: {error}"
        );
    }
    let program = Program::record(&model(), &x, outputs).unwrap();
    let bound = program.bind(&model(), &x).unwrap();
    for made in [
        bound.gradient(Wrt::Parameters).map(drop),
        bound.hvp(&fitting(), Wrt::Parameters).map(drop),
        program.hessian_plan(Wrt::Parameters).map(drop),
    ] {
        assert!(matches!(made, Err(JvpError::NotScalar { .. })), "{made:?}");
    }
}

#[test]
fn cotangents_that_do_not_fit_are_refused() {
    let (model, x) = (model(), points(4));
    let program = Program::record(&model, &x, outputs).unwrap();
    let bound = program.bind(&model, &x).unwrap();
    let plan = program.jacobian_plan(Wrt::Parameters).unwrap();
    let kept = bound.keep_jacobian(&plan).unwrap();
    let wide: AnyTensor = Tensor::<2>::ones([4, 2], (&Device::flex(), DType::F64)).into();
    let ones = |shape| tensor::<2>(shape).unwrap();
    for cotangents in [
        vec![],
        vec![ones([4, 2]), ones([4, 2])],
        vec![ones([1, 2])],
        vec![ones([2, 4])],
        vec![ones([0, 2])],
        vec![wide],
    ] {
        let many = [cotangents.clone()];
        let errors = [
            bound.vjp(Wrt::Parameters, |_| cotangents.clone()).map(drop),
            kept.vjp(cotangents).map(drop),
            kept.vjps(&many).map(drop),
        ]
        .map(Result::unwrap_err);
        assert_eq!(errors[0], errors[1]);
        assert_eq!(errors[0], errors[2]);
        assert!(matches!(
            errors[0],
            JvpError::Count { .. } | JvpError::Mismatch { .. }
        ));
    }
}

#[test]
fn plans_of_other_programs_are_refused() {
    let bound = bound();
    let (model, x) = (LinearConfig::new(3, 5).init(&device()), points(4));
    let other: Program = Program::record(&model, &x, loss).unwrap();
    let errors = [
        bound
            .keep_hessian(&other.hessian_plan(Wrt::Parameters).unwrap())
            .map(drop),
        bound
            .keep_jacobian(&other.jacobian_plan(Wrt::Parameters).unwrap())
            .map(drop),
        bound
            .along(&other.derivative(Wrt::Parameters).unwrap(), fitting())
            .map(drop),
    ];
    for made in errors {
        assert!(matches!(made, Err(JvpError::Mismatch { .. })), "{made:?}");
    }
    let alone = Program::record_function(&x, |x| x.clone().square().sum()).unwrap();
    let made = bound.keep_hessian(&alone.hessian_plan(Wrt::Inputs).unwrap());
    assert!(matches!(made.map(drop), Err(JvpError::Count { .. })));
    assert!(matches!(
        bound.along(&alone, Tangents::default()).map(drop),
        Err(JvpError::Count { .. })
    ));
}

#[test]
fn inputs_and_modules_that_do_not_fit_are_refused() {
    let (own, x) = (model(), points(4));
    let program = Program::record(&own, &x, loss).unwrap();
    let wide: Linear = LinearConfig::new(3, 5).init(&device());
    let bare: Linear = LinearConfig::new(3, 2).with_bias(false).init(&device());
    for (module, x, mismatch) in [
        (&own, points(5), true),
        (&own, points(0), true),
        (&wide, points(4), true),
        (&bare, points(4), false),
    ] {
        for made in [
            program.bind(module, &x).map(drop),
            program.call(module, &x).map(drop),
        ] {
            let error = made.unwrap_err();
            let expected = match mismatch {
                true => matches!(error, JvpError::Mismatch { .. }),
                false => matches!(error, JvpError::Count { .. }),
            };
            assert!(expected, "{error}");
        }
    }
    let made = program.bind(&own, &(points(4), points(4))).map(drop);
    assert!(matches!(made, Err(JvpError::Count { .. })));
    assert!(matches!(
        program.bind_inputs(&points(4)).map(drop),
        Err(JvpError::Count { .. })
    ));
}

#[test]
fn batches_of_nothing_are_differentiated_like_others() {
    let (model, x) = (model(), points(0));
    for mode in [Mode::Evaluation, Mode::BatchStatistics, Mode::Training] {
        let program = Program::record_in(mode, &model, &x, loss).unwrap();
        let bound = program.bind(&model, &x).unwrap();
        let found = bound.hvp(&fitting(), Wrt::Parameters).unwrap();
        assert_eq!(found.slope.float::<1>().into_scalar::<f32>(), 0.0);
        for part in found.product.parameters.into_iter().flatten() {
            assert!(part.shape().num_elements() > 0);
        }
    }
    let mut cache = ProgramCache::new(0);
    for rows in [0, 3, 0] {
        let bound = cache.bind(&model, &points(rows), loss).unwrap();
        assert_eq!(bound.evaluate().unwrap().len(), 1);
    }
    assert_eq!(cache.len(), 1);
    let held = Held::new(&model);
    let inputs = (points(0), held);
    let program =
        Program::record_function(&inputs, |(x, held)| detach(held.forward(x.clone())).sum());
    program.unwrap().bind_inputs(&inputs).unwrap();
}

#[test]
fn fields_name_a_coordinate_that_is_not_there() {
    let (model, x) = (model(), points(4));
    let field = Field::record(&model, &x, outputs).unwrap();
    for made in [
        field.partial(&model, &x, 3).map(drop),
        field.second_partial(&model, &x, 3).map(drop),
    ] {
        let error = made.unwrap_err();
        assert_eq!(
            error,
            JvpError::Coordinate {
                axis: 3,
                coordinates: 3
            }
        );
    }
    for made in [
        field.gradient(&model, &points(5)).map(drop),
        field.laplacian(&model, &points(5)).map(drop),
        field.along(&model, &x, points(2)).map(drop),
        field
            .along(&model, &x, Tensor::ones([4, 1], &device()))
            .map(drop),
    ] {
        assert!(matches!(made, Err(JvpError::Mismatch { .. })), "{made:?}");
    }
    let none = points(0);
    let field = Field::record(&model, &none, outputs).unwrap();
    assert_eq!(field.laplacian(&model, &none).unwrap().dims(), [0, 2]);
    let flat = Tensor::<2>::ones([4, 0], &device());
    let constant = Field::record(&model, &flat, |model, x| {
        x.clone()
            .sum_dim(1)
            .matmul(model.bias.clone().unwrap().val().unsqueeze())
    });
    let made = constant.and_then(|field| field.laplacian(&model, &flat));
    assert_eq!(
        made.map(drop),
        Err(JvpError::Independent { what: "coordinate" })
    );
    // A field that does not depend on its points has no slope.
    let still = Field::record(&model, &x, |model, x| model.forward(Tensor::zeros_like(x)));
    let slope = still.unwrap().partial(&model, &x, 0).unwrap();
    assert_eq!(slope.abs().max().into_scalar::<f32>(), 0.0);
}
