//! How another core looks at a parked G: it holds the G still meanwhile.

use crate::core::enqueue::enqueue_last;
use crate::core::m::M;
use crate::core::shared::Sched;
use crate::core::trace;
use crate::g::GRef;
use crate::g::state::Finish;
use crate::machine::guard::PreemptGuard;
use crate::machine::sync::Ordering;
use trefoil_trace::Place;

impl Sched {
    /// Holds a parked G still and runs `f` on it. Returns false if the G does not wait.
    ///
    /// `f` learns whether an earlier scan has seen the G parked already. A G that is readied
    /// meanwhile is queued here afterwards. Until then the G is in no queue, and an M that rests
    /// may be the one that scans: see `check_deadlock`.
    pub fn scan(&'static self, guard: &PreemptGuard, g: GRef, f: impl FnOnce(GRef, bool)) -> bool {
        // Before `begin_scan`: an M that readies the G meanwhile, and then rests, sees this.
        self.scanning.fetch_add(1, Ordering::SeqCst);
        let cold = g.state.begin_scan();
        if let Some(cold) = cold {
            f(g, cold);
            if g.state.finish_scan() == Finish::Requeue {
                self.queue(guard, g);
            }
        }
        // Release: an M that sees this sees the queue, too.
        self.scanning.fetch_sub(1, Ordering::Release);
        cold.is_some()
    }

    /// Queues a runnable G from any place: an M that rests has no P.
    #[cold]
    fn queue(&'static self, guard: &PreemptGuard, g: GRef) {
        let m = M::current(guard);
        if m.p().is_some() {
            trace::moved(m, g, Place::Ring);
            return enqueue_last(m, &m.held(guard), g, guard);
        }
        self.globq.push_one(guard, g, || trace::moved(m, g, Place::Global));
        self.wake_now(m);
        self.nudge();
    }
}
