//! Accepting when descriptors run out, clients vanish, or there are too many of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::time::Duration;

use socktree_reactor::limits::{ACCEPT_BACKOFF_MAX, ACCEPT_BACKOFF_MIN, ACCEPT_BUDGET};
use socktree_reactor::sim::{Fault, Faults, Link, SimOs, SimStream};
use socktree_reactor::{Event, ListenOptions, Os, Reactor, ReadOutcome, Token};

type Loop = Reactor<SimOs, (), ()>;

fn addr() -> SocketAddr {
    "10.1.1.1:7".parse().unwrap()
}

fn listening(faults: Faults) -> (SimOs, Loop, Token) {
    let sim = SimOs::new(1, faults);
    let mut reactor = Loop::new(sim.clone()).unwrap();
    let listener = reactor.bind(addr(), &ListenOptions::default(), ()).unwrap();
    (sim, reactor, listener)
}

fn dial(sim: &SimOs, clients: usize) {
    for _ in 0..clients {
        sim.dial(addr(), |_: &mut Link<'_>| {});
    }
}

/// One turn; the streams accepted in it.
fn turn(reactor: &mut Loop, until: Duration) -> Vec<SimStream> {
    let until = reactor.after(until);
    reactor.poll(until, || true).unwrap();
    let mut streams = Vec::new();
    while let Some(event) = reactor.next_event() {
        match event {
            Event::Accepted { stream, .. } => streams.push(stream),
            other => panic!("unexpected {other:?}"),
        }
    }
    streams
}

/// A01: the listener holds one descriptor, so with a limit of four there is room for three.
fn exhausted(clients: usize) -> (SimOs, Loop, Vec<SimStream>) {
    let (sim, mut reactor, _) = listening(Faults::none());
    sim.set_descriptor_limit(Some(4));
    dial(&sim, clients);
    let held = turn(&mut reactor, Duration::ZERO);
    assert_eq!(held.len(), 3);
    assert_eq!(reactor.stats().accept_pauses, 1);
    (sim, reactor, held)
}

#[test]
fn a_starved_listener_backs_off_and_comes_back() {
    let (sim, mut reactor, held) = exhausted(5);
    // Each failed attempt doubles the pause, up to a limit: no spinning.
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let before = sim.elapsed();
        let pause = reactor.stats().accept_pauses;
        while reactor.stats().accept_pauses == pause {
            assert!(turn(&mut reactor, Duration::from_secs(60)).is_empty());
        }
        pauses.push(sim.elapsed() - before);
    }
    assert!(pauses[0] >= ACCEPT_BACKOFF_MIN, "{pauses:?}");
    assert!(pauses.is_sorted(), "{pauses:?}");
    let last = pauses[8];
    assert!(
        last >= ACCEPT_BACKOFF_MAX && last < ACCEPT_BACKOFF_MAX * 2,
        "{pauses:?}"
    );
    // Nobody tells the loop about this close.
    drop(held);
    let mut accepted = 0;
    let before = sim.elapsed();
    while accepted < 2 {
        accepted += turn(&mut reactor, Duration::from_secs(60)).len();
    }
    assert!(sim.elapsed() - before <= ACCEPT_BACKOFF_MAX + Duration::from_millis(100));
}

#[test]
fn closing_a_source_frees_a_descriptor_at_once() {
    let (sim, mut reactor, mut held) = exhausted(4);
    let token = reactor.adopt(held.pop().unwrap(), ()).unwrap();
    let before = sim.elapsed();
    reactor.remove(token).unwrap();
    assert_eq!(turn(&mut reactor, Duration::from_secs(60)).len(), 1);
    assert!(
        sim.elapsed() - before < Duration::from_millis(1),
        "no pause was sat out"
    );
    assert_eq!(
        reactor.stats().timers,
        0,
        "the retry timer went with the pause"
    );
}

#[test]
fn a_descriptor_freed_outside_is_used_at_once() {
    let (sim, mut reactor, mut held) = exhausted(5);
    let before = sim.elapsed();
    drop(held.pop());
    reactor.descriptor_freed();
    held.extend(turn(&mut reactor, Duration::from_secs(60)));
    assert_eq!(held.len(), 3);
    // The attempt for the fifth client found nothing again.
    assert_eq!(reactor.stats().accept_pauses, 2);
    drop(held.pop());
    reactor.remote().descriptor_freed();
    assert_eq!(turn(&mut reactor, Duration::from_secs(60)).len(), 1);
    assert!(
        sim.elapsed() - before < Duration::from_millis(1),
        "no pause was sat out"
    );
}

