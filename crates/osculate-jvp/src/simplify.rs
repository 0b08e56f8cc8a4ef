//! Backward passes in fewer operations: burn's spread sums by multiplying with tensors of ones, reduce
//! what is reduced, and multiply a batch of small matrices to add the products up.

use std::collections::BTreeMap;

use burn::tensor::DType;
use burn_backend::BoolDType;
use burn_ir::{
    ActivationOperationIr, BaseOperationIr, BinaryOpIr, CatOpIr, FloatOperationIr, IrVisitorMut,
    MaskFillOpIr, MatmulOpIr, NumericOperationIr, OperationIr, ReduceDimOpIr, ScalarIr, ScalarOpIr,
    ShapeOpIr, SwapDimsOpIr, TensorId, TensorIr, UnaryOpIr,
};

use crate::context::slot;
use crate::fold::fold_factors;
use crate::graph::{Boundary, Graph};
use crate::merge::merge_duplicates;

/// The same function in fewer operations, up to rounding, where arguments from `own` on move and the
/// others do not: what does not move can be prepared for them.
pub(crate) fn simplify(graph: Graph, own: usize, bool_dtype: BoolDType) -> Graph {
    let mut rewriter = Rewriter::new(&graph, own, bool_dtype);
    let mut graph = graph;
    for mut step in core::mem::take(&mut graph.steps) {
        step.visit_mut(&mut Renamed(&rewriter.stands_for));
        rewriter.rewrite(step);
    }
    for output in &mut graph.outputs {
        Renamed(&rewriter.stands_for).visit_tensor_mut(output);
    }
    graph.reads = vec![0; rewriter.moves.len()];
    graph.steps = rewriter.steps;
    let mut graph = graph.with_outputs(|_| true);
    fold_factors(&mut graph, own);
    without_duplicates(graph)
}

/// The same operations, each once.
fn without_duplicates(mut graph: Graph) -> Graph {
    let ids = |slots: &[usize]| {
        slots
            .iter()
            .map(|&slot| TensorId::new(slot as u64))
            .collect()
    };
    let mut boundary = Boundary {
        arguments: ids(&graph.arguments),
        outputs: graph.outputs.iter().map(|output| output.id).collect(),
        results: graph.outputs,
    };
    merge_duplicates(&mut graph.steps, &BTreeMap::new(), &mut boundary);
    graph.outputs = boundary.results;
    graph.with_outputs(|_| true)
}

struct Renamed<'a>(&'a [Option<TensorId>]);

impl IrVisitorMut for Renamed<'_> {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        if let Some(id) = self.0[slot(tensor)] {
            tensor.id = id;
        }
    }
}

struct Rewriter {
    steps: Vec<OperationIr>,
    bool_dtype: BoolDType,
    /// What is known of each slot.
    moves: Vec<bool>,
    /// The tensor that stands for it.
    stands_for: Vec<Option<TensorId>>,
    /// The number that all its elements are.
    uniform: Vec<Option<f64>>,
    /// What it is an expansion of, to the same rank.
    expanded: Vec<Option<TensorIr>>,
    /// What it is the negative of.
    negated: Vec<Option<TensorIr>>,
    /// The operation that makes it, where it is a product of matrices or a transposition.
    matrix: Vec<Option<OperationIr>>,
}

impl Rewriter {
    fn new(graph: &Graph, own: usize, bool_dtype: BoolDType) -> Self {
        let slots = graph.reads.len();
        let mut moves = vec![false; slots];
        for &argument in &graph.arguments[own..] {
            moves[argument] = true;
        }
        Self {
            steps: Vec::with_capacity(graph.steps.len()),
            bool_dtype,
            moves,
            stands_for: vec![None; slots],
            uniform: vec![None; slots],
            expanded: vec![None; slots],
            negated: vec![None; slots],
            matrix: vec![None; slots],
        }
    }

    /// A new tensor like another.
    fn like(&mut self, tensor: &TensorIr, shape: &[usize]) -> TensorIr {
        let id = TensorId::new(self.moves.len() as u64);
        self.moves.push(false);
        self.stands_for.push(None);
        self.uniform.push(None);
        self.expanded.push(None);
        self.negated.push(None);
        self.matrix.push(None);
        TensorIr {
            id,
            shape: shape.to_vec().into(),
            ..tensor.clone()
        }
    }

