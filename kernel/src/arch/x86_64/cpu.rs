//! The features of this processor, read once from CPUID, and the control bits that every core sets.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::Ordering;

use trefoil_boot::rest::{Rest, rest};

use super::{mem, tlb};

/// The facts that the kernel decides by.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// `rep movsb` is fast.
    pub erms: bool,
    /// The local APIC has the MSR interface.
    pub x2apic: bool,
    /// The local APIC timer can wait for a TSC value.
    pub tsc_deadline: bool,
    /// Supervisor-mode execution prevention.
    pub smep: bool,
    /// Supervisor-mode access prevention.
    pub smap: bool,
    /// User-mode instruction prevention.
    pub umip: bool,
    /// Machine checks can be delivered.
    pub machine_check: bool,
    /// A hypervisor says that it is there.
    pub hypervisor: bool,
    /// `xsave` and its friends.
    pub xsave: bool,
    /// How it waits for work.
    pub rest: Rest,
}

impl Features {
    /// Asks CPUID.
    pub fn read() -> Self {
        let (zero, one) = (__cpuid(0), __cpuid(1));
        // Leaf 7, or nothing.
        let (ebx, ecx) = match zero.eax {
            7.. => {
                let seven = __cpuid_count(7, 0);
                (seven.ebx, seven.ecx)
            }
            _ => (0, 0),
        };
        Self {
            erms: ebx >> 9 & 1 == 1,
            x2apic: one.ecx >> 21 & 1 == 1,
            tsc_deadline: one.ecx >> 24 & 1 == 1,
            smep: ebx >> 7 & 1 == 1,
            smap: ebx >> 20 & 1 == 1,
            umip: ecx >> 2 & 1 == 1,
            machine_check: one.edx >> 7 & 1 == 1,
            hypervisor: one.ecx >> 31 & 1 == 1,
            xsave: one.ecx >> 26 & 1 == 1,
            rest: rest([zero.eax, zero.ebx], [one.eax, one.ecx]),
        }
    }
}

/// Sets this core's protection bits: WP, and SMEP, SMAP, UMIP where present; and MCE, without which
/// a machine check is a reset instead of a report. SSE is on since boot (or the trampoline).
pub fn init_core() -> Features {
    const CR0_WP: u64 = 1 << 16;
    let features = Features::read();
    let wanted = u64::from(features.machine_check) << 6
        | u64::from(features.umip) << 11
        | u64::from(features.smep) << 20
        | u64::from(features.smap) << 21;
    let (mut cr0, mut cr4): (u64, u64);
    // SAFETY: reads and sets architectural bits that CPUID announces; the kernel has no user pages,
    // so SMEP and SMAP forbid nothing that it does.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4, options(nomem, nostack, preserves_flags));
        cr0 |= CR0_WP;
        cr4 |= wanted;
        asm!("mov cr0, {}", "mov cr4, {}", in(reg) cr0, in(reg) cr4, options(nostack, preserves_flags));
    }
    if features.xsave {
        enable_xsave();
    }
    // QEMU's translator announces it, and takes a `rep` byte by byte: 64 KiB take ten times as long
    // as by the loop.
    mem::FAST_REP.store(features.erms && !tlb::is_translator(&features), Ordering::Relaxed);
    features
}

/// Returns the state components in `present`, as XCR0 numbers them, that G's may use: x87, SSE, and
/// where present AVX and AVX-512, whose three parts come together or not at all. (Not AMX: 8 KiB
/// for state that no code here uses.)
pub const fn vector_state(present: u32) -> u32 {
    const AVX512: u32 = 0b1110_0000;
    present & if present & (AVX512 | 0b100) == AVX512 | 0b100 { AVX512 | 0b111 } else { 0b111 }
}

/// Turns these components on, and tells the preemption code how many bytes they take.
fn enable_xsave() {
    const CR4_OSXSAVE: u64 = 1 << 18;
    let mask = vector_state(__cpuid_count(0xd, 0).eax);
    // SAFETY: CPUID announces the instructions and these components; x87 and SSE are always among
    // them.
    unsafe {
        let mut cr4: u64;
        asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags));
        cr4 |= CR4_OSXSAVE;
        asm!("mov cr4, {}", in(reg) cr4, options(nostack, preserves_flags));
        asm!("xsetbv", in("ecx") 0, in("eax") mask, in("edx") 0, options(nostack, preserves_flags));
    }
    // For what is on now.
    super::preempt::set_xsave_bytes(__cpuid_count(0xd, 0).ebx);
}

