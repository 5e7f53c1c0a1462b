//! Servers: a connection is told of when its handshake is over, and never if it fails (T-60, T-61,
//! E01, E02, E11 and E12 of the fault lists).

use std::io::{Read, Write};
use std::time::Duration;

use socktree::tls::{PeerEnd, TlsVersion, Versions};
use socktree::{ClientAuth, ClientTls, DisconnectReason, Reason, ServeFor, TcpEvent, TlsError};
use socktree_tests::{Ask, Authority, Probe, Served, TlsPeer, connect, read_to_end, reset, until};

/// Waits for handshakes that fail, and expects these kinds of failure.
fn failures(served: &Served, expected: &[(&'static str, u64)]) {
    let what = format!("failed handshakes {expected:?}");
    until(&what, || {
        (served.server.failed_handshakes() == expected).then_some(())
    });
}

#[test]
fn the_owner_hears_of_it_after_the_handshake() {
    for (versions, version) in [
        (Versions::Tls13, TlsVersion::Tls13),
        (Versions::Tls12, TlsVersion::Tls12),
    ] {
        let authority = Authority::new();
        let certs = authority.server().alpn(["echo/1"]).build().unwrap();
        let served = Served::start(Served::any().tls(&certs), Probe::echo());
        let client = ClientTls::builder()
            .roots(authority.roots())
            .versions(versions)
            .alpn(["echo/2", "echo/1"]);
        let client = client.build().unwrap();

        let silent = connect(served.addr());
        let mut peer = TlsPeer::connect(served.addr(), &client).unwrap();
        let conn = served.watch.connect();
        let tls = conn.tls().expect("the handshake is over");
        assert_eq!(tls.version, version);
        assert_eq!(tls.server_name.as_deref(), Some("localhost"));
        assert_eq!(tls.alpn.as_deref(), Some(&b"echo/1"[..]));
        assert!(!tls.cipher_suite.is_empty() && !tls.resumed && !tls.verified);
        assert_eq!(conn.peer_addr(), peer.stream.local_addr().unwrap());

        peer.write(b"hello");
        assert_eq!(peer.read(5), b"hello");
        until("bytes that were counted", || {
            (conn.bytes_out() == 5).then_some(())
        });
        assert_eq!((conn.bytes_in(), conn.queued()), (5, 0));
        let info = served.parent.ask(|ctx| ctx.node().metas());
        assert_eq!(
            info.len(),
            3,
            "the server, the silent one and this: {info:?}"
        );

        peer.finish();
        assert_eq!(peer.read_to_end(), (vec![], Ok(PeerEnd::Closed)));
        assert!(matches!(served.watch.ended(), DisconnectReason::PeerClosed));
        drop(silent);
        failures(&served, &[("abandoned", 1)]);
        assert_eq!(served.server.handshakes(), 1);
        served.finish();
    }
}

#[test]
fn a_session_is_resumed() {
    let authority = Authority::new();
    let served = Served::start(Served::any().tls(&authority.certs()), Probe::echo());
    let client = authority.client();
    for round in 0..3 {
        let mut peer = TlsPeer::connect(served.addr(), &client).unwrap();
        // An answer comes after the tickets.
        peer.write(b"x");
        assert_eq!(peer.read(1), b"x");
        let conn = served.watch.connect();
        assert_eq!(conn.tls().unwrap().resumed, round > 0);
        peer.finish();
        served.watch.ended();
    }
    served.finish();
}

/// What is no TLS, and what is none that we trust: counted by its kind, and no event.
#[test]
fn what_fails_is_counted_and_not_told() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let certs = authority
        .server()
        .client_auth(ClientAuth::required(authority.roots()))
        .build()
        .unwrap();
    let served = Served::start(Served::any().tls(&certs), Probe::echo());

    let mut http = connect(served.addr());
    http.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let answer = read_to_end(&http);
    assert_eq!(
        answer.0.first(),
        Some(&21),
        "an alert, not a reset: {answer:?}"
    );
    failures(&served, &[("not-tls", 1)]);

    // With TLS 1.3 a client is done before the server has judged it.
    let nobody = TlsPeer::connect(served.addr(), &authority.client());
    let (data, end) = nobody.unwrap().read_to_end();
    assert!(
        data.is_empty() && matches!(end, Err(TlsError::Alert(_))),
        "{end:?}"
    );
    failures(&served, &[("no-certificate", 1), ("not-tls", 1)]);

    let wrong = ClientTls::builder()
        .roots(authority.roots())
        .identity(stranger.issue("client"))
        .build()
        .unwrap();
    let (data, end) = TlsPeer::connect(served.addr(), &wrong)
        .unwrap()
        .read_to_end();
    assert!(
        data.is_empty() && matches!(end, Err(TlsError::Alert(_))),
        "{end:?}"
    );

    // A client that does not trust us says so.
    let doubts = ClientTls::builder()
        .roots(stranger.roots())
        .build()
        .unwrap();
    let refused = TlsPeer::connect(served.addr(), &doubts).unwrap_err();
    assert!(matches!(refused, TlsError::BadCertificate(_)), "{refused}");
    failures(
        &served,
        &[
            ("abandoned", 1),
            ("bad-certificate", 1),
            ("no-certificate", 1),
            ("not-tls", 1),
        ],
    );

    let right = ClientTls::builder()
        .roots(authority.roots())
        .identity(authority.issue("client"))
        .build()
        .unwrap();
    let mut peer = TlsPeer::connect(served.addr(), &right).unwrap();
    let conn = served.watch.connect();
    let tls = conn.tls().unwrap();
    assert!(tls.verified && tls.peer_certificates.len() == 1);
    peer.write(b"hello");
    assert_eq!(peer.read(5), b"hello");
    peer.finish();
    served.watch.ended();
    assert!(
        served.watch.try_next().is_none(),
        "the others were not told of"
    );
    served.finish();
}

/// E01: whoever says nothing, or not enough, is gone at the deadline, and nobody has waited for it.
#[test]
fn a_handshake_has_a_deadline() {
    let authority = Authority::new();
    let certs = authority
        .server()
        .handshake_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let served = Served::start(Served::any().tls(&certs), Probe::echo());
    let silent = connect(served.addr());
    let mut half = connect(served.addr());
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    for mut stream in [silent, half] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "closed");
    }
    failures(&served, &[("timed-out", 2)]);
    assert_eq!(certs.handshakes(), 0);
    assert!(served.watch.try_next().is_none());
    served.finish();
}

