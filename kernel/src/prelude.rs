//! The usual imports of a program: `use trefoil::prelude::*;`

pub use alloc::borrow::ToOwned;
pub use alloc::boxed::Box;
pub use alloc::collections::BTreeMap;
pub use alloc::format;
pub use alloc::string::{String, ToString};
pub use alloc::sync::Arc;
pub use alloc::vec;
pub use alloc::vec::Vec;

pub use crate::chan::{Receiver, Sender};
pub use crate::time::{Duration, Instant};
pub use crate::{
    Builder, JoinHandle, chan, dbg, eprint, eprintln, go, goroutine_local, print, println, runtime, scope, select,
    select_biased, sync, task, time, try_go,
};
