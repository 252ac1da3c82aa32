//! The operations, a row each.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::*};

use trefoil::PreemptGuard;
use trefoil::context::Context;
use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::panic::{catch_unwind, resume_unwind};
use trefoil::prelude::*;
use trefoil::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, WaitGroup};

use crate::Table;
use crate::deep::deep;

fn with_stack(f: impl FnOnce() + Send + 'static) {
    Builder::new().stack_max(32 << 20).spawn(f).unwrap().join().unwrap();
}

/// Passes 100 values through a channel, between two goroutines.
fn pass<T: Send + 'static>((tx, rx): (Sender<T>, Receiver<T>), n: usize, make: fn() -> T) {
    let other =
        Builder::new().stack_max(32 << 20).spawn(move || (0..n).for_each(|_| tx.send(make()).unwrap())).unwrap();
    let this = Builder::new().stack_max(32 << 20).spawn(move || assert_eq!(rx.iter().count(), n)).unwrap();
    other.join().unwrap();
    this.join().unwrap();
}

pub fn channels(t: &mut Table) {
    t.row("rendezvous", || pass(chan::bounded(0), 100, || 5u64));
    t.row("a channel of 1", || pass(chan::bounded(1), 100, || 5u64));
    t.row("a channel of 128", || pass(chan::bounded(128), 1000, || 5u64));
    t.row("unbounded", || pass(chan::unbounded(), 1000, || 5u64));
    t.row("a channel of 100,000 is made, filled and dropped", || {
        let (tx, rx) = chan::bounded(100_000);
        (0..100_000u64).for_each(|i| tx.send(i).unwrap());
        drop((tx, rx));
    });
    t.row("an unbounded one is filled and dropped", || {
        let (tx, rx) = chan::unbounded();
        (0..100_000u64).for_each(|i| tx.send(i).unwrap());
        drop((tx, rx));
    });
    t.row("4 KiB values, rendezvous", || pass(chan::bounded(0), 20, || [5u8; 4096]));
    t.row("4 KiB values, buffered", || pass(chan::bounded(4), 20, || [5u8; 4096]));
    t.row("4 KiB values, unbounded", || pass(chan::unbounded(), 20, || [5u8; 4096]));
    t.row("try_send, try_recv", || {
        let (tx, rx) = chan::bounded(1);
        for _ in 0..10 {
            tx.try_send(1).unwrap();
            assert!(tx.try_send(2).is_err());
            assert_eq!(rx.try_recv(), Ok(1));
            assert!(rx.try_recv().is_err());
        }
    });
    t.row("send and receive with a timeout", || {
        let (tx, rx) = chan::bounded(0);
        assert!(tx.send_timeout(1, Duration::from_micros(100)).is_err());
        assert!(rx.recv_timeout(Duration::from_micros(100)).is_err());
    });
    t.row("1,000 receivers of a channel that is closed", || {
        let (tx, rx) = chan::bounded::<u8>(0);
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let rx = rx.clone();
                go(move || rx.recv().is_err())
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        tx.close();
        all.into_iter().for_each(|g| assert!(g.join().unwrap()));
    });
    t.row("after, at, tick, never", || {
        chan::after(Duration::from_micros(50)).recv().unwrap();
        chan::at(Instant::now() + Duration::from_micros(50)).recv().unwrap();
        let tick = chan::tick(Duration::from_micros(50));
        (0..5).for_each(|_| _ = tick.recv().unwrap());
        assert!(chan::never::<u8>().try_recv().is_err());
    });
    t.row("select!", || {
        let (tx, rx) = chan::bounded(0);
        let (other, never) = chan::bounded::<u8>(0);
        let g = go(move || (0..50u8).for_each(|i| tx.send(i).unwrap()));
        for _ in 0..50 {
            select! {
                recv(rx) -> it => _ = it.unwrap(),
                recv(never) -> _ => unreachable!(),
            }
        }
        g.join().unwrap();
        select! { recv(never) -> _ => unreachable!(), default => {} }
        select! { recv(never) -> _ => unreachable!(), default(Duration::from_micros(50)) => {} }
        drop(other);
    });
    t.row("Select of 64 channels", || {
        let all: Vec<_> = (0..64).map(|_| chan::bounded::<u8>(1)).collect();
        let mut list = trefoil::select::Select::new();
        all.iter().for_each(|(_, rx)| _ = list.recv(rx));
        assert!(list.try_ready().is_err());
        assert!(list.ready_timeout(Duration::from_micros(50)).is_err());
        all[40].0.send(1).unwrap();
        assert_eq!(list.ready(), 40);
    });
}

