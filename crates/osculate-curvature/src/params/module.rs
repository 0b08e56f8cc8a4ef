//! Reading parameters and gradients out of a module, and writing moved weights into a copy that
//! shares nothing with it.

use std::collections::HashSet;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{GradientCheckpointingStrategy, Gradients, Shape, Tensor};
use osculate_jvp::ModulePath;

use super::layout::{ParamEntry, ParamLayout};
use super::vector::ParamVec;
use crate::error::CurvatureError;

/// The autodiff state of one float tensor of a module, which does not survive `valid().train()`.
#[derive(Debug, Clone, Copy)]
struct Context {
    require_grad: bool,
    distributed: bool,
    checkpointing: Option<GradientCheckpointingStrategy>,
}

impl Context {
    fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        // burn panics when it is asked about the distribution of a tensor without autodiff.
        if !tensor.is_autodiff() {
            return Self {
                require_grad: false,
                distributed: false,
                checkpointing: None,
            };
        }
        Self {
            require_grad: tensor.is_require_grad(),
            distributed: tensor.is_distributed(),
            checkpointing: tensor.gradient_checkpointing_strategy(),
        }
    }

    /// Makes a leaf of `value`, tracked as the original was if `tracked`.
    fn restore<const D: usize>(self, value: Tensor<D>, id: ParamId, tracked: bool) -> Tensor<D> {
        let Some(strategy) = self.checkpointing else {
            return value.without_autodiff();
        };
        let mut leaf =
            Tensor::from_inner(value.inner()).with_gradient_checkpointing_strategy(strategy);
        if tracked && self.require_grad {
            leaf = leaf.require_grad();
            if self.distributed {
                leaf = leaf.set_distributed(id.val().into());
            }
        }
        leaf
    }
}

#[derive(Default)]
struct ContextVisitor {
    contexts: Vec<Context>,
    autodiff: bool,
}

impl ModuleVisitor for ContextVisitor {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        self.autodiff |= tensor.is_autodiff();
        self.contexts.push(Context::of(&tensor));
    }
}

/// A module's weights at one moment, from which independent probe models are made.
///
/// Batch normalisation keeps its running statistics behind a shared pointer that `clone` and `map`
/// do not break, and a plain tensor among its fields, which no visitor sees, may be on a tape; going through
/// evaluation mode and back parts a copy from both.
pub(crate) struct Snapshot<M> {
    detached: M,
    contexts: Vec<Context>,
    /// Whether any parameter is on autodiff. No probe is made of a model without it.
    autodiff: bool,
}

impl<M: Module> Snapshot<M> {
    pub(crate) fn new(model: &M) -> Self {
        let mut found = ContextVisitor::default();
        model.visit(&mut found);
        let detached = match found.autodiff {
            true => model.valid(),
            false => model.clone(),
        };
        Self {
            detached,
            contexts: found.contexts,
            autodiff: found.autodiff,
        }
    }

    /// A model with the same weights, or weights moved by `scale * offset`, that shares no state
    /// with any other. An untracked probe records no tape: it is for forward passes only.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] where the module lacks a parameter of the offset, and
    /// [`CurvatureError::NoGradient`] where none of its parameters is on autodiff.
    pub(crate) fn probe(
        &self,
        offset: Option<(&ParamVec, f64)>,
        tracked: bool,
    ) -> Result<M, CurvatureError> {
        if !self.autodiff {
            return Err(CurvatureError::NoGradient);
        }
        let mut rewriter = Rewriter {
            path: ModulePath::default(),
            visited: 0,
            contexts: Some(&self.contexts),
            tracked,
            rewrite: offset.map(|(vector, scale)| Rewrite::Offset { vector, scale }),
            next: 0,
            leaves: GradientsParams::new(),
        };
        let model = self.detached.clone().train().map(&mut rewriter);
        match offset.and_then(|(vector, _)| vector.layout().entries().get(rewriter.next)) {
            None => Ok(model),
            Some(entry) => Err(CurvatureError::LayoutMismatch {
                expected: "a model without it, or with its parameters in another order".to_string(),
                got: format!("a parameter {}", entry.path),
            }),
        }
    }

    /// Whether a backward pass can reach any tensor of the module.
    pub(crate) fn is_trained(&self) -> bool {
        self.contexts.iter().any(|context| context.require_grad)
    }

    /// The values of the parameters of `layout`.
    pub(crate) fn values(&self, layout: &Arc<ParamLayout>) -> ParamVec {
        ParamVec::of_module(&self.detached, layout)
    }
}

impl ParamVec {
    /// The values that a module has for the parameters of `layout`.
    ///
    /// # Panics
    /// If the module lacks a parameter of the layout.
    pub fn of_module<M: Module>(module: &M, layout: &Arc<ParamLayout>) -> Self {
        let mut reader = ValueReader {
            path: ModulePath::default(),
            layout,
            tensors: Vec::with_capacity(layout.len()),
        };
        module.visit(&mut reader);
        Self::new(layout.clone(), reader.tensors)
    }
}

/// Replaces the parameters of `values` in a module by the given values, as new leaves that keep
/// what autodiff needs to know of the old ones. Other parameters and all running statistics stay.
///
/// Parameters that share one identity (tied weights) keep sharing one tensor.
///
/// # Panics
/// If the module lacks a parameter of the layout.
pub fn assign<M: Module>(model: M, values: &ParamVec) -> M {
    let mut rewriter = Rewriter {
        path: ModulePath::default(),
        visited: 0,
        contexts: None,
        tracked: true,
        rewrite: Some(Rewrite::Value(values)),
        next: 0,
        leaves: GradientsParams::new(),
    };
    let model = model.map(&mut rewriter);
    assert_eq!(
        rewriter.next,
        values.layout().len(),
        "the module must have every parameter of the layout"
    );
    model
}

