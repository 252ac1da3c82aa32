//! A death grants nothing: every primitive, held, waited for, leaked or lent by a goroutine that
//! ends where it stands, by each of the ways to do so.
#![no_std]
#![no_main]

#[path = "support/deep.rs"]
mod deep;
mod support;

use core::hint::black_box;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};

use deep::{KIB, deep, until};
use trefoil::JoinError;
use trefoil::panic;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, WaitGroup};
use trefoil::testing::deaths::{is_round_pending, pretend};
use trefoil::testing::inject;

image! {
    what_an_overflow_held_is_granted_to_nobody: "expect \"holder\" has used up its window";
    what_lack_of_memory_held_is_granted_to_nobody: "expect no frame for the stack of";
    what_a_second_panic_held_is_granted_to_nobody: "expect panic without a way out";
    a_leaked_guard_is_no_dead_ones;
    what_was_lent_stays_lent;
    a_condition_s_mutex_may_have_died_meanwhile;
    permits_are_lost_and_waits_end_by_their_time;
    of_two_readers_the_last_that_lives_tells;
    a_dead_member_is_named_to_who_waits_for_all;
    what_a_select_was_promised_is_given_back;
    a_leaked_promise_outlives_its_channel;
    who_waits_on_a_dead_stack_is_told: "expect dies_here";
    who_waits_for_a_leaked_guard_is_in_the_report:
        "exit 1 | expect deadlock | expect [mutex lock] waits for 0x | expect held by G | expect , which has ended";
    of_two_dead_readers_the_report_shows_who_waits: "exit 1 | expect deadlock | expect [rwlock write] waits for 0x";
    a_look_costs_the_same_after_ten_thousand_deaths: "smp 1 | icount";
    a_round_among_many_does_not_hold_the_core: "smp 1 | icount | mem 512M";
}

/// How a goroutine ends where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    Overflow,
    NoMemory,
    SecondPanic,
}

const ALL: [Death; 3] = [Death::Overflow, Death::NoMemory, Death::SecondPanic];

impl Death {
    /// What is said of it.
    fn cause(self) -> &'static str {
        match self {
            Self::Overflow => "which died of stack overflow",
            Self::NoMemory => "which died of lack of memory",
            Self::SecondPanic => "which died of a panic in a destructor",
        }
    }

    /// Whether that is what a join came to.
    fn is<T>(self, joined: &Result<T, JoinError>) -> bool {
        match joined {
            Err(JoinError::StackOverflow) => self == Self::Overflow,
            Err(JoinError::OutOfMemory) => self == Self::NoMemory,
            Err(error @ JoinError::Panicked(_)) => {
                self == Self::SecondPanic && error.message() == Some("the second one")
            }
            _ => false,
        }
    }
}

/// Recursion without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// The goroutine that calls ends where it stands.
#[inline(never)]
fn die(how: Death) {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("the second one");
        }
    }
    match how {
        Death::Overflow => _ = black_box(glut(0)),
        Death::NoMemory => {
            // The next page that a stack on this core grows by. (Twice, should this goroutine come
            // to another core in between.)
            loop {
                inject::fail_after(1);
                black_box(deep(40 * KIB, 1));
                inject::off();
                black_box(deep(80 * KIB, 1));
                inject::fail_after(1);
                black_box(deep(200 * KIB, 1));
            }
        }
        Death::SecondPanic => {
            let _grenade = Grenade;
            panic!("the first one");
        }
    }
}

/// Panics are expected here, by the dozen.
fn quiet() {
    panic::set_hook(Box::new(|_| {}));
}

/// One more goroutine has died, and its memory has been taken away.
fn is_gone(died: u64) {
    until(|| !is_round_pending());
    let scavenged = || {
        runtime::scavenge();
        let stacks = runtime::stats().memory.stacks;
        (stacks.retired >= died).then_some(stacks.pages)
    };
    // Until there is nothing more to take.
    let mut before = None;
    loop {
        let pages = scavenged();
        if pages.is_some() && pages == before {
            return;
        }
        before = pages;
        runtime::yield_now();
    }
}

fn died() -> u64 {
    runtime::stats().memory.abandoned
}

/// Asserts that `joined` came to a panic that tells of all of `parts`.
fn is_told<T>(joined: Result<T, JoinError>, parts: &[&str]) {
    let error = joined.err().expect("what a dead goroutine holds was granted");
    let message = error.message().expect("another end than a panic");
    assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
}

