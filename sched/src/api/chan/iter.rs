//! Receivers as iterators.

use core::iter::FusedIterator;

use super::Receiver;

/// Receives until the channel is empty and closed; see [`Receiver::iter`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(4);
/// (0..3).for_each(|n| tx.send(n).unwrap());
/// drop(tx);
/// assert_eq!(rx.iter().sum::<i32>(), 3);
/// # });
/// ```
#[derive(Debug)]
pub struct Iter<'a, T>(pub(super) &'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// Iterates as [`Iter`], with the receiver in it: the iterator of `for value in receiver`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(4);
/// (0..3).for_each(|n| tx.send(n).unwrap());
/// drop(tx);
/// assert_eq!(rx.into_iter().sum::<i32>(), 3);
/// # });
/// ```
#[derive(Debug)]
pub struct IntoIter<T>(pub(super) Receiver<T>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// Receives until nothing is there; see [`Receiver::try_iter`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(4);
/// (0..3).for_each(|n| tx.send(n).unwrap());
/// assert_eq!(rx.try_iter().sum::<i32>(), 3); // and the channel is open
/// # });
/// ```
#[derive(Debug)]
pub struct TryIter<'a, T>(pub(super) &'a Receiver<T>);

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

// A closed channel stays closed.
impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}
