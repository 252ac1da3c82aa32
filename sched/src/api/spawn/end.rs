//! A G's first function, and all the ways in which its life ends.

use crate::machine::payload::ExitG;
use alloc::boxed::Box;
use core::any::Any;

use crate::api::join::{Completed, JoinError};
use crate::api::local;
use crate::api::spawn::start::word_of;
use crate::core::leave::{leave, next_of, run_next};
use crate::core::m::M;
use crate::core::park::ready;
use crate::core::recycle::{DEFAULT_STACK, give_up_frames, recycle_unusual};
use crate::core::trace;
use crate::g::{Body, Cause, G, GRef};
use crate::machine::guard::PreemptGuard;
use crate::machine::payload::Payload;
use crate::machine::platform;
use crate::machine::sync::Ordering;
use crate::wait::deaths;
use crate::wait::group;
use crate::wait::list::Crowd;
use trefoil_trace::Why;

/// Ends the current G here: its destructors run, and `join` returns [`JoinError::Exited`]. Go's
/// `Goexit`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let g = go(|| {
///     runtime::exit_g();
/// });
/// assert!(matches!(g.join(), Err(JoinError::Exited)));
/// # });
/// ```
pub fn exit_g() -> ! {
    platform::unwind(Payload::new(Box::new(ExitG), true))
}

/// The first function on every stack. Arrives by a switch, with preemption off.
pub(super) unsafe extern "C" fn g_main(g: *mut ()) -> ! {
    // SAFETY: 1. the switch handed over one level.
    drop(unsafe { PreemptGuard::adopt() });
    // SAFETY: `lay` passed its G, and the G is what runs now.
    let g: GRef = unsafe { &*g.cast::<G>() };
    if let Some(body) = g.body.get() {
        let start = g.closure.get();
        // SAFETY: `lay` stored the body that fits the closure. The body runs only here.
        let ran = unsafe { platform::catch(body.run, start) };
        if let Err(thrown) = ran {
            failed(body, start, thrown);
        }
        // The values that are kept for this G go before its joiner learns of the end.
        local::end(g);
        platform::g_ends(&g.local);
        end_of_body(g, body, start);
    }
    finish(g, PreemptGuard::new())
}

/// Handles a body that did not come to its end, but unwound.
#[cold]
#[inline(never)]
fn failed(body: &Body, start: *mut (), thrown: platform::Thrown) {
    let payload = platform::caught(thrown);
    let error = if payload.is_exit() { JoinError::Exited } else { JoinError::Panicked(payload) };
    // SAFETY: 1. `g_main` runs the body, and completes next.
    unsafe { (body.fail)(start, error) };
}

/// Hands over the outcome that is in the cell.
fn end_of_body(g: GRef, body: &Body, start: *mut ()) {
    if complete(g, start) {
        // SAFETY: 1. `complete` has just said that nobody claims the outcome. The member leaves
        // further below.
        unsafe { (body.forget)(start) };
        // A destructor or the report may have printed, and used locals anew.
        local::end(g);
        platform::g_ends(&g.local);
    }
    if let Some(leave) = body.leave {
        // SAFETY: 1. `body.leave` is called here only, once, for a G that has come to its end.
        unsafe { leave(start, g, false) };
        // As above.
        local::end(g);
        platform::g_ends(&g.local);
    }
}

/// Completes the cell. True: nobody will ever ask for the outcome.
#[inline(always)]
fn complete(g: GRef, start: *mut ()) -> bool {
    let guard = PreemptGuard::new();
    // From here on there is nothing to hand over, should the G be abandoned after all.
    g.closure.set(start.map_addr(|at| at | HANDED_OVER));
    // SAFETY: 1. the G has not completed; `run` or `fail` has put the outcome there.
    match unsafe { word_of(start).complete() } {
        Completed::Kept => {}
        Completed::Wake(joiner) => ready(&guard, joiner),
        Completed::Unclaimed => return true,
    }
    false
}

/// In a G's `closure`, which is aligned to 16 at least: its outcome has been handed over.
const HANDED_OVER: usize = 1;

