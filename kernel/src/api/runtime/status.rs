//! The exit status, and the values that `main` may return.

use core::convert::Infallible;
use core::fmt::Debug;

use crate::arch::exit::{FAILURE, SUCCESS};
use crate::println;

/// The status that the shell gets from the runner: as `std::process::ExitCode`.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// use trefoil::runtime::ExitCode;
///
/// #[trefoil::main]
/// fn main() -> ExitCode {
///     let complete = go(|| true).join().unwrap();
///     if complete { ExitCode::SUCCESS } else { ExitCode::from(3) }
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// All went well: 0.
    pub const SUCCESS: Self = Self(SUCCESS);
    /// Something failed: 1.
    pub const FAILURE: Self = Self(FAILURE);
}

/// Makes a status from a number of 0 to 127. Any other number becomes 1.
impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        if code < 128 { Self(code) } else { Self::FAILURE }
    }
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code.0
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that `main` or a test can return",
    note = "they return (), ExitCode, a Result of one of these with an error that is Debug, or your own Termination"
)]
/// The values that `main` may return: as `std::process::Termination`.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// use trefoil::runtime::{ExitCode, Termination};
///
/// struct Found(usize);
///
/// impl Termination for Found {
///     fn report(self) -> ExitCode {
///         if self.0 > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
///     }
/// }
///
/// #[trefoil::main]
/// fn main() -> Found {
///     Found("some words".split(' ').count())
/// }
/// ```
pub trait Termination {
    /// Returns the exit status; says what went wrong.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # use trefoil::runtime::{ExitCode, Termination};
    /// # #[trefoil::main]
    /// # fn main() {
    /// assert_eq!(Err::<(), _>("nothing found").report(), ExitCode::FAILURE); // prints Error: "nothing found"
    /// # }
    /// ```
    fn report(self) -> ExitCode;
}

impl Termination for () {
    #[inline]
    fn report(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

impl Termination for Infallible {
    fn report(self) -> ExitCode {
        match self {}
    }
}

impl Termination for ExitCode {
    fn report(self) -> ExitCode {
        self
    }
}

impl<T: Termination, E: Debug> Termination for Result<T, E> {
    fn report(self) -> ExitCode {
        match self {
            Ok(value) => value.report(),
            Err(error) => {
                println!("Error: {error:?}");
                ExitCode::FAILURE
            }
        }
    }
}
