//! Problems with known derivatives.
