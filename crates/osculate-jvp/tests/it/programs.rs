//! Recording, binding, reuse and errors.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, activation};
use osculate_jvp::{JvpError, Mode, Program, Status, Tangents, Wrt, detach, rules};

fn device() -> Device {
    Device::flex().autodiff()
}

fn loss(model: &Linear, x: &Tensor<2>) -> Tensor<1> {
    activation::tanh(model.forward(x.clone())).square().mean()
}

#[test]
fn a_program_serves_other_weights_and_batches() {
    let device = device();
    let first: Linear = LinearConfig::new(3, 2).init(&device);
    let program = Program::record(&first, &Tensor::<2>::ones([4, 3], &device), loss).unwrap();
    let second: Linear = LinearConfig::new(3, 2).init(&device);
    let x = Tensor::<2>::from_data([[0.1, -0.4, 0.3]; 4], &device);
    let value = program.bind(&second, &x).unwrap().evaluate().unwrap();
    let got: f32 = value[0].clone().float::<1>().into_scalar();
    let expected: f32 = loss(&second, &x).into_scalar();
    assert!((got - expected).abs() < 1e-6, "{got} and {expected}");
    let paths: Vec<&str> = program
        .parameters()
        .iter()
        .map(|p| p.path.as_str())
        .collect();
    assert_eq!(paths, ["weight", "bias"]);
    assert!(
        program
            .parameters()
            .iter()
            .all(|parameter| parameter.trained)
    );
}

#[test]
fn other_shapes_are_an_error_that_names_them() {
    let device = device();
    let model: Linear = LinearConfig::new(3, 2).init(&device);
    let program = Program::record(&model, &Tensor::<2>::ones([4, 3], &device), loss).unwrap();
    let error = program
        .bind(&model, &Tensor::<2>::ones([5, 3], &device))
        .unwrap_err();
    assert!(matches!(error, JvpError::Mismatch { .. }));
    let message = error.to_string();
    assert!(
        message.contains("input 0") && message.contains("[5, 3]"),
        "{message}"
    );

    let wider: Linear = LinearConfig::new(3, 4).init(&device);
    let error = program
        .bind(&wider, &Tensor::<2>::ones([4, 3], &device))
        .unwrap_err();
    assert!(
        error.to_string().contains("weight was recorded as [3, 2]"),
        "{error}"
    );
}

#[test]
fn an_operation_without_a_rule_is_named() {
    let device = device();
    let x = Tensor::<4>::ones([1, 2, 3, 3], &device);
    let offset = Tensor::<4>::zeros([1, 8, 2, 2], &device);
    let weight = Tensor::<4>::ones([1, 2, 2, 2], &device);
    let error = Program::record_function(&(x, offset, weight), |(x, offset, weight)| {
        let options = burn::tensor::ops::DeformConvOptions::new([1, 1], [0, 0], [1, 1], 1, 1);
        burn::tensor::module::deform_conv2d(
            x.clone(),
            offset.clone(),
            weight.clone(),
            None,
            None,
            options,
        )
    })
    .unwrap_err();
    assert_eq!(
        error,
        JvpError::NoRule {
            operation: "Module::DeformableConv2d".to_string()
        }
    );
    assert!(error.to_string().contains("finite differences"), "{error}");
}

#[test]
fn reading_a_value_is_an_error() {
    let device = device();
    let error = Program::record_function(&Tensor::<1>::ones([3], &device), |x: &Tensor<1>| {
        let largest: f32 = x.clone().max().into_scalar();
        x.clone().mul_scalar(largest)
    })
    .unwrap_err();
    assert!(matches!(error, JvpError::ReadBack { .. }), "{error}");
}

#[test]
fn a_captured_tensor_is_an_error() {
    let device = device();
    let captured = Tensor::<1>::ones([3], &device);
    let error = Program::record_function(&Tensor::<1>::ones([3], &device), |x: &Tensor<1>| {
        x.clone() * captured.clone()
    })
    .unwrap_err();
    assert!(matches!(error, JvpError::ForeignTensor { .. }), "{error}");
}

