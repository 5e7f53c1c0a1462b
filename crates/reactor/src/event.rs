//! What the loop tells its owner.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::{Os, Token};

/// One thing that happened, from [`Reactor::next_event`](crate::Reactor::next_event).
///
/// Closed on purpose: an owner that forgets a kind loses readiness, so the compiler should
/// say when there is a new one.
#[expect(clippy::exhaustive_enums, reason = "owners must handle every kind")]
pub enum Event<O: Os, C> {
    /// A command arrived: posted through a [`Remote`](crate::Remote), or
    /// [scheduled](crate::Reactor::schedule) and due.
    Command(C),
    /// A listener has a new connection.
    ///
    /// The stream belongs to nobody yet: [adopt](crate::Reactor::adopt) it here, send it to
    /// another loop, or drop it, which closes it.
    Accepted {
        /// Who accepted it.
        listener: Token,
        /// The connection, non-blocking and not yet watched.
        stream: O::Stream,
        /// The address `accept(2)` returned.
        peer: SocketAddr,
    },
    /// A connection attempt succeeded; the stream can be written to.
    Connected(Token),
    /// A connection attempt failed. Nothing more comes from the source; remove it.
    ConnectFailed {
        /// The source given to [`adopt_connecting`](crate::Reactor::adopt_connecting).
        token: Token,
        /// Why.
        error: io::Error,
    },
    /// There may be something to read, the end of the stream or an error included.
    ///
    /// Read, or [pause](crate::SourceIo::pause_read): it is given again until a read finds
    /// nothing more.
    Readable(Token),
    /// There may be room again, after a write that did not take everything.
    Writable(Token),
    /// A source whose reading is paused is over in both directions. Given once, and once more if the end
    /// of the stream is read after that.
    ///
    /// What it had received can still be read. Without this event an owner that does not
    /// read would learn about a reset peer only by writing.
    Hangup(Token),
    /// The source's [deadline](crate::SourceIo::set_deadline) has passed and is unset.
    Deadline(Token),
    /// A listener is broken. Nothing more comes from it; remove it.
    ListenerFailed {
        /// The listener.
        token: Token,
        /// What `accept(2)` said.
        error: io::Error,
    },
}

impl<O: Os, C: fmt::Debug> fmt::Debug for Event<O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => f.debug_tuple("Command").field(command).finish(),
            Self::Accepted { listener, peer, .. } => f
                .debug_struct("Accepted")
                .field("listener", listener)
                .field("peer", peer)
                .finish_non_exhaustive(),
            Self::Connected(token) => f.debug_tuple("Connected").field(token).finish(),
            Self::ConnectFailed { token, error } => f
                .debug_struct("ConnectFailed")
                .field("token", token)
                .field("error", error)
                .finish(),
            Self::Readable(token) => f.debug_tuple("Readable").field(token).finish(),
            Self::Writable(token) => f.debug_tuple("Writable").field(token).finish(),
            Self::Hangup(token) => f.debug_tuple("Hangup").field(token).finish(),
            Self::Deadline(token) => f.debug_tuple("Deadline").field(token).finish(),
            Self::ListenerFailed { token, error } => f
                .debug_struct("ListenerFailed")
                .field("token", token)
                .field("error", error)
                .finish(),
        }
    }
}
