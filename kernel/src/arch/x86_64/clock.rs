//! The clock: the time-stamp counter, scaled to nanoseconds since boot.
//!
//! CPUID tells the frequency on some processors. Otherwise the kernel measures it twice. A first
//! estimate against the ACPI PM timer or the PIT takes 100 µs (good to about 1 %), so that boot
//! does not spin for milliseconds. A better one comes [`REFINE_AFTER`] later, while the program
//! runs.
//!
//! The clock is a function of the counter alone: the first scale up to the tick `SWITCH`, the
//! second from there on, where both agree. **The hard race** is a core that computes while the
//! second scale is published, and may be delayed at any point. Such a core reads the counter
//! *first*. The second scale is published `AHEAD` before its tick comes, so a core that reads a
//! tick behind `SWITCH` sees it.
//!
//! Rejected: an index of the valid scale. A core may read the index and then be delayed for a
//! millisecond. Such a core computes with the old scale while others use the new one, and the clock
//! goes back by the difference.
//!
//! The clock relies on the counters of all cores running together, as they do since Nehalem and
//! under QEMU. `check_core` measures that as each core arrives.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use core::arch::x86_64::_rdtsc;

use raw_cpuid::CpuId;
use x86_64::instructions::port::{Port, PortReadOnly, PortWriteOnly};

/// When the scale is measured again: 30 ms, within one round of the PIT's 16 bits.
pub const REFINE_AFTER: u64 = 30_000_000;
/// How far ahead the refined scale is published: 250 ms.
const AHEAD: u64 = 250_000_000;
/// How long the first measurement takes, in nanoseconds.
const FIRST: u64 = 100_000;

const PIT_HZ: u64 = 1_193_182;
const PM_HZ: u64 = 3_579_545;

/// Ticks to nanoseconds: `base_ns + (ticks - base_ticks) * scale >> 32`.
struct Scale {
    base_ticks: AtomicU64,
    base_ns: AtomicU64,
    scale: AtomicU64,
}

static SCALES: [Scale; 2] =
    [const { Scale { base_ticks: AtomicU64::new(0), base_ns: AtomicU64::new(0), scale: AtomicU64::new(1 << 32) } }; 2];
/// From this tick on the second scale holds.
static SWITCH: AtomicU64 = AtomicU64::new(u64::MAX);
static TSC_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);
static REFERENCE: AtomicUsize = AtomicUsize::new(0);

/// The reference that the counter is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// CPUID says the frequency.
    Cpuid,
    /// The ACPI PM timer at this port.
    PmTimer(u16),
    /// The PIT's channel 0.
    Pit,
    /// Nothing: ticks are taken for nanoseconds.
    None,
}

impl Reference {
    /// Returns the frequency, and the mask of the counter.
    fn hz(self) -> (u64, u64) {
        match self {
            Self::PmTimer(_) => (PM_HZ, 0xff_ffff),
            _ => (PIT_HZ, 0xffff),
        }
    }

    /// Counts up, modulo its mask.
    fn read(self) -> u64 {
        match self {
            // SAFETY: the FADT names this port for reading.
            Self::PmTimer(port) => u64::from(unsafe { PortReadOnly::<u32>::new(port).read() }) & 0xff_ffff,
            _ => pit_read(),
        }
    }

    /// Returns true if the counter moves.
    fn runs(self) -> bool {
        let first = self.read();
        (0..1000).any(|_| self.read() != first)
    }
}

/// Returns the PIT's command register, and its channel 0.
const fn pit() -> (PortWriteOnly<u8>, Port<u8>) {
    (PortWriteOnly::new(0x43), Port::new(0x40))
}

/// Starts channel 0 as a free-running 16-bit counter.
fn pit_start() {
    let (mut command, mut channel) = pit();
    // SAFETY: the PIT's ports, or nothing; its interrupt line is masked.
    unsafe {
        command.write(0x34);
        channel.write(0);
        channel.write(0);
    }
}

