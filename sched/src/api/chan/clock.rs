//! Channels whose values come from the clock: [`after`](super::after), [`at`](super::at) and
//! [`tick`](super::tick).
//!
//! There is no sender, and no timer as long as nobody waits. A value is made when it is taken, and
//! a wait for it is a wait for its time. A select with such an arm has a deadline, and looks again
//! when that has come. One word says when the next value is due. A receiver that takes the value
//! moves the word by a compare-and-swap, so that of several receivers one has it.

use super::errors::RecvTimeoutError;
use super::exchange::{Clock, Exchange, Flavour, RECEIVING, wait};
use crate::api::time::Instant;
use crate::machine::sync::{AtomicU64, Ordering};
use crate::wait::ticket::{NEVER, reserve_timer};
use alloc::boxed::Box;

/// Receives where nobody sends: a wait for a value is a wait for its time.
fn recv(exchange: &Exchange<Instant>, deadline: u64) -> Result<Instant, RecvTimeoutError> {
    let Some(clock) = &exchange.flavour.clock else { return Err(RecvTimeoutError::Disconnected) };
    loop {
        let now = Instant::now().as_nanos();
        if let Some(value) = (clock.take)(exchange, now) {
            return Ok(value);
        }
        if deadline <= now {
            return Err(RecvTimeoutError::Timeout);
        }
        let until = (clock.next)(exchange).min(deadline);
        let guard = reserve_timer(until);
        exchange.state.lock(&guard).into_held();
        // SAFETY: 1. the lock was turned into "held" above, and a timer is reserved. 2. a clock's
        // channel has no sender, so nobody uses the slot.
        let _ = unsafe { wait::<RECEIVING>(guard, &exchange.state, core::ptr::null_mut(), until) };
    }
}

/// Makes a channel of which the first value is due at `due`.
pub(super) fn channel(
    take: fn(&Exchange<Instant>, u64) -> Option<Instant>,
    due: u64,
    period: u64,
) -> Exchange<Instant> {
    let clock = Clock { take, recv, next: |exchange| exchange.due.load(Ordering::Relaxed) };
    let flavour = Flavour { capacity: |_| Some(1), grow: None, turn: |_| (), free: None, clock: Some(clock) };
    let mut exchange = Exchange::new(flavour, Box::new([]), 0);
    (exchange.due, exchange.period) = (AtomicU64::new(due), period);
    exchange
}

/// Takes the one value, at its time.
pub(super) fn take_once(exchange: &Exchange<Instant>, now: u64) -> Option<Instant> {
    let due = exchange.due.load(Ordering::Relaxed);
    // Relaxed: the word alone decides who has the value.
    let mine = due <= now && exchange.due.compare_exchange(due, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    mine.then(|| Instant::from_nanos(due))
}

/// Takes one value a period. Of the periods in which nobody came for their values, one value is
/// kept. The others are lost, and the next one is due when it would have been anyway. A period of
/// zero: always due.
pub(super) fn take_tick(exchange: &Exchange<Instant>, now: u64) -> Option<Instant> {
    let due = exchange.due.load(Ordering::Relaxed);
    let late = now.checked_sub(due)?;
    let periods = late.checked_div(exchange.period).map_or(0, |missed| missed + 1);
    let next = if exchange.period == 0 { now } else { due.saturating_add(exchange.period.saturating_mul(periods)) };
    // Relaxed: as above.
    let mine = exchange.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    mine.then(|| Instant::from_nanos(due))
}
