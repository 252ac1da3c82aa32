//! gdb on a booted image, stopped at the program's `main`, with commands for goroutines.
//!
//! ```text
//!   terminal ◀── serial line ─────────────────────────── QEMU
//!      ▲                                                  ▲
//!      └── gdb, with gdb/trefoil_gdb ◀── relay (view) ────┘
//! ```
//!
//! The terminal is gdb's: Ctrl-C stops the machine, and `quit` ends it. The serial line's output
//! comes to the same terminal.

mod packet;
mod relay;
mod script;
mod view;

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use self::script::Scratch;
use crate::qemu::{self, Settings};
use crate::run::{self, Machine};
use crate::serial;
use crate::traces::Traces;

/// Starts the machine stopped, with the program's `words`, and gdb on it. Ends both together.
///
/// # Errors
/// QEMU or gdb can't be started.
pub fn debug(image: &Path, words: &[String], settings: &Settings) -> Result<u8, String> {
    qemu::check()?;
    let scratch = Scratch::new()?;
    let socket = scratch.path().join("gdb.socket");
    let listener = UnixListener::bind(&socket).map_err(|e| format!("{}: {e}", socket.display()))?;
    let (mut machine, stub) = boot(image, words, settings)?;
    let serial = machine.0.stdout.take().ok_or("QEMU has no output")?;
    let traces = Traces::new(image, &settings.append);
    let (printing, printed) = mpsc::channel::<()>();
    let printer = std::thread::spawn(move || {
        print(serial, traces);
        drop(printing);
    });
    let machine = Arc::new(Mutex::new(Some(machine)));
    let watched = machine.clone();
    // When gdb has come, the relay begins. (If gdb never comes, this thread ends with the process.)
    std::thread::spawn(move || {
        let ended = move || {
            let mut machine = watched.lock().unwrap_or_else(PoisonError::into_inner);
            let status = run::status_of(machine.as_mut()?.0.wait().ok()?.code()?);
            // The last lines come before gdb's.
            let _ = printed.recv();
            status
        };
        let (gdb, _) = listener.accept()?;
        relay::start(gdb, stub, ended)
    });
    let status = gdb(image, &socket, scratch.path());
    // QEMU ends here, if it has not; and with it the serial line.
    drop(machine.lock().unwrap_or_else(PoisonError::into_inner).take());
    let _ = printer.join();
    Ok(u8::from(!status?))
}

/// Starts the machine, stopped before its first instruction. Returns also the line to its gdb stub.
fn boot(image: &Path, words: &[String], settings: &Settings) -> Result<(Machine, UnixStream), String> {
    let mut qemu = settings.command(image, words)?;
    if let Some(recording) = &settings.recording {
        recording.agree(&qemu, image, settings.input.as_deref())?;
    }
    let (ours, theirs) = UnixStream::pair().map_err(|e| format!("a pair of sockets: {e}"))?;
    let theirs = OwnedFd::from(theirs);
    let fd = theirs.as_raw_fd();
    qemu.args(["-S", "-chardev", &format!("socket,id=gdb,fd={fd}"), "-gdb", "chardev:gdb"]);
    // Ctrl-C is gdb's: it stops the program, not the machine.
    qemu.process_group(0);
    // SAFETY: `fcntl` is async-signal-safe and touches only the child, whose copy of `theirs` is
    // open.
    unsafe {
        qemu.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        })
    };
    let machine = run::spawn(qemu, Stdio::null())?;
    drop(theirs);
    Ok((machine, ours))
}

/// Runs gdb to its end. Returns true if gdb is content.
fn gdb(image: &Path, socket: &Path, scripts: &Path) -> Result<bool, String> {
    let mut gdb = Command::new("gdb");
    gdb.arg("-q").arg(image);
    if let Some(printers) = rust_printers() {
        gdb.arg("-ex").arg(format!("source {}", printers.display()));
    }
    for command in [
        "set pagination off".to_string(),
        "set confirm off".to_string(),
        "set language rust".to_string(),
        format!("python import sys; sys.path.insert(0, {:?}); import trefoil_gdb", scripts.display().to_string()),
        format!("target remote {}", socket.display()),
        format!("python trefoil_gdb.commands.run_to_main({:?})", crate_of(image)),
    ] {
        gdb.arg("-ex").arg(command);
    }
    // For scripts and tests: more commands, then the end.
    if let Ok(script) = std::env::var("GDB_COMMANDS") {
        gdb.arg("-batch");
        for command in script.split(';') {
            gdb.arg("-ex").arg(command.trim());
        }
    }
    // SAFETY: `prctl` is async-signal-safe and touches only the child.
    unsafe {
        gdb.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        })
    };
    let status = gdb.spawn().and_then(|mut gdb| {
        // SAFETY: sets the action for this process, after gdb has inherited the default one.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        gdb.wait()
    });
    match status {
        Ok(status) => Ok(status.success()),
        Err(e) => Err(format!("gdb: {e}: install gdb (Debian, Ubuntu: apt-get install gdb)")),
    }
}

/// Returns the toolchain's script that has gdb print strings, vectors and the like.
fn rust_printers() -> Option<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let sysroot = String::from_utf8(said.stdout).ok()?;
    let script = Path::new(sysroot.trim()).join("lib/rustlib/etc/gdb_load_rust_pretty_printers.py");
    script.exists().then_some(script)
}

/// Returns the name of the crate that `image` was built from.
fn crate_of(image: &Path) -> String {
    image.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_")
}

/// Copies the serial line to the terminal, to its end.
fn print(serial: ChildStdout, traces: Traces) {
    let mut out = std::io::stdout();
    let show = |bytes: &[u8]| {
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    };
    serial::copy(serial, traces, None, || {}, show);
}
