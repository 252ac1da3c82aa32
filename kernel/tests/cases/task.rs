//! Futures on goroutines.

use core::future::{Future, pending, poll_fn, ready};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::api::*;

/// One value, sent by anybody, awaited by a future.
#[derive(Clone)]
pub struct Signal(Arc<sync::Mutex<(Option<u64>, Option<Waker>)>>);

impl Signal {
    pub fn new() -> Self {
        Self(Arc::new(sync::Mutex::new((None, None))))
    }

    pub fn send(&self, value: u64) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = Some(value);
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Future for Signal {
    type Output = u64;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let mut state = self.0.lock().unwrap();
        match state.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

pub fn block_on_gives_the_value() {
    assert_eq!(task::block_on(ready(3)), 3);
    assert_eq!(task::block_on(async { ready(3).await + ready(4).await }), 7);
    // It borrows.
    let text = String::from("mine");
    assert_eq!(task::block_on(async { text.len() }), 4);
}

pub fn a_future_waits_for_another_goroutine() {
    for _ in 0..50 {
        let (there, back) = (Signal::new(), Signal::new());
        let (a, b) = (there.clone(), back.clone());
        let handle = task::spawn_future(async move {
            for i in 0..10 {
                assert_eq!(a.clone().await, i);
                b.send(i + 1);
            }
            "done"
        });
        task::block_on(async {
            for i in 0..10 {
                there.send(i);
                assert_eq!(back.clone().await, i + 1);
            }
        });
        assert_eq!(handle.join().unwrap(), "done");
    }
}

pub fn a_wake_up_from_the_poll_itself_polls_again() {
    let mut left = 1000;
    task::block_on(poll_fn(|context| {
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }));
    assert_eq!(left, 0);
}

pub fn a_future_may_park_like_any_code() {
    let (tx, rx) = chan::bounded(0);
    let signal = Signal::new();
    let wakes = signal.clone();
    let handle = task::spawn_future(async move {
        // A wake-up comes while it waits for the channel; or before, if it has begun late.
        let (first, early) = poll_fn(|context| {
            let early = Pin::new(&mut signal.clone()).poll(context);
            Poll::Ready((rx.recv().unwrap(), early))
        })
        .await;
        match early {
            Poll::Ready(second) => first + second,
            Poll::Pending => first + signal.await,
        }
    });
    (0..10).for_each(|_| yield_now());
    wakes.send(5);
    (0..10).for_each(|_| yield_now());
    tx.send(30).unwrap();
    assert_eq!(handle.join().unwrap(), 35);
}

pub fn a_stale_waker_is_harmless() {
    // Of goroutines that have ended; their records live on as others.
    let take = || go(|| task::block_on(poll_fn(|context| Poll::Ready(context.waker().clone())))).join().unwrap();
    let stale: Vec<Waker> = (0..20).map(|_| take()).collect();
    let (tx, rx) = chan::bounded::<u64>(0);
    let signals: Vec<_> = (0..20).map(|_| Signal::new()).collect();
    let receivers: Vec<_> = (0..20).map(|_| rx.clone()).map(|rx| go(move || rx.recv().unwrap())).collect();
    let futures: Vec<_> = signals.iter().cloned().map(task::spawn_future).collect();
    for round in 0..100 {
        stale.iter().for_each(Waker::wake_by_ref);
        yield_now();
        let ended = receivers.iter().chain(&futures).filter(|h| h.is_finished()).count();
        assert_eq!(ended, 0, "a stale waker ended a wait in round {round}");
    }
    (0..20).for_each(|i| tx.send(i).unwrap());
    signals.iter().for_each(|signal| signal.send(1));
    stale.into_iter().for_each(Waker::wake);
    assert_eq!(receivers.into_iter().map(|h| h.join().unwrap()).sum::<u64>(), 190);
    assert_eq!(futures.into_iter().map(|h| h.join().unwrap()).sum::<u64>(), 20);
}

pub fn nested_block_ons_leave_each_other_their_wake_ups() {
    for _ in 0..100 {
        let (outer, inner) = (Signal::new(), Signal::new());
        let (a, b) = (outer.clone(), inner.clone());
        let senders = [go(move || a.send(1)), go(move || b.send(2))];
        let mut first = true;
        let mut outer = outer;
        let sum = task::block_on(poll_fn(|context| {
            let looked = Pin::new(&mut outer).poll(context);
            if first {
                first = false;
                assert_eq!(task::block_on(inner.clone()), 2);
            }
            looked
        }));
        assert_eq!(sum, 1);
        senders.into_iter().for_each(|h| h.join().unwrap());
    }
}

pub fn a_future_that_panics_is_a_goroutine_that_panics() {
    let handle = task::spawn_future(async {
        if ready(true).await {
            quiet_panic("in a future")
        }
        pending::<u32>().await
    });
    assert_eq!(handle.join().unwrap_err().message(), Some("in a future"));
}

pub fn wakers_of_one_goroutine_are_the_same() {
    task::block_on(poll_fn(|context| {
        let one = context.waker().clone();
        assert!(one.will_wake(context.waker()));
        let other = go(|| task::block_on(poll_fn(|context| Poll::Ready(context.waker().clone()))));
        assert!(!other.join().unwrap().will_wake(&one));
        Poll::Ready(())
    }));
}