#[test]
fn a_panic_is_an_error_and_the_recorder_stays_usable() {
    let device = device();
    let x = Tensor::<1>::ones([3], &device);
    for _ in 0..3 {
        let error = Program::record_function(&x, |_: &Tensor<1>| -> Tensor<1> { panic!("mine") });
        assert!(matches!(error, Err(JvpError::Panicked { message }) if message == "mine"));
    }
    assert!(Program::record_function(&x, |x: &Tensor<1>| x.clone().sin()).is_ok());
}

#[test]
fn what_the_results_do_not_need_is_not_kept() {
    let device = device();
    let x = Tensor::<1>::ones([3], &device);
    let program = Program::record_function(&x, |x: &Tensor<1>| {
        let _unused = x.clone().exp().log();
        x.clone().sin()
    })
    .unwrap();
    assert_eq!(program.operations().collect::<Vec<_>>(), ["Float::Sin"]);
}

#[test]
fn tied_parameters_are_one() {
    #[derive(Module, Debug)]
    struct Tied {
        a: Param<Tensor<1>>,
        b: Param<Tensor<1>>,
    }
    let device = device();
    let a = Param::from_tensor(Tensor::from_data([0.3, -0.8], &device));
    let model = Tied { b: a.clone(), a };
    let program = Program::record(&model, &(), |model: &Tied, ()| {
        (model.a.val().powf_scalar(2.0) * model.b.val()).sum()
    })
    .unwrap();
    assert_eq!(program.parameters().len(), 1);
    let v = Tangents {
        parameters: vec![Some(Tensor::<1>::from_data([1.0, 2.0], &device).into())],
        ..Tangents::default()
    };
    // Second derivatives of the cubes.
    let hv = program
        .bind(&model, &())
        .unwrap()
        .hvp(&v, Wrt::Parameters)
        .unwrap();
    let hv: Vec<f32> = hv.product.parameters[0]
        .clone()
        .unwrap()
        .float::<1>()
        .into_data()
        .iter::<f32>()
        .collect();
    assert!(
        (hv[0] - 1.8).abs() < 1e-5 && (hv[1] + 9.6).abs() < 1e-5,
        "{hv:?}"
    );
}

#[test]
fn several_directions_share_one_replay() {
    let device = device();
    let x = Tensor::<1>::from_data([0.3, -0.8], &device);
    let program =
        Program::record_function(&x, |x: &Tensor<1>| x.clone().sin() * x.clone()).unwrap();
    let bound = program.bind_inputs(&x).unwrap();
    let direction = |values: [f32; 2]| Tangents {
        inputs: vec![Some(Tensor::<1>::from_data(values, &device).into())],
        ..Tangents::default()
    };
    let both = bound
        .jvp(&[direction([1.0, 0.0]), direction([0.5, 2.0])])
        .unwrap();
    for (k, values) in [[1.0, 0.0], [0.5, 2.0]].into_iter().enumerate() {
        let alone = bound.jvp(&[direction(values)]).unwrap();
        let read = |t: &osculate_jvp::AnyTensor| t.clone().float::<1>().into_data();
        assert_eq!(read(&both.tangents[k][0]), read(&alone.tangents[0][0]));
    }
}

#[test]
fn integer_inputs_carry_no_tangent() {
    let device = device();
    let table = Tensor::<2>::from_data([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], &device);
    let rows = Tensor::<1, Int>::from_data([2, 0], &device);
    let program = Program::record_function(&(table.clone(), rows.clone()), |(table, rows)| {
        table.clone().select(0, rows.clone()).square().sum()
    })
    .unwrap();
    let (_, gradient) = program
        .bind_inputs(&(table, rows))
        .unwrap()
        .gradient(Wrt::Inputs)
        .unwrap();
    assert!(gradient.inputs[0].is_some() && gradient.inputs[1].is_none());
}

