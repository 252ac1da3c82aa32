//! The end of a round, when its epoch is over: each page goes back, or to its owner.

use core::sync::atomic::Ordering;

use trefoil_sched::internals::page::{Backing, PageEntry};
use trefoil_sched::internals::recorder::{BUILT, note};
use trefoil_sched::{GRef, M, PreemptGuard, Sched};
use trefoil_trace::Kind;

use super::{End, Needs, Piece, Round, Span};
use crate::mm::frames::{self, FRAME};
use crate::mm::record;
use crate::mm::stack::packed::{self, Content};
use crate::mm::stack::walk::{self, ADDRESS, TABLE_SPAN};
use crate::mm::stack::{Window, forget};

impl Round {
    /// Ends the round for the pages `from..to` of a G that was parked at its beginning. The G is
    /// held still again, and keeps the pages that it needs now.
    fn settle(&mut self, m: &M, g: GRef, window: Window, from: u64, to: u64) {
        let needs = Needs::of(g).filter(|needs| needs.window == window);
        let now = g.stack_low.load(Ordering::Relaxed);
        if needs.is_some() && now as u64 >= from {
            // First `stack_low` is raised, then each page that is present lowers it again. Other
            // cores may map pages meanwhile, and lower it as well. If another core was faster, the
            // value stays. (The value is below `from` if the G has gone deeper since the round
            // began.)
            let top = to.min(window.top()) as usize;
            let _ = g.stack_low.compare_exchange(now, top, Ordering::Relaxed, Ordering::Relaxed);
        }
        let lower = |page: u64| {
            if needs.is_some() {
                g.stack_low.fetch_min(page as usize, Ordering::Relaxed);
            }
        };
        let (mut shrunk, mut packed) = (false, None);
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
                Some(frame) => {
                    if BUILT {
                        match &needs {
                            Some(needs) if page >= needs.keep => packed = Some(needs.used),
                            _ => shrunk = true,
                        }
                    }
                    self.give(frame);
                }
                None => {
                    entry.restore(limbo);
                    lower(page);
                }
            }
        });
        if let Some(used) = packed {
            note(m, Kind::Pack, g.id(), used);
        } else if shrunk {
            note(m, Kind::Shrink, g.id(), window.hi - g.stack_low.load(Ordering::Relaxed) as u64);
        }
    }

    /// Settles a piece of the round once its epoch is over: pages still in limbo belong to the
    /// round. Returns true if that was the last piece.
    pub(super) fn finish(&mut self, sched: &'static Sched, guard: &PreemptGuard) -> bool {
        let packs = &record::current().packs;
        packs.set(true);
        if !self.tables.is_empty() {
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
            self.settle_span(sched, guard, self.spans[self.settled]);
            self.settled += 1;
        }
        packs.set(false);
        let over = self.settled == self.to_settle;
        if over {
            self.to_settle = 0;
            self.epoch = 0;
            if BUILT {
                note(M::current(guard), Kind::Epoch, 0, (self.freed - self.freed_at_epoch) / FRAME);
                self.freed_at_epoch = self.freed;
            }
        }
        over
    }

    /// Settles a few of the spans.
    fn settle_tables(&mut self) {
        let piece = Piece::begin();
        while !piece.is_over() {
            let Some(table) = self.tables.pop() else { return };
            piece.advance();
            let Some((entry, Backing::Limbo(limbo))) = walk::find_table(table) else { continue };
            let may_pack = Window::of(table).is_some_and(|w| w.class() == 0);
            if let Some(frame) = packed::pack_table(entry, limbo, may_pack) {
                self.give(frame);
            }
        }
    }

    fn settle_span(&mut self, sched: &'static Sched, guard: &PreemptGuard, span: Span) {
        let Span { window, from, to, end } = span;
        if let End::Shrink(g) = end {
            if !sched.scan(guard, g, |g, _| self.settle(M::current(guard), g, window, from, to)) {
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
            // Some core has touched a page of a stack that has ended: take the span once more.
            _ if back => {
                self.spans[self.len] = span;
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
        while at < range.end && !self.next_tables.is_full() {
            let known = self.next_tables.last() == Some(&at);
            if !known
                && let Some((_, Backing::Present(word))) = walk::find_table(at)
                && match packed::content(word & ADDRESS) {
                    Content::Nothing => true,
                    Content::Packed(_) => Window::of(at).is_some_and(|w| w.class() == 0),
                    Content::Pages => false,
                }
            {
                let _ = self.next_tables.push(at);
            }
            at += TABLE_SPAN;
        }
    }

    fn give(&mut self, frame: u64) {
        self.freed += FRAME;
        // SAFETY: 1. its entry has been in limbo for an epoch and leads elsewhere now: no core can
        // reach the table.
        unsafe { frames::free(frame) };
    }
}

/// Counts a page of a stack that goes.
fn reclaim(entry: &PageEntry, limbo: u64) -> bool {
    let ours = entry.reclaim(limbo);
    if ours {
        record::current().stacks.pages.fetch_sub(1, Ordering::Relaxed);
    }
    ours
}
