//! The decisions of an M, as records of its recorder.
//!
//! A program runs on a scheduler that records nothing, most of the time, even if it was built with
//! the feature `trace`. So the hot paths have no test of their own for the recorder. The recorder
//! makes words unusual that these paths test anyway:
//!
//! | path | word | when the recorder is on |
//! |---|---|---|
//! | a G leaves its core, another comes | `attention` of the P | [`ATTEND_TRACE`] is always set; [`attended`] takes the next G, and records |
//! | `ready` | the G's state | a G parks as `Waiting` with a flag ([`GState::trace_park`](crate::g::state::GState)), so `ready_early` is called |
//! | `go` | the P's stock of numbers for G's | it holds one number, so each `go` fetches another |
//! | g0 has found a G | `news` of the M | it is never 0 |
//!
//! All other places are off the hot paths, and test the recorder itself.
//!
//! **INV-CAUSE**: a record is written before other cores can see what it tells of: before the G is
//! in a queue, before the P is free, before the switch. The time-stamp counters of the cores run
//! together. So if one decision follows from another, its record has the later time.
//!
//! Rejected: code that is patched when the recorder starts. A `nop` at each place costs an
//! instruction there, and the hosted platform can't patch. Rejected: a test of the recorder in
//! every operation: two instructions in each of five places of a rendezvous.

use core::cell::Cell;
use core::mem::MaybeUninit;

use trefoil_trace::{Kind, Place, Record, Why};

use crate::core::leave::{Leaves, Local, take_local};
use crate::core::m::M;
use crate::core::p::Held;
use crate::core::shared::Sched;
use crate::g::{Batch, G, GRef};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::Ordering;
use crate::measure::recorder::STACKS;
pub use crate::measure::recorder::{Mode, Recorder};

/// `attention`: the recorder is on.
pub(crate) const ATTEND_TRACE: u32 = 32;

/// In the `news` of an M: the recorder is on.
pub(crate) const NEWS_TRACE: u8 = 2;

/// The scheduler is built with the recorder.
pub const BUILT: bool = true;

/// The queues are recorded once in this many turns of the global queue, each of which is one
/// dispatch in 61. Short ones are recorded more often.
const SNAPSHOT_EACH: u32 = 16;

/// A ring with at most so many G's is short: once in [`SNAPSHOT_SHORT_EACH`] turns.
const SHORT: u32 = 32;
const SNAPSHOT_SHORT_EACH: u32 = 4;

/// The text of one record.
const PIECE: usize = 16;

/// The addresses of one record.
const FRAMES: usize = 4;

impl M {
    /// Returns true if this M records its decisions.
    #[inline(always)]
    pub fn traces(&self) -> bool {
        self.trace.is_on()
    }

    /// Turns the recorder of this M on. Before it starts.
    pub fn start_trace(&self, ring: &'static mut [MaybeUninit<[u64; 4]>], mode: Mode) {
        self.trace.start(ring, mode);
        self.news.set(self.news.get() | NEWS_TRACE);
        self.outside.attention.fetch_or(ATTEND_TRACE, Ordering::Relaxed);
    }

    /// Returns the recorder.
    pub fn recorder(&self) -> &Recorder {
        &self.trace
    }

    /// Writes a record.
    #[cold]
    #[inline(never)]
    fn write(&self, word: u64, a: u64, b: u64) {
        self.trace.write(platform::ticks, word, a, b);
    }

    /// Returns the number of the P that this M holds, for a record.
    fn p_byte(&self) -> u8 {
        // A private P has the number `usize::MAX`.
        self.p().map_or(Record::NO_P, |p| p.index() as u8)
    }

    /// Returns the number of the G that runs here, 0 on g0.
    fn running_id(&self) -> u64 {
        self.running().map_or(0, G::id)
    }

