//! Panics that somebody catches: Go's `recover`, here `catch_unwind`.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::panic_of;
use crate::api::*;
use panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

cases! {
    what_was_thrown_is_caught,
    without_a_panic_the_value_comes_through,
    a_caught_panic_ends_nothing,
    destructors_run_before_the_catcher_goes_on,
    a_panic_that_is_thrown_again_goes_on_as_it_was,
    a_second_panic_in_the_catchers_place_is_a_new_one,
    an_inner_catch_keeps_it_from_the_outer_one,
    a_catch_in_one_goroutine_is_none_in_another,
    a_panic_in_a_destructor_without_another_is_an_ordinary_one,
    a_catch_inside_a_destructor_that_runs_in_a_panic,
    a_goroutine_that_caught_may_park,
    what_was_held_when_it_panicked_is_released,
    many_goroutines_panic_and_catch_at_the_same_time,
}

fn message(caught: Box<dyn core::any::Any + Send>) -> String {
    match caught.downcast::<&'static str>() {
        Ok(text) => text.to_string(),
        Err(other) => *other.downcast::<String>().expect("a panic's message"),
    }
}

/// Go: test/recover.go: "recover() returns the value passed to panic".
fn what_was_thrown_is_caught() {
    assert_eq!(message(catch_unwind(|| panic!("this")).unwrap_err()), "this");
    let n = 3;
    assert_eq!(message(catch_unwind(|| panic!("this {n}")).unwrap_err()), "this 3");
    let own = catch_unwind(|| resume_unwind(Box::new(17u8))).unwrap_err();
    assert_eq!(own.downcast_ref(), Some(&17u8));
}

/// Go: test/recover.go: "missing recover".
fn without_a_panic_the_value_comes_through() {
    assert_eq!(catch_unwind(|| "value".to_string()).unwrap(), "value");
}

/// Go: test/recover1.go and everyday use: a server that survives its requests.
fn a_caught_panic_ends_nothing() {
    let answers: Vec<u32> =
        (0..20).map(|n| catch_unwind(move || if n % 3 == 0 { panic!("{n}") } else { n }).unwrap_or(100)).collect();
    assert_eq!(answers.iter().filter(|n| **n == 100).count(), 7);
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Go: test/defer.go: deferred calls have run when recover returns.
fn destructors_run_before_the_catcher_goes_on() {
    fn nest(n: usize, count: &AtomicUsize) {
        let _here = Count(count);
        assert!(n > 0, "at the bottom");
        nest(n - 1, count);
    }
    let count = AtomicUsize::new(0);
    assert!(catch_unwind(AssertUnwindSafe(|| nest(5, &count))).is_err());
    assert_eq!(count.load(SeqCst), 6);
}

/// Go: test/recover.go, `panic(recover())`.
fn a_panic_that_is_thrown_again_goes_on_as_it_was() {
    let text = panic_of(|| {
        let caught = catch_unwind(|| panic!("first")).unwrap_err();
        resume_unwind(caught);
    });
    assert_eq!(text, "first");
}

/// Go: test/recover.go, test8: a new panic replaces the old one.
fn a_second_panic_in_the_catchers_place_is_a_new_one() {
    let text = panic_of(|| {
        let caught = catch_unwind(|| panic!("first")).unwrap_err();
        panic!("second, after {}", message(caught));
    });
    assert_eq!(text, "second, after first");
}

/// Go: test/recover.go, nested deferred functions.
fn an_inner_catch_keeps_it_from_the_outer_one() {
    let outer = catch_unwind(|| {
        let inner = catch_unwind(|| panic!("inside"));
        assert!(inner.is_err());
        7
    });
    assert_eq!(outer.unwrap(), 7);
}

/// Go: a panic in another goroutine is not recovered here (there it ends the program).
fn a_catch_in_one_goroutine_is_none_in_another() {
    let result = catch_unwind(|| {
        let other = go(|| panic!("over there"));
        other.join().is_err()
    });
    assert!(result.unwrap());
}

/// Go: test/deferpanic…: a panic in a deferred function.
fn a_panic_in_a_destructor_without_another_is_an_ordinary_one() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    assert_eq!(message(catch_unwind(|| drop(Bomb)).unwrap_err()), "in a destructor");
}

/// Go: test/recover.go, test13: a deferred function that panics and recovers while another panic
/// goes on.
fn a_catch_inside_a_destructor_that_runs_in_a_panic() {
    struct Careful<'a>(&'a AtomicUsize);
    impl Drop for Careful<'_> {
        fn drop(&mut self) {
            if catch_unwind(|| panic!("inner")).is_err() {
                self.0.fetch_add(1, SeqCst);
            }
        }
    }
    let count = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _careful = Careful(&count);
        panic!("outer");
    }));
    assert_eq!((message(caught.unwrap_err()).as_str(), count.load(SeqCst)), ("outer", 1));
}

/// Go: a recovered goroutine is a goroutine like others.
fn a_goroutine_that_caught_may_park() {
    let (tx, rx) = chan::bounded(0);
    let g = go(move || {
        for n in 0..10 {
            assert!(catch_unwind(|| panic!("again")).is_err());
            tx.send(n).unwrap();
        }
    });
    assert!(rx.iter().eq(0..10));
    g.join().unwrap();
}

/// Go: `defer mu.Unlock()` and a recover above it; here the mutex is poisoned.
fn what_was_held_when_it_panicked_is_released() {
    let mutex = sync::Mutex::new(0);
    let caught = catch_unwind(|| {
        let _held = mutex.lock().unwrap();
        panic!("with the lock held");
    });
    assert!(caught.is_err() && mutex.is_poisoned());
    mutex.clear_poison();
    assert_eq!(*mutex.lock().unwrap(), 0);
}

/// Go: test/recover4.go's relatives, in parallel.
fn many_goroutines_panic_and_catch_at_the_same_time() {
    let gs: Vec<_> = (0..8usize)
        .map(|g| {
            go(move || {
                let caught = (0..20).filter(|i| {
                    runtime::yield_now();
                    catch_unwind(|| assert!((g + i) % 2 == 0)).is_err()
                });
                caught.count()
            })
        })
        .collect();
    gs.into_iter().for_each(|g| assert_eq!(g.join().unwrap(), 10));
}
