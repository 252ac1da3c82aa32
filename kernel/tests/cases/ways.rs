//! The ways that a value can go, each for any type.

use core::cell::RefCell;
use core::fmt::Debug;

use futures_util::StreamExt;
use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::local::LocalKey;
use trefoil::panic::catch_unwind;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::select::Select;
use trefoil::sync::{LazyLock, Mutex, OnceLock, RwLock};

use crate::deep::{KIB, deep, until};
use crate::values::{Value, none_is_left};

/// How a goroutine's stack is when a value comes to it, or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Nobody has touched the pages below.
    Cold,
    /// The stack has been deep before.
    Warm,
    /// The pages below have been given back, and the part in use is packed if it is small.
    Packed,
}

pub const STACKS: [Stack; 3] = [Stack::Cold, Stack::Warm, Stack::Packed];

/// Without optimisation a function that has many values of 1 MiB has a frame of more than 16 MiB.
const WINDOW: usize = (64 << 10) * KIB;

/// Starts a goroutine with a large stack in that state.
pub fn start(stack: Stack, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    // Once for all types of closures.
    fn start(stack: Stack, f: Box<dyn FnOnce() + Send>) -> JoinHandle<()> {
        let warm = move || {
            if stack == Stack::Warm {
                assert_eq!(deep(256 * KIB, 5), 0);
            }
            f();
        };
        Builder::new().stack_max(WINDOW).spawn(warm).unwrap()
    }
    start(stack, Box::new(f))
}

/// Runs such a goroutine to its end.
pub fn run(stack: Stack, f: impl FnOnce() + Send + 'static) {
    start(stack, f).join().unwrap();
}

/// Starts such a goroutine, and returns when it waits for `reason`.
fn waiting(stack: Stack, reason: WaitReason, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let one = start(stack, f);
    until_it_waits(stack, reason, one.id());
    one
}

fn until_it_waits(stack: Stack, reason: WaitReason, id: u64) {
    until(|| runtime::goroutines().iter().any(|g| g.id == id && g.wait_reason == reason && g.state.is_parked()));
    if stack == Stack::Packed {
        runtime::scavenge();
    }
}

fn ok<R, E: Debug>(result: Result<R, E>) -> R {
    result.unwrap()
}

/// Returns an error. (`unwrap_err` wants `Debug` of the value.)
fn no<R, E>(result: Result<R, E>) -> E {
    match result {
        Ok(_) => panic!("it was done"),
        Err(error) => error,
    }
}

fn done<E>(result: Result<(), E>) {
    assert!(result.is_ok(), "it was not done");
}

/// Goes every way but those of a stack that is nearly full.
pub fn every_way<T: Value>(name: &str) {
    for stack in STACKS {
        for way in [from_hand_to_hand::<T>, with_a_deadline::<T>, in_a_select::<T>, in_a_dynamic_select::<T>] {
            run(Stack::Cold, move || way(stack));
            none_is_left(name);
        }
    }
    for way in [
        through_a_buffer::<T>,
        through_an_endless_one::<T>,
        errors_give_it_back::<T>,
        dropped_with_the_channel::<T>,
        selects_that_do_not_wait::<T>,
        selects_give_it_back::<T>,
        reservations::<T>,
        iterators_and_streams::<T>,
        as_a_result::<T>,
        of_members::<T>,
        in_cells::<T>,
        in_closures::<T>,
    ] {
        run(Stack::Cold, way);
        none_is_left(name);
    }
}

fn from_hand_to_hand<T: Value>(stack: Stack) {
    for capacity in [0, 1] {
        let (tx, rx) = chan::bounded::<T>(capacity);
        let receiver = waiting(stack, WaitReason::ChanRecv, move || ok(rx.recv()).check(1));
        run(stack, move || done(tx.send(T::make(1))));
        receiver.join().unwrap();
    }
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(stack, WaitReason::ChanSend, move || done(tx.send(T::make(2))));
    run(stack, move || ok(rx.recv()).check(2));
    sender.join().unwrap();
    let (tx, rx) = chan::unbounded::<T>();
    let receiver = waiting(stack, WaitReason::ChanRecv, move || ok(rx.recv()).check(3));
    run(stack, move || done(tx.send(T::make(3))));
    receiver.join().unwrap();
}

