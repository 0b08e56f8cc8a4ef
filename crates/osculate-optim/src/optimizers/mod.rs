//! The methods, a file or a folder each.

pub(crate) mod adahessian;
pub(crate) mod kl;
mod kronecker;
pub(crate) mod momentum;
pub(crate) mod muon;
pub(crate) mod psgd;
pub(crate) mod sassha;
pub(crate) mod shampoo;
pub(crate) mod soap;
pub(crate) mod sophia;
