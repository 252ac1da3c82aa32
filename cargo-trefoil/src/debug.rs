//! gdb on a booted image, stopped at the program's `main`.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::qemu::{self, Settings};

/// Starts the machine stopped, with the program's `words`, and gdb on it. Ends both together.
///
/// # Errors
/// QEMU or gdb can't be started.
pub fn debug(image: &Path, words: &[String], settings: &Settings) -> Result<u8, String> {
    qemu::check()?;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
    let log = std::env::temp_dir().join(format!("trefoil-serial-{port}.log"));
    let mut qemu = settings.command(image, words)?;
    if let Some(recording) = &settings.recording {
        recording.agree(&qemu, image, settings.input.as_deref())?;
    }
    qemu.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{port}")]);
    let serial = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut machine = qemu
        .stdin(Stdio::null())
        .stdout(serial)
        // Ctrl-C is gdb's: it stops the program, not the machine.
        .process_group(0)
        .spawn()
        .map_err(|e| qemu::missing(&e))?;
    println!("the serial line goes to {}", log.display());
    let mut gdb = Command::new("gdb");
    gdb.arg("-q").arg(image);
    for command in [
        "set pagination off".to_string(),
        "set confirm off".to_string(),
        format!("target remote 127.0.0.1:{port}"),
        "hbreak __trefoil_main".to_string(),
        "continue".to_string(),
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
    let status = gdb
        .spawn()
        .and_then(|mut gdb| {
            // SAFETY: sets the action for this process, after gdb has inherited the default one.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
            gdb.wait()
        })
        .map_err(|e| format!("gdb: {e}: install gdb (Debian, Ubuntu: apt-get install gdb)"));
    let _ = machine.kill();
    let _ = machine.wait();
    Ok(u8::from(!status?.success()))
}
