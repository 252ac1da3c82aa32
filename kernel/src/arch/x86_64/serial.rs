//! The first serial port: a 16550 at 0x3f8. Bytes to send wait in an
//! [`Output`](trefoil_sched::output::Output) ([`transmit()`]). Received bytes wait in an [`Input`],
//! once the program reads.
//!
//! Both directions share the port's interrupt, which goes to the boot core and is connected on
//! first use. The line is edge-triggered, and one cause may come while the handler handles another.
//! So the handler turns the port's interrupts off first and does a bounded piece of each direction.
//! Then it turns on the wanted interrupts: a cause that is pending by that time makes an edge. Code
//! outside the handler that changes the wanted interrupts writes the register anew
//! (`write_enables`).
//!
//! The report path bypasses both rings: it sends the bytes in the output ring, and then writes to
//! the port itself, byte by byte ([`take_over`]).
//!
//! **Receiving.** If no I/O APIC has the port's line, a timer polls the port. While the ring has no
//! room, the bytes stay in the port with its interrupt off. A sender that heeds flow control waits
//! (QEMU's other end does). Any other sender loses bytes in the port, which counts the losses. A
//! program that does not read contains none of this code.
//!
//! **A flood.** The port interrupts when its FIFO has 14 of its 16 bytes, and one instruction takes
//! them out. The reader is readied once for all of them. From the port to a line in a goroutine's
//! hand a byte takes 80 to 95 instructions (`ICOUNT=1 make run APP=flood < FILE`). So a megabyte a
//! second needs a tenth of a 1 GHz core. QEMU brings less, 0.28 to 0.37 MB/s on two host cores,
//! since it hands over 14 bytes a turn of its main loop. The guest rests for nine tenths of the
//! time (150 to 180 ns of work a byte on one core). A real port at 115,200 baud brings 11,520 bytes
//! a second.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};

use trefoil_sched::M;
use trefoil_sched::PreemptGuard;
use trefoil_sched::input::Input;
use trefoil_sched::internals::timers::Chore;
use uart_16550::spec::registers::{FCR, FifoTriggerLevel, IER, ISR, LCR, LSR, MCR, WordLength, offsets};
use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};

use super::cpu::{insb, outsb};
use super::exceptions::VECTOR_SERIAL;
use super::percpu::{self, PerCpu};
use super::{acpi, clock, ioapic};

mod pace;
mod transmit;

pub use pace::pace;
pub use transmit::{OUTPUT, finish, flush, make_room, take_over, transmit};

const PORT: u16 = 0x3f8;
/// The port's interrupt line.
const LINE: u8 = 4;

/// The port interrupts when its FIFO has so many bytes, or some for a while.
const TRIGGER: usize = 14;
const FIFO_CONTROL: FCR = FCR::FIFO_ENABLE
    .union(FCR::RX_FIFO_RESET)
    .union(FCR::TX_FIFO_RESET)
    .set_fifo_trigger_level(FifoTriggerLevel::Fourteen);
/// The identification register's bits that are set whenever there are FIFOs.
const FIFOS: ISR = ISR::FIFOS_ENABLED0.union(ISR::FIFOS_ENABLED1);
/// The identification register after such an interrupt, its two reserved bits aside: FIFOs on, data
/// received.
const TRIGGERED: ISR = FIFOS.union(ISR::IIC_1);
const RESERVED: ISR = ISR::DMA_RX_END.union(ISR::DMA_TX_END);

/// How often `put` polls a full transmitter before it gives a byte up.
const PATIENCE: u32 = 100_000;

/// Bytes that a handler takes at once, so that an endless sender does not hold the core for longer.
/// One by one, as when a sender is just fast enough to keep the FIFO from being full, a byte takes
/// 50 instructions. The remaining bytes interrupt again.
const BURST: usize = 48;

/// How often a timer polls a port that can't interrupt: a FIFO of 16 bytes is full in 1.4 ms at
/// 115,200 baud.
const POLL: u64 = 1_000_000;

static PRESENT: AtomicBool = AtomicBool::new(false);

/// The port's line interrupts the boot core.
static CONNECTED: AtomicBool = AtomicBool::new(false);
/// Received data is to interrupt.
static RECEIVING: AtomicBool = AtomicBool::new(false);

/// Reads of the line status that told of lost bytes. (At most one a byte.)
static OVERRUNS: AtomicU64 = AtomicU64::new(0);

/// The function that takes received bytes, once the program reads: [`receive`].
static RECEIVER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// The received bytes.
pub static INPUT: Input = Input::new();

fn register(offset: usize) -> u8 {
    // SAFETY: 0x3f8 to 0x3ff are the first serial port; only this module uses its registers.
    unsafe { PortReadOnly::new(PORT + offset as u16).read() }
}

/// Takes as many received bytes as fit into `into`; the port has so many.
fn take(into: &mut [u8]) {
    // SAFETY: the first serial port's data register, which only this module reads; the port has
    // bytes for all of `into`.
    unsafe { insb(PORT, into) };
}

