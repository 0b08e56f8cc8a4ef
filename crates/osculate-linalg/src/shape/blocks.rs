use burn::tensor::Tensor;

use crate::error::LinalgError;

/// Blocks of one shape within a [`BlockPartition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockGroup {
    /// Dimensions of each block.
    pub dims: Vec<usize>,
    /// How many blocks of this shape a tensor has.
    pub count: usize,
}

impl BlockGroup {
    /// Elements of one block.
    pub fn num_elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// How a tensor is cut into blocks of at most `size` along every dimension.
///
/// A tensor without elements is one block. Each dimension is cut into runs of `size` and a shorter last one. Blocks of one shape come as
/// one stack, so that a tensor of rank `r` gives at most `2^r` stacks.
///
/// ```
/// use osculate_linalg::BlockPartition;
/// let partition = BlockPartition::new(&[5, 4], 2);
/// let shapes: Vec<_> = partition.groups().iter().map(|g| (g.count, g.dims.clone())).collect();
/// assert_eq!(shapes, [(4, vec![2, 2]), (2, vec![1, 2])]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockPartition {
    dims: Vec<usize>,
    size: usize,
    groups: Vec<BlockGroup>,
}

impl BlockPartition {
    /// Cuts tensors of the given dimensions. A `size` of 0 counts as 1.
    pub fn new(dims: &[usize], size: usize) -> Self {
        let size = size.max(1);
        if dims.contains(&0) {
            return Self {
                dims: dims.to_vec(),
                size,
                groups: vec![BlockGroup {
                    dims: dims.to_vec(),
                    count: 1,
                }],
            };
        }
        let mut groups = vec![BlockGroup {
            dims: Vec::new(),
            count: 1,
        }];
        for &d in dims {
            groups = groups
                .into_iter()
                .flat_map(|group| {
                    cuts(d, size).map(move |(runs, length)| {
                        let mut dims = group.dims.clone();
                        dims.push(length);
                        BlockGroup {
                            dims,
                            count: group.count * runs,
                        }
                    })
                })
                .collect();
        }
        Self {
            dims: dims.to_vec(),
            size,
            groups,
        }
    }

    /// The groups of equal blocks.
    pub fn groups(&self) -> &[BlockGroup] {
        &self.groups
    }

    /// Whether a tensor is one block.
    pub fn is_whole(&self) -> bool {
        matches!(self.groups.as_slice(), [group] if group.count == 1)
    }

    /// Cuts `[k, d_1 ⋯ d_r]` into one stack `[k count, elements]` for each group. The blocks of one
    /// tensor are neighbours.
    ///
    /// # Errors
    /// [`LinalgError::Shape`] where the tensor does not have the partition's dimensions.
    pub fn split(&self, stack: Tensor<2>) -> Result<Vec<Tensor<2>>, LinalgError> {
        let [k, size] = stack.dims();
        if size != self.dims.iter().product::<usize>() {
            return Err(self.shape_error("split", vec![k, size]));
        }
        if self.is_whole() {
            return Ok(vec![stack]);
        }
        let mut parts = vec![(stack, Vec::new(), 1)];
        for (axis, &d) in self.dims.iter().enumerate() {
            let after: usize = self.dims[axis + 1..].iter().product();
            let mut next = Vec::new();
            for (part, lengths, count) in parts {
                let before: usize = lengths.iter().product();
                let part = part.reshape([k * count, before, d, after]);
                let mut start = 0;
                for (runs, length) in cuts(d, self.size) {
                    let piece = part
                        .clone()
                        .slice([
                            0..k * count,
                            0..before,
                            start..start + runs * length,
                            0..after,
                        ])
                        .reshape([k * count, before, runs, length * after])
                        .swap_dims(1, 2)
                        .reshape([k * count * runs, before * length * after]);
                    start += runs * length;
                    let mut lengths: Vec<usize> = lengths.clone();
                    lengths.push(length);
                    next.push((piece, lengths, count * runs));
                }
            }
            parts = next;
        }
        Ok(parts.into_iter().map(|(part, ..)| part).collect())
    }

    /// Puts what [`split`](Self::split) cut back together.
    ///
    /// # Errors
    /// [`LinalgError::Shape`] where the stacks are not those of the groups.
    pub fn join(&self, mut stacks: Vec<Tensor<2>>) -> Result<Tensor<2>, LinalgError> {
        let first = stacks.first().map(|stack| stack.dims()[0]).unwrap_or(0);
        let k = match self.groups.first() {
            Some(group) if group.count > 0 => first / group.count,
            _ => 0,
        };
        let fits = stacks.len() == self.groups.len()
            && stacks
                .iter()
                .zip(&self.groups)
                .all(|(s, g)| s.dims() == [k * g.count, g.num_elements()]);
        if !fits {
            let shape = stacks.iter().flat_map(|stack| stack.dims()).collect();
            return Err(self.shape_error("join", shape));
        }
        if self.is_whole()
            && let Some(stack) = stacks.pop()
        {
            return Ok(stack);
        }
        let mut parts: Vec<(Tensor<2>, usize)> = stacks
            .into_iter()
            .zip(&self.groups)
            .map(|(stack, group)| (stack, group.count))
            .collect();
        for axis in (0..self.dims.len()).rev() {
            let cuts: Vec<_> = cuts(self.dims[axis], self.size).collect();
            let after: usize = self.dims[axis + 1..].iter().product();
            parts = parts
                .chunks(cuts.len())
                .map(|chunk| {
                    let mut pieces = Vec::with_capacity(cuts.len());
                    let mut outer = 1;
                    for ((piece, count), &(runs, length)) in chunk.iter().zip(&cuts) {
                        outer = count / runs;
                        let before = piece.dims()[1] / (length * after);
                        pieces.push(
                            piece
                                .clone()
                                .reshape([k * outer, runs, before, length * after])
                                .swap_dims(1, 2)
                                .reshape([k * outer, before, runs * length * after]),
                        );
                    }
                    let joined = Tensor::cat(pieces, 2);
                    let [rows, before, rest] = joined.dims();
                    (joined.reshape([rows, before * rest]), outer)
                })
                .collect();
        }
        match parts.pop() {
            Some((joined, _)) => Ok(joined),
            None => Err(self.shape_error("join", Vec::new())),
        }
    }

    fn shape_error(&self, operation: &'static str, shape: Vec<usize>) -> LinalgError {
        LinalgError::Shape {
            operation,
            expected: "the stacks of the partition's dimensions",
            shape,
        }
    }
}

/// The runs of a dimension, `(how many, how long)`: those of full length, then the shorter one.
fn cuts(d: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let (full, rest) = if d <= size {
        (0, d)
    } else {
        (d / size, d % size)
    };
    let full = (full > 0).then_some((full, size));
    let rest = (rest > 0 || d == 0).then_some((1, rest));
    full.into_iter().chain(rest)
}
