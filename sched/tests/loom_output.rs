//! Lines to a device, on the production ring, inbox and sleep protocol. No byte is lost, changed,
//! torn or there twice. No byte stays in the ring while the device is ready and its interrupt is
//! off. The writer does not wait beside room. The ring has two places here.
//! Bytes that no drainer and no interrupt see break INV-DRAIN.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use support::{cores, g};
use trefoil_sched::output::{Bytes, Output, Transmitter, Turn};
use trefoil_sched::{Config, M, PreemptGuard, Sched, model};

/// Bytes that a port takes at a time.
const FIFO: usize = 1;

/// The device: it takes [`FIFO`] bytes, and is ready again when the model says so.
struct Device {
    output: Output,
    /// Bytes that it takes now.
    room: AtomicUsize,
    /// Its interrupt is on.
    on: AtomicBool,
    sent: std::sync::Mutex<Vec<u8>>,
}

impl Device {
    fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            output: Output::new(Box::leak(Box::new(Bytes::new()))),
            room: AtomicUsize::new(room),
            on: AtomicBool::new(false),
            sent: std::sync::Mutex::new(Vec::new()),
        })
    }

    /// Starts the device, as a G does that has added a line.
    fn transmit(&self) {
        if self.output.drain(usize::MAX, &mut Port(self)) {
            self.on.store(true, Ordering::SeqCst);
        }
    }

    /// The device has room again: its interrupt comes if it is on. Whether it came.
    fn gets_ready(&self) -> bool {
        self.room.store(FIFO, Ordering::SeqCst);
        let comes = self.on.swap(false, Ordering::SeqCst);
        if comes {
            self.output.interrupted();
            self.transmit();
        }
        comes
    }

    fn is_idle(&self) -> bool {
        self.output.is_empty()
    }
}

struct Port<'a>(&'a Device);

impl Transmitter for Port<'_> {
    fn room(&mut self) -> usize {
        self.0.room.load(Ordering::SeqCst)
    }
    fn send(&mut self, bytes: &[u8]) {
        self.0.room.fetch_sub(bytes.len(), Ordering::SeqCst);
        self.0.sent.lock().unwrap().extend_from_slice(bytes);
    }
}

fn machine() -> [&'static M; 2] {
    let sched: &'static Sched = Box::leak(Box::new(Sched::new(&Config { max_procs: 2, ..Config::default() })));
    support::ending::enroll(sched);
    let ms: [&'static M; 2] = [0, 1].map(|i| &*Box::leak(Box::new(M::new(i, sched))));
    ms.iter().for_each(|m| sched.start_m(m));
    ms
}

/// Two cores add a byte each to a device that is always ready. The second core may find the first
/// one at the device, which must see the second byte.
#[test]
fn a_line_that_is_added_while_another_core_lets_go_leaves() {
    support::cores::model(|| {
        let ms = machine();
        let device = Device::new(2);
        let other = {
            let device = device.clone();
            thread::spawn(move || {
                cores::run_on(ms[0]);
                assert!(device.output.try_put(&PreemptGuard::new(), [1].as_slice()));
                device.transmit();
            })
        };
        cores::run_on(ms[1]);
        assert!(device.output.try_put(&PreemptGuard::new(), [2].as_slice()));
        device.transmit();
        other.join().unwrap();
        assert!(device.is_idle(), "a byte has stayed behind");
        let mut sent = device.sent.lock().unwrap().clone();
        sent.sort_unstable();
        assert_eq!(sent, [1, 2]);
    });
}

/// An interrupt that was meant for something else comes while a core drains a busy device: the
/// bytes that are left must not be forgotten.
#[test]
fn an_interrupt_beside_a_drainer_leaves_the_interrupt_wanted() {
    support::cores::model(|| {
        let ms = machine();
        let device = Device::new(0);
        let handler = {
            let device = device.clone();
            thread::spawn(move || {
                cores::run_on(ms[0]);
                cores::handle(|| {
                    device.on.store(false, Ordering::SeqCst);
                    device.output.interrupted();
                    device.transmit();
                });
            })
        };
        cores::run_on(ms[1]);
        assert!(device.output.try_put(&PreemptGuard::new(), [1].as_slice()));
        device.transmit();
        handler.join().unwrap();
        assert!(device.output.is_wanted(), "nobody will send what is left");
        // The registers follow the word: see `write_enables` in the kernel.
        device.on.store(device.output.is_wanted(), Ordering::SeqCst);
        assert!(device.gets_ready() && device.is_idle());
    });
}

/// A goroutine writes more than there is room for, to a device that takes a byte at a time.
#[test]
fn a_writer_that_parks_for_room_goes_on_and_nothing_is_lost() {
    support::cores::model(|| {
        let ms = machine();
        let device = Device::new(0);
        let port = {
            let device = device.clone();
            thread::spawn(move || {
                cores::run_on(ms[0]);
                while device.sent.lock().unwrap().len() < 3 {
                    // The interrupt comes only while it is on.
                    if device.on.load(Ordering::Acquire) {
                        assert!(cores::handle(|| device.gets_ready()));
                    } else {
                        thread::yield_now();
                    }
                }
            })
        };
        let (m, g) = (ms[1], g());
        cores::run_on(m);
        model::begin(m, g);
        for line in [&[1, 2][..], &[3]] {
            model::put_alone(&device.output, g, line, || {
                assert!(std::ptr::eq(model::next_g(m), g));
                model::dispatch(g);
            });
            device.transmit();
        }
        port.join().unwrap();
        assert_eq!(*device.sent.lock().unwrap(), [1, 2, 3]);
    });
}

/// Two reports want the one place for their text, and the first reporter may end where it stands:
/// then the side that sees to its end releases the place.
#[test]
fn one_report_at_a_time_has_the_place_also_after_a_death() {
    support::cores::model(|| {
        machine();
        let place = Arc::new((Turn::new(), loom::cell::UnsafeCell::new(0)));
        let write = |place: &(Turn, loom::cell::UnsafeCell<u32>), g, dies: bool| {
            let (turn, text) = place;
            while !turn.claim(g) {
                thread::yield_now();
            }
            assert!(turn.is_of(g) && turn.is_taken());
            // SAFETY: the owner of the place is alone with the text; loom checks that.
            text.with_mut(|text| unsafe { *text += 1 });
            if dies {
                // On its deathbed it finds the place its own.
                assert!(turn.claim(g));
                // SAFETY: it is the owner still; loom checks that.
                text.with_mut(|text| unsafe { *text += 1 });
            }
            turn.release();
        };
        let other = {
            let (place, g) = (place.clone(), g());
            thread::spawn(move || write(&place, g, true))
        };
        write(&place, g(), false);
        other.join().unwrap();
        assert!(!place.0.is_taken());
        // SAFETY: nobody else is left.
        assert_eq!(place.1.with(|text| unsafe { *text }), 3);
    });
}
