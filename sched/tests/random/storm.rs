//! Random programs on one channel: senders, receivers and somebody who closes, each doing what its
//! random stream says.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::Random;
use crate::api::*;
use chan::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError, bounded, unbounded};

/// A value, and a share in the count of those that live.
struct Value {
    sender: usize,
    number: usize,
    alive: Arc<AtomicUsize>,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// The things that all G's of a round share.
struct Round {
    /// `close` has returned.
    closed: AtomicBool,
    alive: Arc<AtomicUsize>,
}

/// Sends its values in order, until the channel is closed; returns how many were taken.
fn send(round: &Round, sender: usize, tx: &Sender<Value>, most: usize, mut random: Random) -> usize {
    for number in 0..most {
        random.pause();
        round.alive.fetch_add(1, SeqCst);
        let mut value = Value { sender, number, alive: round.alive.clone() };
        let late = round.closed.load(SeqCst);
        let sent = loop {
            value = match random.below(3) {
                0 => match tx.try_send(value) {
                    Ok(()) => break true,
                    Err(TrySendError::Disconnected(_)) => break false,
                    Err(TrySendError::Full(value)) => value,
                },
                1 => match tx.send_timeout(value, Duration::from_micros(random.below(100))) {
                    Ok(()) => break true,
                    Err(SendTimeoutError::Disconnected(_)) => break false,
                    Err(SendTimeoutError::Timeout(value)) => value,
                },
                _ => break tx.send(value).is_ok(),
            };
            runtime::yield_now();
        };
        assert!(!(sent && late), "sender {sender}: {number} was taken after the close");
        if !sent {
            return number;
        }
    }
    most
}

/// Receives until the channel is closed and empty, or until it has had enough; returns what it got.
fn receive(rx: &Receiver<Value>, enough: usize, mut random: Random) -> Vec<(usize, usize)> {
    let mut got = Vec::new();
    while got.len() < enough {
        random.pause();
        let value = match random.below(3) {
            0 => match rx.try_recv() {
                Ok(value) => value,
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => break,
            },
            1 => match rx.recv_timeout(Duration::from_micros(random.below(100))) {
                Ok(value) => value,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            },
            _ => match rx.recv() {
                Ok(value) => value,
                Err(_) => break,
            },
        };
        got.push((value.sender, value.number));
    }
    if got.len() < enough {
        assert!(rx.recv().is_err() && rx.try_recv().is_err(), "a value came after the end");
    }
    got
}

/// One program.
pub fn round(seed: u64) {
    let mut random = Random::new(seed);
    let capacity = random.one_of(&[0, 0, 1, 2, 7, 64]);
    let (senders, receivers) = (1 + random.below(5) as usize, 1 + random.below(5) as usize);
    let most = 1 + random.below(150) as usize;
    let closes = random.below(3) == 0;
    // Some have enough before all is received: then the other values are dropped with the channel.
    let enough = random.one_of(&[usize::MAX, usize::MAX, 20]);

    let shared = Arc::new(Round { closed: AtomicBool::new(false), alive: Arc::new(AtomicUsize::new(0)) });
    let (tx, rx) = if random.below(4) == 0 { unbounded() } else { bounded(capacity) };
    let sending: Vec<_> = (0..senders)
        .map(|sender| {
            let (shared, tx, random) = (shared.clone(), tx.clone(), random.fork());
            go(move || send(&shared, sender, &tx, most, random))
        })
        .collect();
    let receiving: Vec<_> = (0..receivers)
        .map(|_| {
            let (rx, random) = (rx.clone(), random.fork());
            go(move || receive(&rx, enough, random))
        })
        .collect();
    drop(rx);
    if closes {
        (0..random.below(20)).for_each(|_| random.pause());
        tx.close();
        shared.closed.store(true, SeqCst);
    }
    drop(tx);
    let sent: Vec<usize> = sending.into_iter().map(|g| g.join().unwrap()).collect();
    let got: Vec<Vec<_>> = receiving.into_iter().map(|g| g.join().unwrap()).collect();

    assert_eq!(shared.alive.load(SeqCst), 0, "seed {seed}: values were lost, or dropped twice");
    for one in &got {
        for sender in 0..senders {
            let numbers: Vec<_> = one.iter().filter(|v| v.0 == sender).map(|v| v.1).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: not in order from sender {sender}: {numbers:?}");
        }
    }
    let mut all: Vec<_> = got.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}: received twice");
    if enough == usize::MAX {
        let expected = sent.iter().enumerate().flat_map(|(sender, &n)| (0..n).map(move |number| (sender, number)));
        assert!(all.into_iter().eq(expected), "seed {seed}: what was sent is not what was received");
    } else {
        assert!(all.iter().all(|&(sender, number)| number < sent[sender]), "seed {seed}: received and not sent");
    }
}
