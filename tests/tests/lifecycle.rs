//! The life of a connection that its peer ends: one `Connect` first, one `Disconnect` last, the
//! right reason, and every byte in between (O3 of the fault list). The order is checked by the
//! harness for every event of every test.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use socktree::codec::FrameError;
use socktree::{DisconnectReason, Framing, LengthPrefix, TcpEvent, WriteMarks, Written};
use socktree_tests::{
    Ask, Probe, Random, Served, connect, connect_small, read_to_end, receive, reset,
};

fn send(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the server reads");
}

fn u16_frames(max: usize) -> Framing {
    let prefix = LengthPrefix::u16_be().strip(true).max_frame(max);
    prefix.build().expect("a valid framing")
}

#[test]
fn the_end_of_the_peer() {
    let served = Served::start(Served::any(), Probe::new());
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    assert_eq!(conn.peer_addr(), stream.local_addr().unwrap());
    assert_eq!(conn.local_addr(), served.addr());
    send(&stream, b"the last words");
    drop(stream);
    assert_eq!(served.watch.bytes(14), b"the last words");
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::PeerClosed), "{reason:?}");
    assert_eq!((conn.bytes_in(), conn.bytes_out()), (14, 0));
    served.finish();
}

#[test]
fn a_connection_without_a_byte() {
    let served = Served::start(Served::any(), Probe::new());
    drop(connect(served.addr()));
    served.watch.connect();
    let event = served.watch.next();
    let TcpEvent::Disconnect { reason, .. } = event else {
        panic!("{event:?}");
    };
    assert!(matches!(reason, DisconnectReason::PeerClosed), "{reason:?}");
    served.finish();
}

/// B01, T-08: a reset is not taken for an end in good order.
#[test]
fn a_reset_by_the_peer() {
    let served = Served::start(Served::any(), Probe::new());
    let stream = connect(served.addr());
    served.watch.connect();
    send(&stream, b"read");
    assert_eq!(served.watch.bytes(4), b"read");
    reset(stream);
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Reset), "{reason:?}");
    served.finish();
}

/// B01: what arrived before the reset is delivered before the end.
#[test]
fn bytes_before_a_reset_are_delivered() {
    let probe = Probe::new();
    let pausing = probe.0.on(|_, event| {
        if let TcpEvent::Connect { conn } = event {
            conn.pause();
        }
        Ok(())
    });
    let served = Served::start(Served::any(), (pausing, probe.1));
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    send(&stream, b"not read yet");
    reset(stream);
    conn.resume();
    assert_eq!(served.watch.bytes(12), b"not read yet");
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Reset), "{reason:?}");
    served.finish();
}

