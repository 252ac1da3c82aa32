//! Locks that park a goroutine instead of a core, in tests that need the machine: preemption at any
//! instruction, holders that die of an overflow, fairness. (`hosted/tests/locks` and
//! `sched/tests/go` test the rest.)
#![no_std]
#![no_main]

#[path = "locks/parts.rs"]
mod parts;
mod support;

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use parts::*;
use trefoil::JoinError;
use trefoil::prelude::*;
use trefoil::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, TryLockError, WaitGroup};

image! {
    all_of_them_under_load:
        "timeout 120",
        "append slice=50 | timeout 120";
    a_panic_poisons_or_releases;
    a_dead_holder_of_each_is_named:
        "expect has used up its window",
        "append slice=50 | expect has used up its window";
    a_dead_reader_keeps_writers_out: "expect has used up its window";
    a_dead_holder_of_a_part_holds_the_whole: "expect has used up its window";
    parts_under_load:
        "",
        "append slice=50";
    no_token_is_lost:
        "",
        "append slice=50";
    a_token_of_the_dead_counts_and_a_dead_parker_is_left_alone: "expect has used up its window";
    a_dead_member_of_a_scope_is_named: "expect has used up its window";
    slices_are_worked_on_together:
        "",
        "append slice=50";
    deadlines_and_wake_ups_at_the_same_time:
        "timeout 120",
        "append slice=50 | timeout 120";
    nobody_starves_at_a_mutex:
        "icount | timeout 120",
        "append slice=50 | icount | timeout 120";
    a_flood_of_readers_lets_writers_in:
        "icount | timeout 120",
        "append slice=50 | icount | timeout 120";
}

/// Recurses without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// Overflows the stack of the G that calls.
fn overflow() {
    black_box(glut(0));
}

/// Waits until `done()`, letting others run.
fn until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "this never happens");
        runtime::yield_now();
    }
}

/// Works without a call into the scheduler, and ends with a `pause`. Under `-icount`, QEMU before
/// 8.1 gives a core all the time up to the next timer, again and again, unless that core pauses or
/// halts.
fn work(turns: u64) {
    (0..turns).for_each(|i| _ = black_box(i));
    spin_loop();
}

fn join_all<T: Send + 'static>(gs: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    // All of them before the first joins.
    let gs: Vec<_> = gs.into_iter().collect();
    gs.into_iter().map(|g| g.join().unwrap()).collect()
}

/// Starts `n` G's that run `f`, each with its number.
fn crew<T: Send + 'static>(n: usize, f: impl Fn(usize) -> T + Clone + Send + 'static) -> Vec<JoinHandle<T>> {
    (0..n)
        .map(|i| {
            let f = f.clone();
            go(move || f(i))
        })
        .collect()
}

/// Starts a G that runs `f`, whose argument overflows the stack. Returns when the G has begun to
/// die.
fn dies_with(f: impl FnOnce(&dyn Fn()) + Send + 'static) -> JoinHandle<()> {
    let dying = Arc::new(AtomicBool::new(false));
    let flag = dying.clone();
    let g = go(move || {
        f(&|| {
            flag.store(true, SeqCst);
            // Others come to wait.
            (0..3).for_each(|_| runtime::yield_now());
            overflow();
        });
    });
    until(|| dying.load(SeqCst));
    g
}

