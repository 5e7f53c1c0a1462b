//! An event loop over mio with generations, budgets, timers and a simulated operating system.
#![forbid(unsafe_code)]

mod entry;
mod event;
pub mod limits;
mod os;
mod reactor;
mod ready;
mod remote;
#[cfg(feature = "sim")]
pub mod sim;
mod source;
mod stats;
mod timers;
mod token;

pub use event::Event;
pub use os::{
    Keepalive, ListenOptions, Os, Readiness, System, SystemListener, SystemPoller, SystemStream,
    SystemWaker,
};
pub use reactor::{Reactor, RegisterError};
pub use remote::{PostError, Remote};
pub use source::{ReadOutcome, SourceIo, SourceMut, WriteOutcome};
pub use stats::Stats;
pub use timers::TimerKey;
pub use token::Token;
