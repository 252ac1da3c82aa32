//! The portable half of Trefoil: goroutines (G), processors (P), machines (M), and everything that
//! moves a G between them.
//!
//! ```text
//!   go, chan, mutex, waitgroup, sleep          what a program calls
//!        │ park / ready / spawn / yield
//!   park.rs  spawn.rs  join.rs  timers.rs      one G changes state
//!        │
//!   schedule.rs                                which G runs next on this M
//!        │
//!   runq.rs  globq.rs  inbox.rs  idle.rs  gfree.rs   the queues, and the protocol that never loses a wake-up
//!        │
//!   platform.rs                                switch, current M, wake, idle, clock, stacks
//!
//!   entry.rs  epoch.rs                         how a page of a parked stack is taken away, and when it may be used again
//! ```
//!
//! There is no machine in this crate: no assembly, no MMIO, no `target_arch`. The kernel and the
//! hosted platform each wire one [`platform::Platform`] at link time. The crate owns no statics
//! either: the platform keeps the one [`Sched`] and hands out the current [`M`].
//!
//! # Invariants, by name
//!
//! * INV-PUBLISH: a G becomes visible to other cores (a queue, a waiter list whose lock is
//!   released, a free list) only in the `after` of the switch that left it, when its registers are
//!   saved. See `park.rs`.
//! * **INV-ONE-PLACE**: a G stands in exactly one place: a queue slot, a free list, an M's `curg`,
//!   or an object it waits for.
//! * **INV-RECHECK**: an M rests only after it has made itself findable and then looked at every
//!   queue again. See `idle.rs`.
//! * INV-TIMER-HOME: a P with a timer pending is either held by an M (whose one-shot is armed
//!   for it) or idle, and then its home, the M that released it, keeps that deadline: it rests with
//!   it, or has its one-shot armed for it. See `procs.rs`.
#![cfg_attr(not(loom), no_std)]
// What runs seldom is made small, as in the kernel.
#![feature(optimize_attribute)]

extern crate alloc;

pub mod chan;
pub mod context;
pub mod deaths;
pub mod entry;
pub mod epoch;
pub mod g;
mod gfree;
pub mod globq;
pub mod group;
pub mod gstate;
mod haul;
pub mod idle;
mod inbox;
pub mod input;
#[cfg(loom)]
mod invariants;
pub mod join;
pub mod joinset;
pub mod latency;
pub mod local;
pub mod lock;
pub mod locks;
pub mod m;
pub mod output;
mod p;
pub mod panic;
pub mod park;
mod pin;
pub mod platform;
pub mod preempt;
pub mod procs;
mod registry;
pub mod runq;
pub mod sched;
mod schedule;
pub mod scope;
pub mod select;
pub mod spawn;
pub mod stats;
mod steal_order;
pub mod sync;
pub mod task;
mod ticket;
pub mod time;
pub mod timers;
mod waitq;

pub use g::{Cause, G, GRef, Stack, WaitReason};
pub use inbox::{park_for_interrupt, ready_anywhere, ready_from_interrupt};
pub use m::M;
pub use p::P;
pub use park::{current_g, is_side_door, make_way, park, preempt, ready, yield_now};
pub use pin::{Pin, pin};
pub use platform::{Fatal, Platform};
pub use preempt::PreemptGuard;
pub use procs::{block_in_place, set_max_procs};
pub use registry::Cursor;
pub use sched::{Config, Sched};
pub use schedule::{run_m, timer_interrupt, wake_interrupt};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use spawn::{Builder, SpawnError, abandon, exit_g};

#[cfg(loom)]
pub mod model {
    //! The scheduler's inner steps, for models that never switch.
    use alloc::vec::Vec;

    use crate::{GRef, M, PreemptGuard, Sched};

    /// Idle → Runnable.
    pub fn make_runnable(g: GRef) {
        g.state.spawn();
    }

    /// Idle → Waiting, as if it had run and parked.
    pub fn make_parked(g: GRef) {
        g.state.spawn();
        g.state.dispatch();
        g.state.begin_park();
        assert_eq!(g.state.finish_park(), crate::gstate::Finish::Parked);
    }

