//! One round of the scavenger: the pages that it picks, and their fate when its epoch is over.
//!
//! **The hard race** is a G that runs while its pages are in limbo. The Scan state holds a G for as
//! long as the round looks at it and no longer. A page in limbo that the G touches comes back *if
//! the touch faults*. A core that has run the G before may still have the entries in its TLB, and
//! so use and change the pages without a fault. So the end of the round decides anew. The round
//! holds the G again, and the stack pointer of *now* tells which of the pages are needed. A G that
//! is not parked then gets all of them back. By that time no core has old entries (the epoch makes
//! sure of that), and no core gets new ones (limbo is not present). So a decision under Scan stays
//! true.

use core::cell::Cell;
use core::sync::atomic::Ordering;

use heapless::Vec;
use trefoil_sched::internals::page::Backing;
use trefoil_sched::{Cursor, G, GRef, M, PreemptGuard, Sched};

use super::{EPOCHS, parks, pass, stale};
use crate::arch::{apic, clock, percpu};
use crate::mm::frames::FRAME;
use crate::mm::stack::packed;
use crate::mm::stack::{self, GUARD, Window, walk};

mod settle;

/// Spans of a round, at most: so many spans share the cost of an epoch. On a host that has fewer
/// cores than the machine, an epoch costs milliseconds.
const ROUND: usize = 512;
/// Spans of a round without urgency. The end of the round packs so many stacks in one piece, and
/// G's that wake up meanwhile on that core wait.
pub(super) const ROUND_IDLE: usize = 32;
/// Ticks of the time-stamp counter that a piece of work takes at most, plus one span or table.
/// Preemption is off for so long.
const PIECE: u64 = 6_000;
/// A piece of work with preemption off. The piece ends after [`PIECE`] ticks, but not before it has
/// done something. Time may run faster than work (single steps, a busy host), and the work must
/// come to its end all the same.
struct Piece {
    begun: u64,
    has_advanced: Cell<bool>,
}

impl Piece {
    fn begin() -> Self {
        Self { begun: clock::ticks(), has_advanced: Cell::new(false) }
    }

    /// Records that a span, a table or some records are done.
    fn advance(&self) {
        self.has_advanced.set(true);
    }

    fn is_over(&self) -> bool {
        self.has_advanced.get() && clock::ticks() - self.begun >= PIECE
    }
}

/// Tables of a round.
const TABLES: usize = 512;
/// G records that an idle round looks at.
const LOOKS: usize = 32;
/// The same when memory is wanted; fewer if a round is full before. Most of a million G's are
/// packed already, and the round passes over them quickly.
const LOOKS_PRESSED: usize = 2048;
/// Idle passes begin this far apart, in nanoseconds.
const PERIOD: u64 = 500_000_000;
/// Idle rounds follow one another at this distance, in nanoseconds.
const PACE: u64 = 200_000;
/// Pages nearer than this below a parked G's stack pointer stay.
const MARGIN: u64 = 256;
/// Free G's of the global list that keep their memory in an idle pass.
const KEEP_WARM: usize = 64;
/// Laggards are interrupted after this long: 1 ms.
const PATIENCE: u64 = 1_000_000;
/// The same when memory is wanted: 20 µs.
const PATIENCE_PRESSED: u64 = 20_000;
/// A pressed pass that has found nothing is not repeated before this time has passed: 5 ms.
pub(super) const DESPAIR: u64 = 5_000_000;

/// The fate of a span of a window when its epoch is over.
#[derive(Clone, Copy)]
enum End {
    /// A window without a G: all memory goes back, and the addresses. (First, so that an empty
    /// round is all zeros and takes no room in the image.)
    Free,
    /// A retired window: all memory goes back but the addresses.
    Bury,
    /// The pages that this parked G does not need go back. Its top page is packed if the round has
    /// taken that page as well.
    Shrink(GRef),
    /// A free G's window: all memory goes back, and the G goes to the bare list.
    Strip(GRef),
}

#[derive(Clone, Copy)]
struct Span {
    window: Window,
    from: u64,
    to: u64,
    end: End,
}

const NO_SPAN: Span = Span { window: Window { lo: 0, hi: 0 }, from: 0, to: 0, end: End::Free };

/// How urgently memory is wanted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Urgency {
    Idle,
    Pressed,
    Forced,
}

