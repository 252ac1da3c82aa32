//! Waiting for several channels: Go's `select`, as a macro ([`select!`](crate::select!)) and for
//! lists known at run time ([`Select`]).
//!
//! ```text
//!   run(arms):
//!     1. try each arm under its own channel's lock, in a random order ── one could be done: chosen
//!     2. a block of nodes, one an arm; open the ticket; park
//!          commit, on another stack: register with each channel in turn, under that one's own lock
//!                                      ├─ a channel needs no wait after all: win the ticket, back to 1.
//!                                      └─ all registered: start the timer, if there is a deadline
//!     3. woken, by whoever won the ticket: take the other nodes out
//!          served: chosen · a channel was closed, or something changed that is watched: back to 1. · the timer: no arm
//! ```
//!
//! * **One winner.** Partners, closers and the timer compete for the G's ticket (`wait/ticket.rs`).
//!   The winner moves the value, as for a G that waits for one channel. So an arm is done once, and
//!   no other arm of the same select is.
//! * INV-PUBLISH holds: nodes are pushed in `commit`, when the G is saved. The registration, under
//!   the channel's lock, sees a value that came between the first pass and it. A value that comes
//!   later finds the node.
//! * **A G does not meet itself**: in the second pass its own node on the other side of the same
//!   channel does not count as a partner.
//! * **Fair**: the order of the first pass is a new random permutation each time (made as far as it
//!   is needed). So ready arms are chosen equally often, whichever others are not ready.
//!
//! The nodes, and values up to 32 bytes, lie on the heap: the partner that serves a G that has
//! waited long leaves the G's stack packed. A select that need not wait allocates nothing.
//!
//! **Sends have their value from the start**, as in Go: `send(s, value())` evaluates `value()`
//! whether or not the arm is chosen. A value that is not sent is dropped. (Crossbeam evaluates the
//! value when the arm is chosen.) So a receiver that meets a waiting select has the value at once.
//! Where that matters, [`Select`] chooses first and takes the value later. Its sends wait as
//! *watchers*, which are woken when something changes on their channel, and look again. The price:
//! on a `bounded(0)`, a watcher meets receivers that wait, but not the `try_recv` of one that does
//! not.
//!
//! **An arm that is off** (`off.rs`) is left out before the engine begins. So a select with such an
//! arm is a select without it.
//!
//! Rejected:
//!
//! * Go's locking of all channels at once: see `wait/ticket.rs`;
//! * nodes on the stack: a stack in use by others can't be packed;
//! * a random start with the arms in order behind it: an arm behind one that is never ready gets
//!   that one's share.

mod dynamic;
mod macros;
mod off;

use alloc::boxed::Box;
use core::cell::Cell;
use core::mem::MaybeUninit;

pub use dynamic::{Select, SelectedOperation};
pub(crate) use off::Off;
#[doc(hidden)]
pub use off::partaking;

use crate::api::chan::State;
use crate::core::m::M;
use crate::core::park::{current_g, park};
use crate::g::ticket::Number;
use crate::g::waiter::Waiter;
use crate::g::{GRef, HAND_BYTES, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::spin::SpinLock;
use crate::wait::sleep;
use crate::wait::ticket::{NEVER, reserve_timer};

/// A place for a small value.
#[doc(hidden)]
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Hand(MaybeUninit<[u8; HAND_BYTES]>);

/// One side of a channel.
#[doc(hidden)]
pub struct Port<'a> {
    pub(crate) state: &'a SpinLock<State>,
    pub(crate) sending: bool,
    /// The arm wants to be woken, not served.
    pub(crate) watches: bool,
    /// The arm never has to wait.
    pub(crate) endless: bool,
}

