//! The `log` crate's macros on the console: `[    0.001234] G 7 "name" INFO target: message`, each
//! record as whole lines.
//!
//! A program calls [`init`] once; unused parts are not in its image. The level is that of the
//! command line: `log=debug`.

use alloc::format;

use log::{LevelFilter, Log, Metadata, Record};
use trefoil_boot::options::LEVELS;
use trefoil_sched::PreemptGuard;

use super::{console, options};
use crate::arch::{clock, image, percpu};
use crate::report::Who;

struct Console;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = clock::now() / 1000;
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        let (level, target, text) = (record.level(), record.target(), record.args());
        // The line is made before the port's lock is taken: a logged value may run any code.
        let line = match percpu::current_g() {
            Some(g) => format!("[{seconds:5}.{micros:06}] {} {level} {target}: {text}", Who(g)),
            None => format!("[{seconds:5}.{micros:06}] {level} {target}: {text}"),
        };
        console::say(format_args!("{line}"));
    }

    fn flush(&self) {}
}

/// Sends the records of the `log` crate's macros to the console, from the level on that the command
/// line names (`log=off`, `error`, `warn`, `info`, `debug`, `trace`; `info` unless told). A value
/// that is none of these is named on the console and skipped. (In a program that does not call this
/// function, boot says so of any value.) Again, or after another logger was
/// set: does nothing. Not for handlers, nor is logging.
///
/// # Examples
/// A program with `log = { version = "0.4", default-features = false }` among its dependencies:
/// ```ignore
/// trefoil::log::init();
/// log::info!("listening"); // [    0.001234] G 1 "main" INFO my_app: listening
/// ```
pub fn init() {
    // To the end: the facade's mark "a logger is being set" has no owner, and without a level
    // nothing would ever be logged.
    let _guard = PreemptGuard::new();
    image::has_logger();
    if log::set_logger(&Console).is_ok() {
        let level = options::late("log", LEVELS, level);
        log::set_max_level(level.unwrap_or(LevelFilter::Info));
    }
}

fn level(name: &[u8]) -> Option<LevelFilter> {
    LevelFilter::iter().find(|level| level.as_str().as_bytes().eq_ignore_ascii_case(name))
}