    /// As if it had run and parked once more.
    pub fn park_again(g: GRef) {
        g.state.dispatch();
        g.state.begin_park();
        assert_eq!(g.state.finish_park(), crate::gstate::Finish::Parked);
    }

    /// The running `g` parks for `input`, as far as it does without a switch. False: it goes on.
    pub fn parks_for_input(input: &crate::input::Input, g: GRef) -> bool {
        g.state.begin_park();
        if !input.is_to_wait(g) {
            g.state.abandon_park();
        } else if g.state.finish_park() == crate::gstate::Finish::Parked {
            return true;
        }
        g.state.dispatch();
        false
    }

    /// The running `g` puts `line` into `output`, and waits for room by `wait` instead of a switch.
    /// It is the only writer.
    pub fn put_alone(output: &crate::output::Output, g: GRef, line: &[u8], wait: impl Fn()) {
        while !output.try_put_or_need(line) {
            g.state.begin_park();
            if !output.is_to_wait(g) {
                g.state.abandon_park();
            } else if g.state.finish_park() == crate::gstate::Finish::Parked {
                wait();
                continue;
            }
            g.state.dispatch();
        }
    }

    /// Runnable → Running.
    pub fn dispatch(g: GRef) {
        g.state.dispatch();
    }

    /// How many G's stand in the inbox; it is empty afterwards.
    pub fn inbox_len(m: &'static M) -> usize {
        m.sched().inbox.take().len()
    }

    /// Fresh records that `sched` knows.
    pub fn records(sched: &Sched) -> Vec<GRef> {
        let mut gs = Vec::new();
        assert!(sched.registry.grow(|g| gs.push(g)));
        gs
    }

    /// Whether the G that runs on `m` has claimed G's that it has not woken.
    pub fn wakes_a_crowd(m: &M) -> bool {
        m.running().is_some_and(|g| g.rest_of_crowd.get().is_some())
    }

    /// The G that runs here dies, with all that it holds; when that is recorded, `retire` says that
    /// its stack is dead. A crowd that it has not come to wake is left to the round.
    pub fn owner_died(retire: impl FnOnce()) {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        m.sched().deaths.record(m.caller(), crate::Cause::StackOverflow);
        retire();
        if let Some(crowd) = m.running().and_then(crate::waitq::Crowd::left_by) {
            crate::deaths::leave_to_round(m, crowd, &guard);
        }
        crate::deaths::give_back(m, m.caller(), &guard);
        crate::deaths::ask(m, &guard);
    }

    /// What g0 does first: a piece of the round after a death. False: none is pending.
    pub fn see_to_deaths(m: &'static M) -> bool {
        let pending = m.sched().deaths.rounds.is_pending();
        if pending {
            crate::deaths::work(m, &PreemptGuard::new());
        }
        pending
    }

    /// `g` has this number.
    pub fn name(g: GRef, id: u64) {
        g.set_id(id);
    }

    /// The first step of the unlock of that guard's mutex, and no more.
    pub fn half_unlock<T>(guard: crate::locks::MutexGuard<'_, T>) {
        guard.raw().half_unlock();
        core::mem::forget(guard);
    }

    /// The caller is a member of `group`, and about to die before it is done.
    pub fn member_dies(group: &crate::locks::WaitGroup) {
        let guard = PreemptGuard::new();
        group.member_died(crate::park::current_g(&guard));
    }

    /// The caller becomes the runner of `once`, and never comes to an end. False: it is done.
    pub fn begin_once(once: &crate::locks::Once) -> bool {
        once.begin(true).map(core::mem::forget).is_some()
    }

    /// The first timer of P number `p` is due, and `m` runs it, as its owner or as a thief. False:
    /// there is none.
    pub fn fire_one(m: &'static M, p: usize) -> bool {
        crate::schedule::fire_one(&m.sched().ps()[p], &PreemptGuard::new())
    }

