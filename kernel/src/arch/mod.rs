//! The machine. One architecture so far; everything above names it `crate::arch`.
mod x86_64;
pub use x86_64::*;