// --- Everything that can be held

/// The holder's and its judge's marks; one of each at a time.
static HELD: AtomicBool = AtomicBool::new(false);
static GO: AtomicBool = AtomicBool::new(false);
static HOW: AtomicUsize = AtomicUsize::new(0);

/// What a holder does with the thing held: says so, and dies when it is told to.
fn hold_and_die() {
    HELD.store(true, SeqCst);
    until(|| GO.load(SeqCst));
    die(ALL[HOW.load(SeqCst)]);
}

trait Thing: Send + Sync + Sized + 'static {
    /// What the panic calls it.
    const WHAT: &'static str;
    const REASON: WaitReason;
    fn new() -> Self;
    /// Takes it, and [dies](hold_and_die).
    fn hold(self: &Arc<Self>);
    /// Wants it.
    fn want(&self);
    /// Tries to get it; whether that was granted.
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

fn waiting(reason: WaitReason) -> usize {
    runtime::goroutines().iter().filter(|g| g.name == "waiter" && g.wait_reason == reason).count()
}

/// Holder, waiters, those who come later, and those who come when others have lived and died where
/// the holder did.
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

fn what_an_overflow_held_is_granted_to_nobody() {
    each_held(Death::Overflow);
}

fn what_lack_of_memory_held_is_granted_to_nobody() {
    each_held(Death::NoMemory);
}

fn what_a_second_panic_held_is_granted_to_nobody() {
    each_held(Death::SecondPanic);
}

/// A guard that was leaked by a goroutine that ended in good order stays what it is, whoever dies
/// later and wherever.
fn a_leaked_guard_is_no_dead_ones() {
    quiet();
    let mutex: &'static Mutex<u64> = Box::leak(Box::new(Mutex::new(7)));
    let written: &'static RwLock<u64> = Box::leak(Box::new(RwLock::new(7)));
    let read: &'static RwLock<u64> = Box::leak(Box::new(RwLock::new(7)));
    let mine: &'static mut u64 = go(move || {
        core::mem::forget((written.write(), read.read()));
        &mut **Box::leak(Box::new(mutex.lock().unwrap()))
    })
    .join()
    .unwrap();
    for how in ALL {
        for _ in 0..3 {
            let before = died();
            assert!(how.is(&go(move || die(how)).join()));
            is_gone(before + 1);
        }
        assert!(matches!(mutex.try_lock(), Err(sync::TryLockError::WouldBlock)));
        assert!(written.try_write().is_err() && written.try_read().is_err());
        assert!(read.try_write().is_err() && read.try_read().is_ok());
        assert!(!mutex.is_poisoned() && !written.is_poisoned() && !read.is_poisoned());
        *mine += 1;
    }
    assert_eq!(*mine, 10);
}

/// The holder has lent what it locked to a child, and dies: nobody else gets it while the child has
/// it, nor later.
fn what_was_lent_stays_lent() {
    quiet();
    for how in ALL {
        let mutex: &'static Mutex<u64> = Box::leak(Box::new(Mutex::new(0)));
        let rwlock: &'static RwLock<u64> = Box::leak(Box::new(RwLock::new(0)));
        let (up, ups) = chan::bounded::<()>(1);
        let (go_on, goes_on) = chan::bounded::<()>(0);
        let (said, says) = chan::bounded::<(u64, u64)>(1);
        let before = died();
        let opener = Builder::new().name("opener").spawn(move || {
            let (mut locked, mut written) = (mutex.lock().unwrap(), rwlock.write().unwrap());
            let (mine, ours): (&mut u64, &mut u64) = (&mut locked, &mut written);
            scope(|s| {
                s.go(move || {
                    (*mine, *ours) = (1, 1);
                    up.send(()).unwrap();
                    goes_on.recv().unwrap();
                    said.send((*black_box(mine), *black_box(ours))).unwrap();
                });
                ups.recv().unwrap();
                die(how);
            });
        });
        assert!(how.is(&opener.unwrap().join()));
        let parts = ["\"opener\"", how.cause()];
        is_told(go(move || *mutex.lock().unwrap() += 1).join(), &parts);
        is_told(go(move || *rwlock.write().unwrap() += 1).join(), &parts);
        is_told(go(move || *rwlock.read().unwrap()).join(), &parts);
        assert!(mutex.try_lock().is_err() && rwlock.try_read().is_err() && rwlock.try_write().is_err());
        go_on.send(()).unwrap();
        assert_eq!(says.recv(), Ok((1, 1)), "somebody else was let in");
        is_gone(before + 1);
        is_told(go(move || *mutex.lock().unwrap() += 1).join(), &parts);
    }
}

