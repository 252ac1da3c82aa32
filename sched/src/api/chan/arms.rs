//! Channels as arms of a select: see `api/select.rs`.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::cell::Cell;
use core::mem::MaybeUninit;

use super::channel::Channel;
use super::errors::{RecvError, SendError};
use super::exchange::{Exchange, RECEIVING, SENDING, Slot, empty, take};
use super::parcel::{Either, is_large, on, pack};
use super::reserve::Promise;
use super::{Receiver, Sender, Shared};
use crate::api::select::{Arm, Hand, Order, Port, Renew, Until, select};
use crate::g::promise::Link;
use crate::machine::guard::PreemptGuard;
use crate::machine::sync::UnsafeCell;
use crate::wait::ticket::NEVER;

/// Returns the place of an arm's value while its G waits: in the node if it fits there, else in the
/// arm.
fn place<T>(hand: *mut Hand, spare: &mut MaybeUninit<Slot<T>>) -> *mut Slot<T> {
    if size_of::<Slot<T>>() <= size_of::<Hand>() && align_of::<Slot<T>>() <= align_of::<Hand>() {
        hand.cast()
    } else {
        spare.as_mut_ptr()
    }
}

/// `recv(receiver)`.
#[doc(hidden)]
pub struct RecvArm<'a, T>(Either<Taking<'a, T>, Taking<'a, Box<T>>>);

/// The receive of a channel's content: values or parcels.
struct Taking<'a, V> {
    from: &'a Exchange<V>,
    state: Taken,
    /// Holds the value when it is [`Taken::Value`]. Lent to a sender while the G waits.
    place: MaybeUninit<Slot<V>>,
}

#[derive(PartialEq, Eq)]
enum Taken {
    Not,
    Closed,
    Value,
}

impl<'a, T> RecvArm<'a, T> {
    /// Makes an arm that is not done yet.
    #[inline(always)]
    pub fn new(from: &'a Receiver<T>) -> Self {
        Self(if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            Either::large(Taking::new(unsafe { from.channel().either().as_large() }))
        } else {
            // SAFETY: 1. the `Either` of a small `T` was made by `small`.
            Either::small(Taking::new(unsafe { from.channel().either().as_small() }))
        })
    }

    /// Returns false: this arm takes part.
    #[inline(always)]
    pub fn is_off(&self) -> bool {
        false
    }

    /// Returns true if the receive was done.
    #[inline(always)]
    pub fn is_chosen(&self) -> bool {
        on!(T: self.0, taking => taking.state != Taken::Not)
    }

    /// Gives the arm up; a value that was received is dropped.
    #[inline(always)]
    pub fn leave(self) {}

    /// Returns the arm, for the engine.
    #[inline(always)]
    pub fn arm(&mut self) -> &mut dyn Arm {
        on!(T: mut self.0, taking => taking)
    }

    /// Returns the received value.
    #[inline(always)]
    pub fn finish(&mut self) -> Result<T, RecvError> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            return unsafe { self.0.as_large_mut() }.finish().map(|parcel| *parcel);
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small_mut() }.finish()
    }
}

impl<T> Drop for RecvArm<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this drop is the only one, and nobody uses the content after it.
        on!(T: mut self.0, taking => unsafe { core::ptr::drop_in_place(taking) });
    }
}

/// Makes `recv(receiver)` for a dynamic select.
pub(crate) fn box_recv<'a, T>(from: &'a Receiver<T>) -> Box<dyn Renew<'a> + 'a> {
    on!(T: from.channel().either(), exchange => Box::new(Taking::new(exchange)))
}

