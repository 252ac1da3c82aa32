//! A death at every instruction: a goroutine that is ended anywhere inside any public operation
//! takes nobody along.
//!
//! A victim performs an operation and is ended at the n-th of its instructions, for n = 1, 2, 3…
//! until the operation has fewer (`arch/x86_64/step.rs`). Each time a checker then uses what the
//! victim has used. It gets the object, or it panics with the victim's name, or its attempt says
//! that the object is held. It never hangs. A fresh goroutine, a timer and an allocation show that
//! the machine goes on.
//!
//! `app.deaths=N` spreads N deaths over each operation's instructions. `make test-large` takes
//! nearly all of them.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

use futures_util::Stream;
use trefoil::context::Context;
use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::panic;
use trefoil::prelude::*;
use trefoil::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, TryLockError, WaitGroup};
use trefoil::testing::step;
use trefoil::{JoinError, PreemptGuard};

image! {
    in_scheduling:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_channels:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_selects:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_locks:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_once:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_counting:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_timers:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_groups:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_contexts:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_memory:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_the_runtime:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_panics:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_crowds:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_set_max_procs:
        "smp 2,4 | append app.deaths=12",
        "large | smp 2,4 | append app.deaths=1500 | timeout 900";
    in_stdin:
        "smp 1,2 | append app.deaths=40 | stdin flood 200000 | timeout 100",
        "smp 1,2 | append app.deaths=12 | stdin paced 200000 | timeout 100",
        "large | smp 1,2 | append app.deaths=1500 | stdin flood 2000000 | timeout 900";
}

/// How long anybody waits for a checker, or for somebody who is told to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many deaths each operation sees, evenly spread.
fn deaths() -> u64 {
    runtime::args().find_map(|word| word.strip_prefix("deaths=")?.parse().ok()).unwrap_or(u64::MAX)
}

/// Ends a victim at `deaths()` instructions of `op`, on fresh objects from `make`, and lets `check`
/// use these.
fn sweep<S: Send + Sync + 'static>(what: &str, make: impl Fn() -> S, op: fn(&S), check: fn(&S)) {
    const ALL: u64 = u64::MAX;
    step::quiet_deaths(true);
    // Nobody dies at first: memory becomes warm, and the boundaries are counted.
    let count = || {
        let shared = Arc::new(make());
        let theirs = shared.clone();
        assert!(!go(move || step::die(ALL, || op(&theirs))).join().unwrap());
        judge(what, 0, go(move || check(&shared)));
        step::counted(ALL)
    };
    let length = count().min(count());
    assert!(length >= 20, "{what}: only {length} boundaries");
    let step = (length / deaths()).max(1);
    let (mut n, mut deaths, mut missed) = (1, 0, 0);
    while missed < 3 {
        let shared = Arc::new(make());
        let theirs = shared.clone();
        let victim = Builder::new().name("victim").spawn(move || step::die(n, || op(&theirs))).unwrap();
        let victim = victim.join_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}, {n}: the victim hangs"));
        match victim {
            Err(JoinError::StackOverflow) => (deaths, missed) = (deaths + 1, 0),
            Ok(false) => missed += 1,
            other => panic!("{what}, {n}: the victim ended with {other:?}"),
        }
        judge(what, n, Builder::new().name("checker").spawn(move || check(&shared)).unwrap());
        let fresh = go(|| {
            time::sleep(Duration::from_micros(1));
            Box::new(7)
        });
        assert_eq!(*fresh.join().unwrap(), 7);
        n += step;
    }
    println!("{what}: {deaths} deaths in {length} boundaries");
    step::quiet_deaths(false);
}

/// The checker comes to its end, or to a panic that names the victim.
fn judge(what: &str, n: u64, checker: JoinHandle<()>) {
    match checker.join_timeout(PATIENCE) {
        Ok(Ok(())) => {}
        Ok(Err(JoinError::Panicked(payload))) => {
            let text = payload.downcast_ref::<String>().map_or("?", String::as_str);
            assert!(text.contains("\"victim\""), "{what}, {n}: {text}");
        }
        Ok(Err(other)) => panic!("{what}, {n}: the checker ended with {other}"),
        Err(_) => panic!("{what}, {n}: the checker hangs"),
    }
}

