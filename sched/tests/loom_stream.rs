//! A receiver as a stream, the production types: polls and their watchers against senders, closers
//! and the stream's own end, every interleaving. A mark that outlives its watcher breaks
//! INV-WATCHED.
#![cfg(loom)]

mod baton;

use std::future::poll_fn;
use std::task::{Poll, Waker};

use baton::{explore, explore_coarsely};
use trefoil_sched::chan::{RecvStream, Sender, bounded};
use trefoil_sched::model::{Watch, poll_stream};
use trefoil_sched::task::block_on;

type Body = Box<dyn FnOnce() + Send>;

/// The next value; watchers go to `jobs`.
fn next<T>(stream: &mut RecvStream<T>, jobs: &Sender<Watch<T>>) -> Option<T> {
    block_on(poll_fn(|context| poll_stream(stream, context, |watch| assert!(jobs.try_send(watch).is_ok()))))
}

#[test]
fn a_value_and_a_close_reach_a_stream_that_waits() {
    for capacity in [0, 1] {
        explore_coarsely(move || {
            let ((tx, rx), (jobs, watchers)) = (bounded(capacity), bounded(2));
            vec![
                Box::new(move || tx.send(7).unwrap()),
                Box::new(move || watchers.iter().for_each(Watch::run)),
                Box::new(move || {
                    let mut stream = rx.into_stream();
                    assert_eq!(next(&mut stream, &jobs), Some(7));
                    assert_eq!(next(&mut stream, &jobs), None);
                }) as Body,
            ]
        });
    }
}

#[test]
fn a_stream_that_goes_takes_its_watcher_along_and_closes_its_channel() {
    explore(|| {
        let ((tx, rx), (jobs, watchers)) = (bounded::<u8>(0), bounded(1));
        vec![
            // The channel is open until the watcher has ended: only the stream's end can have ended
            // it.
            Box::new(move || {
                watchers.iter().for_each(Watch::run);
                assert!(tx.try_send(1).unwrap_err().is_disconnected());
            }),
            Box::new(move || {
                let mut stream = rx.into_stream();
                block_on(poll_fn(|context| {
                    let start = |watch| assert!(jobs.try_send(watch).is_ok());
                    assert!(poll_stream(&mut stream, context, start).is_pending());
                    Poll::Ready(())
                }));
            }) as Body,
        ]
    });
}

#[test]
fn a_stream_that_goes_takes_its_watcher_along_though_its_channel_stays_open() {
    explore(|| {
        let ((tx, rx), (jobs, watchers)) = (bounded::<u8>(0), bounded(1));
        let other = rx.clone();
        vec![
            Box::new(move || {
                watchers.iter().for_each(Watch::run);
                // Nobody stands in its list.
                assert!(tx.try_send(1).unwrap_err().is_full());
                drop(other);
            }),
            Box::new(move || {
                let mut stream = rx.into_stream();
                let mut context = std::task::Context::from_waker(Waker::noop());
                let start = |watch| assert!(jobs.try_send(watch).is_ok());
                assert!(poll_stream(&mut stream, &mut context, start).is_pending());
            }) as Body,
        ]
    });
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    explore_coarsely(|| {
        let ((tx, rx), (jobs, watchers)) = (bounded(1), bounded(2));
        vec![
            Box::new(move || tx.send(7).unwrap()),
            Box::new(move || watchers.iter().for_each(Watch::run)),
            Box::new(move || {
                let mut stream = rx.into_stream();
                // Polled for nobody, while the value comes; then in earnest.
                let mut context = std::task::Context::from_waker(Waker::noop());
                let start = |watch| assert!(jobs.try_send(watch).is_ok());
                let early = poll_stream(&mut stream, &mut context, start);
                let got = if early.is_ready() { early } else { Poll::Ready(next(&mut stream, &jobs)) };
                assert_eq!(got, Poll::Ready(Some(7)));
            }) as Body,
        ]
    });
}
