//! Deaths that no G has died, and the look at the waiters after a death.

use crate::scheduler;

/// Records a death, a while ago, of a G with this number: for tests of the cost of many deaths.
pub fn pretend(id: u64) -> bool {
    scheduler::sched().deaths.pretend(id)
}

/// Returns true if the waiters are still being looked at, after a death.
pub fn is_round_pending() -> bool {
    scheduler::sched().is_round_pending()
}
