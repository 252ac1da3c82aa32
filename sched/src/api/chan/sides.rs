//! The operands of a select's arms: a channel, or an `Option` of one. `None` switches the arm off.
//!
//! The macro calls `as_receiver_or_option` or `as_sender_or_option` on the operand. (The compiler
//! names them when the operand is something else.) Method calls look through references, so `&rx`,
//! an `Arc<Receiver<T>>` and the like are operands as well. The type says whether an arm can be
//! off. So the arms of plain channels pay nothing: their `is_off` is a constant.

use super::arms::{RecvArm, SendArm};
use super::errors::{RecvError, SendError};
use super::{Receiver, Sender};
use crate::api::select::{Arm, Off};

/// The operand of `recv(…)`.
#[doc(hidden)]
pub trait RecvSide {
    /// The arm that it becomes.
    type Arm<'a>
    where
        Self: 'a;
    /// Makes an arm that is not done yet.
    fn as_receiver_or_option(&self) -> Self::Arm<'_>;
}

/// The operand of `send(…)`.
#[doc(hidden)]
pub trait SendSide {
    /// The values of the channel.
    type Value;
    /// The arm that it becomes.
    type Arm<'a>
    where
        Self: 'a;
    /// Makes an arm that is not done yet.
    fn as_sender_or_option(&self, value: Self::Value) -> Self::Arm<'_>;
}

impl<T> RecvSide for Receiver<T> {
    type Arm<'a>
        = RecvArm<'a, T>
    where
        T: 'a;
    #[inline(always)]
    fn as_receiver_or_option(&self) -> RecvArm<'_, T> {
        RecvArm::new(self)
    }
}

impl<T> RecvSide for Option<Receiver<T>> {
    type Arm<'a>
        = MaybeRecvArm<'a, T>
    where
        T: 'a;
    fn as_receiver_or_option(&self) -> MaybeRecvArm<'_, T> {
        MaybeRecvArm::new(self.as_ref())
    }
}

impl<'r, T> RecvSide for Option<&'r Receiver<T>> {
    type Arm<'a>
        = MaybeRecvArm<'a, T>
    where
        'r: 'a,
        T: 'a;
    fn as_receiver_or_option(&self) -> MaybeRecvArm<'_, T> {
        MaybeRecvArm::new(*self)
    }
}

impl<T> SendSide for Sender<T> {
    type Value = T;
    type Arm<'a>
        = SendArm<'a, T>
    where
        T: 'a;
    #[inline(always)]
    fn as_sender_or_option(&self, value: T) -> SendArm<'_, T> {
        SendArm::new(self, value)
    }
}

impl<T> SendSide for Option<Sender<T>> {
    type Value = T;
    type Arm<'a>
        = MaybeSendArm<'a, T>
    where
        T: 'a;
    fn as_sender_or_option(&self, value: T) -> MaybeSendArm<'_, T> {
        MaybeSendArm::new(self.as_ref(), value)
    }
}

impl<'r, T> SendSide for Option<&'r Sender<T>> {
    type Value = T;
    type Arm<'a>
        = MaybeSendArm<'a, T>
    where
        'r: 'a,
        T: 'a;
    fn as_sender_or_option(&self, value: T) -> MaybeSendArm<'_, T> {
        MaybeSendArm::new(*self, value)
    }
}

/// `recv(receiver)`, which may be off.
#[doc(hidden)]
pub struct MaybeRecvArm<'a, T> {
    on: Option<RecvArm<'a, T>>,
    off: Off,
}

impl<'a, T> MaybeRecvArm<'a, T> {
    fn new(from: Option<&'a Receiver<T>>) -> Self {
        Self { on: from.map(RecvArm::new), off: Off }
    }

    /// Returns true if the arm is never chosen.
    pub fn is_off(&self) -> bool {
        self.on.is_none()
    }

    /// Returns true if the receive was done.
    pub fn is_chosen(&self) -> bool {
        self.on.as_ref().is_some_and(RecvArm::is_chosen)
    }

    /// Gives the arm up; a value that was received is dropped.
    pub fn leave(self) {}

    /// Returns the arm, for the engine.
    pub fn arm(&mut self) -> &mut dyn Arm {
        match &mut self.on {
            Some(arm) => arm.arm(),
            None => &mut self.off,
        }
    }

    /// Returns the received value.
    pub fn finish(&mut self) -> Result<T, RecvError> {
        self.on.as_mut().map_or(Err(RecvError), RecvArm::finish)
    }
}

/// `send(sender, value)`, which may be off.
#[doc(hidden)]
pub struct MaybeSendArm<'a, T> {
    on: Result<SendArm<'a, T>, Unsent<T>>,
    off: Off,
}

/// The value of an arm that is off: dropped when the select is over, as those of other arms.
type Unsent<T> = Option<T>;

impl<'a, T> MaybeSendArm<'a, T> {
    fn new(to: Option<&'a Sender<T>>, value: T) -> Self {
        let on = match to {
            Some(to) => Ok(SendArm::new(to, value)),
            None => Err(Some(value)),
        };
        Self { on, off: Off }
    }

    /// Returns true if the arm is never chosen.
    pub fn is_off(&self) -> bool {
        self.on.is_err()
    }

    /// Returns true if the send was done.
    pub fn is_chosen(&self) -> bool {
        self.on.as_ref().is_ok_and(SendArm::is_chosen)
    }

    /// Gives the arm up; a value that was not sent is dropped.
    pub fn leave(self) {}

    /// Returns the arm, for the engine.
    pub fn arm(&mut self) -> &mut dyn Arm {
        match &mut self.on {
            Ok(arm) => arm.arm(),
            Err(_) => &mut self.off,
        }
    }

    /// Returns the result of the send.
    pub fn finish(&mut self) -> Result<(), SendError<T>> {
        match &mut self.on {
            Ok(arm) => arm.finish(),
            Err(value) => value.take().map_or(Ok(()), |value| Err(SendError(value))),
        }
    }
}