    /// Writes the pieces of a text that belongs to the record before. The text has two parts.
    fn write_text(&self, texts: [&str; 2]) {
        let mut piece = [0u8; PIECE];
        let (mut filled, mut n) = (0, 0);
        for mut rest in texts.map(str::as_bytes) {
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PIECE - filled));
                piece[filled..filled + now.len()].copy_from_slice(now);
                (filled, rest) = (filled + now.len(), later);
                if filled == PIECE {
                    self.write_piece(&piece, filled, n);
                    (filled, n) = (0, n + 1);
                }
            }
        }
        if filled > 0 {
            piece[filled..].fill(0);
            self.write_piece(&piece, filled, n);
        }
    }

    fn write_piece(&self, piece: &[u8; PIECE], filled: usize, n: u32) {
        let half = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| piece[at + i]));
        let word = Record::word(Kind::Text, self.p_byte(), filled as u8, Place::Nowhere, n);
        self.write(word, half(0), half(8));
    }

    /// Writes the stack of the code that runs here, if the platform tells it.
    fn write_stack(&self) {
        let mut addresses = [0u32; 8 * FRAMES];
        let found = platform::stack_trace(&mut addresses);
        for (n, four) in addresses[..found.min(addresses.len())].chunks(FRAMES).enumerate() {
            let at = |i: usize| u64::from(four.get(i).copied().unwrap_or(0));
            let word = Record::word(Kind::Stack, self.p_byte(), four.len() as u8, Place::Nowhere, n as u32);
            self.write(word, at(0) | at(1) << 32, at(2) | at(3) << 32);
        }
    }
}

impl Sched {
    /// Turns the recorder on for every P. Before the first M starts.
    pub fn start_trace(&'static self) {
        self.ps().iter().for_each(|p| _ = p.attention.fetch_or(ATTEND_TRACE, Ordering::Relaxed));
    }
}

/// Returns true if `m` records its decisions.
pub fn is_on(m: &M) -> bool {
    m.traces()
}

/// Records a decision of `m`.
#[inline(always)]
pub fn note(m: &M, kind: Kind, a: u64, b: u64) {
    note_all(m, kind, 0, Place::Nowhere, 0, a, b);
}

/// Records a decision of `m`, with all that a record has room for.
#[inline(always)]
pub fn note_all(m: &M, kind: Kind, how: u8, place: Place, n: u32, a: u64, b: u64) {
    if m.traces() {
        note_cold(m, Record::word(kind, 0, how, place, n), a, b);
    }
}

#[cold]
#[inline(never)]
fn note_cold(m: &M, word: u64, a: u64, b: u64) {
    m.write(word | u64::from(m.p_byte()) << 8, a, b);
}

/// Readies `g` if its park was recorded and it waits, and records that. The caller puts it into the
/// slot.
#[inline(always)]
pub(crate) fn ready_traced(guard: &PreemptGuard, g: GRef) -> bool {
    let ready = g.state.ready_traced();
    if ready {
        let m = M::current(guard);
        let word = Record::word(Kind::Ready, 0, 0, Place::Slot, 0) | m.held(guard).mark;
        m.trace.write(platform::ticks, word, g.number(), 0);
        if m.trace.extras.get() != 0 {
            time_if_asked(m, g);
        }
    }
    ready
}

/// A `ready` under way: tells whether it is recorded already.
///
/// A waker that meets a G on its way off a core marks it, and the G may run on at once. So the
/// waker records before it marks. Should the G have come off its core meanwhile, the waker queues
/// it, and records where.
pub(crate) struct Noted(Cell<bool>);

impl Noted {
    /// Nothing is recorded.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self(Cell::new(false))
    }

    /// Records that `g` can run, before it is marked.
    pub(crate) fn marked(&self, guard: &PreemptGuard, g: GRef, by: u8) {
        self.0.set(true);
        readied(M::current(guard), g, by, Place::Marked);
    }

    /// Records that `g` can run, and is put at `place`.
    #[inline(always)]
    pub(crate) fn put(&self, guard: &PreemptGuard, g: GRef, by: u8, place: Place) {
        let m = M::current(guard);
        if self.0.get() { moved(m, g, place) } else { readied(m, g, by, place) }
    }
}

/// Notes the time from which on `g` waits for a core, if long waits are to be told of.
#[cold]
#[inline(never)]
fn time_if_asked(m: &M, g: GRef) {
    if m.trace.late_after.load(Ordering::Relaxed) != u64::MAX {
        g.time_ready(platform::now());
    }
}

/// Records that `g` can run, and was put at `place`. `by`: as [`Kind::Ready`] has it.
#[inline(always)]
pub(crate) fn readied(m: &M, g: GRef, by: u8, place: Place) {
    if m.traces() {
        note_cold(m, Record::word(Kind::Ready, 0, by, place, 0), g.number(), 0);
        time_if_asked(m, g);
    }
}

