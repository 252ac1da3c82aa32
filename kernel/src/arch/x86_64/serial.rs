//! The first serial port: a 16550 at 0x3f8. What leaves stands in an [`Output`] first
//! ([`transmit`]); what arrives, in an [`Input`], once somebody wants to read.
//!
//! Both share the port's interrupt, which comes to the boot core and is connected when it is needed
//! for the first time. The line is edge-triggered, and one cause may come while another is seen to.
//! So the handler turns the port's interrupts off first, does a bounded piece of each, and turns on
//! what is wanted then: whatever is there by that time makes an edge. Who changes what is wanted
//! outside the handler writes the register anew ([`write_enables`]).
//!
//! The report path comes past all this and writes to the port itself, byte by byte, when it has
//! sent what was in the ring ([`take_over`]).
//!
//! **What arrives.** Where no I/O APIC has the port's line, a timer looks. While the ring has no
//! room the bytes stay in the port with its interrupt off: a sender that heeds flow control (QEMU's
//! other end does) waits, and one that does not loses bytes in the port, which counts that. Nothing
//! of it is linked into a program that does not read.
//!
//! **A flood.** The port interrupts when its FIFO has 14 of its 16 bytes, which one instruction
//! takes out; the reader is readied once for all that was there. From the port to a line in a
//! goroutine's hand a byte takes 80 to 95 instructions (`ICOUNT=1 make run APP=flood < FILE`), so a
//! megabyte a second needs a tenth of a 1 GHz core. QEMU brings less, 0.28 to 0.37 MB/s on two host
//! cores: it hands over 14 bytes a turn of its main loop, and the guest rests for nine tenths of
//! the time (150 to 180 ns of work a byte on one core). A real port at 115,200 baud brings 11,520
//! bytes a second.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

use trefoil_sched::M;
use trefoil_sched::PreemptGuard;
use trefoil_sched::input::Input;
use trefoil_sched::timers::Chore;

use super::cpu::{inb, insb, outb, outsb};
use super::exceptions::VECTOR_SERIAL;
use super::percpu::{self, PerCpu};
use super::{acpi, clock, ioapic};

mod pace;
mod transmit;

pub use pace::pace;
pub use transmit::{OUTPUT, finish, flush, make_room, take_over, transmit};

const PORT: u16 = 0x3f8;
/// Its interrupt line.
const LINE: u8 = 4;

/// Interrupts: when data has been received; when the transmitter is empty.
const RECEIVE: u8 = 1;
const TRANSMIT: u8 = 2;
/// Line status: data is there; some were lost; the transmitter has room; nothing is on its way any
/// more.
const DATA: u8 = 1 << 0;
const OVERRUN: u8 = 1 << 1;
const ROOM: u8 = 1 << 5;
const IDLE: u8 = 1 << 6;

/// The port interrupts when its FIFO has so many bytes, or some for a while.
const TRIGGER: usize = 14;
/// What the identification register says then, its two reserved bits aside: FIFOs on, data
/// received.
const TRIGGERED: u8 = 0xc4;

/// What it says whenever there are FIFOs.
const FIFOS: u8 = 0xc0;

/// How often a full transmitter is asked before a byte is given up.
const PATIENCE: u32 = 100_000;

/// Bytes that a handler takes at once: a sender that never ends does not hold the core for more.
/// One by one, as when a sender is just fast enough to keep the FIFO from being full, a byte takes
/// 50 instructions. What is left interrupts again.
const BURST: usize = 48;

/// How often the port is looked at where it can't interrupt: a FIFO of 16 bytes is full in 1.4 ms
/// at 115,200 baud.
const POLL: u64 = 1_000_000;

static PRESENT: AtomicBool = AtomicBool::new(false);

/// The port's line interrupts the boot core.
static CONNECTED: AtomicBool = AtomicBool::new(false);
/// Received data is to interrupt.
static RECEIVING: AtomicBool = AtomicBool::new(false);

/// Reads of the line status that told of lost bytes. (At most one a byte.)
static OVERRUNS: AtomicU64 = AtomicU64::new(0);

/// What takes the received bytes, once somebody reads: [`receive`].
static RECEIVER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// What has been received.
pub static INPUT: Input = Input::new();

fn register(n: u16) -> u8 {
    // SAFETY: 0x3f8 to 0x3ff are the first serial port; nobody else uses its registers.
    unsafe { inb(PORT + n) }
}

/// Takes so many received bytes, which are there.
fn take(into: &mut [u8]) {
    // SAFETY: as above.
    unsafe { insb(PORT, into) };
}

/// Gives the port bytes to send, for which it has room.
fn give(bytes: &[u8]) {
    // SAFETY: as above.
    unsafe { outsb(PORT, bytes) };
}

fn set_register(n: u16, value: u8) {
    // SAFETY: as above.
    unsafe { outb(PORT + n, value) };
}

/// Sets the port to 115200 8N1 with FIFOs, if it is there.
pub fn init() {
    set_register(7, 0x5a);
    if register(7) != 0x5a {
        return;
    }
    for (n, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 0xc7), (4, 0x0b)] {
        set_register(n, value);
    }
    transmit::set_fifo(register(2) & FIFOS == FIFOS);
    PRESENT.store(true, Ordering::Relaxed);
}

