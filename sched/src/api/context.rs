//! Contexts: a goroutine tells the goroutines that it has started, and those that they have
//! started, to stop. Go's `context`.
//!
//! ```text
//!   background ── with_cancel ──▶ a ── with_timeout ──▶ b ── with_value ──▶ b'        b' is cancelled with b
//!                                 └── with_cancel ────▶ c
//!   Context { canceler ──▶ a node of the tree of `context/tree.rs`, values ──▶ Value ──▶ Value … }
//! ```
//!
//! Nothing is stopped by force. A goroutine can't be ended from outside: its destructors would not
//! run, and its borrows and locks would stay. A goroutine looks at [`err`](Context::err) or
//! [`done`](Context::done), and returns.
//!
//! A context is cancelled once; the first reason holds. **The hard race** is a child that is made
//! while its parent is cancelled. Both take the parent's lock: either the child sees the error and
//! is born cancelled, or the child stands in the list before the canceller looks there. So no child
//! is forgotten.
//!
//! Unlike Go's, a cancel function that is dropped leaks nothing: a context leaves its parent's list
//! with its last handle. The number and the depth of contexts cost neither stack nor time with
//! preemption off.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::error::Error;
use core::fmt;
use core::time::Duration;

mod tree;

use crate::api::chan::Receiver;
use crate::api::time::{Instant, Timer};
use tree::{Handle, Reason};

/// The reason why a context is over.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::context::{Context, ContextError};
/// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
/// assert!(ctx.done().recv().is_err());
/// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextError {
    /// The context was cancelled, or a context that it was made from.
    Canceled,
    /// The context's deadline has passed.
    DeadlineExceeded,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Canceled => "context canceled",
            Self::DeadlineExceeded => "context deadline exceeded",
        })
    }
}

impl Error for ContextError {}

/// The reason that a deadline cancels with.
const EXPIRED: Reason = Reason { error: ContextError::DeadlineExceeded, cause: None };

/// The error that was given as the reason.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::context::Context;
/// let (ctx, cancel) = Context::background().with_cancel();
/// cancel.cancel_with("no more");
/// let cause: trefoil_sched::context::Cause = ctx.cause().unwrap();
/// assert_eq!(cause.to_string(), "no more");
/// # });
/// ```
pub type Cause = Arc<dyn Error + Send + Sync>;

/// A part of a program that can be told to stop, with a deadline and values. Clones are the same
/// context.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::context::{Context, ContextError};
/// let (ctx, cancel) = Context::background().with_cancel();
/// let worker = {
///     let ctx = ctx.clone();
///     go(move || ctx.done().recv().is_err())
/// };
/// cancel.cancel();
/// assert!(worker.join().unwrap());
/// assert_eq!(ctx.err(), Some(ContextError::Canceled));
/// # });
/// ```
#[derive(Clone)]
pub struct Context {
    canceler: Handle,
    values: Values,
}

/// The values of a context, the innermost first.
#[derive(Clone)]
struct Values(Option<Arc<Value>>);

struct Value {
    value: Box<dyn Any + Send + Sync>,
    outer: Values,
}

impl Drop for Values {
    /// Drops a chain in a loop. Should a destructor of the program's panic, the field's own drop
    /// continues with the rest.
    fn drop(&mut self) {
        while let Some(Value { value, mut outer }) = self.0.take().and_then(Arc::into_inner) {
            self.0 = outer.0.take();
            drop(value);
        }
    }
}

impl Context {
    /// Returns the context from which others are made: never cancelled, no deadline, no values.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// let ctx = Context::background();
    /// assert!(ctx.err().is_none() && ctx.deadline().is_none());
    /// # });
    /// ```
    pub fn background() -> Self {
        Self { canceler: Handle::new(None, None), values: Values(None) }
    }