/// Returns true if interrupts are on.
#[inline(always)]
pub fn interrupts_are_on() -> bool {
    let flags: u64;
    // SAFETY: reads the flags, by way of the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags >> 9 & 1 == 1
}

/// Returns the local APIC's id as CPUID tells it: 32 bits if leaf 0xB is there.
pub fn initial_apic_id() -> u32 {
    if __cpuid(0).eax >= 0xb {
        let leaf = __cpuid_count(0xb, 0);
        if leaf.ebx != 0 {
            return leaf.edx;
        }
    }
    __cpuid(1).ebx >> 24
}

/// Writes a model-specific register.
///
/// # Safety
/// 1. The register exists, and the value is right for it.
#[inline(always)]
pub unsafe fn write_msr(register: u32, value: u64) {
    // SAFETY: the caller's: the register exists, and the value is right for it, so the write does
    // not fault.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack, preserves_flags));
    }
}

/// Reads a model-specific register.
///
/// # Safety
/// 1. The register exists.
#[inline(always)]
pub unsafe fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's: the register exists, so the read does not fault.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a byte to an I/O port.
///
/// # Safety
/// 1. The caller wants the device's reaction to the byte.
#[inline(always)]
pub unsafe fn outb(port: u16, value: u8) {
    // SAFETY: the caller's: the device's reaction to the byte is wanted. The instruction touches no
    // memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads a byte from an I/O port.
///
/// # Safety
/// 1. Reading has no unwanted effect on the device there.
#[inline(always)]
pub unsafe fn inb(port: u16) -> u8 {
    let value: u8;
    // SAFETY: the caller's: reading has no unwanted effect on the device. The instruction touches
    // no memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reads an I/O port once for each of `into`, by one instruction: under a hypervisor that is one
/// exit.
///
/// # Safety
/// 1. As for [`inb`].
#[inline(always)]
pub unsafe fn insb(port: u16, into: &mut [u8]) {
    // SAFETY: 1. writes `into`, from its start to its end, upwards: compiled code keeps DF clear.
    unsafe {
        asm!("rep insb", in("dx") port, inout("rdi") into.as_mut_ptr() => _, inout("rcx") into.len() => _,
            options(nostack, preserves_flags))
    };
}

/// Writes `bytes` to a port, one after the other.
///
/// # Safety
/// 1. As for [`outb`].
#[inline(always)]
pub unsafe fn outsb(port: u16, bytes: &[u8]) {
    // SAFETY: 1. reads `bytes`, from their start to their end, upwards: compiled code keeps DF
    // clear.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(nostack, preserves_flags, readonly))
    };
}

/// Runs `f` with interrupts off on this core, and restores the old state.
#[inline(always)]
pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
    let flags: u64;
    // SAFETY: turns interrupts off and reads the flags; the old state is restored below.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags, options(nomem)) };
    let result = f();
    if flags >> 9 & 1 == 1 {
        // SAFETY: interrupts were on before, so this core can take them.
        unsafe { asm!("sti", options(nomem, nostack)) };
    }
    result
}

/// Turns interrupts on.
///
/// # Safety
/// 1. The core's IDT, TSS and APIC are set up.
pub unsafe fn enable_interrupts() {
    // SAFETY: the caller's: IDT, TSS and APIC are set up, so this core can take an interrupt.
    unsafe { asm!("sti", options(nomem, nostack)) };
}

/// Turns interrupts off for good: a report begins.
pub fn disable_interrupts() {
    // SAFETY: a handler that does not run touches nothing.
    unsafe { asm!("cli", options(nomem, nostack)) };
}

/// Stops this core. An NMI wakes it up only to stop it again.
pub fn stop() -> ! {
    loop {
        // SAFETY: does nothing, for ever.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Returns the address of the last page fault.
pub fn cr2() -> u64 {
    let addr: u64;
    // SAFETY: reads a register. Not `nomem`: a fault changes it.
    unsafe { asm!("mov {}, cr2", out(reg) addr, options(nostack, preserves_flags)) };
    addr
}

/// Returns the root of the page tables.
pub fn cr3() -> u64 {
    let root: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    root
}
