//! What can go wrong, one enum for each kind of operation.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::id::{Name, Pid};
use crate::reason::Reason;

/// Why a message was not taken. It always comes back.
///
/// In a handler, `?` makes it the reason of the process's end if the message is `Send + Sync`. For
/// one that is not, leave the message out: `.map_err(|error| error.map(drop))?`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// No process or meta-process has this address.
    Unknown(T),
    /// The target has ended.
    Terminated(T),
    /// The target has no room: its mailbox, or a connection's write queue, is full.
    Full(T),
    /// The target does not take messages of this type.
    NotAccepted(T),
}

impl<T> SendError<T> {
    /// The message that was refused.
    pub fn into_message(self) -> T {
        match self {
            Self::Unknown(m) | Self::Terminated(m) | Self::Full(m) | Self::NotAccepted(m) => m,
        }
    }

    /// The same error around another form of the message.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> SendError<U> {
        match self {
            Self::Unknown(m) => SendError::Unknown(convert(m)),
            Self::Terminated(m) => SendError::Terminated(convert(m)),
            Self::Full(m) => SendError::Full(convert(m)),
            Self::NotAccepted(m) => SendError::NotAccepted(convert(m)),
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "no process or meta-process has this address",
            Self::Terminated(_) => "the target has ended",
            Self::Full(_) => "the target has no room for it",
            Self::NotAccepted(_) => "the target does not take messages of this type",
        }
    }
}

// By hand, because a message need not be `Debug` for the error to be.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Unknown(_) => "Unknown",
            Self::Terminated(_) => "Terminated",
            Self::Full(_) => "Full",
            Self::NotAccepted(_) => "NotAccepted",
        };
        write!(f, "{variant}(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<T> Error for SendError<T> {}

/// Why a call has no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// No process or meta-process has this address.
    Unknown,
    /// The target had ended before the call reached it.
    Terminated,
    /// The target's mailbox is full.
    Full,
    /// The target does not take messages of this type.
    NotAccepted,
    /// A process that waits for its own answer would wait in vain.
    ToItself,
    /// There was no answer in time. Should it still come, nobody hears it.
    Timeout,
    /// Whoever held the [`Reply`](crate::Reply) let go of it unused: it does not answer, or its
    /// handler has just failed.
    NoReply,
    /// Whoever held the [`Reply`](crate::Reply), in its mailbox or its state, has ended.
    Ended(Reason),
    /// The callee [refused](crate::Reply::refuse).
    Refused(Reason),
    /// The calling process was told to end while it waited.
    Ending,
    /// A handler calls through its [`Ctx`](crate::Ctx): any other way would stop its worker, and
    /// could not tell a call to itself.
    InsideHandler,
    /// No thread is left to go on with the worker while this one waits: the
    /// [limit](crate::NodeBuilder::spare_threads) is reached, or the system has refused one.
    NoThread,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no process or meta-process has this address"),
            Self::Terminated => f.write_str("the target has ended"),
            Self::Full => f.write_str("the target's mailbox is full"),
            Self::NotAccepted => f.write_str("the target does not take messages of this type"),
            Self::ToItself => f.write_str("a process cannot call itself"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::NoReply => f.write_str("the target let the call go unanswered"),
            Self::Ended(reason) => write!(f, "the target has ended: {reason}"),
            Self::Refused(reason) => write!(f, "the target refused: {reason}"),
            Self::Ending => f.write_str("the calling process is to end"),
            Self::InsideHandler => f.write_str("a handler calls through its context alone"),
            Self::NoThread => f.write_str("no thread is left to go on with the worker meanwhile"),
        }
    }
}

// Without a source: the reasons' texts hold their causes already.
impl Error for CallError {}

impl<T> From<&SendError<T>> for CallError {
    fn from(error: &SendError<T>) -> Self {
        match error {
            SendError::Unknown(_) => Self::Unknown,
            SendError::Terminated(_) => Self::Terminated,
            SendError::Full(_) => Self::Full,
            SendError::NotAccepted(_) => Self::NotAccepted,
        }
    }
}

