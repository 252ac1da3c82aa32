//! Async crates that are no part of the project, unmodified, and time for futures.

use core::future::{Future, pending, poll_fn, ready};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use async_lock::{Barrier, Mutex, RwLock, Semaphore};
use futures_channel::oneshot;
use futures_util::future::{AbortHandle, Either, abortable, join_all, select};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use futures_util::{FutureExt, join, select_biased};

use crate::api::*;

/// Lets other futures go first, once.
async fn turn() {
    let mut first = true;
    poll_fn(|context| {
        if core::mem::take(&mut first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await
}

pub fn join_and_select_of_another_crate_work() {
    for _ in 0..50 {
        let (tx, rx) = oneshot::channel();
        let (late, never) = oneshot::channel::<u32>();
        let sender = go(move || tx.send(5).unwrap());
        let sum = task::block_on(async {
            let (a, b, c) = join!(
                async { rx.await.unwrap() },
                async {
                    turn().await;
                    2
                },
                ready(1)
            );
            a + b + c
        });
        assert_eq!(sum, 8);
        sender.join().unwrap();
        // The first of two; the other one stays good.
        let (tx, rx) = oneshot::channel();
        let sender = go(move || tx.send("first").unwrap());
        let never = match task::block_on(select(rx, never)) {
            Either::Left((value, never)) => {
                assert_eq!(value, Ok("first"));
                never
            }
            Either::Right(_) => panic!("nothing was sent there"),
        };
        sender.join().unwrap();
        let sender = go(move || late.send(7).unwrap());
        assert_eq!(task::block_on(never), Ok(7));
        sender.join().unwrap();
    }
    let chosen = task::block_on(async {
        let (mut idle, mut busy) = (pin!(pending::<u32>().fuse()), pin!(turn().fuse()));
        select_biased! {
            _ = idle => "idle",
            () = busy => "busy",
        }
    });
    assert_eq!(chosen, "busy");
}

pub fn a_sender_that_goes_is_an_error_for_the_one_who_awaits() {
    let (tx, rx) = oneshot::channel::<u32>();
    let waits = task::spawn_future(rx);
    yield_now();
    drop(tx);
    assert_eq!(waits.join().unwrap(), Err(oneshot::Canceled));
}

pub fn many_futures_on_one_goroutine_are_woken_by_many() {
    // Each future in the set has a waker of the crate's own, which is called on the senders'
    // goroutines.
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..100u64).map(|_| oneshot::channel()).unzip();
    let set: FuturesUnordered<_> = receivers.into_iter().collect();
    let collector = task::spawn_future(set.fold(0, async |sum, value| sum + value.unwrap()));
    let senders: Vec<_> = senders.into_iter().zip(0..).map(|(tx, i)| go(move || tx.send(i).unwrap())).collect();
    assert_eq!(collector.join().unwrap(), 4950);
    senders.into_iter().for_each(|h| h.join().unwrap());
    // A stream with a bound on what is under way.
    let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let squares = stream::iter(0..40u64).map(|i| {
        let (under_way, most) = (&under_way, &most);
        async move {
            most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
            turn().await;
            under_way.fetch_sub(1, SeqCst);
            i * i
        }
    });
    let squares: Vec<_> = task::block_on(squares.buffered(4).collect());
    assert_eq!(squares, (0..40).map(|i| i * i).collect::<Vec<u64>>());
    assert_eq!(most.load(SeqCst), 4);
}

pub fn a_future_is_aborted_from_another_goroutine() {
    let (future, handle): (_, AbortHandle) = abortable(pending::<()>());
    let waits = task::spawn_future(future);
    yield_now();
    handle.abort();
    assert!(waits.join().unwrap().is_err());
}

pub fn an_async_mutex_excludes_across_goroutines_and_futures() {
    // 8 goroutines with 4 futures each, all at one lock: read, let others go, write.
    let count = Arc::new(Mutex::new(0));
    let one = |count: Arc<Mutex<u32>>| async move {
        for _ in 0..10 {
            let mut guard = count.lock().await;
            let seen = *guard;
            turn().await;
            *guard = seen + 1;
        }
    };
    let gs: Vec<_> =
        (0..8).map(|_| task::spawn_future(join_all((0..4).map(|_| one(count.clone())).collect::<Vec<_>>()))).collect();
    gs.into_iter().for_each(|h| drop(h.join().unwrap()));
    assert_eq!(*task::block_on(count.lock()), 320);
}

pub fn async_locks_of_another_crate_keep_their_promises() {
    let (limit, inside, most) = (Semaphore::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
    let shared = Arc::new((limit, inside, most, Barrier::new(6), RwLock::new(0u32)));
    let gs: Vec<_> = (0..6)
        .map(|_| {
            let shared = shared.clone();
            task::spawn_future(async move {
                let (limit, inside, most, barrier, total) = &*shared;
                for _ in 0..10 {
                    let _permit = limit.acquire().await;
                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    turn().await;
                    inside.fetch_sub(1, SeqCst);
                }
                *total.write().await += 1;
                let leads = barrier.wait().await.is_leader();
                assert_eq!(*total.read().await, 6, "nobody passes before all have come");
                u32::from(leads)
            })
        })
        .collect();
    assert_eq!(gs.into_iter().map(|h| h.join().unwrap()).sum::<u32>(), 1, "one leads");
    let most = shared.2.load(SeqCst);
    assert!((1..=3).contains(&most), "{most} at once");
}

pub fn a_delay_is_never_early() {
    let ms = Duration::from_millis;
    let begin = Instant::now();
    task::block_on(time::delay(ms(2)));
    assert!(begin.elapsed() >= ms(2));
    task::block_on(time::delay(Duration::ZERO));
    task::block_on(time::delay_until(begin));
    // Many on one goroutine, with its own waker and with a crate's.
    let begin = Instant::now();
    let each = |i: u64| async move {
        time::delay(Duration::from_micros(100 * i)).await;
        (i, begin.elapsed())
    };
    let mut woken = task::block_on(join_all((0..20).map(each)));
    woken.extend(task::block_on((0..20).map(each).collect::<FuturesUnordered<_>>().collect::<Vec<_>>()));
    assert_eq!(woken.len(), 40);
    for (i, after) in woken {
        assert!(after >= Duration::from_micros(100 * i), "{i}: {after:?}");
    }
}

pub fn a_delay_that_is_dropped_leaves_no_timer() {
    // (The image that runs this case looks for timers that are left behind.)
    let minute = Duration::from_secs(60);
    let mut delays: Vec<_> = (0..100).map(|_| time::delay(minute)).collect();
    task::block_on(poll_fn(|context| {
        delays.iter_mut().for_each(|delay| assert!(Pin::new(delay).poll(context).is_pending()));
        Poll::Ready(())
    }));
    drop(delays);
    assert_eq!(task::block_on(time::timeout(minute, ready(3))), Ok(3));
    let patient = task::block_on(time::timeout(Duration::MAX, async {
        turn().await;
        4
    }));
    assert_eq!(patient, Ok(4));
}

pub fn a_timeout_drops_what_is_late() {
    struct Late<'a>(&'a AtomicUsize);
    impl Drop for Late<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let dropped = AtomicUsize::new(0);
    let begin = Instant::now();
    let late = task::block_on(time::timeout(Duration::from_millis(2), async {
        let _late = Late(&dropped);
        pending::<()>().await
    }));
    assert_eq!(late, Err(time::Elapsed));
    assert!(begin.elapsed() >= Duration::from_millis(2));
    assert_eq!(dropped.load(SeqCst), 1);
    // A ready value is taken, even when it is too late for a poll before the deadline.
    assert_eq!(task::block_on(time::timeout(Duration::ZERO, ready(1))), Ok(1));
    let inner = time::timeout(Duration::from_millis(1), pending::<()>());
    assert_eq!(task::block_on(time::timeout(Duration::from_secs(60), inner)), Ok(Err(time::Elapsed)));
}

pub fn a_delay_may_change_hands_at_any_moment() {
    // Polled on one goroutine, awaited on another, as it comes due: the second waker must not be
    // missed.
    for round in 0..300u64 {
        let mut delay = time::delay(Duration::from_micros(round % 30 * 10));
        task::block_on(poll_fn(|context| {
            let _ = Pin::new(&mut delay).poll(context);
            Poll::Ready(())
        }));
        task::spawn_future(delay).join().unwrap();
    }
}

pub fn a_delay_that_comes_due_inside_a_poll_is_ready() {
    /// A waker with a slow clone: the timer fires, and wakes its waiter, before the clone is made.
    static SLOW: RawWakerVTable = RawWakerVTable::new(slow, |_| (), |_| (), |_| ());
    fn slow(_: *const ()) -> RawWaker {
        time::sleep(Duration::from_millis(12));
        RawWaker::new(core::ptr::null(), &SLOW)
    }
    // SAFETY: the functions of the table take any pointer, from anywhere.
    let slow = unsafe { Waker::new(core::ptr::null(), &SLOW) };
    let begin = Instant::now();
    let mut delay = time::delay(Duration::from_millis(10));
    let early = Pin::new(&mut delay).poll(&mut Context::from_waker(Waker::noop()));
    let late = Pin::new(&mut delay).poll(&mut Context::from_waker(&slow));
    assert!(early.is_pending() || Instant::now() >= begin + Duration::from_millis(10));
    assert!(late.is_ready(), "the slow one would never be woken");
}

pub fn a_stream_gives_every_value_and_ends_with_its_channel() {
    for capacity in [Some(0), Some(1), Some(5), None] {
        let (tx, rx) = capacity.map_or_else(chan::unbounded, chan::bounded);
        let sender = go(move || {
            for i in 0..200 {
                tx.send(i).unwrap();
                if i % 7 == 0 {
                    yield_now();
                }
            }
        });
        let values: Vec<u32> = task::block_on(rx.into_stream().collect());
        assert!(values.into_iter().eq(0..200), "capacity {capacity:?}");
        sender.join().unwrap();
    }
}

pub fn many_streams_on_one_goroutine_are_merged() {
    let (senders, streams): (Vec<_>, Vec<_>) = (0..10).map(|i| chan::bounded(i % 3)).unzip();
    let merged = stream::select_all(streams.into_iter().map(Receiver::into_stream));
    let collector = task::spawn_future(merged.collect::<Vec<(usize, u32)>>());
    let senders: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(me, tx)| go(move || (0..50).for_each(|i| tx.send((me, i)).unwrap())))
        .collect();
    let mut next = [0; 10];
    for (me, i) in collector.join().unwrap() {
        assert_eq!(i, next[me], "sender {me}: out of order, lost or doubled");
        next[me] += 1;
    }
    assert_eq!(next, [50; 10]);
    senders.into_iter().for_each(|h| h.join().unwrap());
}

/// Polls once, for nobody.
fn look<S: StreamExt + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
}