fn pit_read() -> u64 {
    let (mut command, mut channel) = pit();
    // SAFETY: latches and reads channel 0.
    let count = unsafe {
        command.write(0);
        u64::from(channel.read()) | u64::from(channel.read()) << 8
    };
    (0x1_0000 - count) & 0xffff
}

/// Returns the raw counter.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every processor with long mode has it.
    unsafe { _rdtsc() }
}

/// Nanoseconds since boot. Never backwards. Out of line: it is read in many places, on no hot path.
#[inline(never)]
pub fn now() -> u64 {
    let ticks = ticks();
    // Acquire: pairs with the Release in `refine`: the second scale is complete.
    let scale = &SCALES[usize::from(ticks >= SWITCH.load(Ordering::Acquire))];
    scale.at(ticks)
}

impl Scale {
    #[inline]
    fn at(&self, ticks: u64) -> u64 {
        let since = ticks.wrapping_sub(self.base_ticks.load(Ordering::Relaxed));
        // A core whose counter is a little behind the one that set the scale reads the base.
        let since = if since as i64 >= 0 { since } else { 0 };
        let ns = ((u128::from(since) * u128::from(self.scale.load(Ordering::Relaxed))) >> 32) as u64;
        self.base_ns.load(Ordering::Relaxed) + ns
    }
}

fn set_scale(slot: usize, base_ticks: u64, base_ns: u64, hz: u64) {
    let scale = &SCALES[slot];
    scale.base_ticks.store(base_ticks, Ordering::Relaxed);
    scale.base_ns.store(base_ns, Ordering::Relaxed);
    scale.scale.store(((1_000_000_000u128 << 32) / u128::from(hz)) as u64, Ordering::Relaxed);
    TSC_HZ.store(hz, Ordering::Relaxed);
}

/// Writes the scales as lines of a trace's META.
#[cfg(feature = "trace")]
pub fn describe(out: &mut dyn core::fmt::Write) -> core::fmt::Result {
    // Acquire: pairs with the Release in `refine`.
    let switch = SWITCH.load(Ordering::Acquire);
    for (i, scale) in SCALES.iter().enumerate().take(1 + usize::from(switch != u64::MAX)) {
        let value = |word: &AtomicU64| word.load(Ordering::Relaxed);
        writeln!(out, "clock {i} {} {} {}", value(&scale.base_ticks), value(&scale.base_ns), value(&scale.scale))?;
    }
    if switch != u64::MAX {
        writeln!(out, "clock-switch {switch}")?;
    }
    Ok(())
}

/// Ticks a second, as well as it is known.
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Returns the TSC value at `ns`, for a timer that waits for one.
pub fn ticks_at(ns: u64) -> u64 {
    let switched = SWITCH.load(Ordering::Acquire) != u64::MAX && ns >= SCALES[1].base_ns.load(Ordering::Relaxed);
    let scale = &SCALES[usize::from(switched)];
    let since = ns.saturating_sub(scale.base_ns.load(Ordering::Relaxed));
    let per = u128::from(scale.scale.load(Ordering::Relaxed)).max(1);
    // One tick more: never early.
    let ticks = ((u128::from(since) << 32) / per + 1).min(u128::from(u64::MAX >> 1)) as u64;
    scale.base_ticks.load(Ordering::Relaxed).saturating_add(ticks)
}

/// Returns the frequency that CPUID or a hypervisor tells, if they do.
fn told_hz() -> Option<u64> {
    let cpu = CpuId::new();
    let by_hypervisor = || cpu.get_hypervisor_info()?.tsc_frequency().filter(|&khz| khz != 0);
    let told = cpu.get_tsc_info().and_then(|info| info.tsc_frequency());
    told.or_else(|| by_hypervisor().map(|khz| u64::from(khz) * 1000))
}

