//! Panics that are caught, passed on, and met in destructors.

use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::api::*;

pub fn catch_unwind_gives_the_value_or_the_payload() {
    assert_eq!(catch_unwind(|| 7).unwrap(), 7);
    let value = catch_unwind(|| vec![1, 2, 3]).unwrap();
    assert_eq!(value, [1, 2, 3]);
    let text = catch_unwind(|| quiet_panic("static")).unwrap_err();
    assert_eq!(panic_message(&*text), Some("static"));
    struct Mine(u32);
    let mine = catch_unwind(|| resume_unwind(Box::new(Mine(5)))).unwrap_err();
    assert_eq!(mine.downcast_ref::<Mine>().map(|mine| mine.0), Some(5));
    assert_eq!(panic_message(&*mine), None);
    let handle = go(|| -> u32 { resume_unwind(Box::new(Mine(6))) });
    let Err(JoinError::Panicked(payload)) = handle.join() else { panic!("no payload") };
    assert!(payload.is::<Mine>());
}

pub fn catches_nest_and_pass_on() {
    let outer = catch_unwind(|| {
        let inner = catch_unwind(|| quiet_panic("inner"));
        assert!(!panicking());
        let inner = inner.unwrap_err();
        assert_eq!(panic_message(&*inner), Some("inner"));
        let _ = catch_unwind(|| quiet_panic("another"));
        resume_unwind(inner)
    });
    assert_eq!(panic_message(&*outer.unwrap_err()), Some("inner"));
}

/// Notes what `panicking` says when it is dropped.
struct Notes<'a>(&'a AtomicUsize);

impl Drop for Notes<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(if panicking() { 1 } else { 100 }, SeqCst);
    }
}

pub fn panicking_is_true_where_a_panic_unwinds_and_nowhere_else() {
    let notes = AtomicUsize::new(0);
    drop(Notes(&notes));
    assert_eq!(notes.swap(0, SeqCst), 100);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _notes = Notes(&notes);
        quiet_panic("on purpose")
    }));
    assert_eq!(notes.swap(0, SeqCst), 1);
    // A neighbour's panic is not mine.
    let other = go(|| -> u32 { quiet_panic("elsewhere") });
    drop(Notes(&notes));
    assert!(other.join().is_err());
    assert_eq!(notes.swap(0, SeqCst), 100);
}

pub fn a_destructor_may_panic_inside_a_catch_while_another_panic_unwinds() {
    struct Careful<'a>(&'a AtomicUsize);
    impl Drop for Careful<'_> {
        fn drop(&mut self) {
            let caught = catch_unwind(|| quiet_panic("inside"));
            assert_eq!(panic_message(&*caught.unwrap_err()), Some("inside"));
            // The first one still unwinds.
            assert!(panicking());
            assert!(catch_unwind(|| 1).is_ok() && panicking());
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _one = Careful(&drops);
        let _two = Careful(&drops);
        quiet_panic("outside")
    }));
    assert_eq!(panic_message(&*caught.unwrap_err()), Some("outside"));
    assert_eq!(drops.load(SeqCst), 2);
    assert!(!panicking());
}

pub fn exit_g_goes_through_catches_that_pass_it_on() {
    let notes: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let handle = go(move || {
        let caught: Result<(), Box<dyn Any + Send>> = catch_unwind(|| {
            struct Counts(&'static AtomicUsize);
            impl Drop for Counts {
                fn drop(&mut self) {
                    self.0.fetch_add(1, SeqCst);
                }
            }
            let _counts = Counts(notes);
            exit_g()
        });
        resume_unwind(caught.unwrap_err())
    });
    assert!(matches!(handle.join(), Err(JoinError::Exited)));
    assert_eq!(notes.load(SeqCst), 1);
    // SAFETY: it was leaked above, and its goroutine has ended.
    drop(unsafe { Box::from_raw(core::ptr::from_ref(notes).cast_mut()) });
}

pub fn a_panic_poisons_a_mutex_also_when_it_is_caught() {
    let mutex = sync::Mutex::new(1);
    let caught = catch_unwind(|| {
        let _guard = mutex.lock().unwrap();
        quiet_panic("holding it")
    });
    assert!(caught.is_err() && mutex.is_poisoned());
    mutex.clear_poison();
    // Taken and released inside a destructor that runs because of a panic: not poisoned.
    struct Locks<'a>(&'a sync::Mutex<i32>);
    impl Drop for Locks<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let caught = catch_unwind(|| {
        let _locks = Locks(&mutex);
        quiet_panic("not holding it")
    });
    assert!(caught.is_err() && !mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap(), 2);
}

