//! Runs an image to its end: streams the serial line, symbolises backtraces, maps exit codes, and
//! leaves no QEMU behind.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::feed::{Feed, XON};
use crate::qemu::Settings;
use crate::symbols::Symbols;

/// The exit code of a run that was stopped at its time limit.
pub const EXIT_TIMEOUT: u8 = 124;

/// Where a machine's output goes.
pub trait Output {
    /// Takes bytes of the serial line, and text that is added to them.
    fn write(&mut self, bytes: &[u8]);
}

/// Straight through to standard output.
#[derive(Debug)]
pub struct Terminal;

impl Output for Terminal {
    fn write(&mut self, bytes: &[u8]) {
        let mut out = std::io::stdout();
        let _ = out.write_all(bytes);
        let _ = out.flush();
    }
}

impl Output for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Becomes `file`: for what is no image. Returns only if that fails.
pub fn execute(file: &Path, args: &[OsString]) -> String {
    format!("{}: {}", file.display(), Command::new(file).args(args).exec())
}

/// A QEMU that is killed with its owner.
pub(crate) struct Machine(pub(crate) Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `command` so that it dies with this process.
pub(crate) fn spawn(mut command: Command, stdin: Stdio) -> Result<Machine, String> {
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::inherit());
    // SAFETY: `prctl` and `signal` are async-signal-safe and touch only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        })
    };
    command.spawn().map(Machine).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            "qemu-system-x86_64 is not installed; on Debian: apt-get install qemu-system-x86".into()
        }
        _ => format!("qemu-system-x86_64: {e}"),
    })
}

/// Boots `image` and waits for its end. Returns what the program's exit is to the shell.
///
/// # Errors
/// QEMU can't be started, or the settings make no sense.
pub fn run(image: &Path, words: &[String], settings: &Settings, out: &mut dyn Output) -> Result<u8, String> {
    let mut feed = Feed::new(&settings.stdin);
    let mut machine = spawn(settings.command(image, words)?, feed.stdio())?;
    feed.connect(machine.0.stdin.take());
    let mut serial = machine.0.stdout.take().ok_or("QEMU has no output")?;
    let late = Arc::new(AtomicBool::new(false));
    let watch = watch(machine.0.id(), settings.timeout, late.clone());
    let mut symbols = Symbols::new(image);
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = serial.read(&mut buffer) {
        for &byte in &buffer[..n] {
            if byte == XON {
                feed.begin();
            } else if byte == b'\n' {
                line.extend(symbols.explain(&line));
                line.push(b'\n');
                out.write(&line);
                line.clear();
            } else {
                line.push(byte);
            }
        }
        // An unfinished line is shown as it grows, unless it may get an explanation.
        if !line.is_empty() && !Symbols::may_explain(&line) {
            out.write(&line);
            line.clear();
        }
    }
    out.write(&line);
    let status = machine.0.wait().map_err(|e| e.to_string())?;
    drop(watch);
    if late.load(Ordering::Relaxed) {
        let text = format!(
            "\nxtask: no end after {} s: machine killed (TIMEOUT=seconds changes the limit)\n",
            settings.timeout.as_secs()
        );
        out.write(text.as_bytes());
        return Ok(EXIT_TIMEOUT);
    }
    match status.code() {
        Some(33) => Ok(0),
        Some(35) => Ok(1),
        Some(0) => {
            out.write(b"\nxtask: the machine reset or powered off (a triple fault?); QEMU_ARGS=\"-d int,cpu_reset -D log\" shows why\n");
            Ok(1)
        }
        _ => {
            out.write(format!("\nxtask: QEMU ended with {status}\n").as_bytes());
            Ok(1)
        }
    }
}

/// Kills process `id` after `limit`, unless the returned value is dropped before.
fn watch(id: u32, limit: Duration, late: Arc<AtomicBool>) -> impl Drop {
    struct Watch(Option<std::thread::JoinHandle<()>>, Arc<AtomicBool>);
    impl Drop for Watch {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
            if let Some(thread) = self.0.take() {
                thread.thread().unpark();
                let _ = thread.join();
            }
        }
    }
    let over = Arc::new(AtomicBool::new(false));
    let done = over.clone();
    let thread = std::thread::spawn(move || {
        let end = Instant::now() + limit;
        while !over.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= end {
                late.store(true, Ordering::Relaxed);
                // SAFETY: the child is not reaped before this thread has ended or `late` is set, so
                // the id is its.
                unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
                return;
            }
            std::thread::park_timeout(end - now);
        }
    });
    Watch(Some(thread), done)
}
