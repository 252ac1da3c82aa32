//! Computation that goroutines share.

use hashbrown::HashMap;
use trefoil::prelude::*;

use crate::{SEED, Took, xorshift};

/// Sorts `values`; halves above `GRAIN` values are sorted by a goroutine each.
fn sort(values: &mut [u64], room: &mut [u64]) {
    const GRAIN: usize = 4096;
    if values.len() <= GRAIN {
        return values.sort_unstable();
    }
    let middle = values.len() / 2;
    let (left, right) = values.split_at_mut(middle);
    let (left_room, right_room) = room.split_at_mut(middle);
    scope(|s| {
        s.go(|| sort(left, left_room));
        sort(right, right_room);
    });
    room.copy_from_slice(values);
    let (mut i, mut j) = (0, middle);
    for value in values.iter_mut() {
        if j == room.len() || i < middle && room[i] <= room[j] {
            *value = room[i];
            i += 1;
        } else {
            *value = room[j];
            j += 1;
        }
    }
}

/// Sorts random numbers by merging.
pub fn mergesort(n: usize) -> Took {
    let mut random = SEED;
    let mut next = || {
        random = xorshift(random);
        random >> 20
    };
    let mut values: Vec<u64> = (0..n).map(|_| next()).collect();
    let mut room = vec![0; n];
    let begin = Instant::now();
    sort(&mut values, &mut room);
    let took = Took::since(begin);
    assert!(values.is_sorted());
    took
}

/// Rows and columns of the matrices.
const N: usize = 300;

/// Computes row `i` of the product of `a` and `b`.
fn row(a: &[f64], b: &[f64], i: usize, out: &mut [f64]) {
    for (j, value) in out.iter_mut().enumerate() {
        let mut sum = 0.0;
        for k in 0..N {
            sum += a[i * N + k] * b[k * N + j];
        }
        *value = sum;
    }
}

/// Multiplies two matrices five times, a goroutine a row. The first time counts; the last one, in
/// warm memory, is the part.
pub fn matmul() -> Took {
    let a: Vec<f64> = (0..N * N).map(|i| (i % 17) as f64 * 0.5 - 3.25).collect();
    let b: Vec<f64> = (0..N * N).map(|i| (i % 23) as f64 / 3.0).collect();
    let mut product = vec![0.0; N * N];
    let mut times = [Duration::ZERO; 5];
    for time in &mut times {
        let begin = Instant::now();
        scope(|s| {
            for (i, out) in product.chunks_mut(N).enumerate() {
                let (a, b) = (&a, &b);
                s.go(move || row(a, b, i, out));
            }
        });
        *time = begin.elapsed();
    }
    assert_eq!((product[301] * 1e3) as i64, 872_666);
    Took { whole: times[0], part: Some(("warm", times[4])) }
}

/// Makes at least `size` bytes of words, the short ones more often.
fn text(size: usize) -> String {
    let mut text = String::with_capacity(size + 64);
    let mut random = SEED;
    while text.len() < size {
        random = xorshift(random);
        let bits = random >> 8;
        let mut word = (bits % 20_000) * ((bits >> 24) % 20_000) / 20_000;
        let mut letters = 1 + word % 5;
        while word > 0 || letters > 0 {
            text.push(char::from(b'a' + (word % 26) as u8));
            word /= 26;
            letters = letters.saturating_sub(1);
        }
        text.push(' ');
    }
    text
}

/// Counts the words of a text of 8 MiB: 64 goroutines count a part each, and one adds up their
/// tables.
pub fn words() -> Took {
    const PARTS: usize = 64;
    let text: &'static str = String::leak(text(8 << 20));
    let begin = Instant::now();
    let (tx, tables) = chan::bounded::<HashMap<&'static str, u64>>(0);
    let mut start = 0;
    for part in 1..=PARTS {
        let mut end = text.len() * part / PARTS;
        while end < text.len() && text.as_bytes()[end - 1] != b' ' {
            end += 1;
        }
        let part = &text[start..end];
        start = end;
        let tx = tx.clone();
        drop(go(move || {
            let mut table = HashMap::new();
            let mut start = 0;
            for (i, &byte) in part.as_bytes().iter().enumerate() {
                if byte == b' ' {
                    if i > start {
                        *table.entry(&part[start..i]).or_insert(0) += 1;
                    }
                    start = i + 1;
                }
            }
            tx.send(table).unwrap();
        }));
    }
    let mut all = HashMap::new();
    for _ in 0..PARTS {
        for (word, n) in tables.recv().unwrap() {
            *all.entry(word).or_insert(0u64) += n;
        }
    }
    let took = Took::since(begin);
    assert_eq!((all.values().sum::<u64>(), all.len()), (1_846_801, 19_770));
    took
}
