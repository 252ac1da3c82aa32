//! Random programs on several channels at once: G's that select, and G's that do not.

use super::Random;
use crate::api::*;
use chan::{RecvError, RecvTimeoutError, bounded, never, unbounded};

/// By whom, and its how-manieth.
type Value = (usize, usize);

/// A channel of a random kind.
fn channel(random: &mut Random) -> (Sender<Value>, Receiver<Value>) {
    match random.below(5) {
        0 => unbounded(),
        n => bounded([0, 1, 3, 0][n as usize - 1]),
    }
}

/// Sends its values in order, each to one of three; gives to which.
fn send(sender: usize, to: &[Sender<Value>; 3], most: usize, mut random: Random) -> Vec<usize> {
    let mut chosen = Vec::new();
    while chosen.len() < most {
        random.pause();
        let value = (sender, chosen.len());
        let one = random.below(3) as usize;
        let [a, b, c] = to;
        let to = match random.below(5) {
            0 => to[one].send(value).ok().map(|()| one),
            1 => to[one].try_send(value).ok().map(|()| one),
            2 => select! {
                send(a, value) -> r => r.ok().map(|()| 0),
                send(b, value) -> r => r.ok().map(|()| 1),
                send(c, value) -> r => r.ok().map(|()| 2),
            },
            3 => select! {
                send(c, value) -> r => r.ok().map(|()| 2),
                send(a, value) -> r => r.ok().map(|()| 0),
                default(Duration::from_micros(random.below(80))) => None,
            },
            _ => select! {
                send(b, value) -> r => r.ok().map(|()| 1),
                send(a, value) -> r => r.ok().map(|()| 0),
                default => None,
            },
        };
        match to {
            Some(to) => chosen.push(to),
            None => runtime::yield_now(),
        }
    }
    chosen
}

/// Receives from three until all are closed and empty; gives what came from which.
fn receive(from: &[Receiver<Value>; 3], mut random: Random) -> [Vec<Value>; 3] {
    let (mut got, mut open) = ([const { Vec::new() }; 3], [true; 3]);
    let off = never();
    while open.contains(&true) {
        random.pause();
        let [a, b, c] = core::array::from_fn(|i| if open[i] { &from[i] } else { &off });
        let one = random.below(3) as usize;
        let came = match random.below(4) {
            // Not for ever: all would stand at one channel, and the senders at another.
            0 if open[one] => match from[one].recv_timeout(Duration::from_micros(random.below(80))) {
                Ok(value) => Some((one, Ok(value))),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some((one, Err(RecvError))),
            },
            1 => select! {
                recv(b) -> v => Some((1, v)),
                recv(c) -> v => Some((2, v)),
                recv(a) -> v => Some((0, v)),
                default => None,
            },
            2 => select! {
                recv(c) -> v => Some((2, v)),
                recv(a) -> v => Some((0, v)),
                recv(b) -> v => Some((1, v)),
                default(Duration::from_micros(random.below(80))) => None,
            },
            _ => Some(select! {
                recv(a) -> v => (0, v),
                recv(b) -> v => (1, v),
                recv(c) -> v => (2, v),
            }),
        };
        match came {
            Some((i, Ok(value))) => got[i].push(value),
            Some((i, Err(_))) => open[i] = false,
            None => {}
        }
    }
    got
}

/// One program.
pub fn round(seed: u64) {
    let mut random = Random::new(seed);
    let channels: [_; 3] = core::array::from_fn(|_| channel(&mut random));
    let senders = 1 + random.below(4) as usize;
    let most = 1 + random.below(100) as usize;
    let sending: Vec<_> = (0..senders)
        .map(|sender| {
            let (to, random) = (channels.clone().map(|c| c.0), random.fork());
            go(move || send(sender, &to, most, random))
        })
        .collect();
    let receiving: Vec<_> = (0..1 + random.below(4))
        .map(|_| {
            let (from, random) = (channels.clone().map(|c| c.1), random.fork());
            go(move || receive(&from, random))
        })
        .collect();
    drop(channels);
    let sent: Vec<Vec<usize>> = sending.into_iter().map(|g| g.join().unwrap()).collect();
    let got: Vec<[Vec<Value>; 3]> = receiving.into_iter().map(|g| g.join().unwrap()).collect();

    for i in 0..3 {
        for (one, sender) in got.iter().flat_map(|got| (0..senders).map(move |sender| (&got[i], sender))) {
            let numbers: Vec<_> = one.iter().filter(|v| v.0 == sender).map(|v| v.1).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: not in order from sender {sender}: {numbers:?}");
        }
        let mut came: Vec<Value> = got.iter().flat_map(|got| got[i].iter().copied()).collect();
        came.sort_unstable();
        let all = sent.iter().enumerate().flat_map(|(sender, chosen)| {
            chosen.iter().enumerate().filter(|(_, to)| **to == i).map(move |(number, _)| (sender, number))
        });
        assert!(came.iter().copied().eq(all), "seed {seed}: what went into channel {i} is not what came out: {came:?}");
    }
}