    fn push(&mut self, step: OperationIr) {
        let moving = step.inputs().any(|input| self.moves[slot(input)]);
        for out in step.outputs() {
            self.moves[slot(out)] = moving;
        }
        self.learn(&step);
        self.steps.push(step);
    }

    /// Remembers what an operation makes.
    fn learn(&mut self, step: &OperationIr) {
        let of = |tensor: &TensorIr| self.uniform[slot(tensor)];
        match step {
            OperationIr::BaseFloat(BaseOperationIr::Ones(o)) => {
                self.uniform[slot(&o.out)] = Some(1.0);
            }
            OperationIr::BaseFloat(BaseOperationIr::Reshape(o)) => {
                self.uniform[slot(&o.out)] = of(&o.input);
            }
            OperationIr::BaseFloat(BaseOperationIr::Expand(o)) => {
                self.uniform[slot(&o.out)] = of(&o.input);
                if o.input.shape.num_dims() == o.out.shape.num_dims() {
                    self.expanded[slot(&o.out)] = Some(o.input.clone());
                }
            }
            OperationIr::BaseFloat(BaseOperationIr::SwapDims(o)) => {
                self.matrix[slot(&o.out)] = Some(step.clone());
            }
            OperationIr::NumericFloat(_, NumericOperationIr::Full(o)) => {
                self.uniform[slot(&o.out)] = Some(o.value.elem());
            }
            OperationIr::NumericFloat(_, NumericOperationIr::MulScalar(o)) => {
                let by: f64 = o.rhs.elem();
                self.uniform[slot(&o.out)] = of(&o.lhs).map(|x| x * by);
            }
            OperationIr::NumericFloat(_, NumericOperationIr::Neg(o)) => {
                self.negated[slot(&o.out)] = Some(o.input.clone());
            }
            OperationIr::Float(_, FloatOperationIr::Matmul(o)) => {
                self.matrix[slot(&o.out)] = Some(step.clone());
            }
            _ => {}
        }
    }

    fn rewrite(&mut self, step: OperationIr) {
        use NumericOperationIr as N;
        match step {
            OperationIr::NumericFloat(dtype, N::Mul(o)) => self.product(dtype, o),
            OperationIr::NumericFloat(dtype, N::Add(o)) if o.lhs.id == o.rhs.id => {
                self.scaled(dtype, o.lhs, 2.0, o.out);
            }
            OperationIr::NumericFloat(dtype, N::Add(o)) => match self.sum_of_products(&o) {
                Some(pairs) => self.stacked_product(dtype, pairs, o.out),
                None => {
                    let o = self.narrow(o);
                    self.push(OperationIr::NumericFloat(dtype, N::Add(o)));
                }
            },
            OperationIr::NumericFloat(dtype, N::Sub(o)) => {
                let o = self.narrow(o);
                self.push(OperationIr::NumericFloat(dtype, N::Sub(o)));
            }
            OperationIr::NumericFloat(dtype, N::Div(o))
                if is_wide(dtype) && self.moves[slot(&o.lhs)] && !self.moves[slot(&o.rhs)] =>
            {
                let inverse = self.like(&o.rhs, o.rhs.shape.as_slice());
                let recip = FloatOperationIr::Recip(UnaryOpIr {
                    input: o.rhs,
                    out: inverse.clone(),
                });
                self.push(OperationIr::Float(dtype, recip));
                let o = BinaryOpIr { rhs: inverse, ..o };
                self.product(dtype, o);
            }
            OperationIr::NumericFloat(dtype, N::SumDim(o)) => self.sum(dtype, o),
            OperationIr::NumericFloat(_, N::SumDims(o)) if o.input.shape == o.out.shape => {
                self.stands_for[slot(&o.out)] = Some(o.input.id);
            }
            OperationIr::Activation(ActivationOperationIr::ReluBackward(o))
                if !self.moves[slot(&o.lhs)] =>
            {
                // A mask takes a quarter of the memory, and the tangent has the same.
                let dtype = o.lhs.dtype;
                let mut mask = self.like(&o.lhs, o.lhs.shape.as_slice());
                mask.dtype = self.bool_dtype.into();
                let zero = ScalarIr::Float(0.0);
                let compare = N::LowerEqualElem(ScalarOpIr {
                    lhs: o.lhs,
                    rhs: zero,
                    out: mask.clone(),
                });
                self.push(OperationIr::NumericFloat(dtype, compare));
                self.push(OperationIr::BaseFloat(BaseOperationIr::MaskFill(
                    MaskFillOpIr {
                        tensor: o.rhs,
                        mask,
                        value: zero,
                        out: o.out,
                    },
                )));
            }
            step => self.push(step),
        }
    }