enum Rewrite<'a> {
    Offset { vector: &'a ParamVec, scale: f64 },
    Value(&'a ParamVec),
}

impl Rewrite<'_> {
    fn layout(&self) -> &ParamLayout {
        match self {
            Rewrite::Offset { vector, .. } | Rewrite::Value(vector) => vector.layout(),
        }
    }

    fn apply<const D: usize>(&self, index: usize, old: Tensor<D>) -> Tensor<D> {
        let shape = old.shape();
        match self {
            Rewrite::Offset { vector, scale } => {
                let offset = vector.tensors()[index].clone().cast(old.dtype());
                let offset = unflatten::<D>(offset, shape);
                if *scale == 1.0 {
                    old + offset
                } else {
                    old + offset.mul_scalar(*scale)
                }
            }
            Rewrite::Value(vector) => {
                let value = vector.tensors()[index].clone().cast(old.dtype());
                unflatten(value, shape)
            }
        }
    }
}

struct Rewriter<'a> {
    path: ModulePath,
    visited: usize,
    contexts: Option<&'a [Context]>,
    tracked: bool,
    rewrite: Option<Rewrite<'a>>,
    next: usize,
    /// Leaves made so far by identity, so that tied parameters stay one tensor.
    leaves: GradientsParams,
}

impl ModuleMapper for Rewriter<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let context = match self.contexts {
            Some(contexts) => contexts[self.visited],
            None => Context::of(&tensor),
        };
        self.visited += 1;

        let in_layout = self.rewrite.as_ref().filter(|rewrite| {
            rewrite
                .layout()
                .entries()
                .get(self.next)
                .is_some_and(|entry| entry.path == self.path.as_str())
        });
        let leaf = if let Some(rewrite) = in_layout {
            let value = rewrite.apply(self.next, tensor.inner());
            self.next += 1;
            let leaf = context.restore(value, id, self.tracked);
            self.leaves.register(id, leaf.clone());
            leaf
        } else if let Some(leaf) = self.leaves.get(id) {
            leaf
        } else if self.contexts.is_some() {
            let leaf = context.restore(tensor.inner(), id, self.tracked);
            if context.require_grad {
                self.leaves.register(id, leaf.clone());
            }
            leaf
        } else {
            tensor
        };
        Param::from_mapped_value(id, leaf, mapper)
    }
}

struct ValueReader<'a> {
    path: ModulePath,
    layout: &'a ParamLayout,
    tensors: Vec<Tensor<1>>,
}

impl ModuleVisitor for ValueReader<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let expected = self.layout.entries().get(self.tensors.len());
        if expected.is_some_and(|entry| entry.path == self.path.as_str()) {
            let value = param.val().inner();
            self.tensors.push(flatten(value));
        }
    }
}

/// All elements in one dimension.
fn flatten<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    // A length of zero would mean "as it was" to burn; -1 means "what is left".
    tensor.reshape([-1])
}

/// The elements of a flattened parameter in the parameter's own shape.
///
/// # Panics
/// If the shape has another number of elements.
pub fn unflatten<const D: usize>(tensor: Tensor<1>, shape: Shape) -> Tensor<D> {
    if shape.num_elements() == 0 {
        let at = (&tensor.device(), tensor.dtype());
        return Tensor::empty(shape, at);
    }
    tensor.reshape::<D, _>(shape)
}

/// Takes the gradients of a module's parameters out of a backward pass, in visiting order. The
/// first path of a tied parameter stands for all of them.
pub(crate) fn collect_gradients<M: Module>(model: &M, gradients: Gradients) -> ParamVec {
    collect(model, Source::Tape(gradients))
}

/// The same for gradients that were taken out before and are keyed by the parameters' identities.
pub(crate) fn collect_registered<M: Module>(model: &M, gradients: GradientsParams) -> ParamVec {
    collect(model, Source::Registered(gradients))
}

fn collect<M: Module>(model: &M, source: Source) -> ParamVec {
    let mut collector = Collector {
        path: ModulePath::default(),
        source,
        seen: HashSet::new(),
        entries: Vec::new(),
        tensors: Vec::new(),
    };
    model.visit(&mut collector);
    ParamVec::new(
        Arc::new(ParamLayout::new(collector.entries)),
        collector.tensors,
    )
}

enum Source {
    Tape(Gradients),
    Registered(GradientsParams),
}

impl Source {
    fn take<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        match self {
            // A tensor without autodiff has no gradient to ask for.
            Source::Tape(_) if !param.is_require_grad() => None,
            Source::Tape(gradients) => param.val().grad_remove(gradients),
            Source::Registered(gradients) => gradients.remove(param.id),
        }
    }
}

struct Collector {
    path: ModulePath,
    source: Source,
    seen: HashSet<ParamId>,
    entries: Vec<ParamEntry>,
    tensors: Vec<Tensor<1>>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.seen.contains(&param.id) {
            return;
        }
        let Some(gradient) = self.source.take(param) else {
            return;
        };
        self.seen.insert(param.id);
        let entry = ParamEntry {
            path: self.path.as_str().to_string(),
            id: param.id,
            shape: gradient.shape(),
            dtype: gradient.dtype(),
            device: gradient.device(),
        };
        self.tensors.push(flatten(gradient));
        self.entries.push(entry);
    }
}
