//! The line between gdb and QEMU, with a [`View`] in it.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::packet::{BREAK, Packet, Packets, send};
use super::view::{Step, View};

/// Both ends towards gdb write whole packets.
type ToGdb = Arc<Mutex<UnixStream>>;

/// Carries packets between the two until one of them goes. When QEMU goes, `ended` is asked for the
/// exit status that gdb is told.
///
/// # Errors
/// A socket can't be doubled.
pub fn start(gdb: UnixStream, qemu: UnixStream, ended: impl FnOnce() -> Option<u8> + Send + 'static) -> io::Result<()> {
    let view = Arc::new(Mutex::new(View::default()));
    let (from_gdb, from_qemu) = (Packets::new(gdb.try_clone()?), Packets::new(qemu.try_clone()?));
    let to_gdb = Arc::new(Mutex::new(gdb));
    let back = qemu.try_clone()?;
    let (views, replies) = (view.clone(), to_gdb.clone());
    thread::spawn(move || forward(from_gdb, &replies, qemu, &views));
    thread::spawn(move || {
        backward(from_qemu, back, &to_gdb, &view);
        match ended() {
            // The process has exited. gdb sends the receipt, and closes the line.
            Some(status) => _ = send(&mut *lock(&to_gdb), format!("W{status:02x}").as_bytes()),
            None => _ = lock(&to_gdb).shutdown(Shutdown::Both),
        }
    });
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The receipts of packets that come, written through the lock.
struct Receipts<'a>(&'a ToGdb);

impl io::Write for Receipts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn forward(mut gdb: Packets<UnixStream>, back: &ToGdb, mut qemu: UnixStream, view: &Mutex<View>) {
    while let Ok(packet) = gdb.next(&mut Receipts(back)) {
        let sent = match packet {
            Packet::Break => io::Write::write_all(&mut qemu, &[BREAK]),
            Packet::Data(data) => {
                let step = lock(view).ask(data);
                match step {
                    Step::Pass(data) => send(&mut qemu, &data),
                    Step::Answer(data) => send(&mut *lock(back), &data),
                }
            }
        };
        if sent.is_err() {
            // No answer will come.
            _ = lock(back).shutdown(Shutdown::Both);
            return;
        }
    }
}

fn backward(mut qemu: Packets<UnixStream>, mut back: UnixStream, gdb: &ToGdb, view: &Mutex<View>) {
    while let Ok(packet) = qemu.next(&mut back) {
        if let Packet::Data(data) = packet {
            let data = lock(view).answer(data);
            if send(&mut *lock(gdb), &data).is_err() {
                return;
            }
        }
    }
}
