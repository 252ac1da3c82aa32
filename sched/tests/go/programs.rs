//! Small whole programs, as Go's tests and books have them.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::until_parked;
use crate::api::*;
use chan::bounded;
use sync::WaitGroup;

cases! {
    the_prime_sieve,
    the_prime_sieve_of_one_function,
    power_series_multiply,
    power_series_integrate_and_differentiate,
    a_chain_of_a_thousand_goroutines,
    ping_pong,
    a_token_in_a_ring,
    many_consumers_of_one_queue,
    a_channel_as_a_semaphore,
    a_channel_as_a_mutex,
    a_pool_of_workers,
    fan_out_and_fan_in,
    a_pipeline_stops_when_its_sink_has_enough,
    a_generator_is_asked_for_each_value,
    a_server_with_one_owner_of_its_state,
    a_tree_is_walked_by_a_goroutine_a_node,
    quicksort_by_goroutines,
    a_future_is_a_channel_of_one,
    a_barrier_of_two_channels,
    nobody_waits_while_a_partner_is_there,
}

/// Go: test/chan/sieve1.go.
fn the_prime_sieve() {
    let (tx, mut from) = bounded(0);
    drop(go(move || (2u32..).take_while(|&n| tx.send(n).is_ok()).count()));
    let mut primes = Vec::new();
    for _ in 0..40 {
        let prime = from.recv().unwrap();
        primes.push(prime);
        let (to, next) = bounded(0);
        let before = core::mem::replace(&mut from, next);
        drop(go(move || before.iter().filter(|n| n % prime != 0).take_while(|&n| to.send(n).is_ok()).count()));
    }
    assert_eq!((primes[0], primes[39]), (2, 173));
}

/// Go: test/chan/sieve2.go: the sieve as one G that starts the next one when it meets a prime.
fn the_prime_sieve_of_one_function() {
    fn sieve(numbers: Receiver<u32>, primes: Sender<u32>) {
        let Ok(prime) = numbers.recv() else { return };
        primes.send(prime).unwrap();
        let (to, rest) = bounded(4);
        drop(go(move || sieve(rest, primes)));
        numbers.iter().filter(|n| n % prime != 0).for_each(|n| to.send(n).unwrap());
    }
    let (tx, numbers) = bounded(4);
    let (primes, found) = bounded(0);
    drop(go(move || sieve(numbers, primes)));
    drop(go(move || (2..100).for_each(|n| tx.send(n).unwrap())));
    let mut found: Vec<u32> = found.iter().collect();
    found.sort_unstable();
    assert_eq!((found.len(), found[24]), (25, 97));
}

type Series = Receiver<u64>;

/// Makes a series of the values that `coefficients` sends, until nobody asks any more.
fn series(coefficients: impl FnOnce(&dyn Fn(u64) -> bool) + Send + 'static) -> Series {
    let (tx, rx) = bounded(0);
    drop(go(move || coefficients(&|c| tx.send(c).is_ok())));
    rx
}

/// Both get every coefficient.
fn split(s: Series) -> (Series, Series) {
    let ((a, left), (b, right)) = (bounded(8), bounded(8));
    drop(go(move || {
        while let Ok(c) = s.recv()
            && (a.send(c).is_ok() | b.send(c).is_ok())
        {}
    }));
    (left, right)
}

fn add(f: Series, g: Series) -> Series {
    series(move |send| {
        while let (Ok(a), Ok(b)) = (f.recv(), g.recv())
            && send(a + b)
        {}
    })
}

fn scale(by: u64, f: Series) -> Series {
    series(move |send| {
        while let Ok(c) = f.recv()
            && send(by * c)
        {}
    })
}

/// F·G = f₀g₀ + x(f₀G' + g₀F' + xF'G'), where F' is what follows f₀.
fn multiply(f: Series, g: Series, depth: usize) -> Series {
    series(move |send| {
        let (Ok(f0), Ok(g0)) = (f.recv(), g.recv()) else { return };
        if !send(f0 * g0) || depth == 0 {
            return;
        }
        let ((f, f_again), (g, g_again)) = (split(f), split(g));
        let sides = add(scale(f0, g), scale(g0, f));
        let rest = multiply(f_again, g_again, depth - 1);
        let shifted = series(move |send| {
            let mut more = send(0);
            while more && let Ok(c) = rest.recv() {
                more = send(c);
            }
        });
        let sum = add(sides, shifted);
        while let Ok(c) = sum.recv()
            && send(c)
        {}
    })
}

