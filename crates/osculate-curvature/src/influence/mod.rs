//! What the loss of one sample owes to another.
//!
//! One convention throughout: a score is the *predicted change of the query's loss if the training
//! sample is removed*, in the unit of the loss. A positive score says that the sample helps.

mod agreement;
mod attack;
mod gradients;
mod removal;
mod scores;
mod trac_in;

pub use agreement::{Agreement, LeaveOneOut, leave_one_out};
pub use attack::{AttackConfig, membership_score};
pub use gradients::{output_jacobian, sample_gradients};
pub use removal::{RemovalConfig, removal_step};
pub use scores::{InfluenceScores, influence, influence_lissa, self_influence};
pub use trac_in::{Checkpoint, trac_in};

#[cfg(test)]
mod tests;
