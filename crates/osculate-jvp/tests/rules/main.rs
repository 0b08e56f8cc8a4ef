//! Every rule against central differences in `f64`, and the symmetry of Hessians through it.

mod arithmetic;
mod elementwise;
mod harness;
mod layers;
mod reductions;
mod shapes;
