//! The seam between the loop and the operating system.

mod errno;
mod system;

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[cfg(feature = "sim")]
pub(crate) use errno::codes;
pub(crate) use errno::{AcceptFailure, classify_accept};
pub use system::{System, SystemListener, SystemOuter, SystemPoller, SystemStream, SystemWaker};

/// Does what the loop needs done by an operating system: sockets, readiness, wake-ups, time.
///
/// The seam exists so that everything above it can be tested against a simulated system with
/// virtual time and injected faults. It is dispatched statically; the production
/// implementation, [`System`], costs nothing over calling mio directly. Values of this type
/// are handles: clones stand for the same system.
///
/// # What an implementation promises
///
/// - **Edges.** A source is registered once and for good. After that, [`wait`](Self::wait)
///   reports it when something *new* happened to it (bytes, a connection, an end; room too, once
///   that was asked for) and then stays silent until something new happens again. Registering
///   reports what is true already, and so does asking for room. Reports may come late, may be
///   merged, and may be wrong: a caller that finds nothing there must get
///   [`WouldBlock`](io::ErrorKind::WouldBlock).
/// - **Closing is dropping.** Dropping a listener or a stream closes it and ends its reports,
///   except for those that were already collected.
/// - **No blocking** anywhere but in [`wait`](Self::wait).
pub trait Os: Clone + Send + Sync + 'static {
    /// A listening socket; dropping it closes it.
    type Listener: Send + 'static;
    /// A connected or connecting socket; dropping it closes it.
    type Stream: Send + 'static;
    /// Collects readiness for one loop.
    type Poller: Send + 'static;
    /// Ends a [`wait`](Self::wait) on its poller from any thread.
    type Waker: Send + Sync + 'static;
    /// The way into a poller for other pollers; outlives it harmlessly.
    type Outer: Send + Sync + 'static;

    /// The most reports one [`wait`](Self::wait) gives.
    ///
    /// When it gives that many there are probably more, and the loop then holds its timers
    /// back: an idle timeout must not fire on a connection whose bytes wait to be reported.
    const EVENTS_PER_WAIT: usize = 1024;

    /// Makes a poller and the waker that belongs to it.
    ///
    /// # Errors
    ///
    /// When the system is out of descriptors or memory.
    fn poller(&self) -> io::Result<(Self::Poller, Self::Waker)>;

    /// The monotonic time.
    fn now(&self) -> Instant;

    /// Lets the threads that wait for this core run first; returns at once if there are none.
    fn yield_core(&self);

    /// Whether a read or write that moved fewer bytes than asked for proves that there is no
    /// more to move, so that the next report is certain to come without trying again.
    ///
    /// True for epoll and kqueue, which saves one system call per message. False where only
    /// a [`WouldBlock`](io::ErrorKind::WouldBlock) re-arms the poller.
    fn short_proves_drained(&self) -> bool;

    /// Opens a listening socket.
    ///
    /// # Errors
    ///
    /// As `bind(2)` and `listen(2)`: address in use, not ours, or not permitted.
    fn listen(&self, addr: SocketAddr, options: &ListenOptions) -> io::Result<Self::Listener>;

    /// The address a listener is bound to.
    ///
    /// # Errors
    ///
    /// As `getsockname(2)`.
    fn listener_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Takes the next connection, non-blocking, closed on exec, with the listener's options.
    ///
    /// The address comes from the call itself: asking the socket for it later fails when the
    /// peer has reset the connection meanwhile.
    ///
    /// # Errors
    ///
    /// As `accept(2)`; the loop sorts them by what they mean for the listener.
    fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Starts to connect; the outcome comes later, see
    /// [`connect_outcome`](Self::connect_outcome).
    ///
    /// Never fails with [`Interrupted`](io::ErrorKind::Interrupted).
    ///
    /// # Errors
    ///
    /// When it fails at once: no route, no local port, no descriptor.
    fn connect(&self, addr: SocketAddr) -> io::Result<Self::Stream>;

    /// Whether a stream from [`connect`](Self::connect) is connected; `false` while it is
    /// still under way.
    ///
    /// Being writable is no proof: a report may be spurious, and a refused connection is
    /// writable as well.
    ///
    /// # Errors
    ///
    /// Why the connection failed.
    fn connect_outcome(&self, stream: &Self::Stream) -> io::Result<bool>;

    /// Our address.
    ///
    /// # Errors
    ///
    /// As `getsockname(2)`.
    fn local_addr(&self, stream: &Self::Stream) -> io::Result<SocketAddr>;

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) as soon as the peer has reset, even on a
    /// stream just accepted.
    fn peer_addr(&self, stream: &Self::Stream) -> io::Result<SocketAddr>;

    /// Reads into `buf`; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// As `recv(2)`, [`Interrupted`](io::ErrorKind::Interrupted) included.
    fn read(&self, stream: &Self::Stream, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes from one buffer.
    ///
    /// Apart from [`write_vectored`](Self::write_vectored) because `send(2)` is measurably
    /// cheaper than `writev(2)` with one element.
    ///
    /// # Errors
    ///
    /// As `send(2)`, [`Interrupted`](io::ErrorKind::Interrupted) included.
    fn write(&self, stream: &Self::Stream, buf: &[u8]) -> io::Result<usize>;

    /// Writes from several buffers in order.
    ///
    /// # Errors
    ///
    /// As `writev(2)`, [`Interrupted`](io::ErrorKind::Interrupted) included.
    fn write_vectored(&self, stream: &Self::Stream, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our direction; the peer reads to the end and may still send.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) after a reset.
    fn shutdown_write(&self, stream: &Self::Stream) -> io::Result<()>;

    /// Sends small writes at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    fn set_nodelay(&self, stream: &Self::Stream, nodelay: bool) -> io::Result<()>;

    /// Makes the system probe a silent peer.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`, which refuses a period of zero.
    fn set_keepalive(&self, stream: &Self::Stream, keepalive: &Keepalive) -> io::Result<()>;

    /// Bounds how long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`); `None` is the
    /// system's own limit.
    ///
    /// Keepalive probes only an idle connection; this is what notices a peer that vanished
    /// while we had something to say. Does nothing where there is no such option.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    fn set_user_timeout(&self, stream: &Self::Stream, timeout: Option<Duration>) -> io::Result<()>;

    /// Makes the coming close send RST and drop what is unsent (`SO_LINGER` of zero).
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`.
    fn set_reset_on_close(&self, stream: &Self::Stream) -> io::Result<()>;

    /// Has `poller` report connections waiting on `listener`, under `token`.
    ///
    /// # Errors
    ///
    /// As `epoll_ctl(2)`: too many watches, no memory. `usize::MAX` is reserved.
    fn register_listener(
        &self,
        poller: &Self::Poller,
        listener: &mut Self::Listener,
        token: usize,
    ) -> io::Result<()>;

    /// Has `poller` report `stream`, under `token`: what arrives there and its end; with `room`
    /// also room to write, and the end of a connection attempt.
    ///
    /// # Errors
    ///
    /// As [`register_listener`](Self::register_listener).
    fn register_stream(
        &self,
        poller: &Self::Poller,
        stream: &mut Self::Stream,
        token: usize,
        room: bool,
    ) -> io::Result<()>;

    /// Has `poller` report room as well, from now on and for good, for a stream that was registered
    /// without. Most streams always have room; hearing so first would cost each a report.
    ///
    /// # Errors
    ///
    /// As [`register_listener`](Self::register_listener); room may never be reported then.
    fn report_room(
        &self,
        poller: &Self::Poller,
        stream: &mut Self::Stream,
        token: usize,
    ) -> io::Result<()>;

    /// The way into `poller` for others that are to be nested in it.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where pollers cannot be nested; else as
    /// [`poller`](Self::poller).
    fn outer(&self, poller: &Self::Poller) -> io::Result<Self::Outer>;

    /// Has the outer poller report, as readable under `token`, that `inner` has reports. Reports
    /// that wait already count; afterwards only new ones do (edge-triggered).
    ///
    /// # Errors
    ///
    /// As [`register_listener`](Self::register_listener).
    fn nest(&self, inner: &Self::Poller, outer: &Self::Outer, token: usize) -> io::Result<()>;

    /// Undoes [`nest`](Self::nest).
    ///
    /// # Errors
    ///
    /// When it was not nested there.
    fn unnest(&self, inner: &Self::Poller, outer: &Self::Outer) -> io::Result<()>;

    /// Waits until something is ready, the waker was used, or `timeout` is over, and gives the
    /// reports to `ready`.
    ///
    /// An interruption by a signal is a return with nothing.
    ///
    /// # Errors
    ///
    /// When the poller itself is broken; there is no point in calling again.
    fn wait(
        &self,
        poller: &mut Self::Poller,
        timeout: Option<Duration>,
        ready: impl FnMut(Readiness),
    ) -> io::Result<()>;

    /// Ends the current or the next [`wait`](Self::wait) of the waker's poller.
    ///
    /// # Errors
    ///
    /// When the system refuses; the wake-up is lost then.
    fn wake(&self, waker: &Self::Waker) -> io::Result<()>;
}

/// One report of a poller.
///
/// Everything but `readable` and `writable` is a hint that may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What the source was registered under.
    pub token: usize,
    /// There may be something to read or to accept.
    pub readable: bool,
    /// There may be room to write, or a connection attempt may be over.
    pub writable: bool,
    /// The peer will send no more, or the connection is gone.
    pub read_closed: bool,
    /// Nothing can be sent any more.
    pub write_closed: bool,
    /// The connection failed; the next read tells why.
    pub error: bool,
    /// Urgent data is in the stream.
    ///
    /// A read stops short at the urgent mark although more follows, so from here on a short
    /// read proves nothing. Without this report a peer that sends one urgent byte could
    /// strand its own connection.
    pub urgent: bool,
}

/// How a listening socket is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Connections the system completes and holds until they are accepted.
    ///
    /// 1024 by default; the system clips it (`somaxconn` on Linux). The customary 128 drops
    /// connection attempts in a burst, which costs the client a second before it tries again.
    pub backlog: u32,
    /// Whether the port may be bound although connections of a former owner linger.
    ///
    /// On by default on Unix, so that a restarted server gets its port back. Off elsewhere:
    /// on Windows the option lets two programs share a port.
    pub reuse_address: bool,
    /// Whether an IPv6 socket takes IPv6 clients only; `None` leaves it to the system.
    pub only_v6: Option<bool>,
    /// Whether accepted connections send small writes at once.
    pub nodelay: bool,
    /// How accepted connections probe a silent peer.
    pub keepalive: Keepalive,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            reuse_address: cfg!(unix),
            only_v6: None,
            nodelay: true,
            keepalive: Keepalive::Off,
        }
    }
}

/// How the system probes a peer from which nothing comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keepalive {
    /// Not at all.
    #[default]
    Off,
    /// With the system's own periods (two hours on Linux).
    OsDefault,
    /// With these periods; the system's resolution is a second.
    Every {
        /// Silence before the first probe.
        idle: Duration,
        /// Time between probes.
        interval: Duration,
        /// Unanswered probes before the connection is given up.
        count: u32,
    },
}

impl fmt::Display for Keepalive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::OsDefault => f.write_str("system default"),
            Self::Every {
                idle,
                interval,
                count,
            } => {
                write!(f, "after {idle:?}, every {interval:?}, {count} times")
            }
        }
    }
}
