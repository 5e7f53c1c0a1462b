//! Connecting: the outcome is an event, and being writable is not the outcome.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socktree_reactor::sim::{Fault, Faults, Link, SimOs};
use socktree_reactor::{Event, Os, Reactor, System, Token};

type Loop<O> = Reactor<O, &'static str, ()>;

/// Polls until the attempt is over.
fn outcome<O: Os>(reactor: &mut Loop<O>, token: Token) -> Result<(), ErrorKind> {
    loop {
        reactor.poll(None, || true).unwrap();
        match reactor.next_event() {
            None => {}
            Some(Event::Connected(it)) if it == token => return Ok(()),
            Some(Event::ConnectFailed { token: it, error }) if it == token => {
                return Err(error.kind());
            }
            Some(other) => panic!("unexpected {other:?}"),
        }
    }
}

/// B10 on the real system.
#[test]
fn a_connection_succeeds_and_carries_bytes() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut reactor = Loop::new(System).unwrap();
    let token = reactor.connect(addr, "data").unwrap();
    outcome(&mut reactor, token).unwrap();
    let mut source = reactor.source(token).unwrap();
    assert_eq!(source.io.peer_addr().unwrap(), addr);
    source.io.write(b"hello").unwrap();
    assert_eq!(reactor.remove(token), Some("data"));
    let mut received = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut received)
        .unwrap();
    assert_eq!(received, "hello");
}

/// B10 on the real system. The port was free a moment ago.
#[test]
fn a_refused_connection_fails() {
    let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let mut reactor = Loop::new(System).unwrap();
    let token = reactor.connect(addr, "data").unwrap();
    assert_eq!(
        outcome(&mut reactor, token),
        Err(ErrorKind::ConnectionRefused)
    );
    assert_eq!(reactor.remove(token), Some("data"));
}

/// B11: a socket that meets itself, made on purpose by connecting it to its own port.
#[test]
fn a_self_connect_counts_as_refused() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let own = socket.local_addr().unwrap();
    socket.connect(&own).unwrap();
    let stream = System.stream_from_std(socket.into()).unwrap();
    assert_eq!(
        System.local_addr(&stream).unwrap(),
        System.peer_addr(&stream).unwrap()
    );
    let mut reactor = Loop::new(System).unwrap();
    let token = reactor.adopt_connecting(stream, "data").unwrap();
    assert_eq!(
        outcome(&mut reactor, token),
        Err(ErrorKind::ConnectionRefused)
    );
}

/// H01, B10: reports that are wrong or late do not pass for an outcome.
#[test]
fn only_the_outcome_is_an_outcome() {
    let mut faults = Faults::none();
    faults.spurious = 800;
    faults.delay = 800;
    faults.connect_error = 300;
    let sim = SimOs::new(11, faults);
    let mut reactor = Loop::new(sim.clone()).unwrap();
    let addr: SocketAddr = "10.2.2.2:80".parse().unwrap();
    sim.on_connect(addr, |_from| |_: &mut Link<'_>| {});
    let mut failed = 0;
    for _ in 0..200 {
        let token = reactor.connect(addr, "").unwrap();
        match outcome(&mut reactor, token) {
            Ok(()) => assert_eq!(reactor.source(token).unwrap().io.peer_addr().unwrap(), addr),
            Err(_) => failed += 1,
        }
        reactor.remove(token).unwrap();
        // What was reported of it meanwhile finds nobody (B08).
    }
    assert_eq!(failed, sim.injected(Fault::ConnectError));
    assert!(failed > 30 && failed < 120, "{failed}");
    assert!(sim.injected(Fault::Spurious) > 100);
    assert_eq!(sim.open_descriptors(), 0);
}

/// B10: an attempt without an answer is ended by the owner's deadline.
#[test]
fn a_black_hole_is_left_by_deadline() {
    let sim = SimOs::new(0, Faults::none());
    let mut reactor = Loop::new(sim.clone()).unwrap();
    let addr: SocketAddr = "10.2.2.2:80".parse().unwrap();
    sim.black_hole(addr);
    let token = reactor.connect(addr, "").unwrap();
    let limit = reactor.after(Duration::from_secs(10));
    reactor.source(token).unwrap().io.set_deadline(limit);
    reactor.poll(None, || true).unwrap();
    assert!(matches!(reactor.next_event(), Some(Event::Deadline(it)) if it == token));
    assert_eq!(sim.elapsed().as_secs(), 10);
    reactor.remove(token).unwrap();
    assert_eq!(sim.open_descriptors(), 0);
}

#[test]
fn a_write_before_the_outcome_is_followed_by_writable() {
    let sim = SimOs::new(0, Faults::none());
    let mut reactor = Loop::new(sim.clone()).unwrap();
    let addr: SocketAddr = "10.2.2.2:80".parse().unwrap();
    sim.on_connect(addr, |_from| |_: &mut Link<'_>| {});
    let token = reactor.connect(addr, "").unwrap();
    assert_eq!(
        reactor.source(token).unwrap().io.write(b"early").unwrap(),
        socktree_reactor::WriteOutcome::WouldBlock
    );
    outcome(&mut reactor, token).unwrap();
    assert!(matches!(reactor.next_event(), Some(Event::Writable(it)) if it == token));
}

/// A13, A14: nothing stays behind, and the data comes back.
#[test]
fn what_cannot_be_opened_gives_its_data_back() {
    let sim = SimOs::new(0, Faults::none());
    let mut reactor = Loop::new(sim.clone()).unwrap();
    let addr = "10.2.2.2:80".parse().unwrap();
    sim.set_descriptor_limit(Some(0));
    let error = reactor.connect(addr, "mine").unwrap_err();
    assert_eq!(error.data, "mine");
    assert_eq!(io::Error::from(error).raw_os_error(), Some(24));
    sim.set_descriptor_limit(None);
    let options = socktree_reactor::ListenOptions::default();
    let first = reactor.bind(addr, &options, "first").unwrap();
    for _ in 0..1000 {
        let error = reactor.bind(addr, &options, "second").unwrap_err();
        assert_eq!(
            (error.data, error.error.kind()),
            ("second", ErrorKind::AddrInUse)
        );
    }
    assert_eq!(sim.open_descriptors(), 1);
    // A12: removed is free.
    reactor.remove(first).unwrap();
    reactor.bind(addr, &options, "third").unwrap();
}