    fn child(&self, deadline: Option<Instant>) -> (Self, Cancel) {
        let deadline = deadline.into_iter().chain(self.canceler.deadline).min();
        let canceler = self.canceler.child(deadline);
        (Self { canceler: canceler.clone(), values: self.values.clone() }, Cancel(canceler))
    }

    /// Makes a context that is over when this one is, or when it is cancelled.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// # use trefoil_sched::context::Context;
    /// let (outer, cancel) = Context::background().with_cancel();
    /// let (inner, _) = outer.with_cancel();
    /// cancel.cancel();
    /// assert!(inner.err().is_some());
    /// # });
    /// ```
    pub fn with_cancel(&self) -> (Self, Cancel) {
        self.child(None)
    }

    /// Makes a context as [`with_cancel`](Self::with_cancel), and over at `when`: at once, if that
    /// has passed.
    ///
    /// # Panics
    /// When there is no memory for the timer.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::{Context, ContextError};
    /// let when = Instant::now() + Duration::from_millis(1);
    /// let (ctx, _cancel) = Context::background().with_deadline(when);
    /// assert_eq!(ctx.deadline(), Some(when));
    /// assert!(ctx.done().recv().is_err()); // not before
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// # });
    /// ```
    pub fn with_deadline(&self, when: Instant) -> (Self, Cancel) {
        let (context, cancel) = self.child(Some(when));
        let now = Instant::now();
        if when <= now {
            context.canceler.cancel(EXPIRED);
        } else if self.canceler.deadline.is_none_or(|theirs| when < theirs) && context.err().is_none() {
            let memory = context.canceler.memory();
            let timer = Timer::after_func(when.duration_since(now), move || {
                if let Some(canceler) = Handle::of(&memory) {
                    canceler.cancel(EXPIRED);
                }
            });
            if let Some(timer) = context.canceler.keep(timer) {
                timer.stop();
            }
        }
        (context, cancel)
    }

    /// Makes a context as [`with_deadline`](Self::with_deadline), `d` from now.
    ///
    /// # Panics
    /// As [`with_deadline`](Self::with_deadline).
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// # use trefoil_sched::context::{Context, ContextError};
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(5));
    /// assert!(ctx.done().recv().is_err());
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// # });
    /// ```
    pub fn with_timeout(&self, d: Duration) -> (Self, Cancel) {
        self.with_deadline(Instant::now() + d)
    }

    /// Returns this context with a value in it, found by its type; it hides an outer one of the
    /// same type.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// # use trefoil_sched::context::Context;
    /// #[derive(Debug, PartialEq)]
    /// struct RequestId(u64);
    /// let ctx = Context::background().with_value(RequestId(7));
    /// assert_eq!(ctx.value::<RequestId>(), Some(&RequestId(7)));
    /// # });
    /// ```
    pub fn with_value<T: Any + Send + Sync>(&self, value: T) -> Self {
        let value = Arc::new(Value { value: Box::new(value), outer: self.values.clone() });
        Self { canceler: self.canceler.clone(), values: Values(Some(value)) }
    }

    /// Returns the innermost value of type `T`.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// struct User(&'static str);
    /// let ctx = Context::background().with_value(User("ada"));
    /// assert_eq!(ctx.value::<User>().map(|user| user.0), Some("ada"));
    /// assert!(ctx.value::<u32>().is_none());
    /// # });
    /// ```
    pub fn value<T: Any + Send + Sync>(&self) -> Option<&T> {
        let mut at = self.values.0.as_deref();
        while let Some(value) = at {
            if let Some(found) = value.value.downcast_ref() {
                return Some(found);
            }
            at = value.outer.0.as_deref();
        }
        None
    }

    /// Makes a context with the same values that is not over when this one is.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let rest = ctx.without_cancel();
    /// cancel.cancel();
    /// assert!(ctx.err().is_some() && rest.err().is_none());
    /// # });
    /// ```
    pub fn without_cancel(&self) -> Self {
        Self { canceler: Handle::new(None, None), values: self.values.clone() }
    }

    /// Returns a channel that is closed when the context is over: for `select!`, or to wait for it.
    /// Nothing is ever sent. (A clone of it that is kept longer than the context and its [`Cancel`]
    /// is closed with the last of them.)
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (_tx, work) = chan::bounded::<u32>(0);
    /// drop(go(move || cancel.cancel()));
    /// let stopped = select! {
    ///     recv(work) -> _ => false,
    ///     recv(ctx.done()) -> _ => true,
    /// };
    /// assert!(stopped);
    /// # });
    /// ```
    pub fn done(&self) -> &Receiver<()> {
        &self.canceler.done.1
    }

    /// Returns the reason why the context is over; `None` while it is not.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::{Context, ContextError};
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert_eq!(ctx.err(), None);
    /// cancel.cancel();
    /// assert_eq!(ctx.err(), Some(ContextError::Canceled));
    /// # });
    /// ```
    pub fn err(&self) -> Option<ContextError> {
        self.canceler.error()
    }

    /// Returns the reason that was given, or else [`err`](Self::err) as one; `None` while the
    /// context is not over.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert!(ctx.cause().is_none());
    /// cancel.cancel_with("out of tea");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "out of tea");
    /// # });
    /// ```
    pub fn cause(&self) -> Option<Cause> {
        let Reason { error, cause } = self.canceler.reason()?;
        Some(cause.unwrap_or_else(|| Arc::new(error)))
    }

    /// Returns the time when the context will be over at the latest.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_secs(9));
    /// let (inner, _cancel) = ctx.with_timeout(Duration::from_secs(99));
    /// assert_eq!(inner.deadline(), ctx.deadline()); // the earlier one counts
    /// # });
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.canceler.deadline
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("err", &self.err()).finish_non_exhaustive()
    }
}

