//! What can be seen of a running node, as plain values.

use std::fmt;

use crate::id::{Name, Pid};
use crate::worker::WorkerId;

/// A snapshot of one process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its number.
    pub pid: Pid,
    /// The name that it is registered under.
    pub name: Option<Name>,
    /// Its actor's type.
    pub behaviour: &'static str,
    /// The process that spawned it.
    pub parent: Option<Pid>,
    /// The worker that it lives on.
    pub worker: WorkerId,
    /// Messages waiting in the mailbox or being handled.
    pub mailbox: u64,
    /// Messages ever taken into the mailbox.
    pub messages_in: u64,
    /// Meta-processes that end with it.
    pub metas: usize,
    /// Whether it has begun to end.
    pub ending: bool,
}

impl fmt::Display for ProcessInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.pid)?;
        if let Some(name) = &self.name {
            write!(f, "{name} ")?;
        }
        write!(f, "({}, {} in its mailbox)", self.behaviour, self.mailbox)
    }
}

/// A snapshot of a node: how much of everything there is.
///
/// Tests compare it before and after, to see that nothing is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Processes, including those that are just ending.
    pub processes: usize,
    /// Registered names.
    pub names: usize,
    /// Aliases, of processes and of meta-processes.
    pub aliases: usize,
    /// Links and monitors.
    pub relations: usize,
    /// Timers that are set.
    pub timers: usize,
}
