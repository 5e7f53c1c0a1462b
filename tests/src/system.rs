//! The real system, but for what a test does otherwise.

use std::hint;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socktree::Keepalive;
use socktree_reactor::{
    ListenOptions, Os, Readiness, System, SystemListener, SystemOuter, SystemPoller, SystemStream,
    SystemWaker,
};

/// The real system with these hooks.
#[derive(Clone, Copy, Debug)]
pub struct SystemWith<H>(H);

impl<H: Hooks> SystemWith<H> {
    /// All that the hooks do not do is left to the system.
    pub fn new(hooks: H) -> Self {
        Self(hooks)
    }
}

/// What a test may do otherwise. As it is, each does what the system does.
pub trait Hooks: Clone + Send + Sync + 'static {
    /// See [`Os::yield_core`].
    fn yield_core(&self) {
        System.yield_core();
    }

    /// See [`Os::read`].
    ///
    /// # Errors
    ///
    /// As the system.
    fn read(&self, stream: &SystemStream, buf: &mut [u8]) -> io::Result<usize> {
        System.read(stream, buf)
    }

    /// A worker moves in with another, or out: see [`Os::nest`] and [`Os::unnest`].
    fn moved(&self) {}
}

/// A machine on which somebody else always wants the core, so that workers share a thread as soon
/// as both have something to do.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

impl Hooks for Crowded {
    fn yield_core(&self) {
        let end = Instant::now() + Duration::from_micros(10);
        while Instant::now() < end {
            hint::spin_loop();
        }
    }
}

impl<H: Hooks> Os for SystemWith<H> {
    type Listener = SystemListener;
    type Stream = SystemStream;
    type Poller = SystemPoller;
    type Waker = SystemWaker;
    type Outer = SystemOuter;

    fn yield_core(&self) {
        self.0.yield_core();
    }

    fn poller(&self) -> io::Result<(SystemPoller, SystemWaker)> {
        System.poller()
    }

    fn now(&self) -> Instant {
        System.now()
    }

    fn short_proves_drained(&self) -> bool {
        System.short_proves_drained()
    }

    fn listen(&self, addr: SocketAddr, options: &ListenOptions) -> io::Result<SystemListener> {
        System.listen(addr, options)
    }

    fn listener_addr(&self, listener: &SystemListener) -> io::Result<SocketAddr> {
        System.listener_addr(listener)
    }

    fn accept(&self, listener: &SystemListener) -> io::Result<(SystemStream, SocketAddr)> {
        System.accept(listener)
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SystemStream> {
        System.connect(addr)
    }

    fn connect_outcome(&self, stream: &SystemStream) -> io::Result<bool> {
        System.connect_outcome(stream)
    }

    fn local_addr(&self, stream: &SystemStream) -> io::Result<SocketAddr> {
        System.local_addr(stream)
    }

    fn peer_addr(&self, stream: &SystemStream) -> io::Result<SocketAddr> {
        System.peer_addr(stream)
    }

    fn read(&self, stream: &SystemStream, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(stream, buf)
    }

    fn write(&self, stream: &SystemStream, buf: &[u8]) -> io::Result<usize> {
        System.write(stream, buf)
    }

    fn write_vectored(&self, stream: &SystemStream, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        System.write_vectored(stream, bufs)
    }

    fn shutdown_write(&self, stream: &SystemStream) -> io::Result<()> {
        System.shutdown_write(stream)
    }

    fn set_nodelay(&self, stream: &SystemStream, nodelay: bool) -> io::Result<()> {
        System.set_nodelay(stream, nodelay)
    }

    fn set_keepalive(&self, stream: &SystemStream, keepalive: &Keepalive) -> io::Result<()> {
        System.set_keepalive(stream, keepalive)
    }

    fn set_user_timeout(&self, stream: &SystemStream, timeout: Option<Duration>) -> io::Result<()> {
        System.set_user_timeout(stream, timeout)
    }

    fn set_reset_on_close(&self, stream: &SystemStream) -> io::Result<()> {
        System.set_reset_on_close(stream)
    }

    fn register_listener(
        &self,
        poller: &SystemPoller,
        listener: &mut SystemListener,
        token: usize,
    ) -> io::Result<()> {
        System.register_listener(poller, listener, token)
    }

    fn register_stream(
        &self,
        poller: &SystemPoller,
        stream: &mut SystemStream,
        token: usize,
        room: bool,
    ) -> io::Result<()> {
        System.register_stream(poller, stream, token, room)
    }

    fn report_room(
        &self,
        poller: &SystemPoller,
        stream: &mut SystemStream,
        token: usize,
    ) -> io::Result<()> {
        System.report_room(poller, stream, token)
    }

    fn outer(&self, poller: &SystemPoller) -> io::Result<SystemOuter> {
        System.outer(poller)
    }

    fn nest(&self, inner: &SystemPoller, outer: &SystemOuter, token: usize) -> io::Result<()> {
        self.0.moved();
        System.nest(inner, outer, token)
    }

    fn unnest(&self, inner: &SystemPoller, outer: &SystemOuter) -> io::Result<()> {
        self.0.moved();
        System.unnest(inner, outer)
    }

    fn wait(
        &self,
        poller: &mut SystemPoller,
        timeout: Option<Duration>,
        ready: impl FnMut(Readiness),
    ) -> io::Result<()> {
        System.wait(poller, timeout, ready)
    }

    fn wake(&self, waker: &SystemWaker) -> io::Result<()> {
        System.wake(waker)
    }
}
