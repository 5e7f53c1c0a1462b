//! Workers that share a thread, under connections: nothing is lost, and nothing waits for an event
//! that does not come.
#![cfg(target_os = "linux")]

use std::hint;
use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socktree::Keepalive;
use socktree_reactor::{
    ListenOptions, Os, Readiness, System, SystemListener, SystemOuter, SystemPoller, SystemStream,
    SystemWaker,
};
use socktree_tests::{Ask, Probe, Random, Served, connect, receive, until};

/// The real system, on which somebody else always wants the core.
#[derive(Clone, Copy, Debug)]
struct Crowded;

impl Os for Crowded {
    type Listener = SystemListener;
    type Stream = SystemStream;
    type Poller = SystemPoller;
    type Waker = SystemWaker;
    type Outer = SystemOuter;

    fn yield_core(&self) {
        let end = Instant::now() + Duration::from_micros(10);
        while Instant::now() < end {
            hint::spin_loop();
        }
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
        System.read(stream, buf)
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
        MOVES.fetch_add(1, Ordering::Relaxed);
        System.nest(inner, outer, token)
    }

    fn unnest(&self, inner: &SystemPoller, outer: &SystemOuter) -> io::Result<()> {
        MOVES.fetch_add(1, Ordering::Relaxed);
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

/// How often a worker has moved in with another, or out.
static MOVES: AtomicUsize = AtomicUsize::new(0);

/// One question after the other, each of which has to be answered in full and right.
fn converse(addr: SocketAddr, seed: u64, enough: &AtomicBool) -> u32 {
    let mut random = Random::new(seed);
    let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(61_000).collect();
    let stream = connect(addr);
    let mut rounds = 0;
    while !enough.load(Ordering::Relaxed) || rounds < 200 {
        // Most are small; the large ones take more than one turn of a worker.
        let most = if random.below(4) == 0 { 60_000 } else { 100 };
        let length = random.below(most) + 1;
        let sent = &pattern[random.below(256)..][..length];
        let mut sender = &stream;
        sender.write_all(sent).expect("the server reads");
        assert!(receive(&stream, length) == sent, "round {rounds}");
        rounds += 1;
    }
    rounds
}

#[test]
fn connections_of_workers_that_share_a_thread_lose_nothing() {
    let node = socktree::tcp::node_on("tests@localhost", Crowded).workers(2);
    let node = node.start().expect("a node");
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (probe, watch) = Probe::echo();
            (node.spawn(probe).expect("it starts"), watch)
        })
        .collect();
    let worker = |n: usize| workers[n].0.ask(|ctx| ctx.worker());
    assert_ne!(worker(0), worker(1), "they start in turn");
    let server = Served::any().workers([workers[0].0.pid(), workers[1].0.pid()]);
    let served = Served::start_on(node, server, Probe::new());
    let enough = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|seed| {
            let (addr, enough) = (served.addr(), Arc::clone(&enough));
            thread::spawn(move || converse(addr, seed, &enough))
        })
        .collect();
    // A few times in and out. Each is tried, and kept only if it pays, for a moment or for long, so it
    // is counted where it cannot be missed. Once is enough on a machine so busy that the loops keep from
    // offering their core, and with it from seeing that others want it.
    let began = Instant::now();
    until("workers that move", || {
        let moves = MOVES.load(Ordering::Relaxed);
        let patience = began.elapsed() > Duration::from_secs(5);
        (moves >= 4 || moves >= 2 && patience).then_some(())
    });
    enough.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().expect("every byte came back") >= 200);
    }
    served.finish();
}
