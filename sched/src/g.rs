//! One goroutine: its record, its states, its name, and the small things that its record holds.

mod batch;
mod cause;
pub mod dead;
mod grave;
mod name;
mod outcome;
pub mod promise;
mod reason;
mod record;
pub mod state;
pub mod ticket;
pub mod token;
pub mod waiter;

pub use batch::Batch;
pub use cause::Cause;
pub use grave::Grave;
pub use name::Name;
pub use outcome::JoinError;
pub use reason::WaitReason;
pub use record::*;
