//! Work on slices, spread over the cores.
//!
//! ```text
//!   for_each(&items, f)      chunk 0 ─▶ goroutine ─┐
//!                            chunk 1 ─▶ goroutine ─┼─▶ the end of a scope: results, in order
//!                            chunk 2 ─▶ goroutine ─┘
//! ```
//!
//! Each chunk is a goroutine of a [`scope`], so the closures may borrow. There are four chunks for
//! each core that may run goroutines ([`set_max_procs`](crate::set_max_procs)). Idle cores steal
//! chunks, so chunks of different weight even out. On one core, and for a slice of one item, the
//! caller does the work itself.
//!
//! A function of this module returns (or unwinds) when all of its chunks have ended. A panic in a
//! chunk comes out of the call; with several, that of the first chunk in the slice's order. Results
//! of the other chunks are dropped. [`exit_g`] in a chunk ends the caller.
//!
//! A call costs a `go` and a `join` for each chunk, about a thousand instructions. So it pays for
//! work of tens of thousands of instructions. A closure may park.
//!
//! Rejected: goroutines that take items from a shared counter. They would touch that counter for
//! each item, and stealing evens out as well.

use alloc::vec::Vec;

use crate::api::join::JoinError;
use crate::api::scope::scope;
use crate::api::spawn::exit_g;
use crate::core::m::M;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;

/// The chunks for each P: so many that the last one to end is short.
const CHUNKS_PER_P: usize = 4;

/// Calls `f` for each item. Items of one chunk come in order.
///
/// # Panics
/// With the panic of `f`; and when there is no memory for the goroutines.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # use std::sync::atomic::{AtomicU64, Ordering};
/// # trefoil_hosted::example(|| {
/// let (numbers, sum) = ([1, 2, 3, 4], AtomicU64::new(0));
/// par::for_each(&numbers, |n| _ = sum.fetch_add(*n, Ordering::Relaxed));
/// assert_eq!(sum.into_inner(), 10);
/// # });
/// ```
pub fn for_each<T: Sync>(items: &[T], f: impl Fn(&T) + Sync) {
    in_chunks(items.chunks(chunk_len(items.len())), |chunk| chunk.iter().for_each(&f));
}

/// Calls `f` for each item, which it may change.
///
/// # Panics
/// As [`for_each`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let mut numbers = [1, 2, 3, 4];
/// par::for_each_mut(&mut numbers, |n| *n *= 10);
/// assert_eq!(numbers, [10, 20, 30, 40]);
/// # });
/// ```
pub fn for_each_mut<T: Send>(items: &mut [T], f: impl Fn(&mut T) + Sync) {
    let len = chunk_len(items.len());
    in_chunks(items.chunks_mut(len), |chunk| chunk.iter_mut().for_each(&f));
}

/// Returns the value of `f` for each item, in the order of the items.
///
/// # Panics
/// As [`for_each`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lengths = par::map(&["to", "be", "or"], |word| word.len());
/// assert_eq!(lengths, [2, 2, 2]);
/// # });
/// ```
pub fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let parts = in_chunks(items.chunks(chunk_len(items.len())), |chunk| chunk.iter().map(&f).collect::<Vec<R>>());
    let mut parts = parts.into_iter();
    let mut all = parts.next().unwrap_or_default();
    all.reserve_exact(items.len() - all.len());
    parts.for_each(|part| all.extend(part));
    all
}

/// Returns `op` of the values of `map` for all items, in the order of the items: `op(op(a, b), c)`
/// and the like. Each chunk, and the whole, begins with a value of `identity`.
///
/// The result is that of one core if `op` is associative and `identity` is neutral in it. It need
/// not be commutative.
///
/// # Panics
/// As [`for_each`], with the panic of any of the closures.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let words = ["to ", "be ", "or ", "not ", "to ", "be"];
/// let text = par::reduce(&words, String::new, |word| word.to_string(), |a, b| a + &b);
/// assert_eq!(text, "to be or not to be");
/// # });
/// ```
pub fn reduce<T: Sync, A: Send>(
    items: &[T],
    identity: impl Fn() -> A + Sync,
    map: impl Fn(&T) -> A + Sync,
    op: impl Fn(A, A) -> A + Sync,
) -> A {
    let parts = in_chunks(items.chunks(chunk_len(items.len())), |chunk| chunk.iter().map(&map).fold(identity(), &op));
    parts.into_iter().reduce(&op).unwrap_or_else(identity)
}

/// Returns the number of items of a chunk, at least one.
fn chunk_len(items: usize) -> usize {
    let ps = M::current(&PreemptGuard::new()).sched.num_ps();
    let chunks = if ps == 1 { 1 } else { ps * CHUNKS_PER_P };
    items.div_ceil(chunks).max(1)
}

/// Returns the value of `work` for each chunk, in order.
fn in_chunks<C: Send, R: Send>(chunks: impl ExactSizeIterator<Item = C>, work: impl Fn(C) -> R + Sync) -> Vec<R> {
    if chunks.len() <= 1 {
        return chunks.map(work).collect();
    }
    let work = &work;
    let results: Result<Vec<R>, JoinError> = scope(|s| {
        let handles: Vec<_> = chunks.map(|chunk| s.go(move || work(chunk))).collect();
        // All of them are joined: the scope does not panic on its own.
        let results: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
        results.into_iter().collect()
    });
    match results {
        Ok(results) => results,
        // The panic is not a new one: it was reported, or was not, when it began.
        Err(JoinError::Panicked(payload)) => platform::unwind(payload),
        Err(JoinError::Exited) => exit_g(),
        Err(died) => panic!("par: a goroutine died: {died}"),
    }
}