/// C06, T-26: an end inside of a message says how much of it there was, wherever the cut is.
#[test]
fn an_end_inside_of_a_message() {
    let served = Served::start(Served::any().framing(u16_frames(100)), Probe::echo());
    let whole = b"\0\x03abc\0\0\0\x01z";
    let ends = [0, 5, 7, 10];
    for cut in 0..=whole.len() {
        let stream = connect(served.addr());
        send(&stream, &whole[..cut]);
        stream.shutdown(Shutdown::Write).unwrap();
        let (echo, error) = read_to_end(&stream);
        assert_eq!(error, None, "cut at {cut}");
        let complete: Vec<u8> = [b"abc".as_slice(), b"", b"z"]
            .iter()
            .zip(&ends[1..])
            .filter(|(_, end)| **end <= cut)
            .flat_map(|(payload, _)| payload.iter().copied())
            .collect();
        assert_eq!(echo, complete, "cut at {cut}");
        let (_, reason) = served.watch.disconnect();
        let begun = ends.iter().rev().find(|end| **end <= cut).unwrap();
        match reason {
            DisconnectReason::PeerClosed => assert_eq!(*begun, cut),
            DisconnectReason::Truncated { pending } => assert_eq!(pending, cut - begun),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    served.finish();
}

#[test]
fn a_message_above_the_limit() {
    let served = Served::start(Served::any().framing(u16_frames(100)), Probe::new());
    let stream = connect(served.addr());
    send(&stream, b"\0\x02ok\xff\xff");
    read_to_end(&stream);
    served.watch.connect();
    assert_eq!(served.watch.data(), "ok");
    let reason = served.watch.ended();
    assert!(
        matches!(
            reason,
            DisconnectReason::Malformed(FrameError::TooLarge { .. })
        ),
        "{reason:?}"
    );
    served.finish();
}

/// B03: pipelined requests and an end behind them, as many as the credit holds several times over.
#[test]
fn every_request_before_the_end_is_answered() {
    let server = Served::any().framing(u16_frames(65_537)).read_credit(2000);
    let served = Served::start(server, Probe::echo());
    let mut random = Random::new(11);
    for requests in [1, 2, 30, 1000] {
        let stream = connect(served.addr());
        let (mut all, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..requests {
            let len = random.below(300);
            let body = random.bytes(len);
            all.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            all.extend(&body);
            answers.extend(body);
        }
        send(&stream, &all);
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&stream), (answers, None));
        let reason = served.watch.ended();
        assert!(matches!(reason, DisconnectReason::PeerClosed), "{reason:?}");
    }
    served.finish();
}

/// T-13: with the option, the end of the peer's direction ends nothing else.
#[test]
fn a_half_open_connection_goes_on_writing() {
    let served = Served::start(Served::any().half_open(true), Probe::new());
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    send(&stream, b"question");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(served.watch.bytes(8), b"question");
    let event = served.watch.next();
    assert!(matches!(event, TcpEvent::Eof { .. }), "{event:?}");
    for word in ["one ", "two ", "three"] {
        assert_eq!(conn.write(word), Written::Queued);
    }
    assert_eq!(receive(&stream, 13), b"one two three");
    conn.write("!");
    conn.close();
    assert_eq!(read_to_end(&stream), (b"!".to_vec(), None));
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    served.finish();
}

/// D01: past the hard mark the connection is cut off, and the handle says so.
#[test]
fn a_peer_that_does_not_read() {
    let marks = WriteMarks {
        low: 1 << 10,
        high: 16 << 10,
        hard: 64 << 10,
    };
    let served = Served::start(Served::any().write_marks(marks), Probe::new());
    let stream = connect_small(served.addr());
    let conn = served.watch.connect();
    let piece = Bytes::from(vec![7; 8 << 10]);
    let mut queued_most = 0;
    // The system's own buffers take some megabytes first.
    let ended = (0..100_000).any(|_| {
        let written = conn.write(piece.clone());
        queued_most = queued_most.max(conn.queued());
        written == Written::Ended
    });
    assert!(ended, "it was never ended");
    assert!(queued_most <= marks.hard, "{queued_most} bytes were queued");
    assert_eq!(conn.write("more"), Written::Ended);
    let reason = served.watch.ended();
    let DisconnectReason::SlowConsumer { queued } = reason else {
        panic!("{reason:?}");
    };
    assert!(queued <= marks.hard, "{queued} bytes were queued");
    let (_, error) = read_to_end(&stream);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    served.finish();
}

/// T-34: a peer that takes nothing for the whole write timeout.
#[test]
fn a_peer_that_reads_nothing_for_too_long() {
    let server = Served::any().write_timeout(Duration::from_millis(300));
    let served = Served::start(server, Probe::new());
    let stream = connect_small(served.addr());
    let conn = served.watch.connect();
    // One message may be of any size.
    conn.write(vec![7; 16 << 20]);
    let reason = served.watch.ended();
    assert!(
        matches!(reason, DisconnectReason::WriteTimeout),
        "{reason:?}"
    );
    let (_, error) = read_to_end(&stream);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    served.finish();
}

/// Routed to a worker, events reach it alone.
#[test]
fn the_parent_hears_nothing_of_others() {
    let (worker, hears) = Probe::echo();
    let served = {
        let (parent, watch) = Probe::new();
        let node = socktree::node("tests@localhost")
            .workers(2)
            .start()
            .unwrap();
        let worker = node.spawn(worker).unwrap();
        Served::start_on(node, Served::any().process(&worker), (parent, watch))
    };
    let stream = connect(served.addr());
    hears.connect();
    send(&stream, b"x");
    assert_eq!(hears.data(), "x");
    assert_eq!(receive(&stream, 1), b"x");
    drop(stream);
    hears.disconnect();
    served.parent.ask(|_| ());
    assert!(served.watch.try_next().is_none());
    served.finish();
}
