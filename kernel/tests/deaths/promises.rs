//! Promises to a dynamic select whose goroutine dies. A place that is not given back breaks
//! INV-ROOM.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use trefoil::prelude::*;
use trefoil::runtime::WaitReason;

use crate::deep::until;
use crate::{ALL, Death, die, quiet, waiting};

/// Dies when a dynamic select has chosen to send, before there is a value.
fn is_promised_and_dies(tx: &Sender<u32>, how: Death) {
    let tx = tx.clone();
    let joined = go(move || {
        let mut select = select::Select::new();
        select.send(&tx);
        let _chosen = select.select();
        die(how);
    })
    .join();
    assert!(how.is(&joined));
}

/// A receiver that waits in each of the ways, a place in the ring, nothing at a closed channel.
pub fn what_a_select_was_promised_is_given_back() {
    quiet();
    const LONG: Duration = Duration::from_secs(1000);
    const MANY: usize = 200;
    type Receive = fn(&Receiver<u32>) -> Option<u32>;
    let ways: [(Receive, WaitReason); 3] = [
        (|rx| rx.recv().ok(), WaitReason::ChanRecv),
        (|rx| rx.recv_timeout(LONG).ok(), WaitReason::ChanRecv),
        (|rx| select! { recv(rx) -> value => value.ok() }, WaitReason::Select),
    ];
    for how in ALL {
        for (receive, reason) in ways {
            for room in [0, 1] {
                let (tx, rx) = chan::bounded(room);
                let receiver = Builder::new().name("waiter").spawn(move || receive(&rx)).unwrap();
                until(|| waiting(reason) == 1);
                is_promised_and_dies(&tx, how);
                // The receiver waits on, and another sender dies with a promise.
                until(|| waiting(reason) == 1);
                is_promised_and_dies(&tx, how);
                tx.send(5).unwrap();
                assert_eq!(receiver.join().unwrap(), Some(5));
            }
        }
        let (tx, rx) = chan::bounded(2);
        tx.send(1).unwrap();
        is_promised_and_dies(&tx, how);
        assert_eq!(tx.try_send(2), Ok(()), "a place is lost");
        assert!(tx.try_send(3).is_err(), "a place was given back twice");
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
        // A sender waits for the place.
        tx.send(1).unwrap();
        let (promised, dies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let victim = {
            let (tx, promised, dies) = (tx.clone(), promised.clone(), dies.clone());
            go(move || {
                let mut select = select::Select::new();
                select.send(&tx);
                let _chosen = select.select();
                promised.store(true, SeqCst);
                until(|| dies.load(SeqCst));
                die(how);
            })
        };
        until(|| promised.load(SeqCst));
        let sends = tx.clone();
        let sender = Builder::new().name("waiter").spawn(move || sends.send(2)).unwrap();
        until(|| waiting(WaitReason::ChanSend) == 1);
        dies.store(true, SeqCst);
        assert!(how.is(&victim.join()));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
        // More than is given back at once.
        let (many, takes) = chan::bounded(MANY);
        let all = many.clone();
        let victim = go(move || {
            let promise = |_| {
                let mut select = select::Select::new();
                select.send(&all);
                select.select()
            };
            let chosen: Vec<_> = (0..MANY).map(promise).collect();
            assert!(all.try_send(1).is_err());
            die(how);
            drop(chosen);
        });
        assert!(how.is(&victim.join()));
        // Its joiner may be faster than the undertaker.
        let free = AtomicUsize::new(0);
        until(|| free.fetch_add(usize::from(many.try_send(1).is_ok()), SeqCst) == MANY);
        assert!(many.try_send(1).is_err(), "a place was given back twice");
        drop(takes);
        tx.close();
        is_promised_and_dies(&tx, how);
        assert!(tx.try_send(3).is_err() && rx.recv().is_err());
    }
}

/// A G that leaks a chosen operation holds its promise for ever. The G's death gives the promise
/// back if the channel still exists. A later life of the G's record does not.
pub fn a_leaked_promise_outlives_its_channel() {
    quiet();
    fn leak(tx: &Sender<u32>) {
        let mut select = select::Select::new();
        select.send(tx);
        core::mem::forget(select.select());
    }
    for how in ALL {
        let (kept, keeps) = chan::bounded(1);
        let promised = kept.clone();
        let dies = go(move || {
            for _ in 0..3 {
                let (tx, rx) = chan::bounded(1);
                leak(&tx);
                assert!(tx.try_send(1).is_err());
                drop((tx, rx));
            }
            leak(&promised);
            // Of two that it has, the older one is used.
            let (tx, rx) = chan::bounded(2);
            let mut select = select::Select::new();
            select.send(&tx);
            let chosen = select.select();
            leak(&tx);
            assert_eq!(chosen.send(&tx, 7), Ok(()));
            assert_eq!(rx.recv(), Ok(7));
            die(how);
        });
        assert!(how.is(&dies.join()));
        assert_eq!(kept.try_send(2), Ok(()));
        assert_eq!(keeps.recv(), Ok(2));
        // Lives that end well leave it, and the deaths of those who come after them.
        let leaks = kept.clone();
        go(move || leak(&leaks)).join().unwrap();
        // (One after the other: memory fails on one core at a time.)
        for _ in 0..24 {
            assert!(how.is(&go(move || die(how)).join()));
        }
        assert!(kept.try_send(3).is_err());
    }
}
