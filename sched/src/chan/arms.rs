//! Channels as arms of a select: see `select.rs`.

use alloc::boxed::Box;
use core::mem::MaybeUninit;

use super::errors::{RecvError, SendError};
use super::exchange::{Exchange, RECEIVING, SENDING, Slot, empty, take};
use super::reserve::Reserved;
use super::{Receiver, Sender};
use crate::select::{Arm, Hand, Port, Renew};
use crate::sync::UnsafeCell;

/// Where the value of an arm lies while its G waits: in the node if it fits there, else in the arm.
fn place<T>(hand: *mut Hand, spare: &mut MaybeUninit<Slot<T>>) -> *mut Slot<T> {
    if size_of::<Slot<T>>() <= size_of::<Hand>() && align_of::<Slot<T>>() <= align_of::<Hand>() {
        hand.cast()
    } else {
        spare.as_mut_ptr()
    }
}

/// `recv(receiver)`.
#[doc(hidden)]
pub struct RecvArm<'a, T> {
    from: &'a Exchange<T>,
    got: Option<Result<T, RecvError>>,
    spare: MaybeUninit<Slot<T>>,
}

impl<'a, T> RecvArm<'a, T> {
    /// Not done yet.
    #[inline(always)]
    pub fn new(from: &'a Receiver<T>) -> Self {
        Self::of(from.exchange())
    }

    /// The same for who has no handle.
    #[inline(always)]
    pub(super) fn of(from: &'a Exchange<T>) -> Self {
        Self { from, got: None, spare: MaybeUninit::uninit() }
    }

    /// Whether it was done.
    #[inline(always)]
    pub fn is_chosen(&self) -> bool {
        self.got.is_some()
    }

    /// It is of no use any more; a value that was not sent is dropped.
    #[inline(always)]
    pub fn leave(self) {}

    /// For the engine.
    #[inline(always)]
    pub fn arm(&mut self) -> &mut dyn Arm {
        self
    }

    /// What was received.
    #[inline(always)]
    pub fn finish(&mut self) -> Result<T, RecvError> {
        self.got.take().unwrap_or(Err(RecvError))
    }
}

impl<T> Arm for RecvArm<'_, T> {
    #[inline]
    fn try_now(&mut self) -> bool {
        self.got = match self.from.try_recv() {
            Ok(value) => Some(Ok(value)),
            Err(error) if error.is_disconnected() => Some(Err(RecvError)),
            Err(_) => return false,
        };
        true
    }
    fn is_chosen(&self) -> bool {
        self.got.is_some()
    }
    fn port(&self) -> Port<'_> {
        Port { state: self.from.state(), sending: RECEIVING, watches: false, endless: false }
    }
    fn next_due(&self) -> u64 {
        self.from.next_due()
    }
    fn lay(&mut self, hand: *mut Hand) -> *mut () {
        let slot = place(hand, &mut self.spare);
        // SAFETY: the place is large enough, and nobody else knows it yet.
        unsafe { slot.write(empty()) };
        slot.cast()
    }
    unsafe fn collect(&mut self, slot: *mut (), served: bool) {
        if served {
            // SAFETY: the caller's 1.: a sender has written a value.
            self.got = Some(Ok(unsafe { take(&*slot.cast::<Slot<T>>()) }));
        }
    }
    fn channel(&self) -> *const () {
        self.from.id()
    }
}

impl<'a, T> Renew<'a> for RecvArm<'a, T> {
    fn renew(&self) -> Box<dyn Renew<'a> + 'a> {
        Box::new(Self::of(self.from))
    }
}

/// `send(sender, value)`.
#[doc(hidden)]
pub struct SendArm<'a, T> {
    to: &'a Sender<T>,
    value: Option<T>,
    done: Option<Result<(), SendError<T>>>,
    spare: MaybeUninit<Slot<T>>,
}

impl<'a, T> SendArm<'a, T> {
    /// Not done yet.
    #[inline(always)]
    pub fn new(to: &'a Sender<T>, value: T) -> Self {
        Self { to, value: Some(value), done: None, spare: MaybeUninit::uninit() }
    }

    /// Whether it was done.
    #[inline(always)]
    pub fn is_chosen(&self) -> bool {
        self.done.is_some()
    }