/// The line status. Reading it clears what it says of lost bytes, so it is counted here.
fn status() -> u8 {
    let status = register(5);
    if status & OVERRUN != 0 {
        OVERRUNS.fetch_add(1, Ordering::Relaxed);
    }
    status
}

/// Whether there is a port.
pub fn is_present() -> bool {
    PRESENT.load(Ordering::Relaxed)
}

/// Sends one byte past the ring; gives it up if the transmitter stays full. Takes no lock.
pub fn put(byte: u8) {
    if !is_present() {
        return;
    }
    pace::wait();
    for _ in 0..PATIENCE {
        if status() & ROOM != 0 {
            break;
        }
        core::hint::spin_loop();
    }
    set_register(0, byte);
    pace::sent(1);
}

/// Sends text, with line ends as terminals want them.
pub fn put_str(s: &str) {
    for byte in s.bytes() {
        put(byte);
    }
}

/// How often bytes were lost in the port.
pub fn overruns() -> u64 {
    OVERRUNS.load(Ordering::Relaxed)
}

/// How the port is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// There is no port.
    None,
    /// It interrupts.
    Interrupt,
    /// A timer looks, since no I/O APIC has the port's line; why.
    Timer(trefoil_boot::acpi::Error),
}

/// Lets the port's line interrupt the boot core. Not in a handler.
///
/// # Errors
/// Why it can't.
fn connect() -> Result<(), trefoil_boot::acpi::Error> {
    if CONNECTED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let route = acpi::isa_route(LINE)?;
    let boot_core = percpu::get(0).map_or(0, PerCpu::lapic_id);
    // Before the first interrupt: nothing is turned on in the port yet.
    CONNECTED.store(true, Ordering::Relaxed);
    let connected = ioapic::connect(route, VECTOR_SERIAL, boot_core);
    CONNECTED.store(connected, Ordering::Relaxed);
    if connected { Ok(()) } else { Err(trefoil_boot::acpi::Error::Missing("I/O APIC")) }
}

/// Turns on in the port what is wanted, and nothing else.
///
/// **The hard race** is another core that changes its mind and writes the register between this
/// core's look and its write. So each looks again after it has written: whoever writes last has
/// looked since.
fn write_enables() {
    let wanted = || {
        let transmit = OUTPUT.is_wanted() && !pace::is_paced();
        let receive = if RECEIVING.load(Ordering::Relaxed) { RECEIVE } else { 0 };
        receive | if transmit { TRANSMIT } else { 0 }
    };
    loop {
        let enables = wanted();
        set_register(1, enables);
        // SeqCst: pairs with itself, on another core.
        fence(Ordering::SeqCst);
        if wanted() == enables {
            return;
        }
    }
}

/// Lets the port receive into [`INPUT`]. Once.
pub fn listen() -> Source {
    if !is_present() {
        return Source::None;
    }
    // Release: pairs with the Acquire in `interrupt`.
    RECEIVER.store(receive as fn(&M) as *mut (), Ordering::Release);
    match connect() {
        Ok(()) => {
            RECEIVING.store(true, Ordering::Relaxed);
            write_enables();
            Source::Interrupt
        }
        Err(why) => {
            LOOK.start(clock::now());
            Source::Timer(why)
        }
    }
}

/// The port's interrupt. False: nobody wants it.
pub fn interrupt(core: &PerCpu) -> bool {
    if !CONNECTED.load(Ordering::Relaxed) {
        return false;
    }
    set_register(1, 0);
    let receiver = RECEIVER.load(Ordering::Acquire);
    if !receiver.is_null()
        && let Some(m) = core.m()
    {
        // SAFETY: only `listen` stores there, and a function of this type.
        let receiver = unsafe { core::mem::transmute::<*mut (), fn(&M)>(receiver) };
        receiver(m);
    }
    transmit::interrupted();
    write_enables();
    true
}

/// Where nothing interrupts.
static LOOK: Chore = Chore::new(poll);

/// On a g0.
fn poll(now: u64) -> Option<u64> {
    let guard = PreemptGuard::new();
    receive(M::current(&guard));
    Some(now + POLL)
}

/// Moves what has arrived into the ring, and wakes who waits for it. The ring's one producer: in
/// the handler on the boot core, or by the timer.
fn receive(m: &M) {
    let mut taken = 0;
    while taken < BURST {
        let room = INPUT.room();
        if room == 0 {
            RECEIVING.store(false, Ordering::Relaxed);
            if !INPUT.pause() {
                return INPUT.wake(m);
            }
            RECEIVING.store(true, Ordering::Relaxed);
            continue;
        }
        // A FIFO that has triggered is not asked for each byte.
        let sure = if register(2) & 0xcf == TRIGGERED && room >= TRIGGER { TRIGGER } else { 1 };
        if status() & DATA == 0 {
            break;
        }
        let mut bytes = [0; TRIGGER];
        take(&mut bytes[..sure]);
        let took = INPUT.push(&bytes[..sure]);
        debug_assert_eq!(took, sure, "there was room");
        taken += sure;
    }
    INPUT.wake(m);
}

/// After bytes have been taken out of [`INPUT`]: the port may go on.
pub fn resume() {
    let guard = PreemptGuard::new();
    if INPUT.resume(&guard) {
        RECEIVING.store(true, Ordering::Relaxed);
        write_enables();
    }
}
