//! What parks a goroutine instead of a core: `std::sync`'s names, guards and poisoning, and Go's `WaitGroup`.
//!
//! | | holds it | a panic while it is held | the holder's stack overflows |
//! |---|---|---|---|
//! | [`Mutex`] | one G | poisoned and free | the same |
//! | [`RwLock`] | readers, or one writer | a writer's: poisoned and free; a reader's: free | the same (a reader's: with a limit, see there) |
//! | [`Once`], [`LazyLock`] | who runs the closure | poisoned | the same |
//! | [`OnceLock`] | who runs the closure | empty: the next one tries | the same |
//! | [`Semaphore`] | permits, as guards | given back | lost |
//! | [`WaitGroup`] | – | [`go`](WaitGroup::go): counts as done | does not |
//! | [`Condvar`], [`Barrier`] | – | those who wait go on waiting | the same |

mod barrier;
mod condvar;
mod lazy_lock;
mod mutex;
mod once;
mod once_lock;
pub(crate) mod owner;
mod poison;
mod rwlock;
mod semaphore;
mod waitgroup;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use lazy_lock::LazyLock;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use owner::{Holder, holder};
pub use poison::{LockResult, PoisonError, TryLockError, TryLockResult};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, SemaphorePermit};
pub use waitgroup::WaitGroup;
