//! Ctrl-C, Ctrl-\, a closed terminal, and a polite request to end: the machine ends at once, and
//! this process tells the shell which signal it was (128 + its number).
//!
//! The handler only notes the signal and kills the machine. The reader of the serial line then
//! comes to the end of it, and puts the terminal back.

use std::sync::atomic::{AtomicI32, Ordering};

/// The signal that came; 0: none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// The machine's process; 0: none.
static MACHINE: AtomicI32 = AtomicI32::new(0);

const SIGNALS: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP];

/// While this value lives, the signals end the machine.
pub struct Interrupt([libc::sighandler_t; SIGNALS.len()]);

impl Interrupt {
    /// Catches the signals.
    pub fn catch() -> Self {
        Self(SIGNALS.map(|signal| {
            // SAFETY: the handler touches two atomics and calls `kill`, which is async-signal-safe.
            let before = unsafe { libc::signal(signal, handle as extern "C" fn(i32) as libc::sighandler_t) };
            if signal == libc::SIGHUP && before == libc::SIG_IGN {
                // SAFETY: the action that `nohup` has set.
                unsafe { libc::signal(signal, before) };
            }
            before
        }))
    }

    /// Sets the process that a signal kills. A signal that came before kills it here.
    pub fn guard(&self, id: u32) {
        // SeqCst, here and in the handler: one of the two sees what the other has stored.
        MACHINE.store(id as i32, Ordering::SeqCst);
        if SIGNAL.load(Ordering::SeqCst) != 0 {
            kill();
        }
    }

    /// Forgets the process, which has been waited for. Returns the shell's status if a signal came.
    pub fn end(&self) -> Option<u8> {
        MACHINE.store(0, Ordering::SeqCst);
        match SIGNAL.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(128 + signal as u8),
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        MACHINE.store(0, Ordering::SeqCst);
        for (signal, before) in SIGNALS.into_iter().zip(self.0) {
            // SAFETY: sets the action that was there.
            unsafe { libc::signal(signal, before) };
        }
    }
}

/// Returns true if a signal came.
pub fn came() -> bool {
    SIGNAL.load(Ordering::SeqCst) != 0
}

extern "C" fn handle(signal: i32) {
    SIGNAL.store(signal, Ordering::SeqCst);
    kill();
}

fn kill() {
    let id = MACHINE.load(Ordering::SeqCst);
    if id > 0 {
        // SAFETY: `id` is a child that has not been waited for.
        unsafe { libc::kill(id, libc::SIGKILL) };
    }
}
