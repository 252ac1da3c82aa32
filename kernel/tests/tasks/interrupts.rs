//! Futures that an interrupt wakes, or nothing does.

use core::future::{Future, poll_fn};
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use core::task::{Poll, Waker};
use x86_64::instructions::port::PortWriteOnly;

use trefoil::arch::{acpi, apic, exceptions, ioapic, percpu};
use trefoil::sync::OnceLock;

use crate::api::*;

/// A vector that nobody has.
const SPARE: u8 = 0x77;
/// The waker of the goroutine that its handler wakes.
static WOKEN: OnceLock<Waker> = OnceLock::new();
/// The interrupts that were asked for, and which was the last of them when the handler ran. (Not
/// how often it did: that is for the machine to say.)
static ASKED: AtomicUsize = AtomicUsize::new(0);
static RUNG: AtomicUsize = AtomicUsize::new(0);

/// Has the handler of the spare vector leave its mark from now on, and wake this goroutine.
fn listen() {
    task::block_on(poll_fn(|context| {
        WOKEN.get_or_init(|| context.waker().clone());
        Poll::Ready(())
    }));
    exceptions::ON_UNEXPECTED.call_once(|| {
        || {
            RUNG.fetch_max(ASKED.load(SeqCst), SeqCst);
            WOKEN.get().into_iter().for_each(Waker::wake_by_ref);
        }
    });
}

/// Interrupts core number `i`, modulo how many there are.
fn ring(i: usize) {
    ASKED.fetch_add(1, SeqCst);
    let cores = percpu::all().count();
    percpu::all().nth(i % cores).into_iter().for_each(|core| apic::send(core.lapic_id(), SPARE));
}

pub fn an_interrupt_wakes_a_future() {
    listen();
    for i in 0..300 {
        // Before the poll looks, after it has looked (so that it comes on the way to the park), and
        // while its goroutine is parked.
        let (way, mut rung) = (i % 3, false);
        let wait = poll_fn(|_| {
            if !rung && way == 0 {
                ring(i / 3);
            }
            let seen = RUNG.load(SeqCst);
            if !rung && way == 1 {
                ring(i / 3);
            }
            if !rung && way == 2 {
                go(move || ring(i / 3));
            }
            rung = true;
            if seen > i { Poll::Ready(seen) } else { Poll::Pending }
        });
        assert_eq!(task::block_on_interrupt(wait), i + 1, "way {way}");
    }
}

pub fn who_waits_for_an_interrupt_alone_is_not_dead() {
    // Each poll asks for an interrupt of the next core; while it is on its way all cores rest, or
    // are about to.
    listen();
    let wait = poll_fn(|_| {
        let seen = RUNG.load(SeqCst);
        if seen < 50 {
            ring(seen);
        }
        if seen < 50 { Poll::Pending } else { Poll::Ready(()) }
    });
    task::block_on_interrupt(wait);
}

/// Returns a future that the old PC's timer wakes in 50 ms. The scheduler does not know of that
/// timer: none of its own is armed, and every core rests meanwhile.
fn woken_by_a_device() -> impl Future<Output = ()> {
    listen();
    // The kernel's own work soon after boot is done by then.
    time::sleep(Duration::from_millis(150));
    let before = RUNG.load(SeqCst);
    let mut first = true;
    poll_fn(move |_| {
        if core::mem::take(&mut first) {
            ASKED.fetch_add(1, SeqCst);
            // SAFETY: channel 0 of the PIT, once, in 59,659 of its ticks. This machine has a better
            // clock, so nobody else uses the channel.
            unsafe {
                PortWriteOnly::new(0x43).write(0x30u8);
                PortWriteOnly::new(0x40).write(0x0bu8);
                PortWriteOnly::new(0x40).write(0xe9u8);
            }
            let route = acpi::isa_route(0).expect("a PC has one");
            let core = percpu::all().next().expect("there is a core").lapic_id();
            assert!(ioapic::connect(route, SPARE, core));
        }
        if RUNG.load(SeqCst) > before { Poll::Ready(()) } else { Poll::Pending }
    })
}

pub fn a_future_that_a_device_wakes_is_no_deadlock() {
    let begin = Instant::now();
    task::block_on_interrupt(woken_by_a_device());
    assert!(begin.elapsed() >= Duration::from_millis(200), "the machine never rested");
    println!("woken by the device");
}

pub fn who_does_not_say_so_is_taken_for_dead() {
    task::block_on(woken_by_a_device());
    println!("woken by the device");
}

pub fn a_future_that_nobody_wakes_is_a_deadlock() {
    task::block_on(core::future::pending::<()>());
}
