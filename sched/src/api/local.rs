//! G-locals: values that each goroutine has of its own, as `std::thread_local!` gives them to
//! threads.
//!
//! ```text
//!   G { locals } ──▶ Table { end, slots, newest }          none until the G touches its first local
//!                              │        │
//!             hash of the key's address ▼  newest first: the order in which they are dropped
//!                              └─▶ LocalNode { key, older, drop, value } ──▶ LocalNode …
//! ```
//!
//! A key is a static, found by its address and its type. A value is a block on the heap, so that
//! references to it stay good when the table grows. A G without locals pays one look at a null
//! pointer when it ends. The drop code is reached through the table itself, so an image whose
//! program has no locals does not contain it.
//!
//! # The end
//!
//! Values are dropped by their G, in the reverse order of their first use, before its joiner learns
//! of the end. A value that is being dropped, or has been, is gone for the others' destructors:
//! they get an [`AccessError`]. A local that a destructor touches for the first time is made, and
//! dropped next. If a destructor panics, the hook reports the panic, and the other values are
//! dropped all the same. The values of a G that was ended where it stood are leaked with everything
//! else that it had.
//!
//! Rejected:
//!
//! * an array indexed by a number that each key draws: the numbers would need a static, and this
//!   crate owns none;
//! * `BTreeMap`: a panic for want of memory inside it ends the machine.

mod cells;
mod table;

use alloc::boxed::Box;
use core::any::TypeId;
use core::fmt;
use core::mem::ManuallyDrop;

pub(crate) use self::table::end;
use self::table::{LocalBox, LocalNode, Table, drop_value, free, table_of};
use crate::core::m::M;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;

/// Names a value that each goroutine has of its own. Made by
/// [`goroutine_local!`](crate::goroutine_local).
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use std::cell::Cell;
/// goroutine_local! {
///     static STEPS: Cell<u32> = Cell::new(0);
/// }
/// STEPS.set(7);
/// assert_eq!(STEPS.get(), 7);
/// # });
/// ```
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// The value is being dropped, or has been; or the caller is no goroutine.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use std::cell::Cell;
/// goroutine_local! {
///     static STEPS: Cell<u32> = Cell::new(0);
/// }
/// assert!(STEPS.try_with(Cell::get).is_ok());
/// # });
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Debug for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessError")
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("already destroyed")
    }
}

impl core::error::Error for AccessError {}

/// Declares values that each goroutine has of its own: `thread_local!`, for goroutines.
///
/// Each is a `static` of type [`LocalKey`](crate::local::LocalKey), made by its expression when a
/// goroutine first uses it, and dropped when that one ends.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use std::cell::Cell;
/// goroutine_local! {
///     static STEPS: Cell<u32> = Cell::new(0);
/// }
/// STEPS.set(7);
/// go(|| assert_eq!(STEPS.get(), 0)).join().unwrap();
/// assert_eq!(STEPS.get(), 7);
/// # });
/// ```
#[macro_export]
macro_rules! goroutine_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr $(; $($rest:tt)*)?) => {
        $crate::goroutine_local!($(#[$attr])* $vis static $name: $t = $init, );
        $($crate::goroutine_local!($($rest)*);)?
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr, ) => {
        $(#[$attr])*
        $vis static $name: $crate::local::LocalKey<$t> = {
            fn init() -> $t {
                $init
            }
            $crate::local::LocalKey::new(init)
        };
    };
}

/// Returns the calling G, if a G calls.
fn current() -> Option<GRef> {
    M::current(&PreemptGuard::new()).running()
}

/// Drops the locals of the calling G: for a `main` whose end is the machine's.
pub fn end_current() {
    if let Some(g) = current() {
        end(g);
    }
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init }
    }

    fn key(&'static self) -> (usize, TypeId) {
        (core::ptr::from_ref(self).addr(), TypeId::of::<T>())
    }

    /// Returns the value in `g`, which calls, if it has one. Error: the value was dropped.
    fn existing(&'static self, g: GRef) -> Option<Result<*mut LocalBox<T>, AccessError>> {
        // SAFETY: the table is its G's own, which calls; the reference ends here.
        let table = unsafe { g.locals.get().cast::<Table>().as_ref() }?;
        let node = table.find(self.key());
        if node.is_null() {
            return None;
        }
        // SAFETY: nodes stay while their table does.
        Some(if unsafe { (*node).dropped } { Err(AccessError) } else { Ok(node.cast()) })
    }

    /// Returns the value in `g`, made by `init` if need be.
    fn get_or_make(&'static self, init: impl FnOnce() -> T) -> Result<*mut LocalBox<T>, AccessError> {
        let g = current().ok_or(AccessError)?;
        if let Some(existing) = self.existing(g) {
            return existing;
        }
        let value = init();
        // `init` may have made it itself: then its value is replaced, as `std` does.
        if let Some(existing) = self.existing(g) {
            let existing = existing?;
            // SAFETY: the node is this G's own, and nobody borrows its value: the code that made it
            // inside `init` has returned.
            drop(core::mem::replace(unsafe { &mut *(*existing).value }, value));
            return Ok(existing);
        }
        let table = table_of(g);
        // SAFETY: the table belongs to this G, which runs here, and the reference ends with the
        // call.
        unsafe { (*table).reserve() };
        // SAFETY: the table belongs to this G, which runs here, and no reference to it is alive.
        let older = unsafe { (*table).newest };
        let node = LocalNode { key: self.key(), older, drop_value: drop_value::<T>, free: free::<T>, dropped: false };
        let local = Box::into_raw(Box::new(LocalBox { node, value: ManuallyDrop::new(value) }));
        // SAFETY: the table belongs to this G, which runs here, and nothing since `reserve` has
        // called the program.
        unsafe { (*table).insert(local.cast()) };
        Ok(local)
    }

    /// Runs `f` on this goroutine's value.
    ///
    /// # Panics
    /// If the value is being dropped or has been, or outside any goroutine; see
    /// [`try_with`](Self::try_with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// assert_eq!(STEPS.with(|steps| steps.replace(3)), 0);
    /// # });
    /// ```
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        match self.try_with(f) {
            Ok(value) => value,
            Err(AccessError) => gone(),
        }
    }

    /// Runs `f` as [`with`](Self::with), with an error where that panics.
    ///
    /// # Errors
    /// The value is being dropped or has been: the caller is a destructor at the goroutine's end.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// assert_eq!(STEPS.try_with(|steps| steps.get()), Ok(0));
    /// # });
    /// ```
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, AccessError>
    where
        F: FnOnce(&T) -> R,
    {
        let local = self.get_or_make(self.init)?;
        // SAFETY: the value is its G's own, which calls, and it is alive. The value is dropped when
        // the G ends, which `f` keeps it from; inside a destructor of another local it stays until
        // that one has returned.
        Ok(f(unsafe { &(*local).value }))
    }

    /// Sets the value, without making the initial one first.
    fn initialize_with(&'static self, value: T, replace: impl FnOnce(&T, T)) {
        let mut slot = Some(value);
        match self.get_or_make(|| slot.take().unwrap_or_else(self.init)) {
            Err(AccessError) => gone(),
            Ok(local) => {
                if let Some(value) = slot {
                    // SAFETY: the value is alive and belongs to this G, which runs here and does
                    // not end before `replace` has returned.
                    replace(unsafe { &(*local).value }, value);
                }
            }
        }
    }
}

#[cold]
#[track_caller]
fn gone() -> ! {
    panic!("cannot access a goroutine-local value during or after destruction, or outside any goroutine")
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey { .. }")
    }
}