    /// A product, of which a uniform factor is a number and what it spreads a view.
    fn product(&mut self, dtype: DType, o: BinaryOpIr) {
        let uniform = |tensor: &TensorIr| self.uniform[slot(tensor)];
        let (by, other) = match (uniform(&o.lhs), uniform(&o.rhs)) {
            (Some(by), _) => (by, &o.rhs),
            (None, Some(by)) => (by, &o.lhs),
            (None, None) => {
                let o = self.narrow(o);
                return self.push(OperationIr::NumericFloat(dtype, NumericOperationIr::Mul(o)));
            }
        };
        let other = other.clone();
        if other.shape == o.out.shape {
            return self.scaled(dtype, other, by, o.out);
        }
        let small = self.like(&other, other.shape.as_slice());
        self.scaled(dtype, other, by, small.clone());
        let id = self.stands_for[slot(&small)].unwrap_or(small.id);
        let input = TensorIr { id, ..small };
        let expand = ShapeOpIr { input, out: o.out };
        self.push(OperationIr::BaseFloat(BaseOperationIr::Expand(expand)));
    }

    fn scaled(&mut self, dtype: DType, tensor: TensorIr, by: f64, out: TensorIr) {
        if by == 1.0 {
            self.stands_for[slot(&out)] = Some(tensor.id);
            return;
        }
        let rhs = ScalarIr::Float(by);
        let lhs = tensor;
        let step = NumericOperationIr::MulScalar(ScalarOpIr { lhs, rhs, out });
        self.push(OperationIr::NumericFloat(dtype, step));
    }

    /// Lets an operation spread an operand itself.
    fn narrow(&self, mut o: BinaryOpIr) -> BinaryOpIr {
        let source = |tensor: &TensorIr| self.expanded[slot(tensor)].clone();
        if o.rhs.shape == o.out.shape
            && let Some(source) = source(&o.lhs)
        {
            o.lhs = source;
        } else if o.lhs.shape == o.out.shape
            && let Some(source) = source(&o.rhs)
        {
            o.rhs = source;
        }
        o
    }

    fn sum(&mut self, dtype: DType, o: ReduceDimOpIr) {
        if o.input.shape == o.out.shape {
            self.stands_for[slot(&o.out)] = Some(o.input.id);
            return;
        }
        if let Some(input) = self.negated[slot(&o.input)].clone() {
            let sum = self.like(&o.out, o.out.shape.as_slice());
            let out = sum.clone();
            let step = NumericOperationIr::SumDim(ReduceDimOpIr { input, out, ..o });
            self.push(OperationIr::NumericFloat(dtype, step));
            let negative = NumericOperationIr::Neg(UnaryOpIr {
                input: sum,
                out: o.out,
            });
            self.push(OperationIr::NumericFloat(dtype, negative));
            return;
        }
        if let Some((x, y)) = self.summed_products(&o) {
            return self.one_product(dtype, x, y, o.out);
        }
        self.push(OperationIr::NumericFloat(
            dtype,
            NumericOperationIr::SumDim(o),
        ));
    }

