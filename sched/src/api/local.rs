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

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::any::TypeId;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::mem::ManuallyDrop;

use crate::core::drops::report_unjoined;
use crate::core::m::M;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;

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
/// Each is a `static` of type [`LocalKey`](crate::api::local::LocalKey), made by its expression when a
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

/// The locals of one G.
pub(crate) struct Table {
    /// Drops all of it; see the module.
    end: unsafe fn(GRef),
    /// Open addressing; a power of two, or none.
    slots: Vec<*mut LocalNode>,
    nodes: usize,
    newest: *mut LocalNode,
}

/// The part of a local that is the same for all types.
#[repr(C)]
struct LocalNode {
    key: (usize, TypeId),
    older: *mut LocalNode,
    drop_value: unsafe fn(*mut LocalNode),
    free: unsafe fn(*mut LocalNode),
    dropped: bool,
}

#[repr(C)]
struct LocalBox<T> {
    node: LocalNode,
    value: ManuallyDrop<T>,
}

/// Returns the calling G, if a G calls.
fn current() -> Option<GRef> {
    M::current(&PreemptGuard::new()).running()
}

/// Drops the locals of `g`, which calls and ends.
#[inline(always)]
pub(crate) fn end(g: GRef) {
    if let Some(table) = core::ptr::NonNull::new(g.locals.get().cast::<Table>()) {
        // SAFETY: the table is its G's own, which calls.
        let end = unsafe { table.as_ref() }.end;
        // SAFETY: as above.
        unsafe { end(g) };
    }
}

/// Drops the locals of the calling G: for a `main` whose end is the machine's.
pub fn end_current() {
    if let Some(g) = current() {
        end(g);
    }
}

/// # Safety
/// 1. `g` calls, has a table, and uses none of its locals.
unsafe fn end_all(g: GRef) {
    let table = g.locals.get().cast::<Table>();
    // SAFETY: 1. as below.
    let mut newest = unsafe { (*table).newest };
    let mut at = newest;
    loop {
        // SAFETY: 1. the table and its nodes stay until the last has been dropped; no reference to
        // them is kept across a destructor.
        unsafe {
            // Values that a destructor has made since come first: they are newer than all that are
            // left.
            if (*table).newest != newest {
                newest = (*table).newest;
                at = newest;
            }
            at = newest_alive(at);
            if at.is_null() {
                break;
            }
            (*at).dropped = true;
            if let Err(thrown) = platform::catch(call_drop, at.cast()) {
                report_unjoined(platform::caught(thrown), g.id());
            }
        }
    }
    g.locals.set(core::ptr::null_mut());
    // SAFETY: `table_of` made it of a box; nobody else has it any more.
    let table = unsafe { Box::from_raw(table) };
    let mut at = table.newest;
    while !at.is_null() {
        // SAFETY: 1. `at` is a node that is read before it is freed, by the function that its maker
        // has left in it.
        unsafe {
            let older = (*at).older;
            ((*at).free)(at);
            at = older;
        }
    }
}

/// Returns the newest node whose value is alive, from `at` on.
///
/// # Safety
/// 1. `at` is a node, or null.
unsafe fn newest_alive(mut at: *mut LocalNode) -> *mut LocalNode {
    // SAFETY: 1. nodes stay while their table does.
    while let Some(node) = unsafe { at.as_ref() }
        && node.dropped
    {
        at = node.older;
    }
    at
}

unsafe fn call_drop(node: *mut ()) {
    let node = node.cast::<LocalNode>();
    // SAFETY: `end_all` passes a node whose value is alive, once.
    unsafe { ((*node).drop_value)(node) };
}

/// # Safety
/// 1. `node` begins a `LocalBox<T>` whose value is alive; once.
unsafe fn drop_value<T>(node: *mut LocalNode) {
    // SAFETY: 1.
    unsafe { ManuallyDrop::drop(&mut (*node.cast::<LocalBox<T>>()).value) };
}

/// # Safety
/// 1. `node` begins a boxed `LocalBox<T>` whose value was dropped; once.
unsafe fn free<T>(node: *mut LocalNode) {
    // SAFETY: 1.
    drop(unsafe { Box::from_raw(node.cast::<LocalBox<T>>()) });
}

