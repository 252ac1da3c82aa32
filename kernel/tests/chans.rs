//! Channels and `select!` under preemption at any instruction: partners, deadlines and a close that
//! compete for the same selects. (More tests of channels: `hosted/tests/select.rs` and
//! `select_dynamic.rs`, `sched/tests/go`, `sched/tests/random`.)
#![no_std]
#![no_main]

mod support;

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use trefoil::prelude::*;

image! {
    a_close_loses_nothing_and_leaves_nobody:
        "expect rounds",
        "append slice=50 | expect rounds";
    every_select_ends_once:
        "",
        "append slice=50";
}

/// Each G of a kind, in a round.
const GS: u64 = 4;

/// Values that are counted while they live: one that is lost, dropped twice, or received twice
/// shows.
struct Counted(u64);

static ALIVE: AtomicU64 = AtomicU64::new(0);

impl Counted {
    fn new(number: u64) -> Self {
        ALIVE.fetch_add(1, SeqCst);
        Self(number)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(ALIVE.fetch_sub(1, SeqCst) > 0, "dropped twice");
    }
}

/// Sends to two channels until both are closed: gives the number of values that went in, and their
/// sum.
fn send(a: &Sender<Counted>, b: &Sender<Counted>, me: u64) -> (u64, u64) {
    let (mut n, mut sum, mut turn) = (0, 0, 0);
    loop {
        turn += 1;
        let number = me << 32 | turn;
        let value = Counted::new(number);
        let sent = if turn % 2 == 0 {
            select! { send(a, value) -> r => Some(r), send(b, Counted::new(number)) -> r => Some(r) }
        } else {
            select! {
                send(a, value) -> r => Some(r),
                send(b, Counted::new(number)) -> r => Some(r),
                default(Duration::from_micros(turn % 30)) => None,
            }
        };
        match sent {
            Some(Ok(())) => (n, sum) = (n + 1, sum + number),
            Some(Err(back)) => {
                assert_eq!(back.0.0, number, "another one's value came back");
                return (n, sum);
            }
            None => {}
        }
    }
}

/// Receives from both until both are closed and empty: the same.
fn receive(a: &Receiver<Counted>, b: &Receiver<Counted>) -> (u64, u64) {
    let (mut n, mut sum, mut turn) = (0, 0, 0);
    let mut open = [true; 2];
    while open.contains(&true) {
        turn += 1;
        let (a, b) = (open[0].then_some(a), open[1].then_some(b));
        let came = if turn % 2 == 0 {
            select! { recv(a) -> v => Some((0, v)), recv(b) -> v => Some((1, v)) }
        } else {
            select! {
                recv(b) -> v => Some((1, v)),
                recv(a) -> v => Some((0, v)),
                default(Duration::from_micros(turn % 30)) => None,
            }
        };
        match came {
            Some((_, Ok(value))) => (n, sum) = (n + 1, sum + value.0),
            Some((channel, Err(_))) => open[channel] = false,
            None => {}
        }
    }
    (n, sum)
}

/// Adds up what the G's give.
fn total(gs: Vec<JoinHandle<(u64, u64)>>) -> (u64, u64) {
    gs.into_iter().map(|g| g.join().unwrap()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn a_close_loses_nothing_and_leaves_nobody() {
    let (begin, mut rounds, mut values) = (Instant::now(), 0, 0);
    while begin.elapsed() < Duration::from_millis(500) {
        let (a, from_a) = chan::bounded(0);
        let (b, from_b) = chan::bounded(rounds % 3);
        let receivers: Vec<_> = (0..GS)
            .map(|_| {
                let (a, b) = (from_a.clone(), from_b.clone());
                go(move || receive(&a, &b))
            })
            .collect();
        let senders: Vec<_> = (0..GS)
            .map(|me| {
                let (a, b) = (a.clone(), b.clone());
                go(move || send(&a, &b, me))
            })
            .collect();
        time::sleep(Duration::from_micros(200 + rounds as u64 * 37 % 1000));
        // A sender ends with the first error. The receivers go on at the channel that closes later.
        if rounds % 2 == 0 {
            a.close();
            b.close();
        } else {
            b.close();
            a.close();
        }
        let (sent, got) = (total(senders), total(receivers));
        assert_eq!(sent, got, "round {rounds}: number and sum of what was sent and what was received");
        drop((a, b, from_a, from_b));
        assert_eq!(ALIVE.load(SeqCst), 0, "round {rounds}: values are left");
        rounds += 1;
        values += sent.0;
    }
    println!("{rounds} rounds, {values} values");
    assert!(values > 0);
}

/// A select that a deadline and a sender compete for: the value comes with it, or stays with the
/// sender.
fn every_select_ends_once() {
    let (mut early, mut late) = (0, 0);
    for turn in 0..600u64 {
        let (a, from_a) = chan::bounded(0);
        let (b, from_b) = chan::bounded::<u64>(0);
        let wait = Duration::from_micros(20 + turn % 60);
        let sender = go(move || {
            time::sleep(wait);
            // The send meets the select, or the receive after it.
            a.send(turn).unwrap();
        });
        let got = select! {
            recv(from_a) -> v => Some(v.unwrap()),
            recv(from_b) -> _ => unreachable!(),
            default(Duration::from_micros(50)) => None,
        };
        match got {
            Some(got) => {
                assert_eq!(got, turn);
                early += 1;
            }
            None => {
                assert_eq!(from_a.recv(), Ok(turn));
                late += 1;
            }
        }
        sender.join().unwrap();
        assert!(from_a.recv().is_err(), "turn {turn}: a value came twice");
        drop(b);
    }
    println!("{early} before the deadline, {late} after it");
}
