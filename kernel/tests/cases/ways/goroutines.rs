//! Into a goroutine and out of it: in closures, cells and locals, as a result.

use core::cell::RefCell;

use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::local::LocalKey;
use trefoil::panic::catch_unwind;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::sync::{LazyLock, Mutex, OnceLock, RwLock};

use super::{Stack, WINDOW, done, no, ok, run, waiting};
use crate::deep::{KIB, deep, until};
use crate::values::{Value, none_is_left};

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

pub fn as_a_result<T: Value>() {
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

pub fn of_members<T: Value>() {
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

pub fn in_cells<T: Value>() {
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

pub fn in_closures<T: Value>() {
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
