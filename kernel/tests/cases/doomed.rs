//! Goroutines whose stack is used up on the way to a park, with preemption off: each waits as any
//! other would, and ends when it runs again. The object that it has waited for goes on: nobody
//! stays in its list, nobody behind the doomed one is forgotten.

use core::cell::Cell;
use core::hint::black_box;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use trefoil::JoinError;
use trefoil::panic::catch_unwind;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, Semaphore, WaitGroup};

use crate::deep::{KIB, until};
use crate::{lowest, near_the_end};

/// Something to wait for.
trait Object: Send + Sync + 'static {
    const REASON: WaitReason;
    /// Nothing on the way needs more of the stack than the park does, so that some wait with their
    /// stacks used up.
    const DOOMED: bool = true;
    /// The descent begins so many steps above the red pages.
    const STEPS: usize = 7;
    fn new() -> Self;
    fn wait(&self);
    /// Grants the wait. Called by another G while the doomed one waits.
    fn serve(&self);
    /// Asserts afterwards that the object is as it should be.
    fn check(&self);
}

type Channel = (Sender<u32>, Receiver<u32>);

/// Asserts that nobody stands in a channel's lists, and that others can meet there.
fn is_whole((tx, rx): &Channel) {
    assert!(tx.try_send(1).is_err() && rx.try_recv().is_err(), "somebody stands in a list");
    let (tx, rx) = (tx.clone(), rx.clone());
    let other = go(move || rx.recv());
    tx.send(5).unwrap();
    assert_eq!(other.join().unwrap(), Ok(5));
}

struct Recv(Channel);

impl Object for Recv {
    const REASON: WaitReason = WaitReason::ChanRecv;
    fn new() -> Self {
        Self(chan::bounded(0))
    }
    fn wait(&self) {
        let _ = self.0.1.recv();
    }
    fn serve(&self) {
        self.0.0.send(1).unwrap();
    }
    fn check(&self) {
        is_whole(&self.0);
    }
}

struct Send_(Channel);

impl Object for Send_ {
    const REASON: WaitReason = WaitReason::ChanSend;
    fn new() -> Self {
        Self(chan::bounded(0))
    }
    fn wait(&self) {
        let _ = self.0.0.send(1);
    }
    fn serve(&self) {
        assert_eq!(self.0.1.recv(), Ok(1), "what a doomed one has to send is a value like others");
    }
    fn check(&self) {
        is_whole(&self.0);
    }
}

struct RecvTimeout(Channel);

impl Object for RecvTimeout {
    const REASON: WaitReason = WaitReason::ChanRecv;
    fn new() -> Self {
        Self(chan::bounded(0))
    }
    fn wait(&self) {
        let _ = self.0.1.recv_timeout(Duration::from_millis(2));
    }
    fn serve(&self) {
        // Its time does.
    }
    fn check(&self) {
        is_whole(&self.0);
    }
}

struct Select(Channel, Channel);

impl Object for Select {
    const REASON: WaitReason = WaitReason::Select;
    // A G that comes so far has had room for the nodes' allocation, which goes deeper.
    const DOOMED: bool = false;
    // An allocation that finds its core's magazine empty goes deeper than one that does not.
    const STEPS: usize = 30;
    fn new() -> Self {
        Self(chan::bounded(0), chan::bounded(0))
    }
    fn wait(&self) {
        select! { recv(self.0.1) -> _ => {}, recv(self.1.1) -> _ => {} }
    }
    fn serve(&self) {
        self.1.0.send(1).unwrap();
    }
    fn check(&self) {
        is_whole(&self.0);
        is_whole(&self.1);
    }
}

impl Object for Semaphore {
    const REASON: WaitReason = WaitReason::Semaphore;
    // Nor here: it looks at the list once before it waits.
    const DOOMED: bool = false;
    fn new() -> Self {
        Self::new(0)
    }
    fn wait(&self) {
        drop(self.acquire());
    }
    fn serve(&self) {
        self.add_permits(1);
    }
    fn check(&self) {
        // Its permit went with it; or it came back, if it has lived.
        assert!(self.available_permits() <= 1);
        self.add_permits(1);
        assert!(self.try_acquire().is_some(), "the queue has somebody in it who does not come");
    }
}

/// Whether somebody is still to be done.
struct Group(AtomicBool, WaitGroup);

impl Object for Group {
    const REASON: WaitReason = WaitReason::WaitGroup;
    fn new() -> Self {
        let group = WaitGroup::new();
        group.add(1);
        Self(AtomicBool::new(true), group)
    }
    fn wait(&self) {
        self.1.wait();
    }
    fn serve(&self) {
        self.0.store(false, SeqCst);
        self.1.done();
    }
    fn check(&self) {
        // For one that came to its end before it could wait. Below zero it panics.
        if self.0.load(SeqCst) {
            self.1.done();
        }
        self.1.wait();
        self.1.add(1);
        self.1.done();
    }
}

