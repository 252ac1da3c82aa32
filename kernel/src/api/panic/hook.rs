//! The hook that runs when a panic begins.
//!
//! The default hook reports the G, the place, the message, the backtrace, and the place that
//! created the G, as one unit on the console. A program may set a function of its own instead. The
//! function runs on the G that panics, before that G unwinds, and may do anything. If it panics as
//! well, that G ends where it stands.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{Location, message, panic_message};
use crate::api::console;
use crate::arch::lock::Lock;
use crate::report::{self, Who, backtrace};
use trefoil_sched::GRef;
use trefoil_sched::internals::g::Name;

/// Frames that are shown at the inner end of the backtrace.
const FRAMES: usize = 24;

type Hook = dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static;

/// The function that calls the program's own hook; null if there is none. An image that sets no
/// hook contains nothing of it, since only this pointer leads there.
static CALL: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
type Call = fn(&PanicHookInfo<'_>);

/// The program's own hook.
static HOOK: Lock<Option<Arc<Hook>>> = Lock::new(None);

/// A panic, as a hook sees it.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::{panic, prelude::*};
/// # #[trefoil::main]
/// # fn example() {
/// panic::set_hook(Box::new(|info: &panic::PanicHookInfo<'_>| println!("{info}")));
/// assert!(go(|| panic!("no")).join().is_err());
/// # drop(panic::take_hook());
/// # }
/// ```
pub struct PanicHookInfo<'a> {
    payload: &'a (dyn Any + Send),
    location: Option<&'a Location<'a>>,
    g: GRef,
}

impl<'a> PanicHookInfo<'a> {
    pub(super) fn new(payload: &'a (dyn Any + Send), location: Option<&'a Location<'a>>, g: GRef) -> Self {
        Self { payload, location, g }
    }

    /// Returns the payload that `panic!` threw: a `&'static str` or a `String`.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::{panic, prelude::*};
    /// # #[trefoil::main]
    /// # fn example() {
    /// panic::set_hook(Box::new(|info| assert_eq!(info.payload().downcast_ref::<&str>(), Some(&"no"))));
    /// assert!(go(|| panic!("no")).join().is_err());
    /// # drop(panic::take_hook());
    /// # }
    /// ```
    pub fn payload(&self) -> &(dyn Any + Send) {
        self.payload
    }

    /// Returns the payload, if it is a string.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::{panic, prelude::*};
    /// # #[trefoil::main]
    /// # fn example() {
    /// panic::set_hook(Box::new(|info| assert_eq!(info.payload_as_str(), Some("no"))));
    /// assert!(go(|| panic!("no")).join().is_err());
    /// # drop(panic::take_hook());
    /// # }
    /// ```
    pub fn payload_as_str(&self) -> Option<&str> {
        panic_message(self.payload)
    }

    /// Returns the place of the panic.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::{panic, prelude::*};
    /// # #[trefoil::main]
    /// # fn example() {
    /// panic::set_hook(Box::new(|info| println!("in line {}", info.location().unwrap().line())));
    /// assert!(go(|| panic!("no")).join().is_err());
    /// # drop(panic::take_hook());
    /// # }
    /// ```
    pub fn location(&self) -> Option<&Location<'_>> {
        self.location
    }

    /// Returns the number of the goroutine that panics.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::{panic, prelude::*};
    /// # #[trefoil::main]
    /// # fn example() {
    /// panic::set_hook(Box::new(|info| println!("G {} has had enough", info.id())));
    /// assert!(go(|| panic!("no")).join().is_err());
    /// # drop(panic::take_hook());
    /// # }
    /// ```
    pub fn id(&self) -> u64 {
        self.g.id()
    }

    /// Returns the goroutine's name; empty if it has none.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::{panic, prelude::*};
    /// # #[trefoil::main]
    /// # fn example() {
    /// panic::set_hook(Box::new(|info| assert_eq!(info.name().as_str(), "worker")));
    /// assert!(Builder::new().name("worker").spawn(|| panic!("no")).unwrap().join().is_err());
    /// # drop(panic::take_hook());
    /// # }
    /// ```
    pub fn name(&self) -> Name {
        self.g.name()
    }
}

impl fmt::Display for PanicHookInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked", Who(self.g))?;
        if let Some(at) = self.location {
            write!(f, " at {at}")?;
        }
        write!(f, ": {}", message(self.payload))
    }
}

impl fmt::Debug for PanicHookInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Calls the hook. The frame that panicked lies above the address `above` on the stack.
pub(super) fn call(info: &PanicHookInfo<'_>, above: usize) {
    // Acquire: pairs with the Release in `set_hook`.
    let own = CALL.load(Ordering::Acquire);
    if own.is_null() {
        return say(info, above);
    }
    // SAFETY: `set_hook` stores a `Call`.
    let own = unsafe { core::mem::transmute::<*mut (), Call>(own) };
    own(info);
}

fn call_own(info: &PanicHookInfo<'_>) {
    // Cloning bumps a count, under the lock; the hook itself runs without the lock.
    let own = HOOK.lock().clone();
    match own {
        Some(hook) => hook(info),
        None => console::say(format_args!("trefoil: {info}")),
    }
}

fn say(info: &PanicHookInfo<'_>, above: usize) {
    let say = console::begin_report(info.g);
    say(format_args!("trefoil: {info}"));
    backtrace::above(above, FRAMES, say);
    report::creator(info.g, say);
    console::end_report(info.g);
}

/// Sets `hook` as the function that runs when a panic begins.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # use trefoil::panic;
/// # #[trefoil::main]
/// # fn main() {
/// panic::set_hook(Box::new(|info| println!("goroutine {}: {info}", info.id())));
/// assert!(go(|| panic!("on purpose")).join().is_err());
/// # }
/// ```
pub fn set_hook(hook: Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static>) {
    let old = HOOK.lock().replace(Arc::from(hook));
    let call: Call = call_own;
    // Release: pairs with the Acquire in `call`.
    CALL.store(call as *mut (), Ordering::Release);
    drop(old);
}

/// Takes the program's hook away, and returns it. If there is none, returns the default, which is
/// in its place from here on. (The default shows no backtrace when another hook calls it.)
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # use trefoil::panic;
/// # #[trefoil::main]
/// # fn main() {
/// let before = panic::take_hook();
/// panic::set_hook(Box::new(move |info| {
///     println!("one more:");
///     before(info);
/// }));
/// # }
/// ```
pub fn take_hook() -> Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static> {
    let own = HOOK.lock().take();
    CALL.store(core::ptr::null_mut(), Ordering::Relaxed);
    match own {
        Some(hook) => Box::new(move |info| hook(info)),
        None => Box::new(|info| console::say(format_args!("trefoil: {info}"))),
    }
}