pub fn a_stream_that_goes_leaves_its_value_and_nobody_behind() {
    // (The image that runs this case looks for goroutines that are left behind.)
    for capacity in [0, 1] {
        let (tx, rx) = chan::bounded(capacity);
        let mut stream = rx.stream();
        assert!(look(&mut stream).is_pending() && look(&mut stream).is_pending());
        let sender = go({
            let tx = tx.clone();
            move || tx.send(7).unwrap()
        });
        (0..10).for_each(|_| yield_now());
        // The stream has been woken, and is dropped without another poll.
        drop(stream);
        assert_eq!(rx.recv(), Ok(7));
        sender.join().unwrap();
        // The stream is the last receiver, so its drop closes the channel at once, although a
        // watcher waits for the stream.
        let mut stream = rx.into_stream();
        assert!(look(&mut stream).is_pending());
        (0..10).for_each(|_| yield_now());
        drop(stream);
        assert_eq!(tx.send(8).unwrap_err().into_inner(), 8);
    }
}

pub fn a_stream_passes_over_nobody_who_waits_behind_it() {
    let (tx, rx) = chan::bounded(0);
    let mut stream = rx.stream();
    assert!(look(&mut stream).is_pending());
    // Its watcher first, then a receiver that takes what comes.
    (0..10).for_each(|_| yield_now());
    let receiver = go(move || rx.recv());
    tx.send(1).unwrap();
    assert_eq!(receiver.join().unwrap(), Ok(1));
    assert!(look(&mut stream).is_pending());
    let waits = task::spawn_future(async move { stream.next().await });
    tx.send(2).unwrap();
    assert_eq!(waits.join().unwrap(), Some(2));
}

