//! Runs an image to its end: streams the serial line, symbolises backtraces, maps exit codes, and
//! leaves no QEMU behind.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::feed::Feed;
use crate::interrupt::{self, Interrupt};
use crate::qemu::{self, QEMU, Settings, Stdin};
use crate::recording::Recording;
use crate::serial;
use crate::symbols::ERASE;
use crate::trace_port::Lines;
use crate::traces::Traces;

/// The exit code of a run that was stopped at its time limit.
pub const EXIT_TIMEOUT: u8 = 124;

/// `isa-debug-exit` ends QEMU with `value << 1 | 1`. The kernel writes its status with this bit
/// turned round, so that success is not QEMU's own failure.
const SUCCESS: u8 = 0x10;

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
#[derive(Debug)]
pub struct Machine(pub Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts QEMU by `command` so that it dies with this process.
///
/// # Errors
/// The program can't be started.
pub fn spawn(mut command: Command, stdin: Stdio) -> Result<Machine, String> {
    command.stderr(Stdio::inherit());
    start(command, stdin)
}

fn start(mut command: Command, stdin: Stdio) -> Result<Machine, String> {
    command.stdin(stdin).stdout(Stdio::piped());
    // SAFETY: `prctl` is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    };
    command.spawn().map(Machine).map_err(|e| qemu::missing(&e))
}

/// Passes QEMU's messages on. Returns true in the end if there was more than warnings.
fn listen(messages: std::process::ChildStderr) -> std::thread::JoinHandle<bool> {
    std::thread::spawn(move || {
        let mut failed = false;
        for line in BufReader::new(messages).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line);
            // The sender of a signal knows. QEMU may have got the same one, and be killed in the
            // middle of saying so.
            if interrupt::came() || text.starts_with(QEMU) && text.contains("terminating on signal") {
                continue;
            }
            failed |= !text.contains("warning:");
            eprintln!("{text}");
        }
        failed
    })
}

/// Boots `image` and waits for its end. Returns what the program's exit is to the shell.
///
/// # Errors
/// QEMU can't be started, or the settings make no sense.
pub fn run(image: &Path, words: &[String], settings: &Settings, out: &mut dyn Output) -> Result<u8, String> {
    qemu::check()?;
    let mut command = settings.command(image, words)?;
    if let Some(recording) = &settings.recording {
        recording.agree(&command, image, settings.input.as_deref())?;
    }
    // A person's run. Many machines at the same time die with this process.
    let interrupt = matches!(settings.stdin, Stdin::Inherit).then(Interrupt::catch);
    // A replay has its input already.
    let is_replay = matches!(settings.recording, Some(Recording::Replay(_)));
    let mut feed = Feed::new(if is_replay { &Stdin::Nothing } else { &settings.stdin });
    command.stderr(Stdio::piped());
    let mut machine = start(command, feed.stdio())?;
    if let Some(interrupt) = &interrupt {
        interrupt.guard(machine.0.id());
    }
    feed.connect(machine.0.stdin.take());
    let serial = machine.0.stdout.take().ok_or("QEMU has no output")?;
    let messages = listen(machine.0.stderr.take().ok_or("QEMU has no messages")?);
    let late = Arc::new(AtomicBool::new(false));
    let mut watch = Some(watch(machine.0.id(), settings.timeout, late.clone()));
    let traces = Traces::new(image, &settings.append);
    // The cursor is not at the begin of a row.
    let mut in_row = false;
    let show = |bytes: &[u8]| {
        in_row = if bytes.is_empty() { in_row } else { !bytes.ends_with(b"\n") && !bytes.ends_with(ERASE.as_bytes()) };
        out.write(bytes);
    };
    let asks = || {
        feed.begin();
        if feed.is_typed() && !settings.hurries {
            // The person takes the time that it takes, and has Ctrl-C.
            watch = None;
        }
    };
    serial::copy(serial, traces, settings.trace.as_deref().map(Lines::new), asks, show);
    if in_row && feed.is_typed() {
        // The shell goes on below a half-typed line.
        out.write(b"\n");
    }
    let status = machine.0.wait().map_err(|e| e.to_string())?;
    let interrupted = interrupt.as_ref().and_then(Interrupt::end);
    drop(watch);
    let qemu_failed = messages.join().unwrap_or(true);
    if let Some(code) = interrupted {
        return Ok(code);
    }
    if late.load(Ordering::Relaxed) {
        let text = format!(
            "\ncargo-trefoil: no end after {} s: machine killed ({})\n",
            settings.timeout.as_secs(),
            settings.limited_by
        );
        out.write(text.as_bytes());
        return Ok(EXIT_TIMEOUT);
    }
    match status.code() {
        Some(1) if qemu_failed => Err("QEMU refused this machine: it says why above".into()),
        Some(code) if let Some(status) = status_of(code) => Ok(status),
        Some(0) => {
            out.write(
                b"\ncargo-trefoil: the machine reset or powered off (a triple fault?); \
                  --qemu-args \"-d int,cpu_reset -D log\" shows why\n",
            );
            Ok(1)
        }
        _ => {
            out.write(format!("\ncargo-trefoil: QEMU ended with {status}\n").as_bytes());
            Ok(1)
        }
    }
}

/// Returns the program's status, if QEMU has ended with `code` because the kernel told it to.
pub(crate) fn status_of(code: i32) -> Option<u8> {
    (code & 1 == 1).then_some((code >> 1) as u8 ^ SUCCESS)
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
