//! Goroutine-locals: each goroutine has its own, and they end with it.

use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::api::*;

goroutine_local! {
    static NUMBER: Cell<u64> = Cell::new(5);
    /// With a comma's worth of attributes.
    static WORDS: RefCell<Vec<&'static str>> = RefCell::new(Vec::new());
}

/// Main's own locals are still there when the kit looks for what was left behind.
fn in_a_goroutine(f: fn()) {
    go(f).join().unwrap();
}

pub fn each_goroutine_has_its_own() {
    in_a_goroutine(its_own);
}

fn its_own() {
    NUMBER.set(1);
    let handles: Vec<_> = (10..30u64)
        .map(|i| {
            go(move || {
                assert_eq!(NUMBER.get(), 5, "a value of another goroutine");
                NUMBER.set(i);
                (0..10).for_each(|_| {
                    yield_now();
                    assert_eq!(NUMBER.get(), i);
                });
                NUMBER.replace(0)
            })
        })
        .collect();
    let sum: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
    assert_eq!((sum, NUMBER.get()), ((10..30).sum(), 1));
}

pub fn cells_have_the_methods_of_std() {
    in_a_goroutine(methods);
}

fn methods() {
    assert_eq!((NUMBER.take(), NUMBER.get()), (5, 0));
    WORDS.set(vec!["a"]);
    WORDS.with_borrow_mut(|words| words.push("b"));
    assert_eq!(WORDS.with_borrow(Vec::len), 2);
    assert_eq!(WORDS.replace(vec!["c"]), ["a", "b"]);
    assert_eq!(WORDS.take(), ["c"]);
    assert_eq!(WORDS.with(|words| words.borrow().len()), 0);
}

pub fn set_does_not_make_the_first_value() {
    goroutine_local! { static ODD: Cell<u8> = unreachable!("it is set before it is used") }
    go(|| {
        ODD.set(3);
        assert_eq!(ODD.get(), 3);
    })
    .join()
    .unwrap();
}

pub fn many_keys_are_told_apart() {
    macro_rules! keys {
        ($($name:ident)*) => {
            goroutine_local! { $(static $name: Cell<usize> = Cell::new(stringify!($name).len());)* }
            $(assert_eq!($name.get(), 3);)*
            let mut n = 0;
            $(n += 1; $name.set(n);)*
            let mut n = 0;
            $(n += 1; assert_eq!($name.get(), n);)*
        };
    }
    go(|| {
        keys! { K00 K01 K02 K03 K04 K05 K06 K07 K08 K09 K10 K11 K12 K13 K14 K15 K16 K17 K18 K19 K20 K21 K22 K23 K24 }
    })
    .join()
    .unwrap();
}

static DROPS: AtomicUsize = AtomicUsize::new(0);

/// Tells in which order it was dropped.
struct Told(&'static str);

impl Drop for Told {
    fn drop(&mut self) {
        let at = DROPS.fetch_add(1, SeqCst);
        ORDER[at].store(self.0.len(), SeqCst);
    }
}

static ORDER: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

fn order() -> Vec<usize> {
    let n = DROPS.swap(0, SeqCst);
    ORDER[..n].iter().map(|o| o.load(SeqCst)).collect()
}

goroutine_local! {
    static FIRST: Told = Told("1");
    static SECOND: Told = Told("22");
    static THIRD: Told = Told("333");
}

pub fn destructors_run_at_the_end_newest_first() {
    go(|| {
        SECOND.with(|_| ());
        FIRST.with(|_| ());
        THIRD.with(|_| ());
        FIRST.with(|_| ());
        assert_eq!(DROPS.load(SeqCst), 0);
    })
    .join()
    .unwrap();
    assert_eq!(order(), [3, 1, 2], "dropped by the time its joiner knows");
    // Also after a panic, and after `exit_g`.
    let panicked = go(|| {
        FIRST.with(|_| ());
        quiet_panic("on purpose")
    });
    assert!(panicked.join().is_err());
    assert_eq!(order(), [1]);
    let exited = go(|| {
        SECOND.with(|_| ());
        exit_g()
    });
    assert!(exited.join().is_err());
    assert_eq!(order(), [2]);
}

pub fn a_destructor_meets_the_others_as_std_says() {
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            // LATE itself is gone, and so is THIRD, which was dropped before it. FIRST is older and
            // still there. SECOND is new: it is made here, and dropped next.
            assert_eq!(LATE.try_with(|_| ()).map_err(|e| e.to_string()), Err(String::from("already destroyed")));
            assert!(THIRD.try_with(|_| ()).is_err());
            assert_eq!(FIRST.try_with(|told| told.0), Ok("1"));
            assert_eq!(SECOND.try_with(|told| told.0), Ok("22"));
            assert_eq!(DROPS.load(SeqCst), 1);
        }
    }
    goroutine_local! { static LATE: Late = Late }
    go(|| {
        FIRST.with(|_| ());
        LATE.with(|_| ());
        THIRD.with(|_| ());
    })
    .join()
    .unwrap();
    assert_eq!(order(), [3, 2, 1]);
}

pub fn an_initial_value_may_use_others_and_itself() {
    goroutine_local! {
        static BASE: Cell<u32> = Cell::new(10);
        static SUM: Cell<u32> = Cell::new(BASE.get() + 1);
        static DEPTH: Cell<u32> = Cell::new(0);
        static LOOP: Cell<u32> = Cell::new(if DEPTH.replace(1) == 0 { LOOP.get() + 1 } else { 7 });
    }
    go(|| assert_eq!(SUM.get(), 11)).join().unwrap();
    // As in `std`: the inner one is made first, and replaced by the outer.
    go(|| assert_eq!((LOOP.get(), LOOP.get()), (8, 8))).join().unwrap();
}

pub fn a_destructor_that_panics_leaves_the_others_to_be_dropped() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            quiet_panic("in a destructor");
        }
    }
    goroutine_local! { static GRENADE: Grenade = Grenade }
    go(|| {
        FIRST.with(|_| ());
        GRENADE.with(|_| ());
        SECOND.with(|_| ());
    })
    .join()
    .unwrap();
    assert_eq!(order(), [2, 1]);
}

pub fn results_that_nobody_wants_may_use_locals_and_leave_none_behind() {
    struct Uses;
    impl Drop for Uses {
        fn drop(&mut self) {
            FIRST.with(|_| ());
            NUMBER.set(3);
        }
    }
    let (go_on, wait) = chan::bounded::<()>(0);
    drop(go(move || {
        let _ = wait.recv();
        Uses
    }));
    drop(go_on);
    until(|| DROPS.load(SeqCst) == 1);
    assert_eq!(order(), [1]);
}
