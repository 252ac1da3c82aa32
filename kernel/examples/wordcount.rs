//! Counts the words of `INPUT`, or of this file, with thousands of goroutines: map, shuffle through
//! channels, reduce; then shows how the scheduler got there.
#![no_std]
#![no_main]

use trefoil::prelude::*;

/// About this many mappers for a text of any size.
const MAPPERS: usize = 5_000;
const REDUCERS: usize = 16;

/// The text of a run without input.
const OWN_SOURCE: &[u8] = include_bytes!("wordcount.rs");

type Counts = BTreeMap<String, u64>;

/// Returns the words of a piece of text: runs of ASCII letters, in lower case.
fn words(text: &[u8]) -> impl Iterator<Item = String> {
    text.split(|b| !b.is_ascii_alphabetic())
        .filter(|w| !w.is_empty())
        .map(|w| w.iter().map(|b| b.to_ascii_lowercase() as char).collect())
}

/// Cuts `text` into pieces of about `size` bytes, never inside a word.
fn pieces(text: &'static [u8], size: usize) -> impl Iterator<Item = &'static [u8]> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let from = size.min(rest.len());
        let end = rest[from..].iter().position(|b| !b.is_ascii_alphabetic()).map_or(rest.len(), |at| from + at);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Chooses the reducer that counts `word`.
fn reducer(word: &str) -> usize {
    word.bytes().fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(b as usize)) % REDUCERS
}

#[trefoil::main]
fn main() {
    let mut text = runtime::input();
    if text.is_empty() {
        println!("wordcount: no input: counting the words of this program; INPUT=some-file gives it a text");
        text = OWN_SOURCE;
    }
    if let Err(error) = core::str::from_utf8(text) {
        println!("wordcount: the input is not UTF-8 from byte {} on; counting its ASCII words", error.valid_up_to());
    }

    let begin = Instant::now();
    let (senders, reducers): (Vec<_>, Vec<_>) = (0..REDUCERS)
        .map(|i| {
            let (tx, rx) = chan::bounded::<Counts>(64);
            let reduce = Builder::new().name("reducer").spawn(move || {
                let mut counts = Counts::new();
                rx.iter().flatten().for_each(|(word, n)| *counts.entry(word).or_default() += n);
                counts
            });
            (tx, reduce.unwrap_or_else(|e| panic!("reducer {i}: {e}")))
        })
        .unzip();
    let mut mappers = 0;
    for piece in pieces(text, text.len() / MAPPERS + 1) {
        let senders = senders.clone();
        mappers += 1;
        drop(go(move || {
            let mut shares: Vec<Counts> = (0..REDUCERS).map(|_| Counts::new()).collect();
            words(piece).for_each(|word| *shares[reducer(&word)].entry(word).or_default() += 1);
            for (to, share) in senders.iter().zip(shares).filter(|(_, share)| !share.is_empty()) {
                to.send(share).unwrap();
            }
        }));
    }
    drop(senders); // when the last mapper ends, the reducers' channels close
    let counts: Vec<(String, u64)> = reducers.into_iter().flat_map(|r| r.join().unwrap()).collect();
    let took = begin.elapsed();

    let mut top: Vec<_> = counts.iter().map(|(word, n)| (core::cmp::Reverse(n), word)).collect();
    top.sort();
    let total: u64 = counts.iter().map(|(_, n)| n).sum();
    println!("{total} words, {} different, in {} bytes; {mappers} mappers, {took:?}", counts.len(), text.len());
    top.iter().take(20).for_each(|(n, word)| println!("{:>7}  {word}", n.0));
    println!("\n   M  G's run   steals    parks  idle");
    for m in &runtime::stats().ms {
        println!("{:>4} {:>8} {:>8} {:>8}  {:?}", m.m, m.runs, m.steals, m.parks, Duration::from_nanos(m.idle_ns));
    }
}
