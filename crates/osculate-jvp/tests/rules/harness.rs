//! Checks of one recorded function: values, tangents, Hessian products.

use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_jvp::{AnyTensor, Bound, Program, Tangents, Tensors, Wrt};

/// Independent numbers in `low..high`, by a linear congruential generator.
pub struct Numbers {
    state: u64,
}

impl Numbers {
    pub fn new(seed: u64) -> Self {
        let mut numbers = Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        };
        numbers.draw();
        numbers
    }

    pub fn draw(&mut self) -> f64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.draw()
    }

    pub fn index(&mut self, below: usize) -> usize {
        ((self.draw() * below as f64) as usize).min(below.saturating_sub(1))
    }
}

#[expect(
    deprecated,
    reason = "ndarray is the second backend that runs without an accelerator"
)]
pub fn devices() -> [Device; 2] {
    [Device::flex(), Device::ndarray()]
}

/// A float tensor in one of three memory layouts: contiguous, permuted, flipped.
pub fn tensor<const D: usize>(
    numbers: &mut Numbers,
    shape: [usize; D],
    (low, high): (f64, f64),
    device: &Device,
) -> Tensor<D> {
    let elements: usize = shape.iter().product();
    // Backends differ in which strides they accept for tensors without elements.
    let layout = if elements == 0 { 0 } else { numbers.index(3) };
    let mut stored = shape;
    if layout == 1 {
        stored.reverse();
    }
    let values: Vec<f64> = (0..elements).map(|_| numbers.between(low, high)).collect();
    let tensor = Tensor::from_data(TensorData::new(values, stored), (device, DType::F64));
    let axes: [isize; D] = core::array::from_fn(|axis| axis as isize);
    match layout {
        1 => {
            let mut reversed = axes;
            reversed.reverse();
            tensor.permute(reversed)
        }
        2 => tensor.flip(axes),
        _ => tensor,
    }
}

fn values(tensor: &AnyTensor) -> Vec<f64> {
    let n = tensor.shape().num_elements();
    let flat = tensor.clone().float_reshaped([n]);
    flat.into_data().iter::<f64>().collect()
}

fn flat(tensors: &[Option<AnyTensor>], like: &[AnyTensor]) -> Vec<f64> {
    tensors
        .iter()
        .zip(like)
        .filter(|(_, like)| like.dtype().is_float())
        .flat_map(|(tensor, like)| match tensor {
            Some(tensor) => values(tensor),
            None => vec![0.0; like.shape().num_elements()],
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn size(a: &[f64]) -> f64 {
    a.iter().fold(0.0, |size, x| f64::max(size, x.abs()))
}

pub fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: number of elements");
    let scale = 1.0 + size(expected);
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance * scale,
            "{what}[{index}]: got {got}, expected {expected}"
        );
    }
}

/// A direction for every float input.
fn direction(numbers: &mut Numbers, like: &[AnyTensor], device: &Device) -> Tangents {
    let inputs = like
        .iter()
        .map(|tensor| {
            if !tensor.dtype().is_float() {
                return None;
            }
            let n = tensor.shape().num_elements();
            let drawn = self::tensor(numbers, [n], (-1.0, 1.0), device);
            Some(reshaped(drawn, tensor))
        })
        .collect();
    Tangents {
        inputs,
        ..Tangents::default()
    }
}

fn reshaped(flat: Tensor<1>, like: &AnyTensor) -> AnyTensor {
    match *like.shape().as_slice() {
        [a] => flat.reshape([a]).into(),
        [a, b] => flat.reshape([a, b]).into(),
        [a, b, c] => flat.reshape([a, b, c]).into(),
        [a, b, c, d] => flat.reshape([a, b, c, d]).into(),
        [a, b, c, d, e] => flat.reshape([a, b, c, d, e]).into(),
        _ => panic!("rank of a test tensor"),
    }
}

fn moved<I: Tensors>(inputs: &I, along: &Tangents, h: f64) -> I {
    let mut directions = along.inputs.iter();
    inputs.map_tensors(&mut |tensor| match directions.next() {
        Some(Some(d)) => {
            let n = tensor.shape().num_elements();
            let step = d.clone().float_reshaped([n]).mul_scalar(h);
            reshaped(tensor.clone().float_reshaped([n]) + step, &tensor)
        }
        _ => tensor,
    })
}

/// Step of the central differences: truncation of the order of 1e-10, rounding of 1e-11.
const H: f64 = 1e-5;

