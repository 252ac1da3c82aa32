//! `block_on`'s park against wakers, every interleaving.
#![cfg(loom)]

mod baton;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use baton::explore;
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use trefoil_sched::task::block_on;

type Body = Box<dyn FnOnce() + Send>;

/// A flag that a future waits for, with a value that is written before it is set.
struct Flag {
    set: AtomicBool,
    waker: Mutex<Option<Waker>>,
    value: UnsafeCell<u32>,
}

// SAFETY: the flag `set` orders the accesses to the cell; loom checks that.
unsafe impl Sync for Flag {}
// SAFETY: the waker and the number may move to any thread.
unsafe impl Send for Flag {}

impl Flag {
    fn new() -> Arc<Self> {
        Arc::new(Self { set: AtomicBool::new(false), waker: Mutex::new(None), value: UnsafeCell::new(0) })
    }

    fn raise(&self) {
        // SAFETY: before `set` is true only this thread touches the value; loom checks that.
        self.value.with_mut(|v| unsafe { *v = 7 });
        self.set.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wait(&self) {
        block_on(poll_fn(|context| {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            if self.set.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        }));
        // SAFETY: `set` was true, so nobody writes the value any more; loom checks that.
        self.value.with(|v| unsafe { assert_eq!(*v, 7) });
    }
}

#[test]
fn a_wake_up_between_poll_and_park_is_not_lost() {
    explore(|| {
        let flag = Flag::new();
        let raiser = flag.clone();
        vec![Box::new(move || raiser.raise()), Box::new(move || flag.wait()) as Body]
    });
}

#[test]
fn a_stale_waker_disturbs_nobody() {
    explore(|| {
        let (first, second) = (Flag::new(), Flag::new());
        let stale = Arc::new(Mutex::new(None::<Waker>));
        let (kept, raiser, late) = (stale.clone(), second.clone(), stale);
        first.set.store(true, Ordering::Release);
        first.value.with_mut(|v| {
            // SAFETY: nobody else knows it yet.
            unsafe { *v = 7 }
        });
        vec![
            // A waker of a `block_on` that has returned comes while its G parks in another.
            Box::new(move || {
                let waker = late.lock().unwrap().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
                raiser.raise();
            }),
            Box::new(move || {
                first.wait();
                *kept.lock().unwrap() = first.waker.lock().unwrap().take();
                second.wait();
            }) as Body,
        ]
    });
}

#[test]
fn an_inner_block_on_leaves_the_outer_its_wake_up() {
    explore(|| {
        let (outer, inner) = (Flag::new(), Flag::new());
        let (a, b) = (outer.clone(), inner.clone());
        let polls = Arc::new(AtomicUsize::new(0));
        vec![
            Box::new(move || a.raise()),
            Box::new(move || b.raise()),
            Box::new(move || {
                block_on(poll_fn(|context| {
                    *outer.waker.lock().unwrap() = Some(context.waker().clone());
                    if polls.fetch_add(1, Ordering::Relaxed) == 0 {
                        // Looks first, and then waits for something else.
                        let set = outer.set.load(Ordering::Acquire);
                        inner.wait();
                        return if set { Poll::Ready(()) } else { Poll::Pending };
                    }
                    if outer.set.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
                }));
            }) as Body,
        ]
    });
}
