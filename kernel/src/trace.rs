//! The recorder's side of the machine: the port that its traces leave by. Only in a kernel built
//! with the feature `trace`; the others have `trace_off.rs`.

use core::fmt;

use trefoil_boot::options::trace::{Port, Trace};

pub mod port;

/// Tells the runner that this image has a recorder.
#[used]
#[unsafe(link_section = ".trefoil.trace")]
static MARK: u8 = 1;

/// Sets the port up if the command line turns the recorder on, or wants the port alone. Once, at
/// boot.
pub fn init(told: &Trace, say: fn(fmt::Arguments<'_>)) {
    if told.mode.is_none() && told.port.is_none() {
        return;
    }
    let over_serial = told.port == Some(Port::Serial);
    if port::init(over_serial) == port::Way::Lines && !over_serial {
        say(format_args!("trefoil: trace: no virtio console here: the trace goes over the serial line"));
    }
}
