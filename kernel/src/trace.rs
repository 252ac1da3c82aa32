//! The recorder's side of the machine: the port that its traces leave by. Only in a kernel built
//! with the feature `trace`; the others have `trace_off.rs`.

use core::fmt;

use trefoil_boot::options::trace::Trace;

pub mod port;

/// Sets the port up if the command line turns the recorder on. Once, at boot.
pub fn init(told: &Trace, say: fn(fmt::Arguments<'_>)) {
    if told.mode.is_none() {
        return;
    }
    if port::init(told.over_serial) == port::Way::Lines && !told.over_serial {
        say(format_args!("trefoil: trace: no virtio console here: the trace goes over the serial line"));
    }
}
