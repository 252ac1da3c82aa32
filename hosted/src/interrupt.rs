//! The one-shot timer of an M: a POSIX timer whose signal goes to the M's own thread.
//!
//! Rejected: a timer thread that calls `timer_interrupt` from outside. The handler reads and writes
//! words that only its own core writes (the slot's alarm); it may interrupt that core, but it must
//! not run beside it.

use std::sync::Once;

use crate::machine;

/// Bytes of the stack that the handler runs on.
const HANDLER_STACK: usize = 64 << 10;

/// The one-shot timer of a thread, and the stack of its handler.
pub(crate) struct OneShot {
    timer: libc::timer_t,
    _stack: Box<[u8]>,
}

fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

/// Reads the clock of the one-shots, in nanoseconds. The handler may call it.
pub(crate) fn now() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut at) };
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

/// Handles the interrupt. Touches atomics only, and restores the interrupted code's `errno`.
extern "C" fn handler(_: libc::c_int) {
    // SAFETY: the address of this thread's `errno` is good while the thread runs.
    let (errno, was) = unsafe { (libc::__errno_location(), *libc::__errno_location()) };
    // SAFETY: a core's record lives for ever.
    if let Some(core) = unsafe { machine::current().as_ref() } {
        trefoil_sched::timer_interrupt(&core.m);
    }
    // SAFETY: `errno` is the address of this thread's `errno`, which is good while the thread runs.
    unsafe { *errno = was };
}

fn install_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: a zeroed sigaction is a valid one, and the fields that matter are set; the
        // handler is async-signal-safe.
        let done = unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigaction(signal(), &action, core::ptr::null_mut())
        };
        assert_eq!(done, 0, "sigaction: {}", std::io::Error::last_os_error());
    });
}

impl OneShot {
    /// Creates a disarmed one-shot of the calling thread.
    pub(crate) fn for_this_thread() -> Self {
        install_handler();
        let mut stack = vec![0; HANDLER_STACK].into_boxed_slice();
        let alternate = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: HANDLER_STACK };
        // SAFETY: the stack lives in `Self`, which leaves it before it is freed.
        let done = unsafe { libc::sigaltstack(&alternate, core::ptr::null_mut()) };
        assert_eq!(done, 0, "sigaltstack: {}", std::io::Error::last_os_error());
        let mut timer: libc::timer_t = core::ptr::null_mut();
        // SAFETY: a zeroed sigevent is valid; the fields that matter are set; `timer` is ours.
        let done = unsafe {
            let mut event: libc::sigevent = core::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal();
            event.sigev_notify_thread_id = libc::gettid();
            libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer)
        };
        assert_eq!(done, 0, "timer_create: {}", std::io::Error::last_os_error());
        Self { timer, _stack: stack }
    }

    /// Arms it for `at`; `u64::MAX` disarms. Callable in the handler.
    pub(crate) fn arm(&self, at: u64) {
        let at = if at == u64::MAX { 0 } else { at.max(1) };
        let value = libc::timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as i64 };
        let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: the timer lives as long as `self`.
        unsafe { libc::timer_settime(self.timer, libc::TIMER_ABSTIME, &once, core::ptr::null_mut()) };
    }
}

impl Drop for OneShot {
    fn drop(&mut self) {
        let off = libc::stack_t { ss_sp: core::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: the timer is ours, and gone before the stack that its handler would run on.
        unsafe {
            libc::timer_delete(self.timer);
            libc::sigaltstack(&off, core::ptr::null_mut());
        }
    }
}
