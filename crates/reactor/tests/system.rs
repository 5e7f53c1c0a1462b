//! What the loop takes for granted about the real system.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use socktree_reactor::{
    Event, Keepalive, ListenOptions, Os, Reactor, ReadOutcome, System, WriteOutcome,
};

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Polls until there is an event.
fn next<C: Send + 'static>(reactor: &mut Reactor<System, (), C>) -> Event<System, C> {
    loop {
        if let Some(event) = reactor.next_event() {
            return event;
        }
        reactor.poll(None, || true).unwrap();
    }
}

/// On Linux accepting costs no `setsockopt(2)`; the accepted socket itself is asked.
#[test]
#[cfg(target_os = "linux")]
fn accepted_sockets_inherit_the_listeners_options() {
    let keepalive = Keepalive::Every {
        idle: Duration::from_secs(33),
        interval: Duration::from_secs(7),
        count: 4,
    };
    let mut options = ListenOptions::default();
    options.keepalive = keepalive;
    for nodelay in [true, false] {
        options.nodelay = nodelay;
        // The same listening socket, not registered anywhere, accepts a socket we may look at.
        let plain = TcpListener::bind(any()).unwrap();
        let addr = plain.local_addr().unwrap();
        let twin = plain.try_clone().unwrap();
        let listener = System.listener_from_std(plain, &options).unwrap();
        let _client = TcpStream::connect(addr).unwrap();
        // Made non-blocking by the take-over, but the connection is complete already.
        let (accepted, _) = twin.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert_eq!(socket.tcp_nodelay().unwrap(), nodelay);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(33)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(7)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        drop(listener);
    }
}

#[test]
fn a_listener_is_opened_as_told() {
    let mut options = ListenOptions::default();
    options.only_v6 = Some(true);
    options.backlog = u32::MAX;
    let listener = System.listen(any(), &options).unwrap();
    assert_ne!(System.listener_addr(&listener).unwrap().port(), 0);
    let taken = System.listener_addr(&listener).unwrap();
    let error = System.listen(taken, &options).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(listener);
    // A12: dropped is free, at once.
    drop(System.listen(taken, &options).unwrap());
}

/// H09: closing is enough to be forgotten by the poller, and the descriptor's next owner is
/// somebody else (B08).
#[test]
fn a_re_used_descriptor_does_not_inherit_events() {
    let mut reactor = Reactor::<_, (), ()>::new(System).unwrap();
    let listener = TcpListener::bind(any()).unwrap();
    let addr = listener.local_addr().unwrap();
    for _ in 0..1000 {
        let mut client = TcpStream::connect(addr).unwrap();
        let stream = System
            .stream_from_std(listener.accept().unwrap().0)
            .unwrap();
        let token = reactor.adopt(stream, ()).unwrap();
        client.write_all(b"for the former tenant").unwrap();
        // The event is collected and its source goes before it is looked at.
        reactor.poll(None, || true).unwrap();
        reactor.remove(token).unwrap();
        let _silent = TcpStream::connect(addr).unwrap();
        let stream = System
            .stream_from_std(listener.accept().unwrap().0)
            .unwrap();
        let heir = reactor.adopt(stream, ()).unwrap();
        assert!(reactor.next_event().is_none());
        reactor.poll(Some(reactor.now()), || true).unwrap();
        assert!(reactor.next_event().is_none(), "nobody wrote to the heir");
        assert!(reactor.source(token).is_none());
        reactor.remove(heir).unwrap();
    }
}

/// A read stops short at an urgent mark though more follows. Taking that for "drained" would
/// strand the bytes behind the mark.
#[test]
#[cfg(target_os = "linux")]
fn bytes_behind_an_urgent_mark_are_found() {
    let mut reactor = Reactor::<_, (), ()>::new(System).unwrap();
    let listener = TcpListener::bind(any()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    client.write_all(b"before").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"behind").unwrap();
    let token = reactor
        .adopt(System.stream_from_std(accepted).unwrap(), ())
        .unwrap();
    let mut received = Vec::new();
    while received != b"beforebehind" {
        let Event::Readable(_) = next(&mut reactor) else {
            panic!()
        };
        let mut buffer = [0; 64];
        match reactor.source(token).unwrap().io.read(&mut buffer).unwrap() {
            ReadOutcome::Data(n) => received.extend_from_slice(&buffer[..n]),
            ReadOutcome::WouldBlock => {}
            ReadOutcome::Eof => panic!("the client is still there"),
        }
    }
}

