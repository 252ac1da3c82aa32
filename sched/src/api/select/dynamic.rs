//! A select whose arms are known at run time; `crossbeam-channel`'s interface.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::off::is_off;
use super::{Arm, Order, Renew, Until};
use crate::api::chan::{
    ReadyTimeoutError, Receiver, RecvError, SelectTimeoutError, SendError, Sender, TryReadyError, TrySelectError,
    WatchArm, box_recv, finish_recv,
};
use crate::api::time::{Duration, Instant};
use crate::machine::platform;
use crate::wait::ticket::NEVER;

/// Several channel operations, of which one is to be done.
///
/// An operation is first chosen ([`select`](Self::select)) and then completed, through the
/// [`SelectedOperation`]. Sends have their value then, and so wait in another way than those of
/// [`select!`](crate::select!): see there. `ready` and its kin choose without doing: the operation
/// may find that others were faster.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::select::Select;
///
/// let channels: Vec<_> = (0..10).map(|_| chan::bounded(1)).collect();
/// channels[7].0.send("here").unwrap();
/// let mut select = Select::new();
/// for (_, receiver) in &channels {
///     select.recv(receiver);
/// }
/// let operation = select.select();
/// let index = operation.index();
/// assert_eq!((index, operation.recv(&channels[index].1)), (7, Ok("here")));
/// # });
/// ```
pub struct Select<'a> {
    /// By index; a removed operation leaves a gap.
    arms: Vec<Option<Box<dyn Renew<'a> + 'a>>>,
    order: Order,
}

impl<'a> Select<'a> {
    /// Makes a select without operations.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// let arm = list.recv(&rx);
    /// let chosen = list.select();
    /// assert_eq!(chosen.index(), arm);
    /// assert_eq!(chosen.recv(&rx), Ok(5));
    /// # });
    /// ```
    pub fn new() -> Self {
        Self { arms: Vec::new(), order: Order::Fair }
    }

    /// Makes a select that takes, of several operations that can be done, the one that was added
    /// first.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let ((ta, a), (tb, b)) = (chan::bounded(1), chan::bounded(1));
    /// ta.send(1).unwrap();
    /// tb.send(2).unwrap();
    /// let mut list = select::Select::new_biased();
    /// let first = list.recv(&a);
    /// list.recv(&b);
    /// let chosen = list.select();
    /// assert_eq!(chosen.index(), first);
    /// assert_eq!(chosen.recv(&a), Ok(1));
    /// # });
    /// ```
    pub fn new_biased() -> Self {
        Self { arms: Vec::new(), order: Order::Biased }
    }

    /// Adds a send, whose value comes later; returns its index.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// let mut list = select::Select::new();
    /// list.send(&tx);
    /// assert_eq!(list.select().send(&tx, 5), Ok(()));
    /// assert_eq!(rx.recv(), Ok(5));
    /// # });
    /// ```
    pub fn send<T>(&mut self, to: &'a Sender<T>) -> usize {
        self.add(WatchArm::new(to))
    }

    /// Adds a receive; returns its index.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// list.recv(&rx);
    /// assert_eq!(list.select().recv(&rx), Ok(5));
    /// # });
    /// ```
    pub fn recv<T>(&mut self, from: &'a Receiver<T>) -> usize {
        self.add(box_recv(from))
    }

    pub(super) fn add(&mut self, arm: Box<dyn Renew<'a> + 'a>) -> usize {
        self.arms.push(Some(arm));
        self.arms.len() - 1
    }

    /// Removes the operation with this index. Indices are not used again.
    ///
    /// # Panics
    /// If there is no such operation.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (_tx, rx) = chan::bounded::<u8>(0);
    /// let mut select = trefoil_sched::select::Select::new();
    /// let index = select.recv(&rx);
    /// select.remove(index);
    /// assert!(select.try_select().is_err());
    /// # });
    /// ```
    pub fn remove(&mut self, index: usize) {
        let arm = self.arms.get_mut(index).and_then(Option::take);
        assert!(arm.is_some(), "Select::remove: no operation with index {index}");
    }

