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
