//! The local APIC: end of interrupt, IPIs, and the one-shot timer.
//!
//! Two interfaces: MSRs (x2APIC) where CPUID has them, else registers in memory. In the second the
//! command register takes two writes, so interrupts are off across them.

use core::arch::asm;
use core::arch::x86_64::{_mm_lfence, _mm_mfence};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use trefoil_boot::rest::Rest;
use trefoil_sched::platform::Token;
use x86_64::instructions::interrupts::{self, without_interrupts};
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags, Msr};

use super::cpu::Features;
use super::exceptions::{VECTOR_FLUSH, VECTOR_SPURIOUS, VECTOR_TIMER, VECTOR_WAKE};
use super::phys::phys_to_virt;
use super::{clock, percpu, tlb};

const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// The MSR of register 0 in x2APIC mode.
const X2APIC_FIRST: u32 = 0x800;

const ID: u32 = 0x020;
const EOI: u32 = 0x0b0;
const SPURIOUS: u32 = 0x0f0;
const COMMAND: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
const TSC_DEADLINE_MODE: u32 = 2 << 17;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_STARTUP: u32 = 6 << 8;
const ASSERT: u32 = 1 << 14;
const PENDING: u32 = 1 << 12;

/// How often a busy command register is asked before it is written anyway.
const PATIENCE: u32 = 100_000;

static X2APIC: AtomicBool = AtomicBool::new(false);
static DEADLINE: AtomicBool = AtomicBool::new(false);
static BASE: AtomicU64 = AtomicU64::new(0);
/// Cores rest by `mwait`.
static MWAIT: AtomicBool = AtomicBool::new(false);
/// Timer ticks a second.
static TIMER_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);
/// A one-shot from a tenth of a millisecond to a second tells whether its frequency is right.
const LEARN_FROM: u64 = 100_000;
const LEARN_TO: u64 = 1_000_000_000;
/// A wait longer than this is made in two, the first shorter by this part. The frequency is
/// measured in a tenth of a millisecond, so it may be wrong by some ten-thousandths. A sleep of a
/// second would be late by as many.
const LONG: u64 = 100_000_000;
const LONG_PART: u64 = 512;
/// Counts down from here while it is being measured.
const MEASURE_FROM: u32 = u32::MAX;

/// Returns where a register is without x2APIC. `init_core` found the registers there, and the
/// physical map covers them.
fn in_memory(register: u32) -> *mut u32 {
    (BASE.load(Ordering::Relaxed) + u64::from(register)) as *mut u32
}

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: the register exists in x2APIC mode.
        unsafe { Msr::new(X2APIC_FIRST + (register >> 4)).read() as u32 }
    } else {
        // SAFETY: the register is there.
        unsafe { in_memory(register).read_volatile() }
    }
}

/// Writes a register. Out of line, as `command` is: the code for both interfaces at each of twenty
/// places would be kilobytes.
#[inline(never)]
fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: the register exists in x2APIC mode, and takes all values that this module writes.
        unsafe { Msr::new(X2APIC_FIRST + (register >> 4)).write(u64::from(value)) }
    } else {
        // SAFETY: `init` found the registers there, and the physical map covers them.
        unsafe { in_memory(register).write_volatile(value) }
    }
}

/// Turns this core's APIC on, its timer quiet. Returns its id.
pub fn init_core(features: &Features) -> u32 {
    let (base, mut flags) = ApicBase::read();
    let x2apic = features.x2apic;
    // SAFETY: turns the APIC on, in the mode that CPUID offers; bits 10 and 11 are set in the order
    // the manual wants.
    unsafe {
        flags.insert(ApicBaseFlags::LAPIC_ENABLE);
        ApicBase::write(base, flags);
        if x2apic {
            ApicBase::write(base, flags | ApicBaseFlags::X2APIC_ENABLE);
        }
    }
    X2APIC.store(x2apic, Ordering::Relaxed);
    DEADLINE.store(features.tsc_deadline, Ordering::Relaxed);
    BASE.store(phys_to_virt(base.start_address().as_u64()) as u64, Ordering::Relaxed);
    write(LVT_TIMER, MASKED);
    write(LVT_LINT0, MASKED);
    write(LVT_LINT1, DELIVERY_NMI);
    write(LVT_ERROR, MASKED);
    write(TIMER_DIVIDE, 0b1011);
    write(SPURIOUS, 1 << 8 | u32::from(VECTOR_SPURIOUS));
    write(LVT_TIMER, u32::from(VECTOR_TIMER) | if features.tsc_deadline { TSC_DEADLINE_MODE } else { 0 });
    if x2apic { read(ID) } else { read(ID) >> 24 }
}