fn contend(n: usize, f: impl Fn() + Send + Sync + 'static) {
    let f = Arc::new(f);
    let all: Vec<_> = (0..n)
        .map(|_| {
            let f = f.clone();
            go(move || (0..20).for_each(|_| f()))
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

pub fn locks(t: &mut Table) {
    t.row("Mutex", || {
        let lock = Mutex::new(0);
        contend(10, move || {
            let mut it = lock.lock().unwrap();
            runtime::yield_now();
            *it += 1;
        });
    });
    t.row("RwLock", || {
        let lock = RwLock::new(0);
        contend(10, move || {
            drop(black_box(lock.read().unwrap()));
            let mut it = lock.write().unwrap();
            runtime::yield_now();
            *it += 1;
        });
    });
    t.row("RwLock, 1,000 readers wait", || {
        let lock = Arc::new(RwLock::new(0));
        let held = lock.write().unwrap();
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let lock = lock.clone();
                go(move || *lock.read().unwrap())
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        drop(held);
        all.into_iter().for_each(|g| _ = g.join().unwrap());
    });
    t.row("Condvar, notify_all for 1,000", || {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let pair = pair.clone();
                go(move || drop(pair.1.wait_while(pair.0.lock().unwrap(), |go| !*go).unwrap()))
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        *pair.0.lock().unwrap() = true;
        pair.1.notify_all();
        all.into_iter().for_each(|g| g.join().unwrap());
    });
    t.row("Condvar::wait_timeout", || {
        let (lock, bell) = (Mutex::new(()), Condvar::new());
        _ = bell.wait_timeout(lock.lock().unwrap(), Duration::from_micros(50)).unwrap();
        bell.notify_one();
    });
    t.row("Once, OnceLock, LazyLock", || {
        static LAZY: LazyLock<u64> = LazyLock::new(|| {
            runtime::yield_now();
            5
        });
        let (once, cell) = (Once::new(), OnceLock::new());
        contend(100, move || {
            once.call_once(runtime::yield_now);
            assert_eq!(
                *cell.get_or_init(|| {
                    runtime::yield_now();
                    6
                }),
                6
            );
            assert_eq!(*LAZY, 5);
        });
    });
    t.row("Semaphore", || {
        let permits = Semaphore::new(2);
        contend(20, move || {
            let _it = permits.acquire_many(2);
            runtime::yield_now();
        });
        let permits = Arc::new(Semaphore::new(0));
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let permits = permits.clone();
                go(move || permits.acquire().forget())
            })
            .collect();
        assert!(permits.acquire_timeout(Duration::from_millis(5)).is_none());
        permits.add_permits(1000);
        all.into_iter().for_each(|g| g.join().unwrap());
    });
    t.row("Barrier, WaitGroup", || {
        let barrier = Barrier::new(100);
        contend(100, move || _ = barrier.wait());
        let group = Arc::new(WaitGroup::new());
        (0..1000).for_each(|_| group.go(runtime::yield_now));
        let waits: Vec<_> = (0..1000)
            .map(|_| {
                let group = group.clone();
                go(move || group.wait())
            })
            .collect();
        group.wait();
        waits.into_iter().for_each(|g| g.join().unwrap());
    });
}

pub fn goroutines(t: &mut Table) {
    t.row("go, join", || (0..100).for_each(|i| assert_eq!(go(move || i).join().unwrap(), i)));
    t.row("go 10,000 at once", || {
        let all: Vec<_> = (0..10_000u64).map(|i| go(move || i)).collect();
        all.into_iter().for_each(|g| _ = g.join().unwrap());
    });
    t.row("handles are dropped", || {
        (0..1000).for_each(|_| drop(go(runtime::yield_now)));
        time::sleep(Duration::from_millis(5));
    });
    t.row("scope", || {
        let mut sum = 0;
        scope(|s| {
            let all: Vec<_> = (0..100u64).map(|i| s.go(move || i)).collect();
            sum = all.into_iter().map(|g| g.join().unwrap()).sum();
        });
        assert_eq!(sum, 4950);
    });
    t.row("JoinSet", || {
        let mut set = JoinSet::new();
        (0..1000u64).for_each(|i| _ = set.go(move || i));
        let mut n = 0;
        while set.join_next().is_some() {
            n += 1;
        }
        assert_eq!(n, 1000);
        (0..1000u64).for_each(|i| _ = set.go(move || i));
        assert_eq!(set.join_all().len(), 1000);
    });
    t.row("JoinSet dropped with 1,000 on their way", || {
        let mut set = JoinSet::new();
        (0..1000u64).for_each(|_| _ = set.go(|| time::sleep(Duration::from_millis(1))));
        drop(set);
        time::sleep(Duration::from_millis(10));
    });
    t.row("ErrGroup", || {
        let group = ErrGroup::<u8>::new();
        group.set_limit(10);
        (0..100).for_each(|i| group.go(move || if i == 50 { Err(7) } else { Ok(()) }));
        assert_eq!(group.wait(), Err(7));
    });
    t.row("yield_now, pin, core, current", || {
        (0..100).for_each(|_| runtime::yield_now());
        let pin = runtime::pin();
        runtime::yield_now();
        drop(pin);
        let pinned = Builder::new().name("pinned").pin(0).spawn(runtime::core).unwrap();
        assert_eq!(pinned.join().unwrap(), 0);
        black_box(runtime::current());
    });
    t.row("exit_g", || {
        let g = go(|| runtime::exit_g());
        assert!(g.join().is_err());
    });
    t.row("block_in_place, set_max_procs", || {
        runtime::block_in_place(|| black_box(()));
        runtime::set_max_procs(1);
    });
    t.row("preemption", || {
        static STOP: AtomicU64 = AtomicU64::new(0);
        let before = runtime::set_slice(Duration::from_micros(50));
        let all: Vec<_> = (0..10)
            .map(|_| {
                go(|| {
                    while STOP.load(Relaxed) == 0 {
                        core::hint::spin_loop()
                    }
                })
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        STOP.store(1, SeqCst);
        all.into_iter().for_each(|g| g.join().unwrap());
        runtime::set_slice(before);
    });
    t.row("goroutine_local!", || {
        goroutine_local! { static MINE: core::cell::Cell<u64> = const { core::cell::Cell::new(1) }; }
        contend(10, || MINE.set(MINE.get() + 1));
    });
    t.row("futures", || {
        assert_eq!(task::block_on(async { 5 }), 5);
        task::block_on(time::delay(Duration::from_micros(50)));
        assert_eq!(task::spawn_future(async { 6 }).join().unwrap(), 6);
        assert!(task::block_on(time::timeout(Duration::from_micros(20), core::future::pending::<()>())).is_err());
    });
    t.row("context", || {
        let (parent, cancel) = Context::background().with_cancel();
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let (child, _) = parent.with_timeout(Duration::from_secs(10));
                let child = child.with_value(5u8);
                go(move || child.done().recv().is_err())
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        cancel.cancel();
        all.into_iter().for_each(|g| _ = g.join().unwrap());
        let (late, _keep) = parent.without_cancel().with_deadline(Instant::now() + Duration::from_micros(50));
        _ = late.done().recv();
    });
}

pub fn timers(t: &mut Table) {
    use time::{Ticker, Timer};
    t.row("sleep", || contend(10, || time::sleep(Duration::from_micros(20))));
    t.row("Timer, Ticker", || {
        let timer = Timer::new(Duration::from_micros(20));
        timer.receiver().recv().unwrap();
        timer.reset(Duration::from_secs(1));
        assert!(timer.stop());
        let called = Arc::new(AtomicU64::new(0));
        let also = called.clone();
        let timer = Timer::after_func(Duration::from_micros(20), move || _ = also.fetch_add(1, Relaxed));
        let ticker = Ticker::new(Duration::from_micros(20));
        (0..10).for_each(|_| _ = ticker.tick());
        ticker.reset(Duration::from_micros(50));
        ticker.tick();
        ticker.stop();
        assert_eq!(called.load(Relaxed), 1);
        drop(timer);
    });
    let mut many = Vec::with_capacity(100_000);
    t.row("100,000 timers are started", || {
        let when = |i: u64| Duration::from_secs(1000) + Duration::from_nanos(i * 7919 % 100_000);
        many.extend((0..100_000).map(|i| Timer::new(when(i))));
    });
    t.row("one among 100,000", || {
        contend(10, || time::sleep(Duration::from_micros(20)));
        let (_tx, rx) = chan::bounded::<u8>(0);
        (0..100).for_each(|_| assert!(rx.recv_timeout(Duration::from_micros(10)).is_err()));
        assert!(runtime::stats().timers >= 100_000);
    });
    t.row("100,000 timers are dropped", || drop(many));
    t.row("10,000 sleepers at once", || {
        let when = Instant::now() + Duration::from_millis(200);
        let all: Vec<_> = (0..10_000).map(|_| go(move || time::sleep_until(when))).collect();
        all.into_iter().for_each(|g| g.join().unwrap());
    });
    t.row("10,000 timers ring at once", || {
        let when = Instant::now() + Duration::from_millis(100);
        let all: Vec<_> = (0..10_000).map(|_| chan::at(when)).collect();
        all.iter().for_each(|rx| _ = rx.recv().unwrap());
    });
}

pub fn large_values(t: &mut Table) {
    t.row("1 MiB values, rendezvous", || pass(chan::bounded(0), 3, || [5u8; 1 << 20]));
    t.row("1 MiB values, buffered", || pass(chan::bounded(2), 3, || [5u8; 1 << 20]));
    t.row("1 MiB values, unbounded", || pass(chan::unbounded(), 3, || [5u8; 1 << 20]));
    t.row("1 MiB values, select!", || {
        with_stack(|| {
            let (tx, rx) = chan::bounded::<[u8; 1 << 20]>(0);
            let other = Builder::new()
                .stack_max(32 << 20)
                .spawn(move || {
                    select! { send(tx, [1; 1 << 20]) -> it => it.unwrap() }
                })
                .unwrap();
            let (_keep, never) = chan::bounded::<u8>(0);
            select! {
                recv(rx) -> it => assert!(it.is_ok()),
                recv(never) -> _ => unreachable!(),
            }
            other.join().unwrap();
        })
    });
    t.row("a G with a closure of 1 MiB", || {
        with_stack(|| {
            let big = [3u8; 1 << 20];
            let g = Builder::new().stack_max(32 << 20).spawn(move || black_box(&big)[7]).unwrap();
            assert_eq!(g.join().unwrap(), 3);
        })
    });
    t.row("join gives 1 MiB", || {
        with_stack(|| {
            let g = Builder::new().stack_max(32 << 20).spawn(move || [3u8; 1 << 20]).unwrap();
            assert_eq!(g.join().unwrap()[9], 3);
        })
    });
}

struct PanicsInDrop;
impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

pub fn panics(t: &mut Table) {
    t.row("a panic at join", || assert!(go(|| panic!("told at join")).join().is_err()));
    t.row("a panic that nobody joins", || {
        drop(go(|| panic!("unjoined")));
        time::sleep(Duration::from_millis(5));
    });
    t.row("catch_unwind, resume_unwind", || {
        assert!(catch_unwind(|| panic!("caught")).is_err());
        assert!(catch_unwind(|| resume_unwind(Box::new(5))).is_err());
    });
    t.row("a panic in a destructor while unwinding", || {
        let g = go(|| {
            let _it = PanicsInDrop;
            panic!("the first");
        });
        assert!(g.join().is_err());
    });
    t.row("an overflow", || assert!(go(|| glut(0)).join().is_err()));
    t.row("an overflow on 16 MiB", || {
        assert!(Builder::new().stack_max(16 << 20).spawn(|| glut(0)).unwrap().join().is_err())
    });
}

pub fn memory(t: &mut Table) {
    t.row("Vec grows to 16 MiB", || {
        let mut all = Vec::new();
        (0..2u64 << 20).for_each(|i| all.push(i));
        drop(black_box(all));
    });
    t.row("with_capacity of 600 MiB", || drop(black_box(Vec::<u8>::with_capacity(600 << 20))));
    t.row("a stack grows to 200 KiB", || assert_eq!(go(|| deep(200 << 10, 1)).join().unwrap(), 0));
    t.row("small blocks", || {
        let all: Vec<_> = (0..50_000usize).map(|i| vec![0u8; 8 << (i % 9)]).collect();
        drop(black_box(all));
    });
    // The blocks of a turn lie in as many slabs. In the last turn all the slabs go home, too.
    for (name, size, in_slab) in [("small blocks of many slabs", 16, 508), ("larger blocks of many slabs", 256, 31)] {
        let mut all: Vec<Option<Vec<u8>>> = (0..in_slab * 200).map(|_| Some(Vec::with_capacity(size))).collect();
        t.row(name, || {
            for first in 0..in_slab {
                all.iter_mut().skip(first).step_by(in_slab).for_each(|it| *it = None);
            }
        });
    }
    t.row("heap::trim", || {
        let all: Vec<_> = (0..5_000usize).map(|i| vec![0u8; 8 << (i % 9)]).collect();
        drop(black_box(all));
        trefoil::mm::heap::trim();
    });
    let mut holes: Vec<Option<Vec<u8>>> = Vec::with_capacity(40_000);
    t.row("20,000 holes are made", || {
        holes.extend((0..40_000).map(|_| Some(Vec::with_capacity(3000))));
        holes.iter_mut().step_by(2).for_each(|it| *it = None);
    });
    t.row("allocations amid 20,000 holes", || {
        for size in [3000, 3001, 4096, 5000, 9000, 20_000, 65_536] {
            (0..20).for_each(|_| drop(black_box(Vec::<u8>::with_capacity(size))));
        }
        let some: Vec<_> = (0..100).map(|_| Vec::<u8>::with_capacity(3000)).collect();
        drop(black_box(some));
    });
    t.row("20,000 holes go", || drop(holes));
    t.row("stats, goroutines", || {
        black_box(runtime::stats());
        black_box(runtime::goroutines());
        black_box(runtime::num_goroutines());
        black_box(runtime::args().count());
    });
    t.row("scavenge", || _ = runtime::scavenge());
}

pub fn crowds(t: &mut Table) {
    let (tx, rx) = chan::bounded::<u8>(0);
    let mut all = Vec::with_capacity(100_000);
    t.row("100,000 G's are started", || {
        all.extend((0..100_000).map(|_| {
            let rx = rx.clone();
            go(move || rx.recv().is_err())
        }));
        time::sleep(Duration::from_millis(1));
    });
    t.row("stats, goroutines of 100,000", || {
        black_box(runtime::stats());
        black_box(runtime::goroutines());
    });
    t.row("100,000 parked G's get cold", || time::sleep(Duration::from_secs(1)));
    t.row("scavenge, 100,000 parked", || _ = runtime::scavenge());
    t.row("an overflow beside 100,000 parked", || assert!(go(|| glut(0)).join().is_err()));
    t.row("a lock held by one of them is looked at", || {
        let lock = Arc::new(Mutex::new(()));
        let _held = lock.lock().unwrap();
        assert!(lock.try_lock().is_err());
    });
    t.row("their channel is closed", || drop(tx));
    t.row("100,000 G's end", || all.into_iter().for_each(|g| assert!(g.join().unwrap())));
    t.row("scavenge, after them", || _ = runtime::scavenge());
}

const LATER: Duration = Duration::from_secs(1000);

pub fn procs(t: &mut Table) {
    let start = || {
        (0..10_000u64).map(|i| time::Timer::new(LATER + Duration::from_nanos(i * 7919 % 10_000))).collect::<Vec<_>>()
    };
    // On both P's: while this core is busy, the other one takes the goroutine.
    let here = start();
    let there = go(start);
    while !there.is_finished() {
        core::hint::spin_loop();
    }
    let there = there.join().unwrap();
    time::sleep(Duration::from_millis(5));
    t.row("set_max_procs, 10,000 timers on the P that goes", || assert_eq!(runtime::set_max_procs(1), 2));
    assert!(runtime::stats().timers >= 20_000);
    drop((here, there));
}

pub fn console(t: &mut Table) {
    t.row("println!", || (0..100).for_each(|i| println!("{i:090}")));
    t.row("println!, 20,000 bytes", || println!("{:020000}", 1));
    t.row("print! in pieces", || {
        (0..100).for_each(|i| print!("{i:050} "));
        println!();
    });
    t.row("println! by 20 at once", || contend(20, || println!("{:090}", 5)));
    t.row("log", trefoil::log::init);
    t.row("println! with a guard in hand", || {
        let _guard = PreemptGuard::new();
        println!("{:090}", 1);
    });
    t.row("stdin", || assert_eq!(runtime::stdin().count(), 10));
}