    /// Another P's timers go to the one that `m` holds, since that P goes.
    pub fn move_timers(m: &'static M, from: usize) {
        let guard = PreemptGuard::new();
        let (from, to) = (&m.sched().ps()[from], m.held(&guard));
        loop {
            match from.timers.move_to(&to.timers, crate::timers::MOVED, &guard) {
                Ok(true) => break,
                Ok(false) => {}
                Err(larger) => assert!(to.timers.grow(larger)),
            }
        }
        m.arm(to.next_alarm());
    }

    pub use crate::chan::Watch;
    pub use crate::invariants::{broken, deadlines, left_behind, orphan, p_states};
    pub use crate::join::model::{Completer, join_until, pair as join_pair};
    pub use crate::joinset::errgroup_model::{GroupMember, group_member};
    pub use crate::joinset::model::{SetMember, set_member};
    pub use crate::timers::Bell;

    /// As a poll of the stream, but the watcher that it needs is given to `start`.
    pub fn poll_stream<T>(
        stream: &mut crate::chan::RecvStream<T>,
        context: &mut core::task::Context<'_>,
        start: impl FnOnce(Watch<T>),
    ) -> core::task::Poll<Option<T>> {
        stream.poll_with(context, start)
    }

    /// All deadlines of all P's have come: what a g0 on `m` does then.
    pub fn time_passes() {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        for p in m.sched().all_ps() {
            while crate::schedule::fire_one(p, &guard) {}
        }
    }

    /// The deadline of `context` has come.
    pub fn expire(context: &crate::context::Context) {
        crate::context::expire(context);
    }

    /// A group with that many members, and its opener's share.
    pub fn group(members: usize) -> alloc::sync::Arc<crate::group::Group> {
        alloc::sync::Arc::new(crate::group::Group::new(members + 1, core::ptr::null()))
    }

    /// A G with the frames `stack` and the group `open`, if that is one, which was ended where it
    /// stood. Its core is not through with it: [`leave_frames`].
    pub fn dead(stack: crate::Stack, open: Option<alloc::sync::Arc<crate::group::Group>>) -> GRef {
        let g: GRef = alloc::boxed::Box::leak(alloc::boxed::Box::new(crate::G::new()));
        g.state.spawn();
        g.state.dispatch();
        g.doom(crate::Cause::StackOverflow);
        g.stack.set(stack);
        g.scope.set(open.map_or(core::ptr::null(), alloc::sync::Arc::into_raw));
        g
    }

    /// Its undertaker: what it had open is nobody's, and its membership in `heir` goes with the
    /// last of that.
    pub fn orphan_groups(g: GRef, heir: Option<alloc::sync::Arc<crate::group::Group>>) {
        let _guard = PreemptGuard::new();
        crate::group::orphan(g, heir);
    }

    /// Its core has left its stack: what `after_exit` does.
    pub fn leave_frames(g: GRef) {
        g.state.die();
        if g.grave.left() {
            crate::spawn::give_up_frames(g, &PreemptGuard::new());
        }
    }

    /// A group that `g` opens inside `outer`: that many members, and its opener's share.
    pub fn group_inside(
        members: usize,
        outer: &alloc::sync::Arc<crate::group::Group>,
    ) -> alloc::sync::Arc<crate::group::Group> {
        alloc::sync::Arc::new(crate::group::Group::new(members + 1, alloc::sync::Arc::as_ptr(outer)))
    }

    /// `g` runs on `m` from its first instruction.
    pub fn begin(m: &'static M, g: GRef) {
        g.state.spawn();
        g.state.dispatch();
        m.set_running(Some(g));
    }

    /// What g0 does first: the next G of its own P, dispatched.
    pub fn take_local(m: &'static M) -> Option<GRef> {
        let guard = PreemptGuard::new();
        let p = m.held(&guard);
        let g = p.take_slot().or_else(|| p.ring().pop())?;
        g.state.dispatch();
        m.set_running(Some(g));
        Some(g)
    }

    /// As if a G on `m` had readied `g` and gone on long enough for others to take it.
    pub fn ready(m: &'static M, g: GRef) {
        if g.state.ready() == crate::gstate::Ready::Enqueue {
            submit(m, g);
        }
    }