#[test]
fn a_starved_listener_can_be_removed() {
    let (sim, mut reactor, held) = exhausted(5);
    let listener = reactor.tokens().next().unwrap();
    reactor.remove(listener).unwrap();
    assert_eq!(reactor.stats().timers, 0);
    reactor.descriptor_freed();
    reactor
        .poll(reactor.after(Duration::from_secs(5)), || true)
        .unwrap();
    assert!(reactor.next_event().is_none());
    drop(held);
    assert_eq!(sim.open_descriptors(), 0);
}

/// A02, A03, A04: every client that survives is served although calls fail in all ways.
#[test]
fn errors_of_single_clients_do_not_stop_the_listener() {
    let mut faults = Faults::none();
    faults.accept_error = 400;
    faults.accept_starved = 100;
    faults.interrupt = 300;
    faults.would_block = 200;
    faults.delay = 300;
    let (sim, mut reactor, _) = listening(faults);
    dial(&sim, 1000);
    let mut held = Vec::new();
    while held.len() as u64 + reactor.stats().accept_errors < 1000 {
        held.extend(turn(&mut reactor, Duration::from_secs(1)));
    }
    let stats = reactor.stats();
    assert_eq!(stats.accept_errors, sim.injected(Fault::AcceptError));
    assert_eq!(stats.accepted, held.len() as u64);
    assert!(
        stats.accept_errors > 300 && stats.accepted > 300,
        "{stats:?}"
    );
    assert!(stats.accept_pauses > 10, "{stats:?}");
}

/// A06: a storm is taken in portions, and no client waits for an event that does not come.
#[test]
fn a_storm_is_accepted_in_portions() {
    let (sim, mut reactor, _) = listening(Faults::none());
    dial(&sim, 200);
    let portions: Vec<usize> = (0..4)
        .map(|_| turn(&mut reactor, Duration::ZERO).len())
        .collect();
    let budget = ACCEPT_BUDGET as usize;
    assert_eq!(portions, [budget, budget, budget, 200 - 3 * budget]);
}

#[test]
fn a_paused_listener_leaves_clients_in_the_backlog() {
    let (sim, mut reactor, listener) = listening(Faults::none());
    reactor.source(listener).unwrap().io.pause_read();
    dial(&sim, 5);
    for _ in 0..3 {
        assert!(turn(&mut reactor, Duration::from_millis(1)).is_empty());
    }
    reactor.source(listener).unwrap().io.resume_read();
    assert_eq!(turn(&mut reactor, Duration::from_secs(1)).len(), 5);
}

/// A05: the peer is gone before it is accepted; it has no address any more, and says so when
/// it is read.
#[test]
fn a_client_that_reset_in_the_backlog_is_accepted_and_found_dead() {
    let (sim, mut reactor, _) = listening(Faults::none());
    sim.dial(addr(), |link: &mut Link<'_>| link.reset());
    let until = reactor.after(Duration::from_secs(1));
    reactor.poll(until, || true).unwrap();
    let Some(Event::Accepted { stream, peer, .. }) = reactor.next_event() else {
        panic!()
    };
    assert_eq!(peer.ip().to_string(), "10.0.0.1");
    assert!(sim.peer_addr(&stream).is_err());
    let token = reactor.adopt(stream, ()).unwrap();
    assert!(reactor.next_event().is_none());
    reactor.poll(None, || true).unwrap();
    assert!(matches!(reactor.next_event(), Some(Event::Readable(it)) if it == token));
    let mut source = reactor.source(token).unwrap();
    let error = source.io.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(source.io.read(&mut [0; 8]).unwrap(), ReadOutcome::Eof);
    assert_eq!(
        source.io.write(b"x").unwrap_err().kind(),
        std::io::ErrorKind::BrokenPipe
    );
}

/// A11: whatever is in the backlog when a listener goes is told.
#[test]
fn removing_a_listener_resets_those_who_wait() {
    let (sim, mut reactor, listener) = listening(Faults::none());
    reactor.source(listener).unwrap().io.pause_read();
    dial(&sim, 7);
    assert!(turn(&mut reactor, Duration::ZERO).is_empty());
    assert_eq!(sim.live_peers(), 7);
    reactor.remove(listener).unwrap();
    assert!(turn(&mut reactor, Duration::from_secs(1)).is_empty());
    assert_eq!((sim.live_peers(), sim.open_descriptors()), (0, 0));
}
