//! All passes of a step see one dropout mask, and every step has a mask of its own.
//!
//! The CPU backends have one random generator for the whole program, so these tests are a program of
//! their own and take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{Criterion, Drawing, Objective, ObjectiveError, SupervisedObjective};
use osculate_optim::ClosureOptimizer;
use osculate_optim::StepPolicy;
use osculate_problems::modules::{Mlp, MlpConfig, cast, seeded};
use osculate_tests::model::{labels, wave};
use osculate_tests::subject::Subject;
use osculate_tests::{for_each_optimizer, on_every_backend};

const ROWS: usize = 12;

static GENERATOR: Mutex<()> = Mutex::new(());

/// A network and a dropout layer whose mask is written down at every pass.
struct Masked {
    images: Tensor<2>,
    criterion: Criterion,
    dropout: Dropout,
    masks: Rc<RefCell<Vec<Vec<f64>>>>,
}

impl SupervisedObjective<Mlp> for Masked {
    fn outputs(&self, model: &Mlp) -> Tensor<2> {
        let mask = self.dropout.forward(self.images.ones_like());
        self.masks
            .borrow_mut()
            .push(mask.clone().into_data().iter::<f64>().collect());
        model.forward(self.images.clone() * mask)
    }

    fn criterion(&self) -> &Criterion {
        &self.criterion
    }
}

impl Objective<Mlp> for Masked {
    fn loss(&self, model: &Mlp) -> Result<Tensor<1>, ObjectiveError> {
        let outputs = self.outputs(model);
        self.criterion.loss(outputs).map_err(ObjectiveError::new)
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<Mlp>> {
        Some(self)
    }
}

fn one_mask_a_step(make: fn(StepPolicy) -> Subject<Mlp>, device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let config = MlpConfig::new(vec![8, 6, 10]).with_dropout(0.3);
    let mut model = cast(seeded(config.init(device), 2), dtype);
    let mut optimizer = make(StepPolicy::new());
    let masks = Rc::new(RefCell::new(Vec::new()));
    let mut first = Vec::new();
    for step in 0..3 {
        let data = TensorData::new(wave(ROWS * 8, step as f64), [ROWS, 8]);
        let masked = {
            let (device, masks) = (device.clone(), masks.clone());
            move || Masked {
                images: Tensor::from_data(data.clone(), (&device, dtype)),
                criterion: Criterion::cross_entropy(labels(ROWS, 10, &device)),
                dropout: DropoutConfig::new(0.4).init(),
                masks: masks.clone(),
            }
        };
        let objective = Drawing::new(Box::new(masked()), move |_| Ok(Box::new(masked())));
        model = optimizer
            .step(1e-3, model, &objective)
            .expect("a step")
            .model;
        let seen = masks.take();
        assert!(seen.iter().flatten().any(|x| *x == 0.0), "nothing dropped");
        assert!(
            seen.iter().all(|mask| mask == &seen[0]),
            "{}: {} passes saw different masks",
            optimizer.name(),
            seen.len()
        );
        first.push(seen[0].clone());
    }
    assert_ne!(first[0], first[1]);
    assert_ne!(first[1], first[2]);
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                one_mask_a_step($make, device, dtype)
            });
        }
    };
}

for_each_optimizer!(suite);
