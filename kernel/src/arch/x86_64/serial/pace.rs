//! A port that sends no faster than a real one, for tests (`fault=paced-uart`). QEMU's port has
//! room for the next byte at once, for any divisor.
//!
//! Bytes reach QEMU's port as ever. But room is denied until a port at 115,200 baud would have sent
//! all its bytes. The transmitter's interrupt, which QEMU's port would raise at once, is not turned
//! on: a timer sends the interrupt's vector to the boot core instead.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use trefoil_sched::internals::timers::Chore;

use super::super::exceptions::VECTOR_SERIAL;
use super::super::percpu::{self, PerCpu};
use super::super::{apic, clock};
use super::{CONNECTED, OUTPUT};

/// Nanoseconds a byte at 115,200 baud: ten bits.
const BYTE: u64 = 86_806;
/// How often the timer looks whether the port would interrupt.
const LOOK: u64 = 8 * BYTE;

static PACED: AtomicBool = AtomicBool::new(false);
/// When the port will have sent all its bytes, in nanoseconds since boot. The user of the port
/// writes the time; the port has one user at a time.
static FREE_AT: AtomicU64 = AtomicU64::new(0);

/// Slows the port down from `now` on.
pub fn pace(now: u64) {
    PACED.store(true, Ordering::Relaxed);
    TICK.start(now);
}

static TICK: Chore = Chore::new(tick);

fn tick(now: u64) -> Option<u64> {
    if OUTPUT.is_wanted() && has_room() && CONNECTED.load(Ordering::Relaxed) {
        apic::send(percpu::get(0).map_or(0, PerCpu::lapic_id), VECTOR_SERIAL);
    }
    Some(now + LOOK)
}

pub(super) fn is_paced() -> bool {
    PACED.load(Ordering::Relaxed)
}

/// Returns true if a real port would have room.
pub(super) fn has_room() -> bool {
    !is_paced() || clock::now() >= FREE_AT.load(Ordering::Relaxed)
}

/// Waits until it would.
pub(super) fn wait() {
    while !has_room() {
        core::hint::spin_loop();
    }
}

/// Records that the port has got so many bytes.
pub(super) fn sent(bytes: usize) {
    if is_paced() {
        let from = FREE_AT.load(Ordering::Relaxed).max(clock::now());
        FREE_AT.store(from + bytes as u64 * BYTE, Ordering::Relaxed);
    }
}
