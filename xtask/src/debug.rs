//! gdb on a booted image, stopped at the program's `main`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::qemu::Settings;

/// Starts the machine stopped, and gdb on it. Ends both together.
///
/// # Errors
/// QEMU or gdb can't be started.
pub fn debug(image: &Path, settings: &Settings) -> Result<u8, String> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
    let log = std::env::temp_dir().join(format!("trefoil-serial-{port}.log"));
    let mut qemu = settings.command(image, &[])?;
    qemu.args(["-S", "-gdb", &format!("tcp:127.0.0.1:{port}")]);
    let serial = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut machine = qemu
        .stdin(Stdio::null())
        .stdout(serial)
        .spawn()
        .map_err(|e| format!("qemu-system-x86_64: {e} (on Debian: apt-get install qemu-system-x86)"))?;
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
    let status = gdb.status().map_err(|e| format!("gdb: {e} (on Debian: apt-get install gdb)"));
    let _ = machine.kill();
    let _ = machine.wait();
    Ok(u8::from(!status?.success()))
}
