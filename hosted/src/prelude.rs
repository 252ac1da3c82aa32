//! The names of the kernel's prelude, on the host: an example of `trefoil_sched`, and a library
//! under test, read like a program of `trefoil`.

pub use std::borrow::ToOwned;
pub use std::boxed::Box;
pub use std::collections::BTreeMap;
pub use std::string::{String, ToString};
pub use std::sync::Arc;
pub use std::vec::Vec;
pub use std::{format, print, println, vec};

pub use crate::chan::{Receiver, Sender};
pub use crate::time::{Duration, Instant};
pub use crate::{
    Builder, JoinHandle, chan, go, goroutine_local, par, runtime, scope, select, select_biased, sync, task, time,
    try_go,
};
// Examples of `trefoil_sched` use these as well.
pub use crate::{JoinError, SpawnError, context, panic};
