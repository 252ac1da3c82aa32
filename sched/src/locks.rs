//! What parks a goroutine instead of a core: `std::sync`'s names, guards and poisoning, and Go's `WaitGroup`.

pub(crate) mod mutex;
mod poison;
mod waitgroup;

pub use mutex::{Mutex, MutexGuard};
pub use poison::{LockResult, PoisonError, TryLockError, TryLockResult};
pub use waitgroup::WaitGroup;
