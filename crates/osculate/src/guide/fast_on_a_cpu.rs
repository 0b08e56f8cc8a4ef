//! What makes training fast on a CPU, and what is left to you.
//!
//! # What to choose
//!
//! - **AVX-512.** burn's CPU backend, flex, multiplies with 256-bit instructions unless it is built with its feature
//!   `x86-v4`, which this crate passes on under the same name. It looks for the processor's abilities at run time, so
//!   it is safe everywhere; last digits then depend on the processor. `cargo run --release --features x86-v4` builds the
//!   benchmark with it.
//! - **The allocator.** Every operation makes a new tensor. glibc gives large blocks back to the system and faults
//!   them in again in the next step; mimalloc keeps them. The programs of this workspace use it:
//!   `#[global_allocator] static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;`.
//! - **Threads.** Products of 512 and more gain by two threads, small ones lose. To train several models, or
//!   one with several settings, run one process a core with `RAYON_NUM_THREADS=1` each, as `osculate race`, `tune` and
//!   `study` do, and measure times apart.
//! - **The profile.** `opt-level = 3`, as in release. In development, give dependencies at least
//!   `[profile.dev.package."*"] opt-level = 1`: without it flex takes a hundred times as long. `lto = "off"` builds
//!   in a quarter less time, but the gradient of a small convolutional network takes 1.7 times as long, because flex's
//!   kernels are spread over several units; with `[profile.release.package.burn-flex] codegen-units = 1` beside it it
//!   takes what it takes by default. This workspace is built so.
//!
//! # What the optimizers do
//!
//! - Products that are known to be symmetric (`G Gᵀ`, `QᵀQ`, the first two of the three products in a step of Muon's
//!   iteration) are made by half, by `faer` on the host, from about 200 rows on.
//! - Stacks of equal matrices are stepped side by side, one a core; a single large matrix uses all cores in its
//!   products.
//! - Refreshes of preconditioners take turns over matrices and sides, and bases and roots are written only then.
//! - On CPUs flags are read as they are made, which waits for nothing there, and nothing is masked where all are set.
//!
//! Products of a step for one matrix of `n x n`, in whole products; a half counts as 0.6:
//!
//! | method | every step | a refresh, every tenth step |
//! |---|---|---|
//! | Muon | 5 (2 · 0.6 + 1) = 11 | |
//! | Shampoo | 2 · 0.6 + 2 = 3.2 | 2 eigendecompositions of about `9 n³` each, and 2 · 0.6 |
//! | SOAP | 2 · 0.6 + 4 = 5.2 | 2 products, 2 QR factorisations of about `8 n³ / 3`, 4 for the moment |
//! | KL-SOAP | 2 · 0.6 + 6 = 7.2 | as SOAP |
//! | KL-Shampoo | 2 · 0.6 + 8 = 9.2 | 2 products, 2 QR factorisations |
//! | PSGD-Kron | 6 · 0.6 + 10 = 13.6 | |
//!
//! `cargo bench -p osculate-benches --bench kronecker_steps` prints steps in milliseconds and in products of the same
//! matrices, measured in turns.
//!
//! # What costs time in burn's CPU backend
//!
//! Masks. `new.mask_where(flag.expand([1, 262144]), old)` with one flag takes several times as long as `new + old`
//! of the same rows (the bench above prints how many), because flex visits a mask element by element. The smallest
//! case:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::flex();
//! let (new, old) = (Tensor::<2>::ones([1, 1 << 18], &device), Tensor::<2>::zeros([1, 1 << 18], &device));
//! let flag = Tensor::<2>::zeros([1, 1], &device).equal_elem(1.0);
//! let kept = new.mask_where(flag.expand([1, 1 << 18]), old);
//! assert_eq!(kept.sum().into_scalar::<f32>(), (1 << 18) as f32);
//! ```
//!
//! Fills. `x.mask_fill(mask, 0.0)` is made in place where nobody else holds `x`, with a branch for each element that a
//! mask of a ReLU makes unpredictable, and by vector instructions into a new tensor where somebody does: clone `x`
//! before, and drop the clone after. Hessian products of a convolutional network got a tenth faster by it.
//!
//! Average pooling's backward pass tests its bounds for every element, also where windows tile the image. A broadcast
//! `grad.reshape([n, c, h, 1, w, 1]) * ones([1, 1, 1, kh, 1, kw])` takes a quarter of its time.
//!
//! Where you write rules of your own for CPUs, multiply by a coefficient or look at the flag instead.
