//! The table of one G's locals, and its end.

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::any::TypeId;
use core::mem::ManuallyDrop;

use crate::core::drops::report_unjoined;
use crate::g::GRef;
use crate::machine::platform;

/// The locals of one G.
pub(super) struct Table {
    /// Drops all of it; see the module.
    end: unsafe fn(GRef),
    /// Open addressing; a power of two, or none.
    slots: Vec<*mut LocalNode>,
    nodes: usize,
    pub(super) newest: *mut LocalNode,
}

/// The part of a local that is the same for all types.
#[repr(C)]
pub(super) struct LocalNode {
    pub(super) key: (usize, TypeId),
    pub(super) older: *mut LocalNode,
    pub(super) drop_value: unsafe fn(*mut LocalNode),
    pub(super) free: unsafe fn(*mut LocalNode),
    pub(super) dropped: bool,
}

#[repr(C)]
pub(super) struct LocalBox<T> {
    pub(super) node: LocalNode,
    pub(super) value: ManuallyDrop<T>,
}

/// Drops the locals of `g`, which calls and ends.
#[inline(always)]
pub(crate) fn end(g: GRef) {
    if let Some(table) = core::ptr::NonNull::new(g.locals.get().cast::<Table>()) {
        // SAFETY: the table belongs to `g`, which runs here.
        let end = unsafe { table.as_ref() }.end;
        // SAFETY: 1. `g` calls, it has a table, and its closure has returned, so it uses no local.
        unsafe { end(g) };
    }
}

/// # Safety
/// 1. `g` calls, has a table, and uses none of its locals.
unsafe fn end_all(g: GRef) {
    let table = g.locals.get().cast::<Table>();
    // SAFETY: 1. `g` has a table, which stays until it is freed below.
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
    // SAFETY: `table_of` made it by `Box::into_raw`, and `locals` does not name it any more.
    let table = unsafe { Box::from_raw(table) };
    let mut at = table.newest;
    while !at.is_null() {
        // SAFETY: 1. `at` is a node of the table, read before it is freed, and `free` is the
        // function for its type.
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
    // SAFETY: 1. `at` is a node or null, and nodes stay while their table does.
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
pub(super) unsafe fn drop_value<T>(node: *mut LocalNode) {
    // SAFETY: 1. `node` begins a `LocalBox<T>`, whose value is alive and is dropped this once.
    unsafe { ManuallyDrop::drop(&mut (*node.cast::<LocalBox<T>>()).value) };
}

/// # Safety
/// 1. `node` begins a boxed `LocalBox<T>` whose value was dropped; once.
pub(super) unsafe fn free<T>(node: *mut LocalNode) {
    // SAFETY: 1. `node` begins a boxed `LocalBox<T>`, which is freed this once.
    drop(unsafe { Box::from_raw(node.cast::<LocalBox<T>>()) });
}

/// Returns the table of `g`, which calls.
pub(super) fn table_of(g: GRef) -> *mut Table {
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

    pub(super) fn find(&self, key: (usize, TypeId)) -> *mut LocalNode {
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
    pub(super) fn reserve(&mut self) {
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

    pub(super) fn insert(&mut self, node: *mut LocalNode) {
        self.place(node);
        self.nodes += 1;
        self.newest = node;
    }
}