/// Returns the value that such an arm has received.
///
/// # Safety
/// 1. The arm was made by [`box_recv`] for a channel of `T`.
pub(crate) unsafe fn finish_recv<T>(arm: Box<dyn Renew<'_> + '_>) -> Result<T, RecvError> {
    let arm = Box::into_raw(arm);
    if const { is_large::<T>() } {
        // SAFETY: 1. for a large `T`, `box_recv` made a box of a `Taking<Box<T>>`.
        return unsafe { Box::from_raw(arm.cast::<Taking<'_, Box<T>>>()) }.finish().map(|parcel| *parcel);
    }
    // SAFETY: 1. for a small `T`, `box_recv` made a box of a `Taking<T>`.
    unsafe { Box::from_raw(arm.cast::<Taking<'_, T>>()) }.finish()
}

/// Waits as a receiver of `channel`, and of `gone`, until one of the two has something to give.
pub(super) fn watch<T>(channel: &Channel<T>, gone: &Receiver<()>) {
    let mut gone = RecvArm::new(gone);
    on!(T: channel.either(), exchange => {
        let mut channel = Taking::new(exchange);
        while select(&mut [&mut channel, gone.arm()], NEVER, Order::Biased, Until::Ready).is_none() {}
    });
}

impl<'a, V> Taking<'a, V> {
    #[inline(always)]
    fn new(from: &'a Exchange<V>) -> Self {
        Self { from, state: Taken::Not, place: MaybeUninit::uninit() }
    }

    #[inline(always)]
    fn finish(&mut self) -> Result<V, RecvError> {
        match core::mem::replace(&mut self.state, Taken::Not) {
            // SAFETY: 1. the state says that it holds a value, and says so no more.
            Taken::Value => Ok(unsafe { take(self.place.assume_init_ref()) }),
            _ => Err(RecvError),
        }
    }

    #[inline(always)]
    fn keep(&mut self, value: V) {
        self.place.write(UnsafeCell::new(MaybeUninit::new(value)));
        self.state = Taken::Value;
    }
}

impl<V> Drop for Taking<'_, V> {
    #[inline(always)]
    fn drop(&mut self) {
        drop(self.finish());
    }
}

impl<V> Arm for Taking<'_, V> {
    #[inline]
    fn try_now(&mut self) -> bool {
        match self.from.try_recv() {
            Ok(value) => self.keep(value),
            Err(error) if error.is_disconnected() => self.state = Taken::Closed,
            Err(_) => return false,
        }
        true
    }
    fn is_chosen(&self) -> bool {
        self.state != Taken::Not
    }
    fn port(&self) -> Port<'_> {
        Port { state: self.from.state(), sending: RECEIVING, watches: false, endless: false }
    }
    fn next_due(&self) -> u64 {
        self.from.next_due()
    }
    fn lay(&mut self, hand: *mut Hand) -> *mut () {
        let slot = place(hand, &mut self.place);
        // SAFETY: the place is large enough, and nobody else knows it yet.
        unsafe { slot.write(empty()) };
        slot.cast()
    }
    unsafe fn collect(&mut self, slot: *mut (), served: bool) {
        if served {
            // SAFETY: 1. a sender that has served this arm has written a value of type `V` into the
            // slot, and nobody else knows the slot any more.
            let value = unsafe { take(&*slot.cast::<Slot<V>>()) };
            self.keep(value);
        }
    }
    fn channel(&self) -> *const () {
        self.from.id()
    }
}

impl<'a, V> Renew<'a> for Taking<'a, V> {
    fn renew(&self) -> Box<dyn Renew<'a> + 'a> {
        Box::new(Self::new(self.from))
    }
}

/// `send(sender, value)`.
#[doc(hidden)]
pub struct SendArm<'a, T>(Either<Giving<'a, T>, Giving<'a, Box<T>>>);

/// The send of a channel's content: values or parcels.
struct Giving<'a, V> {
    to: &'a Exchange<V>,
    state: Given,
    /// Holds the value unless it is [`Given::Sent`]. Lent to a receiver while the G waits.
    place: MaybeUninit<Slot<V>>,
}

#[derive(PartialEq, Eq)]
enum Given {
    Not,
    Closed,
    Sent,
}

