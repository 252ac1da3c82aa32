//! Memory: physical frames, page tables, kernel stacks, the heap, and the G's stack windows.
//!
//! ```text
//!   0xffff_8000_0000_0000   all physical memory, at one offset: the heap  (boot), heap.rs
//!   0xffff_a000_0000_0000   G stack windows, 8 TiB for each size class     stack.rs
//!   0xffff_c000_0000_0000   kernel stacks, a guard page under each        kstack.rs
//!   0xffff_e000_0000_0000   pieces of the heap that find no run of frames heap/scattered.rs
//!   0xffff_ffff_8000_0000   the image                                     kernel/kernel.ld
//! ```
//!
//! Every lock here is held with preemption off. No handler takes one, except the #PF handler for a
//! growing stack. The #PF handler may have interrupted a holder of any of these locks, so it takes
//! frames from a reserve of its own core (`stack/fault.rs`). When the reserve is low, the handler
//! refills it from the frame pool, under the pool's lock, at any preemption depth. A core marks its
//! use of the pool (`Record::in_pool`), and the handler of that core then leaves the lock alone.

pub mod frames;
pub mod heap;
pub mod kstack;
pub mod paging;
pub mod record;
pub(crate) mod refusal;
pub mod stack;

use bootloader_api::BootInfo;

pub use crate::arch::phys::{PHYS_OFFSET, phys_to_virt};

/// Takes the memory map over. Touches a few frames of the memory in it.
pub fn init(info: &BootInfo) {
    paging::init();
    frames::init(&info.memory_regions);
    heap::init();
}