pub(super) struct Round {
    spans: [Span; ROUND],
    len: usize,
    /// How many spans the round may have.
    limit: usize,
    /// The round is not full yet, and there may be more to add.
    collecting: bool,
    /// Records that the round may still look at.
    looks: usize,
    /// The epoch of the round is over.
    settling: bool,
    /// Spans settled since the epoch was over; of the spans before them, `len` have to stay.
    settled: usize,
    /// How many spans there were then; 0: no spans are being settled.
    to_settle: usize,
    /// The first address under each table in limbo.
    tables: Vec<u64, TABLES>,
    /// Tables for the next round.
    pub(super) next_tables: Vec<u64, TABLES>,
    /// The epoch that the round waits for; 0: no round is under way.
    epoch: u64,
    begun: u64,
    /// When laggards were last interrupted.
    hurried: u64,
    cursor: Cursor,
    /// A pass is under way.
    pub(super) in_pass: bool,
    /// The pass is for a caller that wants everything, whichever core does a piece of it. The next
    /// pass will be for such a caller too.
    forced: bool,
    pub(super) force_next: bool,
    /// The next idle pass does not begin before this time.
    next_pass: u64,
    /// Bytes that went back, ever; and until the last pass began.
    pub(super) freed: u64,
    freed_before: u64,
    /// And until the last epoch was over.
    freed_at_epoch: u64,
    /// `parks() + 1` when the last pass began, and whether that pass found anything.
    pub(super) parks: u64,
    pub(super) busy: bool,
    /// Passes that have come to their end.
    pub(super) passes: u64,
}

impl Round {
    /// Creates the state without a round.
    pub(super) const fn new() -> Self {
        Self {
            spans: [NO_SPAN; ROUND],
            len: 0,
            limit: 0,
            collecting: false,
            looks: 0,
            settling: false,
            settled: 0,
            to_settle: 0,
            tables: Vec::new(),
            next_tables: Vec::new(),
            epoch: 0,
            begun: 0,
            hurried: 0,
            cursor: Cursor::new(),
            in_pass: false,
            forced: false,
            force_next: false,
            next_pass: 0,
            freed: 0,
            freed_before: 0,
            freed_at_epoch: 0,
            parks: 0,
            busy: false,
            passes: 0,
        }
    }

    /// Does a piece of work, some thousand instructions. Returns the nanoseconds until the next
    /// piece is due; 0: at once.
    pub(super) fn step(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency) -> u64 {
        if self.epoch != 0 {
            if !self.settling && !EPOCHS.is_over(self.epoch) {
                self.hurry(urgency);
                return PACE;
            }
            // The next step is another piece, if some core wants it.
            self.settling = !self.finish(sched, guard);
            return 0;
        }
        self.collect(sched, guard, urgency);
        if self.collecting {
            return 0;
        }
        if self.len > 0 || !self.tables.is_empty() {
            self.epoch = EPOCHS.begin();
            self.begun = clock::now();
            // The piece holds nothing: all pages that were found are in the round.
            pass(M::current(guard).index());
        }
        if self.epoch != 0 && EPOCHS.is_over(self.epoch) {
            return 0;
        }
        let more = self.in_pass || !self.next_tables.is_empty() || self.epoch != 0 || self.len > 0;
        match urgency {
            Urgency::Idle if more => PACE,
            Urgency::Idle => self.next_pass.saturating_sub(clock::now()).clamp(PACE, PERIOD),
            // A pass that has found nothing will not find more at once.
            _ if !more && self.freed == self.freed_before => DESPAIR,
            _ => 0,
        }
    }

    /// Interrupts the cores that keep the round waiting.
    fn hurry(&mut self, urgency: Urgency) {
        let now = clock::now();
        let patience = if urgency == Urgency::Idle { PATIENCE } else { PATIENCE_PRESSED };
        if now < self.begun.max(self.hurried) + patience {
            return;
        }
        self.hurried = now;
        let me = percpu::current().index();
        for m in EPOCHS.laggards(self.epoch).filter(|&m| m != me) {
            if let Some(core) = percpu::get(m) {
                apic::send_flush(core.lapic_id());
            }
        }
    }

    /// Returns true if no work that the scavenger has begun is left to do.
    pub(super) fn is_quiet(&self) -> bool {
        self.epoch == 0 && self.len == 0 && !self.collecting
    }

    fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// Returns true if `piece` is to end, or no more fits into the round.
    fn is_enough(&self, piece: &Piece) -> bool {
        self.is_full() || piece.is_over()
    }

    /// Adds the whole of a window that no G runs on; red pages may be mapped, too.
    fn add(&mut self, window: Window, from: u64, end: End) {
        let from = from.clamp(window.lo + GUARD, window.top());
        self.spans[self.len] = Span { window, from, to: window.hi, end };
        self.len += 1;
        walk::each_page(from..window.hi, |_, entry| {
            entry.retire();
        });
    }

    /// Does a piece of the collection. If `collecting` is set afterwards, there is more of it.
    fn collect(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency) {
        if !self.collecting {
            self.limit = if urgency == Urgency::Idle { ROUND_IDLE } else { ROUND };
            self.looks = if urgency == Urgency::Idle { LOOKS } else { LOOKS_PRESSED };
            self.tables.clear();
        }
        self.collecting = true;
        let more = self.collect_some(sched, guard, urgency, &Piece::begin());
        self.collecting = more && (!self.next_tables.is_empty() || !self.is_full());
    }

