//! The scheduler's inner steps, for models that never switch.
mod invariants;

use alloc::vec::Vec;

use crate::{GRef, M, PreemptGuard, Sched};

/// Goes from Idle to Runnable.
pub fn make_runnable(g: GRef) {
    g.state.spawn();
}

/// Goes from Idle to Waiting, as if the G had run and parked.
pub fn make_parked(g: GRef) {
    g.state.spawn();
    g.state.dispatch();
    g.state.begin_park();
    assert_eq!(g.state.finish_park(), crate::g::state::Finish::Parked);
}

/// Goes on as if the G had run and parked once more.
pub fn park_again(g: GRef) {
    g.state.dispatch();
    g.state.begin_park();
    assert_eq!(g.state.finish_park(), crate::g::state::Finish::Parked);
}

/// Parks the running `g` for `input`, as far as it does without a switch. Returns false if it
/// goes on.
pub fn parks_for_input(input: &crate::api::input::Input, g: GRef) -> bool {
    g.state.begin_park();
    if !input.is_to_wait(g) {
        g.state.abandon_park();
    } else if g.state.finish_park() == crate::g::state::Finish::Parked {
        return true;
    }
    g.state.dispatch();
    false
}

/// Puts `line` into `output` from the running `g`, its only writer. Waits for room by `wait`
/// instead of a switch.
pub fn put_alone(output: &crate::api::output::Output, g: GRef, line: &[u8], wait: impl Fn()) {
    while !output.try_put_or_need(line) {
        g.state.begin_park();
        if !output.is_to_wait(g) {
            g.state.abandon_park();
        } else if g.state.finish_park() == crate::g::state::Finish::Parked {
            wait();
            continue;
        }
        g.state.dispatch();
    }
}

/// Goes from Runnable to Running.
pub fn dispatch(g: GRef) {
    g.state.dispatch();
}

/// Empties the inbox. Returns how many G's stood in it.
pub fn inbox_len(m: &'static M) -> usize {
    m.sched().inbox.take().len()
}

/// Makes fresh records that `sched` knows.
pub fn records(sched: &Sched) -> Vec<GRef> {
    let mut gs = Vec::new();
    assert!(sched.registry.grow(|g| gs.push(g)));
    gs
}

/// Returns true if the G that runs on `m` has claimed G's that it has not woken.
pub fn wakes_a_crowd(m: &M) -> bool {
    m.running().is_some_and(|g| g.rest_of_crowd.get().is_some())
}

/// Kills the G that runs here, with all that it holds. When that is recorded, `retire` says
/// that its stack is dead. A crowd that the G has not yet woken is left to the round.
pub fn owner_died(retire: impl FnOnce()) {
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    m.sched().deaths.record(m.caller(), crate::Cause::StackOverflow);
    retire();
    if let Some(crowd) = m.running().and_then(crate::wait::list::Crowd::left_by) {
        crate::wait::deaths::leave_to_round(m, crowd, &guard);
    }
    crate::wait::deaths::give_back(m, m.caller(), &guard);
    crate::wait::deaths::ask(m, &guard);
}

/// Does the first step of g0: a piece of the round after a death. Returns false if none is
/// pending.
pub fn see_to_deaths(m: &'static M) -> bool {
    let pending = m.sched().rounds.is_pending();
    if pending {
        crate::wait::deaths::work(&PreemptGuard::new());
    }
    pending
}

/// Gives `g` this number.
pub fn name(g: GRef, id: u64) {
    g.set_id(id);
}

/// Takes the first step of the unlock of that guard's mutex, and no more.
pub fn half_unlock<T>(guard: crate::api::locks::MutexGuard<'_, T>) {
    guard.raw().half_unlock();
    core::mem::forget(guard);
}

/// Makes the caller a member of `group` that is about to die before it is done.
pub fn member_dies(group: &crate::api::locks::WaitGroup) {
    let guard = PreemptGuard::new();
    group.member_died(crate::core::park::current_g(&guard));
}

/// Makes the caller the runner of `once`, which never comes to an end. Returns false if it is
/// done.
pub fn begin_once(once: &crate::api::locks::Once) -> bool {
    once.begin(true).map(core::mem::forget).is_some()
}