fn nothing<S>(_: &S) {}

fn in_scheduling() {
    sweep("yield", || (), |()| runtime::yield_now(), nothing);
    sweep("sleep", || (), |()| time::sleep(Duration::from_micros(20)), nothing);
    sweep("pin", || (), |()| drop(runtime::pin()), nothing);
    sweep("block in place", || (), |()| runtime::block_in_place(|| _ = black_box(5)), nothing);
    sweep("guard", || (), |()| drop(PreemptGuard::new()), nothing);
}

/// Both ends of one channel, and of one that answers.
struct Ends<T> {
    tx: Sender<T>,
    rx: Receiver<T>,
}

fn ends<T>((tx, rx): (Sender<T>, Receiver<T>)) -> Ends<T> {
    Ends { tx, rx }
}

/// Two others pass a value through.
fn passes(tx: &Sender<u64>, rx: &Receiver<u64>) {
    let (tx, wanted) = (tx.clone(), 0x5eed);
    let sender = go(move || tx.send_timeout(wanted, PATIENCE / 2).is_ok());
    loop {
        match rx.recv_timeout(PATIENCE / 2) {
            Ok(value) if value == wanted => break,
            Ok(_) => {}
            Err(error) => panic!("no value came through: {error}"),
        }
    }
    assert!(sender.join().unwrap());
}

/// Somebody answers for a while.
fn echo(from: &Receiver<u64>, to: &Sender<u64>) -> JoinHandle<()> {
    let (from, to) = (from.clone(), to.clone());
    go(move || {
        while let Ok(value) = from.recv_timeout(Duration::from_millis(2)) {
            let _ = to.send_timeout(value + 1, Duration::from_millis(2));
        }
    })
}

fn in_channels() {
    let pair = || {
        let (to, back) = (ends(chan::bounded(0)), ends(chan::bounded(0)));
        let echo = echo(&to.rx, &back.tx);
        (to, back, Mutex::new(Some(echo)))
    };
    sweep(
        "rendezvous",
        pair,
        |(to, back, _)| {
            let _ = to.tx.send_timeout(1, Duration::from_millis(1));
            let _ = back.rx.recv_timeout(Duration::from_millis(1));
        },
        |(to, back, echo)| {
            echo.lock().unwrap().take().into_iter().for_each(|echo| echo.join().unwrap());
            passes(&to.tx, &to.rx);
            passes(&back.tx, &back.rx);
        },
    );
    let through = |ends: &Ends<u64>| {
        ends.tx.send(1).unwrap();
        let _ = ends.rx.try_recv();
    };
    let goes_on = |ends: &Ends<u64>| passes(&ends.tx, &ends.rx);
    sweep("buffered", || ends(chan::bounded(2)), through, goes_on);
    sweep("unbounded", || ends(chan::unbounded()), through, goes_on);
    sweep(
        "large values",
        || ends(chan::bounded(1)),
        |ends: &Ends<[u64; 200]>| {
            let _ = ends.tx.try_send(black_box([3; 200]));
            let _ = ends.rx.try_recv().map(|value| assert_eq!(value, [3; 200]));
        },
        |ends| {
            let _ = ends.rx.try_recv();
            ends.tx.send_timeout([4; 200], PATIENCE / 2).unwrap();
            assert_eq!(ends.rx.recv_timeout(PATIENCE / 2), Ok([4; 200]));
        },
    );
    let whole = |(tx, rx): (Sender<[u64; 512]>, Receiver<[u64; 512]>)| ends((tx, rx));
    let large = |ends: &Ends<[u64; 512]>| {
        let _ = ends.tx.try_send(black_box([3; 512]));
        let _ = ends.rx.try_recv().map(|value| assert_eq!(value, [3; 512]));
    };
    let large_goes_on = |ends: &Ends<[u64; 512]>| {
        let _ = ends.rx.try_recv();
        ends.tx.send_timeout([4; 512], PATIENCE / 2).unwrap();
        assert_eq!(ends.rx.recv_timeout(PATIENCE / 2), Ok([4; 512]));
    };
    sweep("a page, buffered", || whole(chan::bounded(1)), large, large_goes_on);
    sweep("a page, unbounded", || whole(chan::unbounded()), large, large_goes_on);
    sweep(
        "stream",
        || ends(chan::bounded::<u64>(2)),
        |ends| {
            ends.tx.send(1).unwrap();
            let mut stream = ends.rx.clone().into_stream();
            let next = core::future::poll_fn(|cx| Stream::poll_next(core::pin::Pin::new(&mut stream), cx));
            assert_eq!(task::block_on(next), Some(1));
        },
        goes_on,
    );
    sweep(
        "close",
        || ends(chan::bounded::<u64>(1)),
        |ends| ends.tx.close(),
        |ends| {
            let _ = ends.tx.send_timeout(1, Duration::from_millis(1));
            let _ = ends.rx.recv_timeout(Duration::from_millis(1));
        },
    );
}

