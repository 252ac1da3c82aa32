//! Standard output, for code that wants a writer.

use core::fmt::{self, Write};

use crate::api::console;

/// The console as a writer. Made by [`stdout`].
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// fn report(out: &mut impl core::fmt::Write) -> core::fmt::Result {
///     out.write_str("all is well\n")
/// }
/// let mut out: runtime::Stdout = runtime::stdout();
/// report(&mut out).unwrap();
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Stdout(());

/// Returns the console as a writer, for `writeln!` and the like. A write does what
/// [`print!`](crate::print) does: each goroutine has an unfinished line of its own, and only whole
/// lines leave. A write parks while the console has no room, and never fails.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let mut out = runtime::stdout();
/// write!(out, "{} and ", 1).unwrap();
/// writeln!(out, "{}", 2).unwrap(); // one line
/// writeln!(runtime::stdout(), "{}", 3).unwrap();
/// # }
/// ```
pub fn stdout() -> Stdout {
    Stdout(())
}

impl Stdout {
    /// Writes formatted text: `write!` and `writeln!` call this, also where
    /// [`Write`](core::fmt::Write) is not imported.
    ///
    /// # Errors
    /// Never.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// runtime::stdout().write_fmt(format_args!("{}\n", 1)).unwrap();
    /// # }
    /// ```
    pub fn write_fmt(&self, text: fmt::Arguments<'_>) -> fmt::Result {
        console::print(text);
        Ok(())
    }
}

impl Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_fmt(format_args!("{text}"))
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        Self::write_fmt(self, text)
    }
}