fn all_of_them_under_load() {
    const ROUNDS: usize = 300;
    let mutex = Arc::new(Mutex::new((0, 0)));
    let rwlock = Arc::new(RwLock::new((0, 0)));
    let (semaphore, inside) = (Arc::new(Semaphore::new(3)), Arc::new(AtomicUsize::new(0)));
    let (barrier, come) = (Arc::new(Barrier::new(12)), Arc::new(AtomicUsize::new(0)));
    let gs = {
        let (mutex, rwlock, semaphore) = (mutex.clone(), rwlock.clone(), semaphore.clone());
        crew(12, move |i| {
            for round in 0..ROUNDS {
                {
                    let mut pair = mutex.lock().unwrap();
                    pair.0 += 1;
                    work(50);
                    pair.1 += 1;
                    assert_eq!(pair.0, pair.1, "two at a mutex");
                }
                if i % 4 == 0 {
                    let mut pair = rwlock.write().unwrap();
                    pair.0 += 1;
                    work(50);
                    pair.1 += 1;
                } else {
                    let pair = rwlock.read().unwrap();
                    let first = pair.0;
                    work(50);
                    assert_eq!(first, pair.1, "a writer beside a reader");
                }
                {
                    let permits = semaphore.acquire_many(i % 3 + 1);
                    let n = permits.num_permits();
                    assert!(inside.fetch_add(n, SeqCst) + n <= 3, "too many inside");
                    work(20);
                    inside.fetch_sub(n, SeqCst);
                }
                if round % 30 == 0 {
                    let all = come.fetch_add(1, SeqCst) / 12;
                    barrier.wait();
                    assert!(come.load(SeqCst) >= (all + 1) * 12, "somebody has not come");
                    barrier.wait();
                }
            }
        })
    };
    join_all(gs);
    assert_eq!(*mutex.lock().unwrap(), (12 * ROUNDS, 12 * ROUNDS));
    assert_eq!(*rwlock.try_write().unwrap(), (3 * ROUNDS, 3 * ROUNDS));
    assert_eq!(semaphore.available_permits(), 3);
    a_queue_of_a_condvar();
    once_by_many();
}

fn a_queue_of_a_condvar() {
    let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let taker = queue.clone();
    let takers = crew(6, move |_| {
        (0..200)
            .map(|_| taker.1.wait_while(taker.0.lock().unwrap(), |q| q.is_empty()).unwrap().pop().unwrap())
            .sum::<usize>()
    });
    let wg = Arc::new(WaitGroup::new());
    for _ in 0..3 {
        let queue = queue.clone();
        wg.go(move || {
            for i in 0..400 {
                queue.0.lock().unwrap().push(i);
                queue.1.notify_one();
            }
        });
    }
    wg.wait();
    assert_eq!(join_all(takers).into_iter().sum::<usize>(), 3 * (0..400).sum::<usize>());
}

