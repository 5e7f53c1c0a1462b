//! Outgoing connections: established when the handshake is over, refused with its reason, and told
//! once (T-63, E10, E11 and E13 of the fault lists).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socktree::tls::PeerEnd;
use socktree::{
    CertManager, ClientTls, ConnectError, DisconnectReason, Endpoint, TcpConnection, TcpEvent,
    TlsError, Written,
};
use socktree_tests::{Ask, Authority, Probe, Served, TlsPeer};

/// A server that takes one connection and does this with it.
fn once(act: impl FnOnce(std::net::TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("a bound socket");
    let server = thread::spawn(move || act(listener.accept().expect("a client").0));
    (addr, server)
}

fn localhost(addr: SocketAddr) -> Endpoint {
    ("localhost", addr.port()).into()
}

/// An owner without a server of its own.
fn owner() -> Served {
    Served::start(Served::any(), Probe::new())
}

fn connect(served: &Served, to: TcpConnection) -> Result<socktree::Conn, ConnectError> {
    served.parent.ask(move |ctx| ctx.spawn_meta(to))
}

fn tls_failure(reason: &DisconnectReason) -> TlsError {
    let DisconnectReason::Tls(error) = reason else {
        panic!("{reason:?}");
    };
    TlsError::clone(error)
}

fn failure(error: &ConnectError) -> TlsError {
    let ConnectError::Failed { reason, .. } = error else {
        panic!("{error}");
    };
    tls_failure(reason)
}

fn connect_failed(served: &Served) -> DisconnectReason {
    match served.watch.next() {
        TcpEvent::ConnectFailed { reason, .. } => reason,
        event => panic!("{event:?}"),
    }
}

fn echo_once(certs: CertManager) -> (SocketAddr, JoinHandle<()>) {
    once(move |stream| {
        let mut peer = TlsPeer::accept(stream, &certs).expect("a right client");
        let hello = peer.read(5);
        peer.write(&hello);
        assert_eq!(peer.read_to_end(), (vec![], Ok(PeerEnd::Closed)));
        peer.finish();
    })
}

#[test]
fn both_styles() {
    let authority = Authority::new();
    let served = owner();
    for waits in [true, false] {
        let (addr, server) = echo_once(authority.certs());
        let tls = authority.client();
        let conn = if waits {
            let to = TcpConnection::connect(localhost(addr)).tls(tls);
            let conn = connect(&served, to).expect("it listens");
            assert!(conn.tls().is_some(), "the handshake is over");
            conn.write("hello");
            conn
        } else {
            let to = TcpConnection::open(localhost(addr)).tls(tls);
            let conn = connect(&served, to).expect("told later");
            // It goes out when the handshake is over.
            assert_eq!(conn.write("hello"), Written::Queued);
            conn
        };
        assert_eq!(served.watch.connect(), conn);
        let tls = conn.tls().expect("the handshake is over");
        assert_eq!(tls.server_name.as_deref(), Some("localhost"));
        assert!(tls.verified && tls.peer_certificates.len() == 1, "{tls}");
        assert_eq!(served.watch.bytes(5), b"hello");
        conn.close();
        assert!(matches!(served.watch.ended(), DisconnectReason::Closed));
        server.join().expect("the server saw what it expects");
    }
    served.finish();
}

/// Each way in which a server is not the right one, and what is told of it, by both styles.
#[test]
fn servers_that_are_not_trusted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let served = owner();
    let wrong = [
        ("another authority", &stranger, "localhost"),
        ("another name", &authority, "elsewhere.example"),
    ];
    for (what, issuer, name) in wrong {
        for waits in [true, false] {
            let certs = CertManager::new(issuer.issue(name)).expect("a right pair");
            let (addr, server) = once(move |stream| {
                let refused = TlsPeer::accept(stream, &certs).unwrap_err();
                assert!(matches!(refused, TlsError::Alert(_)), "{refused}");
            });
            let error = if waits {
                let to = TcpConnection::connect(localhost(addr)).tls(authority.client());
                failure(&connect(&served, to).unwrap_err())
            } else {
                let to = TcpConnection::open(localhost(addr)).tls(authority.client());
                let conn = connect(&served, to).expect("told later");
                let reason = connect_failed(&served);
                assert_eq!(conn.write("to nobody"), Written::Ended);
                tls_failure(&reason)
            };
            assert!(
                matches!(error, TlsError::BadCertificate(_)),
                "{what}: {error}"
            );
            server.join().expect("the server was told why");
        }
    }
    // Unless it was asked for.
    let anybody = ClientTls::builder().dangerous_skip_verification();
    let (addr, server) = echo_once(stranger.certs());
    let to = TcpConnection::connect(addr).tls(anybody.build().unwrap());
    let conn = connect(&served, to).expect("anybody will do");
    assert!(!conn.tls().unwrap().verified);
    conn.write("hello");
    served.watch.connect();
    assert_eq!(served.watch.bytes(5), b"hello");
    conn.close();
    served.watch.ended();
    server.join().expect("the server saw what it expects");
    served.finish();
}

#[test]
fn what_is_no_tls() {
    let authority = Authority::new();
    let served = owner();
    let (addr, server) = once(|mut stream| {
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        let _hello = stream.read(&mut [0; 1024]);
    });
    let to = TcpConnection::connect(localhost(addr)).tls(authority.client());
    let error = failure(&connect(&served, to).unwrap_err());
    assert!(matches!(error, TlsError::NotTls), "{error}");
    server.join().unwrap();

    let (addr, server) = once(drop);
    let to = TcpConnection::connect(localhost(addr)).tls(authority.client());
    let error = connect(&served, to).unwrap_err();
    let ConnectError::Failed { reason, .. } = error else {
        panic!("{error}");
    };
    // A close with our hello unread is a reset.
    let told = match &reason {
        DisconnectReason::Tls(error) => matches!(**error, TlsError::Abandoned),
        DisconnectReason::Reset => true,
        _ => false,
    };
    assert!(told, "{reason:?}");
    server.join().unwrap();

    let to = TcpConnection::open("no such host:1").tls(authority.client());
    let error = connect(&served, to).unwrap_err();
    assert!(matches!(error, ConnectError::Tls(_)), "{error}");
    served.finish();
}

/// Both limits end a server that says nothing, whichever is first.
#[test]
fn a_server_that_says_nothing() {
    let authority = Authority::new();
    let served = owner();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("a bound socket");
    let soon = Duration::from_millis(50);

    let to = TcpConnection::open(localhost(addr)).tls(authority.client());
    connect(&served, to.connect_timeout(soon)).expect("told later");
    let reason = connect_failed(&served);
    assert!(
        matches!(reason, DisconnectReason::ConnectTimeout),
        "{reason:?}"
    );

    let tls = ClientTls::builder()
        .roots(authority.roots())
        .handshake_timeout(soon);
    let to = TcpConnection::connect(localhost(addr)).tls(tls.build().unwrap());
    let error = failure(&connect(&served, to).unwrap_err());
    assert!(matches!(error, TlsError::TimedOut), "{error}");

    // And the owner need not wait for them.
    for reset in [false, true] {
        let to = TcpConnection::open(localhost(addr)).tls(authority.client());
        let conn = connect(&served, to).expect("told later");
        if reset {
            conn.write("what nobody will read");
            conn.reset();
        } else {
            conn.close();
        }
        let reason = connect_failed(&served);
        let told = match reason {
            DisconnectReason::Aborted => reset,
            DisconnectReason::Closed => !reset,
            _ => false,
        };
        assert!(told, "{reason:?}");
    }
    served.finish();
}