/// The oldest handshake makes room, so those who stall keep nobody out.
#[test]
fn the_oldest_handshake_makes_room() {
    let authority = Authority::new();
    let certs = authority.server().max_handshakes(2).build().unwrap();
    // One worker, so that all places are its own.
    let served = Served::start_on(Served::node(1), Served::any().tls(&certs), Probe::echo());
    let stalled: Vec<_> = (0..8).map(|_| connect(served.addr())).collect();
    until("all were accepted", || {
        (served.server.accepted() == 8).then_some(())
    });
    failures(&served, &[("crowded-out", 6)]);
    let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
    peer.write(b"hello");
    assert_eq!(peer.read(5), b"hello");
    served.watch.connect();
    failures(&served, &[("crowded-out", 7)]);
    assert_eq!(certs.handshakes(), 1, "the youngest of those that stall");
    peer.finish();
    drop(stalled);
    failures(&served, &[("abandoned", 1), ("crowded-out", 7)]);
    served.watch.ended();
    served.finish();
}

/// A process that was started for a connection ends with a handshake that fails, and without a
/// place for it.
#[test]
fn no_process_is_left_of_a_failed_handshake() {
    let authority = Authority::new();
    let certs = authority.server().max_handshakes(1).build().unwrap();
    let (parent, watch) = Probe::new();
    let ear = watch.ear();
    let server = Served::any().tls(&certs);
    let server = server.per_connection(move |_| {
        ear.probe().on(|_, event| match event {
            TcpEvent::Disconnect { .. } => Err(Reason::Normal),
            TcpEvent::Data { conn, data } => {
                conn.write(data.clone());
                Ok(())
            }
            _ => Ok(()),
        })
    });
    let served = Served::start(server, (parent, watch));
    let mut http = connect(served.addr());
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drop(http);
    let stalled: Vec<_> = (0..4).map(|_| connect(served.addr())).collect();
    until("all were accepted", || {
        (served.server.accepted() == 5).then_some(())
    });
    let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
    peer.write(b"hello");
    assert_eq!(peer.read(5), b"hello");
    drop(stalled);
    peer.finish();
    served.watch.ended();
    // No process, no alias, no connection.
    served.finish();
}

/// The parent's end and a reset in the middle of the handshake.
#[test]
fn ends_in_the_middle_of_a_handshake() {
    let authority = Authority::new();
    let served = Served::start(Served::any().tls(&authority.certs()), Probe::echo());
    let resetting = connect(served.addr());
    until("one is there", || {
        (served.server.connections() == 1).then_some(())
    });
    reset(resetting);
    failures(&served, &[("abandoned", 1)]);
    let waiting = connect(served.addr());
    until("one is there", || {
        (served.server.connections() == 1).then_some(())
    });
    let addr = served.addr();
    served.node.stop().expect("in good order");
    assert_eq!(read_to_end(&waiting).0, b"", "{addr}");
    assert!(served.watch.try_next().is_none());
}

/// A replacement counts from the next handshake on, and connections go on with what they have.
#[test]
fn certificates_are_replaced_while_it_runs() {
    let (old, new) = (Authority::new(), Authority::new());
    let certs = old.certs();
    let served = Served::start(Served::any().tls(&certs), Probe::echo());
    let mut before = TlsPeer::connect(served.addr(), &old.client()).unwrap();
    certs
        .replace(ServeFor::Default, new.issue("localhost"))
        .unwrap();
    let refused = TlsPeer::connect(served.addr(), &old.client()).unwrap_err();
    assert!(matches!(refused, TlsError::BadCertificate(_)), "{refused}");
    let mut after = TlsPeer::connect(served.addr(), &new.client()).unwrap();
    for peer in [&mut before, &mut after] {
        peer.write(b"hello");
        assert_eq!(peer.read(5), b"hello");
        peer.finish();
    }
    for _ in 0..2 {
        served.watch.ended();
    }
    served.finish();
}

/// What arrives in the same segment as the end of the handshake is not lost, nor what is written in
/// answer to `Connect`.
#[test]
fn the_first_words_of_both_sides() {
    let authority = Authority::new();
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        match event {
            TcpEvent::Connect { conn } => drop(conn.write("welcome ")),
            TcpEvent::Data { conn, data } => drop(conn.write(data.clone())),
            _ => {}
        }
        Ok(())
    });
    let served = Served::start(Served::any().tls(&authority.certs()), (probe, watch));
    for _ in 0..20 {
        let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
        peer.write(b"here");
        assert_eq!(peer.read(12), b"welcome here");
        peer.finish();
        served.watch.ended();
    }
    served.finish();
}