/// Go: test/chan/powser1.go: (1 + x + x² + …)² = 1 + 2x + 3x² + …
fn power_series_multiply() {
    let ones = || series(|send| while send(1) {});
    let square = multiply(ones(), ones(), 8);
    assert!(square.iter().take(8).eq(1..=8));
}

/// Go: test/chan/powser1.go, powser2.go: the derivative of 1 + x + x² + … is 1 + 2x + 3x² + …;
/// integrated, it is what it was.
fn power_series_integrate_and_differentiate() {
    let ones = series(|send| while send(1) {});
    let derivative = series(move |send| {
        let _ = ones.recv();
        for (n, c) in (1..).zip(&ones) {
            if !send(n * c) {
                return;
            }
        }
    });
    let (derivative, again) = split(derivative);
    assert!(derivative.iter().take(6).eq(1..=6));
    drop(derivative);
    assert!((1..).zip(&again).map(|(n, c)| c / n).take(6).eq([1; 6]));
}

/// Go: test/chan/goroutines.go.
fn a_chain_of_a_thousand_goroutines() {
    let (first, mut rx) = bounded(0);
    for _ in 0..1_000 {
        let (to, next) = bounded(0);
        let from = core::mem::replace(&mut rx, next);
        drop(go(move || to.send(from.recv().unwrap() + 1).unwrap()));
    }
    first.send(0).unwrap();
    assert_eq!(rx.recv(), Ok(1_000));
}

/// Go: test/ken/cplx… and every first book: two G's and a ball.
fn ping_pong() {
    let (ping, table) = bounded(0);
    let (answer, pong) = bounded(0);
    let player = go(move || table.iter().for_each(|ball: u32| answer.send(ball + 1).unwrap()));
    let mut ball = 0;
    for _ in 0..500 {
        ping.send(ball).unwrap();
        ball = pong.recv().unwrap();
    }
    drop(ping);
    player.join().unwrap();
    assert_eq!(ball, 500);
}

/// Go: threadring of its benchmark tests.
fn a_token_in_a_ring() {
    const RING: usize = 50;
    let (enter, mut rx) = bounded(1);
    let (out, end) = bounded(1);
    for i in 0..RING {
        let (tx, next) = bounded(1);
        let rx = core::mem::replace(&mut rx, next);
        let out = out.clone();
        drop(go(move || {
            for token in &rx {
                match token {
                    0 => out.send(i).unwrap(),
                    n => tx.send(n - 1).unwrap(),
                }
            }
        }));
    }
    let close = enter.clone();
    let link = go(move || rx.iter().take_while(|&token: &usize| enter.send(token).is_ok()).count());
    close.send(1_007).unwrap();
    assert_eq!(end.recv(), Ok(1_007 % RING));
    close.close();
    assert!(link.join().unwrap() > 0);
}

/// Go: chan_test.go, TestMultiConsumer.
fn many_consumers_of_one_queue() {
    const WORKERS: usize = 23;
    const VALUES: usize = 4_000;
    let numbers = [2, 3, 7, 11, 13, 17, 19, 23, 27, 31];
    let (tx, queue) = bounded(WORKERS * 3);
    let (results, rx) = bounded(WORKERS * 3);
    for w in 0..WORKERS {
        let (queue, results) = (queue.clone(), results.clone());
        drop(go(move || {
            for v in &queue {
                if v == numbers[w % numbers.len()] {
                    runtime::yield_now();
                }
                results.send(v).unwrap();
            }
        }));
    }
    drop((results, queue));
    let feeder =
        go(move || (0..VALUES).map(|i| numbers[i % numbers.len()]).inspect(|&v| tx.send(v).unwrap()).sum::<usize>());
    let (count, sum) = rx.iter().fold((0, 0), |(n, sum), v| (n + 1, sum + v));
    assert_eq!((count, sum), (VALUES, feeder.join().unwrap()));
}

