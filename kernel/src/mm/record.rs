//! A core's whole record: the processor's part, and memory's part behind it.
//!
//! ```text
//!   gs ──▶ │ PerCpu: depth, M, handlers, GDT, …  │ arch/x86_64/percpu.rs
//!          │ frames, reserve, magazines, …       │ Record, here
//! ```
//!
//! The processor's floor knows the first part only. Both parts lie in one block, so a core reaches
//! either by one load through `gs`. Each record is made here, so behind each [`PerCpu`] there is
//! the rest.

use alloc::boxed::Box;
use core::cell::Cell;
use core::mem::offset_of;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicI64};

use super::frames::FrameCache;
use super::heap::Magazines;
use super::stack::{Deferred, FaultReserve};
use crate::arch::percpu::{self, PerCpu};

/// The record of one core.
#[repr(C, align(64))]
pub struct Record {
    /// The processor's part; first, so that its address is the record's.
    processor: PerCpu,
    /// Free frames; this core with preemption off, and its #PF handler over code at depth 0.
    pub frames: FrameCache,
    /// Frames for growing stacks, used by this core's #PF handler. Other code of this core uses
    /// them with preemption off (`take`, `put_back`, `fill_reserve`), or at boot.
    pub reserve: FaultReserve,
    /// Set while this core uses the pool of frames, or is about to; for its #PF handler.
    pub in_pool: AtomicBool,
    /// Set while this core packs stacks: the heap then serves it down to the packing floor. With
    /// preemption off.
    pub packs: Cell<bool>,
    /// Free heap blocks; this core with preemption off.
    pub magazines: Magazines,
    /// Counters of this core's operations on stacks.
    pub stacks: Stacks,
    /// Heap blocks that the core's #PF handler could not free. Used by that handler, and by this
    /// core with preemption off.
    pub deferred: Deferred,
}

const _: () = assert!(offset_of!(Record, processor) == 0);

/// Counters of one core. A page that this core maps and another core frees counts +1 here and -1
/// there: only the sums over all cores mean something.
#[derive(Debug, Default)]
pub struct Stacks {
    /// Pages mapped in windows.
    pub pages: AtomicI64,
    /// Last-level tables under windows.
    pub tables: AtomicI64,
    /// Tables above those, which are never freed.
    pub upper_tables: AtomicI64,
    /// Packed stacks.
    pub packed: AtomicI64,
    /// Bytes in their blocks, and in those of packed tables.
    pub packed_bytes: AtomicI64,
    /// Pages mapped because their G touched them.
    pub grown: AtomicI64,
    /// Stacks that were unpacked.
    pub unpacked: AtomicI64,
}

impl Stacks {
    const fn new() -> Self {
        Self {
            pages: AtomicI64::new(0),
            tables: AtomicI64::new(0),
            upper_tables: AtomicI64::new(0),
            packed: AtomicI64::new(0),
            packed_bytes: AtomicI64::new(0),
            grown: AtomicI64::new(0),
            unpacked: AtomicI64::new(0),
        }
    }
}

// SAFETY: only this core touches the `Cell`s; every other field is atomic, or its comment names its
// users.
unsafe impl Sync for Record {}

impl Record {
    const fn new(index: usize) -> Self {
        Self {
            processor: PerCpu::new(index),
            frames: FrameCache::new(),
            reserve: FaultReserve::new(),
            in_pool: AtomicBool::new(false),
            packs: Cell::new(false),
            magazines: Magazines::new(),
            stacks: Stacks::new(),
            deferred: Deferred::new(),
        }
    }
}

impl Deref for Record {
    type Target = PerCpu;
    #[inline(always)]
    fn deref(&self) -> &PerCpu {
        &self.processor
    }
}

static BOOT_CORE: Record = Record::new(0);

/// Makes the boot core's record findable, and returns it: the first call of Rust code on the boot
/// core.
pub fn install_boot_core() -> &'static Record {
    install(&BOOT_CORE);
    &BOOT_CORE
}

/// Makes `record` the record of the calling core, which must not have a record yet.
pub fn install(record: &'static Record) {
    // SAFETY: 1. a whole record, which lives for ever.
    unsafe { percpu::install(core::ptr::from_ref(record).cast()) };
}

/// Makes the record of core number `index`. It lives for ever.
pub fn make(index: usize) -> &'static Record {
    Box::leak(Box::new(Record::new(index)))
}

/// Makes a record findable by number, before its core runs.
pub fn publish(record: &'static Record) {
    // SAFETY: 1. a whole record, which lives for ever.
    unsafe { percpu::publish(core::ptr::from_ref(record).cast()) };
}

/// Returns this core's record. Only meaningful while preemption is off, or in a handler.
#[inline(always)]
pub fn current() -> &'static Record {
    // SAFETY: `percpu` knows records made here only; they live for ever.
    unsafe { &*percpu::this().cast() }
}

/// Returns the record of core `index`, if there is one.
pub fn get(index: usize) -> Option<&'static Record> {
    // SAFETY: null, or the address of a record made here, which lives for ever.
    unsafe { percpu::pointer(index).cast::<Record>().as_ref() }
}

/// Iterates over all records.
pub fn all() -> impl Iterator<Item = &'static Record> {
    // SAFETY: each is the address of a record made here, which lives for ever.
    percpu::pointers().map(|record| unsafe { &*record.cast() })
}

/// Adds `n` to the count that lies `OFFSET` bytes into this core's record: an `AtomicU64` that only
/// this core writes. The addition is one instruction, so preemption falls before or after it.
#[inline(always)]
pub fn add<const OFFSET: usize>(n: u64) {
    const { assert!(OFFSET.is_multiple_of(8) && OFFSET + 8 <= size_of::<Record>()) };
    // SAFETY: 1. the count lies in the record, and no reference to what is inside an atomic is
    // alive.
    unsafe { percpu::add::<OFFSET>(n) };
}
