//! What can be seen of a running node, as plain values.

use std::fmt;
use std::time::Duration;

use crate::id::{Alias, Name, Pid, Target};
use crate::meta::Inspection;
use crate::registry::AliasEntry;
use crate::worker::WorkerId;

/// What a process is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessState {
    /// Its `init` has not returned.
    Starting,
    /// It has nothing to do.
    Idle,
    /// It has something to do, or is just doing it.
    Running,
    /// It waits for the answer to a call.
    Calling,
    /// It ends: it takes nothing any more, and waits for its meta-processes or is in `terminate`.
    Ending,
}

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
    /// Messages that its handler has returned from.
    pub handled: u64,
    /// Messages that it has sent through its [`Ctx`](crate::Ctx) and that were taken: by a send, a call
    /// or a request, each value that it [published](crate::Ctx::publish) as often as it reached a
    /// subscriber, and what a [`Pool`](crate::Pool) handed on.
    ///
    /// Not what was refused, signals, replies, what its timers and its meta-processes sent, nor what
    /// was sent through a typed [`Address`](crate::Address) or a [`Node`](crate::Node), which do not
    /// know the sender.
    pub messages_out: u64,
    /// How long its callbacks have run so far, `init`, `terminate` and the one that runs now included;
    /// `None` unless the node [measures it](crate::NodeBuilder::measure_running_time).
    ///
    /// It is the time that has passed, by the real clock: what a callback waits for counts, be it a
    /// lock, an answer, or something [blocking](crate::Ctx::blocking). The `init` of a process that is
    /// spawned in a callback counts for both. Looking into the mailbox in between counts as well.
    pub running_time: Option<Duration>,
    /// Meta-processes that end with it.
    pub metas: usize,
    /// Addresses beside its number and its name.
    pub aliases: Vec<Alias>,
    /// What it is linked to: whose end ends it.
    pub links: Vec<Target>,
    /// What it monitors: whose end it is told of.
    pub monitors: Vec<Target>,
    /// Timers that it has set, each request under way counted as one.
    pub timers: usize,
    /// How long ago it was spawned, by the clock of the node.
    pub uptime: Duration,
    /// What it is about.
    pub state: ProcessState,
    /// Whether it has begun to end.
    pub ending: bool,
}

/// A snapshot of one meta-process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MetaInfo {
    /// Its address.
    pub alias: Alias,
    /// The process that owns it.
    pub parent: Pid,
    /// What it tells about itself: names and values.
    pub items: Inspection,
}

impl MetaInfo {
    pub(crate) fn new(alias: Alias, entry: &AliasEntry) -> Option<Self> {
        let AliasEntry::Meta { port, parent } = entry else {
            return None;
        };
        Some(Self {
            alias,
            parent: *parent,
            items: port.inspect(),
        })
    }
}

impl ProcessInfo {
    /// The same as text, without what is long.
    pub(crate) fn items(&self) -> Inspection {
        let name = self.name.as_ref();
        let mut items = vec![
            (
                "process",
                name.map_or_else(|| self.pid.to_string(), |n| n.as_str().into()),
            ),
            ("behaviour", self.behaviour.to_owned()),
            ("worker", self.worker.index().to_string()),
            ("mailbox", self.mailbox.to_string()),
            ("messages in", self.messages_in.to_string()),
            ("messages out", self.messages_out.to_string()),
            ("metas", self.metas.to_string()),
        ];
        let ran = self.running_time;
        items.extend(ran.map(|ran| ("running time", format!("{ran:?}"))));
        items
    }
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