/// One thing that a select may do.
#[doc(hidden)]
pub trait Arm {
    /// Does the arm's operation if that needs no waiting.
    fn try_now(&mut self) -> bool;
    /// Returns true if the operation was done.
    fn is_chosen(&self) -> bool;
    /// Returns the place where the arm waits.
    fn port(&self) -> Port<'_>;
    /// Returns the time at which the arm can be done without a partner.
    fn next_due(&self) -> u64;
    /// Makes ready for a partner, with a place for a small value: returns the slot for the node.
    fn lay(&mut self, hand: *mut Hand) -> *mut ();
    /// Takes the result, when the wait is over.
    ///
    /// # Safety
    /// 1. `slot` came from `lay`, nobody else knows it any more, and `served` says whether a
    ///    partner has used it.
    unsafe fn collect(&mut self, slot: *mut (), served: bool);
    /// Returns an identity of the arm's channel, which no other channel has. Null: the arm is off.
    fn channel(&self) -> *const ();
}

/// An arm that a dynamic select uses again and again.
#[doc(hidden)]
pub trait Renew<'a>: Arm {
    /// Returns the same arm, not done yet.
    fn renew(&self) -> Box<dyn Renew<'a> + 'a>;
}

/// The event to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// An arm is done.
    Done,
    /// An arm could be done.
    Ready,
}

/// The order in which ready arms are taken.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A random order.
    Fair,
    /// The order as written.
    Biased,
}

struct WaiterNode {
    waiter: Waiter,
    slot: Cell<*mut ()>,
    hand: Cell<Hand>,
}

/// Does one of the arms; waits until that is possible.
#[doc(hidden)]
pub fn run(arms: &mut [&mut dyn Arm], order: Order) {
    _ = select(arms, NEVER, order, Until::Done);
}

/// Does one of the arms if that is possible before `timeout` is over.
#[doc(hidden)]
pub fn run_timeout(arms: &mut [&mut dyn Arm], timeout: crate::api::time::Duration, order: Order) -> bool {
    select(arms, (crate::api::time::Instant::now() + timeout).as_nanos(), order, Until::Done).is_some()
}

/// Does one of the arms if that needs no waiting.
#[doc(hidden)]
#[inline]
pub fn try_run(arms: &mut [&mut dyn Arm], order: Order) -> bool {
    first_pass(arms, order, Until::Done).is_some()
}

/// Waits for ever: there is nothing to wait for.
#[doc(hidden)]
pub fn wait_for_ever() -> ! {
    loop {
        run(&mut [], Order::Biased);
    }
}

/// Returns the place of the arm that was done (or is ready) in `arms`, which are in another order
/// now; `None`: the deadline came first.
pub(crate) fn select(arms: &mut [&mut dyn Arm], deadline: u64, order: Order, until: Until) -> Option<usize> {
    if let Some(chosen) = first_pass(arms, order, until) {
        return Some(chosen);
    }
    select_slowly(arms, deadline, order, until)
}

/// Tries the arms in the given order.
#[inline]
pub(crate) fn first_pass(arms: &mut [&mut dyn Arm], order: Order, until: Until) -> Option<usize> {
    let mut random = if order == Order::Fair && arms.len() > 1 { draw() } else { 0 };
    for at in 0..arms.len() {
        let left = arms.len() - at;
        if order == Order::Fair && left > 1 {
            // The next element of a random permutation. The upper half of the number, which is the
            // random one of this generator.
            let other = at + (((random >> 32) * left as u64) >> 32) as usize;
            arms.swap(at, other);
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        }
        let arm = &mut *arms[at];
        if if until == Until::Done { arm.try_now() } else { is_ready(arm) } {
            return Some(at);
        }
    }
    None
}

fn draw() -> u64 {
    let guard = PreemptGuard::new();
    u64::from(M::current(&guard).held(&guard).rng.next()) << 32 | 0x9e37_79b9
}

fn is_ready(arm: &dyn Arm) -> bool {
    let port = arm.port();
    let due = arm.next_due();
    let guard = PreemptGuard::new();
    port.endless
        || port.state.lock(&guard).is_ready(port.sending, current_g(&guard))
        || due != NEVER && due <= platform::now()
}

