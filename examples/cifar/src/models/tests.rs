use super::*;
use burn::optim::GradientsParams;
use burn::tensor::{DType, TensorData};

const CIFAR: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};
const DIGITS: ImageShape = ImageShape {
    channels: 1,
    height: 8,
    width: 8,
};
const ALL: [Architecture; 4] = [
    Architecture::ResNet8,
    Architecture::ResNet20,
    Architecture::Wrn16x4,
    Architecture::Vit,
];

fn device() -> Device {
    Device::flex().autodiff()
}

fn images(shape: ImageShape, rows: usize) -> Tensor<4> {
    let values: Vec<f32> = (0..rows * shape.len())
        .map(|i| ((i * 37) as f32).sin())
        .collect();
    let dims = [rows, shape.channels, shape.height, shape.width];
    Tensor::from_data(TensorData::new(values, dims), &device())
}

fn model(architecture: Architecture, shape: ImageShape, precision: Precision) -> Classifier {
    architecture
        .init(shape, 10, precision, 1, &device())
        .unwrap()
}

#[test]
fn sizes_are_the_published_ones() {
    let count = |architecture, classes| {
        let model = Architecture::init(architecture, CIFAR, classes, Precision::F32, 0, &device());
        model.unwrap().trainable()
    };
    // 0.27 M in He et al., table 6; 2.7 M in Zagoruyko and Komodakis. The exact numbers are those of
    // the usual implementations.
    assert_eq!(count(Architecture::ResNet20, 10), 269_722);
    assert_eq!(count(Architecture::Wrn16x4, 10), 2_748_890);
    // Every class more is one more column of the head with its bias.
    assert_eq!(count(Architecture::ResNet20, 100), 269_722 + 90 * 65);
    assert_eq!(count(Architecture::Wrn16x4, 100), 2_748_890 + 90 * 257);
    let width = 128;
    let block = 12 * width * width + 13 * width;
    let rest = 3 * 16 * width + width + 64 * width + 2 * width + 10 * (width + 1);
    assert_eq!(count(Architecture::Vit, 10), 6 * block + rest);
}

#[test]
fn all_take_images_of_the_usual_sizes() {
    let fashion = ImageShape {
        channels: 1,
        height: 28,
        width: 28,
    };
    for architecture in ALL {
        for shape in [CIFAR, DIGITS, fashion] {
            let logits = model(architecture, shape, Precision::F32).forward(images(shape, 2));
            assert_eq!(logits.dims(), [2, 10], "{architecture:?} {shape:?}");
        }
    }
    let odd = ImageShape {
        channels: 3,
        height: 30,
        width: 32,
    };
    let error = Architecture::Vit
        .init(odd, 10, Precision::F32, 0, &device())
        .unwrap_err();
    assert!(error.to_string().contains("30 x 32"), "{error}");
    let tiny = ImageShape { height: 2, ..odd };
    let error = Architecture::ResNet8
        .init(tiny, 10, Precision::F32, 0, &device())
        .unwrap_err();
    assert!(error.to_string().contains("2 x 32"), "{error}");
}

/// Every weight takes part in the loss.
#[test]
fn every_weight_gets_a_gradient() {
    for architecture in ALL {
        let model = model(architecture, DIGITS, Precision::F32);
        let loss = model.forward(images(DIGITS, 4)).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let mut missing = Missing(&gradients, 0);
        model.visit(&mut missing);
        assert_eq!(missing.1, 0, "{architecture:?}");
    }
}

struct Missing<'a>(&'a GradientsParams, usize);

impl ModuleVisitor for Missing<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        if self.0.get::<D>(param.id).is_none() {
            self.1 += 1;
        }
    }
}

#[test]
fn weights_are_a_function_of_the_seed() {
    let logits = |seed| {
        let model = Architecture::ResNet8
            .init(DIGITS, 10, Precision::F32, seed, &device())
            .unwrap();
        let data = model.forward(images(DIGITS, 2)).into_data();
        data.iter::<f32>().collect::<Vec<_>>()
    };
    assert_eq!(logits(3), logits(3));
    assert_ne!(logits(3), logits(4));
}

/// Half precision changes logits and gradients by its rounding and not more, and weights and
/// gradients stay `f32`.
#[test]
fn mixed_precision_is_near_full_precision() {
    for architecture in [
        Architecture::ResNet8,
        Architecture::Wrn16x4,
        Architecture::Vit,
    ] {
        let run = |precision| {
            let model = model(architecture, DIGITS, precision);
            let logits = model.forward(images(DIGITS, 8));
            assert_eq!(logits.dtype(), DType::F32);
            let loss = logits.clone().square().mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            let mut values = Values(&gradients, Vec::new());
            model.visit(&mut values);
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            (logits, values.1)
        };
        let (logits, gradient) = run(Precision::F32);
        for (precision, accepted) in [(Precision::Bf16, 0.2), (Precision::F16, 0.03)] {
            let (rounded, rounded_gradient) = run(precision);
            let distance = apart(&rounded, &logits);
            assert!(
                distance > 0.0 && distance < accepted,
                "{architecture:?} {precision:?}: logits {distance}"
            );
            let distance = apart(&rounded_gradient, &gradient);
            assert!(
                distance > 0.0 && distance < accepted,
                "{architecture:?} {precision:?}: gradient {distance}"
            );
        }
    }
}

/// Relative distance.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|value| f64::from(value).powi(2)).sum()
    };
    let difference = square(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (difference / square(&mut b.iter().copied())).sqrt()
}

struct Values<'a>(&'a GradientsParams, Vec<f32>);

impl ModuleVisitor for Values<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.0.get::<D>(param.id) {
            assert_eq!(gradient.dtype(), DType::F32);
            self.1.extend(gradient.into_data().iter::<f32>());
        }
    }
}
