//! QEMU's translator (TCG) and its TLB, which grows only when the guest flushes it.
//!
//! The translator keeps the addresses that a core has used last in a table of 256 entries. Each
//! entry covers 4 KiB for any page size of the guest, so the table covers 1 MiB. At each flush the
//! translator doubles the table if most of it was in use, and halves it if little was in use for
//! 100 ms. Other kernels flush at each change of process. Trefoil has one address space, and
//! flushes when stacks give pages back. Without flushes a program with more data than that mebibyte
//! takes the slow path at every other access. A matrix product of 400 × 400 runs 5 to 10 times
//! slower, accesses to random words of 4 MiB 20 times.
//!
//! So, only where CPUID names the translator, cores flush for the table's sake:
//!
//! ```text
//!   the heap takes 512 KiB from the pool       ──▶ this core: a series of 12 flushes, 1, 2, 4 … 64, 64 ms apart, by its one-shot
//!     (stacks, caches and the rest: 8 MiB)         another core: the same, when it gets up or is interrupted
//!   any timer or wake-up interrupt             ──▶ a flush, if the last one is 10 ms ago
//! ```
//!
//! Twelve doublings are enough for 4 GiB. A series ends, so that a G that runs alone is not
//! interrupted for ever, and a core at rest is not woken for one. A reload of CR3 may come at any
//! instruction: the processor finds valid entries again.
//!
//! On a processor, and on a hypervisor that uses one, all of this is a load and a branch. Code runs
//! them where it takes memory, when a core gets up, and in interrupts.
//!
//! The runner hides the translator's name where it counts instructions (`ICOUNT=1`), so such
//! figures are those of a machine without flushes.
//!
//! Rejected: reloads at boot, since the table grows only if most of its entries are in use. Also
//! rejected: reloads at each scheduling point (a G that runs alone has none), and a beat that never
//! ends.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use x86_64::instructions::tlb;

use raw_cpuid::{CpuId, Hypervisor};

use super::clock;
use super::cpu::Features;
use super::percpu;

/// Frames that make a series: the heap's weigh more, for its pages are data. A series takes half as
/// many of those as there are entries in the translator's smallest table.
const SERIES_AFTER: u64 = 128 * OF_HEAP;
const OF_HEAP: u64 = 16;
/// Flushes in a series.
const FLUSHES: u32 = 12;
/// The distance of the first flush in nanoseconds, and how often the distance doubles.
const FIRST: u64 = 1_000_000;
const DOUBLINGS: u32 = 6;
/// An interrupt flushes if the last flush is so many nanoseconds ago.
const BESIDE: u64 = 10_000_000;

/// Set if the machine is QEMU's translator.
static TRANSLATED: AtomicBool = AtomicBool::new(false);
/// Frames that were ever taken from the pool since boot, by weight.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// A core's flushes. Used by this core with preemption off, and by its handlers. If one overwrites
/// a value of the other, the result is one flush more or less.
#[derive(Debug)]
pub struct Beat {
    /// Flushes left of the series.
    left: Cell<u32>,
    /// When the next flush is due; `u64::MAX`: never.
    next: Cell<u64>,
    /// When the last flush was.
    last: Cell<u64>,
    /// [`TAKEN`] when the series began.
    taken: Cell<u64>,
}

impl Beat {
    /// Creates the state without a series.
    pub const fn new() -> Self {
        Self { left: Cell::new(0), next: Cell::new(u64::MAX), last: Cell::new(0), taken: Cell::new(0) }
    }

    /// Returns when this core's one-shot must ring for the next flush at the latest.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next.get()
    }

    /// Begins a series if enough memory was taken since the last one began. Returns true if it did.
    fn begin(&self) -> bool {
        let taken = TAKEN.load(Ordering::Relaxed);
        if taken - self.taken.get().min(taken) < SERIES_AFTER {
            return false;
        }
        self.taken.set(taken);
        let runs = self.left.replace(FLUSHES) > 0;
        if !runs {
            self.next.set(clock::now() + FIRST);
        }
        !runs
    }

    /// Records a flush at `now`.
    fn flushed(&self, now: u64) {
        self.last.set(now);
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        self.next.set(if left == 0 { u64::MAX } else { now + (FIRST << (FLUSHES - left).min(DOUBLINGS)) });
    }
}

impl Default for Beat {
    fn default() -> Self {
        Self::new()
    }
}

/// Drops this core's TLB entries of the windows.
pub fn flush_tlb() {
    // Reloads the same tables; the processor finds valid entries again.
    tlb::flush_all();
}

/// Asks CPUID for the machine's maker. Called once, when boot has taken the memory that it needs.
pub fn init(features: &Features) {
    TRANSLATED.store(is_translator(features), Ordering::Relaxed);
}

/// Returns true if the machine is QEMU's translator.
pub(super) fn is_translator(features: &Features) -> bool {
    features.hypervisor && CpuId::new().get_hypervisor_info().is_some_and(|it| it.identify() == Hypervisor::QEMU)
}

/// Records that `frames` frames have left the pool for the heap, on this core. With preemption off,
/// not in a handler.
#[inline]
pub fn taken_by_heap(frames: u64) {
    taken(OF_HEAP * frames);
}

/// Records the same for other users of frames.
#[inline]
pub fn taken(frames: u64) {
    if TRANSLATED.load(Ordering::Relaxed) {
        // Not one atomic step: a lost count makes a series come later.
        TAKEN.store(TAKEN.load(Ordering::Relaxed) + frames, Ordering::Relaxed);
        get_up();
    }
}

/// Begins a series if enough memory was taken, when this core has rested or takes memory. With
/// preemption off.
#[inline]
pub fn rise() {
    if TRANSLATED.load(Ordering::Relaxed) {
        get_up();
    }
}

#[cold]
#[inline(never)]
fn get_up() {
    let core = percpu::current();
    if core.beat.begin()
        && let Some(m) = core.m()
    {
        m.arm_again();
    }
}

/// Flushes in a timer or wake-up interrupt of this core, before its one-shot is armed again.
#[inline]
pub fn on_interrupt() {
    if TRANSLATED.load(Ordering::Relaxed) {
        beat();
    }
}

#[cold]
#[inline(never)]
fn beat() {
    let (beat, now) = (&percpu::current().beat, clock::now());
    beat.begin();
    if now >= beat.next.get() || now - beat.last.get().min(now) >= BESIDE {
        flush_tlb();
        beat.flushed(now);
    }
}
