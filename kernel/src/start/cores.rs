//! Calls the other cores, and names the missing ones.
//!
//! The boot core does not wait for them. Old processors want 10 ms between INIT and the startup
//! IPI; the second and third startup IPI cover that, and a core that already runs ignores them. A
//! core is known by its ticket, so that all can come at once (`arch/x86_64/smp.rs` draws the way).
//! The core then reports its APIC id, so that the boot core can name the missing ones.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use trefoil_boot::options::Faults;
use trefoil_sched::Sched;

use x86_64::structures::paging::PageTableFlags;

use crate::arch::apic;
use crate::arch::percpu::{self, MAX_CORES};
use crate::arch::smp::{self, TRAMPOLINE};
use crate::mm::paging;
use crate::mm::{kstack, record};
use crate::println;
use crate::scheduler::CPUS;

/// APIC ids of the cores that were called, in the MADT's order; the boot core's is not among them.
static CALLED: [AtomicU32; MAX_CORES] = [const { AtomicU32::new(u32::MAX) }; MAX_CORES];
static CALLED_COUNT: AtomicUsize = AtomicUsize::new(0);
static STEP: AtomicUsize = AtomicUsize::new(0);

/// When to look for missing cores, after the start, in nanoseconds; after the last step a missing
/// core is left out.
const STEPS: [u64; 4] = [300_000, 10_000_000, 50_000_000, 500_000_000];

/// Calls the cores with these APIC ids. Returns when `poll` should be called first, if any was
/// called.
pub fn start(ids: &[u32], faults: Faults, now: u64, sched: &'static Sched) -> Option<u64> {
    if ids.is_empty() {
        return None;
    }
    let mut made = 0;
    for index in 1..=ids.len() {
        let core = record::make(index);
        if !kstack::make_for(core) {
            println!(
                "trefoil: no memory for the stacks of {} of {} cores; they are left out",
                ids.len() + 1 - index,
                ids.len() + 1
            );
            break;
        }
        super::make_m(core, sched);
        smp::give_stack(index, core.g0_stack().end);
        record::publish(core);
        made += 1;
    }
    // A core turns paging on while it runs there.
    if !smp::lay_trampoline() || paging::map_page(TRAMPOLINE, TRAMPOLINE, PageTableFlags::empty()).is_err() {
        println!("trefoil: no memory for the other cores' first page; running on the boot core alone");
        return None;
    }
    CPUS.store(made + 1, Ordering::Relaxed);
    let mut called = 0;
    for (i, &id) in ids[..made].iter().enumerate() {
        CALLED[i].store(id, Ordering::Relaxed);
        called += 1;
        if faults.deaf >> (i + 1) & 1 == 0 {
            apic::send_init(id);
        }
    }
    for (i, &id) in ids[..made].iter().enumerate() {
        if (faults.deaf | faults.late) >> (i + 1) & 1 == 0 {
            apic::send_startup(id, TRAMPOLINE as u32);
        }
    }
    DEAF.store(faults.deaf, Ordering::Relaxed);
    CALLED_COUNT.store(called, Ordering::Release);
    Some(now + STEPS[0])
}

/// Cores that a test keeps from being called.
static DEAF: AtomicU64 = AtomicU64::new(0);

/// Returns true if a core with this APIC id runs.
fn has_come(id: u32) -> bool {
    percpu::all().any(|core| core.has_arrived() && core.lapic_id() == id)
}

/// Looks for missing cores, and calls them again or names them. On a g0, by a timer; returns when
/// to look again.
#[optimize(size)]
pub fn poll(now: u64) -> Option<u64> {
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    let called = &CALLED[..CALLED_COUNT.load(Ordering::Acquire)];
    let missing = || {
        called.iter().enumerate().map(|(i, id)| (i + 1, id.load(Ordering::Relaxed))).filter(|&(_, id)| !has_come(id))
    };
    let last = step + 1 >= STEPS.len();
    if missing().next().is_none() || last {
        for (_, id) in missing() {
            CPUS.fetch_sub(1, Ordering::Relaxed);
            println!("trefoil: the core with APIC id {id} did not answer; it is left out");
        }
        paging::unmap_page(TRAMPOLINE);
        return None;
    }
    for (index, id) in missing() {
        if DEAF.load(Ordering::Relaxed) >> index & 1 == 0 {
            apic::send_startup(id, TRAMPOLINE as u32);
        }
    }
    Some(now + STEPS[step + 1] - STEPS[step])
}
