//! The attributes of a program: [`macro@main`] names its first goroutine, and [`macro@test`] a test
//! that boots the machine. Crate `trefoil` has both.
//!
//! ```text
//!   #[trefoil::main] fn main ──▶ the symbols `__trefoil_main` and `__trefoil_main_stack`, which the
//!                                kernel's first goroutine calls and obeys
//!   #[trefoil::test] fn case ──▶ a line in the section `.trefoil.tests`, which the runner reads: how
//!                                the image is booted for the case, and the right outcome
//!                            ──▶ a `Case` in the section `.trefoil.cases`, in which the kernel's own
//!                                `main` of test images finds the function
//! ```
//!
//! On the host, crate `trefoil-hosted` stands in for `trefoil`; there [`macro@hosted_test`] is its
//! attribute `test`, with the same options.

mod entry;
mod options;
mod testing;

use proc_macro::TokenStream;

/// Makes a function the program's first goroutine. When it returns, the machine stops, and its
/// result is the exit status; when it panics, the machine stops with a report and a failing status.
///
/// The function has no parameters, and is named `main` by custom. Its value is `()`, an `ExitCode`,
/// a `Result` of one of them with an error that is `Debug`, or anything else that is `Termination`.
/// An `async fn` is run by `block_on`.
///
/// `#[trefoil::main(stack = BYTES)]` lets its stack grow so far: a constant expression, from 1 byte
/// to 1 GiB, 256 KiB unless told. Nothing of it is backed by memory until it is used. The option
/// `stack=SIZE` on the kernel's command line (`stack=4M`) overrides it. An overflow of this stack
/// ends the machine: without `main` the other goroutines run for nothing.
///
/// ```ignore
/// #![no_std]
/// #![no_main]
/// use trefoil::prelude::*;
///
/// #[trefoil::main(stack = 4 << 20)]
/// fn main() -> Result<(), JoinError> {
///     let numbers = [1u8; 1 << 20]; // on the stack
///     let sum = go(move || numbers.iter().map(|&n| u64::from(n)).sum::<u64>()).join()?;
///     println!("{sum}");
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::main(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function a test that boots the machine. The test passes if the function returns `()`,
/// success or `Ok`.
///
/// The file is an integration test of the package (`tests/NAME.rs`, `harness = false` in
/// `Cargo.toml`), `no_std` and `no_main`, and needs no `main` of its own. The machine boots once
/// for each test, and `cargo test` prints what libtest would. Names, `--nocapture`, `--ignored`,
/// `--exact`, `--skip` and `--list` work as there, and so does `#[ignore]`.
///
/// | option | meaning | unless told |
/// |---|---|---|
/// | `smp = N`, `smp = [1, 2, 4]` | cores; a boot for each number | 4 |
/// | `mem = "1G"` | memory | 256M |
/// | `machine = "pc"` | QEMU's machine | q35 |
/// | `timeout = SECONDS` | the limit of a boot | 60 |
/// | `icount` | instructions are counted, one is a nanosecond of the clock | – |
/// | `append = "slice=50"` | kernel options | – |
/// | `stdin = "text\n"` | the typed text | – |
/// | `input = "FILE"` | the file of `runtime::input()` | – |
/// | `should_panic`, `should_panic = "text"` | a panic of the function is right, with that text in the report | – |
/// | `expect = "text"` | the output has this text; may stand several times | – |
///
/// ```ignore
/// #[trefoil::test(smp = [1, 4], timeout = 20)]
/// fn a_join_gives_the_value() {
///     assert_eq!(go(|| 6 * 7).join().unwrap(), 42);
/// }
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    testing::on_the_machine(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function a test on the host: it runs as the first goroutine of a scheduler on std
/// threads. `smp = N` is the number of P's (4 unless told), and for a list there is a test for each
/// number; `timeout` and `should_panic` are as in [`macro@test`]. The machine's other options are
/// refused: such a test wants the machine.
///
/// ```ignore
/// #[trefoil::test]
/// fn a_join_gives_the_value() {
///     assert_eq!(go(|| 6 * 7).join().unwrap(), 42);
/// }
/// ```
#[proc_macro_attribute]
pub fn hosted_test(options: TokenStream, item: TokenStream) -> TokenStream {
    testing::on_the_host(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
