use burn::tensor::{DType, Tensor, TensorData};
use faer::MatRef;

use super::{Real, elements, for_each_with_work, for_type, kernel, read};
use crate::gram::Side;
use crate::packed::packed_shape;

/// Multiplications of a whole product from which half of it on the host, with the copies there and back, takes
/// less time than the product on the device, measured on two cores.
const WORTHWHILE: usize = 192 * 192 * 192;

/// Whether matrices with so many multiplications each are better multiplied here than on their device: on a CPU,
/// and where no derivative is kept.
pub(super) fn pays(stack: &Tensor<3>, work: usize) -> bool {
    let on_cpu = || {
        let name = format!("{:?}", stack.device());
        ["Flex", "NdArray"].iter().any(|cpu| name.contains(cpu))
    };
    work >= WORTHWHILE
        && matches!(stack.dtype(), DType::F32 | DType::F64)
        && !stack.is_autodiff()
        && on_cpu()
}

/// How a symmetric matrix is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// As [`pack`](crate::pack) of the lower half.
    Packed,
}

/// The Gram matrix of each matrix of a stack, of which only half is computed; `None` where the device makes it in
/// less time.
pub(crate) fn gram(stack: &Tensor<3>, side: Side, form: Form) -> Option<Tensor<3>> {
    const OPERATION: &str = "gram";
    let [k, rows, columns] = stack.dims();
    let n = match side {
        Side::Rows => rows,
        Side::Columns => columns,
    };
    if !pays(stack, rows * columns * n) {
        return None;
    }
    let data = read(OPERATION, stack.clone()).ok()?;
    let [height, width] = match form {
        Form::Whole => [n, n],
        Form::Packed => packed_shape(n),
    };
    let grams = for_type!(data, T => {
        let mut out = vec![0.0 as T; k * height * width];
        for_each_with_work((k, rows * columns * n), elements::<T>(OPERATION, &data).ok()?, &mut out, |x, out, par| {
            let x = MatRef::from_row_major_slice(x, rows, columns);
            let x = match side {
                Side::Rows => x,
                Side::Columns => x.transpose(),
            };
            match form {
                Form::Whole => {
                    kernel::upper_product(out, x, x.transpose(), 1.0, par);
                    kernel::mirror(out, n);
                }
                Form::Packed => {
                    let mut whole = vec![0.0; n * n];
                    kernel::upper_product(&mut whole, x, x.transpose(), 1.0, par);
                    pack(&whole, n, out);
                }
            }
        });
        TensorData::new(out, [k, height, width])
    });
    Some(Tensor::from_data(grams, (&stack.device(), stack.dtype())))
}

/// The packed form of a symmetric matrix, of which the upper half is valid.
fn pack<T: Real>(upper: &[T], n: usize, out: &mut [T]) {
    let [rows, h] = packed_shape(n);
    let (top, c) = (rows - n, n - h);
    let left = 1 - top;
    kernel::tiles(n, h, |down, across| {
        for i in down {
            for j in across.start..across.end.min(i + 1) {
                out[(top + i) * h + j] = upper[j * n + i];
            }
        }
    });
    for i in 0..c {
        let row = &upper[(h + i) * n + h + i..(h + i) * n + n];
        out[i * h + left + i..i * h + left + c].copy_from_slice(row);
    }
}