/// Runs 50 G's that are inside between `enter` and `leave`, and returns how many were at most.
fn most_inside(enter: impl Fn() + Clone + Send + 'static, leave: impl Fn() + Clone + Send + 'static) -> usize {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gs: Vec<_> = (0..50)
        .map(|_| {
            let (enter, leave, inside, most) = (enter.clone(), leave.clone(), inside.clone(), most.clone());
            go(move || {
                enter();
                most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                runtime::yield_now();
                inside.fetch_sub(1, Relaxed);
                leave();
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    most.load(Relaxed)
}

/// Go: "a buffered channel can be used like a semaphore" (Effective Go); chan_test.go, TestChan's
/// semaphore.
fn a_channel_as_a_semaphore() {
    let (tx, rx) = bounded(3);
    let most = most_inside(move || tx.send(()).unwrap(), move || rx.recv().unwrap());
    assert!((1..=3).contains(&most), "{most}");
}

/// Go: a channel of one is a lock.
fn a_channel_as_a_mutex() {
    let (tx, rx) = bounded(1);
    let (give, take) = (tx.clone(), rx.clone());
    tx.send(()).unwrap();
    assert_eq!(most_inside(move || take.recv().unwrap(), move || give.send(()).unwrap()), 1);
    drop(rx);
}

/// Go: "worker pools" (Go by Example).
fn a_pool_of_workers() {
    let (jobs, queue) = bounded::<u64>(10);
    let (results, rx) = bounded(10);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (queue, results) = (queue.clone(), results.clone());
            go(move || queue.iter().inspect(|n| results.send(n * 2).unwrap()).count())
        })
        .collect();
    drop((queue, results));
    let submit = go(move || (1..=100).for_each(|n| jobs.send(n).unwrap()));
    assert_eq!(rx.iter().sum::<u64>(), 10_100);
    submit.join().unwrap();
    assert_eq!(workers.into_iter().map(|w| w.join().unwrap()).sum::<usize>(), 100);
}

/// Go: "Go Concurrency Patterns: Pipelines": one source, several squarers, one merged result.
fn fan_out_and_fan_in() {
    let (tx, source) = bounded(0);
    drop(go(move || (1..=60u64).for_each(|n| tx.send(n).unwrap())));
    let (merged, rx) = bounded(0);
    let done = Arc::new(WaitGroup::new());
    for _ in 0..3 {
        done.add(1);
        let (source, merged, done) = (source.clone(), merged.clone(), done.clone());
        drop(go(move || {
            source.iter().for_each(|n| merged.send(n * n).unwrap());
            done.done();
        }));
    }
    let closer = go(move || {
        done.wait();
        merged.close();
    });
    assert_eq!(rx.iter().sum::<u64>(), 73_810);
    closer.join().unwrap();
}

/// Go: the same article: "short-circuiting", which Go needs a `done` channel for.
fn a_pipeline_stops_when_its_sink_has_enough() {
    let (tx, mut rx) = bounded(0);
    let source = go(move || (0u64..).take_while(|&n| tx.send(n).is_ok()).count());
    let stages: Vec<_> = (0..5)
        .map(|_| {
            let (tx, next) = bounded(0);
            let rx = core::mem::replace(&mut rx, next);
            go(move || rx.iter().take_while(|&n| tx.send(n + 1).is_ok()).count())
        })
        .collect();
    assert!(rx.iter().take(10).eq(5..15));
    drop(rx);
    assert!(source.join().unwrap() < 25);
    stages.into_iter().for_each(|g| assert!(g.join().unwrap() >= 10));
}

/// Go: test/chan/powser1.go's `dch`: nothing is made before it is asked for.
fn a_generator_is_asked_for_each_value() {
    let (ask, asked) = bounded::<()>(0);
    let (tx, rx) = bounded(0);
    let made = Arc::new(AtomicUsize::new(0));
    let generator = go({
        let made = made.clone();
        move || asked.iter().for_each(|()| tx.send(made.fetch_add(1, Relaxed)).unwrap())
    });
    for i in 0..10 {
        assert_eq!(made.load(Relaxed), i);
        ask.send(()).unwrap();
        assert_eq!(rx.recv(), Ok(i));
    }
    drop(ask);
    generator.join().unwrap();
}

/// Go: "share memory by communicating": a map with one owner.
fn a_server_with_one_owner_of_its_state() {
    enum Request {
        Add(u32, u64),
        Get(u32, Sender<u64>),
    }
    let (tx, rx) = bounded(3);
    let owner = go(move || {
        let mut map = BTreeMap::<u32, u64>::new();
        for request in &rx {
            match request {
                Request::Add(key, n) => *map.entry(key).or_default() += n,
                Request::Get(key, reply) => reply.send(map.get(&key).copied().unwrap_or(0)).unwrap(),
            }
        }
        map.len()
    });
    let clients: Vec<_> = (0..8)
        .map(|c| {
            go({
                let tx = tx.clone();
                move || (0..50).for_each(|i| assert!(tx.send(Request::Add(c % 4, i)).is_ok()))
            })
        })
        .collect();
    clients.into_iter().for_each(|g| g.join().unwrap());
    let (reply, answer) = bounded(1);
    assert!(tx.send(Request::Get(2, reply)).is_ok());
    assert_eq!(answer.recv(), Ok(2 * 1_225));
    drop(tx);
    assert_eq!(owner.join().unwrap(), 4);
}

/// Go: "Exercise: Equivalent Binary Trees" (A Tour of Go), with a G a node.
fn a_tree_is_walked_by_a_goroutine_a_node() {
    fn walk(from: u32, to: u32, out: &Sender<u32>) {
        if from < to {
            let middle = from + (to - from) / 2;
            let (left, right) = (out.clone(), out.clone());
            let halves = [go(move || walk(from, middle, &left)), go(move || walk(middle + 1, to, &right))];
            out.send(middle).unwrap();
            halves.into_iter().for_each(|h| h.join().unwrap());
        }
    }
    let (tx, rx) = bounded(4);
    let root = go(move || walk(0, 300, &tx));
    let mut all: Vec<u32> = rx.iter().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..300));
    root.join().unwrap();
}

