//! One round of the scavenger: what it looks at, and what becomes of it when its epoch is over.
//!
//! **The hard race** is a G that runs while its pages are in limbo. The Scan state holds it for as
//! long as it is looked at and no longer. What it touches comes back, *if that faults*: a core that
//! has run it before may still have the entries in its TLB, and use and change the pages without
//! anybody noticing. So the round's end decides anew: it holds the G again, and by the stack
//! pointer of *now* sees which of the pages are needed. A G that is not parked then gets all of
//! them back. No core has old entries by that time (that is what the epoch was for), and none gets
//! new ones (limbo is not present), so what is decided under Scan stays true.

use core::cell::Cell;
use core::sync::atomic::Ordering;

use trefoil_sched::entry::{Backing, Entry};
use trefoil_sched::{Cursor, G, GRef, M, PreemptGuard, Sched};

use super::{EPOCHS, parks, pass, stale};
use crate::arch::{apic, clock, percpu};
use crate::mm::frames::{self, FRAME};
use crate::mm::window::packed::{self, Content};
use crate::mm::window::walk::{self, ADDRESS, TABLE_SPAN};
use crate::mm::window::{self, GUARD, Window, forget};

/// Slices of a round, at most: what an epoch costs is shared by so many. On a host that has fewer
/// cores than the machine it costs milliseconds.
const ROUND: usize = 512;
/// Slices of a round that nobody is in a hurry for: at its end so many stacks are packed in one
/// piece, and who wakes up meanwhile on that core waits.
pub(super) const ROUND_IDLE: usize = 32;
/// So many ticks of the time-stamp counter a piece of work takes at most, and one slice or table
/// more: preemption is off as long.
const PIECE: u64 = 6_000;
/// A piece of work with preemption off. It ends after [`PIECE`] ticks, but not before it has done
/// something: time may run faster than work (single steps, a busy host), and the work must come to
/// its end all the same.
struct Piece {
    begun: u64,
    has_advanced: Cell<bool>,
}

impl Piece {
    fn begin() -> Self {
        Self { begun: clock::ticks(), has_advanced: Cell::new(false) }
    }

    /// A slice, a table or some records are done.
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
/// The same when memory is wanted; fewer, if a round is full before. Most of a million are packed
/// already, and quickly passed over.
const LOOKS_PRESSED: usize = 2048;
/// Idle passes begin this far apart, in nanoseconds.
const PERIOD: u64 = 500_000_000;
/// Idle rounds follow one another at this distance.
const PACE: u64 = 200_000;
/// What is nearer below a parked G's stack pointer stays.
const MARGIN: u64 = 256;
/// Free G's of the global list that keep their memory in an idle pass.
const KEEP_WARM: usize = 64;
/// After this long laggards are interrupted: 1 ms.
const PATIENCE: u64 = 1_000_000;
/// The same when memory is wanted: 20 µs.
const PATIENCE_PRESSED: u64 = 20_000;
/// A pressed pass that has found nothing is not repeated before this has passed: 5 ms.
pub(super) const DESPAIR: u64 = 5_000_000;

/// What is to become of a slice of a window when its epoch is over.
#[derive(Clone, Copy)]
enum End {
    /// A window without a G: all goes back, and the addresses. (First, so that an empty round is
    /// all zeros and takes no room in the image.)
    Free,
    /// A retired window: all goes back but the addresses.
    Bury,
    /// What this parked G does not need goes back; its top page is packed if that was taken as
    /// well.
    Shrink(GRef),
    /// A free G's window: all goes back, the G goes to the bare list.
    Strip(GRef),
}

#[derive(Clone, Copy)]
struct Slice {
    window: Window,
    from: u64,
    to: u64,
    end: End,
}

const NO_SLICE: Slice = Slice { window: Window { lo: 0, hi: 0 }, from: 0, to: 0, end: End::Free };

/// How much is wanted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Urgency {
    Idle,
    Pressed,
    Forced,
}

