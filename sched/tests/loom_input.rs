//! Bytes from a handler to a G, on the production ring, inbox and sleep protocol. No byte is lost,
//! changed or there twice. The reader does not wait beside bytes, and the device does not stay off
//! beside room. The ring has two places here. A byte that is
//! dropped, or a device that stays off, breaks INV-FLOW.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use support::{cores, g};
use trefoil_sched::input::Input;
use trefoil_sched::{M, PreemptGuard, model};

/// The device: its interrupt is on.
struct Device {
    input: Input,
    on: AtomicBool,
}

/// One interrupt for so many bytes, on the core of `m`; those for which there is no room wait until
/// the interrupt is on again.
fn send(device: &Device, m: &'static M, bytes: u8, at_once: usize) {
    cores::run_on(m);
    for mut bytes in (0..bytes).collect::<Vec<u8>>().chunks(at_once) {
        loop {
            while !device.on.load(Ordering::Acquire) {
                thread::yield_now();
            }
            bytes = &bytes[device.input.push(bytes)..];
            if bytes.is_empty() {
                break;
            }
            device.on.store(false, Ordering::Relaxed);
            if device.input.pause() {
                device.on.store(true, Ordering::Release);
            } else {
                device.input.wake(m);
            }
        }
        device.input.wake(m);
    }
}

/// Waits as `Input::wait`, without a stack to leave: the G of `m` parks, and `m` runs it next.
fn wait(device: &Device, m: &'static M, g: trefoil_sched::GRef) {
    if model::parks_for_input(&device.input, g) {
        assert!(std::ptr::eq(model::next_g(m), g));
        model::dispatch(g);
    }
}

fn sender_against_reader(bytes: u8, at_once: usize) {
    cores::model(move || {
        let (_, ms) = support::machine(2, 2);
        let (interrupted, m) = (ms[0], ms[1]);
        let device = Arc::new(Device { input: Input::new(), on: AtomicBool::new(true) });
        let sender = {
            let device = device.clone();
            thread::spawn(move || send(&device, interrupted, bytes, at_once))
        };
        let g = g();
        cores::run_on(m);
        model::begin(m, g);
        let mut next = 0;
        while next < bytes {
            let mut buffer = [0xff; 2];
            let n = device.input.read(&mut buffer);
            if device.input.resume(&PreemptGuard::new()) {
                device.on.store(true, Ordering::Release);
            }
            for &byte in &buffer[..n] {
                assert_eq!(byte, next, "a byte is lost or changed");
                next += 1;
            }
            if n == 0 {
                wait(&device, m, g);
            }
        }
        sender.join().unwrap();
        assert!(device.input.is_empty());
    });
}

#[test]
fn a_byte_that_comes_while_its_reader_parks_is_read() {
    sender_against_reader(1, 1);
}

#[test]
fn more_bytes_than_there_is_room_for_are_read_in_order() {
    sender_against_reader(4, 1);
}

#[test]
fn bytes_that_come_together_are_read_in_order() {
    sender_against_reader(4, 2);
}
