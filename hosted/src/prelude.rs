//! The names of the kernel's prelude, on the host: an example of `trefoil_sched`, and a library
//! under test, read like a program of `trefoil`.

pub use std::borrow::{Cow, ToOwned};
pub use std::boxed::Box;
pub use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
pub use std::rc::Rc;
pub use std::string::{String, ToString};
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use std::vec::Vec;
pub use std::{dbg, eprint, eprintln, format, print, println, vec};

pub use crate::chan::{Receiver, Sender};
pub use crate::context::Context;
pub use crate::sync::{Mutex, RwLock, WaitGroup};
pub use crate::time::{Duration, Instant};
pub use crate::{
    Builder, JoinHandle, alloc, chan, context, go, goroutine_local, par, runtime, scope, select, select_biased, sync,
    task, time, trace, try_go,
};
// Examples of `trefoil_sched` use these as well.
pub use crate::{JoinError, SpawnError, panic, rand};