fn once_by_many() {
    static LAZY: LazyLock<u64> = LazyLock::new(|| {
        work(20_000);
        9
    });
    for _ in 0..20 {
        let (once, cell, runs) = (Arc::new(Once::new()), Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
        let gs = {
            let (once, cell, runs) = (once.clone(), cell.clone(), runs.clone());
            crew(8, move |i| {
                once.call_once(|| {
                    work(5_000);
                    runs.fetch_add(1, SeqCst);
                });
                assert_eq!(runs.load(SeqCst), 1, "not once, or not done");
                *cell.get_or_init(|| i) + *LAZY as usize
            })
        };
        let all = join_all(gs);
        assert!(all.iter().all(|v| *v == all[0]), "{all:?}");
    }
}

fn a_panic_poisons_or_releases() {
    let panics = |f: fn()| assert!(go(f).join().is_err());
    static MUTEX: Mutex<u32> = Mutex::new(0);
    static RWLOCK: RwLock<u32> = RwLock::new(0);
    static ONCE: Once = Once::new();
    static CELL: OnceLock<u32> = OnceLock::new();
    static LAZY: LazyLock<u32> = LazyLock::new(|| panic!("no value"));
    static SEMAPHORE: Semaphore = Semaphore::new(2);
    panics(|| {
        let _held = MUTEX.lock();
        panic!("with a mutex");
    });
    assert!(MUTEX.is_poisoned() && matches!(MUTEX.try_lock(), Err(TryLockError::Poisoned(_))));
    panics(|| {
        let _held = RWLOCK.read();
        panic!("as a reader");
    });
    assert!(!RWLOCK.is_poisoned() && RWLOCK.try_write().is_ok());
    panics(|| {
        let _held = RWLOCK.write();
        panic!("as a writer");
    });
    assert!(RWLOCK.is_poisoned() && matches!(RWLOCK.try_read(), Err(TryLockError::Poisoned(_))));
    panics(|| ONCE.call_once(|| panic!("in a once")));
    assert_eq!(
        go(|| ONCE.call_once(|| ())).join().unwrap_err().message(),
        Some("Once instance has previously been poisoned")
    );
    ONCE.call_once_force(|state| assert!(state.is_poisoned()));
    panics(|| _ = CELL.get_or_init(|| panic!("in a cell")));
    assert_eq!((CELL.get(), CELL.get_or_init(|| 5)), (None, &5));
    panics(|| _ = *LAZY);
    panics(|| _ = *LAZY);
    panics(|| {
        let _held = SEMAPHORE.acquire_many(2);
        panic!("with permits");
    });
    assert_eq!(SEMAPHORE.available_permits(), 2);
    let wg = Arc::new(WaitGroup::new());
    wg.go(|| panic!("in a group"));
    wg.wait();
}

/// The lock of a dead holder stays held. Its waiters panic with a message that names the death, and
/// an attempt finds it held.
fn a_dead_holder_of_each_is_named() {
    for _ in 0..4 {
        let mutex = Arc::new(Mutex::new(1));
        let held = mutex.clone();
        let dead = dies_with(move |die| {
            let _held = held.lock().unwrap();
            die();
        });
        let waits = mutex.clone();
        are_told(crew(4, move |_| drop(waits.lock())));
        assert!(matches!(dead.join(), Err(JoinError::StackOverflow)));
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));

        let rwlock = Arc::new(RwLock::new(1));
        let held = rwlock.clone();
        let dead = dies_with(move |die| {
            let _held = held.write().unwrap();
            die();
        });
        let waits = rwlock.clone();
        are_told(crew(4, move |i| if i % 2 == 0 { drop(waits.read()) } else { drop(waits.write()) }));
        assert!(matches!(dead.join(), Err(JoinError::StackOverflow)));
        assert!(matches!(rwlock.try_write(), Err(TryLockError::WouldBlock)));

        let once = Arc::new(Once::new());
        let held = once.clone();
        let dead = dies_with(move |die| held.call_once(die));
        let waits = once.clone();
        are_told(crew(4, move |i| if i == 0 { waits.call_once_force(|_| ()) } else { waits.wait_force() }));
        assert!(dead.join().is_err() && !once.is_completed());

        let cell = Arc::new(OnceLock::new());
        let held = cell.clone();
        let dead = dies_with(move |die| {
            held.get_or_init(|| {
                die();
                1
            });
        });
        let waits = cell.clone();
        are_told(crew(4, move |_| _ = waits.get_or_init(|| 2)));
        assert!(dead.join().is_err() && cell.get().is_none());
    }
}

/// Asserts that each of them came to a panic that names a dead goroutine.
fn are_told(gs: Vec<JoinHandle<()>>) {
    for g in gs {
        let error = g.join().expect_err("what a dead goroutine holds was granted");
        assert!(error.message().is_some_and(|text| text.contains("which died of stack overflow")), "{error}");
    }
}

fn a_dead_reader_keeps_writers_out() {
    for others in [0, 3] {
        let rwlock = Arc::new(RwLock::new(1));
        let (stop, reading) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let readers = {
            let (rwlock, stop, reading) = (rwlock.clone(), stop.clone(), reading.clone());
            crew(others, move |_| {
                let value = rwlock.read().unwrap();
                reading.fetch_add(1, SeqCst);
                until(|| stop.load(SeqCst));
                *value
            })
        };
        until(|| reading.load(SeqCst) == others);
        let held = rwlock.clone();
        let dead = dies_with(move |die| {
            let _held = held.read().unwrap();
            die();
        });
        let writers = {
            let rwlock = rwlock.clone();
            crew(2, move |_| *rwlock.write().unwrap() += 1)
        };
        assert!(dead.join().is_err());
        stop.store(true, SeqCst);
        assert!(join_all(readers).into_iter().all(|value| value == 1), "a writer came in beside readers");
        are_told(writers);
        assert_eq!(*rwlock.try_read().unwrap(), 1, "readers are kept out");
        assert!(rwlock.try_write().is_err() && !rwlock.is_poisoned());
    }
}

