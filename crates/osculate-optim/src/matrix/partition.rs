use burn::tensor::Tensor;

/// How a parameter becomes blocks: the dimensions that a rule sees it with, and the lengths into
/// which each dimension is cut.
///
/// Elements keep their row-major order, so merging adjacent dimensions costs nothing. Blocks are
/// numbered in the row-major order of their places.
///
/// ```
/// use osculate_optim::Partition;
/// let partition = Partition::blocks(vec![5, 3], 2);
/// assert_eq!(partition.num_blocks(), 6);
/// assert_eq!(partition.block_dims()[5], [1, 1]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    dims: Vec<usize>,
    chunks: Vec<Vec<usize>>,
}

impl Partition {
    /// One block of these dimensions. No dimension at all stands for a single number.
    pub fn whole(dims: Vec<usize>) -> Self {
        let dims = if dims.is_empty() { vec![1] } else { dims };
        let chunks = dims.iter().map(|&d| vec![d]).collect();
        Self { dims, chunks }
    }

    /// Blocks of at most `max` along every dimension; the last along a dimension may be shorter.
    ///
    /// # Panics
    /// If `max` is 0.
    pub fn blocks(dims: Vec<usize>, max: usize) -> Self {
        assert!(max > 0, "a block has at least one element");
        let mut partition = Self::whole(dims);
        partition.chunks = partition
            .dims
            .iter()
            .map(|&d| {
                let full = std::iter::repeat_n(max, d / max);
                full.chain((d % max > 0).then_some(d % max)).collect()
            })
            .collect();
        partition
    }

    /// The dimensions of the whole.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of blocks; none where a dimension is 0.
    pub fn num_blocks(&self) -> usize {
        if self.dims.contains(&0) {
            return 0;
        }
        self.chunks.iter().map(Vec::len).product()
    }

    /// The dimensions of every block.
    pub fn block_dims(&self) -> Vec<Vec<usize>> {
        if self.num_blocks() == 0 {
            return Vec::new();
        }
        self.chunks.iter().fold(vec![Vec::new()], |blocks, chunks| {
            blocks
                .iter()
                .flat_map(|block| chunks.iter().map(|&len| [block.as_slice(), &[len]].concat()))
                .collect()
        })
    }

    /// Cuts a flattened parameter into its flattened blocks.
    pub fn split(&self, flat: Tensor<1>) -> Vec<Tensor<1>> {
        match self.num_blocks() {
            0 => return Vec::new(),
            1 => return vec![flat],
            _ => {}
        }
        let mut pieces = vec![flat];
        for (axis, chunks) in self.chunks.iter().enumerate() {
            if chunks.len() == 1 {
                continue;
            }
            let (d, after) = (self.dims[axis], self.after(axis));
            pieces = pieces
                .into_iter()
                .flat_map(|piece| {
                    let before = piece.dims()[0] / (d * after);
                    let piece = piece.reshape([before, d, after]);
                    let mut start = 0;
                    chunks.iter().map(move |&len| {
                        let part = piece.clone().narrow(1, start, len);
                        start += len;
                        part.reshape([before * len * after])
                    })
                })
                .collect();
        }
        pieces
    }

    /// Puts flattened blocks together again.
    ///
    /// # Panics
    /// If their number or lengths are not those of [`split`](Self::split).
    pub fn join(&self, blocks: Vec<Tensor<1>>) -> Tensor<1> {
        let mut pieces = blocks;
        for (axis, chunks) in self.chunks.iter().enumerate().rev() {
            if chunks.len() == 1 {
                continue;
            }
            let after = self.after(axis);
            pieces = pieces
                .chunks(chunks.len())
                .map(|group| {
                    let before = group[0].dims()[0] / (chunks[0] * after);
                    let parts = group
                        .iter()
                        .zip(chunks)
                        .map(|(part, &len)| part.clone().reshape([before, len, after]))
                        .collect();
                    let whole = Tensor::cat(parts, 1);
                    whole.reshape([before * self.dims[axis] * after])
                })
                .collect();
        }
        assert_eq!(pieces.len(), 1, "the blocks of one parameter");
        pieces.remove(0)
    }

    /// Elements of the whole after an axis.
    fn after(&self, axis: usize) -> usize {
        self.dims[axis + 1..].iter().product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    #[test]
    fn join_undoes_split_for_every_rank() {
        let shapes: [&[usize]; 8] = [
            &[],
            &[7],
            &[5, 3],
            &[4, 1, 5],
            &[2, 3, 2, 5],
            &[1, 1, 3, 2, 2],
            &[2, 1, 2, 1, 2, 3],
            &[1, 2, 1, 2, 1, 2, 1, 3],
        ];
        for dims in shapes {
            for max in [1, 2, 3, 100] {
                let partition = Partition::blocks(dims.to_vec(), max);
                let n = dims.iter().product::<usize>() as i64;
                let flat = Tensor::<1, Int>::arange(0..n, &Device::flex()).float();
                let blocks = partition.split(flat.clone());
                assert_eq!(blocks.len(), partition.num_blocks());
                for (block, dims) in blocks.iter().zip(partition.block_dims()) {
                    assert_eq!(block.dims()[0], dims.iter().product::<usize>());
                }
                assert_eq!(partition.join(blocks).to_data(), flat.to_data());
            }
        }
    }

    #[test]
    fn a_block_is_a_box() {
        let flat = Tensor::<1, Int>::arange(0..15, &Device::flex()).float();
        let blocks = Partition::blocks(vec![3, 5], 2).split(flat);
        let third: Vec<f32> = blocks[1].clone().try_into_vec_as().unwrap();
        assert_eq!(third, [2.0, 3.0, 7.0, 8.0]);
    }

    #[test]
    fn nothing_has_no_blocks() {
        let partition = Partition::blocks(vec![3, 0], 2);
        assert_eq!(partition.num_blocks(), 0);
        assert!(partition.block_dims().is_empty());
    }
}
