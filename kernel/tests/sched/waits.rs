//! Goroutines that wait: for a time, a value, a lock, or one another.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use trefoil::prelude::*;
use trefoil::sync::{Mutex, WaitGroup};

use crate::busy;
use crate::cores::wait_for_cores;

pub fn sleepers_wake_in_order_and_never_early() {
    let (tx, rx) = chan::bounded(64);
    let begin = Instant::now() + Duration::from_millis(5);
    let handles: Vec<_> = (0..20u64)
        .rev()
        .map(|i| {
            let tx = tx.clone();
            go(move || {
                let until = begin + Duration::from_millis(i);
                time::sleep_until(until);
                assert!(Instant::now() >= until, "woke early");
                tx.send(i).unwrap();
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    drop(tx);
    let order: Vec<u64> = rx.iter().collect();
    if runtime::max_procs() == 1 {
        assert!(order.is_sorted(), "out of order: {order:?}");
    }
    assert_eq!(order.len(), 20);
    let begin = Instant::now();
    time::sleep(Duration::from_millis(3));
    assert!(begin.elapsed() >= Duration::from_millis(3), "woke early");
    time::sleep(Duration::ZERO);
    time::sleep_until(begin);
}

pub fn a_sleeper_wakes_beside_a_busy_core() {
    wait_for_cores();
    for _ in 0..2 {
        let begin = Instant::now();
        let sleeper = go(move || {
            time::sleep(Duration::from_millis(10));
            begin.elapsed()
        });
        runtime::yield_now();
        busy(Duration::from_millis(200));
        let woke = sleeper.join().unwrap();
        assert!(woke < Duration::from_millis(120), "a 10 ms sleeper woke after {woke:?} beside idle cores");
    }
}

pub fn channels_keep_order_and_close() {
    for capacity in [0, 1, 3, 100] {
        let (tx, rx) = chan::bounded::<u64>(capacity);
        assert_eq!(rx.capacity(), Some(capacity));
        let producer = go(move || (0..500).for_each(|i| tx.send(i).unwrap()));
        assert!(rx.iter().eq(0..500));
        assert!(rx.recv().is_err() && rx.try_recv().is_err());
        producer.join().unwrap();
    }
    // Close wakes both sides, and values that were sent stay.
    let (tx, rx) = chan::bounded::<String>(1);
    tx.send("kept".into()).unwrap();
    let (tx2, waiting) = (tx.clone(), tx.clone());
    let sender = go(move || waiting.send("too late".into()));
    while rx.is_empty() {
        runtime::yield_now();
    }
    time::sleep(Duration::from_millis(5));
    tx2.close();
    assert_eq!(sender.join().unwrap().unwrap_err().into_inner(), "too late");
    assert_eq!(rx.recv().unwrap(), "kept");
    assert!(rx.recv().is_err());
    assert!(tx.send("no".into()).is_err());
    // The last receiver's end reaches a parked sender, and drops what is left.
    let (tx, rx) = chan::bounded::<Arc<()>>(2);
    let value = Arc::new(());
    tx.send(value.clone()).unwrap();
    drop(rx);
    assert_eq!(Arc::strong_count(&value), 1, "a value is left in a channel that nobody can read");
    assert!(tx.send(value).is_err());
}

pub fn mutexes_exclude_and_poison() {
    let m = Arc::new(Mutex::new(0u64));
    let handles: Vec<_> = (0..16)
        .map(|_| {
            let m = m.clone();
            go(move || {
                for i in 0..500 {
                    let mut n = m.lock().unwrap();
                    let seen = *n;
                    if i % 50 == 0 {
                        runtime::yield_now();
                    }
                    *n = seen + 1;
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(*m.lock().unwrap(), 16 * 500);
    let poisoner = m.clone();
    go(move || {
        let _held = poisoner.lock().unwrap();
        panic!("with the lock held");
    })
    .join()
    .unwrap_err();
    assert!(m.is_poisoned());
    assert_eq!(*m.lock().unwrap_err().into_inner(), 16 * 500);
    m.clear_poison();
    assert!(m.lock().is_ok());
}

pub fn a_wait_group_waits_for_all() {
    let (wg, done) = (Arc::new(WaitGroup::new()), Arc::new(AtomicU64::new(0)));
    for _ in 0..20 {
        wg.add(50);
        for _ in 0..50 {
            let (wg, done) = (wg.clone(), done.clone());
            drop(go(move || {
                done.fetch_add(1, SeqCst);
                wg.done();
            }));
        }
        wg.wait();
        assert_eq!(done.load(SeqCst) % 50, 0, "woke too early");
    }
    let extra = wg.clone();
    let error = go(move || extra.done()).join().unwrap_err();
    assert_eq!(error.message(), Some("negative WaitGroup counter"));
}