pub fn panics_of_many_at_once_stay_apart() {
    let rounds = if cfg!(debug_assertions) { 20 } else { 200 };
    let handles: Vec<_> = (0..40usize)
        .map(|i| {
            go(move || {
                for round in 0..rounds {
                    let caught = catch_unwind(|| {
                        let notes = AtomicUsize::new(0);
                        let _ = catch_unwind(AssertUnwindSafe(|| {
                            let _notes = Notes(&notes);
                            yield_now();
                            resume_unwind(Box::new((i, round)))
                        }));
                        assert_eq!(notes.load(SeqCst), 1);
                        yield_now();
                        assert!(!panicking());
                        resume_unwind(Box::new((i, round)))
                    });
                    assert_eq!(caught.unwrap_err().downcast_ref::<(usize, usize)>(), Some(&(i, round)));
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

/// Panics when it is dropped, with a smaller bomb as its payload, as often as its number says.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        match self.0 {
            0 => quiet_panic("bomb"),
            left => resume_unwind(Box::new(Bomb(left - 1))),
        }
    }
}

fn throws<T>() -> T {
    resume_unwind(Box::new(Bomb(1)))
}

/// Waits until the goroutines of a case have ended.
fn settle() {
    until(|| runtime::num_goroutines() == 1);
}

/// `main` drops results and payloads of others in every way that there is, and goes on. The host
/// counts what is told of.
pub fn a_payload_that_panics_when_it_is_dropped_harms_nobody() {
    // The handle is dropped before the end.
    drop(go(throws::<u32>));
    drop(go(|| Bomb(0)));
    drop(task::spawn_future(async { throws::<u32>() }));
    drop(task::spawn_future(async { Bomb(1) }));
    settle();
    // And after it.
    let (thrown, value) = (go(throws::<u32>), go(|| Bomb(0)));
    let (future, late) = (task::spawn_future(async { throws::<u32>() }), go(throws::<Bomb>));
    until(|| thrown.is_finished() && value.is_finished() && future.is_finished() && late.is_finished());
    drop((thrown, value, future, late));
    // In a scope, which panics for the two that nobody has seen.
    for after in [false, true] {
        let caught = catch_unwind(|| {
            scope(|s| {
                let (thrown, value) = (s.go(throws::<u32>), s.go(|| Bomb(0)));
                until(|| !after || thrown.is_finished() && value.is_finished());
                drop((thrown, value));
            });
        });
        assert_eq!(panic_message(&*caught.unwrap_err()), Some("a goroutine of the scope panicked"));
    }
    // Of a set.
    for after in [false, true] {
        let mut set = JoinSet::new();
        set.go(throws::<Bomb>);
        set.go(|| Bomb(0));
        if after {
            settle();
        }
        drop(set);
        settle();
    }
    // A timer's function.
    drop(time::Timer::after_func(Duration::from_micros(1), throws::<()>));
    let bomb = Bomb(0);
    drop(time::Timer::after_func(Duration::from_micros(1), move || _ = &bomb));
    time::sleep(Duration::from_millis(2));
    settle();
    // The program drops a caught payload, so this panic is an ordinary one of the goroutine that
    // drops it.
    let own = go(|| drop(catch_unwind(throws::<()>))).join().unwrap_err();
    assert_eq!(panic_message(&*catch_unwind(AssertUnwindSafe(|| drop(own))).unwrap_err()), Some("bomb"));
    assert!(go(|| 5).join().is_ok_and(|five| five == 5) && !panicking());
}

/// The same of groups, whose members come and go in any order.
pub fn a_group_that_nobody_waits_for_drops_its_bombs_on_a_goroutine() {
    for round in 0..20 {
        let group = ErrGroup::<Bomb>::with_context(&Context::background()).0;
        group.go(|| Err(Bomb(0)));
        group.go(|| Err(Bomb(0)));
        group.go(throws);
        group.go(throws);
        (0..round % 5).for_each(|_| yield_now());
        let _ = catch_unwind(AssertUnwindSafe(|| drop(group)));
    }
    settle();
    // The waiter gets the member's panic, not that of the dropped error.
    let group = ErrGroup::<Bomb>::new();
    group.go(|| Err(Bomb(0)));
    group.go(|| quiet_panic("of a member"));
    let caught = catch_unwind(AssertUnwindSafe(|| group.wait().is_ok()));
    assert_eq!(panic_message(&*caught.unwrap_err()), Some("of a member"));
}

pub fn a_join_error_is_an_error_that_can_be_shared() {
    fn is_shared<E: core::error::Error + Send + Sync + 'static>(_: &E) {}
    fn work(fails: bool) -> Result<u32, Box<dyn core::error::Error + Send + Sync>> {
        Ok(go(move || if fails { quiet_panic("no") } else { 5 }).join()?)
    }
    assert_eq!(work(false).unwrap(), 5);
    assert_eq!(work(true).unwrap_err().to_string(), "the goroutine panicked: no");
    // A payload that can't be shared itself.
    let error = go(|| -> u32 { resume_unwind(Box::new(core::cell::Cell::new(7))) }).join().unwrap_err();
    is_shared(&error);
    let JoinError::Panicked(mut payload) = error else { panic!("no payload") };
    assert!(payload.message().is_none() && payload.is::<core::cell::Cell<i32>>());
    assert_eq!(payload.downcast_mut::<core::cell::Cell<i32>>().map(|cell| cell.replace(8)), Some(7));
    let payload = payload.downcast::<u8>().unwrap_err();
    assert_eq!(payload.downcast::<core::cell::Cell<i32>>().unwrap().get(), 8);
    let thrown: Box<dyn Any + Send> = match go(|| -> u32 { quiet_panic("kept") }).join() {
        Err(JoinError::Panicked(payload)) => payload.into(),
        _ => panic!("no payload"),
    };
    assert_eq!(panic_message(&*thrown), Some("kept"));
}

pub fn what_anyhow_says_of_a_goroutine_is_its_panic() {
    fn work() -> anyhow::Result<u32> {
        Ok(go(|| -> u32 { quiet_panic("no") }).join()?)
    }
    let error = work().unwrap_err();
    assert_eq!(error.to_string(), "the goroutine panicked: no");
    assert!(error.is::<JoinError>());
}
