//! One of each role of a driver, as a stranger's crate would add it: they use what
//! `osculate-optim` publishes, and nothing else.
//!
//! | role | here |
//! |---|---|
//! | `BlockRule` | [`ClippedNewton`], with named state, curvature and weight decay |
//! | `BlockRule` over a layer's `[W b]` | [`LayerNorms`] |
//! | `VectorRule` | [`Normalised`] |
//! | `GradientSource` | [`PastExtragradient`] |
//! | `CurvatureSource` | [`SeveralProbes`] |
//! | `StepSize` | [`AfterRise`] |
//! | `Averaging` | [`TailMean`] |
//! | `OptimizerRow` | [`register`] |

mod averaging;
mod block;
mod curvature;
mod gradient;
mod layer;
mod row;
mod step_size;
mod vector;

pub use averaging::TailMean;
pub use block::{ClippedNewton, ClippedNewtonConfig};
pub use curvature::SeveralProbes;
pub use gradient::PastExtragradient;
pub use layer::LayerNorms;
pub use row::register;
pub use step_size::AfterRise;
pub use vector::Normalised;
