/// The end of a shape from which dimensions are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeFrom {
    /// The first dimension, as in scalable Shampoo and SOAP.
    Front,
    /// The last dimension, as in distributed Shampoo.
    Back,
}

/// Merges neighbouring dimensions, greedily from one end, while their product is at most `limit`
/// and more than `target_rank` dimensions are left. Dimensions of 1 are dropped first.
///
/// A scalar, and a shape of ones, gives `[1]`; a shape with a zero gives `[0]`.
///
/// ```
/// use osculate_linalg::{MergeFrom, merge_dims};
/// assert_eq!(merge_dims(&[32, 3, 64, 64], 8192, MergeFrom::Back, 1), [96, 4096]);
/// assert_eq!(merge_dims(&[32, 3, 64, 64], 12288, MergeFrom::Back, 2), [32, 12288]);
/// assert_eq!(merge_dims(&[16, 64], 1024, MergeFrom::Front, 1), [1024]);
/// ```
pub fn merge_dims(
    shape: &[usize],
    limit: usize,
    from: MergeFrom,
    target_rank: usize,
) -> Vec<usize> {
    if shape.contains(&0) {
        return vec![0];
    }
    let mut dims: Vec<usize> = shape.iter().copied().filter(|&d| d != 1).collect();
    if from == MergeFrom::Back {
        dims.reverse();
    }
    let mut left = dims.len();
    let mut merged: Vec<usize> = Vec::with_capacity(left);
    for d in dims {
        match merged.last_mut() {
            Some(last) if left > target_rank && last.saturating_mul(d) <= limit => {
                *last *= d;
                left -= 1;
            }
            _ => merged.push(d),
        }
    }
    if merged.is_empty() {
        merged.push(1);
    }
    if from == MergeFrom::Back {
        merged.reverse();
    }
    merged
}