/// Records that `g`, which can run, was put at `place`.
#[inline(always)]
pub(crate) fn moved(m: &M, g: GRef, place: Place) {
    note_all(m, Kind::Put, 0, place, 0, g.id(), 0);
}

/// Records that all of `batch` was put at `place`, in this order.
#[inline(always)]
pub(crate) fn all_moved(m: &M, batch: &Batch, place: Place) {
    if m.traces() {
        batch.for_each(|g| moved(m, g, place));
    }
}

/// Records that `g`, which has just left its core because of `why`, was put at `place`.
#[inline(always)]
pub(crate) fn queued(m: &M, g: GRef, why: Why, place: Place) {
    note_all(m, Kind::Put, why.0, place, 0, g.id(), 0);
}

/// Records that `g` leaves its core for g0.
#[inline(always)]
pub(crate) fn leaves(m: &M, g: GRef, why: Why) {
    if m.traces() {
        leaves_cold(m, g, why);
    }
}

#[cold]
#[inline(never)]
fn leaves_cold(m: &M, g: GRef, why: Why) {
    m.write(Record::word(Kind::Switch, m.p_byte(), why.0, Place::Nowhere, 0), g.number(), 0);
}

/// Notes the place of the G that g0 has found.
#[inline(always)]
pub(crate) fn found_in(m: &M, place: Place) {
    m.trace.place.set(place as u8);
}

/// Records that g0 leaves the core for `g`, which it has [found](found_in). Called if the M has
/// [`NEWS_TRACE`].
pub(crate) fn found(m: &M, g: GRef) {
    if g.pinned_to().is_none_or(|at| at == m.index()) {
        let place = Place::from_u8(m.trace.place.get()).unwrap_or(Place::Nowhere);
        m.write(Record::word(Kind::Switch, m.p_byte(), 0, place, 0), 0, g.number());
    }
}

/// Takes the next G of the P, as the hot path does, and records the switch of `g`, which runs here
/// and leaves, to it or to g0. A G that yields may find that it can go on: then this records
/// nothing.
#[inline(always)]
pub(crate) fn attended(m: &M, p: Held<'_>, g: GRef, how: Leaves) -> Option<GRef> {
    match take_local(p) {
        (Local::G(next), place) => {
            // A G that is pinned elsewhere does not run here: g0 sends it away.
            let runs = !next.is_pinned() || next.pinned_to() == Some(m.index());
            write_switch(m, p, g, how, place, if runs { next.number() } else { 0 });
            Some(next)
        }
        _ => {
            if how != Leaves::Yields {
                write_switch(m, p, g, how, Place::Nowhere, 0);
            }
            None
        }
    }
}

/// Records that `g` leaves for g0, where something else needs attention.
#[inline(always)]
pub(crate) fn attended_on_g0(m: &M, p: Held<'_>, g: GRef, how: Leaves) {
    if m.traces() {
        write_switch(m, p, g, how, Place::Nowhere, 0);
    }
}

/// Records that `g` leaves the core for the G with number `to`, or for g0.
#[inline(always)]
fn write_switch(m: &M, p: Held<'_>, g: GRef, how: Leaves, place: Place, to: u64) {
    let (why, object) = match how {
        Leaves::Yields => (Why::YIELD, 0),
        Leaves::Ends => (Why::END, 0),
        Leaves::Parks => {
            g.state.trace_park();
            (Why(g.reason_number()), g.waits_for() as u32)
        }
    };
    let word = Record::word(Kind::Switch, 0, why.0, place, object) | p.mark;
    m.trace.write(platform::ticks, word, g.number(), to);
    if how == Leaves::Parks && m.trace.extras.get() & STACKS != 0 {
        m.write_stack();
    }
}

/// Records that it is the turn of the global queue, and from time to time the queues of the P.
#[inline(always)]
pub(crate) fn ticked(m: &M, guard: &PreemptGuard) {
    if m.traces() {
        note_cold(m, Record::word(Kind::Tick, 0, 0, Place::Nowhere, 0), 0, 0);
        let turns = m.trace.turns.get().wrapping_add(1);
        m.trace.turns.set(turns);
        let is_short = m.p().is_some_and(|p| p.queued() <= SHORT);
        if turns.is_multiple_of(if is_short { SNAPSHOT_SHORT_EACH } else { SNAPSHOT_EACH }) {
            snapshot(m);
            snapshot_of_all(m, guard);
        }
    }
}

