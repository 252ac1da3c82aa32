//! Deaths in channels and selects.

use core::hint::black_box;

use futures_util::Stream;
use trefoil::prelude::*;
use trefoil::sync::Mutex;

use crate::{PATIENCE, sweep};

/// Both ends of one channel, and of one that answers.
struct Ends<T> {
    tx: Sender<T>,
    rx: Receiver<T>,
}

fn ends<T>((tx, rx): (Sender<T>, Receiver<T>)) -> Ends<T> {
    Ends { tx, rx }
}

/// Asserts that another G can pass a value through to this one.
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

/// Starts a G that answers for a while.
fn echo(from: &Receiver<u64>, to: &Sender<u64>) -> JoinHandle<()> {
    let (from, to) = (from.clone(), to.clone());
    go(move || {
        while let Ok(value) = from.recv_timeout(Duration::from_millis(2)) {
            let _ = to.send_timeout(value + 1, Duration::from_millis(2));
        }
    })
}

pub fn in_channels() {
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

pub fn in_selects() {
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