/// The right to cancel a context. Dropping it does nothing; see [`on_drop`](Self::on_drop).
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::context::Context;
/// let (ctx, cancel) = Context::background().with_cancel();
/// let again = cancel.clone();
/// cancel.cancel();
/// again.cancel(); // does nothing any more
/// assert!(ctx.err().is_some());
/// # });
/// ```
#[derive(Clone)]
pub struct Cancel(Handle);

impl Cancel {
    /// Cancels the context and all that were made from it. A second call does nothing.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (inner, _cancel) = ctx.with_cancel();
    /// cancel.cancel();
    /// assert!(ctx.err().is_some() && inner.err().is_some());
    /// # });
    /// ```
    pub fn cancel(&self) {
        self.0.cancel(Reason { error: ContextError::Canceled, cause: None });
    }

    /// Cancels likewise, and gives the reason: [`Context::cause`].
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// # use trefoil_sched::context::Context;
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.cancel_with("the user has left");
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the user has left");
    /// # });
    /// ```
    pub fn cancel_with(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) {
        self.0.cancel(Reason { error: ContextError::Canceled, cause: Some(Arc::from(cause.into())) });
    }

    /// Cancels the context when the returned guard is dropped: Go's `defer cancel()`.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// {
    ///     let _at_the_end = cancel.on_drop();
    ///     assert!(ctx.err().is_none());
    /// }
    /// assert!(ctx.err().is_some());
    /// # });
    /// ```
    #[must_use = "it cancels as soon as it is dropped"]
    pub fn on_drop(self) -> CancelOnDrop {
        CancelOnDrop(self)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel { .. }")
    }
}

/// Cancels a context when it is dropped.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::context::Context;
/// let (ctx, cancel) = Context::background().with_cancel();
/// drop(cancel.on_drop());
/// assert!(ctx.err().is_some());
/// # });
/// ```
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Cancels as the timer does: for models, which have no goroutine to start for it.
#[cfg(loom)]
pub(crate) fn expire(context: &Context) {
    context.canceler.cancel(EXPIRED);
}