/// Why a process could not be started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// Another process has this name.
    NameTaken(Name),
    /// The name is longer than [`Name::MAX_LEN`]; here is its length in bytes.
    NameTooLong(usize),
    /// `init` ended with this reason. Its meta-processes have ended, and the processes that it
    /// had spawned have been told to.
    Init(Reason),
    /// `init` had not returned within this time. When it does, the process ends, and its name is
    /// free then.
    InitTimeout(Duration),
    /// The process that asked has ended, or is just ending.
    ParentGone,
    /// The operating system gives no thread for a meta-process that needs one.
    Thread(io::ErrorKind),
    /// There is no worker with this number.
    NoSuchWorker(usize),
    /// The node is stopping and starts nothing any more.
    Stopping,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken(name) => write!(f, "the name {name} is taken"),
            Self::NameTooLong(len) => {
                write!(f, "the name has {len} bytes, {} are allowed", Name::MAX_LEN)
            }
            Self::Init(reason) => write!(f, "init failed: {reason}"),
            Self::InitTimeout(limit) => write!(f, "init took longer than {limit:?}"),
            Self::ParentGone => f.write_str("the parent has ended"),
            Self::Thread(kind) => write!(f, "there is no thread to be had: {kind}"),
            Self::NoSuchWorker(n) => write!(f, "there is no worker {n}"),
            Self::Stopping => f.write_str("the node is stopping"),
        }
    }
}

// Without a source: the text of `Init` is the reason's, which holds its causes already.
impl Error for SpawnError {}

/// Why a link, a monitor, a name or an alias could not be made or undone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelationError {
    /// There is no such target.
    Unknown,
    /// There is such a link or monitor already.
    Exists,
    /// There is no such link or monitor.
    NoRelation,
    /// A process cannot be linked to itself.
    ToItself,
    /// Another process has this name.
    NameTaken(Name),
    /// The process has a name already.
    HasName(Name),
    /// The name is longer than [`Name::MAX_LEN`]; here is its length in bytes.
    NameTooLong(usize),
    /// The alias belongs to another process, or to a meta-process.
    NotOwner(Pid),
    /// The process that asks is ending: nothing could undo it any more.
    Ending,
}

impl fmt::Display for RelationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no process or meta-process has this address"),
            Self::Exists => f.write_str("the relation exists already"),
            Self::NoRelation => f.write_str("there is no such relation"),
            Self::ToItself => f.write_str("a process cannot be linked to itself"),
            Self::NameTaken(name) => write!(f, "the name {name} is taken"),
            Self::HasName(name) => write!(f, "the process is called {name} already"),
            Self::NameTooLong(len) => {
                write!(f, "the name has {len} bytes, {} are allowed", Name::MAX_LEN)
            }
            Self::NotOwner(pid) => write!(f, "the alias is not {pid}'s to remove"),
            Self::Ending => f.write_str("the process is ending"),
        }
    }
}

impl Error for RelationError {}

/// Why a node could not be started, or ended badly.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeError {
    /// A node's name is `name@host`, both not empty; this one is not.
    BadName(String),
    /// A thread or an event loop could not be made.
    Io(io::Error),
    /// The first process could not be started.
    Spawn(SpawnError),
    /// The first process ended with this reason.
    Ended(Reason),
    /// Not everything had ended by the deadline.
    Stuck(StopReport),
    /// Waiting for the node inside one of its own handlers would wait for ever.
    InsideHandler,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => write!(f, "a node's name is name@host, not {name:?}"),
            Self::Io(error) => write!(f, "the node cannot start: {error}"),
            Self::Spawn(error) => write!(f, "{error}"),
            Self::Ended(reason) => write!(f, "{reason}"),
            Self::Stuck(report) => write!(f, "{report}"),
            Self::InsideHandler => f.write_str("a handler cannot wait for its own node"),
        }
    }
}

impl Error for NodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for NodeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a node's stop found: how long it took, and who had not ended by the deadline.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StopReport {
    /// From the request to the end, or to the deadline.
    pub took: Duration,
    /// The processes that had not ended, with what they were. Empty after a clean stop.
    pub stuck: Vec<crate::ProcessInfo>,
}

impl StopReport {
    /// Whether everything ended in time.
    pub fn is_clean(&self) -> bool {
        self.stuck.is_empty()
    }
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return write!(f, "stopped in {:?}", self.took);
        }
        write!(f, "not ended after {:?}:", self.took)?;
        for process in &self.stuck {
            write!(f, " {process}")?;
        }
        Ok(())
    }
}
