//! `make sample`: where a program's processors are, looked at again and again while it runs.
//!
//! QEMU has a second connection for this, its monitor (QMP, on a Unix socket). A look is three
//! commands: `stop`, `info registers -a`, `cont`. QEMU need not keep the `rip` of a running machine
//! up to date; a stopped one is between two blocks of translated code, and its `rip` is right. The
//! machine's clock stands still meanwhile, so that a program measures about the same times as
//! without being looked at. Code with interrupts off is seen like any other.

mod profile;
mod registers;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cargo_trefoil::qemu::Settings;
use cargo_trefoil::run;
use cargo_trefoil::symbols::Symbols;

pub use profile::Profile;
pub use registers::{Sample, registers};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Rows of the table; the others are added up.
const ROWS: usize = 30;

/// Runs `image`, looks where its processors are until it ends, and prints the table. Returns what
/// the program's exit is to the shell.
///
/// # Errors
/// QEMU can't be started, or its monitor is not reached.
pub fn sample(image: &Path, words: &[String], settings: &Settings) -> Result<u8, String> {
    let (code, samples) = look(image, words, settings, &mut run::Terminal)?;
    let mut symbols = Symbols::new(image);
    let functions = Profile::new(&samples, |address| symbols.function(address));
    let inlined = Profile::new(&samples, |address| symbols.innermost(address));
    println!("\n{}", functions.show_processors());
    println!(
        "Functions, with what is inlined into them; percent of the samples at work:\n{}",
        functions.show_functions(ROWS)
    );
    println!("The same by the function that the code was written in:\n{}", inlined.show_functions(ROWS));
    Ok(code)
}

/// Takes the samples as [`sample`] does, without the table.
///
/// # Errors
/// The same.
pub fn look(
    image: &Path,
    words: &[String],
    settings: &Settings,
    out: &mut dyn run::Output,
) -> Result<(u8, Vec<Sample>), String> {
    let socket = Socket(std::env::temp_dir().join(format!("trefoil-monitor-{}", std::process::id())));
    let mut settings = settings.clone();
    settings.extra.extend(["-qmp".into(), format!("unix:{},server=on,wait=off", socket.0.display())]);
    let over = Arc::new(AtomicBool::new(false));
    let sampler = {
        let (path, over) = (socket.0.clone(), over.clone());
        std::thread::spawn(move || Monitor::connect(&path, &over).map(Monitor::look_until_it_ends))
    };
    let code = run::run(image, words, &settings, out);
    over.store(true, Ordering::Relaxed);
    let samples = sampler.join().map_err(|_| "the sampler panicked")?;
    Ok((code?, samples.ok_or("QEMU's monitor was not reached")?))
}

/// A socket's file, which is removed in the end.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// QEMU's monitor: a command a line, and for each a line that begins with `{"return"` or
/// `{"error"`. Others are events.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    /// Connects as soon as QEMU listens. None if the machine is over before.
    fn connect(path: &Path, over: &AtomicBool) -> Option<Self> {
        while !over.load(Ordering::Relaxed) {
            if let Ok(stream) = UnixStream::connect(path) {
                let mut monitor = Self(BufReader::new(stream));
                monitor.execute("qmp_capabilities", "")?;
                return Some(monitor);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Returns the answer to a command; `None` if QEMU is gone or refuses.
    fn execute(&mut self, command: &str, arguments: &str) -> Option<String> {
        let line = format!("{{\"execute\":\"{command}\"{arguments}}}\n");
        self.0.get_mut().write_all(line.as_bytes()).ok()?;
        loop {
            let mut answer = String::new();
            if self.0.read_line(&mut answer).ok()? == 0 || answer.starts_with("{\"error\"") {
                return None;
            }
            if answer.starts_with("{\"return\"") {
                return Some(answer);
            }
        }
    }

    /// Finds where all processors are.
    fn look(&mut self) -> Option<Vec<Sample>> {
        self.execute("stop", "")?;
        let text = self.execute("human-monitor-command", r#","arguments":{"command-line":"info registers -a"}"#)?;
        self.execute("cont", "")?;
        Some(registers(&text.replace("\\r", "").replace("\\n", "\n")))
    }

    fn look_until_it_ends(mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        while let Some(seen) = self.look() {
            samples.extend(seen);
            std::thread::sleep(PAUSE);
        }
        samples
    }
}
