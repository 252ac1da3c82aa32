//! Goroutines that pass values on: trees, rings and rows of them.

use trefoil::prelude::*;

use crate::Took;

fn node(up: &Sender<u64>, first: u64, leaves: u64) {
    if leaves == 1 {
        return up.send(first).unwrap();
    }
    let (tx, rx) = chan::bounded(0);
    for child in 0..10 {
        let tx = tx.clone();
        drop(go(move || node(&tx, first + child * (leaves / 10), leaves / 10)));
    }
    up.send((0..10).map(|_| rx.recv().unwrap()).sum()).unwrap();
}

/// A tree of goroutines, ten children to a node: every leaf sends its number up, every node the sum
/// of its children.
pub fn skynet(leaves: u64) -> Took {
    let begin = Instant::now();
    let (tx, rx) = chan::bounded(0);
    drop(go(move || node(&tx, 0, leaves)));
    let sum = rx.recv().unwrap();
    let took = Took::since(begin);
    assert_eq!(sum, leaves * (leaves - 1) / 2);
    took
}

/// A number goes round 503 goroutines and is one less after each, until it is 0.
pub fn ring(hops: u64) -> Took {
    const MEMBERS: u64 = 503;
    let begin = Instant::now();
    let (done_tx, done) = chan::bounded(1);
    let (first, mut rx) = chan::bounded::<u64>(0);
    for i in 1..=MEMBERS {
        let (tx, next) = if i == MEMBERS { (first.clone(), chan::never()) } else { chan::bounded(0) };
        let done = done_tx.clone();
        drop(go(move || {
            for n in &rx {
                if n == 0 {
                    return done.send(i).unwrap();
                }
                if tx.send(n - 1).is_err() {
                    return;
                }
            }
        }));
        rx = next;
    }
    first.send(hops).unwrap();
    let last = done.recv().unwrap();
    let took = Took::since(begin);
    assert_eq!(last, hops % MEMBERS + 1);
    took
}

/// The first 2,000 primes: a goroutine a prime, which lets through what that prime does not divide.
pub fn sieve() -> Took {
    let begin = Instant::now();
    let (tx, mut rx) = chan::bounded(0);
    drop(go(move || _ = (2u64..).try_for_each(|i| tx.send(i))));
    let (mut last, mut sum) = (0, 0);
    for _ in 0..2000 {
        last = rx.recv().unwrap();
        sum += last;
        let (tx, next) = chan::bounded(0);
        let (unsifted, prime) = (rx, last);
        drop(go(move || _ = unsifted.iter().filter(|i| i % prime != 0).try_for_each(|i| tx.send(i))));
        rx = next;
    }
    let took = Took::since(begin);
    assert_eq!((last, sum), (17_389, 16_274_627));
    took
}

/// One goroutine sends `values` numbers to 100 that receive them from the same channel.
pub fn consumers(capacity: usize, values: u64) -> Took {
    let begin = Instant::now();
    let (tx, rx) = chan::bounded(capacity);
    let consumers: Vec<_> = (0..100)
        .map(|_| {
            let rx = rx.clone();
            go(move || {
                let (mut count, mut sum, mut last) = (0u64, 0u64, 0u64);
                for value in &rx {
                    assert!(value > last || count == 0, "values come in order");
                    count += 1;
                    sum += value;
                    last = value;
                }
                (count, sum)
            })
        })
        .collect();
    drop(rx);
    (0..values).for_each(|value| tx.send(value).unwrap());
    drop(tx);
    let results: Vec<_> = consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect();
    let took = Took::since(begin);
    assert_eq!(results.iter().map(|(count, _)| count).sum::<u64>(), values);
    assert_eq!(results.iter().map(|(_, sum)| sum).sum::<u64>(), values * (values - 1) / 2);
    took
}

/// One goroutine receives from eight others, whichever is ready.
pub fn select_of_8(values: u64) -> Took {
    let begin = Instant::now();
    let mut open = Vec::new(); // Go's channels are not closed here either.
    let receivers: [Receiver<u64>; 8] = core::array::from_fn(|_| {
        let (tx, rx) = chan::bounded(0);
        open.push(tx.clone());
        drop(go(move || (0..values / 8).for_each(|value| tx.send(value).unwrap())));
        rx
    });
    let [r0, r1, r2, r3, r4, r5, r6, r7] = &receivers;
    let mut sum = 0;
    for _ in 0..values {
        let value = select! {
            recv(r0) -> value => value,
            recv(r1) -> value => value,
            recv(r2) -> value => value,
            recv(r3) -> value => value,
            recv(r4) -> value => value,
            recv(r5) -> value => value,
            recv(r6) -> value => value,
            recv(r7) -> value => value,
        };
        sum += value.unwrap();
    }
    let took = Took::since(begin);
    drop(open);
    assert_eq!(sum, values * (values / 8 - 1) / 2);
    took
}

/// Numbers pass through eight goroutines in a row, each of which adds 1.
pub fn pipe(capacity: usize, values: u64) -> Took {
    const STAGES: u64 = 8;
    let begin = Instant::now();
    let (source, mut rx) = chan::bounded::<u64>(capacity);
    drop(go(move || (0..values).for_each(|value| source.send(value).unwrap())));
    for _ in 0..STAGES {
        let (tx, next) = chan::bounded(capacity);
        let stage = rx;
        drop(go(move || stage.iter().for_each(|value| tx.send(value + 1).unwrap())));
        rx = next;
    }
    let sum: u64 = rx.iter().sum();
    let took = Took::since(begin);
    assert_eq!(sum, values * (values - 1) / 2 + STAGES * values);
    took
}
