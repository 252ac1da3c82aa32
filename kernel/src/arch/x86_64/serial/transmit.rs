//! The transmit side: lines stand in the ring [`OUTPUT`], and move to the port whenever it has
//! room. A printer waits for the port only when it has no other work to do:
//!
//! | who prints | the ring has room | the ring is full |
//! |---|---|---|
//! | a goroutine with preemption on | puts its line there, and moves as much to the port as that takes at once | parks |
//! | others: g0, with preemption off | the same; the last 4 KiB of the ring are theirs | moves bytes to the port as it takes them, until there is room: 87 µs a byte of the line at 115,200 baud |
//! | boot, before the scheduler | the same, and waits until all has left | |
//! | a report | sends what is in the ring, then its own text, byte by byte; takes no lock | |
//!
//! The port's interrupt sends the rest, a FIFO of 16 bytes each. QEMU's port takes everything at
//! once, and never has to interrupt. If no I/O APIC has the port's line, the goroutine that prints
//! polls until the ring is empty, and lets others run in between.
//!
//! The port is stuck if its other end takes nothing, for a second or so. A line that can't park is
//! then given up, as a report's bytes are. A core that waits for ever with preemption off would be
//! worse.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use trefoil_sched::output::{Bytes, Output, Transmitter};
use trefoil_sched::{PreemptGuard, yield_now};
use uart_16550::spec::FIFO_SIZE;
use uart_16550::spec::registers::LSR;

use super::{CONNECTED, PATIENCE, connect, give, is_present, pace, put, status, write_enables};
use crate::arch::{clock, percpu};

/// The output ring.
pub static OUTPUT: Output = Output::new(&BYTES);

static BYTES: Bytes = Bytes::new();

/// Bytes that a printer moves to the port at once, with preemption off: more than a line usually
/// has.
const PIECE: usize = 256;
/// Bytes that the handler moves, beside those that it receives.
const BURST: usize = 64;

/// Bytes that the port takes when it says that it has room.
static FIFO: AtomicUsize = AtomicUsize::new(1);

/// Set if another look for the port's line is of no use.
static NO_LINE: AtomicBool = AtomicBool::new(false);

pub(super) fn set_fifo(there: bool) {
    FIFO.store(if there { FIFO_SIZE } else { 1 }, Ordering::Relaxed);
}

/// The port, for the ring.
struct Port;

impl Transmitter for Port {
    fn room(&mut self) -> usize {
        // "Room" says that the whole FIFO is empty.
        if pace::has_room() && status().contains(LSR::THR_EMPTY) { FIFO.load(Ordering::Relaxed) } else { 0 }
    }

    fn send(&mut self, bytes: &[u8]) {
        give(bytes);
        pace::sent(bytes.len());
    }
}

/// Moves what is in the ring to the port, as far as that takes it now, and sees to it that the rest
/// follows. After each line.
pub fn transmit() {
    loop {
        let guard = PreemptGuard::new();
        if !OUTPUT.drain(PIECE, &mut Port) {
            return;
        }
        drop(guard);
        if CONNECTED.load(Ordering::Relaxed) {
            // With preemption on, if it was: the interrupt may come at once, and again until the
            // ring is empty.
            return write_enables();
        }
        // Once: the tables are read with preemption on, where it can be.
        if !NO_LINE.load(Ordering::Relaxed) && is_up() {
            NO_LINE.store(connect().is_err(), Ordering::Relaxed);
        } else if percpu::may_park() {
            yield_now();
        } else {
            core::hint::spin_loop();
        }
    }
}

/// Returns true if this core can take interrupts.
fn is_up() -> bool {
    !percpu::m().is_null() && !percpu::in_handler()
}

/// Handles the port's interrupt: sends a bounded piece of the ring.
pub(super) fn interrupted() {
    OUTPUT.interrupted();
    // Whether there is more stands in `OUTPUT`, where `write_enables` looks.
    let _ = OUTPUT.drain(BURST, &mut Port);
}

/// Moves a few bytes to the port, when it has room: for a writer that can't park and finds the ring
/// full. With preemption off.
pub fn make_room() {
    for _ in 0..PATIENCE {
        let before = OUTPUT.len();
        let _ = OUTPUT.drain(FIFO.load(Ordering::Relaxed), &mut Port);
        if OUTPUT.len() < before {
            return;
        }
        core::hint::spin_loop();
    }
    /// The port is stuck: takes bytes, and loses them.
    struct Lost;
    impl Transmitter for Lost {
        fn room(&mut self) -> usize {
            usize::MAX
        }
        fn send(&mut self, _: &[u8]) {}
    }
    let _ = OUTPUT.drain(trefoil_sched::output::LINE, &mut Lost);
}

/// Waits until all has left, the port's own FIFO included, as long as some leaves every `grace`
/// nanoseconds.
pub fn flush(grace: u64) {
    if !is_present() {
        return;
    }
    let _guard = PreemptGuard::new();
    let (mut left, mut until) = (OUTPUT.len(), clock::now() + grace);
    loop {
        let _ = OUTPUT.drain(PIECE, &mut Port);
        let now = clock::now();
        if OUTPUT.len() < left {
            (left, until) = (OUTPUT.len(), now + grace);
        }
        if left == 0 && status().contains(LSR::TRANSMITTER_EMPTY) && pace::has_room() || now >= until {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Sends the text printed before a report, when all other cores have stopped. Takes no lock.
pub fn take_over() {
    while let Some(byte) = OUTPUT.next_for_report() {
        put(byte);
    }
}

/// Waits after a report until its last bytes have left, a second at most at 1 GHz or more.
pub fn finish() {
    let begin = clock::ticks();
    while is_present()
        && !status().contains(LSR::TRANSMITTER_EMPTY)
        && clock::ticks().wrapping_sub(begin) < 1_000_000_000
    {
        core::hint::spin_loop();
    }
}
