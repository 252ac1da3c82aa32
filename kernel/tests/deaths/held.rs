//! Everything that can be held, by a goroutine that dies of each cause.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::sync::{LazyLock, Mutex, Once, OnceLock, RwLock};

use crate::deep::{KIB, deep, until};
use crate::{ALL, Death, die, died, is_gone, is_told, quiet, waiting};

/// The holder's and its judge's marks; one of each at a time.
static HELD: AtomicBool = AtomicBool::new(false);
static GO: AtomicBool = AtomicBool::new(false);
static HOW: AtomicUsize = AtomicUsize::new(0);

/// The part of a holder: says that it holds the thing, and dies when it is told to.
fn hold_and_die() {
    HELD.store(true, SeqCst);
    until(|| GO.load(SeqCst));
    die(ALL[HOW.load(SeqCst)]);
}

trait Thing: Send + Sync + Sized + 'static {
    /// The thing's name in the panic's message.
    const WHAT: &'static str;
    const REASON: WaitReason;
    fn new() -> Self;
    /// Takes it, and [dies](hold_and_die).
    fn hold(self: &Arc<Self>);
    /// Wants it.
    fn want(&self);
    /// Tries to get it, and returns true if that was granted.
    fn try_it(&self) -> bool;
    fn is_poisoned(&self) -> bool {
        false
    }
}

impl Thing for Mutex<u32> {
    const WHAT: &'static str = "Mutex at 0x";
    const REASON: WaitReason = WaitReason::Mutex;
    fn new() -> Self {
        Mutex::new(0)
    }
    fn hold(self: &Arc<Self>) {
        let _held = self.lock().unwrap();
        hold_and_die();
    }
    fn want(&self) {
        drop(self.lock());
    }
    fn try_it(&self) -> bool {
        !matches!(self.try_lock(), Err(sync::TryLockError::WouldBlock))
    }
    fn is_poisoned(&self) -> bool {
        self.is_poisoned()
    }
}

/// Written by the holder, wanted for reading.
struct Written(RwLock<u32>);

impl Thing for Written {
    const WHAT: &'static str = "RwLock at 0x";
    const REASON: WaitReason = WaitReason::RwLockRead;
    fn new() -> Self {
        Self(RwLock::new(0))
    }
    fn hold(self: &Arc<Self>) {
        let _held = self.0.write().unwrap();
        hold_and_die();
    }
    fn want(&self) {
        drop(self.0.read());
    }
    fn try_it(&self) -> bool {
        self.0.try_read().is_ok() || self.0.try_write().is_ok()
    }
    fn is_poisoned(&self) -> bool {
        self.0.is_poisoned()
    }
}

/// Written by the holder, wanted for writing.
struct Rewritten(Written);

impl Thing for Rewritten {
    const WHAT: &'static str = "RwLock at 0x";
    const REASON: WaitReason = WaitReason::RwLockWrite;
    fn new() -> Self {
        Self(Written::new())
    }
    fn hold(self: &Arc<Self>) {
        let _held = self.0.0.write().unwrap();
        hold_and_die();
    }
    fn want(&self) {
        drop(self.0.0.write());
    }
    fn try_it(&self) -> bool {
        self.0.try_it()
    }
}

/// Read by the holder, wanted for writing.
struct Read(RwLock<u32>);

impl Thing for Read {
    const WHAT: &'static str = "RwLock at 0x";
    const REASON: WaitReason = WaitReason::RwLockWrite;
    fn new() -> Self {
        Self(RwLock::new(0))
    }
    fn hold(self: &Arc<Self>) {
        let _held = self.0.read().unwrap();
        hold_and_die();
    }
    fn want(&self) {
        drop(self.0.write());
    }
    fn try_it(&self) -> bool {
        self.0.try_write().is_ok()
    }
    fn is_poisoned(&self) -> bool {
        // Reading takes nothing away from readers.
        drop(self.0.read().unwrap());
        self.0.try_read().is_err()
    }
}

