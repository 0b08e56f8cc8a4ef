use burn::tensor::{DType, Device, Tensor, TensorData};

/// Rotary position encodings (Su et al., 2021): pairs of features are turned by an angle that grows
/// with the position, so that the product of a query and a key depends on their distance alone.
///
/// The tables are made anew in every forward pass: a module that kept them would hold plain tensors,
/// which burn 0.22.1 brings back under another checkpointing strategy.
#[derive(Debug, Clone)]
pub struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

const BASE: f64 = 10_000.0;

impl Rotary {
    /// Tables for positions `first..first + length` and heads of `size` features, which must be even.
    pub fn new(first: usize, length: usize, size: usize, dtype: DType, device: &Device) -> Self {
        let half = size / 2;
        let angle = |index: usize| {
            let (position, pair) = (first + index / half, index % half);
            position as f64 * BASE.powf(-(pair as f64) / half as f64)
        };
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = (0..length * half).map(|i| of(angle(i)) as f32).collect();
            let data = TensorData::new(values, [1, 1, length, half]);
            Tensor::<4>::from_data(data, (device, DType::F32)).cast(dtype)
        };
        Self {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }

    /// Turns queries or keys of shape `[batch, heads, length, size]`.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let turned_a = a.clone() * self.cos.clone() - b.clone() * self.sin.clone();
        let turned_b = b * self.cos.clone() + a * self.sin.clone();
        Tensor::cat(vec![turned_a, turned_b], 3)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// The products of a query and a key at two positions.
    fn product(query: &Tensor<4>, key: &Tensor<4>, at: usize, from: usize) -> f32 {
        let device = query.device();
        let turn = |x: &Tensor<4>, position: usize| {
            Rotary::new(position, 1, 8, DType::F32, &device).apply(x.clone())
        };
        (turn(query, at) * turn(key, from)).sum().into_scalar()
    }

    #[test]
    fn products_depend_on_the_distance_alone() {
        let device = Device::flex();
        device.seed(1);
        let query = Tensor::<4>::random([1, 1, 1, 8], Distribution::Default, &device);
        let key = Tensor::<4>::random([1, 1, 1, 8], Distribution::Default, &device);
        for distance in [0, 1, 5, 40] {
            let near = product(&query, &key, distance, 0);
            let far = product(&query, &key, 77 + distance, 77);
            assert!(
                (near - far).abs() < 1e-4,
                "{near} and {far} at distance {distance}"
            );
        }
        let (a, b) = (product(&query, &key, 0, 0), product(&query, &key, 5, 0));
        assert!(
            (a - b).abs() > 1e-3,
            "{a} and {b}: the distance must matter"
        );
    }

    #[test]
    fn turning_keeps_lengths() {
        let device = Device::flex();
        let x = Tensor::<4>::random([2, 3, 7, 8], Distribution::Default, &device);
        let turned = Rotary::new(0, 7, 8, DType::F32, &device).apply(x.clone());
        let lengths = |x: Tensor<4>| x.square().sum_dim(3).into_data();
        lengths(turned).assert_approx_eq::<f32>(&lengths(x), burn::tensor::Tolerance::default());
    }
}
