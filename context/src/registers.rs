//! Lines of assembly that several stubs have in common: registers go to the stack and come back,
//! and unwinders are told.

/// Pushes registers, the first of them first.
#[doc(hidden)]
#[macro_export]
macro_rules! push {
    ($($register:literal)*) => {
        concat!($("push ", $register, "\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset ", $register, ", 0\n"),*)
    };
}

/// Pops registers, the first of them first.
#[doc(hidden)]
#[macro_export]
macro_rules! pop {
    ($($register:literal)*) => {
        concat!($("pop ", $register, "\n.cfi_adjust_cfa_offset -8\n.cfi_restore ", $register, "\n"),*)
    };
}

#[doc(inline)]
pub use crate::{pop, push};
