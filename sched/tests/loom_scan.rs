//! A scan of a parked G's stack against those who ready it, on the production state word. The
//! content of the stack is a loom cell. The scan writes it (shrinking and packing), and so does the
//! G when it runs. So a G that runs while it is scanned shows as a data race, and so does a scan of
//! a stack that is still being left. The waker's write before its `ready` is a count, which the G
//! must find up to date. Everything else is Relaxed, so that nothing but the state word carries
//! ordering.
#![cfg(loom)]

mod support;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use support::{cores, g};
use trefoil_sched::internals::state::{Finish, GState, Ready, State};
use trefoil_sched::{GRef, M, PreemptGuard, Sched, model};

/// The number of runs that the G has counted on its own stack, and the number that the last scan
/// saw there.
struct OnStack {
    runs: usize,
    seen: Option<usize>,
}

struct Sleeper {
    state: GState,
    stack: UnsafeCell<OnStack>,
    /// The object's word: the G waits there. The one that clears it readies the G.
    listed: AtomicBool,
    /// How many wake-ups there were, written before `ready`.
    gifts: AtomicUsize,
    runs: AtomicUsize,
    /// How many wake-ups it goes on waiting for.
    parks: AtomicUsize,
}

impl Sleeper {
    /// A G that runs on the model's own thread, and will park `parks` times.
    fn new(parks: usize) -> Arc<Self> {
        let it = Self {
            state: GState::new(),
            stack: UnsafeCell::new(OnStack { runs: 0, seen: None }),
            listed: AtomicBool::new(false),
            gifts: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
            parks: AtomicUsize::new(parks),
        };
        it.state.spawn();
        it.state.dispatch();
        Arc::new(it)
    }

    /// Parks, if the G is to: the last write to its stack, then the list, then the state.
    fn leave(&self) {
        if self.parks.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.parks.fetch_sub(1, Ordering::Relaxed);
        self.state.begin_park();
        // SAFETY: this thread runs the G; that nobody else touches the cell is what loom checks.
        self.stack.with_mut(|s| unsafe { (*s).runs += 1 });
        // Relaxed: the list must not carry the ordering that the state word is there for.
        self.listed.store(true, Ordering::Relaxed);
        if self.state.finish_park() == Finish::Requeue {
            self.run();
        }
    }

    /// Runs the G, as an M does that takes it from a queue. The core that enqueues it runs it here,
    /// so no queue's ordering helps.
    fn run(&self) {
        self.state.dispatch();
        // SAFETY: the M that runs the G owns its context; loom checks that.
        let runs = self.stack.with(|s| unsafe { (*s).runs });
        assert_eq!(self.gifts.load(Ordering::Relaxed), runs, "what the waker wrote is not seen");
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.leave();
    }

    /// Wakes it if it waits.
    fn wake(&self) -> usize {
        if !self.listed.swap(false, Ordering::Relaxed) {
            return 0;
        }
        self.gifts.fetch_add(1, Ordering::Relaxed);
        if self.state.ready() == Ready::Enqueue {
            self.run();
        }
        1
    }

    /// Scans the stack, as the scavenger does. Returns true if it held the G.
    fn scan(&self) -> bool {
        let Some(cold) = self.state.begin_scan() else { return false };
        // SAFETY: the state is Scan: nobody runs the G. Loom checks that.
        self.stack.with_mut(|s| {
            // SAFETY: the state is Scan, so nobody else uses the stack; the reference ends with the
            // closure.
            let s = unsafe { &mut *s };
            assert_eq!(cold, s.seen == Some(s.runs), "Cold, but it has run since; or the other way round");
            s.seen = Some(s.runs);
        });
        if self.state.finish_scan() == Finish::Requeue {
            self.run();
        }
        true
    }

    /// After all threads have ended: every wake-up has run it once, and if nobody woke it, it waits
    /// and can be woken.
    fn check(&self, woken: usize) {
        assert_eq!(self.runs.load(Ordering::Relaxed), woken, "lost or doubled");
        if self.listed.load(Ordering::Relaxed) {
            assert!(self.state.get().is_parked());
            assert_ne!(self.state.get(), State::Scan, "nobody scans it any more");
            assert_eq!(self.wake(), 1);
            assert_eq!(self.runs.load(Ordering::Relaxed), woken + 1);
        }
    }
}