/// Who waits for a condition, with a deadline or without, locks the mutex again afterwards: its
/// holder may have died.
fn a_condition_s_mutex_may_have_died_meanwhile() {
    quiet();
    for how in ALL {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let waits = |timed: bool| {
            let pair = pair.clone();
            Builder::new().name("waiter").spawn(move || {
                let guard = pair.0.lock().unwrap();
                if timed {
                    drop(pair.1.wait_timeout(guard, Duration::from_millis(5)));
                } else {
                    drop(pair.1.wait(guard));
                }
            })
        };
        let waiters = [waits(false).unwrap(), waits(false).unwrap(), waits(true).unwrap()];
        until(|| waiting(WaitReason::Condvar) >= 2);
        let holds = pair.clone();
        let holder = Builder::new().name("holder").spawn(move || {
            let _held = holds.0.lock().unwrap();
            // By then its time is over, and it waits for the mutex.
            time::sleep(Duration::from_millis(20));
            die(how);
        });
        assert!(how.is(&holder.unwrap().join()));
        pair.1.notify_all();
        let mut told = 0;
        for waiter in waiters {
            match waiter.join() {
                // Its time was over before the holder came.
                Ok(()) => {}
                joined => {
                    is_told(joined, &["Mutex at 0x", "\"holder\"", how.cause()]);
                    told += 1;
                }
            }
        }
        assert!(told >= 2);
        assert!(pair.0.try_lock().is_err(), "a waiter that was told has unlocked for the dead one");
    }
}

fn permits_are_lost_and_waits_end_by_their_time() {
    quiet();
    for how in ALL {
        let semaphore = Arc::new(Semaphore::new(2));
        let (holds, waits) = (semaphore.clone(), semaphore.clone());
        let holder = go(move || {
            let _permits = holds.acquire_many(2);
            die(how);
        });
        assert!(how.is(&holder.join()));
        assert!(semaphore.try_acquire().is_none() && semaphore.available_permits() == 0);
        assert!(semaphore.acquire_timeout(Duration::from_millis(2)).is_none());
        let waiter = Builder::new().name("waiter").spawn(move || drop(waits.acquire())).unwrap();
        until(|| waiting(WaitReason::Semaphore) == 1);
        assert!(how.is(&go(move || die(how)).join()));
        until(|| !is_round_pending());
        assert_eq!(waiting(WaitReason::Semaphore), 1, "what is lost was granted");
        semaphore.add_permits(1);
        waiter.join().unwrap();
    }
}

fn of_two_readers_the_last_that_lives_tells() {
    quiet();
    for how in ALL {
        let lock = Arc::new(RwLock::new(5));
        let (in_it, out) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let reads = |dies: bool| {
            let (lock, in_it, out) = (lock.clone(), in_it.clone(), out.clone());
            Builder::new().name("reader").spawn(move || {
                let value = lock.read().unwrap();
                in_it.fetch_add(1, SeqCst);
                until(|| out.load(SeqCst) || dies && in_it.load(SeqCst) == 2);
                if dies {
                    die(how);
                }
                *value
            })
        };
        let (lives, dead) = (reads(false).unwrap(), reads(true).unwrap());
        assert!(how.is(&dead.join()));
        let writes = lock.clone();
        let writer = Builder::new().name("waiter").spawn(move || *writes.write().unwrap() = 6).unwrap();
        until(|| waiting(WaitReason::RwLockWrite) == 1);
        // Behind the writer, who is in front of it.
        let reads = lock.clone();
        let reader = Builder::new().name("waiter").spawn(move || *reads.read().unwrap()).unwrap();
        until(|| waiting(WaitReason::RwLockRead) == 1);
        out.store(true, SeqCst);
        assert_eq!(lives.join().unwrap(), 5);
        is_told(writer.join(), &["RwLock at 0x", "\"reader\"", how.cause()]);
        assert_eq!(reader.join().unwrap(), 5, "a dead reader takes nothing away from readers");
        assert_eq!(*lock.try_read().unwrap(), 5);
    }
}

