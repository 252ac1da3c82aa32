//! Contexts of execution on x86-64: the switch between two stacks, and the lines of assembly that
//! save registers.
//!
//! The kernel and the hosted platform switch by the same code, so the tests on the host test the
//! kernel's switch. The crate knows nothing of the scheduler.
#![no_std]

pub mod registers;
pub mod switch;