/// Runs the first timer of P number `p` on `m`, as its owner or as a thief. Returns false if
/// there is none.
pub fn fire_one(m: &'static M, p: usize) -> bool {
    crate::core::due::fire_one(&m.sched().ps()[p], &PreemptGuard::new())
}

/// Moves the timers of a P that goes to the P that `m` holds.
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

pub use crate::api::chan::Watch;
pub use crate::api::join::model::{Completer, join_until, pair as join_pair};
pub use crate::api::joinset::errgroup_model::{GroupMember, group_member};
pub use crate::api::joinset::model::{SetMember, set_member};
pub use crate::model::invariants::{broken, deadlines, left_behind, orphan, p_states};
pub use crate::wait::sleep::Bell;

/// Polls the stream, but gives the watcher that it needs to `start`.
pub fn poll_stream<T>(
    stream: &mut crate::api::chan::RecvStream<T>,
    context: &mut core::task::Context<'_>,
    start: impl FnOnce(Watch<T>),
) -> core::task::Poll<Option<T>> {
    stream.poll_with(context, start)
}

/// Makes all deadlines of all P's come, and runs them as a g0 on `m` does.
pub fn time_passes() {
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    for p in m.sched().all_ps() {
        while crate::core::due::fire_one(p, &guard) {}
    }
}

/// Makes the deadline of `context` come.
pub fn expire(context: &crate::api::context::Context) {
    crate::api::context::expire(context);
}

/// Makes a group with that many members, and its opener's share.
pub fn group(members: usize) -> alloc::sync::Arc<crate::wait::group::Group> {
    alloc::sync::Arc::new(crate::wait::group::Group::new(members + 1, core::ptr::null()))
}

/// Makes a G with the frames `stack` and the group `open`, if any, that was ended where it
/// stood. Its core is not through with it: [`leave_frames`].
pub fn dead(stack: crate::Stack, open: Option<alloc::sync::Arc<crate::wait::group::Group>>) -> GRef {
    let g: GRef = alloc::boxed::Box::leak(alloc::boxed::Box::new(crate::G::new()));
    g.state.spawn();
    g.state.dispatch();
    g.doom(crate::Cause::StackOverflow);
    g.stack.set(stack);
    g.scope.set(open.map_or(core::ptr::null(), |open| alloc::sync::Arc::into_raw(open).cast()));
    g
}

/// Acts as the undertaker of `g`: its open groups have no owner any more, and its membership in
/// `heir` goes with the last of them.
pub fn orphan_groups(g: GRef, heir: Option<alloc::sync::Arc<crate::wait::group::Group>>) {
    let _guard = PreemptGuard::new();
    crate::wait::group::orphan(g, heir);
}

/// Leaves the stack of `g`, as its core does in `after_exit`.
pub fn leave_frames(g: GRef) {
    g.state.die();
    if g.grave.left() {
        crate::core::recycle::give_up_frames(g, &PreemptGuard::new());
    }
}

/// Makes a group that is opened inside `outer`: that many members, and its opener's share.
pub fn group_inside(
    members: usize,
    outer: &alloc::sync::Arc<crate::wait::group::Group>,
) -> alloc::sync::Arc<crate::wait::group::Group> {
    alloc::sync::Arc::new(crate::wait::group::Group::new(members + 1, alloc::sync::Arc::as_ptr(outer)))
}

/// Runs `g` on `m` from its first instruction.
pub fn begin(m: &'static M, g: GRef) {
    g.state.spawn();
    g.state.dispatch();
    m.set_running(Some(g));
}

/// Does the first step of g0: dispatches the next G of its own P.
pub fn take_local(m: &'static M) -> Option<GRef> {
    let guard = PreemptGuard::new();
    let p = m.held(&guard);
    let g = p.take_slot().or_else(|| p.ring().pop())?;
    g.state.dispatch();
    m.set_running(Some(g));
    Some(g)
}

/// Readies `g`, as if a G on `m` had done so and gone on long enough for others to take it.
pub fn ready(m: &'static M, g: GRef) {
    if g.state.ready() == crate::g::state::Ready::Enqueue {
        submit(m, g);
    }
}