fn in_selects() {
    let two = || (ends(chan::bounded::<u64>(1)), ends(chan::bounded::<u64>(0)));
    let go_on = |(a, b): &(Ends<u64>, Ends<u64>)| {
        passes(&a.tx, &a.rx);
        passes(&b.tx, &b.rx);
    };
    sweep(
        "select, ready",
        two,
        |(a, b)| {
            a.tx.send(1).unwrap();
            select! {
                recv(a.rx) -> _ => {},
                send(b.tx, 2) -> _ => {},
            }
        },
        go_on,
    );
    sweep(
        "select, timeout",
        two,
        |(a, b)| {
            select! {
                recv(a.rx) -> _ => {},
                recv(b.rx) -> _ => {},
                default(Duration::from_micros(20)) => {},
            }
        },
        go_on,
    );
    sweep(
        "select, dynamic",
        two,
        |(a, b)| {
            let mut select = select::Select::new();
            let sends = select.send(&a.tx);
            let receives = select.recv(&b.rx);
            let chosen = select.select();
            match chosen.index() {
                at if at == sends => chosen.send(&a.tx, 1).unwrap(),
                at if at == receives => _ = chosen.recv(&b.rx),
                at => panic!("no arm {at}"),
            }
        },
        go_on,
    );
    // A receiver waits, and is promised what the victim does not send.
    sweep(
        "select, dynamic, to a receiver",
        || {
            let ends = ends(chan::bounded::<u64>(0));
            let rx = ends.rx.clone();
            let receiver = go(move || rx.recv().unwrap());
            time::sleep(Duration::from_micros(50));
            (ends, Mutex::new(Some(receiver)))
        },
        |(ends, _)| {
            let mut select = select::Select::new();
            select.send(&ends.tx);
            if let Ok(chosen) = select.try_select() {
                chosen.send(&ends.tx, 1).unwrap();
            }
        },
        |(ends, receiver)| {
            let receiver = receiver.lock().unwrap().take().unwrap();
            let late = ends.tx.send_timeout(2, Duration::from_millis(2)).is_ok();
            let got = receiver.join_timeout(PATIENCE / 2).expect("a receiver waits for the dead").unwrap();
            assert_eq!(got, if late { 2 } else { 1 });
            passes(&ends.tx, &ends.rx);
        },
    );
}

/// A lock that is free is taken; one that is held by the dead panics with the victim's name, and is
/// not given by `try_lock`.
fn in_locks() {
    let lock = |lock: &Mutex<u64>| *lock.lock().unwrap() += 1;
    sweep(
        "mutex",
        || Mutex::new(0),
        lock,
        |lock| {
            if let Err(TryLockError::WouldBlock) = lock.try_lock() {
                let _granted = lock.lock();
                panic!("a dead goroutine's mutex was granted");
            }
        },
    );
    sweep(
        "contended mutex",
        || {
            let lock = Arc::new(Mutex::new(0u64));
            let theirs = lock.clone();
            let (holds, held) = chan::bounded::<()>(1);
            // Has it when the victim comes, if the host is not too slow.
            let holder = go(move || {
                let mut sum = theirs.lock().unwrap();
                holds.send(()).unwrap();
                time::sleep(Duration::from_micros(100));
                *sum += 1;
            });
            held.recv().unwrap();
            (lock, Mutex::new(Some(holder)))
        },
        |(lock, _)| *lock.lock().unwrap() += 1,
        |(lock, holder)| {
            holder.lock().unwrap().take().into_iter().for_each(|holder| holder.join().unwrap());
            *lock.lock().unwrap() += 1;
        },
    );
    let read = |lock: &RwLock<u64>| _ = black_box(*lock.read().unwrap());
    let write = |lock: &RwLock<u64>| *lock.write().unwrap() += 1;
    let goes_on = |lock: &RwLock<u64>| *lock.write().unwrap() += 1;
    sweep("read lock", || RwLock::new(0), read, goes_on);
    sweep("write lock", || RwLock::new(0), write, goes_on);
    sweep(
        "condvar",
        || (Mutex::new(0), Condvar::new()),
        |(lock, condvar)| {
            let guard = lock.lock().unwrap();
            let _ = condvar.wait_timeout(guard, Duration::from_micros(20));
            condvar.notify_all();
        },
        |(lock, condvar)| {
            condvar.notify_all();
            let _ = condvar.wait_timeout(lock.lock().unwrap(), Duration::from_micros(20));
        },
    );
}