#[cold]
#[inline(never)]
fn select_slowly(arms: &mut [&mut dyn Arm], deadline: u64, order: Order, until: Until) -> Option<usize> {
    let nodes: Box<[WaiterNode]> = arms
        .iter()
        .map(|_| WaiterNode {
            waiter: Waiter::new(),
            slot: Cell::new(core::ptr::null_mut()),
            hand: Cell::new(Hand(MaybeUninit::uninit())),
        })
        .collect();
    loop {
        let due = arms.iter().map(|arm| arm.next_due()).min().unwrap_or(NEVER);
        let ends = wait(arms, &nodes, deadline.min(due), until);
        if let Some(chosen) = arms.iter().position(|arm| arm.is_chosen()) {
            return Some(chosen);
        }
        if ends == Ends::TimedOut && deadline <= due {
            return None;
        }
        if let Some(chosen) = first_pass(arms, order, until) {
            return Some(chosen);
        }
        if deadline != NEVER && deadline <= platform::now() {
            return None;
        }
    }
}

#[derive(PartialEq, Eq)]
enum Ends {
    /// Look at the arms.
    Changed,
    TimedOut,
}

/// A wait, as `commit` needs it.
struct Wait<'w, 'a> {
    arms: &'w [&'a mut dyn Arm],
    nodes: &'w [WaiterNode],
    number: Number,
    deadline: u64,
    /// A channel turned out to need no wait.
    spared: Cell<bool>,
}

/// Parks until something happens to one of the arms, or the clock reads `deadline`.
fn wait(arms: &mut [&mut dyn Arm], nodes: &[WaiterNode], deadline: u64, until: Until) -> Ends {
    let guard = reserve_timer(deadline);
    let g = current_g(&guard);
    let number = g.ticket.open();
    for (arm, node) in arms.iter_mut().zip(nodes) {
        node.slot.set(arm.lay(node.hand.as_ptr()));
        node.waiter.set(g, node.slot.get(), number, until == Until::Ready || arm.port().watches);
    }
    let reason = if arms.is_empty() { WaitReason::SelectNoCases } else { WaitReason::Select };
    let wait = Wait { arms, nodes, number, deadline, spared: Cell::new(false) };
    // SAFETY: 1. `register` publishes nodes of which one, or the timer, wins the ticket and readies
    // the G; or the G wins it itself, and it returns false. 2. `wait` lies on this stack, and is
    // not used after `register` has returned.
    let guard = unsafe { park(guard, reason, register, (&raw const wait).cast_mut().cast()) };
    let spared = wait.spared.get();
    // Preemption stays off until the nodes are out: INV-NO-ORPHAN in `wait/list.rs`.
    let mut claimed = false;
    for (arm, node) in arms.iter_mut().zip(nodes) {
        let port = arm.port();
        port.state.lock(&guard).queue(port.sending).remove(&node.waiter);
        claimed |= node.waiter.was_claimed();
        // SAFETY: 1. the node is in no list, and its claimer has readied us since.
        unsafe { arm.collect(node.slot.get(), node.waiter.was_served()) };
    }
    if !claimed && !spared {
        return Ends::TimedOut;
    }
    if deadline != NEVER {
        sleep::cancel_expiry(&guard, g);
    }
    Ends::Changed
}

/// `park`'s commit: the G is saved and may be seen. Even if a partner readies the G, it stays
/// Parking until this returns.
unsafe fn register(wait: *mut (), g: GRef) -> bool {
    // SAFETY: `wait` passes its `Wait`, on the stack of a G that is not resumed before this has
    // returned.
    let wait = unsafe { &*wait.cast::<Wait<'_, '_>>() };
    let guard = PreemptGuard::new();
    for (arm, node) in wait.arms.iter().zip(wait.nodes) {
        let port = arm.port();
        let mut state = port.state.lock(&guard);
        if port.endless || state.is_ready(port.sending, g) {
            drop(state);
            let won = g.ticket.win(wait.number);
            wait.spared.set(won);
            return !won;
        }
        // SAFETY: 1. the nodes live until `wait` has removed them.
        unsafe { state.queue(port.sending).push_ticketed(&node.waiter) };
        drop(state);
        if !g.ticket.is_open(wait.number) {
            return true;
        }
    }
    if wait.deadline != NEVER {
        sleep::start_expiry(wait.deadline, g);
    }
    true
}
