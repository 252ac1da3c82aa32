//! The other cores' way from their startup IPI to the kernel. `start/cores.rs` calls them.
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
//! A core is known by its ticket, so that all can come at once.

use core::arch::{global_asm, naked_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use trefoil_boot::{CR0, CR4, DESCRIPTORS, EFER};
use x86_64::registers::control::{Cr0Flags, Cr3};

use super::percpu::MAX_CORES;
use super::phys::phys_to_virt;
use super::upcalls::upcalls;

/// Where the trampoline runs: conventional memory that boot leaves alone.
pub(crate) const TRAMPOLINE: u64 = 0x8000;

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
    (upcalls().core_starts)(ticket as usize + 1)
}

/// Gives the core of number `index` its g0 stack, which ends at `top`.
pub(crate) fn give_stack(index: usize, top: u64) {
    STACKS[index - 1].store(top, Ordering::Relaxed);
}

/// Copies the trampoline to its page. Returns false if the other cores can't use the kernel's
/// tables from there.
pub(crate) fn lay_trampoline() -> bool {
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
    cr3 >> 32 == 0
}
