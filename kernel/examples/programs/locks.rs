//! Goroutines that want the same lock.

use core::hint::black_box;

use trefoil::prelude::*;

use crate::{Took, xorshift};

/// The data behind a lock.
struct Guarded {
    random: u64,
    writes: u64,
}

impl Guarded {
    const fn new() -> Self {
        Self { random: 1, writes: 0 }
    }

    fn write(&mut self) {
        self.random = xorshift(xorshift(self.random));
        self.writes += 1;
    }
}

/// Eight goroutines.
const MANY: u64 = 8;

/// Each takes a mutex `times` times, for some instructions.
pub fn mutex(times: u64) -> Took {
    let mutex = Arc::new(Mutex::new(Guarded::new()));
    let begin = Instant::now();
    let all = Arc::new(WaitGroup::new());
    for _ in 0..MANY {
        let mutex = mutex.clone();
        all.go(move || {
            for _ in 0..times {
                mutex.lock().unwrap().write();
            }
        });
    }
    all.wait();
    let took = Took::since(begin);
    let guarded = mutex.lock().unwrap();
    assert_eq!((guarded.writes, guarded.random), (MANY * times, 18_446_242_161_289_195_114));
    took
}

/// Each takes a lock `times` times, nine times of ten for reading.
pub fn rwlock(times: u64) -> Took {
    let lock = Arc::new(RwLock::new(Guarded::new()));
    let begin = Instant::now();
    let all = Arc::new(WaitGroup::new());
    for _ in 0..MANY {
        let lock = lock.clone();
        all.go(move || {
            let mut sum = 0u64;
            for i in 1..=times {
                if i % 10 == 0 {
                    lock.write().unwrap().write();
                } else {
                    let guarded = lock.read().unwrap();
                    sum = sum.wrapping_add(guarded.random).wrapping_add(guarded.writes);
                }
            }
            black_box(sum);
        });
    }
    all.wait();
    let took = Took::since(begin);
    let guarded = lock.read().unwrap();
    assert_eq!((guarded.writes, guarded.random), (MANY * (times / 10), 387_579_942_253_471_492));
    took
}

/// A creature that has come to the mall: its number and colour, and where it hears of another.
#[derive(Clone, Copy)]
struct Creature {
    id: usize,
    colour: usize,
}

struct Mall {
    meetings_left: u32,
    waiting: Option<(Creature, Sender<Creature>)>,
}

/// Returns the colour that both have after a meeting.
fn complement(a: usize, b: usize) -> usize {
    if a == b { a } else { 3 - a - b }
}

/// Goes to the mall until it is closed. Returns how often it met another creature.
fn creature(mall: &Mutex<Mall>, mut me: Creature) -> u32 {
    let (tx, rx) = chan::bounded(1);
    let mut met = 0;
    loop {
        let other = {
            let mut mall = mall.lock().unwrap();
            if mall.meetings_left == 0 {
                if let Some((_, waits)) = mall.waiting.take() {
                    waits.close();
                }
                return met;
            }
            if let Some((other, waits)) = mall.waiting.take() {
                mall.meetings_left -= 1;
                waits.send(me).unwrap();
                Some(other)
            } else {
                mall.waiting = Some((me, tx.clone()));
                None
            }
        };
        let Some(other) = other.or_else(|| rx.recv().ok()) else { return met };
        met += 1;
        assert_ne!(other.id, me.id);
        me.colour = complement(me.colour, other.colour);
    }
}

fn meet(colours: &[usize], meetings: u32) -> u32 {
    let mall = Arc::new(Mutex::new(Mall { meetings_left: meetings, waiting: None }));
    let creatures: Vec<_> = (colours.iter().enumerate())
        .map(|(id, &colour)| {
            let mall = mall.clone();
            go(move || creature(&mall, Creature { id, colour }))
        })
        .collect();
    creatures.into_iter().map(|creature| creature.join().unwrap()).sum()
}

/// Chameneos redux, of the Computer Language Benchmarks Game: creatures meet in pairs and change
/// their colours; 3 of them, then 10.
pub fn chameneos(meetings: u32) -> Took {
    let begin = Instant::now();
    let few = meet(&[0, 1, 2], meetings);
    let many = meet(&[0, 1, 2, 1, 2, 0, 1, 2, 1, 0], meetings);
    let took = Took::since(begin);
    assert_eq!((few, many), (2 * meetings, 2 * meetings));
    took
}
