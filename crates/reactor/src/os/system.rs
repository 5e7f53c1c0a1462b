//! The production system: mio for readiness, socket2 for what mio has no call for.

mod nesting;
mod transfer;

pub use nesting::SystemOuter;

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Poll, Waker};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::os::{Keepalive, ListenOptions, Os, Readiness};

/// Where a listening socket's options pass to the sockets it accepts.
///
/// Linux clones the listening socket, `TCP_NODELAY` and the keepalive periods included
/// (`tests/system.rs` asks an accepted socket), so accepting costs no `setsockopt(2)` there.
const INHERITS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The waker's token; [`Os::register_stream`] reserves it.
const WAKER: mio::Token = mio::Token(usize::MAX);

/// The real operating system.
///
/// Sockets are registered once, edge-triggered, for what arrives, and once more when a write first
/// finds too little room: the steady state has no `epoll_ctl(2)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// A listening socket of the [`System`].
#[derive(Debug)]
pub struct SystemListener {
    socket: mio::net::TcpListener,
    // Read only where accepted sockets do not inherit.
    nodelay: bool,
    keepalive: Keepalive,
}

/// A connected or connecting socket of the [`System`].
#[derive(Debug)]
pub struct SystemStream {
    // Never duplicated. An epoll instance follows the open file and not the descriptor, so
    // closing one of two descriptors would leave the registration behind, and with it events
    // for a source that no longer exists. For the same reason nothing is deregistered before
    // it is closed: closing the only descriptor does that (`epoll(7)`, question 6).
    socket: mio::net::TcpStream,
}

/// The epoll instance (or its like) of one loop.
#[derive(Debug)]
pub struct SystemPoller {
    poll: Poll,
    events: Events,
}

/// An `eventfd(2)` (or its like) that ends the poller's wait.
#[derive(Debug)]
pub struct SystemWaker(Waker);

impl System {
    /// Takes over a listening socket made elsewhere: by systemd, by a parent process, by
    /// socket2 with options of its own.
    ///
    /// Of `options`, `nodelay` and `keepalive` are applied; the others are decided when a
    /// socket is bound.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made non-blocking or refuses an option.
    pub fn listener_from_std(
        &self,
        listener: TcpListener,
        options: &ListenOptions,
    ) -> io::Result<SystemListener> {
        listener.set_nonblocking(true)?;
        if INHERITS {
            set_listener_options(&SockRef::from(&listener), options)?;
        }
        Ok(SystemListener {
            socket: mio::net::TcpListener::from_std(listener),
            nodelay: options.nodelay,
            keepalive: options.keepalive,
        })
    }

    /// Takes over a connected socket made elsewhere.
    ///
    /// It must be the only descriptor of that socket: one kept by `try_clone` keeps the
    /// connection open, and its events coming, after the stream is dropped.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made non-blocking.
    pub fn stream_from_std(&self, stream: TcpStream) -> io::Result<SystemStream> {
        stream.set_nonblocking(true)?;
        Ok(SystemStream {
            socket: mio::net::TcpStream::from_std(stream),
        })
    }
}

impl Os for System {
    type Listener = SystemListener;
    type Stream = SystemStream;
    type Poller = SystemPoller;
    type Waker = SystemWaker;
    type Outer = SystemOuter;

    fn poller(&self) -> io::Result<(SystemPoller, SystemWaker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let events = Events::with_capacity(Self::EVENTS_PER_WAIT);
        Ok((SystemPoller { poll, events }, SystemWaker(waker)))
    }

