//! Supervised actors: processes with mailboxes, links, monitors, timers and meta-processes.
//!
//! An [`Actor`] is a state and a few plain functions. A [`Node`] runs many of them on a few
//! threads, one message of each at a time. When one ends, by returning an error or by a panic,
//! whoever watches it is told, and a [`Supervisor`] starts it anew.
//!
//! The crate knows no sockets: what is not a process but has an address, such as a connection, is
//! a *meta-process* ([`Meta`]), served by a [`Driver`] that another crate brings.
#![forbid(unsafe_code)]

mod actor;
mod ctx;
mod driver;
mod error;
mod guard;
mod id;
mod info;
mod mailbox;
mod message;
mod meta;
mod node;
mod process;
mod reason;
mod registry;
mod relations;
mod spare;
mod supervisor;
mod sync;
mod timer;
mod watchdog;
mod worker;

pub use actor::{Actor, Down, Exit};
pub use ctx::Ctx;
pub use driver::{Driver, DriverFactory, DriverParts, DriverRemote, Wait};
pub use error::{NodeError, RelationError, SendError, SpawnError, StopReport};
pub use id::{Alias, Name, Pid, Target};
pub use info::{NodeInfo, ProcessInfo};
pub use message::{Address, Envelope, NoMessages, Protocol, Receipt, Sink, Source};
pub use meta::{Inspection, Meta, MetaExit, MetaLife, MetaPort, MetaScope, RoomWaiter};
pub use node::{Ended, Node, NodeBuilder, SpawnOptions};
pub use reason::{Flow, Reason};
pub use supervisor::{Restart, Supervisor};
pub use timer::TimerRef;
pub use worker::WorkerId;

#[doc(hidden)]
pub mod __private {
    pub use crate::process::Process;
}