/// Ends the G that runs on this M where it stands; see the module. The platform has taken the core
/// away from the G: this runs on a stack of the platform's, below the registers that the M's g0 has
/// saved.
///
/// # Safety
/// 1. The G never runs again, and its stack can still be read.
#[optimize(size)]
pub unsafe fn abandon(guard: PreemptGuard, cause: Cause) -> ! {
    let m = M::current(&guard);
    let g = m.caller();
    g.doom(cause);
    // Leaked like everything else that it had.
    g.locals.set(core::ptr::null_mut());
    // First the death is recorded, then others learn of the end, and the G's waiters are looked
    // for.
    m.sched().deaths.record(g, g.doomed().unwrap_or(cause));
    platform::stack_retire(g.stack.get(), g.id(), g.name().as_str(), g.doomed().map_or(0, |cause| cause as u8));
    deaths::give_back(m, g, &guard);
    if let Some(body) = g.body.take() {
        let start = g.closure.get();
        if start.addr() & HANDED_OVER == 0 {
            if let Some(error) = JoinError::of(cause) {
                // SAFETY: 1. the run did not come to its end, or the closure would say so; nor does
                // it ever run again.
                unsafe { (body.fail)(start, error) };
            }
            if complete(g, start) {
                // SAFETY: 1. `complete` has just said that nobody claims the outcome. The member
                // leaves further below.
                unsafe { (body.forget)(start) };
            }
        }
        let start = start.map_addr(|at| at & !HANDED_OVER);
        match body.leave {
            // SAFETY: 1. `leave` clears `body`, and `body` was still there, so the member has not
            // left.
            Some(leave) => unsafe { leave(start, g, true) },
            None => group::close_all(g),
        }
    } else {
        // The G has left: it has no group open.
        group::close_all(g);
    }
    if let Some(crowd) = Crowd::left_by(g) {
        deaths::leave_to_round(m, crowd, &guard);
    }
    deaths::ask(m, &guard);
    g.state.die();
    trace::leaves(m, g, Why::DEATH);
    let next = run_next(m, None);
    // SAFETY: 1. `after_exit` gives up the frames of `g`, or leaves that to their last borrower
    // (`grave`). 2. `after_exit` ignores its argument. 3. `next` came from `run_next` on the line
    // above.
    let _gone = unsafe { leave(guard, g, next, after_exit, core::ptr::null_mut()) };
    platform::fatal(platform::Fatal::Broken("an abandoned G was resumed"))
}

/// Leaves the panic of the calling G, of which the platform has told, as its outcome. The G will
/// not unwind from it: the platform [abandons](abandon) it next, for [`Cause::Panicked`]. With
/// preemption on.
pub fn came_to_panic(payload: Box<dyn Any + Send>) {
    let g = {
        let guard = PreemptGuard::new();
        crate::core::park::current_g(&guard)
    };
    let start = g.closure.get();
    match g.body.get() {
        // SAFETY: 1. the G has not completed: its closure does not say `HANDED_OVER`.
        Some(body) if start.addr() & HANDED_OVER == 0 => unsafe {
            (body.fail)(start, JoinError::Panicked(Payload::new(payload, true)))
        },
        // Its outcome was another one.
        _ => core::mem::forget(payload),
    }
}

/// Runs the G's last instructions: leaves the M for good.
fn finish(g: GRef, guard: PreemptGuard) -> ! {
    g.state.die();
    let next = next_of(M::current(&guard), &guard);
    // SAFETY: 1. `after_exit` puts `g` on a free list. 2. `after_exit` ignores its argument. 3.
    // `next` came from `next_of`, which calls `run_next`, on the line above.
    let _gone = unsafe { leave(guard, g, next, after_exit, core::ptr::null_mut()) };
    platform::fatal(platform::Fatal::Broken("a dead G was resumed"))
}

unsafe extern "C" fn after_exit(g: *mut (), _: *mut ()) {
    // SAFETY: `leave` passes the G it left.
    let g: GRef = unsafe { &*g.cast::<G>() };
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    let p = m.held(&guard);
    if g.stack.get().size() == DEFAULT_STACK && !g.is_doomed() && g.is_shallow() {
        g.state.recycle();
        p.free.push(g, &m.sched().free, &guard);
    } else if !g.is_doomed() {
        g.state.recycle();
        recycle_unusual(g, &guard);
    } else if g.grave.left() {
        give_up_frames(g, &guard);
    }
    // Release: pairs with the Acquire in `num_goroutines`: a reader that counts the G as ended
    // finds its stack where free ones are.
    p.ended.store(p.ended.load(Ordering::Relaxed) + 1, Ordering::Release);
    guard.hand_over();
}