fn with_a_deadline<T: Value>(stack: Stack) {
    const LONG: Duration = Duration::from_secs(30);
    let (tx, rx) = chan::bounded::<T>(0);
    let receiver = waiting(stack, WaitReason::ChanRecv, move || ok(rx.recv_timeout(LONG)).check(1));
    run(stack, move || done(tx.try_send(T::make(1))));
    receiver.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(stack, WaitReason::ChanSend, move || done(tx.send_timeout(T::make(2), LONG)));
    run(stack, move || ok(rx.try_recv()).check(2));
    sender.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    run(stack, move || {
        assert!(rx.recv_timeout(Duration::from_micros(10)).is_err_and(|e| e.is_timeout()));
        let error = no(tx.send_timeout(T::make(3), Duration::from_micros(10)));
        assert!(error.is_timeout());
        error.into_inner().check(3);
        drop(rx);
        no(tx.send_timeout(T::make(4), Duration::from_micros(10))).into_inner().check(4);
    });
}

fn in_a_select<T: Value>(stack: Stack) {
    let ((tx, rx), (other, none)) = (chan::bounded::<T>(0), chan::bounded::<T>(0));
    let receiver = waiting(stack, WaitReason::Select, move || {
        select! {
            recv(none) -> v => panic!("{:?}", v.is_ok()),
            recv(rx) -> v => ok(v).check(1),
        }
    });
    run(stack, move || done(tx.send(T::make(1))));
    receiver.join().unwrap();
    drop(other);
    let ((tx, rx), (full, _full)) = (chan::bounded::<T>(0), chan::bounded::<T>(0));
    let sender = waiting(stack, WaitReason::Select, move || {
        select! {
            send(full, T::make(7)) -> _ => panic!("nobody takes it"),
            send(tx, T::make(2)) -> sent => done(sent),
            default(Duration::from_secs(30)) => panic!("too late"),
        }
    });
    run(stack, move || ok(rx.recv()).check(2));
    sender.join().unwrap();
    // Selects on both ends; and one that has an end of its own channel, too.
    let (tx, rx) = chan::bounded::<T>(0);
    let (tx2, rx2) = (tx.clone(), rx.clone());
    let receiver = waiting(stack, WaitReason::Select, move || {
        select_biased! {
            recv(rx) -> v => ok(v).check(3),
            send(tx, T::make(4)) -> sent => done(sent),
        }
    });
    let theirs = start(stack, move || {
        select! {
            recv(rx2) -> v => ok(v).check(4),
            send(tx2, T::make(3)) -> sent => done(sent),
        }
    });
    receiver.join().unwrap();
    theirs.join().unwrap();
}

fn in_a_dynamic_select<T: Value>(stack: Stack) {
    let (tx, rx) = chan::bounded::<T>(0);
    let receiver = waiting(stack, WaitReason::Select, move || {
        let mut select = Select::new();
        select.recv(&rx);
        ok(select.select().recv(&rx)).check(1);
    });
    run(stack, move || done(tx.send(T::make(1))));
    receiver.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(stack, WaitReason::Select, move || {
        let mut select = Select::new();
        select.send(&tx);
        done(select.select().send(&tx, T::make(2)));
    });
    run(stack, move || ok(rx.recv()).check(2));
    sender.join().unwrap();
}

fn through_a_buffer<T: Value>() {
    for capacity in [1, 3] {
        let (tx, rx) = chan::bounded::<T>(capacity);
        let n = capacity as u64 + 3;
        let sender = waiting(Stack::Cold, WaitReason::ChanSend, move || (0..n).for_each(|i| done(tx.send(T::make(i)))));
        assert_eq!((rx.len(), rx.is_full(), rx.capacity()), (capacity, true, Some(capacity)));
        // A gap is the waiting sender's.
        run(Stack::Cold, move || (0..n).for_each(|i| ok(rx.recv()).check(i)));
        sender.join().unwrap();
    }
}

