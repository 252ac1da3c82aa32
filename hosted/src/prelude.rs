//! The names of the kernel's prelude, on the host: an example of `trefoil_sched` reads like a
//! program of `trefoil`.

pub use std::borrow::Cow;
pub use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
pub use std::rc::Rc;
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

pub use trefoil_sched::chan::{Receiver, Sender};
pub use trefoil_sched::context::Context;
pub use trefoil_sched::goroutine_local;
pub use trefoil_sched::join::{JoinError, JoinHandle};
pub use trefoil_sched::locks::{Mutex, RwLock, WaitGroup};
pub use trefoil_sched::spawn::{go, try_go};
pub use trefoil_sched::time::{Duration, Instant};
pub use trefoil_sched::{
    Builder, SpawnError, chan, context, locks as sync, panic, scope, select, select_biased, task, time,
};

/// The machine's part of the API.
pub mod runtime {
    pub use crate::current_m as core;
    pub use trefoil_sched::{Pin, block_in_place, exit_g, pin, set_max_procs, yield_now};

    /// Returns the number of P's.
    ///
    /// # Panics
    /// Outside [`run`](crate::run).
    pub fn max_procs() -> usize {
        crate::machine::here().machine.sched.num_ps()
    }

    /// Returns the number of goroutines, the caller among them.
    ///
    /// # Panics
    /// Outside [`run`](crate::run).
    pub fn num_goroutines() -> usize {
        crate::machine::here().machine.sched.num_goroutines() as usize
    }
}