    /// Moves tables to limbo that the last round has left without pages.
    fn retire_tables(&mut self, piece: &Piece) {
        while !piece.is_over() {
            let Some(table) = self.next_tables.pop() else { return };
            piece.advance();
            if let Some((entry, Backing::Present(_))) = walk::find_table(table)
                && entry.retire()
            {
                // There is room: a round begins without tables, and gets those of one list.
                let _ = self.tables.push(table);
            }
        }
    }

    /// Adds some spans, as a part of `piece`. Returns true if there may be more.
    fn collect_some(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency, piece: &Piece) -> bool {
        self.retire_tables(piece);
        if !self.next_tables.is_empty() {
            return true;
        }
        while !self.is_enough(piece)
            && let Some((window, low, retired)) = stale::take()
        {
            piece.advance();
            self.add(window, low, if retired { End::Bury } else { End::Free });
        }
        let keep = if urgency == Urgency::Idle { KEEP_WARM } else { 0 };
        while !self.is_enough(piece) && sched.num_warm() > keep {
            let Some(g) = sched.take_warm(guard, 1).pop() else { break };
            piece.advance();
            let window = Window::from(g.stack());
            let low = g.stack_low.load(Ordering::Relaxed) as u64;
            self.add(window, low, End::Strip(g));
        }
        if self.is_enough(piece) {
            return true;
        }
        if !self.in_pass {
            let is_early = clock::now() < self.next_pass || self.parks == parks() + 1 && !self.busy;
            if urgency == Urgency::Idle && is_early {
                return false;
            }
            self.next_pass = clock::now() + PERIOD;
            self.in_pass = true;
            self.forced = core::mem::take(&mut self.force_next);
            self.busy = false;
            self.parks = parks() + 1;
            self.freed_before = self.freed;
            if urgency != Urgency::Forced {
                sched.trim();
            }
            if urgency == Urgency::Pressed {
                sched.trim_resting(guard);
            }
        }
        let mut cursor = self.cursor;
        let (mut done, forced) = (false, self.forced);
        while self.looks > 0 && !done && !self.is_enough(piece) {
            piece.advance();
            // A chunk of records comes at a time: leave room for it.
            if self.len + 16 > self.limit {
                break;
            }
            let (mut seen, before) = (0, self.len);
            // G's without anything to give take some instructions each, so the clock is not read
            // for each chunk of them.
            while !done && self.len == before && seen < self.looks.min(128) {
                done = sched.walk_gs(&mut cursor, 1, |g| {
                    seen += 1;
                    if g.state().is_parked() && !has_nothing(g) {
                        sched.scan(guard, g, |g, cold| self.look(g, cold || forced || urgency != Urgency::Idle));
                    }
                });
            }
            self.looks = self.looks.saturating_sub(seen);
        }
        self.cursor = cursor;
        if done {
            self.in_pass = false;
            self.passes += 1;
        }
        self.looks > 0 && !done && self.len + 16 <= self.limit
    }

    /// Looks at a parked G, held still.
    fn look(&mut self, g: GRef, may_pack: bool) {
        let Some(needs) = Needs::of(g) else { return };
        if self.is_full() {
            return;
        }
        let window = needs.window;
        let low = (g.stack_low.load(Ordering::Relaxed) as u64).clamp(window.lo + GUARD, window.top());
        if needs.may_pack() && !may_pack {
            // Recent: the next pass may pack it.
            self.busy |= !stack::is_packed(window.hi);
        }
        let to = if needs.may_pack() && may_pack { window.hi } else { needs.keep };
        let mut any = false;
        walk::each_page(low..to, |_, entry| any |= entry.retire());
        if any {
            self.spans[self.len] = Span { window, from: low, to, end: End::Shrink(g) };
            self.len += 1;
        }
    }
}

/// The part of its window that a parked G needs.
struct Needs {
    window: Window,
    /// Pages from here on.
    keep: u64,
    /// Bytes below the top.
    used: u64,
}

impl Needs {
    /// Computes the part for a G that is held still.
    fn of(g: &G) -> Option<Self> {
        let (window, sp) = (Window::from(g.stack()), g.saved_sp() as u64);
        if window.hi == 0 || !window.contains(sp) {
            return None;
        }
        let keep = (sp - MARGIN).max(window.lo + GUARD) & !(FRAME - 1);
        Some(Self { window, keep, used: window.hi - sp })
    }

    /// Returns true if the used bytes are worth packing.
    fn may_pack(&self) -> bool {
        self.used <= packed::MOST && self.keep == self.window.top()
    }
}

/// Guesses, without holding `g`, whether its only page is packed.
fn has_nothing(g: &G) -> bool {
    let low = g.stack_low.load(Ordering::Relaxed) as u64;
    Window::of(low).is_some_and(|window| low == window.top() && stack::is_packed(window.hi))
}