pub(super) struct Round {
    slices: [Slice; ROUND],
    len: usize,
    /// How many it may have.
    limit: usize,
    /// It is not full yet, and there may be more to add.
    collecting: bool,
    /// Records that it may still look at.
    looks: usize,
    /// Its epoch is over.
    settling: bool,
    /// Slices that have been settled since its epoch was over; of those before, `len` have to stay.
    settled: usize,
    /// How many there were then; 0: they are not being settled.
    to_settle: usize,
    /// The first address under each table in limbo.
    tables: [u64; TABLES],
    tables_len: usize,
    /// Tables for the next round.
    next_tables: [u64; TABLES],
    pub(super) next_len: usize,
    /// The epoch that it waits for; 0: no round is under way.
    epoch: u64,
    begun: u64,
    /// When laggards were last interrupted.
    hurried: u64,
    cursor: Cursor,
    /// A pass is under way.
    pub(super) in_pass: bool,
    /// The pass is for somebody who wants everything, whoever does a piece of it; and so will the
    /// next one be.
    forced: bool,
    pub(super) force_next: bool,
    /// Before this the next idle pass does not begin.
    next_pass: u64,
    /// Bytes that went back, ever; and until the last pass began.
    pub(super) freed: u64,
    freed_before: u64,
    /// `parks() + 1` when the last pass began, and whether that pass found anything.
    pub(super) parks: u64,
    pub(super) busy: bool,
    /// Passes that came to their end.
    pub(super) passes: u64,
}

impl Round {
    /// None is under way.
    pub(super) const fn new() -> Self {
        Self {
            slices: [NO_SLICE; ROUND],
            len: 0,
            limit: 0,
            collecting: false,
            looks: 0,
            settling: false,
            settled: 0,
            to_settle: 0,
            tables: [0; TABLES],
            tables_len: 0,
            next_tables: [0; TABLES],
            next_len: 0,
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
            parks: 0,
            busy: false,
            passes: 0,
        }
    }

    /// A piece of work, some thousand instructions. Returns how many nanoseconds later the next one
    /// is due; 0: at once.
    pub(super) fn step(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency) -> u64 {
        if self.epoch != 0 {
            if !self.settling && !EPOCHS.is_over(self.epoch) {
                self.hurry(urgency);
                return PACE;
            }
            // What comes next is another piece, if anybody wants it.
            self.settling = !self.finish(sched, guard);
            return 0;
        }
        self.collect(sched, guard, urgency);
        if self.collecting {
            return 0;
        }
        if self.len > 0 || self.tables_len > 0 {
            self.epoch = EPOCHS.begin();
            self.begun = clock::now();
            // We hold nothing: everything that was found is in the round.
            pass(M::current(guard).index());
        }
        if self.epoch != 0 && EPOCHS.is_over(self.epoch) {
            return 0;
        }
        let more = self.in_pass || self.next_len > 0 || self.epoch != 0 || self.len > 0;
        match urgency {
            Urgency::Idle if more => PACE,
            Urgency::Idle => self.next_pass.saturating_sub(clock::now()).clamp(PACE, PERIOD),
            // A pass that has found nothing will not find more at once.
            _ if !more && self.freed == self.freed_before => DESPAIR,
            _ => 0,
        }
    }

    /// Interrupts those that keep the round waiting.
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

    /// Nothing that it has begun is left to do.
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

    /// The whole of a window that nobody runs on; red pages may be mapped, too.
    fn add(&mut self, window: Window, from: u64, end: End) {
        let from = from.clamp(window.lo + GUARD, window.top());
        self.slices[self.len] = Slice { window, from, to: window.hi, end };
        self.len += 1;
        walk::each_page(from..window.hi, |_, entry| {
            entry.retire();
        });
    }

    /// A piece of the collection: while `collecting` is set afterwards, there is more of it.
    fn collect(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency) {
        if !self.collecting {
            self.limit = if urgency == Urgency::Idle { ROUND_IDLE } else { ROUND };
            self.looks = if urgency == Urgency::Idle { LOOKS } else { LOOKS_PRESSED };
            self.tables_len = 0;
        }
        self.collecting = true;
        let more = self.collect_some(sched, guard, urgency, &Piece::begin());
        self.collecting = more && (self.next_len > 0 || !self.is_full());
    }