#[test]
fn second_derivatives_by_inputs_can_be_trained_on() {
    // u = a x³: u'' = 6 a x, whose mean square has the gradient 72 a mean(x²).
    #[derive(Module, Debug)]
    struct Cubic {
        a: Param<Tensor<1>>,
    }
    let device = device();
    let model = Cubic {
        a: Param::from_tensor(Tensor::<1>::from_data([0.7], &device)),
    };
    let x = Tensor::<1>::from_data([0.5, -1.0, 2.0], &device);
    let program = Program::record(&model, &x, |model: &Cubic, x: &Tensor<1>| {
        x.clone().powf_scalar(3.0) * model.a.val()
    })
    .unwrap();
    let second = program.second_derivative(Wrt::Inputs).unwrap();
    let results = second.call(&model, &(x.clone(), x.ones_like())).unwrap();
    assert_eq!(results.len(), 3);
    let curvature = results[2].clone().float::<1>();
    let expected = x.clone().mul_scalar(4.2);
    let error: f32 = (curvature.clone() - expected).abs().max().into_scalar();
    assert!(error < 1e-5, "{error}");
    let gradients = curvature.square().mean().backward();
    let gradient: f32 = model.a.val().grad(&gradients).unwrap().into_scalar();
    let expected = 72.0 * 0.7 * (0.25 + 1.0 + 4.0) / 3.0;
    assert!(
        (gradient - expected).abs() < 1e-3,
        "{gradient} and {expected}"
    );
}

#[test]
fn the_table_lists_every_family_once() {
    let names: Vec<&str> = rules().map(|rule| rule.operation).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    for rule in rules() {
        let documented = !rule.tangent.is_empty();
        assert_eq!(
            documented,
            rule.status != Status::Unsupported,
            "{}",
            rule.operation
        );
    }
    let forward_without_rule: Vec<&str> = rules()
        .filter(|rule| rule.status == Status::Unsupported)
        .map(|rule| rule.operation)
        .filter(|name| !name.contains("Backward"))
        .collect();
    assert_eq!(
        forward_without_rule,
        [
            "NumericFloat::IntRandom",
            "Float::Quantize",
            "Float::Dequantize",
            "Module::DeformableConv2d",
            "Module::CtcLoss",
            "BaseBool::ScatterNd",
            "BaseBool::GatherNd",
            "BaseBool::Cast",
            "Custom",
            "Distributed",
        ]
    );
}