fn in_once() {
    sweep("once", Once::new, |once| once.call_once(|| _ = black_box(1)), |once| once.call_once(|| ()));
    sweep(
        "once lock",
        OnceLock::new,
        |lock| assert_eq!(*lock.get_or_init(|| black_box([5u64; 9])), [5; 9]),
        |lock| assert_eq!(*lock.get_or_init(|| [5; 9]), [5; 9]),
    );
    sweep(
        "once lock, set",
        OnceLock::new,
        |lock| lock.set(black_box([5u64; 9])).unwrap(),
        |lock| assert_eq!(*lock.get_or_init(|| [5; 9]), [5; 9]),
    );
    sweep(
        "lazy lock",
        || LazyLock::new(|| black_box([5u64; 9])),
        |lock| assert_eq!(**lock, [5; 9]),
        |lock| assert_eq!(**lock, [5; 9]),
    );
}

fn in_counting() {
    sweep(
        "semaphore",
        || Semaphore::new(2),
        |permits| drop(permits.acquire()),
        |permits| {
            // One that the dead had is lost, as if forgotten; nobody gets more than there were.
            let available = permits.available_permits();
            assert!((1..=2).contains(&available), "{available} permits");
            let all: Vec<_> = (0..available).map(|_| permits.try_acquire().unwrap()).collect();
            assert!(permits.try_acquire().is_none());
            drop(all);
        },
    );
    sweep("barrier", || Barrier::new(1), |barrier| _ = barrier.wait(), |barrier| _ = barrier.wait());
    sweep(
        "wait group",
        || Arc::new(WaitGroup::new()),
        |group| {
            group.go(|| _ = black_box(1));
            group.wait();
        },
        |group| group.wait(),
    );
}

fn in_timers() {
    sweep(
        "timer",
        || (),
        |()| {
            let timer = time::Timer::new(Duration::from_micros(30));
            timer.reset(Duration::from_secs(1));
            timer.stop();
        },
        nothing,
    );
    sweep(
        "after_func",
        || (),
        |()| _ = time::Timer::after_func(Duration::from_micros(3), || _ = black_box(1)),
        |()| time::sleep(Duration::from_micros(20)),
    );
    sweep("ticker", || (), |()| _ = time::Ticker::new(Duration::from_micros(20)).tick(), nothing);
    sweep("after", || (), |()| _ = chan::after(Duration::from_micros(20)).recv(), nothing);
}

