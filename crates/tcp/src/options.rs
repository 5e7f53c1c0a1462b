//! What can be set for a connection, on a server for all that it accepts.

use std::time::Duration;

use socktree_codec::Framing;
use socktree_reactor::Keepalive;

/// Bytes that may be delivered to an owner and not yet handled.
///
/// Four reads of 64 KiB: enough that a bulk connection never waits for its owner on the same
/// worker, little enough that 10,000 connections of a stuck owner cost no more than 2.5 GB.
pub(crate) const READ_CREDIT: u32 = 256 * 1024;

/// What a delivered message costs of the credit besides its bytes: about what it costs in memory.
/// Without it a flood of empty messages would not be bounded.
pub(crate) const MESSAGE_OVERHEAD: u32 = 128;

/// What to do when the owner's mailbox is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "there is no third way that loses nothing"
)]
pub enum Overflow {
    /// Stop reading the socket until there is room; end the connection if there is none for the
    /// whole [`owner_stall`](crate::TcpServer::owner_stall).
    #[default]
    Pause,
    /// End the connection at once, as the Ergo Framework does.
    Terminate,
}

/// Everything that can be set for a connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionOptions {
    pub(crate) framing: Framing,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Keepalive,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) read_credit: u32,
    pub(crate) overflow: Overflow,
    pub(crate) owner_stall: Duration,
    pub(crate) marks: WriteMarks,
    pub(crate) write_timeout: Duration,
    pub(crate) read_while_throttled: bool,
    pub(crate) linger: Duration,
    pub(crate) half_open: bool,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            framing: Framing::raw(),
            nodelay: true,
            keepalive: Keepalive::Off,
            user_timeout: None,
            read_credit: READ_CREDIT,
            overflow: Overflow::Pause,
            owner_stall: Duration::from_secs(30),
            marks: WriteMarks::default(),
            write_timeout: Duration::from_secs(30),
            read_while_throttled: false,
            linger: Duration::from_secs(5),
            half_open: false,
        }
    }
}

/// When a writer is told to hold back, when it may go on, and when it is too late, in bytes that
/// wait to be handed to the system.
///
/// # Examples
///
/// ```
/// use socktree_tcp::WriteMarks;
/// let marks = WriteMarks { low: 16 << 10, high: 64 << 10, hard: 256 << 10 };
/// assert!(marks.low < WriteMarks::default().high);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three marks, made by the caller")]
pub struct WriteMarks {
    /// At or below it a throttled writer gets [`TcpEvent::Writable`](crate::TcpEvent::Writable).
    /// 64 KiB by default.
    pub low: usize,
    /// Above it a write says [`Written::Throttled`](crate::Written::Throttled). 256 KiB by
    /// default.
    pub high: usize,
    /// A write that would go above it ends the connection. A message goes whatever its size while
    /// no more than the low mark is waiting, and so do answers that a handler writes to the
    /// connection it was called for, until the system refuses some. 1 MiB by default.
    pub hard: usize,
}

impl Default for WriteMarks {
    fn default() -> Self {
        Self {
            low: 64 << 10,
            high: 256 << 10,
            hard: 1 << 20,
        }
    }
}

impl WriteMarks {
    /// The marks in ascending order, whatever was given.
    pub(crate) fn ordered(self) -> Self {
        let high = self.high.max(self.low);
        Self {
            low: self.low,
            high,
            hard: self.hard.max(high),
        }
    }
}

