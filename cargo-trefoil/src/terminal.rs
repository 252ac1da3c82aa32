//! The person's terminal: raw while the machine reads it, and as it was when the machine has ended,
//! however that went.
//!
//! The terminal is left alone until the machine asks for input. From then on each byte goes to the
//! machine as it is typed, without an echo: the kernel echoes and edits. Signals stay the
//! terminal's: Ctrl-C ends the run. Ctrl-Z stops it, with the terminal as it was; when the shell
//! brings the run back, the terminal is raw again.

use std::io::IsTerminal;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// The modes before the run, and for it.
struct Modes {
    before: libc::termios,
    raw: libc::termios,
}

/// The modes of the terminal of this run, for the handlers. They are never freed.
static MODES: AtomicPtr<Modes> = AtomicPtr::new(std::ptr::null_mut());
/// The terminal is to be raw.
static RAW: AtomicBool = AtomicBool::new(false);

/// Standard input, which is a terminal.
pub struct Terminal(());

impl Terminal {
    /// Returns standard input if it is a terminal.
    pub fn find() -> Option<Self> {
        std::io::stdin().is_terminal().then_some(Self(()))
    }

    /// Makes the terminal raw.
    pub fn make_raw(&self) {
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: `tcgetattr` fills `before` if it returns 0.
        let before = unsafe {
            if RAW.load(Ordering::SeqCst) || libc::tcgetattr(0, before.as_mut_ptr()) != 0 {
                return;
            }
            before.assume_init()
        };
        let mut raw = before;
        raw.c_iflag &=
            !(libc::BRKINT | libc::PARMRK | libc::ISTRIP | libc::INLCR | libc::IGNCR | libc::ICRNL | libc::IXON);
        raw.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::IEXTEN);
        raw.c_cc[libc::VMIN] = 1;
        raw.c_cc[libc::VTIME] = 0;
        MODES.store(Box::leak(Box::new(Modes { before, raw })), Ordering::SeqCst);
        // Before the modes change: a stop in between puts them back.
        catch(libc::SIGTSTP, stop);
        catch(libc::SIGCONT, go_on);
        RAW.store(true, Ordering::SeqCst);
        set(|modes| &modes.raw);
    }

    /// Returns true if the terminal was made raw.
    pub fn is_raw(&self) -> bool {
        RAW.load(Ordering::SeqCst)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if RAW.swap(false, Ordering::SeqCst) {
            put_back();
        }
    }
}

fn catch(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: the handlers touch atomics, and modes that are never freed. They call functions that
    // are async-signal-safe.
    unsafe { libc::signal(signal, handler as libc::sighandler_t) };
}

fn set(which: impl FnOnce(&Modes) -> &libc::termios) {
    // SAFETY: a value there is never freed, nor written again.
    if let Some(modes) = unsafe { MODES.load(Ordering::SeqCst).as_ref() } {
        // SAFETY: sets modes of the terminal that `tcgetattr` has read.
        unsafe { libc::tcsetattr(0, libc::TCSANOW, which(modes)) };
    }
}

/// Puts the modes back, unless the terminal is another job's: the shell has its own modes by then.
fn put_back() {
    // SAFETY: both ask for numbers only.
    if unsafe { libc::tcgetpgrp(0) == libc::getpgrp() } {
        set(|modes| &modes.before);
    }
}

/// Ctrl-Z.
extern "C" fn stop(_: i32) {
    if RAW.load(Ordering::SeqCst) {
        put_back();
    }
    // SAFETY: stops this process, as the signal would have done.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// `fg`. (After `bg` the change of modes stops this process again.)
extern "C" fn go_on(_: i32) {
    if RAW.load(Ordering::SeqCst) {
        set(|modes| &modes.raw);
    }
}
