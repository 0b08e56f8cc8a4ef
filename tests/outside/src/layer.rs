use burn::tensor::DType;
use osculate_linalg::BlockPartition;
use osculate_optim::{BlockRule, Field, Joined, Parameter, RuleError, Stack, Stepped};

/// Momentum whose direction has a Frobenius norm of 1 over a whole layer: weight and bias of a linear
/// layer are one block `[W; b]`, every other parameter is its own.
///
/// ```text
/// M = β M + G        of [W; b], of shape [in + 1, out]
/// U = M / (|M|_F + 1e-12)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorms {
    /// Decay of the momentum, `β`.
    pub beta: f64,
}

impl BlockRule for LayerNorms {
    fn name(&self) -> &'static str {
        "layer-norms"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&[parameter.num_elements()], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        vec![Field::new("momentum", dims.iter().product(), compute)]
    }

    fn joins(&self, layer: &[Parameter]) -> Option<Joined> {
        let named = |name: &str| layer.iter().position(|own| own.name() == name);
        let (weight, bias) = (named("weight")?, named("bias")?);
        let &[inputs, outputs] = layer[weight].shape.as_slice() else {
            return None;
        };
        let joined = Joined {
            members: vec![(weight, [inputs, outputs]), (bias, [1, outputs])],
            axis: 0,
        };
        (&*layer[weight].layer == "Linear").then_some(joined)
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let momentum = stack.state.take("momentum")?.mul_scalar(self.beta) + stack.gradient.clone();
        // By the largest element first: squares leave the range of numbers long before they do.
        let largest = momentum.clone().abs().max_dim(1).add_scalar(1e-30);
        let scaled = momentum.clone() / largest.clone();
        let norm = scaled.square().sum_dim(1).sqrt() * largest;
        let direction = momentum.clone() / norm.add_scalar(1e-12);
        stack.state.put("momentum", momentum)?;
        Ok(Stepped::along(direction))
    }
}