    /// Tables that the last round has left without pages go to limbo.
    fn retire_tables(&mut self, piece: &Piece) {
        while self.next_len > 0 && !piece.is_over() {
            piece.advance();
            self.next_len -= 1;
            let table = self.next_tables[self.next_len];
            if let Some((entry, Backing::Present(_))) = walk::find_table(table)
                && entry.retire()
            {
                self.tables[self.tables_len] = table;
                self.tables_len += 1;
            }
        }
    }

    /// Adds some slices, as a part of `piece`. Returns true if there may be more.
    fn collect_some(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency, piece: &Piece) -> bool {
        self.retire_tables(piece);
        if self.next_len > 0 {
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
            // Those that have nothing to give take some instructions each: the clock is not read
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
            self.busy |= !window::is_packed(window.hi);
        }
        let to = if needs.may_pack() && may_pack { window.hi } else { needs.keep };
        let mut any = false;
        walk::each_page(low..to, |_, entry| any |= entry.retire());
        if any {
            self.slices[self.len] = Slice { window, from: low, to, end: End::Shrink(g) };
            self.len += 1;
        }
    }

    /// The end of a round for the pages `from..to` of a G that was parked at its beginning: held
    /// still again, it keeps what it needs now.
    fn settle(&mut self, g: GRef, window: Window, from: u64, to: u64) {
        let needs = Needs::of(g).filter(|needs| needs.window == window);
        let now = g.stack_low.load(Ordering::Relaxed);
        if needs.is_some() && now as u64 >= from {
            // First it is raised, then each page that is there lowers it again: others may map
            // pages meanwhile, and lower it as well. Should one of them have been faster, it stays
            // where it is. (Below `from` if the G has gone deeper since the round began.)
            let top = to.min(window.top()) as usize;
            let _ = g.stack_low.compare_exchange(now, top, Ordering::Relaxed, Ordering::Relaxed);
        }
        let lower = |page: u64| {
            if needs.is_some() {
                g.stack_low.fetch_min(page as usize, Ordering::Relaxed);
            }
        };
        walk::each_page(from..to, |page, entry| {
            let Backing::Limbo(limbo) = entry.get() else {
                if matches!(entry.get(), Backing::Present(_)) {
                    lower(page);
                }
                return;
            };
            let frame = match &needs {
                Some(needs) if page < needs.keep => reclaim(entry, limbo).then_some(limbo & ADDRESS),
                Some(needs) if page == window.top() && needs.may_pack() => packed::pack_page(entry, limbo, needs.used),
                _ => None,
            };
            match frame {
                Some(frame) => self.give(frame),
                None => {
                    entry.restore(limbo);
                    lower(page);
                }
            }
        });
    }

    /// The round's epoch is over: whatever is still in limbo is ours. A piece of it; true: that was
    /// the last.
    fn finish(&mut self, sched: &'static Sched, guard: &PreemptGuard) -> bool {
        let packs = &percpu::current().packs;
        packs.set(true);
        if self.tables_len > 0 {
            self.settle_tables();
            packs.set(false);
            return false;
        }
        if self.to_settle == 0 {
            self.settled = 0;
            self.to_settle = core::mem::replace(&mut self.len, 0);
        }
        let piece = Piece::begin();
        while self.settled < self.to_settle && !piece.is_over() {
            piece.advance();
            self.settle_slice(sched, guard, self.slices[self.settled]);
            self.settled += 1;
        }
        packs.set(false);
        let over = self.settled == self.to_settle;
        if over {
            self.to_settle = 0;
            self.epoch = 0;
        }
        over
    }