/// Cores rest so, all of them. Once, before any does.
pub fn rest_by(how: Rest) {
    MWAIT.store(how == Rest::Mwait, Ordering::Relaxed);
}

/// Lets the timer run down unheard, for the clock to measure: [`count_down`] reads it.
pub fn start_measuring() {
    write(LVT_TIMER, MASKED);
    write(TIMER_INITIAL, MEASURE_FROM);
}

/// Returns the timer's count.
pub fn count_down() -> u64 {
    u64::from(read(TIMER_CURRENT))
}

/// Sets the measurement's result; the timer is then ready for [`arm`].
pub fn set_timer_hz(hz: u64) {
    TIMER_HZ.store(hz, Ordering::Relaxed);
    write(TIMER_INITIAL, 0);
    write(LVT_TIMER, u32::from(VECTOR_TIMER) | if DEADLINE.load(Ordering::Relaxed) { TSC_DEADLINE_MODE } else { 0 });
}

/// Corrects the timer's frequency, measured with a clock that ran at `now` where it was taken for
/// `then`.
pub fn scale_timer_hz(now: u64, then: u64) {
    let hz = u128::from(TIMER_HZ.load(Ordering::Relaxed)) * u128::from(now) / u128::from(then);
    TIMER_HZ.store((hz as u64).max(1), Ordering::Relaxed);
}

/// Arms this core's one-shot for `at` (nanoseconds since boot); `u64::MAX` disarms it. A time that
/// has passed fires at once. One that is far off, or beyond the counter's reach, fires early, and
/// the handler arms the rest. So does one behind the next flush of a series (see `tlb.rs`).
pub fn arm(at: u64) {
    program(at.min(percpu::current().beat.next()));
}

/// The same for that time only.
fn program(at: u64) {
    if DEADLINE.load(Ordering::Relaxed) {
        let deadline = if at == u64::MAX { 0 } else { clock::ticks_at(at).max(1) };
        // SAFETY: CPUID announces the register; 0 disarms.
        return unsafe { Msr::new(IA32_TSC_DEADLINE).write(deadline) };
    }
    let count = if at == u64::MAX {
        // A later interrupt was already on its way, so `learn` has nothing to learn from it.
        percpu::current().one_shot.set((0, 0));
        0
    } else {
        let now = clock::now();
        let mut ns = at.saturating_sub(now);
        if ns > LONG {
            ns -= ns / LONG_PART;
        }
        percpu::current().one_shot.set((now, now + ns));
        let ticks = u128::from(ns) * u128::from(TIMER_HZ.load(Ordering::Relaxed)) / 1_000_000_000 + 1;
        ticks.min(u128::from(u32::MAX)) as u32
    };
    write(TIMER_INITIAL, count);
}

/// Rests until the token of `m` is set, an interrupt comes, or `until` has come. Returns with
/// interrupts on.
///
/// A core that rests by `mwait` marks that before it looks at its token, with a fence in between.
/// The core that sets the token looks at that mark after it, with another fence ([`wake`]). So
/// either this core sees the token, or the other core sees that the store of the token is enough.
pub fn rest_until(until: u64, token: &Token) {
    // Interrupts go off, so that a wake-up that comes after the look at the token waits until `hlt`
    // has begun and ends it: `sti` takes effect after the next instruction.
    interrupts::disable();
    program(until);
    let watches = MWAIT.load(Ordering::Relaxed);
    if watches {
        percpu::current().watches.store(true, Ordering::Relaxed);
        let line = core::ptr::from_ref(token);
        // SAFETY: CPUID has the instruction; it reads the token's line.
        unsafe {
            asm!("mfence", "monitor", in("rax") line, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags))
        };
    }
    if token.is_set() || clock::now() >= until {
        interrupts::enable();
    } else if watches {
        // SAFETY: only turns interrupts on again, and this core's handlers are set up. CPUID has
        // `mwait`, and its hint 0 asks for C1. (The crate has no `sti` right before it.)
        unsafe { asm!("sti", "mwait", in("eax") 0, in("ecx") 0, options(nostack)) };
    } else {
        interrupts::enable_and_hlt();
    }
    if watches {
        percpu::current().watches.store(false, Ordering::Relaxed);
    }
}

