//! `Parker`: a token that one G waits for and others leave; `crossbeam`'s names.
//!
//! ```text
//!   unpark   no token: leave one, and serve the G that waits      a token: it stays
//!   park     take the token, or wait for it
//! ```
//!
//! The token is a permit of a [`Semaphore`] that never has more than one. So the protocol, its
//! deadlines and its behaviour at a death are those of `semaphore.rs`. A token that is lost with a
//! dead G is no harm: only that G has parked here.
//!
//! Rejected: a `bounded(1)` channel of nothing. It has two handles that may disconnect.

use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use super::Semaphore;
use crate::api::time::Instant;
use crate::machine::platform;

/// Parks its goroutine until there is a token. [`Unparker`]s leave one.
///
/// There is one token at most: `unpark` twice lets the next `park` return at once, and the one
/// after it wait. A token that comes before `park` counts. All that a G did before `unpark` is
/// visible after the `park` that takes the token. `park` never returns without a token (`std`'s
/// may).
///
/// The parker belongs to one G, which may hand it on. With several conditions to wait for, check
/// each of them after `park`. A G that waits shows as `semaphore acquire` in reports.
///
/// A G that dies where it stands leaves its tokens as they are, and an unparker of a dead parker
/// does nothing.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # use std::sync::atomic::{AtomicBool, Ordering};
/// # trefoil_hosted::example(|| {
/// let (parker, ready) = (sync::Parker::new(), Arc::new(AtomicBool::new(false)));
/// let (unparker, flag) = (parker.unparker().clone(), ready.clone());
/// drop(go(move || {
///     flag.store(true, Ordering::Relaxed);
///     unparker.unpark();
/// }));
/// while !ready.load(Ordering::Relaxed) {
///     parker.park();
/// }
/// # });
/// ```
pub struct Parker {
    unparker: Unparker,
    /// One G at a time parks here.
    _not_sync: PhantomData<Cell<()>>,
}

impl Parker {
    /// Makes a parker without a token.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let parker = sync::Parker::new();
    /// assert!(!parker.park_timeout(Duration::ZERO));
    /// # });
    /// ```
    pub fn new() -> Self {
        Self { unparker: Unparker(Arc::new(Semaphore::new(0))), _not_sync: PhantomData }
    }

    /// Takes the token; parks until there is one.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let parker = sync::Parker::new();
    /// parker.unparker().unpark();
    /// parker.park(); // returns at once
    /// # });
    /// ```
    pub fn park(&self) {
        self.unparker.0.acquire().forget();
    }

    /// Parks as [`park`](Self::park), for `timeout` at most. Returns true if it has taken a token,
    /// and false if the time was over.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let parker = sync::Parker::new();
    /// assert!(!parker.park_timeout(Duration::from_millis(1)));
    /// parker.unparker().unpark();
    /// assert!(parker.park_timeout(Duration::from_millis(1)));
    /// # });
    /// ```
    pub fn park_timeout(&self, timeout: Duration) -> bool {
        let token = self.unparker.0.acquire_timeout(timeout);
        token.map(super::SemaphorePermit::forget).is_some()
    }

    /// Parks as [`park`](Self::park), until the clock has reached `deadline` at most. Returns true
    /// if it has taken a token. A deadline that has passed: takes a token that is there.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let parker = sync::Parker::new();
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert!(!parker.park_deadline(deadline) && Instant::now() >= deadline);
    /// # });
    /// ```
    pub fn park_deadline(&self, deadline: Instant) -> bool {
        let left = deadline.as_nanos().saturating_sub(platform::now());
        self.park_timeout(Duration::from_nanos(left))
    }

    /// Returns the handle that leaves tokens. Clone it for others.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let parker = sync::Parker::new();
    /// let unparker = parker.unparker().clone();
    /// drop(go(move || unparker.unpark()));
    /// parker.park();
    /// # });
    /// ```
    pub fn unparker(&self) -> &Unparker {
        &self.unparker
    }
}

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Parker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parker { .. }")
    }
}

/// Leaves tokens for a [`Parker`]. Any G may, also one that holds no other handle; clones share the
/// parker.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let parker = sync::Parker::new();
/// parker.unparker().unpark();
/// parker.unparker().clone().unpark();
/// parker.park();
/// assert!(!parker.park_timeout(Duration::from_millis(1))); // tokens do not add up
/// # });
/// ```
#[derive(Clone)]
pub struct Unparker(Arc<Semaphore>);

impl Unparker {
    /// Leaves a token, unless one is there; wakes the G that waits for it. Never parks.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let parker = sync::Parker::new();
    /// parker.unparker().unpark();
    /// parker.park();
    /// # });
    /// ```
    pub fn unpark(&self) {
        self.0.put_one();
    }
}

impl fmt::Debug for Unparker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unparker { .. }")
    }
}