/// Records the queues of the P that `m` holds, unless a thief comes between.
#[cold]
#[inline(never)]
fn snapshot(m: &M) {
    let Some(p) = m.p().filter(|p| !p.is_outside()) else { return };
    let (head, waiting) = p.runq.look();
    let (slot, stands) = p.slot.id().map_or((0, 0), |id| (id, 1));
    let word = Record::word(Kind::Snapshot, m.p_byte(), stands, Place::Nowhere, waiting);
    m.write(word, slot, u64::from(head));
    for at in (0..waiting).step_by(2) {
        let id = |i: u32| if i < waiting { p.runq.peek(head.wrapping_add(i)).map_or(0, G::id) } else { 0 };
        let word = Record::word(Kind::Queued, m.p_byte(), 0, Place::Nowhere, at / 2);
        m.write(word, id(at), id(at + 1));
    }
    if p.runq.look() != (head, waiting) || p.slot.id().unwrap_or(0) != slot {
        // Void: a snapshot of as many G's as no ring has.
        m.write(Record::word(Kind::Snapshot, m.p_byte(), 0, Place::Nowhere, u32::MAX), 0, 0);
    }
}

/// Records that `g` found the ring full, and went to the global queue with half of it.
#[inline(always)]
pub(crate) fn overflowed(m: &M, g: GRef, all: &Batch) {
    if m.traces() {
        let oldest = all.first().map_or(0, G::id);
        note_all(m, Kind::Overflow, 0, Place::Global, all.len() as u32 - 1, g.id(), oldest);
    }
}

/// Records the global queue, if it is short.
#[cold]
#[inline(never)]
fn snapshot_of_all(m: &M, guard: &PreemptGuard) {
    m.sched.globq.look(guard, |all| {
        if all.len() <= SHORT as usize {
            m.write(Record::word(Kind::Snapshot, Record::NO_P, 0, Place::Nowhere, all.len() as u32), 0, 0);
            let (mut first, mut pairs) = (0, 0);
            let mut pair = |a, b| {
                m.write(Record::word(Kind::Queued, Record::NO_P, 0, Place::Nowhere, pairs), a, b);
                pairs += 1;
            };
            all.for_each(|g| match core::mem::replace(&mut first, g.id()) {
                0 => {}
                before => {
                    pair(before, g.id());
                    first = 0;
                }
            });
            if first != 0 {
                pair(first, 0);
            }
        }
    });
}

/// Returns how many numbers a P takes from the common counter at once, of `batch`.
#[inline(always)]
pub(crate) fn numbers(m: &M, batch: u64) -> u64 {
    if m.traces() { 1 } else { batch }
}

/// Records that G number `id` is made of the record `g`, and goes into the slot.
#[inline(always)]
pub(crate) fn created(m: &M, g: GRef, id: u64) {
    if m.traces() {
        created_cold(m, g, id);
    }
}

#[cold]
#[inline(never)]
fn created_cold(m: &M, g: GRef, id: u64) {
    let entry = u64::from(g.entry_low());
    let at = u64::from(g.created_low());
    m.write(Record::word(Kind::Create, m.p_byte(), 0, Place::Slot, 0), id, entry | at << 32);
    let name = g.name();
    if !name.as_str().is_empty() {
        m.write_text([name.as_str(), ""]);
    }
    if m.trace.extras.get() & STACKS != 0 {
        m.write_stack();
    }
    time_if_asked(m, g);
}

/// Notes that a G has waited so long for a core. The platform may dump the trace.
#[inline(always)]
pub(crate) fn waited(m: &M, ns: u64) {
    if m.traces() && ns >= m.trace.late_after.load(Ordering::Relaxed) && m.trace.late.load(Ordering::Relaxed) == 0 {
        m.trace.late.store(ns, Ordering::Relaxed);
        m.attend_platform();
    }
}

/// Records a statement of the program, with its text in two parts. `n`: the length of the first.
#[cold]
pub fn said(m: &M, kind: Kind, a: u64, b: u64, texts: [&str; 2]) {
    if m.traces() {
        note_cold(m, Record::word(kind, 0, 0, Place::Nowhere, texts[0].len() as u32), a, b);
        m.write_text(texts);
    }
}

/// Records that the recorder begins on `m`.
pub(crate) fn begins(m: &M) {
    note(m, Kind::Begin, m.running_id(), 0);
}