    /// It is of no use any more; a value that was not sent is dropped.
    #[inline(always)]
    pub fn leave(self) {}

    /// For the engine.
    #[inline(always)]
    pub fn arm(&mut self) -> &mut dyn Arm {
        self
    }

    /// What became of it.
    #[inline(always)]
    pub fn finish(&mut self) -> Result<(), SendError<T>> {
        self.done.take().unwrap_or(Ok(()))
    }
}

impl<T> Arm for SendArm<'_, T> {
    #[inline]
    fn try_now(&mut self) -> bool {
        let Some(value) = self.value.take() else { return false };
        self.done = match self.to.exchange().try_send(value) {
            Ok(()) => Some(Ok(())),
            Err(error) if error.is_disconnected() => Some(Err(SendError(error.into_inner()))),
            Err(error) => {
                self.value = Some(error.into_inner());
                return false;
            }
        };
        true
    }
    fn is_chosen(&self) -> bool {
        self.done.is_some()
    }
    fn port(&self) -> Port<'_> {
        let exchange = self.to.exchange();
        Port { state: exchange.state(), sending: SENDING, watches: false, endless: exchange.is_endless() }
    }
    fn next_due(&self) -> u64 {
        crate::ticket::NEVER
    }
    fn lay(&mut self, hand: *mut Hand) -> *mut () {
        let slot = place(hand, &mut self.spare);
        if let Some(value) = self.value.take() {
            // SAFETY: the place is large enough, and nobody else knows it yet.
            unsafe { slot.write(UnsafeCell::new(MaybeUninit::new(value))) };
        }
        slot.cast()
    }
    unsafe fn collect(&mut self, slot: *mut (), served: bool) {
        if served {
            self.done = Some(Ok(()));
        } else {
            // SAFETY: the caller's 1.: nobody has taken the value.
            self.value = Some(unsafe { take(&*slot.cast::<Slot<T>>()) });
        }
    }
    fn channel(&self) -> *const () {
        self.to.exchange().id()
    }
}

/// A dynamic select's send, which has its value when it is chosen: it waits until there is something to reserve.
pub(crate) struct WatchArm<'a, T> {
    to: &'a Sender<T>,
    reserved: Option<Reserved>,
}

impl<'a, T> WatchArm<'a, T> {
    pub(crate) fn new(to: &'a Sender<T>) -> Self {
        Self { to, reserved: None }
    }

    /// Sends what was promised to this arm.
    pub(crate) fn fulfil(&mut self, value: T) -> Result<(), SendError<T>> {
        match self.reserved.take() {
            Some(reserved) => self.to.exchange().fulfil(reserved, value),
            None => Err(SendError(value)),
        }
    }
}

impl<T> Arm for WatchArm<'_, T> {
    fn try_now(&mut self) -> bool {
        self.reserved = self.to.exchange().reserve();
        self.reserved.is_some()
    }
    fn is_chosen(&self) -> bool {
        self.reserved.is_some()
    }
    fn port(&self) -> Port<'_> {
        let exchange = self.to.exchange();
        Port { state: exchange.state(), sending: SENDING, watches: true, endless: exchange.is_endless() }
    }
    fn next_due(&self) -> u64 {
        crate::ticket::NEVER
    }
    fn lay(&mut self, _: *mut Hand) -> *mut () {
        core::ptr::null_mut()
    }
    unsafe fn collect(&mut self, _: *mut (), _: bool) {}
    fn channel(&self) -> *const () {
        self.to.exchange().id()
    }
}

impl<T> Drop for WatchArm<'_, T> {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.to.exchange().give_back(reserved);
        }
    }
}

impl<'a, T> Renew<'a> for WatchArm<'a, T> {
    fn renew(&self) -> Box<dyn Renew<'a> + 'a> {
        Box::new(Self::new(self.to))
    }
}

impl<T> Sender<T> {
    /// What tells its channel from others.
    pub(crate) fn id(&self) -> *const () {
        self.exchange().id()
    }
}

impl<T> Receiver<T> {
    /// What tells its channel from others.
    pub(crate) fn id(&self) -> *const () {
        self.exchange().id()
    }
}