impl<'a, T> SendArm<'a, T> {
    /// Makes an arm that is not done yet.
    #[inline(always)]
    pub fn new(to: &'a Sender<T>, value: T) -> Self {
        Self(if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            Either::large(Giving::new(unsafe { to.channel().either().as_large() }, pack(value)))
        } else {
            // SAFETY: 1. the `Either` of a small `T` was made by `small`.
            Either::small(Giving::new(unsafe { to.channel().either().as_small() }, value))
        })
    }

    /// Returns false: this arm takes part.
    #[inline(always)]
    pub fn is_off(&self) -> bool {
        false
    }

    /// Returns true if the send was done.
    #[inline(always)]
    pub fn is_chosen(&self) -> bool {
        on!(T: self.0, giving => giving.state != Given::Not)
    }

    /// Gives the arm up; a value that was not sent is dropped.
    #[inline(always)]
    pub fn leave(self) {}

    /// Returns the arm, for the engine.
    #[inline(always)]
    pub fn arm(&mut self) -> &mut dyn Arm {
        on!(T: mut self.0, giving => giving)
    }

    /// Returns the result of the send.
    #[inline(always)]
    pub fn finish(&mut self) -> Result<(), SendError<T>> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            return unsafe { self.0.as_large_mut() }.finish().map_err(|SendError(parcel)| SendError(*parcel));
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small_mut() }.finish()
    }
}

impl<T> Drop for SendArm<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this drop is the only one, and nobody uses the content after it.
        on!(T: mut self.0, giving => unsafe { core::ptr::drop_in_place(giving) });
    }
}

impl<'a, V> Giving<'a, V> {
    #[inline(always)]
    fn new(to: &'a Exchange<V>, value: V) -> Self {
        let place = MaybeUninit::new(UnsafeCell::new(MaybeUninit::new(value)));
        Self { to, state: Given::Not, place }
    }

    /// Returns the value, unless it was sent.
    #[inline(always)]
    fn take_back(&mut self) -> Option<V> {
        match core::mem::replace(&mut self.state, Given::Sent) {
            Given::Sent => None,
            // SAFETY: 1. the state said that it holds a value, and says so no more.
            _ => Some(unsafe { take(self.place.assume_init_ref()) }),
        }
    }

    #[inline(always)]
    fn finish(&mut self) -> Result<(), SendError<V>> {
        self.take_back().map_or(Ok(()), |value| Err(SendError(value)))
    }

    #[inline(always)]
    fn keep(&mut self, value: V, state: Given) {
        self.place.write(UnsafeCell::new(MaybeUninit::new(value)));
        self.state = state;
    }
}

impl<V> Drop for Giving<'_, V> {
    #[inline(always)]
    fn drop(&mut self) {
        drop(self.take_back());
    }
}

impl<V> Arm for Giving<'_, V> {
    #[inline]
    fn try_now(&mut self) -> bool {
        let Some(value) = self.take_back() else { return false };
        match self.to.try_send(value) {
            Ok(()) => {}
            Err(error) if error.is_disconnected() => self.keep(error.into_inner(), Given::Closed),
            Err(error) => {
                self.keep(error.into_inner(), Given::Not);
                return false;
            }
        }
        true
    }
    fn is_chosen(&self) -> bool {
        self.state != Given::Not
    }
    fn port(&self) -> Port<'_> {
        Port { state: self.to.state(), sending: SENDING, watches: false, endless: self.to.is_endless() }
    }
    fn next_due(&self) -> u64 {
        NEVER
    }
    fn lay(&mut self, hand: *mut Hand) -> *mut () {
        let slot = place(hand, &mut self.place);
        if let Some(value) = self.take_back() {
            // SAFETY: the place is large enough, and nobody else knows it yet.
            unsafe { slot.write(UnsafeCell::new(MaybeUninit::new(value))) };
        }
        slot.cast()
    }
    unsafe fn collect(&mut self, slot: *mut (), served: bool) {
        // `lay` has taken it, so that it counts as sent.
        if !served {
            // SAFETY: 1. no receiver has served this arm, so the value that `lay` wrote is still in
            // the slot, and nobody else knows the slot any more.
            let value = unsafe { take(&*slot.cast::<Slot<V>>()) };
            self.keep(value, Given::Not);
        }
    }
    fn channel(&self) -> *const () {
        self.to.id()
    }
}

