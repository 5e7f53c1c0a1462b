//! Amounts: credit, pauses and marks mean what they mean without TLS, and nothing that waits inside
//! of a session is forgotten there (E05, E06, E17 of the fault lists).

use std::sync::mpsc;
use std::thread;

use socktree::tls::PeerEnd;
use socktree::{DisconnectReason, Framing, LengthPrefix, TcpEvent, WriteMarks, Written};
use socktree_tests::{Ask, Authority, Probe, Random, Served, TlsPeer, until};

/// E05: records that hold far more than the credit, and a peer that then waits for the answer: only
/// the session knows that there is more.
#[test]
fn e05_records_larger_than_the_credit() {
    let authority = Authority::new();
    let framing: Framing = LengthPrefix::u16_be().strip(false).build().unwrap();
    let server = Served::any()
        .tls(&authority.certs())
        .framing(framing)
        .read_credit(1024);
    let served = Served::start(server, Probe::echo());
    let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
    let mut message = vec![0, 98];
    message.resize(100, 3);
    let record = message.repeat(160);
    for _ in 0..200 {
        peer.write(&record);
        assert_eq!(peer.read(record.len()), record);
    }
    peer.finish();
    assert_eq!(peer.read_to_end(), (vec![], Ok(PeerEnd::Closed)));
    served.watch.ended();
    served.finish();
}

/// Random sizes both ways at once, over every size of record and of read.
#[test]
fn a_megabyte_each_way_at_once() {
    const SIZE: usize = 1 << 20;
    let authority = Authority::new();
    let served = Served::start(Served::any().tls(&authority.certs()), Probe::echo());
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
        let (mut sent, mut got) = (0, Vec::new());
        while got.len() < SIZE {
            // At most so much is under way that both sides can hold it.
            while sent < SIZE && sent - got.len() < 128 << 10 {
                let n = 1 + random.below(40_000);
                let n = n.min(SIZE - sent);
                peer.write(&bytes[sent..sent + n]);
                sent += n;
            }
            let n = 1 + random.below(40_000);
            got.extend(peer.read(n.min(sent - got.len())));
        }
        assert!(got == bytes, "seed {seed}");
        peer.finish();
        assert_eq!(peer.read_to_end(), (vec![], Ok(PeerEnd::Closed)));
    }
    until("all are over", || served.watch.all_over().then_some(()));
    served.finish();
}

/// Paused before the handshake is over, with a first message in the same segment.
#[test]
fn a_pause_holds_back_what_came_with_the_handshake() {
    let authority = Authority::new();
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        if let TcpEvent::Connect { conn } = event {
            conn.pause();
        }
        Ok(())
    });
    let served = Served::start(Served::any().tls(&authority.certs()), (probe, watch));
    let mut peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
    let conn = served.watch.connect();
    peer.write(b"hello");
    // The pause is answered behind what was read before it.
    served.parent.ask(|_| ());
    conn.resume();
    assert_eq!(served.watch.bytes(5), b"hello");
    peer.finish();
    served.watch.ended();
    served.finish();
}

/// E17: a peer that does not read. The writer is told, goes on when there is room, and what is
/// held is bounded by the marks and the session's bound.
#[test]
fn e17_a_peer_that_does_not_read() {
    const PIECE: usize = 32 << 10;
    const PIECES: usize = 512;
    let authority = Authority::new();
    let marks = WriteMarks {
        low: 64 << 10,
        high: 128 << 10,
        hard: 512 << 10,
    };
    let (tell, highest) = mpsc::channel();
    let (probe, watch) = Probe::new();
    let mut left = PIECES;
    let probe = probe.on(move |_, event| {
        let (TcpEvent::Connect { conn } | TcpEvent::Writable { conn }) = event else {
            return Ok(());
        };
        while left > 0 {
            left -= 1;
            let written = conn.write(vec![1; PIECE]);
            tell.send(conn.queued())?;
            match written {
                Written::Queued => {}
                Written::Throttled => return Ok(()),
                Written::Ended => panic!("below the hard mark"),
            }
        }
        conn.close();
        Ok(())
    });
    let server = Served::any().tls(&authority.certs()).write_marks(marks);
    let served = Served::start(server, (probe, watch));
    let client = authority.client();
    let addr = served.addr();
    let reader = thread::spawn(move || {
        let mut peer = TlsPeer::connect(addr, &client).unwrap();
        let (bytes, end) = peer.read_to_end();
        peer.finish();
        (bytes.len(), end)
    });
    let read = reader.join().expect("it reads to the end");
    assert_eq!(read, (PIECE * PIECES, Ok(PeerEnd::Closed)));
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    let most = highest.try_iter().max().unwrap();
    assert!(most <= marks.high + PIECE, "{most} bytes were waiting");
    served.finish();
}

/// One that never reads at all ends at the hard mark.
#[test]
fn the_hard_mark_ends_a_peer_that_never_reads() {
    let authority = Authority::new();
    let server = Served::any()
        .tls(&authority.certs())
        .write_marks(WriteMarks {
            low: 0,
            high: 0,
            hard: 1 << 20,
        });
    let served = Served::start(server, Probe::new());
    let peer = TlsPeer::connect(served.addr(), &authority.client()).unwrap();
    let conn = served.watch.connect();
    while conn.write(vec![1; 64 << 10]) != Written::Ended {}
    let reason = served.watch.ended();
    assert!(
        matches!(reason, DisconnectReason::SlowConsumer { .. }),
        "{reason:?}"
    );
    drop(peer);
    served.finish();
}
