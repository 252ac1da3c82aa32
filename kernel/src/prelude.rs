//! The usual imports of a program: `use trefoil::prelude::*;`
//!
//! They are the names of `std`'s own prelude, and those that a concurrent program needs at once. A
//! name that the program imports or defines itself takes precedence.

// The names of `std`'s prelude that `core`'s lacks.
#[doc(no_inline)]
pub use alloc::{
    borrow::ToOwned,
    boxed::Box,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

// The functions of floating-point numbers that `std` has.
#[doc(no_inline)]
pub use crate::num::Float as _;

// Shared values, and collections.
#[doc(no_inline)]
pub use crate::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
#[doc(no_inline)]
pub use alloc::{borrow::Cow, rc::Rc, sync::Arc};
#[doc(no_inline)]
pub use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

// Goroutines, and how they meet.
#[doc(no_inline)]
pub use crate::chan::{Receiver, Sender};
#[doc(no_inline)]
pub use crate::context::Context;
#[doc(no_inline)]
pub use crate::sync::{Mutex, RwLock, WaitGroup};
#[doc(no_inline)]
pub use crate::time::{Duration, Instant};
pub use crate::{
    Builder, JoinHandle, chan, context, dbg, eprint, eprintln, go, goroutine_local, par, print, println, runtime,
    scope, select, select_biased, sync, task, time, trace, try_go,
};

// The crate, so that `alloc::…` paths work without `extern crate`.
#[doc(no_inline)]
pub use crate::alloc;
