//! Sums over a whole vector: on the host in double precision, or on the device without a
//! read-back.

use burn::tensor::{DType, Tensor, TensorData};

/// Rows of this many products are summed on the device where it has no `f64`, and the row sums in
/// `f64` on the host: the error then does not grow with the size of the tensor.
const BLOCK: usize = 1024;

/// Partial sums of one tensor: a tensor of a few elements, and how many.
struct Partials {
    sums: Tensor<1>,
    count: usize,
}

fn partial_dot(a: &Tensor<1>, b: &Tensor<1>) -> Partials {
    let n = a.dims()[0];
    let device = a.device();
    if device.supports_dtype(DType::F64) {
        let product = a.clone().cast(DType::F64) * b.clone().cast(DType::F64);
        return Partials {
            sums: product.sum(),
            count: 1,
        };
    }
    let product = a.clone().cast(DType::F32) * b.clone().cast(DType::F32);
    let rows = n / BLOCK;
    let mut pieces = Vec::new();
    if rows > 0 {
        let body = product.clone().slice(0..rows * BLOCK);
        pieces.push(body.reshape([rows, BLOCK]).sum_dim(1).reshape([rows]));
    }
    if n > rows * BLOCK {
        pieces.push(product.slice(rows * BLOCK..n).sum());
    }
    let count = rows + usize::from(n > rows * BLOCK);
    Partials {
        sums: Tensor::cat(pieces, 0),
        count,
    }
}

/// The dot products `a_i . b_i`, each accumulated in `f64`, in one transfer per device.
pub(crate) fn dots<'a>(pairs: impl Iterator<Item = (&'a Tensor<1>, &'a Tensor<1>)>) -> Vec<f64> {
    let partials: Vec<Option<Partials>> = pairs
        .map(|(a, b)| (a.dims()[0] > 0).then(|| partial_dot(a, b)))
        .collect();
    let values = read_together(partials.iter().flatten().map(|p| p.sums.clone()).collect());
    let mut values = values.into_iter();
    partials
        .iter()
        .map(|partial| {
            let count = partial.as_ref().map_or(0, |p| p.count);
            values.by_ref().take(count).sum()
        })
        .collect()
}

/// Reads several one-dimensional tensors as `f64`, with one transfer where they share a device and
/// an element type.
pub(crate) fn read_together(tensors: Vec<Tensor<1>>) -> Vec<f64> {
    let Some(first) = tensors.first() else {
        return Vec::new();
    };
    let (device, dtype) = (first.device(), first.dtype());
    let together = tensors
        .iter()
        .all(|tensor| tensor.device() == device && tensor.dtype() == dtype);
    if together {
        to_host(Tensor::cat(tensors, 0).into_data())
    } else {
        tensors
            .into_iter()
            .flat_map(|tensor| to_host(tensor.into_data()))
            .collect()
    }
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