#[test]
fn a_wake_up_during_a_scan_is_run_once_by_the_scanner_or_the_waker() {
    support::cores::model(|| {
        let g = Sleeper::new(1);
        g.leave();
        let waker = {
            let g = g.clone();
            thread::spawn(move || g.wake())
        };
        g.scan();
        let woken = waker.join().unwrap();
        g.check(woken);
    });
}

#[test]
fn a_scan_finds_only_what_has_parked_for_good() {
    support::cores::model(|| {
        let g = Sleeper::new(1);
        let scanner = {
            let g = g.clone();
            thread::spawn(move || g.scan())
        };
        let waker = {
            let g = g.clone();
            thread::spawn(move || g.wake())
        };
        g.leave();
        scanner.join().unwrap();
        let woken = waker.join().unwrap();
        g.check(woken);
    });
}

#[test]
fn two_scans_tell_a_g_that_has_run_between_them_from_one_that_has_not() {
    support::cores::model(|| {
        let g = Sleeper::new(2);
        g.leave();
        let waker = {
            let g = g.clone();
            thread::spawn(move || g.wake())
        };
        g.scan();
        g.scan();
        let woken = waker.join().unwrap();
        g.check(woken);
    });
}

#[test]
fn two_wakers_of_two_parks_and_a_scanner_lose_nothing() {
    support::cores::model(|| {
        let g = Sleeper::new(2);
        g.leave();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let g = g.clone();
                thread::spawn(move || g.wake())
            })
            .collect();
        g.scan();
        g.scan();
        let woken = wakers.into_iter().map(|w| w.join().unwrap()).sum();
        g.check(woken);
    });
}

/// Two M's, each on a thread of its own, and a G that waits.
fn machine() -> (&'static Sched, [&'static M; 2], GRef) {
    let (sched, ms) = support::machine(2, 2);
    let parked = g();
    model::make_parked(parked);
    (sched, [ms[0], ms[1]], parked)
}

#[test]
fn a_g_that_a_scanner_queues_wakes_a_resting_m() {
    cores::model(|| {
        let (sched, [scanner, rester], parked) = machine();
        let found = thread::spawn(move || cores::look(rester));
        cores::run_on(scanner);
        let guard = PreemptGuard::new();
        assert!(sched.scan(&guard, parked, |g, _| {
            // As an interrupt on the scanning core would.
            model::ready(scanner, g);
            assert_eq!(g.state(), State::ScanReady, "queued while it is scanned");
        }));
        assert!(std::ptr::eq(found.join().unwrap(), parked));
    });
}

/// The scavenger runs on cores that are about to rest: those have no P to queue the G on, and can
/// be woken already.
#[test]
fn a_g_that_a_resting_scanner_queues_is_found_by_it() {
    cores::model(|| {
        let (sched, [waker, rester], parked) = machine();
        let found = thread::spawn(move || {
            cores::run_on(rester);
            cores::before_rest(Box::new(move |_| {
                sched.scan(&PreemptGuard::new(), parked, |_, _| {});
            }));
            model::next_g(rester)
        });
        model::ready(waker, parked);
        assert!(std::ptr::eq(found.join().unwrap(), parked));
    });
}

/// As before, and another M rests: whichever of them is woken finds it.
#[test]
fn a_g_that_a_resting_scanner_queues_is_found_by_somebody() {
    cores::model(|| {
        let (sched, [a, b], parked) = machine();
        // The core that finds the G hands the other one a second, so that both come to an end.
        let look = move |m: &'static M| {
            let found = cores::look(m);
            if std::ptr::eq(found, parked) {
                let second = g();
                model::make_runnable(second);
                model::submit(m, second);
            }
        };
        let other = thread::spawn(move || look(b));
        cores::run_on(a);
        cores::before_rest(Box::new(move |m| {
            // Readied while it is held, so that it is queued by a core without a P.
            sched.scan(&PreemptGuard::new(), parked, |g, _| model::ready(m, g));
        }));
        look(a);
        other.join().unwrap();
    });
}