#[test]
fn nothing_is_differentiated_through_what_is_detached() {
    let device = device();
    let model: Linear = LinearConfig::new(3, 2).with_bias(false).init(&device);
    let x = Tensor::<2>::from_data([[0.1, -0.4, 0.3], [0.7, 0.2, -0.5]], &device);
    let loss = |model: &Linear, x: &Tensor<2>| {
        let f = model.forward(x.clone());
        (f.clone() - detach(f)).square().sum()
    };
    let w = Tensor::<2>::from_data([[1.0, 0.5], [-0.2, 0.3], [0.4, -0.6]], &device);
    let v = Tangents {
        parameters: vec![Some(w.clone().into())],
        ..Tangents::default()
    };
    // The residual is zero, so that the Hessian is 2 x'x for each column.
    let expected = x.clone().transpose().matmul(x.clone()).matmul(w.clone());
    let expected = expected.mul_scalar(2.0).inner();
    for mode in [Mode::Evaluation, Mode::Training] {
        let program = Program::record_in(mode, &model, &x, loss).unwrap();
        let bound = program.bind(&model, &x).unwrap();
        let product = bound.hvp(&v, Wrt::Parameters).unwrap().product;
        let product = product.parameters[0].clone().unwrap().float::<2>();
        let off: f32 = (product - expected.clone()).abs().max().into_scalar();
        assert!(off < 1e-6, "{mode:?}: {off}");

        let second = program.second_derivative(Wrt::Parameters).unwrap();
        let along = bound.along(&second, v.clone()).unwrap().evaluate().unwrap();
        let form: f32 = along[2].clone().float::<1>().into_scalar();
        let expected: f32 = (w.clone().inner() * expected.clone()).sum().into_scalar();
        assert!(
            (form - expected).abs() < 1e-5,
            "{mode:?}: {form}, {expected}"
        );
    }
    // Outside of a recording it is what burn does.
    let gradient = loss(&model, &x).backward();
    let gradient = model.weight.grad(&gradient).unwrap();
    assert_eq!(gradient.abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
fn kept_products_make_the_matrix_products_that_they_must() {
    let device = device();
    let layers: Vec<Linear> = [[4, 5], [5, 6], [6, 3]]
        .map(|[inputs, outputs]| LinearConfig::new(inputs, outputs).init(&device))
        .into();
    let x = Tensor::<3>::ones([2, 7, 4], &device);
    let forward = |layers: &Vec<Linear>, x: &Tensor<3>| {
        layers
            .iter()
            .fold(x.clone(), |x, layer| activation::gelu(layer.forward(x)))
    };
    let count = |operations: &mut dyn Iterator<Item = &'static str>| {
        operations.filter(|name| *name == "Float::Matmul").count()
    };
    let loss = |layers: &Vec<Linear>, x: &Tensor<3>| forward(layers, x).square().mean();
    let program = Program::record(&layers, &x, loss).unwrap();
    let plan = program.hessian_plan(Wrt::Parameters).unwrap();
    // Of the first layer's product only one factor is differentiated.
    assert_eq!(count(&mut plan.operations()), 2 + 6 + 6);
    let memory = plan.memory();
    assert!(
        memory.kept < memory.peak && memory.gradient < memory.peak,
        "{memory:?}"
    );

    let program = Program::record(&layers, &x, forward).unwrap();
    let plan = program.jacobian_plan(Wrt::Parameters).unwrap();
    assert_eq!(count(&mut plan.operations()), 2 + 4 + 4);
}

#[test]
fn what_a_plan_does_not_cover_is_refused() {
    let device = Device::flex();
    let x = Tensor::<1>::from_data([0.3, -0.2], &device);
    let inputs = (x.clone(), x.clone().mul_scalar(2.0));
    let program = Program::record_function(&inputs, |(x, y)| (x.clone() * y.clone()).sin().sum());
    let program = program.unwrap();
    let along = |tensors: Vec<Option<osculate_jvp::AnyTensor>>| Tangents {
        inputs: tensors,
        ..Tangents::default()
    };
    let model: Linear = LinearConfig::new(3, 2).init(&self::device());
    let points = Tensor::<2>::ones([4, 3], &self::device());
    let of_model = Program::record(&model, &points, loss).unwrap();
    let plan = of_model.hessian_plan(Wrt::Parameters).unwrap();
    let bound = of_model.bind(&model, &points).unwrap();
    let kept = bound.keep_hessian(&plan).unwrap();
    let error = kept.product(&along(vec![Some(points.into())])).unwrap_err();
    assert!(matches!(error, JvpError::Count { .. }), "{error}");

    let other = Program::record_function(&x, |x| x.clone().sin().sum()).unwrap();
    let error = other
        .bind_inputs(&x)
        .unwrap()
        .keep_hessian(&plan)
        .unwrap_err();
    assert!(matches!(error, JvpError::Count { .. }), "{error}");

    // A missing tangent is zero.
    let plan = program.hessian_plan(Wrt::Inputs).unwrap();
    let bound = program.bind_inputs(&inputs).unwrap();
    let v = along(vec![None, Some(x.into())]);
    let expected = bound.hvp(&v, Wrt::Inputs).unwrap().product;
    let got = bound.keep_hessian(&plan).unwrap().product(&v).unwrap();
    for (got, expected) in got.inputs.into_iter().zip(expected.inputs) {
        let error = got.unwrap().float::<1>() - expected.unwrap().float::<1>();
        assert!(error.abs().max().into_scalar::<f32>() < 1e-6);
    }
}