/// Nearly every stream has room all the time. Hearing so would cost each connection a report, and a
/// loop that sleeps a wake-up.
#[test]
#[cfg(target_os = "linux")]
fn room_is_reported_where_it_was_asked_for() {
    let listener = TcpListener::bind(any()).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    let mut stream = System.stream_from_std(accepted).unwrap();
    let (mut poller, _waker) = System.poller().unwrap();
    let reports = |poller: &mut _| {
        let (mut reports, at_once) = (Vec::new(), Some(Duration::ZERO));
        let note = |report| reports.push(report);
        System.wait(poller, at_once, note).unwrap();
        reports
    };
    System
        .register_stream(&poller, &mut stream, 7, false)
        .unwrap();
    assert_eq!(reports(&mut poller), []);
    // Room that was there before the request is reported too: it may have come just then.
    System.report_room(&poller, &mut stream, 7).unwrap();
    let room = reports(&mut poller);
    assert!(
        matches!(room[..], [it] if it.token == 7 && it.writable && !it.readable),
        "{room:?}"
    );
    assert_eq!(reports(&mut poller), [], "an edge is told once");
}

/// The first time the system has to be asked, the second time it was.
#[test]
fn a_blocked_writer_hears_of_room_each_time() {
    let mut reactor = Reactor::<_, (), ()>::new(System).unwrap();
    let listener = TcpListener::bind(any()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    let stream = System.stream_from_std(accepted).unwrap();
    let token = reactor.adopt(stream, ()).unwrap();
    let piece = vec![7; 1 << 20];
    for _ in 0..3 {
        let mut written = 0;
        while let WriteOutcome::Written(n) =
            reactor.source(token).unwrap().io.write(&piece).unwrap()
        {
            written += n;
        }
        let mut taken = vec![0; written];
        client.read_exact(&mut taken).unwrap();
        assert!(matches!(next(&mut reactor), Event::Writable(it) if it == token));
    }
}

/// A05 against the kernel: accepting succeeds, the peer's address is gone.
#[test]
fn a_reset_before_accept_is_a_readable_error() {
    let mut reactor = Reactor::<_, (), ()>::new(System).unwrap();
    let listener = System.listen(any(), &ListenOptions::default()).unwrap();
    let addr = System.listener_addr(&listener).unwrap();
    for _ in 0..100 {
        let client = TcpStream::connect(addr).unwrap();
        SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
    }
    reactor.listen(listener, ()).unwrap();
    let (mut accepted, mut dead) = (0, 0);
    while dead < 100 {
        match next(&mut reactor) {
            Event::Accepted { stream, peer, .. } => {
                assert_ne!(peer, addr);
                reactor.adopt(stream, ()).unwrap();
                accepted += 1;
            }
            Event::Readable(token) => {
                let outcome = reactor.source(token).unwrap().io.read(&mut [0; 8]);
                assert!(
                    matches!(outcome, Err(_) | Ok(ReadOutcome::Eof)),
                    "{outcome:?}"
                );
                reactor.remove(token).unwrap();
                dead += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(accepted, 100);
    assert_eq!(reactor.stats().sources, 1);
}

/// The reset the owner asks for is one on the wire.
#[test]
fn reset_on_close_resets() {
    let mut reactor = Reactor::<_, (), ()>::new(System).unwrap();
    let listener = TcpListener::bind(any()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = System
        .stream_from_std(listener.accept().unwrap().0)
        .unwrap();
    let token = reactor.adopt(stream, ()).unwrap();
    let mut source = reactor.source(token).unwrap();
    source.io.set_nodelay(true).unwrap();
    source.io.set_keepalive(&Keepalive::OsDefault).unwrap();
    source
        .io
        .set_user_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    source.io.set_reset_on_close().unwrap();
    reactor.remove(token).unwrap();
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_listener_has_no_bytes() {
    let mut reactor = Reactor::<_, (), ()>::new(System).unwrap();
    let token = reactor.bind(any(), &ListenOptions::default(), ()).unwrap();
    let mut source = reactor.source(token).unwrap();
    for error in [
        source.io.read(&mut [0; 8]).unwrap_err(),
        source.io.write(b"x").unwrap_err(),
        source.io.shutdown_write().unwrap_err(),
    ] {
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}