    /// A few of them.
    fn settle_tables(&mut self) {
        let piece = Piece::begin();
        while self.tables_len > 0 && !piece.is_over() {
            piece.advance();
            self.tables_len -= 1;
            let at = self.tables_len;
            let Some((entry, Backing::Limbo(limbo))) = walk::find_table(self.tables[at]) else { continue };
            let may_pack = Window::of(self.tables[at]).is_some_and(|w| w.class() == 0);
            if let Some(frame) = packed::pack_table(entry, limbo, may_pack) {
                self.give(frame);
            }
        }
    }

    fn settle_slice(&mut self, sched: &'static Sched, guard: &PreemptGuard, slice: Slice) {
        let Slice { window, from, to, end } = slice;
        if let End::Shrink(g) = end {
            if !sched.scan(guard, g, |g, _| self.settle(g, window, from, to)) {
                walk::each_page(from..to, |_, entry| {
                    if let Backing::Limbo(limbo) = entry.get() {
                        entry.restore(limbo);
                    }
                });
            }
            return self.look_at_tables(from..to);
        }
        let mut back = false;
        walk::each_page(from..to, |_, entry| match entry.get() {
            Backing::Limbo(limbo) if reclaim(entry, limbo) => self.give(limbo & ADDRESS),
            backing => back |= backing != Backing::Empty,
        });
        match end {
            // Somebody has touched a page of a stack that has ended: once more.
            _ if back => {
                self.slices[self.len] = slice;
                self.len += 1;
                walk::each_page(from..to, |_, entry| {
                    entry.retire();
                });
            }
            End::Strip(g) => {
                g.stack_low.store(usize::MAX, Ordering::Relaxed);
                sched.give_bare(guard, g);
            }
            End::Free => forget(window),
            End::Bury | End::Shrink(_) => {}
        }
        self.look_at_tables(from..to);
    }

    /// Remembers the tables under `range` that have no page any more, for the next round.
    fn look_at_tables(&mut self, range: core::ops::Range<u64>) {
        let mut at = range.start & !(TABLE_SPAN - 1);
        while at < range.end && self.next_len < TABLES {
            let known = self.next_tables[..self.next_len].last() == Some(&at);
            if !known
                && let Some((_, Backing::Present(word))) = walk::find_table(at)
                && match packed::content(word & ADDRESS) {
                    Content::Nothing => true,
                    Content::Packed(_) => Window::of(at).is_some_and(|w| w.class() == 0),
                    Content::Pages => false,
                }
            {
                self.next_tables[self.next_len] = at;
                self.next_len += 1;
            }
            at += TABLE_SPAN;
        }
    }

    fn give(&mut self, frame: u64) {
        self.freed += FRAME;
        // SAFETY: 1. its entry has been in limbo for an epoch and leads elsewhere now: nobody can
        // reach it.
        unsafe { frames::free(frame) };
    }
}

/// What a parked G needs of its window.
struct Needs {
    window: Window,
    /// Pages from here on.
    keep: u64,
    /// Bytes below the top.
    used: u64,
}

impl Needs {
    /// Of a G that is held still.
    fn of(g: &G) -> Option<Self> {
        let (window, sp) = (Window::from(g.stack()), g.saved_sp() as u64);
        if window.hi == 0 || !window.contains(sp) {
            return None;
        }
        let keep = (sp - MARGIN).max(window.lo + GUARD) & !(FRAME - 1);
        Some(Self { window, keep, used: window.hi - sp })
    }

    /// Whether what it uses is worth packing.
    fn may_pack(&self) -> bool {
        self.used <= packed::MOST && self.keep == self.window.top()
    }
}

/// Whether the only page of `g` that there was is packed: a guess, without holding it.
fn has_nothing(g: &G) -> bool {
    let low = g.stack_low.load(Ordering::Relaxed) as u64;
    Window::of(low).is_some_and(|window| low == window.top() && window::is_packed(window.hi))
}

/// A page of a stack goes.
fn reclaim(entry: &Entry, limbo: u64) -> bool {
    let ours = entry.reclaim(limbo);
    if ours {
        percpu::current().stacks.pages.fetch_sub(1, Ordering::Relaxed);
    }
    ours
}