fn in_groups() {
    sweep("spawn and join", || (), |()| assert_eq!(go(|| black_box(3)).join().unwrap(), 3), nothing);
    sweep(
        "scope",
        || AtomicU64::new(0),
        |sum| {
            let mine = AtomicU64::new(1);
            scope(|s| {
                s.go(|| mine.fetch_add(1, Relaxed));
            });
            sum.fetch_add(mine.load(Relaxed), Relaxed);
        },
        |sum| assert!(matches!(sum.load(Relaxed), 0 | 2)),
    );
    sweep(
        "scope of three",
        || Arc::new(AtomicU64::new(0)),
        |sum| {
            let mine = AtomicU64::new(0);
            scope(|s| {
                for _ in 0..2 {
                    s.go(|| mine.fetch_add(1, Relaxed));
                }
                assert!(s.go(|| mine.fetch_add(1, Relaxed) < 3).join().unwrap());
            });
            sum.fetch_add(mine.load(Relaxed), Relaxed);
        },
        |sum| assert!(matches!(sum.load(Relaxed), 0 | 3)),
    );
    sweep(
        "join set of a survivor",
        || Mutex::new(JoinSet::new()),
        |set| _ = set.lock().unwrap().go(|| black_box(3)),
        |set| {
            let mut set = set.lock().unwrap();
            set.go(|| 3);
            while let Some(outcome) = set.join_next_timeout(PATIENCE / 2).unwrap() {
                assert_eq!(outcome.unwrap(), 3);
            }
        },
    );
    sweep(
        "join set",
        || (),
        |()| {
            let mut set = JoinSet::new();
            set.go(|| black_box(3));
            assert_eq!(set.join_next().unwrap().unwrap(), 3);
        },
        nothing,
    );
    sweep(
        "error group",
        || (),
        |()| {
            let group = ErrGroup::<String>::new();
            group.go(|| Err("as it should".to_string()));
            assert!(group.wait().is_err());
        },
        nothing,
    );
    let limited = || {
        let group = ErrGroup::<String>::new();
        group.set_limit(1);
        group
    };
    let start = |group: &ErrGroup<String>| group.go(|| Ok(()));
    let start_two = |group: &ErrGroup<String>| (0..2).for_each(|_| group.go(|| Ok(())));
    let waits = |group: &ErrGroup<String>| {
        group.go(|| Ok(()));
        assert_eq!(group.wait(), Ok(()));
    };
    sweep("error group, start", ErrGroup::new, start, waits);
    sweep("error group, at its limit", limited, start_two, waits);
    sweep("error group, try_go", limited, |group| _ = group.try_go(|| Ok(())), waits);
    let spawned = |(): &()| assert_eq!(task::spawn_future(async { black_box(3) }).join().unwrap(), 3);
    sweep("spawned future", || (), spawned, nothing);
    sweep("future", || (), |()| assert_eq!(task::block_on(async { black_box(3) }), 3), nothing);
}

fn in_contexts() {
    let root = || Context::background().with_cancel();
    sweep(
        "child context",
        root,
        |(root, _)| {
            let (child, cancel) = root.with_cancel();
            cancel.cancel();
            assert!(child.err().is_some());
        },
        |(root, cancel)| {
            let (child, _keep) = root.with_cancel();
            cancel.cancel();
            assert!(child.err().is_some());
        },
    );
    sweep(
        "context with a deadline",
        root,
        |(root, _)| drop(root.with_timeout(Duration::from_micros(20))),
        |(root, cancel)| {
            cancel.cancel();
            assert!(root.err().is_some());
        },
    );
    sweep(
        "cancel",
        root,
        |(_, cancel)| cancel.cancel(),
        |(root, cancel)| {
            cancel.cancel();
            assert!(root.err().is_some());
        },
    );
}

fn in_memory() {
    let large = |(): &()| {
        let mut list: Vec<u64> = Vec::with_capacity(black_box(600));
        list.reserve_exact(black_box(1200));
    };
    sweep("a small block", || (), |()| drop(black_box(Box::new([1u64; 5]))), |()| drop(black_box(Box::new([1u64; 5]))));
    sweep("a large block", || (), large, |()| drop(black_box(Vec::<u64>::with_capacity(1200))));
    goroutine_local! {
        static OWN: AtomicU64 = AtomicU64::new(4);
    }
    sweep("a local", || (), |()| _ = OWN.with(|own| own.fetch_add(1, Relaxed)), nothing);
}

fn in_the_runtime() {
    sweep("print", || (), |()| println!("a line of the victim's"), |()| println!("a line of the checker's"));
    sweep("stats", || (), |()| _ = black_box(runtime::stats().goroutines), nothing);
    sweep("goroutines", || (), |()| _ = black_box(runtime::goroutines().len()), nothing);
    sweep("set_slice", || (), |()| _ = runtime::set_slice(runtime::slice()), nothing);
    sweep("scavenge", || (), |()| _ = runtime::scavenge(), |()| _ = runtime::scavenge());
    sweep("log", trefoil::log::init, |()| log::info!("a line of the victim's"), |()| log::info!("the checker's"));
}

