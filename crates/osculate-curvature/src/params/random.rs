//! Random numbers drawn on the host, so that one seed gives the same vector on every device,
//! backend and worker.

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::StandardNormal;

/// Derives an independent stream from a seed and a counter (splitmix64's finaliser).
pub(crate) fn mix(seed: u64, counter: u64) -> u64 {
    let mut z = seed ^ counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream that belongs to one parameter, so that a parameter's probe does not depend on which
/// other parameters there are (FNV-1a of the path).
pub(crate) fn stream(seed: u64, path: &str) -> u64 {
    let hash = path.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    mix(seed, hash)
}

fn upload(values: Vec<f64>, dtype: DType, device: &Device) -> Tensor<1> {
    let shape = [values.len()];
    let data = match dtype {
        DType::F64 => TensorData::new(values, shape),
        DType::F16 => TensorData::new(
            values.into_iter().map(f16::from_f64).collect::<Vec<_>>(),
            shape,
        ),
        DType::BF16 => TensorData::new(
            values.into_iter().map(bf16::from_f64).collect::<Vec<_>>(),
            shape,
        ),
        _ => TensorData::new(
            values.into_iter().map(|x| x as f32).collect::<Vec<_>>(),
            shape,
        ),
    };
    Tensor::from_data(data, (device, dtype))
}

/// `n` independent signs, +1 or -1 with equal probability.
pub(crate) fn rademacher(n: usize, seed: u64, dtype: DType, device: &Device) -> Tensor<1> {
    upload(signs(n, seed), dtype, device)
}

/// The same on the host.
pub(crate) fn signs(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(n);
    while values.len() < n {
        let bits = rng.next_u64();
        let take = (n - values.len()).min(64);
        values.extend((0..take).map(|bit| if bits >> bit & 1 == 1 { 1.0 } else { -1.0 }));
    }
    values
}

/// `n` independent standard normal numbers.
pub(crate) fn normal(n: usize, seed: u64, dtype: DType, device: &Device) -> Tensor<1> {
    upload(normals(n, seed), dtype, device)
}

/// The same on the host.
pub(crate) fn normals(n: usize, seed: u64) -> Vec<f64> {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    rng.sample_iter(StandardNormal).take(n).collect()
}

/// `n` independent uniform numbers in `[0, 1)`.
pub(crate) fn uniform(n: usize, seed: u64, dtype: DType, device: &Device) -> Tensor<1> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    upload((0..n).map(|_| rng.random::<f64>()).collect(), dtype, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_signs_and_balanced() {
        let n = 100_000;
        let values: Vec<f32> = rademacher(n, 7, DType::F32, &Device::flex())
            .try_into_vec_as()
            .unwrap();
        assert!(values.iter().all(|&x| x == 1.0 || x == -1.0));
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 4.0 / (n as f64).sqrt(), "mean {mean}");
    }

    #[test]
    fn one_seed_gives_one_vector_on_every_backend_and_type() {
        #[allow(
            deprecated,
            reason = "the ndarray backend is supported while burn ships it"
        )]
        let ndarray = Device::ndarray();
        let a: Vec<f64> = normal(100, 3, DType::F64, &Device::flex())
            .try_into_vec_as()
            .unwrap();
        let b: Vec<f64> = normal(100, 3, DType::F64, &ndarray)
            .try_into_vec_as()
            .unwrap();
        let c: Vec<f32> = normal(100, 3, DType::F32, &ndarray)
            .try_into_vec_as()
            .unwrap();
        assert_eq!(a, b);
        assert!(a.iter().zip(&c).all(|(&a, &c)| a as f32 == c));
    }

    #[test]
    fn paths_and_seeds_give_different_streams() {
        assert_ne!(stream(1, "a.weight"), stream(1, "a.bias"));
        assert_ne!(stream(1, "a.weight"), stream(2, "a.weight"));
    }
}
