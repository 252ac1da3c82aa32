//! The `main` of a program that consists of `#[trefoil::test]`s. Its word names the test that runs.
//!
//! Each attribute puts a [`Case`] into the section `.trefoil.cases`. The linker script gives the
//! program this `main` if it has none of its own.

use crate::println;
use crate::runtime;
use trefoil_sched::spawn::DEFAULT_STACK;

/// A test.
#[derive(Debug)]
pub struct Case {
    /// Its path, the crate's name included.
    pub name: &'static str,
    /// Runs it, and returns the exit status.
    pub run: fn() -> u8,
}

unsafe extern "Rust" {
    /// The section's first byte, by the linker script.
    static __trefoil_cases_start: Case;
    /// The first byte behind the section, by the same.
    static __trefoil_cases_end: Case;
}

#[unsafe(no_mangle)]
static __TREFOIL_TEST_STACK: usize = DEFAULT_STACK;

/// Runs the case that the last word names.
#[unsafe(no_mangle)]
fn __trefoil_test_main() -> u8 {
    let (first, end) = (&raw const __trefoil_cases_start, &raw const __trefoil_cases_end);
    let len = (end.addr() - first.addr()) / size_of::<Case>();
    // SAFETY: the linker script gathers the `Case`s of all `#[trefoil::test]`s between these
    // symbols, and nothing else. Their size is a multiple of their alignment, so there are no gaps.
    let cases = unsafe { core::slice::from_raw_parts(first, len) };
    let name = runtime::args().last().unwrap_or_default();
    match cases.iter().find(|case| case.name == name) {
        Some(case) => (case.run)(),
        None => {
            println!("trefoil: no test {name:?}; there are:");
            cases.iter().for_each(|case| println!("  {}", case.name));
            1
        }
    }
}
