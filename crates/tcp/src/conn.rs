//! The handle to a connection: its address and its write side in one.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socktree_codec::EncodeError;
use socktree_kernel::{Alias, Target};
use socktree_tls::TlsInfo;

use crate::connection::{Shared, Shut};

/// A connection: cheap to clone, usable from any thread, compared by its alias.
///
/// Nothing here blocks. [`write`](Self::write) is no `Result`, which `?` would carry out of a handler:
/// one closed peer must not end the owner of a thousand others. That of
/// [`write_frame`](Self::write_frame) is about the payload alone; only
/// [`try_write`](Self::try_write), which gives the bytes back, has an error for a peer that has gone.
///
/// # Examples
///
/// ```
/// use socktree_tcp::{Conn, Written};
///
/// fn answer(conn: &Conn) {
///     match conn.write("hello\n") {
///         Written::Queued => {}
///         Written::Throttled => { /* hold back until TcpEvent::Writable */ }
///         Written::Ended => { /* TcpEvent::Disconnect follows, or was there */ }
///     }
/// }
/// # let _ = answer;
/// ```
#[derive(Clone)]
pub struct Conn(pub(crate) Arc<Shared>);

/// What became of bytes that were written.
///
/// In the first two cases they have their place in the stream. There never is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers decide on each")]
pub enum Written {
    /// They are on their way.
    Queued,
    /// They are on their way, but more than the high mark is waiting: hold back until
    /// [`TcpEvent::Writable`](crate::TcpEvent::Writable). The owner alone is told that; another
    /// writer looks at [`queued`](Conn::queued), or asks the owner.
    Throttled,
    /// They were not taken: the connection has ended, is being closed, our direction was ended by
    /// [`shutdown_write`](Conn::shutdown_write), or the connection has just been ended because the
    /// hard mark would have been passed.
    Ended,
}

/// Why [`Conn::try_write`] did not take the bytes; here they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a queue is full or it is gone")]
pub enum TryWriteError {
    /// More than the hard mark would be waiting. [`TcpEvent::Writable`](crate::TcpEvent::Writable)
    /// tells the owner when there is room.
    Full(Bytes),
    /// The connection has ended or is being closed, or our direction of it was ended.
    Ended(Bytes),
}

impl TryWriteError {
    /// The bytes that were not taken.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Full(bytes) | Self::Ended(bytes) => bytes,
        }
    }
}

impl Conn {
    /// Its address, which is never given to another connection.
    pub fn alias(&self) -> Alias {
        self.0.alias()
    }

    /// The peer's address. That of an outgoing connection is known from
    /// [`TcpEvent::Connect`](crate::TcpEvent::Connect) on: before, and in a `ConnectFailed`, it is the
    /// unspecified address with port 0.
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr()
    }

    /// Our address, known when the [peer's](Self::peer_addr) is.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    /// What the TLS handshake has agreed on; `None` without TLS, and before
    /// [`TcpEvent::Connect`](crate::TcpEvent::Connect).
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.0.tls()
    }

    /// Writes bytes as they are, in the order of the calls. Framing is not added:
    /// [`write_frame`](Self::write_frame) does that.
    ///
    /// Takes what can be a [`Bytes`] without a copy: a `Vec<u8>`, a `String`, a `&'static str`.
    /// What is borrowed for a while has to be copied, with [`Bytes::copy_from_slice`]. Cloning a
    /// [`Bytes`] copies nothing, so that a broadcast costs one reference a connection. What one
    /// handler writes to one connection leaves in one system call, when it has returned; pieces of
    /// up to 2 KiB that follow one another until then are joined for that.
    pub fn write(&self, bytes: impl Into<Bytes>) -> Written {
        self.0.write(bytes.into())
    }

    /// Writes bytes unless too many are waiting; nothing ends.
    ///
    /// `Ok` says whether the high mark is passed, as [`write`](Self::write) does.
    ///
    /// # Errors
    ///
    /// Gives the bytes back: [`TryWriteError::into_bytes`].
    ///
    /// # Examples
    ///
    /// ```
    /// use socktree_tcp::{Bytes, Conn};
    ///
    /// /// Sends the newest state, and keeps it if there is no room.
    /// fn tell(conn: &Conn, state: Bytes) -> Option<Bytes> {
    ///     conn.try_write(state).err().map(|refused| refused.into_bytes())
    /// }
    /// # let _ = tell;
    /// ```
    pub fn try_write(&self, bytes: impl Into<Bytes>) -> Result<Written, TryWriteError> {
        self.0.try_write(bytes.into())
    }

    /// Writes one message in the connection's framing: what the other end's decoder gives out as
    /// one frame.
    ///
    /// # Errors
    ///
    /// If the payload does not fit the framing; nothing was written then.
    pub fn write_frame(&self, payload: impl Into<Bytes>) -> Result<Written, EncodeError> {
        let encoded = self.0.framing().encode(payload.into())?;
        let (header, payload, trailer) = encoded.into_parts();
        Ok(self
            .0
            .write_parts(header.as_ref(), payload, trailer.as_ref()))
    }

    /// Closes the connection after what was written has been handed over, bounded by
    /// [`linger`](crate::TcpServer::linger). Nothing more is read; messages that were delivered
    /// before are still to be handled, and then the `Disconnect`.
    pub fn close(&self) {
        self.0.shut(Shut::Close);
    }

    /// Cuts the connection off: what waits is dropped, and the peer gets a reset instead of an
    /// end, without `TIME_WAIT` here.
    pub fn reset(&self) {
        self.0.shut(Shut::Reset);
    }

    /// Ends our direction after what was written; the peer may go on sending, and what is written
    /// from now on is refused as [`Written::Ended`]. With TLS 1.2 many
    /// peers do not: they answer `close_notify` by closing (RFC 5246, section 7.2.1).
    pub fn shutdown_write(&self) {
        self.0.shut(Shut::Write);
    }

    /// Stops reading, so that TCP slows the peer, until [`resume`](Self::resume). Messages that
    /// are in the owner's mailbox already still come: at most the read credit's worth.
    pub fn pause(&self) {
        self.0.pause(true);
    }

    /// Goes on reading.
    pub fn resume(&self) {
        self.0.pause(false);
    }

    /// How many bytes wait to be handed to the system.
    pub fn queued(&self) -> usize {
        self.0.queued()
    }

    /// How many bytes have been read, with TLS what was in the records.
    pub fn bytes_in(&self) -> u64 {
        self.0.bytes_in()
    }

    /// How many bytes have been handed to the system, with TLS what is in the records.
    pub fn bytes_out(&self) -> u64 {
        self.0.bytes_out()
    }
}

impl PartialEq for Conn {
    fn eq(&self, other: &Self) -> bool {
        self.alias() == other.alias()
    }
}

impl Eq for Conn {}

impl Hash for Conn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.alias().hash(state);
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({} {})", self.alias(), self.peer_addr())
    }
}

impl fmt::Display for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.alias().fmt(f)
    }
}

impl From<&Conn> for Target {
    fn from(conn: &Conn) -> Self {
        Self::Alias(conn.alias())
    }
}

impl From<Conn> for Target {
    fn from(conn: Conn) -> Self {
        (&conn).into()
    }
}

impl fmt::Display for TryWriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the write queue is full",
            Self::Ended(_) => "the connection has ended",
        })
    }
}

impl std::error::Error for TryWriteError {}