/// Records `f` and checks its value against `f` itself, its tangent against central differences,
/// and the Hessian products of a scalar function of its result: against differences of gradients,
/// and for symmetry.
pub fn check<I: Tensors, const O: usize>(
    inputs: I,
    numbers: &mut Numbers,
    device: &Device,
    f: impl Fn(&I) -> Tensor<O>,
) {
    let like = inputs.tensors();
    let program = Program::record_function(&inputs, |inputs| f(inputs)).unwrap();
    let result = |at: &I| values(&f(at).into());
    let v = direction(numbers, &like, device);

    let bound = program.bind_inputs(&inputs).unwrap();
    let jvp = bound.jvp(core::slice::from_ref(&v)).unwrap();
    assert_close("value", &values(&jvp.outputs[0]), &result(&inputs), 1e-12);
    let (plus, minus) = (
        result(&moved(&inputs, &v, H)),
        result(&moved(&inputs, &v, -H)),
    );
    let differences: Vec<f64> = plus
        .iter()
        .zip(&minus)
        .map(|(p, m)| (p - m) / (2.0 * H))
        .collect();
    assert_close("tangent", &values(&jvp.tangents[0][0]), &differences, 1e-6);

    // A quadratic function of the result has curvature even where the result is linear.
    let n = jvp.outputs[0].shape().num_elements();
    let weights: Vec<f64> = (0..n).map(|_| numbers.draw() - 0.5).collect();
    let scalar = Program::record_function(&inputs, |inputs| {
        let y = f(inputs);
        if n == 0 {
            return y.square().sum();
        }
        let y = y.reshape([n]);
        let data = TensorData::new(weights.clone(), [n]);
        let w = Tensor::<1>::from_data(data, (&y.device(), DType::F64));
        (y.clone() * w).sum() + y.square().sum().mul_scalar(0.5)
    })
    .unwrap();
    let product = |bound: &Bound, v: &Tangents| {
        flat(&bound.hvp(v, Wrt::Inputs).unwrap().product.inputs, &like)
    };
    let gradient = |at: &I| {
        let bound = scalar.bind_inputs(at).unwrap();
        flat(&bound.gradient(Wrt::Inputs).unwrap().1.inputs, &like)
    };
    let bound = scalar.bind_inputs(&inputs).unwrap();
    let hv = product(&bound, &v);
    let (plus, minus) = (
        gradient(&moved(&inputs, &v, H)),
        gradient(&moved(&inputs, &v, -H)),
    );
    let differences: Vec<f64> = plus
        .iter()
        .zip(&minus)
        .map(|(p, m)| (p - m) / (2.0 * H))
        .collect();
    assert_close("Hessian product", &hv, &differences, 1e-6);

    let u = direction(numbers, &like, device);
    let hu = product(&bound, &u);
    let (uhv, vhu) = (
        dot(&flat(&u.inputs, &like), &hv),
        dot(&flat(&v.inputs, &like), &hu),
    );
    assert!(
        (uhv - vhu).abs() <= 1e-10 * (1.0 + uhv.abs()),
        "the Hessian is not symmetric: {uhv} and {vhu}"
    );

    let plan = scalar.hessian_plan(Wrt::Inputs).unwrap();
    let kept = bound.keep_hessian(&plan).unwrap();
    for (direction, expected) in [(&v, &hv), (&u, &hu)] {
        let again = flat(&kept.product(direction).unwrap().inputs, &like);
        assert_close("kept product", &again, expected, 1e-12);
    }
}

/// One test of a rule: `rule!(name: [shapes of x] in low..high, |x| ...)`, for one to three float
/// arguments. Shapes are tried in turn, with random values and memory layouts, on flex and ndarray.
#[macro_export]
macro_rules! rule {
    // ndarray computes some activations in `f32` whatever their element type.
    (flex $name:ident: $($rest:tt)+) => {
        $crate::rule!(@on [burn::tensor::Device::flex()], $name: $($rest)+);
    };
    ($name:ident: $($rest:tt)+) => {
        $crate::rule!(@on $crate::harness::devices(), $name: $($rest)+);
    };
    (@on $devices:expr, $name:ident: $shapes:expr, in $low:literal..$high:literal, |$($x:ident: $rank:literal),+| $body:expr) => {
        proptest::proptest! {
            #![proptest_config($crate::harness::config())]
            #[test]
            fn $name(seed in 0u64..1_000_000) {
                for device in $devices {
                    for shapes in $shapes {
                        let mut numbers = $crate::harness::Numbers::new(seed);
                        let ($($x,)+) = shapes;
                        // ndarray's own kernels fail on tensors without elements.
                        let empty = [$($x.iter().product::<usize>()),+].contains(&0);
                        if empty && device != burn::tensor::Device::flex() {
                            continue;
                        }
                        $(let $x = $crate::harness::tensor::<$rank>(
                            &mut numbers, $x, ($low, $high), &device);)+
                        $crate::harness::check(
                            ($($x,)+), &mut numbers, &device,
                            |($($x,)+)| { $(let $x = $x.clone();)+ $body });
                    }
                }
            }
        }
    };
}

pub fn config() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: 3,
        failure_persistence: None,
        ..Default::default()
    }
}