/// Gives the port bytes to send, for which it has room.
fn give(bytes: &[u8]) {
    // SAFETY: the first serial port's data register, which only this module writes; the port has
    // room for all of `bytes`.
    unsafe { outsb(PORT, bytes) };
}

fn set_register(offset: usize, value: u8) {
    // SAFETY: 0x3f8 to 0x3ff are the first serial port; only this module uses its registers.
    unsafe { PortWriteOnly::new(PORT + offset as u16).write(value) };
}

/// Sets the port to 115200 8N1 with FIFOs, if it is there.
pub fn init() {
    set_register(offsets::SPR, 0x5a);
    if register(offsets::SPR) != 0x5a {
        return;
    }
    for (offset, value) in [
        (offsets::IER, IER::empty().bits()),
        (offsets::LCR, LCR::DLAB.bits()),
        (offsets::DLL, 1),
        (offsets::DLM, 0),
        (offsets::LCR, LCR::empty().set_word_length(WordLength::EightBits).bits()),
        (offsets::FCR, FIFO_CONTROL.bits()),
        (offsets::MCR, (MCR::DTR | MCR::RTS | MCR::OUT_2_INT_ENABLE).bits()),
    ] {
        set_register(offset, value);
    }
    transmit::set_fifo(identification().contains(FIFOS));
    PRESENT.store(true, Ordering::Relaxed);
}

/// Returns the reason of the port's interrupt.
fn identification() -> ISR {
    ISR::from_bits_retain(register(offsets::ISR))
}

/// Returns the line status. A read clears the mark of lost bytes, so this function counts it.
fn status() -> LSR {
    let status = LSR::from_bits_retain(register(offsets::LSR));
    if status.contains(LSR::OVERRUN_ERROR) {
        OVERRUNS.fetch_add(1, Ordering::Relaxed);
    }
    status
}

/// Returns true if there is a port.
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
        if status().contains(LSR::THR_EMPTY) {
            break;
        }
        core::hint::spin_loop();
    }
    set_register(offsets::DATA, byte);
    pace::sent(1);
}

/// Sends text, with line ends as terminals want them.
pub fn put_bytes(text: &[u8]) {
    text.iter().for_each(|&byte| put(byte));
}

/// Sends text as [`put_bytes`] does.
pub fn put_str(s: &str) {
    put_bytes(s.as_bytes());
}

/// Returns how often bytes were lost in the port.
pub fn overruns() -> u64 {
    OVERRUNS.load(Ordering::Relaxed)
}

/// The way in which the port is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// There is no port.
    None,
    /// The port interrupts.
    Interrupt,
    /// A timer polls the port, since no I/O APIC has the port's line; the reason.
    Timer(trefoil_boot::acpi::Error),
}

/// Lets the port's line interrupt the boot core. Not in a handler.
///
/// # Errors
/// The reason why the line can't interrupt.
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

/// Turns on the wanted interrupts in the port, and no others.
///
/// **The hard race** is another core that changes the wanted interrupts and writes the register
/// between this core's look and its write. So each core looks again after its write: the last
/// writer has looked since.
fn write_enables() {
    let wanted = || {
        let transmit = OUTPUT.is_wanted() && !pace::is_paced();
        let mut enables = IER::empty();
        enables.set(IER::DATA_READY, RECEIVING.load(Ordering::Relaxed));
        enables.set(IER::THR_EMPTY, transmit);
        enables
    };
    loop {
        let enables = wanted();
        set_register(offsets::IER, enables.bits());
        // SeqCst: pairs with itself, on another core.
        fence(Ordering::SeqCst);
        if wanted() == enables {
            return;
        }
    }
}

/// Lets the port receive into [`INPUT`]. Called once.
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

/// Handles the port's interrupt. Returns false if the port's interrupt is not in use.
pub fn interrupt(core: &PerCpu) -> bool {
    if !CONNECTED.load(Ordering::Relaxed) {
        return false;
    }
    set_register(offsets::IER, IER::empty().bits());
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

/// The timer of a port that can't interrupt.
static LOOK: Chore = Chore::new(poll);

/// Polls the port, on a g0.
fn poll(now: u64) -> Option<u64> {
    let guard = PreemptGuard::new();
    receive(M::current(&guard));
    Some(now + POLL)
}

/// Moves the received bytes into the ring, and wakes the reader that waits for them. The ring's
/// only producer: runs in the handler on the boot core, or by the timer.
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
        // After the FIFO's trigger the port is not asked for each byte.
        let sure = if identification().difference(RESERVED) == TRIGGERED && room >= TRIGGER { TRIGGER } else { 1 };
        if !status().contains(LSR::DATA_READY) {
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

/// Lets the port go on, after bytes have been taken out of [`INPUT`].
pub fn resume() {
    let guard = PreemptGuard::new();
    if INPUT.resume(&guard) {
        RECEIVING.store(true, Ordering::Relaxed);
        write_enables();
    }
}
