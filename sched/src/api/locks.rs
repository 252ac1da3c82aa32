//! Locks that park a goroutine instead of a core: `std::sync`'s names, guards and poisoning, and
//! Go's `WaitGroup`.
//!
//! | | holder | a panic while it is held | the holder dies where it stands |
//! |---|---|---|---|
//! | [`Mutex`] | one G | poisoned and free | stays held: `lock` panics, `try_lock` would block |
//! | [`RwLock`] | readers, or one writer | a writer's: poisoned and free; a reader's: free | stays held: a dead writer keeps all out, a dead reader writers |
//! | [`Once`], [`LazyLock`] | the G that runs the closure | poisoned | stays begun: callers panic |
//! | [`OnceLock`] | the G that runs the closure | empty: the next one tries | stays begun: callers panic, `get` gives none |
//! | [`Semaphore`] | permits, as guards | given back | lost |
//! | [`Parker`] | – | its token stays | lost, if it had taken it |
//! | [`WaitGroup`] | – | [`go`](WaitGroup::go): counts as done | never done: `wait` panics |
//! | [`Condvar`], [`Barrier`] | – | the waiters go on waiting | the same |
//!
//! A G *dies* where it stands of an overflow of its stack or of lack of memory for it. A touch of a
//! dead stack ends it, too, and so does a second panic in a destructor. **A death grants nothing**:
//! see `owner.rs`. The panics name the object, the dead G and the cause of its death. A waiter for
//! an object that lies on the stack of a G that dies ends with such a panic as well. But a lock
//! there that a living G holds goes on.

mod barrier;
mod condvar;
mod lazy_lock;
mod mutex;
mod once;
mod once_lock;
pub(crate) mod owner;
mod parker;
mod poison;
mod rwlock;
mod semaphore;
mod turn;
mod waitgroup;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use lazy_lock::LazyLock;
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use owner::{Holder, holder};
pub use parker::{Parker, Unparker};
pub use poison::{LockResult, PoisonError, TryLockError, TryLockResult};
pub use rwlock::{MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit};
#[doc(hidden)]
pub use turn::{Turn, TurnGuard};
pub use waitgroup::WaitGroup;