fn through_an_endless_one<T: Value>() {
    let (tx, rx) = chan::unbounded::<T>();
    run(Stack::Cold, move || {
        (0..4).for_each(|i| done(tx.send(T::make(i))));
        (0..2).for_each(|i| ok(rx.recv()).check(i));
        (4..8).for_each(|i| done(tx.try_send(T::make(i))));
        assert_eq!((tx.len(), rx.capacity()), (6, None));
        (2..8).for_each(|i| ok(rx.try_recv()).check(i));
        assert!(rx.try_recv().is_err());
    });
}

fn errors_give_it_back<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(1);
    run(Stack::Cold, move || {
        done(tx.try_send(T::make(1)));
        let full = no(tx.try_send(T::make(2)));
        assert!(full.is_full());
        full.into_inner().check(2);
        drop(rx);
        no(tx.send(T::make(3))).into_inner().check(3);
        let closed = no(tx.try_send(T::make(4)));
        assert!(closed.is_disconnected());
        closed.into_inner().check(4);
    });
    // Closed while it waits.
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(Stack::Cold, WaitReason::ChanSend, move || no(tx.send(T::make(5))).into_inner().check(5));
    drop(rx);
    sender.join().unwrap();
}

fn dropped_with_the_channel<T: Value>() {
    let ((tx, rx), (endless, theirs)) = (chan::bounded::<T>(2), chan::unbounded::<T>());
    (0..2).for_each(|i| done(tx.send(T::make(i))));
    (0..6).for_each(|i| done(endless.send(T::make(i))));
    // With the last receiver; and with the channel, of which a sender has closed one end before.
    drop(rx);
    drop(tx);
    endless.close();
    drop((endless, theirs));
}

fn selects_that_do_not_wait<T: Value>() {
    let ((tx, rx), (none, _none)) = (chan::bounded::<T>(1), chan::bounded::<T>(0));
    run(Stack::Cold, move || {
        select! {
            send(none, T::make(9)) -> _ => panic!("nobody takes it"),
            send(tx, T::make(1)) -> sent => done(sent),
        }
        select! {
            send(tx, T::make(2)) -> _ => panic!("it is full"),
            default => {}
        }
        select! {
            send(tx, T::make(3)) -> _ => panic!("it is full"),
            default(Duration::from_micros(20)) => {}
        }
        select_biased! {
            recv(rx) -> v => ok(v).check(1),
            send(none, T::make(9)) -> _ => panic!("nobody takes it"),
            default => panic!("there is one"),
        }
        select! {
            recv(rx) -> _ => panic!("there is none"),
            default => {}
        }
        select! {
            recv(rx) -> _ => panic!("there is none"),
            recv(chan::never::<T>()) -> _ => panic!("never"),
            recv(chan::after(Duration::from_micros(20))) -> now => _ = ok(now),
        }
    });
}

fn selects_give_it_back<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(Stack::Cold, WaitReason::Select, move || {
        select! {
            send(tx, T::make(1)) -> sent => no(sent).into_inner().check(1),
            recv(chan::never::<()>()) -> _ => panic!("never"),
        }
    });
    drop(rx);
    sender.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    drop(rx);
    run(Stack::Cold, move || {
        select! { send(tx, T::make(2)) -> sent => no(sent).into_inner().check(2) }
        let mut select = Select::new();
        select.send(&tx);
        no(select.select().send(&tx, T::make(3))).into_inner().check(3);
    });
}