/// Queues `g`, as if a G on `m` had readied a second G: to the ring, waking an M if one should
/// be.
pub fn submit(m: &'static M, g: GRef) {
    let guard = PreemptGuard::new();
    crate::core::enqueue::enqueue_last(m, &m.held(&guard), g, &guard);
}

/// Preempts `g` on `m`.
pub fn preempted(m: &'static M, g: GRef) {
    crate::core::enqueue::enqueue_behind_all(m, g, &PreemptGuard::new());
}

/// Begins a block of a G on `m`: `m` is outside.
pub fn go_outside(m: &'static M) {
    assert!(m.go_outside(&PreemptGuard::new()));
}

/// Makes `m` outside, as if it had been before anything else happened.
pub fn be_outside(m: &'static M) {
    m.set_p(m.sched().m(m.index()).map(|m| &m.outside));
}

/// Ends the block. Returns false if all P's are taken, and the G would wait on the global
/// queue.
pub fn come_back(m: &'static M) -> bool {
    let back = m.retake(&PreemptGuard::new());
    if !back {
        m.surrender(&PreemptGuard::new());
    }
    back
}

/// Keeps a free G in the P that `m` holds.
pub fn keep_free(m: &'static M, g: GRef) {
    let guard = PreemptGuard::new();
    m.held(&guard).free.push(g, &m.sched().free, &guard);
}

/// Takes, on `m`, the free G's of P's without an M, as if memory were short.
pub fn trim_resting(m: &'static M) {
    m.sched().trim_resting(&PreemptGuard::new());
}

/// Runs a G on `m` that has used up its slice, with its core's alarm due.
pub fn runs_long(m: &'static M, g: GRef) {
    m.set_running(Some(g));
    if let Some(p) = m.p() {
        p.slice.reset();
        p.slice.arm(0);
    }
}

/// Returns true if the core of `m` will be interrupted for waiting G's.
pub fn has_alarm(m: &'static M) -> bool {
    m.p().is_some_and(|p| !p.slice.alarm_is_off())
}

/// Changes the number of P's to `n`: surplus P's are claimed for good. By `m`, which keeps its
/// own, or holds none. Returns the number before.
pub fn set_max_procs(m: &'static M, n: usize) -> usize {
    let before = m.sched().set_number(n, m);
    (0..m.sched().ps().len()).for_each(|p| crate::core::max_procs::retire_p(m.sched(), p));
    before
}

/// Changes the number as a caller that dies before it has claimed the surplus P's.
pub fn begin_to_lower(m: &'static M, n: usize) {
    m.sched().set_number(n, m);
}

/// Claims P `at` and moves a piece of its timers, as a caller on `m` that has lowered the
/// number and dies. Returns true if a timer is left.
pub fn move_a_piece(m: &'static M, at: usize) -> bool {
    let (sched, guard) = (m.sched(), PreemptGuard::new());
    sched.rest.claim_exactly(at) && crate::core::max_procs::empty_or_keep(m, &sched.ps()[at], &guard) == Ok(false)
}

/// Puts a G on `m` to sleep until `when`.
pub fn sleep(m: &'static M, g: GRef, when: u64) {
    make_parked(g);
    let guard = PreemptGuard::new();
    assert!(m.held(&guard).timers.make_room(&guard));
    crate::wait::sleep::start_sleep(&guard, g, when);
}

/// Does the first step of g0: gives up a surplus P.
pub fn look_at_number(m: &'static M) {
    if m.p().is_some_and(|p| p.index() >= m.sched().num_ps()) {
        m.surrender(&PreemptGuard::new());
    }
}

/// Sends `g`, which is pinned to `to` and whose turn came on `m`.
pub fn send(m: &'static M, to: &'static M, g: GRef) {
    g.pin(to.index());
    m.send(g, &PreemptGuard::new());
}

/// Does the work of g0: looks and rests until there is a G for `m`, and passes the search on.
pub fn next_g(m: &'static M) -> GRef {
    crate::core::find::next_g(m, &PreemptGuard::new())
}