/// First measurement, kept for the second.
static FIRST_TICKS: AtomicU64 = AtomicU64::new(0);
static FIRST_COUNT: AtomicU64 = AtomicU64::new(0);
static PM_PORT: AtomicUsize = AtomicUsize::new(0);

/// Finds the counter's frequency, and lets `other` (a counter that counts *down*, the APIC timer)
/// be measured in the same time. Returns what it was measured against, and the frequency of
/// `other`.
pub fn calibrate(
    pm_timer: Option<u16>,
    no_reference: bool,
    entry_ticks: u64,
    other: impl Fn() -> u64,
) -> (Reference, u64) {
    pit_start();
    let pm = pm_timer.map(Reference::PmTimer).filter(|r| r.runs());
    let reference = match pm {
        _ if no_reference => Reference::None,
        Some(pm) => pm,
        None if Reference::Pit.runs() => Reference::Pit,
        None => Reference::None,
    };
    let told = told_hz().filter(|_| !no_reference);
    if reference == Reference::None {
        set_scale(0, entry_ticks, 0, told.unwrap_or(1_000_000_000));
        return (if told.is_some() { Reference::Cpuid } else { reference }, 1_000_000_000);
    }
    let (hz, mask) = reference.hz();
    let want = hz * FIRST / 1_000_000_000;
    let (count, start, other_start) = (reference.read(), ticks(), other());
    let (mut passed, mut end, mut other_end) = (0, start, other_start);
    while passed < want {
        passed = reference.read().wrapping_sub(count) & mask;
        (end, other_end) = (ticks(), other());
    }
    let rate = |ticks: u64| (u128::from(ticks) * u128::from(hz) / u128::from(passed)) as u64;
    let measured = rate(end - start).max(1);
    set_scale(0, entry_ticks, 0, told.unwrap_or(measured));
    if let Reference::PmTimer(port) = reference {
        PM_PORT.store(port as usize, Ordering::Relaxed);
    }
    FIRST_TICKS.store(start, Ordering::Relaxed);
    FIRST_COUNT.store(count, Ordering::Relaxed);
    REFERENCE.store(usize::from(told.is_none()), Ordering::Relaxed);
    (if told.is_some() { Reference::Cpuid } else { reference }, rate(other_start.saturating_sub(other_end)).max(1))
}

/// Measures again over the whole time since the first measurement, and sets the better scale.
/// Called once, by a timer. Too late for the reference's counter not to have wrapped: keeps the
/// first scale.
pub fn refine(_now: u64) -> Option<u64> {
    if REFERENCE.swap(0, Ordering::Relaxed) == 0 {
        return None;
    }
    let reference = match PM_PORT.load(Ordering::Relaxed) {
        0 => Reference::Pit,
        port => Reference::PmTimer(port as u16),
    };
    let (hz, mask) = reference.hz();
    let (ticks_now, count) = (ticks(), reference.read());
    let ticks_passed = ticks_now - FIRST_TICKS.load(Ordering::Relaxed);
    let passed = count.wrapping_sub(FIRST_COUNT.load(Ordering::Relaxed)) & mask;
    let by_estimate = u128::from(ticks_passed) * u128::from(hz) / u128::from(tsc_hz());
    if by_estimate > u128::from(mask) * 9 / 10 || passed == 0 {
        return None;
    }
    let measured = (u128::from(ticks_passed) * u128::from(hz) / u128::from(passed)) as u64;
    let before = tsc_hz();
    let switch = ticks_now + (u128::from(before) * u128::from(AHEAD) / 1_000_000_000) as u64;
    set_scale(1, switch, SCALES[0].at(switch), measured.max(1));
    // Release: pairs with the Acquire in `now`.
    SWITCH.store(switch, Ordering::Release);
    // The APIC timer was measured in the same window as the first estimate, so it was wrong by the
    // same factor.
    super::apic::scale_timer_hz(measured.max(1), before);
    None
}