fn reservations<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(1);
    let (tx2, rx2) = (tx.clone(), rx.clone());
    let reserves = start(Stack::Cold, move || {
        let mut select = Select::new();
        select.send(&tx2);
        let chosen = select.select();
        assert!(tx2.try_send(T::make(1)).is_err(), "a place that was promised is free");
        // A sender that waits for the place has it when it is given back.
        let sender = waiting(Stack::Cold, WaitReason::ChanSend, move || done(tx.send(T::make(2))));
        let dropped = catch_unwind(core::panic::AssertUnwindSafe(|| drop(chosen)));
        assert!(dropped.is_err());
        sender.join().unwrap();
        ok(rx2.recv()).check(2);
        // A receiver that came meanwhile has the promised value; one that was promised a value and
        // gets none waits on.
        let chosen = select.select();
        let receiver = waiting(Stack::Cold, WaitReason::ChanRecv, move || ok(rx.recv()).check(3));
        done(chosen.send(&tx2, T::make(3)));
        receiver.join().unwrap();
        let receiver = waiting(Stack::Cold, WaitReason::ChanRecv, move || ok(rx2.recv()).check(4));
        let chosen = select.select();
        assert!(catch_unwind(core::panic::AssertUnwindSafe(|| drop(chosen))).is_err());
        done(tx2.send(T::make(4)));
        receiver.join().unwrap();
        // One that has taken a value which nobody fetches.
        let (tx3, rx3) = chan::bounded::<T>(1);
        done(tx3.send(T::make(5)));
        let mut select = Select::new();
        select.recv(&rx3);
        let chosen = select.select();
        assert!(catch_unwind(core::panic::AssertUnwindSafe(|| drop(chosen))).is_err());
    });
    reserves.join().unwrap();
}

fn iterators_and_streams<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(2);
    let sender = start(Stack::Cold, move || (0..8).for_each(|i| done(tx.send(T::make(i)))));
    run(Stack::Cold, move || {
        rx.iter().take(2).enumerate().for_each(|(i, v)| v.check(i as u64));
        let mut stream = rx.stream();
        (2..5).for_each(|i| task::block_on(stream.next()).unwrap().check(i));
        (&rx).into_iter().take(2).zip(5..).for_each(|(v, i)| v.check(i));
        rx.into_iter().for_each(|v| v.check(7));
    });
    sender.join().unwrap();
    let (tx, rx) = chan::unbounded::<T>();
    let polls = waiting(Stack::Cold, WaitReason::Task, move || {
        let mut stream = rx.into_stream();
        task::block_on(stream.next()).unwrap().check(8);
        assert!(task::block_on(stream.next()).is_none());
    });
    run(Stack::Cold, move || done(tx.send(T::make(8))));
    polls.join().unwrap();
}

/// Starts a goroutine as `start` does, with a result.
fn make<T: Value>(stack: Stack, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let warm = move || {
        if stack == Stack::Warm {
            assert_eq!(deep(256 * KIB, 5), 0);
        }
        f()
    };
    Builder::new().stack_max(WINDOW).spawn(warm).unwrap()
}

fn as_a_result<T: Value>() {
    // Joined before its end, and after.
    let (gate, wait) = chan::bounded::<()>(0);
    let gated = move || {
        make::<T>(Stack::Cold, move || {
            let _ = wait.recv();
            T::make(1)
        })
    };
    let (late, unseen) = (gated.clone()(), gated());
    let joiner = waiting(Stack::Packed, WaitReason::Join, move || late.join().unwrap().check(1));
    // With the handle dropped before the end, and after.
    drop(unseen);
    drop(gate);
    joiner.join().unwrap();
    let early = make(Stack::Warm, || T::make(2));
    until(|| early.is_finished());
    early.join().unwrap().check(2);
    let forgotten = make(Stack::Cold, || T::make(4));
    until(|| forgotten.is_finished());
    drop(forgotten);
    // Without a result.
    let exits = || make::<T>(Stack::Cold, || runtime::exit_g());
    assert!(exits().join().is_err());
    drop(exits());
    catch_unwind(|| T::make(6)).unwrap_or_else(|_| panic!("no panic")).check(6);
    task::block_on(async { T::make(7) }).check(7);
    until_alone();
}

