//! Groups of G's: the opener of a group learns that all members have ended, and the members go on
//! when the opener ends first.
//!
// ANCHOR: count
//! ```text
//!   a G opens a group:  running = 1, its own share
//!   a member starts:    running + 1             a member leaves: running - 1, after the last thing that it can borrow for
//!   the opener waits:   running - 1, in `commit`, when it is saved
//!                       whoever makes it 0 is the last: the opener goes on at once, or the member readies it
//! ```
// ANCHOR_END: count
//!
//! One word decides, without a loop: exactly one side brings it to 0. The opener has left its name
//! before it gives up its share, so the last member finds the name. The group is on the heap and
//! each side holds it. Nothing of the group lies on the opener's stack, because that stack may be
//! gone when a member leaves.
//!
//! # An opener that is abandoned
//!
//! A G that overflows its stack is ended where it stands (`api/spawn/end.rs`), its open groups with
//! it. Their members run on, and may go on using their borrows: from the frames of the dead opener,
//! and from the values that the *opener* had borrowed:
//!
//! ```text
//!   scope A of G a { let x;  b: scope B of G b { let y;  c: uses x and y } }       b dies; a must not go on while c uses x; nor may y go
//! ```
//!
//! **INV-HEIR**: a member that is abandoned leaves its group only when the members of all groups
//! that it had opened have left theirs. So its undertaker gives the opener's shares away. The
//! innermost open group is bequeathed to the next one. The outermost is bequeathed to the group of
//! which the dead G was a member. Each group gives up one share in its heir when its own count is
//! 0.
//!
//! **INV-LENT**: the frames of an abandoned G stay, at their addresses and with their bytes, until
//! the members of all groups that it had opened have left theirs. By then the count of the
//! outermost group is 0, so the `End` of that group names the dead G. The last member [gives
//! up](crate::spawn) the dead G's frames before it leaves the heir. (Or the G's own core does, if
//! that core is still on its way out: `g/grave.rs`.)
//!
//! # Other code that reaches into the frames of a G
//!
//! Kernel code that runs for one G touches the stack of another one in these cases, and no others:
//!
//! | object | why it is there |
//! |---|---|
//! | an object of `locks` or a `Scope` in a frame | its users have borrowed it: INV-LENT |
//! | a place for a value that a waiting G has left in a channel's list, its `Parking` | the G waits, so it has not ended; the list is left before the G runs again |
//! | nodes of wait queues, timers, tokens of wakers, small values from hand to hand | all are in the G's record, which is never freed |
//! | nodes of a `select!`, channels, contexts, cells of results, nodes of sets, groups | all are on the heap, and leaked with the frames that own them |
//! | the start frame at the top of a new G's stack | the stack is the G's own; fields that concern others are read before the G leaves it (`api/spawn/start.rs`) |
//!
//! A share in a group is taken by [`enter`](Group::enter) with preemption off, together with the
//! start of the member. So a G that dies on the way has either no share, or a member that will give
//! the share up.

use crate::core::drops::report_unseen;
use alloc::sync::Arc;