struct Contended(&'static Mutex<()>, HeldByMain);

/// Only `main` uses it.
struct HeldByMain(Cell<Option<MutexGuard<'static, ()>>>);

// SAFETY: the goroutine that made it is the only one that looks into it.
unsafe impl Send for HeldByMain {}
// SAFETY: the goroutine that made it is the only one that looks into it, so the `Cell` is never
// used at once.
unsafe impl Sync for HeldByMain {}

impl Object for Contended {
    const REASON: WaitReason = WaitReason::Mutex;
    fn new() -> Self {
        let mutex: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
        Self(mutex, HeldByMain(Cell::new(Some(mutex.lock().unwrap()))))
    }
    fn wait(&self) {
        drop(self.0.lock());
    }
    fn serve(&self) {
        drop(self.1.0.take());
    }
    fn check(&self) {
        drop(self.1.0.take());
        // The mutex is free again, unless the doomed G has died with the guard in its hand.
        let mutex = self.0;
        if let Err(error) = go(move || drop(mutex.lock())).join() {
            assert!(error.message().is_some_and(|text| text.contains("\"doomed\", which died of")), "{error}");
            assert!(mutex.try_lock().is_err());
        }
    }
}

/// Read by `main`, wanted for writing.
struct Written(&'static RwLock<()>, ReadByMain);

/// Only `main` uses it.
struct ReadByMain(Cell<Option<RwLockReadGuard<'static, ()>>>);

// SAFETY: only `main` looks into it.
unsafe impl Send for ReadByMain {}
// SAFETY: only `main` looks into it, so the `Cell` is never used at once.
unsafe impl Sync for ReadByMain {}

impl Object for Written {
    const REASON: WaitReason = WaitReason::RwLockWrite;
    fn new() -> Self {
        let lock: &'static RwLock<()> = Box::leak(Box::new(RwLock::new(())));
        Self(lock, ReadByMain(Cell::new(Some(lock.read().unwrap()))))
    }
    fn wait(&self) {
        drop(self.0.write());
    }
    fn serve(&self) {
        drop(self.1.0.take());
    }
    fn check(&self) {
        drop(self.1.0.take());
        // As of the mutex.
        let lock = self.0;
        if let Err(error) = go(move || drop(lock.write())).join() {
            assert!(error.message().is_some_and(|text| text.contains("\"doomed\", which died of")), "{error}");
            assert!(lock.try_read().is_err());
        }
    }
}

struct Notified(Mutex<()>, Condvar);

impl Object for Notified {
    const REASON: WaitReason = WaitReason::Condvar;
    fn new() -> Self {
        Self(Mutex::new(()), Condvar::new())
    }
    fn wait(&self) {
        let guard = self.0.lock().unwrap_or_else(|error| error.into_inner());
        drop(self.1.wait(guard));
    }
    fn serve(&self) {
        self.1.notify_one();
    }
    fn check(&self) {
        let mutex = &self.0;
        let locks = catch_unwind(AssertUnwindSafe(|| drop(mutex.lock())));
        if locks.is_err() {
            // The doomed G has died with the guard in its hand.
            return assert!(mutex.try_lock().is_err());
        }
        let guard = self.0.lock().unwrap_or_else(|error| error.into_inner());
        let (_guard, late) =
            self.1.wait_timeout(guard, Duration::from_millis(1)).unwrap_or_else(|error| error.into_inner());
        assert!(late.timed_out());
    }
}

fn waits_for(reason: WaitReason) -> bool {
    runtime::goroutines().iter().any(|g| g.name.as_str() == "doomed" && g.wait_reason == reason)
}

/// Does what [`near_the_end`] does, from a frame that is `N` bytes larger. The recursion goes down
/// in steps, and `N` moves the places where they fall.
#[inline(never)]
fn padded<const N: usize>(left: usize, f: &dyn Fn()) -> u64 {
    let block = black_box([0u8; N]);
    near_the_end(lowest(), left, f) + u64::from(black_box(&block)[0])
}

type Descent = fn(usize, &dyn Fn()) -> u64;

/// The paddings between two steps.
const PADDED: [Descent; 9] = [
    padded::<16>,
    padded::<32>,
    padded::<48>,
    padded::<64>,
    padded::<80>,
    padded::<96>,
    padded::<112>,
    padded::<128>,
    padded::<144>,
];

/// Lets G's wait with the red at each place: below all that a wait needs, on the way to the park,
/// or above.
fn doom<O: Object>(name: &str) {
    let (mut waited, mut lived, mut ended) = (0, 0, 0);
    for (left, pad) in (0..O::STEPS).rev().flat_map(|step| PADDED.map(|pad| (20 * KIB + 144 * step, pad))) {
        let object = Arc::new(O::new());
        let theirs = object.clone();
        let doomed = Builder::new().name("doomed").spawn(move || pad(left, &|| theirs.wait())).unwrap();
        until(|| doomed.is_finished() || waits_for(O::REASON));
        let parked = !doomed.is_finished();
        if parked {
            object.serve();
        }
        match doomed.join() {
            Ok(_) => lived += 1,
            Err(JoinError::StackOverflow) => (waited, ended) = (waited + u32::from(parked), ended + 1),
            Err(other) => panic!("{name}, with {left} bytes: {other}"),
        }
        object.check();
        if waited == 3 || !O::DOOMED && ended == 3 {
            break;
        }
    }
    println!("{name}: {lived} lived, then {waited} waited and ended when they ran again");
    assert!(lived > 2 && (waited > 0 || !O::DOOMED), "{name}: the red begins somewhere else");
}

pub fn doomed_while_they_wait() {
    doom::<Recv>("recv");
    doom::<Send_>("send");
    doom::<RecvTimeout>("recv_timeout");
    doom::<Select>("select");
    doom::<Semaphore>("semaphore");
    doom::<Group>("waitgroup");
    doom::<Contended>("mutex");
    doom::<Written>("rwlock");
    doom::<Notified>("condvar");
}
