//! Lines of assembly that several stubs have in common: registers go to the stack and come back,
//! and unwinders are told.

/// Pushes registers, the first of them first.
macro_rules! push {
    ($($register:literal)*) => {
        concat!($("push ", $register, "\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset ", $register, ", 0\n"),*)
    };
}

/// Pops registers, the first of them first.
macro_rules! pop {
    ($($register:literal)*) => {
        concat!($("pop ", $register, "\n.cfi_adjust_cfa_offset -8\n.cfi_restore ", $register, "\n"),*)
    };
}

pub(super) use {pop, push};
