//! Ends: `close_notify` comes before the socket's end, is missed where it is missing, and says of
//! nothing else that it was in good order (T-65, T-66, E08 of the fault lists).

use std::io::ErrorKind;
use std::io::Read;
use std::net::Shutdown;

use socktree::tls::PeerEnd;
use socktree::{DisconnectReason, Reason, TcpEvent};
use socktree_tests::{Ask, Authority, Notice, Probe, Served, TlsPeer};

fn start(probe: (Probe, socktree_tests::Watch)) -> (Served, TlsPeer) {
    let authority = Authority::new();
    let served = Served::start(Served::any().tls(&authority.certs()), probe);
    let peer = TlsPeer::connect(served.addr(), &authority.client());
    let peer = peer.expect("a right client");
    (served, peer)
}

/// What was received before the cut is delivered, and the cut is told.
#[test]
fn e08_an_end_without_close_notify() {
    let (served, mut peer) = start(Probe::echo());
    peer.write(b"hello");
    peer.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.read_to_end().0, b"hello", "answered all the same");
    served.watch.connect();
    assert_eq!(served.watch.bytes(5), b"hello");
    let reason = served.watch.ended();
    assert!(
        matches!(reason, DisconnectReason::Truncated { pending: 0 }),
        "{reason:?}"
    );
    served.finish();
}

/// Megabytes, a close, and an end in good order: all of it arrives.
#[test]
fn everything_arrives_before_our_close() {
    const SIZE: usize = 3 << 20;
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        if let TcpEvent::Connect { conn } = event {
            conn.write(vec![7; SIZE]);
            conn.close();
        }
        Ok(())
    });
    let (served, mut peer) = start((probe, watch));
    let (bytes, end) = peer.read_to_end();
    assert_eq!(end, Ok(PeerEnd::Closed));
    assert_eq!(bytes.len(), SIZE);
    assert!(bytes.iter().all(|&byte| byte == 7));
    peer.finish();
    assert!(matches!(served.watch.ended(), DisconnectReason::Closed));
    served.finish();
}

/// The peer has said all it has to say and listens: everything is answered.
#[test]
fn a_peer_that_ends_its_direction() {
    const SIZE: usize = 1 << 20;
    let (served, mut peer) = start(Probe::echo());
    let mut writer = TlsWriter::new(&mut peer, SIZE);
    let (bytes, end) = writer.exchange();
    assert_eq!((bytes, end), (SIZE, Ok(PeerEnd::Closed)));
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::PeerClosed), "{reason:?}");
    served.finish();
}

/// Writes and reads in turns, so that neither side's buffers have to hold everything.
struct TlsWriter<'p> {
    peer: &'p mut TlsPeer,
    left: usize,
}

impl<'p> TlsWriter<'p> {
    fn new(peer: &'p mut TlsPeer, left: usize) -> Self {
        Self { peer, left }
    }

    fn exchange(&mut self) -> (usize, Result<PeerEnd, socktree::TlsError>) {
        const PIECE: usize = 32 << 10;
        let mut got = 0;
        while self.left > 0 {
            self.peer.write(&[5; PIECE]);
            got += self.peer.read(PIECE).len();
            self.left -= PIECE;
        }
        self.peer.write(&[5; 100]);
        self.peer.finish();
        let (rest, end) = self.peer.read_to_end();
        (got + rest.len() - 100, end)
    }
}

#[test]
fn half_open_connections() {
    let authority = Authority::new();
    let server = Served::any().tls(&authority.certs()).half_open(true);
    let served = Served::start(server, Probe::new());
    let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
    let conn = served.watch.connect();
    peer.write(b"question");
    peer.finish();
    assert_eq!(served.watch.bytes(8), b"question");
    assert!(matches!(served.watch.next(), TcpEvent::Eof { .. }));
    conn.write("a late answer");
    assert_eq!(peer.read(13), b"a late answer");
    conn.close();
    assert_eq!(peer.read_to_end(), (vec![], Ok(PeerEnd::Closed)));
    served.watch.ended();

    // Nobody can know what is missing after a cut: it is no half-open connection.
    let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
    served.watch.connect();
    peer.write(b"question");
    peer.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(served.watch.bytes(8), b"question");
    let reason = served.watch.ended();
    assert!(
        matches!(reason, DisconnectReason::Truncated { .. }),
        "{reason:?}"
    );
    served.finish();
}

/// Our direction ends, the peer's goes on.
#[test]
fn our_direction_alone() {
    let (served, mut peer) = start(Probe::new());
    let conn = served.watch.connect();
    conn.write("all I have to say");
    conn.shutdown_write();
    assert_eq!(
        peer.read_to_end(),
        (b"all I have to say".to_vec(), Ok(PeerEnd::Closed))
    );
    peer.write(b"and yet");
    assert_eq!(served.watch.bytes(7), b"and yet");
    peer.finish();
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::PeerClosed), "{reason:?}");
    served.finish();
}

/// Cut off is cut off: the peer must not take it for an end.
#[test]
fn a_reset_says_nothing_of_an_end() {
    let (served, peer) = start(Probe::new());
    served.watch.connect().reset();
    let mut stream = &peer.stream;
    // Tickets come first.
    let error = loop {
        match stream.read(&mut [0; 4096]) {
            Ok(n) => assert!(n > 0, "an end in good order"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(matches!(served.watch.ended(), DisconnectReason::Aborted));
    served.finish();
}

/// An owner that crashes has perhaps not said everything; one that ends in good order has.
#[test]
fn the_owners_end() {
    for clean in [true, false] {
        let (mut served, mut peer) = start(Probe::echo());
        peer.write(b"hello");
        assert_eq!(peer.read(5), b"hello");
        served.watch.connect();
        let ended = served.node.monitor(&served.parent).unwrap();
        served.parent.tell(move |_| {
            if clean {
                Err(Reason::Normal)
            } else {
                Err(Reason::error("a crash"))
            }
        });
        let (rest, end) = peer.read_to_end();
        assert!(rest.is_empty());
        let expected = if clean {
            PeerEnd::Closed
        } else {
            PeerEnd::Truncated
        };
        assert_eq!(end, Ok(expected), "clean: {clean}");
        peer.finish();
        ended.wait();
        assert!(matches!(served.watch.notice(), Notice::Terminated(_)));
        while served.watch.try_next().is_some() {}
        served.rebase();
    }
}

/// A record that was changed on the way ends the connection; what came before it is delivered.
#[test]
fn a_record_that_was_changed() {
    use std::io::Write;
    let (served, mut peer) = start(Probe::echo());
    peer.write(b"good");
    assert_eq!(peer.read(4), b"good");
    peer.session.write(b"bad").unwrap();
    let mut record = peer.session.output().to_vec();
    peer.session.sent(record.len());
    *record.last_mut().unwrap() ^= 1;
    peer.stream.write_all(&record).unwrap();
    let (rest, end) = peer.read_to_end();
    assert!(rest.is_empty());
    assert!(matches!(end, Err(socktree::TlsError::Alert(_))), "{end:?}");
    drop(peer);
    served.watch.connect();
    assert_eq!(served.watch.bytes(4), b"good");
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Tls(_)), "{reason:?}");
    served.finish();
}
