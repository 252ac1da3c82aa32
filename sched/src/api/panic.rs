//! Catching panics, and passing them on.
//!
//! The platform begins and reports a panic, and unwinds. A program calls the functions of this
//! module, with `std`'s signatures.

use alloc::boxed::Box;
use core::any::Any;
use core::mem::ManuallyDrop;

pub use core::panic::{AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe};

pub use crate::machine::payload::{Payload, panic_message};
use crate::machine::platform;

/// Runs `f`, and returns its value, or the payload of the panic that left it.
/// [`exit_g`](crate::exit_g) is caught as well: its payload is to be [passed on](resume_unwind).
///
/// An overflow of the stack is no panic, and can't be caught: see
/// [`JoinError::StackOverflow`](crate::join::JoinError::StackOverflow).
///
/// # Errors
/// The value that `panic!` threw.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let caught = panic::catch_unwind(|| panic!("too hot"));
/// assert_eq!(panic::panic_message(&*caught.unwrap_err()), Some("too hot"));
/// # });
/// ```
pub fn catch_unwind<F: FnOnce() -> R + UnwindSafe, R>(f: F) -> Result<R, Box<dyn Any + Send>> {
    catch(f).map_err(Payload::into_inner)
}

/// Catches as [`catch_unwind`]; the payload knows whether its panic was reported.
pub(crate) fn catch<F: FnOnce() -> R, R>(f: F) -> Result<R, Payload> {
    /// The closure before, its value after.
    union Slot<F, R> {
        f: ManuallyDrop<F>,
        value: ManuallyDrop<R>,
    }
    unsafe fn call<F: FnOnce() -> R, R>(slot: *mut ()) {
        // SAFETY: `catch` passes its slot, which holds the closure; this is its only run.
        unsafe {
            let slot = &mut *slot.cast::<Slot<F, R>>();
            let value = ManuallyDrop::take(&mut slot.f)();
            slot.value = ManuallyDrop::new(value);
        }
    }
    let mut slot = Slot { f: ManuallyDrop::new(f) };
    // SAFETY: 1. `call` fits the slot, and is called once.
    unsafe { platform::catch_inside(call::<F, R>, (&raw mut slot).cast()) }?;
    // SAFETY: `call` has come to its end.
    Ok(ManuallyDrop::into_inner(unsafe { slot.value }))
}

/// Goes on with a panic that was caught, without calling the hook again. If nobody joins the
/// goroutine that it ends, the panic is reported then.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let handle = go(|| {
///     let caught = panic::catch_unwind(|| panic!("too hot"));
///     // … put something in order, and then:
///     panic::resume_unwind(caught.unwrap_err())
/// });
/// assert_eq!(handle.join().map(|()| 0).unwrap_err().message(), Some("too hot"));
/// # });
/// ```
pub fn resume_unwind(payload: Box<dyn Any + Send>) -> ! {
    platform::unwind(Payload::new(payload, false))
}

/// Returns true if the current G unwinds because of a panic.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// struct Transaction;
/// impl Drop for Transaction {
///     fn drop(&mut self) {
///         println!("{}", if panic::panicking() { "rolled back" } else { "committed" });
///     }
/// }
/// drop(Transaction);
/// # });
/// ```
pub fn panicking() -> bool {
    platform::panicking()
}