    /// The `x` and `y` of two products `xᵀ y` that are added, where stacking them moves less memory than
    /// adding.
    fn sum_of_products(&self, o: &BinaryOpIr) -> Option<[(TensorIr, TensorIr); 2]> {
        let pair = |tensor: &TensorIr| {
            let (x, y) = self.transposed_product(tensor)?;
            (x.shape.num_dims() == 2 && y.shape.num_dims() == 2).then_some((x, y))
        };
        let (first, second) = (pair(&o.lhs)?, pair(&o.rhs)?);
        let [m, n] = [o.out.shape[0], o.out.shape[1]];
        let rows = first.0.shape[0] + second.0.shape[0];
        (m * n > rows * (m + n)).then_some([first, second])
    }

    /// `x₁ᵀ y₁ + x₂ᵀ y₂` as one product.
    fn stacked_product(
        &mut self,
        dtype: DType,
        [(x, y), (u, v)]: [(TensorIr, TensorIr); 2],
        out: TensorIr,
    ) {
        let rows = x.shape[0] + u.shape[0];
        let [x, y] = [[x, u], [y, v]].map(|tensors| {
            let stacked = self.like(&tensors[0], &[rows, tensors[0].shape[1]]);
            let cat = CatOpIr {
                tensors: tensors.into(),
                dim: 0,
                out: stacked.clone(),
            };
            self.push(OperationIr::BaseFloat(BaseOperationIr::Cat(cat)));
            stacked
        });
        self.outer_product(dtype, x, y, out);
    }

    /// The `x` and `y` of a product `xᵀ y`.
    fn transposed_product(&self, tensor: &TensorIr) -> Option<(TensorIr, TensorIr)> {
        let matrix = |tensor: &TensorIr| self.matrix[slot(tensor)].as_ref();
        let Some(OperationIr::Float(_, FloatOperationIr::Matmul(product))) = matrix(tensor) else {
            return None;
        };
        let Some(OperationIr::BaseFloat(BaseOperationIr::SwapDims(swap))) = matrix(&product.lhs)
        else {
            return None;
        };
        let rank = swap.input.shape.num_dims();
        let (first, second) = (swap.dim1.min(swap.dim2), swap.dim1.max(swap.dim2));
        (first + 2 == rank && second + 1 == rank).then(|| (swap.input.clone(), product.rhs.clone()))
    }

    /// The `x` and `y` of a sum over the first dimension of products `xᵀ y`.
    fn summed_products(&self, o: &ReduceDimOpIr) -> Option<(TensorIr, TensorIr)> {
        let (x, y) = self.transposed_product(&o.input)?;
        let batched = x.shape.num_dims() == 3 && y.shape.num_dims() == 3;
        let alike = batched && x.shape[0] == y.shape[0] && x.shape[1] == y.shape[1];
        (o.axis == 0 && alike).then_some((x, y))
    }

    /// `xᵀ y` over all rows at once.
    fn one_product(&mut self, dtype: DType, x: TensorIr, y: TensorIr, out: TensorIr) {
        let rows = x.shape[0] * x.shape[1];
        let [x, y] = [x, y].map(|tensor| {
            let flat = self.like(&tensor, &[rows, tensor.shape[2]]);
            let step = ShapeOpIr {
                input: tensor,
                out: flat.clone(),
            };
            self.push(OperationIr::BaseFloat(BaseOperationIr::Reshape(step)));
            flat
        });
        let product = self.like(&out, &[x.shape[1], y.shape[1]]);
        self.outer_product(dtype, x, y, product.clone());
        let step = ShapeOpIr {
            input: product,
            out,
        };
        self.push(OperationIr::BaseFloat(BaseOperationIr::Reshape(step)));
    }

    /// `xᵀ y` of two matrices.
    fn outer_product(&mut self, dtype: DType, x: TensorIr, y: TensorIr, out: TensorIr) {
        let lhs = self.like(&x, &[x.shape[1], x.shape[0]]);
        let swap = SwapDimsOpIr {
            input: x,
            out: lhs.clone(),
            dim1: 0,
            dim2: 1,
        };
        self.push(OperationIr::BaseFloat(BaseOperationIr::SwapDims(swap)));
        let matmul = MatmulOpIr { lhs, rhs: y, out };
        self.push(OperationIr::Float(dtype, FloatOperationIr::Matmul(matmul)));
    }
}

/// Whether a quotient may be made a product.
fn is_wide(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}