/// A dynamic select's send, which has its value when it is chosen: the arm waits until there is
/// something to reserve.
#[repr(C)]
pub(crate) struct WatchArm<'a, T> {
    /// First: [`give_back`] finds the rest behind it.
    promise: Promise,
    to: &'a Sender<T>,
    /// While something is promised: the handle of the channel, for a promise that is leaked.
    channel: Cell<Weak<Shared<T>>>,
}

impl<'a, T> WatchArm<'a, T> {
    /// Makes an arm in a block of its own, from which it does not move.
    pub(crate) fn new(to: &'a Sender<T>) -> Box<Self> {
        // SAFETY: 1. `give_back::<T>` expects the link of a `WatchArm<T>`, and this promise becomes
        // the first field of one.
        let promise = unsafe { Promise::new(give_back::<T>) };
        Box::new(Self { promise, to, channel: Cell::new(Weak::new()) })
    }

    /// Sends the promised value.
    pub(crate) fn fulfil(&self, value: T) -> Result<(), SendError<T>> {
        self.to.channel().fulfil(&self.promise, value)
    }
}

/// Gives back the promise to a dead G.
///
/// # Safety
/// 1. The link is that of a `WatchArm<T>`, and nobody uses it any more.
unsafe fn give_back<T>(link: *const Link) {
    // SAFETY: the link comes first in the promise, which comes first in the arm. (Not a look at
    // `to`: the arm may have been leaked.)
    let (promise, channel) = unsafe { (&*link.cast::<Promise>(), (*link.cast::<WatchArm<'_, T>>()).channel.take()) };
    let Some(shared) = channel.upgrade() else { return };
    if let Some(reserved) = promise.disown() {
        shared.channel.give_back(reserved);
    }
    // The last handle has gone meanwhile: no destructor of the program's runs here.
    Arc::into_inner(shared).into_iter().for_each(core::mem::forget);
}

impl<T> Arm for WatchArm<'_, T> {
    fn try_now(&mut self) -> bool {
        let guard = PreemptGuard::new();
        let Some(reserved) = self.to.channel().reserve(&guard) else { return false };
        self.channel.set(Arc::downgrade(&self.to.0));
        // The promise is the first field.
        let promise = core::ptr::from_ref(&*self).cast::<Promise>();
        // SAFETY: 1. the promise is in no list, because the arm was not chosen yet. The arm has a
        // block of its own, and its `drop` takes the promise out of the list.
        unsafe { Promise::keep(promise, reserved, &guard) };
        true
    }
    fn is_chosen(&self) -> bool {
        self.promise.is_kept()
    }
    fn port(&self) -> Port<'_> {
        let channel = self.to.channel();
        Port { state: channel.state(), sending: SENDING, watches: true, endless: channel.is_endless() }
    }
    fn next_due(&self) -> u64 {
        NEVER
    }
    fn lay(&mut self, _: *mut Hand) -> *mut () {
        core::ptr::null_mut()
    }
    unsafe fn collect(&mut self, _: *mut (), _: bool) {}
    fn channel(&self) -> *const () {
        self.to.channel().id()
    }
}

impl<T> Drop for WatchArm<'_, T> {
    fn drop(&mut self) {
        let guard = PreemptGuard::new();
        if let Some(reserved) = self.promise.take(&guard) {
            self.to.channel().give_back(reserved);
        }
    }
}

impl<'a, T> Renew<'a> for WatchArm<'a, T> {
    fn renew(&self) -> Box<dyn Renew<'a> + 'a> {
        Self::new(self.to)
    }
}

impl<T> Sender<T> {
    /// Returns an identity of its channel, which no other channel has.
    pub(crate) fn id(&self) -> *const () {
        self.channel().id()
    }
}

impl<T> Receiver<T> {
    /// Returns an identity of its channel, which no other channel has.
    pub(crate) fn id(&self) -> *const () {
        self.channel().id()
    }
}
