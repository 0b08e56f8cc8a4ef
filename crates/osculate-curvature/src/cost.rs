//! What a result cost, in passes through the model.

use core::iter::Sum;
use core::ops::{Add, AddAssign};

/// Forward and backward passes spent on a result.
///
/// The unit users compare is the *gradient evaluation*: one forward and one backward pass. A
/// backward pass is counted as two forward passes, the usual ratio for dense networks, so that a
/// forward-only estimate has a price in the same unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Forward passes through the model.
    pub forwards: u64,
    /// Backward passes through the model.
    pub backwards: u64,
}

impl Cost {
    /// Nothing was evaluated.
    pub const ZERO: Cost = Cost {
        forwards: 0,
        backwards: 0,
    };
    /// One forward pass.
    pub const FORWARD: Cost = Cost {
        forwards: 1,
        backwards: 0,
    };
    /// One forward and one backward pass.
    pub const GRADIENT: Cost = Cost {
        forwards: 1,
        backwards: 1,
    };

    /// The cost in gradient evaluations, `(forwards + 2 backwards) / 3`.
    ///
    /// ```
    /// use osculate_curvature::Cost;
    /// assert_eq!((Cost::GRADIENT + Cost::GRADIENT).gradient_evaluations(), 2.0);
    /// ```
    pub fn gradient_evaluations(self) -> f64 {
        (self.forwards + 2 * self.backwards) as f64 / 3.0
    }

    /// What was spent since `earlier`, a previous reading of the same counter.
    pub fn since(self, earlier: Cost) -> Cost {
        Cost {
            forwards: self.forwards - earlier.forwards,
            backwards: self.backwards - earlier.backwards,
        }
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            forwards: self.forwards + other.forwards,
            backwards: self.backwards + other.backwards,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(iter: I) -> Cost {
        iter.fold(Cost::ZERO, Add::add)
    }
}