    /// Chooses an operation that can be done without waiting.
    ///
    /// # Errors
    /// There is no such operation.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, _rx) = chan::bounded(1);
    /// let mut select = trefoil_sched::select::Select::new();
    /// select.send(&tx);
    /// select.try_select().unwrap().send(&tx, 1).unwrap();
    /// assert!(select.try_select().is_err()); // it is full
    /// # });
    /// ```
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        // A deadline that has passed.
        self.choose(0).ok_or(TrySelectError)
    }

    /// Chooses an operation; parks until one can be done.
    ///
    /// # Panics
    /// If there is no operation.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// list.recv(&rx);
    /// assert_eq!(list.select().recv(&rx), Ok(5));
    /// # });
    /// ```
    pub fn select(&mut self) -> SelectedOperation<'a> {
        self.assert_some();
        loop {
            if let Some(chosen) = self.choose(NEVER) {
                return chosen;
            }
        }
    }

    /// Chooses an operation; parks for at most `timeout` until one can be done.
    ///
    /// # Errors
    /// The time is over.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (_tx, rx) = chan::bounded::<u8>(1);
    /// let mut select = trefoil_sched::select::Select::new();
    /// select.recv(&rx);
    /// assert!(select.select_timeout(Duration::from_millis(1)).is_err());
    /// # });
    /// ```
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.select_deadline(Instant::now() + timeout)
    }

    /// Chooses an operation; parks until one can be done, or the clock has reached `deadline`.
    ///
    /// # Errors
    /// The deadline came first.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// list.recv(&rx);
    /// assert_eq!(list.select_deadline(Instant::NEVER).unwrap().recv(&rx), Ok(5));
    /// # });
    /// ```
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(deadline.as_nanos()).ok_or(SelectTimeoutError)
    }

    /// Returns the index of an operation that could be done now. Others may be faster.
    ///
    /// # Errors
    /// There is no such operation.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// let mut select = trefoil_sched::select::Select::new();
    /// let index = select.recv(&rx);
    /// assert!(select.try_ready().is_err());
    /// tx.send(3).unwrap();
    /// assert_eq!((select.ready(), rx.try_recv()), (index, Ok(3)));
    /// # });
    /// ```
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.find(0).ok_or(TryReadyError)
    }

    /// Returns the index of an operation that could be done; parks until there is one. Others may
    /// be faster.
    ///
    /// # Panics
    /// If there is no operation.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// let arm = list.recv(&rx);
    /// assert_eq!(list.ready(), arm);
    /// assert_eq!(rx.try_recv(), Ok(5));
    /// # });
    /// ```
    pub fn ready(&mut self) -> usize {
        self.assert_some();
        loop {
            if let Some(index) = self.find(NEVER) {
                return index;
            }
        }
    }

    /// Returns the index of an operation that could be done; parks for at most `timeout`.
    ///
    /// # Errors
    /// The time is over.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// let arm = list.recv(&rx);
    /// assert_eq!(list.ready_timeout(Duration::from_secs(1)).unwrap(), arm);
    /// assert_eq!(rx.try_recv(), Ok(5));
    /// # });
    /// ```
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        self.ready_deadline(Instant::now() + timeout)
    }

    /// Returns the index of an operation that could be done; parks until the clock has reached
    /// `deadline` at most.
    ///
    /// # Errors
    /// The deadline came first.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// let arm = list.recv(&rx);
    /// assert_eq!(list.ready_deadline(Instant::NEVER).unwrap(), arm);
    /// assert_eq!(rx.try_recv(), Ok(5));
    /// # });
    /// ```
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.find(deadline.as_nanos()).ok_or(ReadyTimeoutError)
    }

    fn assert_some(&self) {
        assert!(self.arms.iter().any(Option::is_some), "Select: no operations have been added");
    }

    /// Returns the index of an arm that was done, or could be.
    fn run(&mut self, deadline: u64, until: Until) -> Option<usize> {
        let mut numbers: Vec<usize> = Vec::with_capacity(self.arms.len());
        let mut arms: Vec<&mut dyn Arm> = Vec::with_capacity(self.arms.len());
        for (index, arm) in self.arms.iter_mut().enumerate() {
            if let Some(arm) = arm
                && !is_off(&**arm)
            {
                numbers.push(index);
                arms.push(&mut **arm as &mut dyn Arm);
            }
        }
        // The engine puts the arms in another order: their places in memory tell them apart.
        let places: Vec<*const ()> = arms.iter().map(|arm| core::ptr::from_ref(&**arm).cast()).collect();
        let at = if deadline == 0 {
            super::first_pass(&mut arms, self.order, until)?
        } else {
            super::select(&mut arms, deadline, self.order, until)?
        };
        let chosen: *const () = core::ptr::from_ref(&*arms[at]).cast();
        places.iter().position(|&place| place == chosen).map(|at| numbers[at])
    }

    fn choose(&mut self, deadline: u64) -> Option<SelectedOperation<'a>> {
        let index = self.run(deadline, Until::Done)?;
        let slot = self.arms[index].as_mut()?;
        let fresh = slot.renew();
        Some(SelectedOperation { arm: Some(core::mem::replace(slot, fresh)), index })
    }

    fn find(&mut self, deadline: u64) -> Option<usize> {
        self.run(deadline, Until::Ready)
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Select<'_> {
    fn clone(&self) -> Self {
        Self { arms: self.arms.iter().map(|arm| arm.as_ref().map(|arm| arm.renew())).collect(), order: self.order }
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Select { .. }")
    }
}