fn deadlines_and_wake_ups_at_the_same_time() {
    let semaphore = Arc::new(Semaphore::new(0));
    let pair = Arc::new((Mutex::new(0usize), Condvar::new()));
    for round in 0..150u64 {
        let timeout = Duration::from_micros(100 + round * 3);
        let (waits, condvar) = (semaphore.clone(), pair.clone());
        let got = crew(3, move |_| waits.acquire_timeout(timeout).map(|permit| permit.forget()).is_some());
        let told = crew(3, move |_| {
            let value = condvar.0.lock().unwrap();
            let (mut value, result) = condvar.1.wait_timeout_while(value, timeout, |v| *v == 0).unwrap();
            *value -= usize::from(!result.timed_out());
            !result.timed_out()
        });
        time::sleep(timeout - Duration::from_micros(20));
        for _ in 0..2 {
            semaphore.add_permits(1);
            *pair.0.lock().unwrap() += 1;
            pair.1.notify_one();
        }
        let count = |all: Vec<bool>| all.into_iter().filter(|got| *got).count();
        let (got, told) = (count(join_all(got)), count(join_all(told)));
        assert_eq!(semaphore.available_permits() + got, 2, "a permit is lost");
        semaphore.acquire_many(2 - got).forget();
        let mut left = pair.0.lock().unwrap();
        assert_eq!(*left + told, 2, "somebody took what was not there");
        *left = 0;
    }
}

/// Lets `n` G's take a lock again and again for `time`. Returns how often each got it, and the
/// longest wait of any.
fn contest(n: usize, time: Duration, take: impl Fn(&dyn Fn()) + Clone + Send + 'static) -> (Vec<u64>, Duration) {
    let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let gs = {
        let (stop, longest) = (stop.clone(), longest.clone());
        crew(n, move |_| {
            let times = AtomicU64::new(0);
            while !stop.load(SeqCst) {
                let begin = Instant::now();
                take(&|| {
                    longest.fetch_max(begin.elapsed().as_nanos() as u64, SeqCst);
                    times.fetch_add(1, SeqCst);
                    work(500);
                });
            }
            times.load(SeqCst)
        })
    };
    time::sleep(time);
    stop.store(true, SeqCst);
    (join_all(gs), Duration::from_nanos(longest.load(SeqCst)))
}

fn nobody_starves_at_a_mutex() {
    let mutex = Arc::new(Mutex::new(()));
    let (times, longest) = contest(16, Duration::from_millis(300), move |inside| {
        let _held = mutex.lock().unwrap();
        inside();
    });
    let (most, least) = (times.iter().max().unwrap(), times.iter().min().unwrap());
    println!("mutex, 16 G's: {times:?} times, most {most}, least {least}, longest wait {longest:?}");
    assert!(*least > 0, "somebody never got it");
}

fn a_flood_of_readers_lets_writers_in() {
    let rwlock = Arc::new(RwLock::new(()));
    let (reads, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let flood = {
        let (rwlock, reads, stop) = (rwlock.clone(), reads.clone(), stop.clone());
        crew(12, move |_| {
            while !stop.load(SeqCst) {
                let _held = rwlock.read().unwrap();
                reads.fetch_add(1, SeqCst);
                work(500);
            }
        })
    };
    let (times, longest) = contest(4, Duration::from_millis(300), move |inside| {
        let _held = rwlock.write().unwrap();
        inside();
    });
    stop.store(true, SeqCst);
    join_all(flood);
    println!("rwlock, 4 writers: {times:?} times, longest wait {longest:?}, beside {} reads by 12", reads.load(SeqCst));
    assert!(times.iter().all(|times| *times > 0), "a writer never got it");
}
