//! The report of a deadlock: each parked G, its wait reason, its waiting time, and the holder.
//!
//! ```text
//!   G 7 "first" [mutex lock] waits for 0xffffa00000012340, held by G 8 "second", for 0.31 s
//!   #00 0xffffffff80201234 …
//! ```
//!
//! The report shows the first hundred G's in full, and groups the others by reason and place of the
//! program ([`Place`]). Each group is shown once, with the number of its G's at the end.
//!
//! The trace of a *parked* G comes from a switch to it with a function that prints instead of
//! returning. `switch` runs `after` as if the parked context had called it. Each G is walked once,
//! since the walk leaves a frame on its stack.
//!
//! The waiting time is as exact as [`G::parked_for`] is: parking does not read the clock.

use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use trefoil_context::switch;
use trefoil_sched::locks::{Holder, holder};
use trefoil_sched::{G, Sched};

use super::backtrace::{self, Place};
use super::{Who, begin, creator, end};
use crate::arch::{clock, report_stack};
use crate::mm::stack;
use crate::{recorder, scheduler};

/// G's that are shown in full.
const IN_FULL: usize = 100;
/// Groups of the other G's that are told apart.
const KINDS: usize = 32;

/// A group of G's that wait for one reason at one place. (Atomics in place of a `static mut`: only
/// the core that reports is left.)
struct Kind {
    place: AtomicU64,
    /// The first G of the group; null while the group is empty.
    like: AtomicPtr<G>,
    more: AtomicU64,
}

static SORTS: [Kind; KINDS] =
    [const { Kind { place: AtomicU64::new(0), like: AtomicPtr::new(core::ptr::null_mut()), more: AtomicU64::new(0) } };
        KINDS];

impl Kind {
    fn like(&self) -> Option<&'static G> {
        // SAFETY: `deadlock` stores a `&'static G`.
        unsafe { self.like.load(Ordering::Relaxed).as_ref() }
    }

    /// Returns true if `g` belongs to the group, or the group is empty.
    fn fits(&self, g: &G, place: u64) -> bool {
        self.like()
            .is_none_or(|like| like.wait_reason() == g.wait_reason() && self.place.load(Ordering::Relaxed) == place)
    }
}

/// Reports that no G will ever run again, and the wait of each G.
#[optimize(size)]
pub fn deadlock() -> ! {
    recorder::is_deadlock();
    begin(format_args!("deadlock: all goroutines are asleep, no timer is armed"));
    let (mut shown, mut others) = (0, 0u64);
    let now = clock::now();
    let sched = scheduler::sched();
    sched.for_each_g(|g| {
        if !g.state().is_parked() {
            return;
        }
        if shown < IN_FULL {
            shown += 1;
            head(sched, g, now);
            visit(g, None);
            return creator(g, backtrace::raw);
        }
        let mut at = Place::default();
        visit(g, Some(&mut at));
        let place = at.number();
        match SORTS.iter().find(|kind| kind.fits(g, place)) {
            None => others += 1,
            Some(kind) if kind.like().is_some() => _ = kind.more.fetch_add(1, Ordering::Relaxed),
            Some(kind) => {
                kind.place.store(place, Ordering::Relaxed);
                kind.like.store(core::ptr::from_ref(g).cast_mut(), Ordering::Relaxed);
                head(sched, g, now);
                at.show();
                creator(g, backtrace::raw);
            }
        }
    });
    for kind in &SORTS {
        let more = kind.more.load(Ordering::Relaxed);
        if more > 0
            && let Some(g) = kind.like()
        {
            say!("  … and {more} more [{}] where G {} waits", g.wait_reason().as_str(), g.id());
        }
    }
    if others > 0 {
        say!("  … and {others} more");
    }
    end()
}

/// Prints the line above a backtrace.
fn head(sched: &'static Sched, g: &G, now: u64) {
    let centis = g.parked_for(now) / 10_000_000;
    let (object, since) = (g.waits_for(), (centis / 100, centis % 100));
    let (reason, held_by) = (g.wait_reason().as_str(), HeldBy(sched, g));
    say!("  {} [{reason}] waits for 0x{object:016x}{held_by}, for {}.{:02} s", Who(g), since.0, since.1);
}

/// The holder of the lock that a parked G waits for, if it is known.
struct HeldBy<'a>(&'static Sched, &'a G);

impl fmt::Display for HeldBy<'_> {
    #[optimize(size)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: 1. this is the report of a deadlock: no G runs any more, and `deadlock` passes
        // parked G's.
        match unsafe { holder(self.0, self.1) } {
            Some(Holder::Lives(holder)) if core::ptr::eq(holder, self.1) => f.write_str(", which it holds itself"),
            Some(Holder::Lives(holder)) => write!(f, ", held by {}", Who(holder)),
            Some(Holder::Died(dead)) => write!(f, ", held by {dead}"),
            Some(Holder::Ended(id)) => write!(f, ", held by G {id}, which has ended"),
            None => Ok(()),
        }
    }
}

/// The context to come back to from a parked G.
static RETURN_SP: AtomicUsize = AtomicUsize::new(0);

/// Switches to a parked G, and prints its trace, or keeps its place in `place`.
fn visit(g: &G, place: Option<&mut Place>) {
    unsafe extern "C" fn nothing(_: *mut (), _: *mut ()) {}
    unsafe extern "C" fn show(place: *mut (), _: *mut ()) {
        // SAFETY: `visit` passes its `place`, and waits.
        let mut place = unsafe { place.cast::<Place>().as_mut() };
        report_stack::run(&mut || match &mut place {
            Some(place) => place.keep(show as *const () as usize),
            None => backtrace::callers(show as *const () as usize, 0),
        });
        let mut gone = 0;
        let back = RETURN_SP.load(Ordering::Relaxed);
        // SAFETY: `back` was stored by the switch below and is loaded once.
        unsafe {
            switch::switch(&raw mut gone, &raw const back, nothing, core::ptr::null_mut(), core::ptr::null_mut())
        };
    }
    let sp = g.saved_sp();
    let stack = g.stack();
    if !(stack.lo..stack.hi).contains(&sp) {
        return;
    }
    let packed = stack::is_packed(stack.hi as u64);
    let place = place.map_or(core::ptr::null_mut(), core::ptr::from_mut).cast();
    // SAFETY: the G is parked and never resumed; `show` comes back instead of returning into it.
    unsafe { switch::switch(RETURN_SP.as_ptr(), &raw const sp, show, place, core::ptr::null_mut()) };
    if packed {
        // The walk has unpacked the stack into a frame of the fault reserve, which the next G's
        // walk may want.
        stack::put_back(stack.hi as u64);
    }
}