    #[inline]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn yield_core(&self) {
        thread::yield_now();
    }

    #[inline]
    fn short_proves_drained(&self) -> bool {
        // epoll(7), question 9, and EV_CLEAR of kqueue(2). On Windows mio re-arms a socket
        // when a call on it would block, and only then.
        cfg!(unix)
    }

    fn listen(&self, addr: SocketAddr, options: &ListenOptions) -> io::Result<SystemListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if options.reuse_address {
            socket.set_reuse_address(true)?;
        }
        if let (Some(only_v6), SocketAddr::V6(_)) = (options.only_v6, addr) {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&addr.into())?;
        // The system clips what is too large, so a backlog beyond its type means "all".
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        self.listener_from_std(socket.into(), options)
    }

    fn listener_addr(&self, listener: &SystemListener) -> io::Result<SocketAddr> {
        listener.socket.local_addr()
    }

    fn accept(&self, listener: &SystemListener) -> io::Result<(SystemStream, SocketAddr)> {
        let (socket, peer) = listener.socket.accept()?;
        let stream = SystemStream { socket };
        if !INHERITS {
            // A refusal here is this client's affair and no reason to lose it: where the peer
            // has reset already, these calls fail and the first read tells.
            if listener.nodelay {
                let _ = self.set_nodelay(&stream, true);
            }
            if listener.keepalive != Keepalive::Off {
                let _ = self.set_keepalive(&stream, &listener.keepalive);
            }
        }
        Ok((stream, peer))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SystemStream> {
        loop {
            match mio::net::TcpStream::connect(addr) {
                Ok(socket) => return Ok(SystemStream { socket }),
                // mio has closed that socket, so this starts afresh with a new one.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn connect_outcome(&self, stream: &SystemStream) -> io::Result<bool> {
        if let Some(error) = stream.socket.take_error()? {
            return Err(error);
        }
        match stream.socket.peer_addr() {
            Ok(_) => Ok(true),
            // EINVAL is what macOS says while the attempt is under way.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotConnected | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn local_addr(&self, stream: &SystemStream) -> io::Result<SocketAddr> {
        stream.socket.local_addr()
    }

    fn peer_addr(&self, stream: &SystemStream) -> io::Result<SocketAddr> {
        stream.socket.peer_addr()
    }

    #[inline]
    fn read(&self, stream: &SystemStream, buf: &mut [u8]) -> io::Result<usize> {
        transfer::read(&stream.socket, buf)
    }

    #[inline]
    fn write(&self, stream: &SystemStream, buf: &[u8]) -> io::Result<usize> {
        transfer::write(&stream.socket, buf)
    }

    #[inline]
    fn write_vectored(&self, stream: &SystemStream, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        transfer::write_vectored(&stream.socket, bufs)
    }

    fn shutdown_write(&self, stream: &SystemStream) -> io::Result<()> {
        stream.socket.shutdown(Shutdown::Write)
    }

    fn set_nodelay(&self, stream: &SystemStream, nodelay: bool) -> io::Result<()> {
        stream.socket.set_nodelay(nodelay)
    }

    fn set_keepalive(&self, stream: &SystemStream, keepalive: &Keepalive) -> io::Result<()> {
        set_keepalive(&SockRef::from(&stream.socket), keepalive)
    }

    fn set_user_timeout(&self, stream: &SystemStream, timeout: Option<Duration>) -> io::Result<()> {
        // Counted in milliseconds, of which none would mean the system's own limit, in an int.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        SockRef::from(&stream.socket).set_tcp_user_timeout(timeout.map(|at_most| {
            at_most.clamp(
                Duration::from_millis(1),
                Duration::from_millis(i32::MAX as u64),
            )
        }))?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = (stream, timeout);
        Ok(())
    }

    fn set_reset_on_close(&self, stream: &SystemStream) -> io::Result<()> {
        SockRef::from(&stream.socket).set_linger(Some(Duration::ZERO))
    }

    fn register_listener(
        &self,
        poller: &SystemPoller,
        listener: &mut SystemListener,
        token: usize,
    ) -> io::Result<()> {
        listener.socket.register(
            poller.poll.registry(),
            mio::Token(token),
            Interest::READABLE,
        )
    }

    fn register_stream(
        &self,
        poller: &SystemPoller,
        stream: &mut SystemStream,
        token: usize,
        room: bool,
    ) -> io::Result<()> {
        let interest = if room || !ROOM_ON_REQUEST {
            arrivals() | Interest::WRITABLE
        } else {
            arrivals()
        };
        stream
            .socket
            .register(poller.poll.registry(), mio::Token(token), interest)
    }

    fn report_room(
        &self,
        poller: &SystemPoller,
        stream: &mut SystemStream,
        token: usize,
    ) -> io::Result<()> {
        if !ROOM_ON_REQUEST {
            return Ok(());
        }
        let interest = arrivals() | Interest::WRITABLE;
        stream
            .socket
            .reregister(poller.poll.registry(), mio::Token(token), interest)
    }

    fn outer(&self, poller: &SystemPoller) -> io::Result<SystemOuter> {
        SystemOuter::of(&poller.poll)
    }

    fn nest(&self, inner: &SystemPoller, outer: &SystemOuter, token: usize) -> io::Result<()> {
        outer.take_in(&inner.poll, token)
    }

    fn unnest(&self, inner: &SystemPoller, outer: &SystemOuter) -> io::Result<()> {
        outer.let_go(&inner.poll)
    }

    fn wait(
        &self,
        poller: &mut SystemPoller,
        timeout: Option<Duration>,
        ready: impl FnMut(Readiness),
    ) -> io::Result<()> {
        match poller.poll.poll(&mut poller.events, timeout) {
            Ok(()) => {}
            // mio hands EINTR on. Whoever wants to wait longer has to look at the clock anyway.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        poller
            .events
            .iter()
            .filter(|event| event.token() != WAKER)
            .map(readiness)
            .for_each(ready);
        Ok(())
    }

    fn wake(&self, waker: &SystemWaker) -> io::Result<()> {
        waker.0.wake()
    }
}

/// Whether room is reported only where it was asked for: with epoll, whose `EPOLL_CTL_MOD` looks at
/// the stream once more, so no room that came before it goes unreported. The other pollers report
/// room from the start.
const ROOM_ON_REQUEST: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What the peer does, and urgent data where the poller can tell (see [`Readiness::urgent`]).
fn arrivals() -> Interest {
    let reads = Interest::READABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let reads = reads | Interest::PRIORITY;
    reads
}

fn readiness(event: &mio::event::Event) -> Readiness {
    Readiness {
        token: event.token().0,
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed(),
        write_closed: event.is_write_closed(),
        error: event.is_error(),
        urgent: event.is_priority(),
    }
}

fn set_listener_options(socket: &SockRef<'_>, options: &ListenOptions) -> io::Result<()> {
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if options.keepalive != Keepalive::Off {
        set_keepalive(socket, &options.keepalive)?;
    }
    Ok(())
}

fn set_keepalive(socket: &SockRef<'_>, keepalive: &Keepalive) -> io::Result<()> {
    match *keepalive {
        Keepalive::Off => socket.set_keepalive(false),
        Keepalive::OsDefault => socket.set_keepalive(true),
        Keepalive::Every {
            idle,
            interval,
            count,
        } => {
            let periods = TcpKeepalive::new().with_time(idle);
            #[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
            let periods = periods.with_interval(interval);
            #[cfg(not(any(target_os = "openbsd", target_os = "haiku", windows)))]
            let periods = periods.with_retries(count);
            #[cfg(any(target_os = "openbsd", target_os = "haiku", windows))]
            let _ = (interval, count);
            socket.set_tcp_keepalive(&periods)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// A limit below the system's resolution was none at all, and one beyond its range an error.
    #[test]
    fn user_timeouts_are_kept_to_what_the_system_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = System.stream_from_std(stream).unwrap();
        let longest = i32::MAX as u64;
        for (asked, expected) in [(0, 1), (999, 1), (12_345, 12), (u64::MAX, longest)] {
            let asked = Duration::from_micros(asked);
            System.set_user_timeout(&stream, Some(asked)).unwrap();
            let set = SockRef::from(&stream.socket).tcp_user_timeout().unwrap();
            assert_eq!(set, Some(Duration::from_millis(expected)), "{asked:?}");
        }
    }
}
