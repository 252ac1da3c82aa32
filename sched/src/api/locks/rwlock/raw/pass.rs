//! Whose turn it is: the lists of G's that wait, and the lock on its way to one of them.

use super::Raw;
use super::word::{COUNT, FAIR, FREE, ONE, QUEUED, SUM_BITS, WRITER, WRITING, dead_holder, dead_reader, reader_in};
use crate::api::locks::owner::OWNER;
use crate::g::id_of;
use crate::machine::guard::PreemptGuard;
use crate::machine::sync::Ordering;
use crate::wait::deaths::{Deaths, Holding, Waited};
use crate::wait::list::{Claimed, Crowd, WaitQueue};

pub(super) struct Lists {
    /// The readers' slots hold their units.
    pub(super) readers: WaitQueue,
    /// The sum of the units of all readers in the list.
    pub(super) units: usize,
    /// The writers' slots hold their addresses as owners.
    pub(super) writers: WaitQueue,
    /// A writer was woken and is on its way to compete.
    pub(super) woken: bool,
}

impl Lists {
    pub(super) fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.writers.is_empty()
    }

    fn take_readers(&mut self) -> Crowd {
        self.units = 0;
        self.readers.take()
    }

    fn pop_reader(&mut self) -> Option<Claimed> {
        let first = self.readers.pop()?;
        self.units = self.units.wrapping_sub(first.slot().addr());
        Some(first)
    }
}

/// Readers that have got the lock; a writer that has got it, or is to compete for it.
#[must_use = "they wait for ever unless they are woken"]
pub(super) struct Woken {
    readers: Crowd,
    writer: Option<Claimed>,
}

impl Woken {
    const NOBODY: Self = Self { readers: Crowd::nobody(), writer: None };

    fn is_nobody(&self) -> bool {
        self.writer.is_none() && self.readers.is_empty()
    }

    /// Wakes them. The guard under which they were claimed ends when all, or the first of them, are
    /// awake.
    #[inline(never)]
    pub(super) fn wake(self, guard: PreemptGuard) {
        if let Some(writer) = self.writer {
            writer.wake(&guard);
        }
        self.readers.wake_claimed(guard);
    }
}

/// The side that has just left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Reader,
    Writer,
}

impl Raw {
    /// Returns the G's whose turn it is, if nobody holds the lock and no writer is on its way to
    /// it. With the lists' lock held.
    #[inline(never)]
    pub(super) fn pass_on(&self, lists: &mut Lists, left: Left) -> Woken {
        // Acquire: pairs with the Release of every reader that has left, so that their reads come
        // before the next writer's writes.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let fair = word & FAIR != 0;
            if word & (WRITER | COUNT) != 0 || !fair && lists.woken {
                // The G that has the lock sees to the others, or the woken writer does.
                return Woken::NOBODY;
            }
            let writer =
                if left == Left::Reader || lists.readers.is_empty() { lists.writers.first_slot() } else { None };
            let (to, more) = match writer {
                Some(writer) => {
                    let to = if fair { writer.addr() } else { FREE };
                    // A writer on its way sets QUEUED itself: until then all others are fast.
                    (to, fair && (lists.writers.has_two() || !lists.readers.is_empty()))
                }
                None => (lists.units, !lists.writers.is_empty()),
            };
            // FAIR is of no use to readers alone, and harms nobody: the writer that it is for has
            // got the lock, or the next one ends it.
            let flags = if more { QUEUED | word & FAIR } else { 0 };
            // AcqRel: continues the release of the readers.
            match self.word.compare_exchange(word, to | flags, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if writer.is_none() => return Woken { readers: lists.take_readers(), writer: None },
                Ok(_) => {
                    let claimed = lists.writers.pop();
                    lists.woken |= !fair;
                    let writer = if fair { claimed.map(Claimed::serve) } else { claimed };
                    return Woken { readers: Crowd::nobody(), writer };
                }
                Err(now) => word = now,
            }
        }
    }

    /// Lets in all readers that wait, beside the caller, which reads. With the lists' lock held.
    #[inline(never)]
    pub(super) fn admit(&self, lists: &mut Lists) -> Woken {
        // AcqRel: as in `pass_on`.
        let gone = if lists.writers.is_empty() { QUEUED | FAIR } else { 0 };
        let with_them = |word: usize| Some((word & !gone).wrapping_add(lists.units));
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_them);
        Woken { readers: lists.take_readers(), writer: None }
    }

    /// Lets in the first reader that waits, while others read. With the lists' lock held.
    fn admit_one(&self, lists: &mut Lists) -> Option<Claimed> {
        let unit = lists.readers.first_slot()?.addr();
        let gone = if lists.writers.is_empty() && !lists.readers.has_two() { QUEUED | FAIR } else { 0 };
        let with_it =
            |word: usize| (word & WRITER == 0 && word & COUNT != 0).then(|| (word & !gone).wrapping_add(unit));
        // AcqRel: as in `pass_on`.
        self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_it).ok()?;
        lists.pop_reader()
    }

    /// Clears QUEUED and FAIR if the lists are empty, after a change that no unlocking G will see.
    /// With the lists' lock held.
    pub(super) fn set_queued(&self, lists: &Lists) {
        if lists.is_empty() {
            self.word.fetch_and(!(QUEUED | FAIR), Ordering::Relaxed);
        }
    }
}

impl Waited for Raw {
    fn is_lost(&self, deaths: &Deaths) -> bool {
        // For a reader that stands behind a writer that is lost, too.
        dead_holder::<WRITING>(self.word.load(Ordering::Relaxed), deaths).is_some()
    }

    fn see_to_one(&self, deaths: &Deaths, guard: &PreemptGuard) -> bool {
        let mut lists = self.lists.lock(guard);
        let word = self.word.load(Ordering::Relaxed);
        let one = if word & (WRITER | COUNT) == 0 {
            // Perhaps the G that unlocked the word has died before it came to this.
            let woken = self.pass_on(&mut lists, Left::Reader);
            drop(lists);
            let any = !woken.is_nobody();
            woken.wake(PreemptGuard::new());
            return any;
        } else if word & WRITER != 0 {
            let dead = dead_holder::<WRITING>(word, deaths);
            dead.and_then(|dead| {
                let one = lists.writers.pop().or_else(|| lists.pop_reader());
                self.set_queued(&lists);
                one.map(|one| one.bury(dead.id()))
            })
        } else if lists.writers.is_empty() {
            // Only if the writers in front of them were lost: they may read beside a dead reader.
            if word & COUNT == 0 { None } else { self.admit_one(&mut lists) }
        } else {
            dead_reader(word, deaths).and_then(|dead| {
                let one = lists.writers.pop();
                self.set_queued(&lists);
                one.map(|one| one.bury(dead.id()))
            })
        };
        drop(lists);
        let any = one.is_some();
        if let Some(one) = one {
            one.wake(guard);
        }
        any
    }

    fn holder(&self) -> Holding {
        let word = self.word.load(Ordering::Relaxed);
        match word & (WRITER | COUNT) {
            _ if word & WRITER != 0 => Holding::By(id_of(word & OWNER)),
            ONE => Holding::ByShort(reader_in(word), SUM_BITS),
            _ => Holding::Unknown,
        }
    }
}
