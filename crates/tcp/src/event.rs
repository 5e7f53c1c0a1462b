//! What an owner is told about its connections.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use socktree_codec::FrameError;
use socktree_kernel::{Reason, protocol};
use socktree_tls::TlsError;

use crate::conn::Conn;

/// Something happened to a connection: the messages that its owner gets.
///
/// For each connection there is exactly one `Connect`, first, and exactly one `Disconnect`, last:
/// also for one that [`TcpConnection::connect`](crate::TcpConnection::connect) had given out
/// already. The exception is an outgoing connection that never came about. If it was to be made by
/// [`open`](crate::TcpConnection::open), there is one `ConnectFailed` and nothing else; if by
/// `connect`, no event at all: the failure is the error of `spawn_meta`.
///
/// # Examples
///
/// ```
/// use socktree_tcp::TcpEvent;
///
/// fn describe(event: &TcpEvent) -> String {
///     match event {
///         TcpEvent::Connect { conn } => format!("{} connected", conn.peer_addr()),
///         TcpEvent::Data { data, .. } => format!("{} bytes", data.len()),
///         TcpEvent::Disconnect { reason, .. } => format!("gone: {reason}"),
///         _ => String::new(),
///     }
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TcpEvent {
    /// The connection is established, with TLS after its handshake. Its addresses are the handle's,
    /// and so is what the handshake has agreed on: [`Conn::tls`].
    Connect {
        /// The connection.
        conn: Conn,
    },
    /// A message, or with raw framing whatever one read found.
    Data {
        /// Where it came from.
        conn: Conn,
        /// The bytes. They may be kept, sent on or dropped at will.
        data: Bytes,
    },
    /// A connection whose [`write`](Conn::write) said `Throttled`, or that refused bytes because it
    /// was full, has room again. The owner is told, whoever it was that wrote.
    Writable {
        /// The connection.
        conn: Conn,
    },
    /// The peer has ended its direction, and the connection is
    /// [half-open](crate::TcpServer::half_open): writing goes on until the owner closes.
    Eof {
        /// The connection.
        conn: Conn,
    },
    /// An outgoing connection that was to be made by [`open`](crate::TcpConnection::open) could not
    /// be. There was no `Connect` and there will be no `Disconnect`.
    ConnectFailed {
        /// What [`ctx.spawn_meta`](socktree_kernel::Ctx::spawn_meta) had given out.
        conn: Conn,
        /// Why.
        reason: DisconnectReason,
    },
    /// The connection has ended. Its alias leads nowhere any more.
    Disconnect {
        /// The connection.
        conn: Conn,
        /// Why.
        reason: DisconnectReason,
    },
}
protocol!(TcpEvent);

impl TcpEvent {
    /// The connection that it is about.
    pub fn conn(&self) -> &Conn {
        match self {
            Self::Connect { conn }
            | Self::Data { conn, .. }
            | Self::Writable { conn }
            | Self::Eof { conn }
            | Self::ConnectFailed { conn, .. }
            | Self::Disconnect { conn, .. } => conn,
        }
    }
}