/// Makes `core` look at its token, which may have been set.
pub fn wake(core: &percpu::PerCpu) {
    // SeqCst: pairs with the `mfence` in `rest_until`.
    fence(Ordering::SeqCst);
    if !core.watches.load(Ordering::Relaxed) {
        send_wake(core.lapic_id());
    }
}

/// Ends the handler at the APIC.
pub fn eoi() {
    write(EOI, 0);
}

#[inline(never)]
fn command(target: u32, low: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // The MSR write does not wait for earlier stores, which the woken core must see.
        // SAFETY: fences and writes the command register.
        unsafe {
            _mm_mfence();
            _mm_lfence();
            Msr::new(X2APIC_FIRST + (COMMAND >> 4)).write(u64::from(target) << 32 | u64::from(low));
        }
        return;
    }
    // SAFETY: the registers are there; no other code of this core comes between the two writes.
    without_interrupts(|| unsafe {
        for _ in 0..PATIENCE {
            if in_memory(COMMAND).read_volatile() & PENDING == 0 {
                break;
            }
            core::hint::spin_loop();
        }
        in_memory(COMMAND_HIGH).write_volatile(target << 24);
        in_memory(COMMAND).write_volatile(low);
    });
}

/// Tells a core that there is work.
pub fn send_wake(lapic_id: u32) {
    command(lapic_id, u32::from(VECTOR_WAKE) | ASSERT);
}

/// Asks a core to pass an epoch.
pub fn send_flush(lapic_id: u32) {
    command(lapic_id, u32::from(VECTOR_FLUSH) | ASSERT);
}

/// Interrupts a core with any vector: for tests.
pub fn send(lapic_id: u32, vector: u8) {
    command(lapic_id, u32::from(vector) | ASSERT);
}

/// Resets a core.
pub fn send_init(lapic_id: u32) {
    command(lapic_id, DELIVERY_INIT | ASSERT);
}

/// Starts a core that was reset, at `page` (below 1 MiB).
pub fn send_startup(lapic_id: u32, page: u32) {
    command(lapic_id, DELIVERY_STARTUP | ASSERT | page >> 12);
}

/// Interrupts a core in any state: the core stops if a report is under way. Takes no lock.
pub fn send_nmi(lapic_id: u32) {
    command(lapic_id, DELIVERY_NMI | ASSERT);
}

/// Handles the timer's interrupt. Returns true if the running G is to make way.
pub fn on_timer() -> bool {
    eoi();
    learn();
    tlb::on_interrupt();
    percpu::current().m().is_some_and(trefoil_sched::timer_interrupt)
}

/// Corrects the timer's frequency when a one-shot has fired before its time, which costs one more
/// interrupt for the rest. The frequency was measured too low, in a tenth of a millisecond and
/// maybe on a crowded host. The new frequency is the one with which the shot would have been on
/// time. (A late shot is no proof: handlers wait.)
fn learn() {
    let (armed, at) = percpu::current().one_shot.get();
    let (wanted, took) = (at.saturating_sub(armed), clock::now().saturating_sub(armed));
    // Not what was armed far ahead of the counter's end, or too short to tell.
    if !(LEARN_FROM..LEARN_TO).contains(&wanted) || took >= wanted {
        return;
    }
    // Nor the end of what was armed: an interrupt that had come before, and was taken after another
    // one's handler had armed anew, or one that a test has sent.
    if read(TIMER_CURRENT) != 0 {
        return;
    }
    let hz = TIMER_HZ.load(Ordering::Relaxed);
    let better = hz.saturating_mul(wanted) / took.max(wanted / 2);
    // And a little more, 15 millionths: the clock was read some time after the interrupt came.
    TIMER_HZ.store(better + (better >> 16), Ordering::Relaxed);
}

/// Handles a wake-up IPI. Another core has set this M's token, and the interrupt itself ends its
/// rest; or the other core has work that no core takes. As [`on_timer`].
pub fn on_wake() -> bool {
    let core = percpu::current();
    core.wake_ipis.fetch_add(1, Ordering::Relaxed);
    eoi();
    tlb::on_interrupt();
    core.m().is_some_and(trefoil_sched::wake_interrupt)
}

/// Returns the id of the running core.
pub fn id() -> u32 {
    if X2APIC.load(Ordering::Relaxed) { read(ID) } else { read(ID) >> 24 }
}
