//! The features of this processor, read once from CPUID, and the control bits that every core sets.

use core::arch::asm;
use core::sync::atomic::Ordering;

use raw_cpuid::{CpuId, ExtendedFeatures, FeatureInfo, cpuid};
use trefoil_boot::rest::{Rest, rest};
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

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
        let cpu = CpuId::new();
        let basic = cpu.get_feature_info();
        let extended = cpu.get_extended_feature_info();
        let has = |f: fn(&FeatureInfo) -> bool| basic.as_ref().is_some_and(f);
        let has_extended = |f: fn(&ExtendedFeatures) -> bool| extended.as_ref().is_some_and(f);
        Self {
            erms: has_extended(ExtendedFeatures::has_rep_movsb_stosb),
            x2apic: has(FeatureInfo::has_x2apic),
            tsc_deadline: has(FeatureInfo::has_tsc_deadline),
            smep: has_extended(ExtendedFeatures::has_smep),
            smap: has_extended(ExtendedFeatures::has_smap),
            umip: has_extended(ExtendedFeatures::has_umip),
            machine_check: has(FeatureInfo::has_mce),
            hypervisor: has(FeatureInfo::has_hypervisor),
            xsave: has(FeatureInfo::has_xsave),
            rest: rest(&cpu),
        }
    }
}

/// Sets this core's protection bits: WP, and SMEP, SMAP, UMIP where present; and MCE, without which
/// a machine check is a reset instead of a report. SSE is on since boot (or the trampoline).
#[optimize(size)]
pub fn init_core() -> Features {
    let features = Features::read();
    // SAFETY: sets bits that every processor has, or that CPUID announces. The kernel has no user
    // pages, so SMEP and SMAP forbid nothing that it does.
    unsafe {
        Cr0::update(|cr0| cr0.insert(Cr0Flags::WRITE_PROTECT));
        Cr4::update(|cr4| {
            cr4.set(Cr4Flags::MACHINE_CHECK_EXCEPTION, features.machine_check);
            cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip);
            cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.smep);
            cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.smap);
        });
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
pub const fn vector_state(present: u32) -> XCr0Flags {
    const UP_TO_AVX: XCr0Flags = XCr0Flags::X87.union(XCr0Flags::SSE).union(XCr0Flags::AVX);
    const AVX512: XCr0Flags = XCr0Flags::OPMASK.union(XCr0Flags::ZMM_HI256).union(XCr0Flags::HI16_ZMM);
    let present = XCr0Flags::from_bits_truncate(present as u64);
    let wanted = if present.contains(AVX512.union(XCr0Flags::AVX)) { UP_TO_AVX.union(AVX512) } else { UP_TO_AVX };
    present.intersection(wanted)
}

/// Turns these components on, and tells the preemption code how many bytes they take.
fn enable_xsave() {
    let mask = vector_state(cpuid!(0xd).eax);
    // SAFETY: CPUID announces the instructions and these components; x87 and SSE are always among
    // them.
    unsafe {
        Cr4::update(|cr4| cr4.insert(Cr4Flags::OSXSAVE));
        XCr0::write_raw(mask.bits());
    }
    // For what is on now.
    super::preempt::set_xsave_bytes(cpuid!(0xd).ebx);
}

/// Returns the local APIC's id as CPUID tells it: 32 bits if leaf 0xB is there.
pub fn initial_apic_id() -> u32 {
    let cpu = CpuId::new();
    let wide = cpu.get_extended_topology_info().and_then(|mut levels| levels.next()).map(|level| level.x2apic_id());
    let narrow = || cpu.get_feature_info().map_or(0, |features| u32::from(features.initial_local_apic_id()));
    wide.unwrap_or_else(narrow)
}

/// Reads an I/O port once for each of `into`, by one instruction: under a hypervisor that is one
/// exit.
///
/// # Safety
/// 1. Reading has no unwanted effect on the device there.
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
/// 1. The caller wants the device's reaction to the bytes.
#[inline(always)]
pub unsafe fn outsb(port: u16, bytes: &[u8]) {
    // SAFETY: 1. reads `bytes`, from their start to their end, upwards: compiled code keeps DF
    // clear.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(nostack, preserves_flags, readonly))
    };
}

/// Stops this core. An NMI wakes it up only to stop it again.
pub fn stop() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}