fn a_dead_member_is_named_to_who_waits_for_all() {
    quiet();
    for how in ALL {
        let group = Arc::new(WaitGroup::new());
        let dies = Arc::new(AtomicBool::new(false));
        let told = dies.clone();
        group.go(move || {
            until(|| told.load(SeqCst));
            die(how);
        });
        group.go(runtime::yield_now);
        let waits = |group: Arc<WaitGroup>| Builder::new().name("waiter").spawn(move || group.wait()).unwrap();
        let waiters = [waits(group.clone()), waits(group.clone())];
        until(|| waiting(WaitReason::WaitGroup) == 2);
        dies.store(true, SeqCst);
        let parts = ["WaitGroup at 0x", "stays held by G", how.cause()];
        waiters.into_iter().for_each(|waiter| is_told(waiter.join(), &parts));
        is_told(waits(group.clone()).join(), &parts);
        // One whose `f` has come to its end is done, however it ends afterwards.
        goroutine_local! { static LAST: Last = Last; }
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                black_box(glut(0));
            }
        }
        let (group, before) = (Arc::new(WaitGroup::new()), died());
        group.go(|| LAST.with(|_| ()));
        group.wait();
        until(|| died() == before + 1);
        group.add(1);
        let done = group.clone();
        drop(go(move || done.done()));
        group.wait();
    }
}

/// Dies when a dynamic select has chosen to send, before there is a value.
fn is_promised_and_dies(tx: &Sender<u32>, how: Death) {
    let tx = tx.clone();
    let joined = go(move || {
        let mut select = select::Select::new();
        select.send(&tx);
        let _chosen = select.select();
        die(how);
    })
    .join();
    assert!(how.is(&joined));
}

