//! Contexts of execution on x86-64: the switch between two stacks, and the lines of assembly that
//! save registers.
//!
//! The kernel and the hosted platform switch by the same code, so the tests on the host test the
//! kernel's switch. The crate knows nothing of the scheduler.
//!
//! # Examples
//!
//! ```
//! use core::ptr::null_mut;
//! use trefoil_context::switch::{fresh, switch};
//!
//! struct Pair {
//!     here: usize,
//!     there: usize,
//!     seen: u32,
//! }
//!
//! unsafe extern "C" fn nothing(_: *mut (), _: *mut ()) {}
//!
//! unsafe extern "C" fn entry(pair: *mut ()) -> ! {
//!     let pair = pair.cast::<Pair>();
//!     // SAFETY: `pair` lives in the example, which waits for this context.
//!     unsafe {
//!         (*pair).seen = 7;
//!         switch(&raw mut (*pair).there, &raw const (*pair).here, nothing, null_mut(), null_mut());
//!     }
//!     unreachable!("nobody switches back")
//! }
//!
//! let mut stack = vec![0u128; 4096];
//! let mut pair = Pair { here: 0, there: 0, seen: 0 };
//! let it = &raw mut pair;
//! // SAFETY: the stack is this example's, and both contexts save themselves before the other runs.
//! unsafe {
//!     (*it).there = fresh(stack.as_mut_ptr_range().end.cast(), entry, it.cast());
//!     switch(&raw mut (*it).here, &raw const (*it).there, nothing, null_mut(), null_mut());
//! }
//! assert_eq!(pair.seen, 7);
//! ```
#![no_std]

pub mod registers;
pub mod switch;
