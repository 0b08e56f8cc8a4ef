//! Groups, driven by a rule that notes them.

use std::sync::{Arc, Mutex};

use burn::module::{Module, Param, ParamId};
use burn::tensor::TensorData;

use super::*;
use osculate_linalg::BlockPartition;

use crate::engine::{RuleError, Stepped};
use crate::parameter::Parameter;
use crate::{ClosureOptimizer, Driver, StatefulOptimizer};

/// Gradient descent that notes the sizes of its stacks.
#[derive(Debug, Clone)]
struct Watched {
    stacks: Arc<Mutex<Vec<usize>>>,
    block: usize,
}

impl Watched {
    fn new(block: usize) -> Self {
        Self {
            stacks: Arc::default(),
            block,
        }
    }
}

impl BlockRule for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&parameter.shape, self.block)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        vec![Field::new("m", dims.iter().product(), compute)]
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        self.stacks.lock().unwrap().push(stack.len());
        let noise = stack.gaussian(5, stack.block_len()).mul_scalar(0.1);
        let m = stack.state.take("m")?.mul_scalar(0.9) + stack.gradient.clone() + noise;
        stack.state.put("m", m.clone())?;
        Ok(Stepped::along(m))
    }
}

#[derive(Module, Debug)]
struct Net {
    weights: Vec<Param<Tensor<2>>>,
}

fn net(sizes: &[usize]) -> Net {
    let device = Device::flex().autodiff();
    let weights = sizes.iter().enumerate().map(|(index, &n)| {
        let values = (0..n * n).map(|i| ((i + index) as f32 * 0.7).sin());
        let data = TensorData::new(values.collect::<Vec<f32>>(), [n, n]);
        let weight = Tensor::<2>::from_data(data, &device);
        Param::initialized(ParamId::new(), weight.require_grad())
    });
    Net {
        weights: weights.collect(),
    }
}

fn values(net: &Net) -> Vec<Vec<f32>> {
    let weights = net.weights.iter();
    weights
        .map(|weight| weight.val().into_data().iter().collect())
        .collect()
}

/// Half the sum of squares, each weight's times a factor; without the weights whose factor is 0.
fn loss(net: &Net, factors: &[f64]) -> Tensor<1> {
    let weights = net.weights.iter().zip(factors);
    let weights = weights.filter(|(_, factor)| **factor != 0.0);
    let terms = weights.map(|(weight, factor)| weight.val().square().sum().mul_scalar(*factor));
    terms.reduce(|a, b| a + b).unwrap().mul_scalar(0.5)
}

#[test]
fn large_blocks_are_stepped_in_groups_of_their_own() {
    let sizes = [256, 8, 256, 200, 8, 256, 200, 200, 384];
    let rule = Watched::new(256);
    let mut optimizer = Driver::of_blocks(rule.clone());
    let objective = |net: &Net| loss(net, &[1.0; 9]);
    optimizer.step(0.5, net(&sizes), &objective).unwrap();
    let mut stacks = rule.stacks.lock().unwrap().clone();
    stacks.sort_unstable();
    // Of 256, three and the first of the last weight's alone, whose other blocks have shapes of their
    // own; of 200, two together before the third; of 8, both together.
    assert_eq!(stacks, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2]);
}

#[test]
fn parted_stacks_step_as_each_weight_alone() {
    // Blocks of 128 x 128, four to a group: 4 of the first weight, 1, 9, 1, and others at the rims.
    let sizes = [256, 128, 384, 130];
    let factors = |step: usize| match step {
        2 => [1.0, 0.0, 1.0, 1.0],
        3 => [1.0, 1.0, f64::NAN, 1.0],
        _ => [1.0, 2.0, 3.0, 4.0],
    };
    let rule = Watched::new(128);
    let make = || Driver::of_blocks(rule.clone());
    let mut together = make();
    let mut alone: Vec<Driver> = sizes.iter().map(|_| make()).collect();
    let mut model = net(&sizes);
    let mut models: Vec<Net> = (0..sizes.len()).map(|_| net(&sizes)).collect();
    for step in 0..6 {
        let factors = factors(step);
        let objective = |net: &Net| loss(net, &factors);
        model = together.step(0.1, model, &objective).unwrap().model;
        if step == 3 {
            let record = together.to_record();
            together = make();
            together.load_record(record).unwrap();
        }
        for (index, optimizer) in alone.iter_mut().enumerate() {
            let mut only = [0.0; 4];
            only[index] = factors[index];
            if only[index] != 0.0 {
                let objective = |net: &Net| loss(net, &only);
                let own = models.remove(index);
                let own = optimizer.step(0.1, own, &objective).unwrap().model;
                models.insert(index, own);
            }
        }
    }
    let together = values(&model);
    for (index, own) in models.iter().enumerate() {
        assert_eq!(together[index], values(own)[index], "weight {index}");
    }
    let largest = rule.stacks.lock().unwrap().iter().copied().max();
    assert_eq!(largest, Some(4));
}
