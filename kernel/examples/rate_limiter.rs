//! A rate limiter: so many requests a second, and a few at once after a rest. A bucket is a channel
//! of tokens; a goroutine drips one in whenever it is due, and a request takes one out, or waits
//! for it.
#![no_std]
#![no_main]

use trefoil::prelude::*;

struct Limiter {
    tokens: Receiver<()>,
}

impl Limiter {
    /// Makes a limiter of one token each `interval`, of which up to `burst` are saved up. The
    /// bucket starts full, and drips for as long as somebody has a clone of the limiter.
    fn new(interval: Duration, burst: usize) -> Self {
        let (bucket, tokens) = chan::bounded(burst);
        (0..burst).for_each(|_| bucket.send(()).unwrap());
        drop(go(move || {
            let mut due = Instant::now() + interval;
            loop {
                time::sleep_until(due);
                due += interval; // not `now + interval`: a late wake-up must not lower the rate
                match bucket.try_send(()) {
                    Err(chan::TrySendError::Disconnected(())) => break,
                    Ok(()) | Err(chan::TrySendError::Full(())) => {}
                }
            }
        }));
        Self { tokens }
    }

    /// Parks until the caller may go on.
    fn wait(&self) {
        self.tokens.recv().unwrap();
    }

    /// Returns true if the caller may go on now.
    fn allow(&self) -> bool {
        self.tokens.try_recv().is_ok()
    }
}

#[trefoil::main]
fn main() {
    let interval = Duration::from_millis(5);
    let begin = Instant::now();
    let limiter = Arc::new(Limiter::new(interval, 3));

    // Ten clients at once: three go at once, the others one each 5 ms.
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let limiter = limiter.clone();
            go(move || {
                limiter.wait();
                begin.elapsed()
            })
        })
        .collect();
    let mut times: Vec<Duration> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    times.sort();
    for (n, time) in times.iter().enumerate() {
        println!("request {n} went at {:>6} µs", time.as_micros());
    }
    // The tokens of requests 3 to 9 were due then; the burst came for free.
    let early = times.iter().enumerate().skip(3).filter(|(n, time)| **time < interval * (*n as u32 - 2)).count();
    println!("{early} requests went before their time");

    // `allow` asks for a token without waiting.
    time::sleep(interval * 10);
    let allowed = (0..10).filter(|_| limiter.allow()).count();
    println!("after a rest {allowed} of 10 were allowed at once");
}
