//! The kernel's own stacks: g0 and the IST stacks of every core, each with an unmapped guard page
//! below.
//!
//! ```text
//!   slot n of the region (64 KiB):   │ guard, never mapped … │ pages of the stack │
//!                                    lo                       hi - size            hi
//! ```

use core::ops::Range;
use core::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

use x86_64::VirtAddr;

use super::frames::{self, FRAME};
use super::paging;
use crate::arch::gdt;
use crate::arch::percpu::PerCpu;

const BASE: u64 = 0xffff_c000_0000_0000;
const SLOT: u64 = 64 << 10;
/// Eight stacks for each of 64 cores, and some to spare.
const SLOTS: usize = 64 * 9;

/// The use of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// The context in which a core looks for work.
    G0 = 0,
    /// Double fault.
    DoubleFault = 1,
    /// Page fault.
    PageFault = 2,
    /// Non-maskable interrupt.
    Nmi = 3,
    /// Machine check.
    MachineCheck = 4,
    /// Debug exception.
    Debug = 5,
    /// All other exceptions.
    Exceptions = 6,
    /// Vectors from 32 on.
    Interrupts = 7,
}

impl Purpose {
    /// All purposes on an IST entry, in the order of the entries.
    pub const IST: [Self; 7] = [
        Self::DoubleFault,
        Self::PageFault,
        Self::Nmi,
        Self::MachineCheck,
        Self::Debug,
        Self::Exceptions,
        Self::Interrupts,
    ];

    /// Returns a name for reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::G0 => "g0",
            Self::DoubleFault => "#DF",
            Self::PageFault => "#PF",
            Self::Nmi => "NMI",
            Self::MachineCheck => "#MC",
            Self::Debug => "#DB",
            Self::Exceptions => "exception",
            Self::Interrupts => "interrupt",
        }
    }

    fn from_u8(n: u8) -> Self {
        if n == 0 { Self::G0 } else { Self::IST[(n as usize - 1) % Self::IST.len()] }
    }
}

static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Pages of all stacks.
static PAGES: AtomicUsize = AtomicUsize::new(0);
/// Owner of each slot: core * 8 + purpose + 1; 0: none.
static OWNERS: [AtomicU16; SLOTS] = [const { AtomicU16::new(0) }; SLOTS];

/// Allocates a stack of `pages` pages (at most 15) for core `core`. `None`: no memory, or no slot.
#[optimize(size)]
pub fn alloc(pages: u64, core: usize, purpose: Purpose) -> Option<Range<u64>> {
    let slot = NEXT.fetch_add(1, Ordering::Relaxed);
    OWNERS.get(slot)?.store((core * 8 + purpose as usize + 1) as u16, Ordering::Relaxed);
    let hi = BASE + (slot as u64 + 1) * SLOT;
    let lo = hi - pages.min(SLOT / FRAME - 1) * FRAME;
    for page in (lo..hi).step_by(FRAME as usize) {
        paging::map_page(page, frames::alloc()?, paging::DATA).ok()?;
        PAGES.fetch_add(1, Ordering::Relaxed);
    }
    Some(lo..hi)
}

/// Pages of g0's stack.
const G0_PAGES: u64 = 8;

/// Gives `core` its IST stacks and g0. Before it starts, or (boot core) while no handler runs.
/// Returns false if there is no memory.
#[inline(never)]
#[optimize(size)]
pub fn make_for(core: &PerCpu) -> bool {
    let mut tops = [VirtAddr::zero(); 7];
    for (top, purpose) in tops.iter_mut().zip(Purpose::IST) {
        let Some(stack) = alloc(gdt::IST_PAGES, core.index(), purpose) else { return false };
        *top = VirtAddr::new_truncate(stack.end);
    }
    let Some(g0) = alloc(G0_PAGES, core.index(), Purpose::G0) else { return false };
    gdt::set_stacks(core, tops, g0);
    true
}

/// The lowest address of the stack that the image was entered on; an unmapped page lies below it.
static BOOT: AtomicU64 = AtomicU64::new(0);

/// Remembers the boot stack, for reports.
pub fn set_boot_stack(lowest: u64) {
    BOOT.store(lowest, Ordering::Relaxed);
}

/// Returns the lowest address of the boot stack.
pub fn boot_stack() -> u64 {
    BOOT.load(Ordering::Relaxed)
}

/// Returns how many pages the stacks have together.
pub fn pages() -> u64 {
    PAGES.load(Ordering::Relaxed) as u64
}

/// Returns true if `addr` lies in the guard page below the boot stack.
pub fn is_boot_guard(addr: u64) -> bool {
    boot_stack().checked_sub(addr).is_some_and(|below| (1..=FRAME).contains(&below))
}

/// Returns the owner of the stack (or guard page) that `addr` lies in.
pub fn owner(addr: u64) -> Option<(usize, Purpose)> {
    let slot = addr.checked_sub(BASE)? / SLOT;
    match OWNERS.get(slot as usize)?.load(Ordering::Relaxed) {
        0 => None,
        n => Some(((n as usize - 1) / 8, Purpose::from_u8(((n - 1) % 8) as u8))),
    }
}
