//! Channels and selects, of small values and of large ones.

use core::hint::black_box;

use trefoil::prelude::*;

use crate::Table;

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
