//! Sums over a whole vector: on the host in double precision, or on the device without a
//! read-back.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Rows of this many products are summed on the device where it has no `f64`, and the row sums in
/// `f64` on the host: the error then does not grow with the size of the tensor.
const BLOCK: usize = 1024;

/// Partial sums of one dot product, to be added up in `f64` on the host.
struct Partials {
    sums: Tensor<1>,
    /// Whether the last two of `sums` are factors of all others.
    scaled: bool,
}

fn partial_dot(a: &Tensor<1>, b: &Tensor<1>) -> Partials {
    let n = a.dims()[0];
    let device = a.device();
    if device.supports_dtype(DType::F64) {
        let product = a.clone().cast(DType::F64) * b.clone().cast(DType::F64);
        return Partials {
            sums: product.sum(),
            scaled: false,
        };
    }
    // Where products are made in `f32`, magnitudes of at most one keep them in range.
    let (a, largest_a) = normalised(a);
    let (b, largest_b) = normalised(b);
    let product = a * b;
    let rows = n / BLOCK;
    let mut pieces = Vec::new();
    if rows > 0 {
        let body = product.clone().slice(0..rows * BLOCK);
        pieces.push(body.reshape([rows, BLOCK]).sum_dim(1).reshape([rows]));
    }
    if n > rows * BLOCK {
        pieces.push(product.slice(rows * BLOCK..n).sum());
    }
    pieces.extend([largest_a, largest_b]);
    Partials {
        sums: Tensor::cat(pieces, 0),
        scaled: true,
    }
}

/// A tensor in `f32` over its largest magnitude, and that magnitude.
fn normalised(tensor: &Tensor<1>) -> (Tensor<1>, Tensor<1>) {
    let tensor = tensor.clone().cast(DType::F32);
    // A divisor of zero would make NaN out of a zero vector.
    let largest = tensor
        .clone()
        .abs()
        .max()
        .clamp_min(f64::from(f32::MIN_POSITIVE));
    (tensor / largest.clone(), largest)
}

/// The dot products `a_i . b_i`, each accumulated in `f64`, in one transfer per device.
pub(crate) fn dots<'a>(pairs: impl Iterator<Item = (&'a Tensor<1>, &'a Tensor<1>)>) -> Vec<f64> {
    let partials: Vec<Option<Partials>> = pairs
        .map(|(a, b)| (a.dims()[0] > 0).then(|| partial_dot(a, b)))
        .collect();
    let sums = partials.iter().flatten().map(|p| p.sums.clone()).collect();
    let mut values = read_together(sums).into_iter();
    partials
        .iter()
        .map(|partial| match partial {
            None => 0.0,
            Some(partial) => {
                let values: Vec<f64> = values.by_ref().take(partial.sums.dims()[0]).collect();
                if let (true, [sums @ .., a, b]) = (partial.scaled, values.as_slice()) {
                    sums.iter().sum::<f64>() * a * b
                } else {
                    values.iter().sum()
                }
            }
        })
        .collect()
}

/// Reads several one-dimensional tensors as `f64`, with one transfer for each device and element
/// type among them.
pub(crate) fn read_together(tensors: Vec<Tensor<1>>) -> Vec<f64> {
    let mut groups: Vec<(Device, DType, Vec<usize>)> = Vec::new();
    for (index, tensor) in tensors.iter().enumerate() {
        let (device, dtype) = (tensor.device(), tensor.dtype());
        match groups.iter_mut().find(|g| g.0 == device && g.1 == dtype) {
            Some((_, _, members)) => members.push(index),
            None => groups.push((device, dtype, vec![index])),
        }
    }
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); tensors.len()];
    for (_, _, members) in groups {
        let group = members.iter().map(|&index| tensors[index].clone());
        let mut read = to_host(Tensor::cat(group.collect(), 0).into_data()).into_iter();
        for index in members {
            let len = tensors[index].dims()[0];
            values[index] = read.by_ref().take(len).collect();
        }
    }
    values.concat()
}

fn to_host(data: TensorData) -> Vec<f64> {
    data.iter::<f64>().collect()
}

/// The Euclidean norm over several tensors, as a tensor of one element that stays on the device.
///
/// Entries are divided by the largest magnitude before they are squared, so that neither 1e-20 nor
/// 1e15 leaves the range of `f32`. The result is in `dtype`, on the first tensor's device.
pub(crate) fn norm_on_device<'a>(
    tensors: impl Iterator<Item = &'a Tensor<1>> + Clone,
    dtype: DType,
) -> Option<Tensor<1>> {
    let mut present = tensors.filter(|tensor| tensor.dims()[0] > 0).peekable();
    let device = present.peek()?.device();
    let tensors: Vec<Tensor<1>> = present.map(|tensor| tensor.clone().cast(dtype)).collect();
    let maxima = tensors
        .iter()
        .map(|tensor| tensor.clone().abs().max().to_device(&device))
        .collect();
    let largest = Tensor::cat(maxima, 0).max();
    // A divisor of zero would make NaN out of a zero vector.
    let divisor = largest.clone().clamp_min(f64::from(f32::MIN_POSITIVE));
    let squares = tensors
        .into_iter()
        .map(|tensor| {
            let local = divisor.clone().to_device(&tensor.device());
            (tensor / local).square().sum().to_device(&device)
        })
        .collect();
    Some(Tensor::cat(squares, 0).sum().sqrt() * divisor)
}