/// A receiver that waits in each of the ways, a place in the ring, nothing at a closed channel.
fn what_a_select_was_promised_is_given_back() {
    quiet();
    const LONG: Duration = Duration::from_secs(1000);
    const MANY: usize = 200;
    type Receive = fn(&Receiver<u32>) -> Option<u32>;
    let ways: [(Receive, WaitReason); 3] = [
        (|rx| rx.recv().ok(), WaitReason::ChanRecv),
        (|rx| rx.recv_timeout(LONG).ok(), WaitReason::ChanRecv),
        (|rx| select! { recv(rx) -> value => value.ok() }, WaitReason::Select),
    ];
    for how in ALL {
        for (receive, reason) in ways {
            for room in [0, 1] {
                let (tx, rx) = chan::bounded(room);
                let receiver = Builder::new().name("waiter").spawn(move || receive(&rx)).unwrap();
                until(|| waiting(reason) == 1);
                is_promised_and_dies(&tx, how);
                // It waits on, and again for somebody who dies.
                until(|| waiting(reason) == 1);
                is_promised_and_dies(&tx, how);
                tx.send(5).unwrap();
                assert_eq!(receiver.join().unwrap(), Some(5));
            }
        }
        let (tx, rx) = chan::bounded(2);
        tx.send(1).unwrap();
        is_promised_and_dies(&tx, how);
        assert_eq!(tx.try_send(2), Ok(()), "a place is lost");
        assert!(tx.try_send(3).is_err(), "a place was given back twice");
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
        // A sender waits for the place.
        tx.send(1).unwrap();
        let (promised, dies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let victim = {
            let (tx, promised, dies) = (tx.clone(), promised.clone(), dies.clone());
            go(move || {
                let mut select = select::Select::new();
                select.send(&tx);
                let _chosen = select.select();
                promised.store(true, SeqCst);
                until(|| dies.load(SeqCst));
                die(how);
            })
        };
        until(|| promised.load(SeqCst));
        let sends = tx.clone();
        let sender = Builder::new().name("waiter").spawn(move || sends.send(2)).unwrap();
        until(|| waiting(WaitReason::ChanSend) == 1);
        dies.store(true, SeqCst);
        assert!(how.is(&victim.join()));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
        // More than is given back at once.
        let (many, takes) = chan::bounded(MANY);
        let all = many.clone();
        let victim = go(move || {
            let promise = |_| {
                let mut select = select::Select::new();
                select.send(&all);
                select.select()
            };
            let chosen: Vec<_> = (0..MANY).map(promise).collect();
            assert!(all.try_send(1).is_err());
            die(how);
            drop(chosen);
        });
        assert!(how.is(&victim.join()));
        // Its joiner may be faster than the undertaker.
        let free = AtomicUsize::new(0);
        until(|| free.fetch_add(usize::from(many.try_send(1).is_ok()), SeqCst) == MANY);
        assert!(many.try_send(1).is_err(), "a place was given back twice");
        drop(takes);
        tx.close();
        is_promised_and_dies(&tx, how);
        assert!(tx.try_send(3).is_err() && rx.recv().is_err());
    }
}

/// Who leaks what was chosen has a promise for ever. Its death gives that back if there still is a
/// channel; the next life of its record does not.
fn a_leaked_promise_outlives_its_channel() {
    quiet();
    fn leak(tx: &Sender<u32>) {
        let mut select = select::Select::new();
        select.send(tx);
        core::mem::forget(select.select());
    }
    for how in ALL {
        let (kept, keeps) = chan::bounded(1);
        let promised = kept.clone();
        let dies = go(move || {
            for _ in 0..3 {
                let (tx, rx) = chan::bounded(1);
                leak(&tx);
                assert!(tx.try_send(1).is_err());
                drop((tx, rx));
            }
            leak(&promised);
            // Of two that it has, the older one is used.
            let (tx, rx) = chan::bounded(2);
            let mut select = select::Select::new();
            select.send(&tx);
            let chosen = select.select();
            leak(&tx);
            assert_eq!(chosen.send(&tx, 7), Ok(()));
            assert_eq!(rx.recv(), Ok(7));
            die(how);
        });
        assert!(how.is(&dies.join()));
        assert_eq!(kept.try_send(2), Ok(()));
        assert_eq!(keeps.recv(), Ok(2));
        // Lives that end well leave it, and the deaths of those who come after them.
        let leaks = kept.clone();
        go(move || leak(&leaks)).join().unwrap();
        // (One after the other: memory fails on one core at a time.)
        for _ in 0..24 {
            assert!(how.is(&go(move || die(how)).join()));
        }
        assert!(kept.try_send(3).is_err());
    }
}

/// What a child of a scope says of its wait for something that lies on the opener's stack.
fn tells(to: &Sender<String>, wait: impl FnOnce()) {
    let caught = panic::catch_unwind(AssertUnwindSafe(wait));
    let text = match &caught {
        Ok(()) => "it has come to its end",
        Err(payload) => payload.downcast_ref::<String>().map_or("(no message)", |text| text.as_str()),
    };
    to.send(text.to_string()).unwrap();
}

fn who_waits_on_a_dead_stack_is_told() {
    quiet();
    const CHILDREN: usize = 8;
    for how in ALL {
        let before = died();
        let (said, says) = chan::unbounded::<String>();
        let opener = Builder::new().name("dies_here").spawn(move || {
            let (mutex, condvar, semaphore) = (Mutex::new(0), Condvar::new(), Semaphore::new(0));
            let (barrier, group, once) = (Barrier::new(5), WaitGroup::new(), Once::new());
            let (mine, long) = (Mutex::new(0), Duration::from_secs(1000));
            group.add(1);
            let _mine = mine.lock();
            let a = || drop(condvar.wait(mutex.lock().unwrap()));
            let b = || drop(condvar.wait_timeout(mutex.lock().unwrap(), long));
            let c = || drop(semaphore.acquire());
            let d = || drop(semaphore.acquire_timeout(long));
            let e = || _ = barrier.wait();
            let f = || group.wait();
            let g = || drop(mine.lock());
            let h = || once.call_once(|| ());
            let all: [&(dyn Fn() + Sync); CHILDREN] = [&a, &b, &c, &d, &e, &f, &g, &h];
            once.call_once(|| {
                scope(|s| {
                    for wait in all {
                        let said = said.clone();
                        s.go(move || tells(&said, wait));
                    }
                    let reasons = |g: &runtime::GInfo| g.wait_reason != WaitReason::None;
                    until(|| runtime::goroutines().iter().filter(|g| reasons(g)).count() > CHILDREN);
                    die(how);
                });
            });
        });
        assert!(how.is(&opener.unwrap().join()));
        let (mut held, mut lies) = (0, 0);
        for _ in 0..CHILDREN {
            let text = says.recv().unwrap();
            assert!(text.contains("\"dies_here\"") && text.contains(how.cause()), "{text}");
            held += u32::from(text.contains("stays held by"));
            lies += u32::from(text.contains("lies on the stack of"));
        }
        assert_eq!((held, lies), (2, 6));
        is_gone(before + 1);
    }
}

fn who_waits_for_a_leaked_guard_is_in_the_report() {
    let mutex = Arc::new(Mutex::new(()));
    let leaks = mutex.clone();
    go(move || core::mem::forget(leaks.lock())).join().unwrap();
    // Its record lives again.
    assert_eq!(go(|| 5).join().unwrap(), 5);
    drop(mutex.lock());
}

/// Nobody can tell that both are dead: the limit that `RwLock` speaks of. Nothing is granted, and
/// nothing hangs without being shown.
fn of_two_dead_readers_the_report_shows_who_waits() {
    quiet();
    let lock = Arc::new(RwLock::new(()));
    let in_it = Arc::new(AtomicU32::new(0));
    let reads = || {
        let (lock, in_it) = (lock.clone(), in_it.clone());
        go(move || {
            let _held = lock.read().unwrap();
            in_it.fetch_add(1, SeqCst);
            until(|| in_it.load(SeqCst) == 2);
            die(Death::Overflow);
        })
    };
    for dead in [reads(), reads()] {
        assert!(dead.join().is_err());
    }
    assert!(lock.try_read().is_ok() && lock.try_write().is_err());
    drop(lock.write());
}

fn ticks() -> u64 {
    trefoil::arch::clock::ticks()
}

/// Instructions for a mutex that changes hands twice, with two who wait for each other, and for an
/// attempt in vain.
fn looks() -> u64 {
    let mutex = Arc::new(Mutex::new(()));
    let mut least = u64::MAX;
    for _ in 0..20 {
        let held = mutex.lock().unwrap();
        let theirs = mutex.clone();
        let other = go(move || drop(theirs.lock().unwrap()));
        let begin = ticks();
        // The other one comes, looks, and parks.
        runtime::yield_now();
        assert!(mutex.try_lock().is_err());
        least = least.min(ticks() - begin);
        drop(held);
        other.join().unwrap();
    }
    least
}

fn a_look_costs_the_same_after_ten_thousand_deaths() {
    quiet();
    let none = looks();
    for how in ALL {
        assert!(how.is(&go(move || die(how)).join()));
    }
    is_gone(3);
    let few = looks();
    // Of numbers that nobody has: as spread, and as dense, as those of deaths are.
    for i in 0..10_000u64 {
        assert!(pretend(1 << 40 | i << (i % 3)));
    }
    let many = looks();
    println!("a look at a held mutex: {none} instructions, {few} after 3 deaths, {many} after 10,000");
    assert!(few <= none + 60 && many <= none + 100, "a look costs {none}, {few}, {many} instructions");
}

fn a_round_among_many_does_not_hold_the_core() {
    quiet();
    const MANY: usize = 20_000;
    let mutex = Arc::new(Mutex::new(()));
    let (tx, rx) = chan::bounded::<()>(0);
    let held = mutex.lock().unwrap();
    let parked: Vec<_> = (0..MANY)
        .map(|i| {
            let (rx, mutex) = (rx.clone(), mutex.clone());
            // Half of them wait for something that could be lost, and is not.
            go(move || if i % 2 == 0 { drop(mutex.lock()) } else { _ = rx.recv() })
        })
        .collect();
    runtime::yield_now();
    assert!(go(|| die(Death::SecondPanic)).join().is_err());
    let (mut last, mut longest, mut turns) = (ticks(), 0, 0u32);
    while is_round_pending() {
        runtime::yield_now();
        let now = ticks();
        longest = longest.max(now - last);
        last = now;
        turns += 1;
    }
    println!("a round among {MANY}: {turns} turns meanwhile, the longest after {longest} instructions");
    assert!(turns > 300, "it was done in one go");
    assert!(longest < 20_000, "a piece of the round has held the core for {longest} instructions");
    drop((held, tx));
    parked.into_iter().for_each(|g| g.join().unwrap());
}
