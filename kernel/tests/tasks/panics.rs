//! Panics in destructors, in hooks, in messages and in `main`.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use trefoil::panic;

use crate::api::*;
use crate::fall;

/// Panics when it is dropped.
struct Grenade(&'static str);

impl Drop for Grenade {
    fn drop(&mut self) {
        fall(self.0);
    }
}

pub fn a_panic_in_a_destructor_ends_its_goroutine_alone() {
    for round in 1..=3 {
        let mutex = Arc::new(sync::Mutex::new(0));
        let lent = AtomicUsize::new(0);
        let mine = mutex.clone();
        let grenadier = Builder::new().name("grenadier").spawn(move || {
            let _held = mine.lock().unwrap();
            let _first = Grenade("not run any more");
            let _second = Grenade("the second one");
            fall("the first one")
        });
        let error = grenadier.unwrap().join().unwrap_err();
        assert_eq!(error.message(), Some("the second one"));
        let told = go(move || drop(mutex.lock())).join().expect_err("what it held was granted");
        assert!(told.message().is_some_and(|text| text.contains("\"grenadier\", which died of a panic")), "{told}");
        assert_eq!(runtime::stats().memory.abandoned, round);
        assert!(!panicking());
        // In a scope: the others, and the scope, go on.
        let result = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.go(|| lent.fetch_add(1, SeqCst));
            })
        }));
        assert!(result.is_ok() && lent.load(SeqCst) == 1);
    }
    // Unclaimed, in a scope, which so panics.
    let result = catch_unwind(|| {
        scope(|s| {
            s.go(|| {
                let _grenade = Grenade("the second one");
                fall("the first one")
            });
        })
    });
    assert_eq!(panic_message(&*result.unwrap_err()), Some("a goroutine of the scope panicked"));
}

pub fn the_default_hook_says_who_where_and_how() {
    let clumsy = Builder::new().name("clumsy").spawn(|| fall("it fell")).unwrap();
    assert_eq!(clumsy.join().unwrap_err().message(), Some("it fell"));
}

pub fn a_hook_of_ones_own_takes_its_place() {
    panic::set_hook(Box::new(|info| {
        let at = info.location().map_or(0, |at| at.line());
        assert!(at > 0 && info.id() > 1 && info.name().as_str() == "clumsy");
        println!("mine: {}", info.payload_as_str().unwrap_or("?"));
    }));
    let clumsy = || Builder::new().name("clumsy").spawn(|| fall("fell")).unwrap().join().unwrap_err();
    clumsy();
    let mine = panic::take_hook();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    panic::set_hook(Box::new(move |info| {
        CALLS.fetch_add(1, SeqCst);
        mine(info);
    }));
    clumsy();
    // Quiet ones do not call it.
    assert!(catch_unwind(|| quiet_panic("quiet")).is_err());
    assert_eq!(CALLS.load(SeqCst), 1);
    drop(panic::take_hook());
}

pub fn a_hook_that_panics_ends_its_goroutine_alone() {
    panic::set_hook(Box::new(|_| fall("the hook fell")));
    let error = go(|| fall("the first one")).join().unwrap_err();
    assert_eq!(error.message(), Some("the hook fell"));
    drop(panic::take_hook());
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

pub fn an_unjoined_panic_that_began_without_a_word_is_told_of_at_the_end() {
    drop(Builder::new().name("quiet").spawn(|| quiet_panic("not a word")));
    drop(go(|| panic::resume_unwind(Box::new(7u8))));
    let late = go(|| quiet_panic("dropped late"));
    until(|| late.is_finished());
    drop(late);
    // The hook has told of these.
    drop(go(|| fall("loud")));
    drop(go(|| scope(|_| fall("in a scope"))));
    // A panic that a join returns is not told again.
    assert!(go(|| quiet_panic("loud")).join().is_err());
    until(|| runtime::num_goroutines() == 1);
}

struct Word(fn());

impl core::fmt::Display for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("half a word")?;
        (self.0)();
        Err(core::fmt::Error)
    }
}

pub fn a_message_that_can_not_be_made_is_cut_or_replaced() {
    let cut = |_: ()| panic!("so far: {} and so on", Word(|| ()));
    assert_eq!(go(move || cut(())).join().map(|()| 0).unwrap_err().message(), Some("so far: half a word"));
    assert_eq!(panic_message(&*catch_unwind(|| cut(())).unwrap_err()), Some("so far: half a word"));
    // A message that panics itself: its panic is caught, here and in a goroutine, and leaves
    // nothing behind.
    let replaced = || panic!("so far: {}", Word(|| fall("the message panicked")));
    for _ in 0..3 {
        let caught = catch_unwind(|| -> u32 { replaced() });
        assert_eq!(panic_message(&*caught.unwrap_err()), Some("the message panicked"));
        assert!(!panicking());
        let error = go(move || -> u32 { replaced() }).join().unwrap_err();
        assert_eq!(error.message(), Some("the message panicked"));
    }
    // And in a destructor that runs because of a panic, it ends that goroutine alone.
    struct Says;
    impl Drop for Says {
        fn drop(&mut self) {
            panic!("so far: {}", Word(|| fall("the message panicked")));
        }
    }
    let error = go(|| {
        let _says = Says;
        fall("the first one")
    });
    assert_eq!(error.join().map(|()| 0).unwrap_err().message(), Some("the message panicked"));
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

pub fn a_message_that_panics_in_main_is_its_end() {
    panic!("so far: {}", Word(|| fall("the message panicked")));
}

pub fn main_catches_its_own_panics() {
    for _ in 0..3 {
        let caught = catch_unwind(|| fall("caught"));
        assert_eq!(panic_message(&*caught.unwrap_err()), Some("caught"));
    }
    let result = catch_unwind(|| scope(|_| fall("in a scope")));
    assert!(result.is_err());
}

pub fn main_passes_a_panic_on_and_fails() {
    let caught = catch_unwind(|| fall("main passes it on"));
    panic::resume_unwind(caught.unwrap_err())
}

pub fn a_panic_in_a_destructor_of_main_is_fatal() {
    let _ = catch_unwind(|| {
        let _grenade = Grenade("the second one");
        fall("the first one")
    });
}
