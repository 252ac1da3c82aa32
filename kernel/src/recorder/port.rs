//! The port that traces leave by: a second way to the host, beside the serial line.
//!
//! ```text
//!   write ──▶ BUFFER, 64 KiB ─┬─▶ the transmit queue of a virtio console       device.rs
//!                             │     q35, pc: found on the PCI bus
//!                             │     microvm: found among the virtio-mmio slots
//!                             └─▶ lines of base64 on the serial port           lines.rs
//! ```
//!
//! The host gets a stream of bytes: one trace after the other, each from its `MAGIC` to its `TEND`.
//! The runner gives a machine the virtio console, and QEMU writes its bytes to a file. QEMU takes a
//! whole buffer at one exit of the guest. So the port moves a thousand megabytes a second (`make
//! trace-port` measures it). A port of single bytes (`isa-debugcon`) moves less than one. A machine
//! without such a console sends the trace over the serial line. The runner takes it out of there,
//! and does not show it.
//!
//! Two kinds of callers write, both without a lock and without an allocation:
//!
//! * a goroutine, for a snapshot: [`claim`] gives the port to one caller at a time;
//! * a report, or the end of the machine: [`seize`] takes the port, when no other core runs any
//!   more. The stopped owner may have been in the middle of a transfer. Then the device begins anew
//!   ([`Device::restart`]). The host finds a trace that breaks off, and the next one behind it.
//!
//! **The device is asked to work at once** (`ioeventfd=off`, in the runner): it has taken the
//! buffer when the write to its notification register is done. So a dump takes the same number of
//! instructions each time.
//!
//! Rejected: the crate's `VirtIOConsole`. It allocates, and it sets up a queue for input.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

mod device;
mod lines;

use device::Device;

/// Bytes that leave at once.
const BUFFER: usize = 64 << 10;

/// The way to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a virtio console.
    Device,
    /// By lines on the serial port.
    Lines,
}

/// Sends whole lines to the serial port.
pub type Send = fn(&[u8]);

/// The port's state.
struct State {
    device: Option<Device>,
    /// Bytes of the buffer that wait.
    filled: usize,
    buffer: Buffer,
}

/// Aligned, so that the device gets one run of physical memory that begins with a page.
#[repr(C, align(4096))]
struct Buffer([u8; BUFFER]);

/// Held by the one that owns [`STATE`].
static CLAIMED: AtomicBool = AtomicBool::new(false);

struct Shared(UnsafeCell<State>);

// SAFETY: only the owner of a `Port` touches the state, and there is one `Port` at a time.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State { device: None, filled: 0, buffer: Buffer([0; BUFFER]) }));

/// Looks for a virtio console, unless the trace is to go `over_serial`. Once, at boot, before the
/// other cores.
pub fn init(over_serial: bool) -> Way {
    let Some(port) = claim(|_| ()) else { return Way::Lines };
    let state = port.state();
    if !over_serial {
        state.device = Device::find();
    }
    state.way()
}

/// Claims the port for one trace. `None`: another caller has it. Lines, if there have to be any,
/// leave by `send`.
pub fn claim(send: Send) -> Option<Port> {
    // Acquire: pairs with the Release in `Port::drop`.
    if CLAIMED.swap(true, Ordering::Acquire) {
        return None;
    }
    let port = Port { send };
    // A trace that broke off has left bytes.
    port.state().filled = 0;
    Some(port)
}

/// Takes the port for one trace, also from another owner.
///
/// # Safety
/// 1. No other core runs any more, or none that can use the port.
/// 2. The caller does not go back to code that has claimed the port.
pub unsafe fn seize(send: Send) -> Port {
    let was_claimed = CLAIMED.swap(true, Ordering::Acquire);
    let port = Port { send };
    let state = port.state();
    state.filled = 0;
    if was_claimed {
        state.device.as_mut().is_some_and(|device| !device.restart()).then(|| state.device = None);
    }
    port
}

/// The port, in the hands of its one owner. Its drop gives it back, without the bytes that have not
/// left; [`finish`](Self::finish) sends them.
pub struct Port {
    send: Send,
}

impl Port {
    /// Returns the way to the host.
    pub fn way(&self) -> Way {
        self.state().way()
    }

    #[expect(clippy::mut_from_ref, reason = "the borrow ends in each function, and there is one owner")]
    fn state(&self) -> &mut State {
        // SAFETY: `self` is the one `Port` there is, and no function of this module keeps the
        // borrow.
        unsafe { &mut *STATE.0.get() }
    }

    /// Writes bytes: returns when they are in the buffer or have left.
    pub fn write(&mut self, mut bytes: &[u8]) {
        let state = self.state();
        while !bytes.is_empty() {
            let n = bytes.len().min(BUFFER - state.filled);
            let (now, later) = bytes.split_at(n);
            state.buffer.0[state.filled..state.filled + n].copy_from_slice(now);
            state.filled += n;
            if state.filled == BUFFER {
                state.flush(self.send);
            }
            bytes = later;
        }
    }

    /// Sends what waits, and gives the port back.
    pub fn finish(self) {
        self.state().flush(self.send);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `claim` and `seize`.
        CLAIMED.store(false, Ordering::Release);
    }
}

impl State {
    fn way(&self) -> Way {
        if self.device.is_some() { Way::Device } else { Way::Lines }
    }

    fn flush(&mut self, send: Send) {
        let waiting = &self.buffer.0[..self.filled];
        let has_left = waiting.is_empty() || self.device.as_mut().is_some_and(|device| device.send(waiting));
        if !has_left {
            // No device, or one that does not do as it should.
            self.device = None;
            lines::send(waiting, send);
        }
        self.filled = 0;
    }
}
