//! One goroutine: its record, and its nodes in the lists of others.
//!
//! ```text
//!   record    all that the scheduler knows of a G          state     who owns it, and every legal change
//!   name, reason, cause, outcome                           for reports, and for its joiner
//!   waiter, ticket, promise, token, batch                  its places in lists, and the words that decide who wakes it
//!   dead, grave                                            the G's that ended where they stood
//! ```

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