/// A chosen operation. The program must complete it, by [`send`](Self::send) or
/// [`recv`](Self::recv) on the channel that it was chosen for.
///
/// # Panics
/// When it is dropped without. Its promise is given back, and a value that it has received is
/// dropped.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(1);
/// tx.send(5).unwrap();
/// let mut list = select::Select::new();
/// list.recv(&rx);
/// assert_eq!(list.select().recv(&rx), Ok(5));
/// # });
/// ```
#[must_use = "a chosen operation must be completed"]
pub struct SelectedOperation<'a> {
    /// None: the operation was completed.
    arm: Option<Box<dyn Renew<'a> + 'a>>,
    index: usize,
}

impl SelectedOperation<'_> {
    /// Returns its index: the number that [`Select::send`] or [`Select::recv`] returned.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// list.send(&tx); // full
    /// let receive = list.recv(&rx);
    /// let chosen = list.select();
    /// assert_eq!(chosen.index(), receive);
    /// assert_eq!(chosen.recv(&rx), Ok(5));
    /// # });
    /// ```
    pub fn index(&self) -> usize {
        self.index
    }

    fn is_for(&self, channel: *const (), sending: bool) -> bool {
        self.arm.as_ref().is_some_and(|arm| core::ptr::eq(arm.channel(), channel) && arm.port().sending == sending)
    }

    /// Completes a send. Does not wait.
    ///
    /// # Errors
    /// The channel is closed; the value comes back.
    ///
    /// # Panics
    /// If another operation was chosen; and as [`Sender::send`]. In both cases the promise is given
    /// back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// let mut list = select::Select::new();
    /// list.send(&tx);
    /// assert_eq!(list.select().send(&tx, "the value comes last"), Ok(()));
    /// # drop(rx);
    /// # });
    /// ```
    pub fn send<T>(mut self, to: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        assert!(self.is_for(to.id(), true), "SelectedOperation::send: not the sender that was chosen");
        let Some(arm) = self.arm.take() else { return Err(SendError(value)) };
        // SAFETY: the arms that send in a `Select` are `WatchArm`s, and this one's channel is that
        // of `to`: so it carries the same type of values.
        let arm = unsafe { Box::from_raw(Box::into_raw(arm).cast::<WatchArm<'_, T>>()) };
        arm.fulfil(value)
    }

    /// Completes a receive. Does not wait.
    ///
    /// # Errors
    /// The channel is empty and closed.
    ///
    /// # Panics
    /// If another operation was chosen.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// list.recv(&rx);
    /// assert_eq!(list.select().recv(&rx), Ok(5));
    /// # });
    /// ```
    pub fn recv<T>(mut self, from: &Receiver<T>) -> Result<T, RecvError> {
        assert!(self.is_for(from.id(), false), "SelectedOperation::recv: not the receiver that was chosen");
        let Some(arm) = self.arm.take() else { return Err(RecvError) };
        // SAFETY: 1. `Select::recv` made the arm by `box_recv`. The channel is that of `from`, so
        // it carries values of type `T`.
        unsafe { finish_recv(arm) }
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        if self.arm.take().is_some() && !platform::panicking() {
            panic!("SelectedOperation: dropped without being completed");
        }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedOperation").field("index", &self.index).finish_non_exhaustive()
    }
}