pub fn clocks_and_timeouts_go_with_streams() {
    let begin = Instant::now();
    let ticks = chan::tick(Duration::from_millis(2)).into_stream();
    assert_eq!(task::block_on(ticks.take(3).count()), 3);
    assert!(begin.elapsed() >= Duration::from_millis(6));
    let (tx, rx) = chan::bounded(1);
    let mut stream = rx.into_stream();
    task::block_on(async {
        let patience = Duration::from_millis(2);
        assert_eq!(time::timeout(patience, stream.next()).await, Err(time::Elapsed));
        tx.send(3).unwrap();
        assert_eq!(time::timeout(patience, stream.next()).await, Ok(Some(3)));
        tx.close();
        assert_eq!(stream.next().await, None);
        let mut stream = stream.fuse();
        assert_eq!(stream.next().await, None);
    });
}

pub fn a_stream_may_change_hands_while_its_value_comes() {
    // Polled here for a goroutine that does not wait; awaited there: the second waker must not be
    // missed.
    for round in 0..300 {
        let (tx, rx) = chan::bounded(round % 2);
        let mut stream = rx.into_stream();
        let early = look(&mut stream);
        let sender = go(move || tx.send(round).unwrap());
        if round % 3 == 0 {
            yield_now();
        }
        let late = task::spawn_future(async move { stream.next().await });
        assert!(early.is_pending());
        assert_eq!(late.join().unwrap(), Some(round));
        sender.join().unwrap();
    }
}