/// Waits until `main` and the caller are the only ones.
fn until_alone() {
    until(|| runtime::num_goroutines() <= 2);
}

fn of_members<T: Value>() {
    let mut set = JoinSet::new();
    let mut start = |i| ok(set.spawn(Builder::new().stack_max(WINDOW), move || (i, T::make(i))));
    (0..3).for_each(|i| _ = start(i));
    for _ in 0..2 {
        let (i, value) = set.join_next().unwrap().unwrap();
        value.check(i);
    }
    set.join_all().into_iter().map(ok).for_each(|(i, v)| v.check(i));
    // A set that goes before its members have left, and after.
    for early in [true, false] {
        let mut set = JoinSet::new();
        ok(set.spawn(Builder::new().stack_max(WINDOW), || (0, T::make(0))));
        if !early {
            until_alone();
        }
        drop(set);
    }
    until_alone();
    // Its goroutines have default stacks.
    if size_of::<T>() <= 16 << 10 {
        let group = ErrGroup::<T>::new();
        (0..2).for_each(|_| group.go(|| Err(T::make(1))));
        no(group.wait()).check(1);
        done(group.wait());
    }
}

fn in_cells<T: Value>() {
    let cell = Arc::new(OnceLock::new());
    let (theirs, (gate, wait)) = (cell.clone(), chan::bounded::<()>(0));
    let maker = waiting(Stack::Cold, WaitReason::ChanRecv, move || {
        theirs.get_or_init(|| {
            assert!(wait.recv().is_err());
            T::make(1)
        });
    });
    let theirs = cell.clone();
    let reader = waiting(Stack::Packed, WaitReason::Once, move || theirs.wait().check(1));
    drop(gate);
    maker.join().unwrap();
    reader.join().unwrap();
    no(cell.set(T::make(2))).check(2);
    let mut cell = Arc::into_inner(cell).unwrap();
    cell.take().unwrap().check(1);
    assert!(cell.set(T::make(3)).is_ok());
    cell.get_or_init(|| unreachable!()).check(3);
    cell.into_inner().unwrap().check(3);
    let lazy = Box::new(LazyLock::new(|| T::make(4)));
    lazy.check(4);
    let lock = Mutex::new(T::make(5));
    lock.lock().unwrap().check(5);
    lock.into_inner().unwrap_or_else(|_| panic!("poisoned")).check(5);
    let lock = RwLock::new(T::make(6));
    lock.read().unwrap().check(6);
    lock.into_inner().unwrap_or_else(|_| panic!("poisoned")).check(6);
}

/// Passes values of the type through a goroutine-local.
pub fn in_a_local<T: Value>(key: &'static LocalKey<RefCell<Option<T>>>) {
    run(Stack::Cold, move || {
        key.set(Some(T::make(1)));
        run(Stack::Warm, move || {
            assert!(key.take().is_none());
            key.with_borrow_mut(|mine| *mine = Some(T::make(2)));
            key.with_borrow(|mine| mine.as_ref().unwrap().check(2));
        });
        key.replace(Some(T::make(3))).unwrap().check(1);
        key.take().unwrap().check(3);
        key.set(Some(T::make(4)));
    });
    none_is_left("a local");
}

fn in_closures<T: Value>() {
    let (value, more) = (T::make(1), T::make(2));
    let closure = move || {
        value.check(1);
        more.check(2);
        value
    };
    make(Stack::Cold, closure).join().unwrap().check(1);
    // One that is not made comes back.
    let value = T::make(3);
    let error = no(Builder::new().stack_max(usize::MAX).spawn(move || value.check(3)));
    error.into_inner()();
    let value = T::make(4);
    scope(|s| {
        let one = Builder::new().stack_max(WINDOW).spawn_scoped(s, || {
            value.check(4);
            T::make(5)
        });
        ok(ok(one).join()).check(5);
    });
}
