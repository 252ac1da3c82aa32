//! The M's one-shot: when its core is to be interrupted next.

use crate::core::m::M;
use crate::core::trace;
use crate::machine::platform;
use crate::machine::sync::Ordering;
use trefoil_trace::Kind;

/// The most that an interrupt of the one-shot is late: 1 ms. (An emulated timer waits for its
/// host.)
const LATE: u64 = 1_000_000;

impl M {
    /// Arms this core's one-shot for `at`, unless it is armed for that or an earlier time.
    ///
    /// An earlier interrupt's handler arms the one-shot for the alarms there are then. A needless
    /// interrupt is rare, while on a P with many timers each look finds another next alarm. Out of
    /// line: many callers arm, none often.
    ///
    /// **The hard race**: an interrupt of this core comes between the caller's look at its P's
    /// alarms and the one-shot. Its handler sets an earlier alarm, and arms for it. The caller's
    /// write would then make that alarm late, or undo it. So `arm` looks at the alarms once more
    /// afterwards, unless `at` has passed. In that case the interrupt has come, or comes at once,
    /// and its handler arms for all there is. Insisting would bring one interrupt after the other,
    /// for ever.
    #[inline(never)]
    pub(crate) fn arm(&self, at: u64) {
        // The common case: the one-shot is armed for that, and this M keeps no other P's deadlines.
        if (self.armed.load(Ordering::Relaxed) ^ at) | self.keeps.load(Ordering::Relaxed) != 0 {
            self.arm_anew(at);
        }
    }

    #[inline(never)]
    fn arm_anew(&self, at: u64) {
        let mut at = at.min(self.kept_until());
        // 0: another user has taken the one-shot. An alarm that has just passed has its interrupt
        // on the way. `LATE` after the alarm, that interrupt must have come.
        let is_armed = |at| {
            let armed = self.armed.load(Ordering::Relaxed);
            at == u64::MAX || armed.wrapping_sub(1) < at && armed.saturating_add(LATE) >= platform::now()
        };
        if is_armed(at) {
            return;
        }
        let calm = self.calm.load(Ordering::Relaxed);
        if at < calm
            && let Some(p) = self.p().filter(|p| !p.queues_are_empty())
        {
            at = calm.min(p.next_own_alarm());
            if is_armed(at) {
                return;
            }
        }
        loop {
            self.rearm(at);
            let due = self.p().map_or(at, |p| p.next_own_alarm().min(at));
            if due == at && is_armed(at) || at <= platform::now() {
                return;
            }
            at = due;
        }
    }

    /// Arms the one-shot once more for its alarm, after the platform has used it. On this core,
    /// with preemption off.
    pub fn arm_again(&self) {
        loop {
            // 0: the user that has taken the one-shot arms it next.
            let at = self.armed.load(Ordering::Relaxed);
            if at == 0 {
                return;
            }
            platform::arm_timer(at);
            // As in `arm`: a handler may have come between.
            if self.armed.load(Ordering::Relaxed) == at {
                return;
            }
        }
    }

    /// Arms the one-shot for `at`, without a look at its alarm.
    #[inline(never)]
    pub(crate) fn rearm(&self, at: u64) {
        self.armed.store(at, Ordering::Relaxed);
        self.counters.timer_writes.add_shared();
        trace::note(self, Kind::Arm, 0, at);
        platform::arm_timer(at);
    }

    /// Notes that another user has taken the one-shot.
    pub(crate) fn forget_armed(&self) {
        self.armed.store(0, Ordering::Relaxed);
    }
}