/// The options that servers and outgoing connections share, as methods of a builder with a field
/// `options`.
macro_rules! connection_options {
    () => {
        /// How messages are told apart. [`Framing::raw`](socktree_codec::Framing::raw) by
        /// default: whatever a read finds.
        #[must_use]
        pub fn framing(mut self, framing: impl Into<socktree_codec::Framing>) -> Self {
            self.options.framing = framing.into();
            self
        }

        /// Whether small writes are sent at once (`TCP_NODELAY`, tcp(7)). On by default.
        #[must_use]
        pub fn nodelay(mut self, on: bool) -> Self {
            self.options.nodelay = on;
            self
        }

        /// How the system probes a silent peer (`SO_KEEPALIVE`, tcp(7)). Off by default.
        ///
        /// A peer that has vanished is noticed after `idle + interval * count`. Periods are whole
        /// seconds, and a fraction is cut off. What the system does not take (Linux: periods below 1 or
        /// above 32,767 seconds, a count below 1 or above 127) is the error of a server's spawn, and
        /// fails an outgoing connection.
        #[must_use]
        pub fn tcp_keepalive(mut self, keepalive: socktree_reactor::Keepalive) -> Self {
            self.options.keepalive = keepalive;
            self
        }

        /// How long bytes that the system has taken may stay unacknowledged before it gives the
        /// connection up (`TCP_USER_TIMEOUT`, tcp(7), RFC 5482), which finds a peer that has gone
        /// without a word while it is written to. By default the system's own limit, which on
        /// Linux is some fifteen minutes; less than a millisecond counts as one, and more than 24 days,
        /// which is the most it can count, as that. It also ends keepalive probing, however many probes
        /// are left. Linux and Android alone have it; elsewhere it does nothing.
        #[must_use]
        pub fn user_timeout(mut self, at_most: std::time::Duration) -> Self {
            self.options.user_timeout = Some(at_most);
            self
        }

        /// How many bytes may be delivered to the owner and not yet handled; above it the socket
        /// is not read, and TCP slows the peer. 256 KiB by default; each message counts 128 bytes
        /// besides its own. 0 counts as 1: then one message is under way at a time.
        #[must_use]
        pub fn read_credit(mut self, bytes: u32) -> Self {
            self.options.read_credit = bytes.max(1);
            self
        }

        /// What to do when the owner's mailbox is full. [`Overflow::Pause`](crate::Overflow) by
        /// default.
        #[must_use]
        pub fn overflow(mut self, overflow: crate::Overflow) -> Self {
            self.options.overflow = overflow;
            self
        }

        /// How long the owner's mailbox may be full before the connection ends with
        /// [`MailboxFull`](crate::DisconnectReason::MailboxFull). 30 seconds by default;
        /// [`Duration::MAX`](std::time::Duration::MAX) is for ever, and with
        /// [`ZERO`](std::time::Duration::ZERO) it ends in the loop's next turn.
        ///
        /// A mailbox is full only if it [has a bound](socktree_kernel::SpawnOptions::mailbox), and by
        /// default none has: then an owner that does not get on stops reading by its
        /// [credit](Self::read_credit) alone, and its connections stay, because their peers may still
        /// want their answers. Once a peer has gone in both directions this limit is for such an owner
        /// too, anew with each message that it handles.
        #[must_use]
        pub fn owner_stall(mut self, at_most: std::time::Duration) -> Self {
            self.options.owner_stall = at_most;
            self
        }

        /// When writers are told to hold back. See [`WriteMarks`](crate::WriteMarks). A mark below
        /// the one before it (`low`, `high`, `hard`) is raised to that.
        #[must_use]
        pub fn write_marks(mut self, marks: crate::WriteMarks) -> Self {
            self.options.marks = marks.ordered();
            self
        }

        /// How long the peer may take nothing of what waits for it before the connection ends
        /// with [`WriteTimeout`](crate::DisconnectReason::WriteTimeout). 30 seconds by default;
        /// [`Duration::MAX`](std::time::Duration::MAX) is for ever, and with
        /// [`ZERO`](std::time::Duration::ZERO) whatever the system does not take at once ends it.
        #[must_use]
        pub fn write_timeout(mut self, at_most: std::time::Duration) -> Self {
            self.options.write_timeout = at_most;
            self
        }

        /// Whether the socket is read while more than the high mark waits to be written, and messages
        /// are delivered whose answer may have no room. Off by default for what a server accepts, so
        /// that a service that answers what it reads regulates itself. On for outgoing connections:
        /// who asks has to take answers while it has more to ask, or both ends would wait for each
        /// other.
        #[must_use]
        pub fn read_while_throttled(mut self, on: bool) -> Self {
            self.options.read_while_throttled = on;
            self
        }

        /// How long a closed connection may take to hand over what was written before.
        /// 5 seconds by default; [`Duration::MAX`](std::time::Duration::MAX) is for ever, and with
        /// [`ZERO`](std::time::Duration::ZERO) what the system does not take at once is lost. A peer
        /// that has been sent everything has 2 seconds at most to end its own direction.
        #[must_use]
        pub fn linger(mut self, at_most: std::time::Duration) -> Self {
            self.options.linger = at_most;
            self
        }

        /// Whether the owner may go on writing after the peer has ended its direction. Off by
        /// default: then what the owner's handlers write while they handle what was received still
        /// goes out, and the connection ends. An owner that answers later, from a timer or with
        /// the help of another process, wants it on, and closes the connection itself.
        ///
        /// With TLS this is for an end by `close_notify`; one without it ends the connection with
        /// [`Truncated`](crate::DisconnectReason::Truncated).
        #[must_use]
        pub fn half_open(mut self, on: bool) -> Self {
            self.options.half_open = on;
            self
        }
    };
}
pub(crate) use connection_options;