fn in_set_max_procs() {
    static PROCS: AtomicUsize = AtomicUsize::new(0);
    PROCS.store(runtime::max_procs(), Relaxed);
    sweep(
        "set_max_procs",
        || (),
        |()| {
            runtime::set_max_procs(1);
            runtime::set_max_procs(PROCS.load(Relaxed));
        },
        |()| {
            runtime::set_max_procs(PROCS.load(Relaxed));
            assert_eq!(runtime::max_procs(), PROCS.load(Relaxed));
        },
    );
}

/// Returns the number of the next whole line of the flood. What is left of a line that somebody
/// else began is passed by.
fn whole_line() -> u64 {
    loop {
        let line = runtime::stdin().next().expect("the flood is too short");
        if line.len() == 63 {
            return line[..8].parse().unwrap();
        }
        assert!(line.len() < 63, "two lines are one: {line:?}");
    }
}

/// Asserts that a reader comes to its end. What it panics with names the victim, and would do for
/// `judge`.
fn reads<T>(reader: JoinHandle<T>) -> T {
    let joined = reader.join_timeout(PATIENCE / 2).unwrap_or_else(|_| panic!("a reader hangs"));
    joined.unwrap_or_else(|_| panic!("stdin is lost"))
}

/// Asserts that of the lines since the last call `most` were lost or taken, or fewer.
fn goes_on(most: u64) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = reads(go(whole_line));
    let missing = number.checked_sub(LAST.swap(number, Relaxed) + 1).expect("a line came again");
    assert!(missing <= most, "{missing} lines are missing before line {number}");
}

fn a_line() {
    assert!(runtime::stdin().next().is_some(), "the flood is too short");
}

/// The next reader gets the rest: what a dead one has taken is lost with it, and nothing else.
fn in_stdin() {
    assert_eq!(whole_line(), 0);
    sweep("stdin, some bytes", || (), |()| assert!(runtime::stdin().read(&mut [0; 10]) > 0), |()| goes_on(1));
    sweep("stdin, a line", || (), |()| a_line(), |()| goes_on(1));
    // Others wait for their turn while the victim has it.
    sweep(
        "stdin, crowded",
        || Mutex::new((0..2).map(|_| go(a_line)).collect::<Vec<_>>()),
        |_| a_line(),
        |readers| {
            for reader in readers.lock().unwrap().drain(..) {
                reads(reader);
            }
            goes_on(3);
        },
    );
}

fn in_panics() {
    panic::set_hook(Box::new(|_| ()));
    sweep(
        "panic and catch",
        || (),
        |()| {
            let caught = panic::catch_unwind(|| {
                let _kept = Box::new(black_box(3));
                panic!("as it should");
            });
            assert!(caught.is_err());
        },
        nothing,
    );
    sweep(
        "hook",
        || (),
        |()| panic::set_hook(Box::new(|_| ())),
        |()| {
            panic::set_hook(Box::new(|_| ()));
            assert!(panic::catch_unwind(|| panic!("as it should")).is_err());
        },
    );
    sweep("exit", || (), |()| assert!(matches!(go(|| runtime::exit_g()).join(), Err(JoinError::Exited))), nothing);
    let _ = panic::take_hook();
}

/// More than are woken in one piece (`sched/src/waitq.rs`).
const CROWD: usize = 75;

/// Many who wait.
struct Crowd {
    arrived: AtomicUsize,
    gone: AtomicUsize,
}

/// What they wait for, and they.
type Crowded<T> = (Arc<(T, Crowd)>, Mutex<Vec<JoinHandle<()>>>);

/// Many that are in `wait`, or about to.
fn crowd<T: Send + Sync + 'static>(object: T, wait: fn(&T)) -> Crowded<T> {
    let all = crowd_to_come(object, wait);
    all.0.1.assemble();
    all
}