    /// As if a G on `m` had readied a second G: to the ring, waking an M if one should be.
    pub fn submit(m: &'static M, g: GRef) {
        let guard = PreemptGuard::new();
        crate::park::enqueue_last(m, &m.held(&guard), g, &guard);
    }

    /// `g` was preempted on `m`.
    pub fn preempted(m: &'static M, g: GRef) {
        crate::park::enqueue_behind_all(m, g, &PreemptGuard::new());
    }

    /// A G on `m` begins a block: `m` is outside.
    pub fn go_outside(m: &'static M) {
        assert!(m.go_outside(&PreemptGuard::new()));
    }

    /// `m` is outside, and has been since before anything else happened.
    pub fn be_outside(m: &'static M) {
        m.set_p(m.sched().m(m.index()).map(|m| &m.outside));
    }

    /// The block ends. False: all P's are taken, and the G would wait for one on the global queue.
    pub fn come_back(m: &'static M) -> bool {
        let back = m.retake(&PreemptGuard::new());
        if !back {
            m.surrender(&PreemptGuard::new());
        }
        back
    }

    /// The P that `m` holds keeps a free G.
    pub fn keep_free(m: &'static M, g: GRef) {
        let guard = PreemptGuard::new();
        m.held(&guard).free.push(g, &m.sched().free, &guard);
    }

    /// Memory is short: `m` takes what P's without an M keep.
    pub fn trim_resting(m: &'static M) {
        m.sched().trim_resting(&PreemptGuard::new());
    }

    /// A G runs on `m` that has used up its slice, and its core's alarm is due.
    pub fn runs_long(m: &'static M, g: GRef) {
        m.set_running(Some(g));
        if let Some(p) = m.p() {
            p.begin_slice(0);
            p.set_slice_alarm(0);
        }
    }

    /// Whether the core of `m` will be interrupted for the sake of those who wait.
    pub fn has_alarm(m: &'static M) -> bool {
        m.p().is_some_and(|p| !p.wants_slice())
    }

    /// From now on there are `n` P's: those beyond are claimed for good. By `m`, which keeps its
    /// own, or holds none. Returns how many there were.
    pub fn set_max_procs(m: &'static M, n: usize) -> usize {
        let before = m.sched().set_number(n, m);
        (0..m.sched().ps().len()).for_each(|p| crate::procs::retire(m.sched(), p));
        before
    }

    /// The same by a caller that dies before it has claimed those beyond.
    pub fn begin_to_lower(m: &'static M, n: usize) {
        m.sched().set_number(n, m);
    }

    /// A caller on `m` that has lowered the number claims P `at`, moves a piece of its timers, and
    /// dies. Returns true if a timer is left.
    pub fn move_a_piece(m: &'static M, at: usize) -> bool {
        let (sched, guard) = (m.sched(), PreemptGuard::new());
        sched.rest.claim_exactly(at) && crate::procs::empty_or_keep(m, &sched.ps()[at], &guard) == Ok(false)
    }

    /// A G on `m` goes to sleep until `when`.
    pub fn sleep(m: &'static M, g: GRef, when: u64) {
        make_parked(g);
        let guard = PreemptGuard::new();
        assert!(m.held(&guard).timers.make_room(&guard));
        crate::timers::start_sleep(&guard, g, when);
    }

    /// What g0 does first: gives up a P that is one too many.
    pub fn look_at_number(m: &'static M) {
        if m.p().is_some_and(|p| p.index() >= m.sched().num_ps()) {
            m.surrender(&PreemptGuard::new());
        }
    }

    /// `g` is pinned to `to`, and its turn came on `m`.
    pub fn send(m: &'static M, to: &'static M, g: GRef) {
        g.pin(to.index());
        m.send(g, &PreemptGuard::new());
    }

    /// What g0 does: looks, rests, looks again, until there is a G for `m`, and passes the search
    /// on.
    pub fn next_g(m: &'static M) -> GRef {
        crate::schedule::next_g(m, &PreemptGuard::new())
    }
}
