//! The bounded flavour: a ring of values.
//!
//! ```text
//!    start                 read                write          end
//!      │     │     │     │  3  │  4  │  5  │     │     │     │        both go around
//! ```
//!
//! With capacity 0 there is no ring and never any room: every value goes from hand to hand, so each
//! send waits for its receive (a rendezvous).

use super::exchange::{Exchange, Flavour, State, empty};

pub(super) fn channel<T>(capacity: usize) -> Exchange<T> {
    let most = isize::MAX as usize / size_of::<T>().max(1);
    assert!(
        capacity <= most,
        "chan::bounded: a channel of {capacity} values of {} bytes has no room in memory",
        size_of::<T>()
    );
    let slots = (0..capacity).map(|_| empty()).collect();
    let capacity_of = |exchange: &Exchange<T>| Some(exchange.slots());
    Exchange::new(Flavour { capacity: capacity_of, grow: None, turn: around, free: None, clock: None }, slots, capacity)
}

/// `read` is at the end.
pub(super) fn around(state: &mut State) {
    state.read = state.start;
}