/// Many that will be.
fn crowd_to_come<T: Send + Sync + 'static>(object: T, wait: fn(&T)) -> Crowded<T> {
    let shared = Arc::new((object, Crowd { arrived: AtomicUsize::new(0), gone: AtomicUsize::new(0) }));
    let one = |_| {
        let shared = shared.clone();
        go(move || {
            shared.1.arrived.fetch_add(1, Relaxed);
            wait(&shared.0);
            shared.1.gone.fetch_add(1, Relaxed);
        })
    };
    let all = (0..CROWD).map(one).collect();
    (shared, Mutex::new(all))
}

impl Crowd {
    /// Waits until all have come, and for as long as they take to park.
    fn assemble(&self) {
        while self.arrived.load(Relaxed) < CROWD {
            time::sleep(Duration::from_micros(20));
        }
        time::sleep(Duration::from_micros(100));
    }
}

/// All of them go, if not by the victim then by `release`; or they panic with the victim's name.
fn goes<T>((shared, all): &Crowded<T>, release: impl Fn(&T)) {
    time::sleep(Duration::from_millis(1));
    // Whoever has begun to release them has all of them released, dead or not.
    if shared.1.gone.load(Relaxed) == 0 {
        time::sleep(Duration::from_millis(20));
    }
    if shared.1.gone.load(Relaxed) == 0 {
        release(&shared.0);
    }
    for one in all.lock().unwrap().drain(..) {
        judge("one of the crowd", shared.1.gone.load(Relaxed) as u64, one);
    }
}

fn in_crowds() {
    // 75 reports for each lock that stays held.
    panic::set_hook(Box::new(|_| ()));
    sweep(
        "close, crowded",
        || crowd(chan::bounded::<u64>(0), |(_, rx)| assert!(rx.recv().is_err())),
        |(shared, _)| shared.0.0.close(),
        |all| goes(all, |(tx, _)| tx.close()),
    );
    let waits = |(lock, condvar): &(Mutex<bool>, Condvar)| {
        let mut open = lock.lock().unwrap();
        while !*open {
            open = condvar.wait(open).unwrap();
        }
    };
    sweep(
        "notify_all, crowded",
        move || {
            let all = crowd((Mutex::new(false), Condvar::new()), waits);
            *all.0.0.0.lock().unwrap() = true;
            all
        },
        |(shared, _)| shared.0.1.notify_all(),
        |all| goes(all, |(_, condvar)| condvar.notify_all()),
    );
    sweep(
        "barrier, crowded",
        || crowd(Barrier::new(CROWD + 1), |barrier| _ = barrier.wait()),
        |(shared, _)| _ = shared.0.wait(),
        |all| goes(all, |barrier| _ = barrier.wait()),
    );
    sweep(
        "wait group, crowded",
        || {
            let group = WaitGroup::new();
            group.add(1);
            crowd(group, WaitGroup::wait)
        },
        |(shared, _)| shared.0.done(),
        |all| goes(all, WaitGroup::done),
    );
    sweep(
        "error group, crowded",
        || {
            let (release, released) = chan::bounded::<()>(1);
            let group = ErrGroup::<()>::new();
            group.go(move || Ok(_ = released.recv()));
            crowd((group, release), |(group, _)| group.wait().unwrap())
        },
        |(shared, _)| shared.0.1.close(),
        |all| goes(all, |(_, release)| release.close()),
    );
    // The crowd comes when the victim has the lock.
    let gate = chan::bounded::<()>;
    sweep(
        "write lock, crowded",
        move || {
            crowd_to_come((gate(0), RwLock::new(0)), |((_, gate), lock)| {
                let _ = gate.recv();
                black_box(*lock.read().unwrap());
            })
        },
        |(shared, _)| {
            let mut held = shared.0.1.write().unwrap();
            shared.0.0.0.close();
            shared.1.assemble();
            *held += 1;
        },
        |all| goes(all, |((tx, _), _)| tx.close()),
    );
    sweep(
        "once, crowded",
        move || {
            crowd_to_come((gate(0), Once::new()), |((_, gate), once)| {
                let _ = gate.recv();
                once.call_once(|| ());
            })
        },
        |(shared, _)| {
            shared.0.1.call_once(|| {
                shared.0.0.0.close();
                shared.1.assemble();
            });
        },
        |all| goes(all, |((tx, _), _)| tx.close()),
    );
    let _ = panic::take_hook();
}
