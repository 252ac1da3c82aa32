//! Histories of a channel.

use super::Random;
use super::history::{Clock, Event, Model, explain};
use crate::api::*;
use chan::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError, bounded, unbounded};

/// A channel as one who is alone with it sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Queue {
    capacity: usize,
    closed: bool,
    values: Vec<u32>,
}

/// The end of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Ok,
    Closed,
    /// `try_send` found no room, or no receiver.
    Full,
    /// The sender gave up.
    TimedOut,
}

/// The end of a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    Value(u32),
    Closed,
    /// `try_recv` found nothing.
    Empty,
    TimedOut,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Send(u32, Sent),
    Recv(Got),
    Close,
    Len(usize),
}

impl Model for Queue {
    type Operation = Operation;

    fn after(&self, what: &Operation) -> Option<Self> {
        let mut next = self.clone();
        let full = self.values.len() == self.capacity;
        let right = match *what {
            Operation::Send(value, Sent::Ok) => {
                next.values.push(value);
                !self.closed && !full
            }
            Operation::Send(_, Sent::Closed) | Operation::Recv(Got::Closed) if self.closed => {
                matches!(what, Operation::Send(..)) || self.values.is_empty()
            }
            Operation::Send(_, Sent::Full) => !self.closed && full,
            Operation::Recv(Got::Value(value)) => self.values.first() == Some(&value) && next.values.remove(0) == value,
            Operation::Recv(Got::Empty) => !self.closed && self.values.is_empty(),
            // A sender that gave up could not go on at that moment.
            Operation::Send(_, Sent::TimedOut) => !self.closed && full,
            Operation::Recv(Got::TimedOut) => !self.closed && self.values.is_empty(),
            Operation::Close => {
                next.closed = true;
                true
            }
            Operation::Len(n) => n == self.values.len(),
            Operation::Send(_, Sent::Closed) | Operation::Recv(Got::Closed) => false,
        };
        right.then_some(next)
    }

    /// Without room, a send and its receive are one.
    fn after_both(&self, one: &Operation, other: &Operation) -> Option<Self> {
        match (one, other) {
            (Operation::Send(sent, Sent::Ok), Operation::Recv(Got::Value(got)))
                if self.capacity == 0 && !self.closed && sent == got =>
            {
                Some(self.clone())
            }
            _ => None,
        }
    }
}

fn send(tx: &Sender<u32>, value: u32, how: u64) -> Operation {
    let sent = match how {
        0 => match tx.try_send(value) {
            Ok(()) => Sent::Ok,
            Err(TrySendError::Full(back)) if back == value => Sent::Full,
            Err(TrySendError::Disconnected(back)) if back == value => Sent::Closed,
            Err(other) => panic!("{other:?} brought another value back"),
        },
        1 => match tx.send_timeout(value, Duration::from_micros(20)) {
            Ok(()) => Sent::Ok,
            Err(SendTimeoutError::Timeout(back)) if back == value => Sent::TimedOut,
            Err(SendTimeoutError::Disconnected(back)) if back == value => Sent::Closed,
            Err(other) => panic!("{other:?} brought another value back"),
        },
        _ => tx
            .send(value)
            .map_or_else(|error| if error.0 == value { Sent::Closed } else { panic!("another") }, |()| Sent::Ok),
    };
    Operation::Send(value, sent)
}

fn receive(rx: &Receiver<u32>, how: u64) -> Operation {
    Operation::Recv(match how {
        0 => match rx.try_recv() {
            Ok(value) => Got::Value(value),
            Err(TryRecvError::Empty) => Got::Empty,
            Err(TryRecvError::Disconnected) => Got::Closed,
        },
        1 => match rx.recv_timeout(Duration::from_micros(20)) {
            Ok(value) => Got::Value(value),
            Err(RecvTimeoutError::Timeout) => Got::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Got::Closed,
        },
        _ => rx.recv().map_or(Got::Closed, Got::Value),
    })
}

/// One history: three or four G's do a few operations each; then the channel is closed, so that
/// nobody waits for ever.
pub fn round(seed: u64) {
    let mut random = Random::new(seed);
    let capacity = random.one_of(&[0, 1, 2, usize::MAX]);
    let (tx, rx) = if capacity == usize::MAX { unbounded() } else { bounded::<u32>(capacity) };
    let clock = Arc::new(Clock::default());
    let gs: Vec<_> = (0..3 + random.below(2) as u32)
        .map(|g| {
            let (tx, rx, clock, mut random) = (tx.clone(), rx.clone(), clock.clone(), random.fork());
            go(move || {
                let mut events = Vec::new();
                for i in 0..1 + random.below(4) as u32 {
                    random.pause();
                    let how = random.below(3);
                    events.push(match random.below(9) {
                        0..4 => clock.record(|| send(&tx, 10 * (g + 1) + i, how)),
                        4..8 => clock.record(|| receive(&rx, how)),
                        _ => clock.record(|| Operation::Len(rx.len())),
                    });
                }
                events
            })
        })
        .collect();
    (0..5).for_each(|_| random.pause());
    let close: Event<Operation> = clock.record(|| {
        tx.close();
        Operation::Close
    });
    let mut events: Vec<_> = gs.into_iter().flat_map(|g| g.join().unwrap()).collect();
    events.push(close);
    if capacity == 0 {
        // Whether somebody waits can't be told from a history: to find nobody is always right.
        events.retain(|e| {
            !matches!(
                e.what(),
                Operation::Send(_, Sent::Full | Sent::TimedOut) | Operation::Recv(Got::Empty | Got::TimedOut)
            )
        });
    }
    explain(Queue { capacity, closed: false, values: Vec::new() }, &events, seed);
}