use crate::core::park::{current_g, park, ready};
use crate::core::recycle::give_up_frames;
use crate::g::JoinError;
use crate::g::{G, GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::sync::{AtomicBool, AtomicUsize, Ordering, UnsafeCell};

/// A companion of a G's closure, for G's whose end others must learn of; see `api/spawn.rs`.
pub(crate) trait Member: Sized + Send {
    /// True for a member of nothing.
    const ALONE: bool = false;

    /// Returns true if its G is to start next. With preemption off: either both happen, or neither
    /// does.
    fn starts(&self) -> bool {
        true
    }

    /// The part that is dropped after the member has left: it may be the program's, or take long.
    type Remainder: Send;

    /// Reports that the calling G has come to `error`, and that nobody will ask.
    fn unclaimed(&self, error: JoinError);

    /// Leaves, when the G has ended and uses nothing any more. With preemption off, perhaps on a
    /// g0: allocates nothing, and drops nothing of the user's. The rest is dropped with preemption
    /// on.
    fn leave(self) -> Option<Self::Remainder>;

    /// Leaves for `g`, which was ended where it stood.
    fn abandoned(self, g: GRef);
}

/// A member of nothing.
#[derive(Debug)]
pub(crate) struct Alone;

impl Member for Alone {
    const ALONE: bool = true;
    type Remainder = ();

    fn unclaimed(&self, error: JoinError) {
        report_unseen(error, own_id());
    }

    fn leave(self) -> Option<()> {
        None
    }

    fn abandoned(self, g: GRef) {
        close_all(g);
    }
}

/// The members, and the one G that waits for them.
#[derive(Debug)]
pub struct Group {
    /// Members that have not left, and the opener's share.
    running: AtomicUsize,
    failed: AtomicBool,
    /// Written by the holder of the opener's share, before it gives the share up. Read by the G
    /// that made `running` 0.
    end: UnsafeCell<End>,
    /// The group in which this one was opened by the same G. Set once, before others know the
    /// group.
    outer: *const Group,
    /// [`orphan`], found through the group: so an image that opens no group contains nothing of it.
    orphan: fn(GRef, Option<Arc<Group>>),
}

/// The action for the moment when the last one has left.
#[derive(Debug)]
enum End {
    /// The opener looks itself.
    Nothing,
    /// Ready this G.
    Wake(GRef),
    /// Give up a share in this group.
    Heir(Arc<Group>),
    /// Give up the frames of this G, which nobody borrows from any more; then a share in this
    /// group, if there is one.
    Orphan(GRef, Option<Arc<Group>>),
}

// SAFETY: `end` passes from the opener to the last one through `running`; `outer` never changes,
// and is used by the opener's undertaker only.
unsafe impl Sync for Group {}
// SAFETY: nothing in a group belongs to one core, and `end` passes from the opener to the last one
// through `running`.
unsafe impl Send for Group {}

impl Group {
    /// Opens a group without members, for the calling G. The same G must [wait](Self::wait) for its
    /// groups, innermost first.
    pub fn open() -> Arc<Self> {
        let group = Arc::new(Self::new(1, with_g(|g| g.scope.get()).cast()));
        with_g(|g| g.scope.set(Arc::as_ptr(&group).cast()));
        group
    }

    pub(crate) fn new(shares: usize, outer: *const Self) -> Self {
        let (running, failed) = (AtomicUsize::new(shares), AtomicBool::new(false));
        Self { running, failed, end: UnsafeCell::new(End::Nothing), outer, orphan }
    }

    /// Adds one more member. The caller has a share.
    pub fn enter(&self) {
        // Relaxed: a share is held, so the count can't reach 0 meanwhile.
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a member came to a bad end that nobody saw.
    pub fn fail(&self) {
        // Relaxed: the member's share is given up after this.
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Gives up one share. With preemption off.
    pub fn leave(self: Arc<Self>) {
        let mut group = self;
        // AcqRel: Release publishes the work of this member. Acquire lets the last one see the work
        // of all, and the G that waits.
        while group.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: only the one that made it 0 comes here, and the writer of `end` had a share.
            let end = group.end.with_mut(|end| core::mem::replace(unsafe { &mut *end }, End::Nothing));
            match end {
                End::Nothing => return,
                End::Wake(g) => return ready(&PreemptGuard::new(), g),
                End::Heir(heir) => group = heir,
                End::Orphan(g, heir) => {
                    unlend(g);
                    match heir {
                        Some(heir) => group = heir,
                        None => return,
                    }
                }
            }
        }
    }

    /// Parks until all members have left, and closes the group. True: one of them
    /// [failed](Self::fail). By the opener, once.
    pub fn wait(&self) -> bool {
        // Acquire: pairs with the Release of each member's `leave`. With the opener's share alone
        // nobody is left to add one.
        if self.running.load(Ordering::Acquire) > 1 {
            let guard = PreemptGuard::new();
            let g = current_g(&guard);
            // SAFETY: the opener's share is still held.
            self.end.with_mut(|end| unsafe { *end = End::Wake(g) });
            let arg = core::ptr::from_ref(self).cast_mut().cast();
            // SAFETY: 1. the last member readies it once, or there is none and `commit_wait`
            // returns false. 2. the caller holds the group.
            drop(unsafe { park(guard, WaitReason::Scope, commit_wait, arg) });
        }
        // Release, as far as the compiler is concerned: before the caller lets go of the group.
        with_g(|g| g.scope.set(self.outer.cast()));
        self.failed.load(Ordering::Relaxed)
    }
}

unsafe fn commit_wait(group: *mut (), _: GRef) -> bool {
    // SAFETY: `wait` passed its group, which its G holds.
    let group = unsafe { &*group.cast::<Group>() };
    // AcqRel: Release publishes `end` and the saved registers to the last member's Acquire;
    // Acquire, if the opener is the last.
    group.running.fetch_sub(1, Ordering::AcqRel) != 1
}

/// Closes the groups that `g` had open, if any, for a G that is a member of none. With preemption
/// off.
pub(crate) fn close_all(g: GRef) {
    // SAFETY: it names a group whose opener is `g`, or none; the `Arc` that its frames hold is
    // still there.
    match unsafe { g.scope.get().cast::<Group>().as_ref() } {
        Some(group) => (group.orphan)(g, None),
        None => unlend(g),
    }
}

/// Notes that nobody borrows from the frames of `g` any more. With preemption off.
fn unlend(g: GRef) {
    if g.grave.unlent() {
        give_up_frames(g, &PreemptGuard::new());
    }
}

/// Gives away the groups that `g` had open, and its membership in `heir`; see INV-HEIR. With
/// preemption off.
pub(crate) fn orphan(g: GRef, heir: Option<Arc<Group>>) {
    let mut inner = g.scope.replace(core::ptr::null()).cast::<Group>();
    // SAFETY: it names a group whose opener is `g`, or none; the `Arc` that its frames held is
    // never dropped.
    if let Some(group) = unsafe { inner.as_ref() }
        && group.running.load(Ordering::Acquire) == 0
    {
        // The opener has waited for it already, and died on the way back.
        inner = group.outer;
    }
    if inner.is_null() {
        unlend(g);
        return heir.into_iter().for_each(Group::leave);
    }
    let (mut at, mut heir) = (inner, heir);
    // SAFETY: `at` names a group whose opener is `g`: `inner`, or the `outer` of one. The `Arc`
    // that the frames of `g` held on it is never dropped.
    while let Some(group) = unsafe { at.as_ref() } {
        let next = group.outer;
        let bequeath = if next.is_null() {
            End::Orphan(g, heir.take())
        } else {
            // SAFETY: the `Arc` in the frames of `g` is taken over from there, once.
            End::Heir(unsafe { Arc::from_raw(next) })
        };
        // SAFETY: the opener's share is still held: it is given up below, or by the group further
        // in.
        group.end.with_mut(|end| unsafe { *end = bequeath });
        at = next;
    }
    // SAFETY: the frames of `g` held this `Arc` and are never read again, so the count is taken
    // over once.
    unsafe { Arc::from_raw(inner) }.leave();
}

/// Returns the number of the calling G.
#[cold]
pub(crate) fn own_id() -> u64 {
    with_g(G::id)
}

/// Runs `f` on the calling G, which stays the same whatever core it is on.
fn with_g<R>(f: impl FnOnce(GRef) -> R) -> R {
    let guard = PreemptGuard::new();
    f(current_g(&guard))
}