impl Thing for Once {
    const WHAT: &'static str = "Once at 0x";
    const REASON: WaitReason = WaitReason::Once;
    fn new() -> Self {
        Once::new()
    }
    fn hold(self: &Arc<Self>) {
        self.call_once(hold_and_die);
    }
    fn want(&self) {
        self.call_once_force(|_| ());
    }
    fn try_it(&self) -> bool {
        self.is_completed()
    }
}

/// Waited for, and not done.
struct Awaited(Once);

impl Thing for Awaited {
    const WHAT: &'static str = "Once at 0x";
    const REASON: WaitReason = WaitReason::Once;
    fn new() -> Self {
        Self(Once::new())
    }
    fn hold(self: &Arc<Self>) {
        self.0.call_once(hold_and_die);
    }
    fn want(&self) {
        self.0.wait_force();
    }
    fn try_it(&self) -> bool {
        self.0.is_completed()
    }
}

impl Thing for OnceLock<u32> {
    const WHAT: &'static str = "Once at 0x";
    const REASON: WaitReason = WaitReason::Once;
    fn new() -> Self {
        OnceLock::new()
    }
    fn hold(self: &Arc<Self>) {
        self.get_or_init(|| {
            hold_and_die();
            1
        });
    }
    fn want(&self) {
        self.get_or_init(|| 2);
    }
    fn try_it(&self) -> bool {
        self.get().is_some()
    }
}

impl Thing for LazyLock<u32> {
    const WHAT: &'static str = "Once at 0x";
    const REASON: WaitReason = WaitReason::Once;
    fn new() -> Self {
        LazyLock::new(|| {
            hold_and_die();
            1
        })
    }
    fn hold(self: &Arc<Self>) {
        LazyLock::force(self);
    }
    fn want(&self) {
        LazyLock::force(self);
    }
    fn try_it(&self) -> bool {
        LazyLock::get(self).is_some()
    }
}

/// Lets a holder die. Checks its waiters, later G's, and G's that come when others have lived and
/// died in the holder's record.
fn held<T: Thing>(how: Death) {
    let thing = Arc::new(T::new());
    HELD.store(false, SeqCst);
    GO.store(false, SeqCst);
    HOW.store(ALL.iter().position(|&death| death == how).unwrap(), SeqCst);
    let before = died();
    let holder = {
        let thing = thing.clone();
        Builder::new().name("holder").spawn(move || thing.hold()).unwrap()
    };
    until(|| HELD.load(SeqCst));
    let wants = |name: &str| {
        let thing = thing.clone();
        Builder::new().name(name).spawn(move || thing.want()).unwrap()
    };
    let waiters: Vec<_> = (0..3).map(|_| wants("waiter")).collect();
    until(|| waiting(T::REASON) == 3);
    let parts = [T::WHAT, "stays held by G", "\"holder\"", how.cause()];
    GO.store(true, SeqCst);
    assert!(how.is(&holder.join()), "{how:?}");
    // At once, while the others may not even know.
    is_told(wants("early").join(), &parts);
    waiters.into_iter().for_each(|waiter| is_told(waiter.join(), &parts));
    let others = || {
        is_told(wants("late").join(), &parts);
        assert!(!thing.try_it(), "what a dead goroutine holds was granted");
        assert!(!thing.is_poisoned(), "a death has poisoned");
    };
    others();
    is_gone(before + 1);
    others();
    // Others on other stacks, with the same records.
    let lived: Vec<_> = (0..40).map(|i| go(move || deep(20 * KIB, i))).collect();
    lived.into_iter().for_each(|g| assert_eq!(g.join().unwrap(), 0));
    assert!(how.is(&go(move || die(how)).join()));
    others();
}

fn each_held(how: Death) {
    quiet();
    held::<Mutex<u32>>(how);
    held::<Written>(how);
    held::<Rewritten>(how);
    held::<Read>(how);
    held::<Once>(how);
    held::<Awaited>(how);
    held::<OnceLock<u32>>(how);
    held::<LazyLock<u32>>(how);
}

pub fn what_an_overflow_held_is_granted_to_nobody() {
    each_held(Death::Overflow);
}

pub fn what_lack_of_memory_held_is_granted_to_nobody() {
    each_held(Death::NoMemory);
}

pub fn what_a_second_panic_held_is_granted_to_nobody() {
    each_held(Death::SecondPanic);
}
