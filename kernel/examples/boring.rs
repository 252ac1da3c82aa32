//! Rob Pike's boring talk, from "Go Concurrency Patterns". A function returns a channel. Two such
//! channels are fanned in, a listener has a timeout, and a speaker is asked to leave. In Go a
//! speaker without a listener waits for ever; here its channel is closed, and it goes.
#![no_std]
#![no_main]

use core::ops::Range;

use trefoil::prelude::*;
use trefoil::rand;

/// Starts a speaker that makes pauses of so many milliseconds.
fn boring(name: &'static str, pauses: Range<u64>) -> Receiver<String> {
    let (says, heard) = chan::bounded(0);
    drop(go(move || {
        // A `send` fails as soon as nobody can hear it.
        for n in 0.. {
            if says.send(format!("{name} {n}")).is_err() {
                return;
            }
            time::sleep(Duration::from_millis(rand::random_range(pauses.clone())));
        }
    }));
    heard
}

/// Passes on the words of two speakers, in the order in which they come.
fn fan_in(one: Receiver<String>, other: Receiver<String>) -> Receiver<String> {
    let (says, heard) = chan::bounded(0);
    drop(go(move || {
        loop {
            let said = select! {
                recv(one) -> said => said,
                recv(other) -> said => said,
            };
            let Ok(said) = said else { return };
            if says.send(said).is_err() {
                return;
            }
        }
    }));
    heard
}

/// Starts a speaker that says goodbye when it is asked to leave.
fn polite(name: &'static str) -> (Receiver<String>, Sender<Sender<String>>) {
    let (says, heard) = chan::bounded(0);
    let (leave, asked) = chan::bounded::<Sender<String>>(0);
    drop(go(move || {
        for n in 0.. {
            select! {
                send(says, format!("{name} {n}")) -> _ => {}
                recv(asked) -> reply => {
                    if let Ok(reply) = reply {
                        let _ = reply.send(format!("{name}: see you"));
                    }
                    return;
                }
            }
        }
    }));
    (heard, leave)
}

#[trefoil::main]
fn main() {
    let both = fan_in(boring("Joe", 0..4), boring("Ann", 0..4));
    for said in both.iter().take(10) {
        println!("{said}");
    }
    drop(both); // Joe and Ann notice at their next word

    let (hasty, all) = (boring("Joe", 0..4), chan::after(Duration::from_millis(40)));
    let mut words = 0;
    loop {
        select! {
            recv(hasty) -> _ => words += 1,
            recv(all) -> _ => break,
        }
    }
    drop(hasty);
    println!("you talk too much: {}", if words > 1 { "enough" } else { "not even that" });

    let slow = boring("Ann", 60_000..60_001);
    println!("{}", slow.recv().unwrap());
    select! {
        recv(slow) -> said => println!("{said:?}, already?"),
        default(Duration::from_millis(20)) => println!("you are too slow"),
    }

    let (heard, leave) = polite("Joe");
    heard.iter().take(3).for_each(|said| println!("{said}"));
    let (reply, goodbye) = chan::bounded(0);
    leave.send(reply).unwrap();
    println!("{}", goodbye.recv().unwrap());

    while runtime::num_goroutines() > 2 {
        time::sleep(Duration::from_millis(1)); // all but the slow one, which sleeps for a minute
    }
    println!("nobody talks to himself");
}
