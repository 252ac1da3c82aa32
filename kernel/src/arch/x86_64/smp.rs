//! Waking the other cores.
//!
//! ```text
//!   boot core                                        every other core
//!   records, stacks for each core of the MADT
//!   trampoline → 0x8000, mapped to itself
//!   INIT to all, startup IPI to all            ───▶  real mode at 0x8000
//!   goes on to `main`                                long mode with the kernel's tables, in one step
//!   a timer looks who is missing:                    takes a ticket: its record, its stack
//!     another startup IPI, and after                 `start::ap_main`: an M that looks for a P and for work
//!     half a second: "did not answer"
//! ```
//!
//! The boot core does not wait. Old processors want 10 ms between INIT and the startup IPI; the
//! second and third startup IPI cover that, and a core that already runs ignores them. A core is
//! known by its ticket, so that all can come at once. The core then reports its APIC id, so that
//! the boot core can name the missing ones.

use alloc::boxed::Box;
use core::arch::{global_asm, naked_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use trefoil_boot::options::Faults;
use trefoil_boot::{CR0, CR4, DESCRIPTORS, EFER};
use x86_64::registers::control::{Cr0Flags, Cr3};
use x86_64::structures::paging::PageTableFlags;

use super::percpu::{self, MAX_CORES, PerCpu};
use super::{apic, cpu, gdt};
use crate::mm::paging;
use crate::mm::phys_to_virt;
use crate::{platform, println, start};

/// Where the trampoline runs: conventional memory that boot leaves alone.
const TRAMPOLINE: u64 = 0x8000;

global_asm!(
    "
    .section .rodata.trampoline, \"a\"
    .code16
    .globl smp_trampoline
smp_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl smp_gdt_pointer - smp_trampoline
    movl ${cr4}, %eax
    movl %eax, %cr4
    movl smp_trampoline_cr3 - smp_trampoline, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl ${efer}, %eax
    wrmsr
    movl ${cr0}, %eax
    movl %eax, %cr0
    ljmpl $8, $(0x8000 + smp_long - smp_trampoline)
    .code64
smp_long:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movabsq $smp_enter, %rax
    jmpq *%rax
    .balign 8
smp_gdt:
    .quad 0, {code}, {data}
smp_gdt_pointer:
    .word 23
    .long 0x8000 + smp_gdt - smp_trampoline
    .balign 4
    .globl smp_trampoline_cr3
smp_trampoline_cr3:
    .long 0
    .globl smp_trampoline_end
smp_trampoline_end:
    .text
    ",
    cr0 = const CR0.union(Cr0Flags::PROTECTED_MODE_ENABLE).union(Cr0Flags::EXTENSION_TYPE).bits(),
    cr4 = const CR4.bits(),
    efer = const EFER.bits(),
    code = const DESCRIPTORS[0].bits(),
    data = const DESCRIPTORS[1].bits(),
    options(att_syntax)
);

unsafe extern "C" {
    static smp_trampoline: u8;
    static smp_trampoline_cr3: u8;
    static smp_trampoline_end: u8;
}

/// Tickets taken; the boot core has none.
#[unsafe(no_mangle)]
static SMP_TICKETS: AtomicU32 = AtomicU32::new(0);
/// g0's top for each ticket; 0: no such ticket.
static STACKS: [AtomicU64; MAX_CORES] = [const { AtomicU64::new(0) }; MAX_CORES];

/// Takes a ticket and the stack that goes with it. In the higher half, with no stack yet.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn smp_enter() -> ! {
    naked_asm!(
        "mov edi, 1",
        "lock xadd dword ptr [rip + {tickets}], edi",
        "cmp edi, {max}",
        "jae 2f",
        "lea rax, [rip + {stacks}]",
        "mov rsp, [rax + rdi * 8]",
        "test rsp, rsp",
        "jz 2f",
        "xor ebp, ebp",
        "call {main}",
        "2:",
        "cli",
        "hlt",
        "jmp 2b",
        tickets = sym SMP_TICKETS,
        stacks = sym STACKS,
        max = const MAX_CORES,
        main = sym enter,
    )
}

/// Starts the core, on its own g0 stack. Ticket n is record n + 1.
extern "C" fn enter(ticket: u32) -> ! {
    match percpu::get(ticket as usize + 1) {
        Some(core) => crate::start::ap_main(core),
        // A core too many.
        None => cpu::stop(),
    }
}

/// APIC ids of the cores that were called, in the MADT's order; the boot core's is not among them.
static CALLED: [AtomicU32; MAX_CORES] = [const { AtomicU32::new(u32::MAX) }; MAX_CORES];
static CALLED_COUNT: AtomicUsize = AtomicUsize::new(0);
static STEP: AtomicUsize = AtomicUsize::new(0);

/// When to look for missing cores, after the start, in nanoseconds; after the last step a missing
/// core is left out.
const STEPS: [u64; 4] = [300_000, 10_000_000, 50_000_000, 500_000_000];

/// Calls the cores with these APIC ids. Returns when `poll` should be called first, if any was
/// called.
pub fn start(ids: &[u32], faults: Faults, now: u64) -> Option<u64> {
    if ids.is_empty() {
        return None;
    }
    let mut made = 0;
    for index in 1..=ids.len() {
        let core: &'static PerCpu = Box::leak(Box::new(PerCpu::new(index)));
        if !gdt::make_stacks(core) {
            println!(
                "trefoil: no memory for the stacks of {} of {} cores; they are left out",
                ids.len() + 1 - index,
                ids.len() + 1
            );
            break;
        }
        start::make_m(core, platform::sched());
        STACKS[index - 1].store(core.g0_stack().end, Ordering::Relaxed);
        percpu::publish(core);
        made += 1;
    }
    if !lay_trampoline() {
        println!("trefoil: no memory for the other cores' first page; running on the boot core alone");
        return None;
    }
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

fn lay_trampoline() -> bool {
    let (from, cr3_at, end) = (&raw const smp_trampoline, &raw const smp_trampoline_cr3, &raw const smp_trampoline_end);
    let len = end as usize - from as usize;
    let cr3 = Cr3::read().0.start_address().as_u64();
    // SAFETY: copies the trampoline into memory that boot keeps free for it
    // (below 1 MiB, never handed out).
    unsafe {
        let to = phys_to_virt(TRAMPOLINE);
        to.copy_from_nonoverlapping(from, len);
        to.add(cr3_at as usize - from as usize).cast::<u32>().write_unaligned(cr3 as u32);
    }
    // The core turns paging on while it runs there.
    cr3 >> 32 == 0 && paging::map_page(TRAMPOLINE, TRAMPOLINE, PageTableFlags::empty()).is_ok()
}

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