/// Why a connection ended.
///
/// Its owner is told this. Those who link or monitor the connection's alias are told a [`Reason`]:
/// [`Normal`](Reason::Normal) for `PeerClosed` and `Closed`, [`Shutdown`](Reason::Shutdown) for
/// `ParentDown`, [`Kill`](Reason::Kill) for `Aborted`, and for the others an
/// [`Error`](Reason::Error) that holds this one.
///
/// # Examples
///
/// It is an error, so a handler can end its process with it:
///
/// ```
/// use socktree_kernel::{Flow, Reason};
/// use socktree_tcp::DisconnectReason;
///
/// fn ended(why: DisconnectReason) -> Flow {
///     if why.is_clean() {
///         return Err(Reason::Normal);
///     }
///     Err(why.into())
/// }
/// assert!(matches!(ended(DisconnectReason::PeerClosed), Err(Reason::Normal)));
/// let reason = ended(DisconnectReason::WriteTimeout).unwrap_err();
/// assert_eq!(reason.to_string(), "the peer took nothing within the write timeout");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The peer has ended its direction in good order; everything it sent was delivered, and what
    /// the owner answered was handed to the system.
    PeerClosed,
    /// The peer's end lay inside of a message, or with TLS came without a word (`close_notify`), so
    /// that somebody on the way may have cut off the rest (RFC 8446, section 6.1). What arrived
    /// before was delivered.
    Truncated {
        /// How many bytes of a message had arrived; 0 if the end lay between two.
        pending: usize,
    },
    /// It was closed from our side: by [`Conn::close`], which anybody can call who holds the
    /// connection, or by an exit signal whose reason is [clean](Reason::is_clean).
    Closed,
    /// It was cut off from our side: by [`Conn::reset`], or by an exit signal with any other reason.
    /// After a `reset` the peer gets a reset in any case, after such a signal if bytes are lost: if
    /// some wait to be sent, or have come and were not read.
    Aborted,
    /// The peer cut it off (`ECONNRESET`, `EPIPE`).
    Reset,
    /// The peer broke the framing.
    Malformed(FrameError),
    /// The [`Framer`](socktree_codec::Framer) panicked.
    FramerPanicked,
    /// The peer did not take what was written, and the hard mark was passed.
    SlowConsumer {
        /// How many bytes were waiting for it.
        queued: usize,
    },
    /// The peer took nothing for the whole write timeout.
    WriteTimeout,
    /// The owner closed it, and the peer did not take what was written before within
    /// [`linger`](crate::TcpServer::linger): the rest is lost.
    LingerTimeout,
    /// The owner's mailbox was full for the whole
    /// [`owner_stall`](crate::TcpServer::owner_stall), or at all, by option. Or the peer had gone, and
    /// the owner handled nothing of what was left for so long.
    MailboxFull,
    /// The process that owned it has ended.
    OwnerDown,
    /// The parent of its server, or of the connection itself, has ended.
    ParentDown,
    /// TLS has failed: for an outgoing connection in the handshake, for any by what the peer sent
    /// later.
    Tls(Arc<TlsError>),
    /// The connection was not made in time.
    ConnectTimeout,
    /// The name that it was to be made to could not be looked up; this is what the system says.
    Unresolved(Arc<str>),
    /// The system said something else about the socket.
    Io(io::ErrorKind),
}

impl DisconnectReason {
    /// Whether this is an end in good order ([`PeerClosed`](Self::PeerClosed),
    /// [`Closed`](Self::Closed) or [`ParentDown`](Self::ParentDown)), of which watchers of the
    /// alias are told a [clean](Reason::is_clean) reason.
    pub fn is_clean(&self) -> bool {
        self.to_exit().is_clean()
    }

    /// The reason for an error of a socket.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Reset,
            kind => Self::Io(kind),
        }
    }

    /// What watchers of the connection's alias are told.
    pub(crate) fn to_exit(&self) -> Reason {
        match self {
            Self::PeerClosed | Self::Closed => Reason::Normal,
            Self::ParentDown => Reason::Shutdown,
            Self::Aborted => Reason::Kill,
            other => other.clone().into(),
        }
    }
}

impl Error for DisconnectReason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // What is shown holds these and one cause already: what is behind them comes next.
        match self {
            Self::Malformed(error) => error.source(),
            Self::Tls(error) => error.source()?.source(),
            _ => None,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("closed by the peer"),
            Self::Truncated { pending: 0 } => f.write_str("cut off without a TLS close_notify"),
            Self::Truncated { pending } => {
                write!(f, "closed by the peer {pending} bytes into a message")
            }
            Self::Closed => f.write_str("closed"),
            Self::Aborted => f.write_str("aborted"),
            Self::Reset => f.write_str("reset by the peer"),
            Self::Malformed(error) => write!(f, "malformed message: {error}"),
            Self::FramerPanicked => f.write_str("the framer panicked"),
            Self::SlowConsumer { queued } => {
                write!(
                    f,
                    "the peer does not read: {queued} bytes are waiting for it"
                )
            }
            Self::WriteTimeout => f.write_str("the peer took nothing within the write timeout"),
            Self::LingerTimeout => {
                f.write_str("closed, and the peer did not take everything in time")
            }
            Self::MailboxFull => f.write_str("the owner's mailbox is full"),
            Self::OwnerDown => f.write_str("the owner has ended"),
            Self::ParentDown => f.write_str("the parent has ended"),
            Self::ConnectTimeout => f.write_str("not connected in time"),
            Self::Tls(error) => {
                error.fmt(f)?;
                // A reason is printed far more often than anybody asks it for its cause.
                error
                    .source()
                    .map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
            Self::Unresolved(error) => f.write_str(error),
            Self::Io(kind) => write!(f, "{kind}"),
        }
    }
}
