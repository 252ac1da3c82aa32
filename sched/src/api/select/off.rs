//! Arms that are switched off: Go's nil channels.

use alloc::boxed::Box;

use super::{Arm, Hand, Port, Renew, Select};
use crate::api::chan::{Receiver, Sender};
use crate::wait::ticket::NEVER;

/// An arm that is never chosen. It stands in the place of one until [`partaking`] leaves it out.
#[derive(Debug)]
pub(crate) struct Off;

/// Returns the arms that take part in a select. `some_off` says whether others are among `arms`.
#[doc(hidden)]
#[inline(always)]
pub fn partaking<'s, 'a>(some_off: bool, arms: &'s mut [&'a mut dyn Arm]) -> &'s mut [&'a mut dyn Arm] {
    if some_off { leave_out(arms) } else { arms }
}

/// Moves the arms that are off behind the others, which keep their order, and leaves them out.
#[cold]
fn leave_out<'s, 'a>(arms: &'s mut [&'a mut dyn Arm]) -> &'s mut [&'a mut dyn Arm] {
    let mut on = 0;
    for at in 0..arms.len() {
        if !is_off(arms[at]) {
            arms.swap(on, at);
            on += 1;
        }
    }
    &mut arms[..on]
}

/// Returns true if the arm is never chosen.
pub(super) fn is_off(arm: &dyn Arm) -> bool {
    arm.channel().is_null()
}

impl Arm for Off {
    fn try_now(&mut self) -> bool {
        false
    }
    fn is_chosen(&self) -> bool {
        false
    }
    fn port(&self) -> Port<'_> {
        unreachable!("an arm that is off takes part in a select")
    }
    fn next_due(&self) -> u64 {
        NEVER
    }
    fn lay(&mut self, _: *mut Hand) -> *mut () {
        core::ptr::null_mut()
    }
    unsafe fn collect(&mut self, _: *mut (), _: bool) {}
    fn channel(&self) -> *const () {
        core::ptr::null()
    }
}

impl<'a> Renew<'a> for Off {
    fn renew(&self) -> Box<dyn Renew<'a> + 'a> {
        Box::new(Self)
    }
}

impl<'a> Select<'a> {
    /// Adds a send as [`send`](Self::send), or for `None` an operation that is never chosen.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded::<u8>(1);
    /// let pending = None::<u8>;
    /// let mut list = select::Select::new();
    /// list.send_if(pending.map(|_| &tx));
    /// assert!(list.try_select().is_err()); // there is nothing to send
    /// # drop(rx);
    /// # });
    /// ```
    pub fn send_if<T>(&mut self, to: Option<&'a Sender<T>>) -> usize {
        match to {
            Some(to) => self.send(to),
            None => self.add(Box::new(Off)),
        }
    }

    /// Adds a receive as [`recv`](Self::recv), or for `None` an operation that is never chosen.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(5).unwrap();
    /// let mut list = select::Select::new();
    /// list.recv_if(None::<&Receiver<u8>>);
    /// let on = list.recv_if(Some(&rx));
    /// let chosen = list.select();
    /// assert_eq!(chosen.index(), on);
    /// assert_eq!(chosen.recv(&rx), Ok(5));
    /// # });
    /// ```
    pub fn recv_if<T>(&mut self, from: Option<&'a Receiver<T>>) -> usize {
        match from {
            Some(from) => self.recv(from),
            None => self.add(Box::new(Off)),
        }
    }
}