/// Go: the parallel quicksort of many an introduction: it joins children in the order of the
/// halves.
fn quicksort_by_goroutines() {
    fn sort(mut v: Vec<u32>) -> Vec<u32> {
        if v.len() < 2 {
            return v;
        }
        let pivot = v.swap_remove(v.len() / 2);
        let (low, high): (Vec<_>, Vec<_>) = v.into_iter().partition(|&x| x < pivot);
        let low = go(move || sort(low));
        let high = sort(high);
        let mut sorted = low.join().unwrap();
        sorted.push(pivot);
        sorted.extend(high);
        sorted
    }
    let v: Vec<u32> = (0..500u32).map(|i| i.wrapping_mul(2_654_435_761) >> 8).collect();
    let mut expected = v.clone();
    expected.sort_unstable();
    assert_eq!(sort(v), expected);
}

/// Go: a future is a channel of one that its maker fills once.
fn a_future_is_a_channel_of_one() {
    let later = |n: u64| {
        let (tx, rx) = bounded(1);
        drop(go(move || tx.send((1..=n).product::<u64>()).unwrap()));
        rx
    };
    let futures: Vec<_> = (1..=10).map(later).collect();
    assert_eq!(futures.iter().map(|f| f.recv().unwrap()).sum::<u64>(), 4_037_913);
}

/// Go: two channels that let a group go only together.
fn a_barrier_of_two_channels() {
    const N: usize = 10;
    let (arrive, arrived) = bounded(0);
    let (release, go_on) = bounded::<()>(0);
    let passed = Arc::new(AtomicUsize::new(0));
    let gs: Vec<_> = (0..N)
        .map(|_| {
            let (arrive, go_on, passed) = (arrive.clone(), go_on.clone(), passed.clone());
            go(move || {
                arrive.send(()).unwrap();
                assert!(go_on.recv().is_err());
                passed.fetch_add(1, Relaxed);
            })
        })
        .collect();
    (0..N).for_each(|_| arrived.recv().unwrap());
    until_parked(N);
    assert_eq!(passed.load(Relaxed), 0);
    release.close();
    gs.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(passed.load(Relaxed), N);
}

/// Go: chan_test.go, TestChan: two groups that would deadlock if a value could stay behind.
fn nobody_waits_while_a_partner_is_there() {
    let (tx, rx) = bounded(1);
    let all = Arc::new(WaitGroup::new());
    all.add(200);
    for i in 0..100 {
        let (tx, rx, a, b) = (tx.clone(), rx.clone(), all.clone(), all.clone());
        drop(go(move || {
            tx.send(i).unwrap();
            a.done();
        }));
        drop(go(move || {
            rx.recv().unwrap();
            b.done();
        }));
    }
    all.wait();
    assert!(rx.is_empty());
}
