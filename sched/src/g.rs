//! One goroutine: its record, its states, its name, and the small things that its record holds.

mod batch;
mod grave;
mod name;
mod reason;
mod record;
pub mod state;

pub use batch::Batch;
pub use grave::Grave;
pub use name::{NAME_BYTES, Name};
pub use reason::WaitReason;
pub use record::*;