/// Returns the table of `g`, which calls.
fn table_of(g: GRef) -> *mut Table {
    if g.locals.get().is_null() {
        let table = Table { end: end_all, slots: Vec::new(), nodes: 0, newest: core::ptr::null_mut() };
        g.locals.set(Box::into_raw(Box::new(table)).cast());
    }
    g.locals.get().cast()
}

impl Table {
    fn start(&self, key: usize) -> usize {
        // Fibonacci hashing; statics lie some words apart.
        (key >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
    }

    fn find(&self, key: (usize, TypeId)) -> *mut LocalNode {
        let mask = self.slots.len().wrapping_sub(1);
        if self.slots.is_empty() {
            return core::ptr::null_mut();
        }
        let mut at = self.start(key.0) & mask;
        loop {
            let node = self.slots[at];
            // SAFETY: nodes stay while their table does.
            if node.is_null() || unsafe { (*node).key == key } {
                return node;
            }
            at = (at + 1) & mask;
        }
    }

    /// Makes room for one more.
    fn reserve(&mut self) {
        if self.nodes < self.slots.len() / 4 * 3 {
            return;
        }
        let len = (self.slots.len() * 2).max(4);
        let mut slots = Vec::new();
        if slots.try_reserve_exact(len).is_err() {
            handle_alloc_error(Layout::new::<[*mut LocalNode; 4]>());
        }
        slots.resize(len, core::ptr::null_mut());
        let old = core::mem::replace(&mut self.slots, slots);
        old.into_iter().filter(|node| !node.is_null()).for_each(|node| self.place(node));
    }

    fn place(&mut self, node: *mut LocalNode) {
        let mask = self.slots.len() - 1;
        // SAFETY: nodes stay while their table does.
        let mut at = self.start(unsafe { (*node).key.0 }) & mask;
        while !self.slots[at].is_null() {
            at = (at + 1) & mask;
        }
        self.slots[at] = node;
    }

    fn insert(&mut self, node: *mut LocalNode) {
        self.place(node);
        self.nodes += 1;
        self.newest = node;
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
        // SAFETY: as in `existing`.
        unsafe { (*table).reserve() };
        // SAFETY: as above; nothing here calls the program.
        let older = unsafe { (*table).newest };
        let node = LocalNode { key: self.key(), older, drop_value: drop_value::<T>, free: free::<T>, dropped: false };
        let local = Box::into_raw(Box::new(LocalBox { node, value: ManuallyDrop::new(value) }));
        // SAFETY: as above.
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
                    // SAFETY: as in `try_with`.
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

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets this goroutine's value; if it has none yet, without making the initial one.
    ///
    /// # Panics
    /// As [`with`](Self::with).
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
    pub fn set(&'static self, value: T) {
        self.initialize_with(Cell::new(value), |cell, value| cell.set(value.into_inner()));
    }

    /// Returns a copy of this goroutine's value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// assert_eq!(STEPS.get(), 0);
    /// # });
    /// ```
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value and leaves the type's default.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// STEPS.set(7);
    /// assert_eq!((STEPS.take(), STEPS.get()), (7, 0));
    /// # });
    /// ```
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value and returns the old one.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// assert_eq!((STEPS.replace(7), STEPS.get()), (0, 7));
    /// # });
    /// ```
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Runs `f` on this goroutine's value, borrowed.
    ///
    /// # Panics
    /// If it is mutably borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// assert_eq!(SEEN.with_borrow(Vec::len), 0);
    /// # });
    /// ```
    pub fn with_borrow<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Runs `f` on this goroutine's value, mutably borrowed.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// SEEN.with_borrow_mut(|seen| seen.push(3));
    /// assert_eq!(SEEN.take(), [3]);
    /// # });
    /// ```
    pub fn with_borrow_mut<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&mut T) -> R,
    {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets this goroutine's value; if it has none yet, without making the initial one.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// SEEN.set(vec![1]);
    /// assert_eq!(SEEN.take(), [1]);
    /// # });
    /// ```
    pub fn set(&'static self, value: T) {
        self.initialize_with(RefCell::new(value), |cell, value| *cell.borrow_mut() = value.into_inner());
    }

    /// Takes the value and leaves the type's default.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// SEEN.with_borrow_mut(|seen| seen.push(3));
    /// assert_eq!(SEEN.take(), [3]);
    /// # });
    /// ```
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value and returns the old one.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// assert!(SEEN.replace(vec![1]).is_empty());
    /// # });
    /// ```
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey { .. }")
    }
}
