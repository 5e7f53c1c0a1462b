//! The life of a connection that its owner ends: everything that was written arrives, a reset is a
//! reset, and no order of ends does harm twice.

use std::hint;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socktree::tcp::node_on;
use socktree::{DisconnectReason, Framing, LengthPrefix, Reason, TcpEvent, TcpServer, Written};
use socktree_reactor::sim::{Faults, Link, Peer, SimOs};
use socktree_tests::{
    Ask, DEADLINE, Notice, Probe, Random, Served, connect, connect_small, read_to_end, receive,
    reset, until,
};

fn send(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the server reads");
}

/// D09, T-36: send, then close. Every byte arrives, every time, and then the end.
#[test]
fn what_was_written_before_a_close_arrives() {
    let (probe, watch) = Probe::new();
    // The answer is as long as the request says, in one piece or in many.
    let probe = probe.on(|_, event| {
        if let TcpEvent::Data { conn, data } = event {
            let len = usize::from(u16::from_be_bytes([data[0], data[1]])) * 16;
            let answer = vec![data[2]; len];
            for piece in answer.chunks(if data[2] % 2 == 0 { 1 << 20 } else { 999 }) {
                conn.write(piece.to_vec());
            }
            conn.close();
            assert_eq!(conn.write("too late"), Written::Ended);
        }
        Ok(())
    });
    let server = Served::any().framing(Framing::fixed(3).unwrap());
    let served = Served::start(server, (probe, watch));
    let addr = served.addr();
    thread::scope(|scope| {
        for client in 0..4 {
            scope.spawn(move || {
                let mut random = Random::new(client);
                for round in 0..150_u8 {
                    let len = u16::try_from(random.below(1 << (round % 16))).unwrap();
                    let stream = connect(addr);
                    send(&stream, &[len.to_be_bytes().as_slice(), &[round]].concat());
                    let (answer, error) = read_to_end(&stream);
                    assert_eq!((answer.len(), error), (usize::from(len) * 16, None));
                    assert!(answer.iter().all(|byte| *byte == round));
                }
            });
        }
    });
    for _ in 0..600 {
        let reason = served.watch.ended();
        assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    }
    served.finish();
}

/// B05: the peer is still sending when we answer and close. The answer is not lost to the reset
/// that unread bytes cause.
#[test]
fn an_answer_outlives_a_peer_that_is_still_sending() {
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        if let TcpEvent::Data { conn, .. } = event {
            conn.write(vec![b'a'; 50_000]);
            conn.close();
        }
        Ok(())
    });
    let served = Served::start(Served::any(), (probe, watch));
    for _ in 0..50 {
        let stream = connect(served.addr());
        let mut sender = stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            // Cut short when the server is gone.
            let _sent = sender.write_all(&[0; 1 << 20]);
        });
        let answer = receive(&stream, 50_000);
        assert!(answer.iter().all(|byte| *byte == b'a'));
        sending.join().unwrap();
        drop(stream);
        let reason = served.watch.ended();
        assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    }
    served.finish();
}

/// B04: a reset drops what waits, and the peer is told that it was one.
#[test]
fn a_reset_is_seen_as_one() {
    let served = Served::start(Served::any(), Probe::new());
    for _ in 0..20 {
        let stream = connect(served.addr());
        let conn = served.watch.connect();
        conn.reset();
        conn.close();
        let (_, error) = read_to_end(&stream);
        assert_eq!(error, Some(ErrorKind::ConnectionReset));
        let reason = served.watch.ended();
        assert!(matches!(reason, DisconnectReason::Aborted), "{reason:?}");
    }
    served.finish();
}

/// B04: our direction ends behind what was written, and the peer's goes on.
#[test]
fn our_direction_can_end_alone() {
    let served = Served::start(Served::any(), Probe::new());
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    conn.write("all of it");
    conn.shutdown_write();
    conn.shutdown_write();
    assert_eq!(conn.write("more"), Written::Ended);
    assert_eq!(read_to_end(&stream), (b"all of it".to_vec(), None));
    for word in [b"still", b"heard"] {
        send(&stream, word);
        assert_eq!(served.watch.bytes(5), word);
    }
    drop(stream);
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::PeerClosed), "{reason:?}");
    served.finish();
}

/// B06: closed by everybody at once, a connection ends once, and no stranger is hurt.
#[test]
fn ends_from_all_sides_at_once() {
    let served = Served::start(Served::any(), Probe::echo());
    let stranger = connect(served.addr());
    let spared = served.watch.connect();
    for _ in 0..200 {
        let stream = connect(served.addr());
        let conn = served.watch.connect();
        let (close, reset, peer) = (conn.clone(), conn.clone(), stream);
        thread::scope(|scope| {
            scope.spawn(move || close.close());
            scope.spawn(move || reset.reset());
            scope.spawn(move || drop(peer));
            served.node.exit(&conn, Reason::Normal);
            served.node.exit(&conn, Reason::Kill);
        });
        let (ended, _) = served.watch.disconnect();
        assert_eq!(ended, conn);
    }
    send(&stranger, b"here");
    assert_eq!(receive(&stranger, 4), b"here");
    spared.close();
    assert_eq!(read_to_end(&stranger), (Vec::new(), None));
    drop(stranger);
    served.finish();
}

/// The seed's `SendExitMeta`: in good order it is a close, otherwise it cuts the connection off.
#[test]
fn exits_sent_to_a_connection() {
    let served = Served::start(Served::any(), Probe::new());
    for clean in [true, false] {
        let stream = connect(served.addr());
        let conn = served.watch.connect();
        served.parent.ask(move |ctx| {
            ctx.monitor(&conn).expect("it lives");
            conn.write("the last");
            let reason = if clean { Reason::Normal } else { Reason::Kill };
            ctx.exit(&conn, reason);
        });
        let (rest, _) = read_to_end(&stream);
        let reason = served.watch.ended();
        let Notice::Down(down) = served.watch.notice() else {
            panic!("not the connection's end");
        };
        if clean {
            assert_eq!(rest, b"the last");
            assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
            assert!(matches!(down.reason, Reason::Normal), "{down:?}");
        } else {
            assert!(matches!(reason, DisconnectReason::Aborted), "{reason:?}");
            assert!(matches!(down.reason, Reason::Kill), "{down:?}");
        }
    }
    served.finish();
}

/// A connection that is told to end again while its last bytes are under way counts once: the
/// node's stop, which waits for such connections, does not wait for ever.
#[test]
fn a_second_exit_changes_nothing() {
    let framing = LengthPrefix::u32_be().build().unwrap();
    let served = Served::start(Served::any().framing(framing), Probe::new());
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    // Half a message is there: the peer may be about to send the rest, so the socket stays open
    // until it has seen our end.
    send(&stream, b"\0\0\0\x05ab");
    let inside = conn.clone();
    until("the beginning of a message", || {
        (inside.bytes_in() == 6).then_some(())
    });
    served.parent.ask(move |ctx| {
        for _ in 0..3 {
            ctx.exit(&conn, Reason::Normal);
        }
    });
    assert_eq!(read_to_end(&stream), (Vec::new(), None));
    drop(stream);
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    served.settle();
    let report = served.node.stop().unwrap();
    assert!(report.took < Duration::from_secs(2), "{report}");
}

/// B01: what the peer had sent before its reset was lost, if our own end was still to follow a write
/// that failed.
#[test]
fn an_end_that_fails_loses_nothing_of_the_peers() {
    const MESSAGES: u8 = 10;
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        if let TcpEvent::Connect { conn } = event {
            conn.pause();
        }
        Ok(())
    });
    // The owner has to handle each message before it gets the next.
    let server = Served::any()
        .framing(Framing::fixed(100).unwrap())
        .read_credit(1);
    let served = Served::start(server, (probe, watch));
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    for message in 0..MESSAGES {
        send(&stream, &[message; 100]);
    }
    reset(stream);
    served.parent.ask(move |_| {
        conn.write("nobody reads this");
        conn.shutdown_write();
        conn.resume();
    });
    for message in 0..MESSAGES {
        assert_eq!(served.watch.data(), [message; 100].as_slice());
    }
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Reset), "{reason:?}");
    served.finish();
}

/// The time that a closed connection has for its last bytes ended one that only waited for its owner.
#[test]
fn a_slow_owner_gets_what_came_before_a_reset() {
    const MESSAGES: u8 = 10;
    let (parent, watch) = Probe::new();
    let ear = watch.ear();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(Some(may_go));
    let server = Served::any()
        .framing(Framing::fixed(100).unwrap())
        .read_credit(1)
        .linger(Duration::from_millis(1));
    // The first is slow: it holds back until the test lets it go. The second reads nothing.
    let server = server.per_connection(move |_| {
        let mut held = may_go.lock().expect("nobody panics").take();
        let first = held.is_some();
        ear.probe().on(move |_, event| match event {
            TcpEvent::Connect { conn } if !first => {
                conn.pause();
                Ok(())
            }
            TcpEvent::Data { .. } => {
                if let Some(held) = held.take() {
                    held.recv_timeout(DEADLINE).expect("the test goes on");
                }
                Ok(())
            }
            TcpEvent::Disconnect { .. } => Err(Reason::Normal),
            _ => Ok(()),
        })
    });
    let served = Served::start(server, (parent, watch));
    let mut conns = Vec::new();
    for _ in 0..2 {
        let stream = connect(served.addr());
        let conn = served.watch.connect();
        for message in 0..MESSAGES {
            send(&stream, &[message; 100]);
        }
        reset(stream);
        until("a write has failed", || {
            (conn.write("nobody reads this") == Written::Ended).then_some(())
        });
        conns.push(conn);
    }
    // A millisecond has gone for the first as well when it has for the second.
    let (ended, reason) = served.watch.disconnect();
    assert!(matches!(reason, DisconnectReason::Reset), "{reason:?}");
    assert_eq!(ended, conns[1]);
    go.send(()).expect("it waits");
    for message in 0..MESSAGES {
        assert_eq!(served.watch.data(), [message; 100].as_slice());
    }
    let (ended, reason) = served.watch.disconnect();
    assert!(matches!(reason, DisconnectReason::Reset), "{reason:?}");
    assert_eq!(ended, conns[0]);
    served.finish();
}

/// A peer that never reads does not keep a closed connection: the rest is lost, and the owner is told.
#[test]
fn a_close_waits_for_its_linger_and_no_longer() {
    const MUCH: usize = 8 << 20;
    let linger = Duration::from_millis(200);
    let served = Served::start(Served::any().linger(linger), Probe::new());
    let stream = connect_small(served.addr());
    let conn = served.watch.connect();
    conn.write(vec![b'm'; MUCH]);
    let closed = Instant::now();
    conn.close();
    let reason = served.watch.ended();
    assert!(
        matches!(reason, DisconnectReason::LingerTimeout),
        "{reason:?}"
    );
    assert!(closed.elapsed() >= linger, "{:?}", closed.elapsed());
    let (part, error) = read_to_end(&stream);
    assert!(part.len() < MUCH);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
    served.finish();
}

/// A peer that never ends its direction.
struct Stays;

impl Peer for Stays {
    fn step(&mut self, link: &mut Link<'_>) {
        if link.was_reset() {
            link.close();
        }
    }
}

/// A linger beyond all time kept the sockets of closed connections for as long as their peers liked.
#[test]
fn the_longest_linger_is_for_what_was_written_alone() {
    let sim = SimOs::new(1, Faults::none());
    let node = node_on("sim@localhost", sim.clone()).workers(1);
    let node = node.stuck_after(None).start().expect("a simulated node");
    sim.wait_quiescent();
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        if let TcpEvent::Connect { conn } = event {
            conn.write("the last");
            conn.close();
        }
        Ok(())
    });
    let server = TcpServer::bind("10.1.1.1:7").linger(Duration::MAX);
    let served = Served::start_on(node, server, (probe, watch));
    sim.wait_quiescent();
    let (dialled, addr) = (sim.clone(), served.addr());
    served.parent.ask(move |_| dialled.dial(addr, Stays));
    sim.wait_quiescent();
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    assert_eq!(sim.open_descriptors(), 1, "the listener's");
    served.stop();
}

/// B01: an owner that paused while the peer's last messages and its reset were being read lost them.
#[test]
fn a_pause_beside_the_peers_end_loses_nothing() {
    const MESSAGES: usize = 10;
    let server = Served::any().framing(Framing::fixed(100).unwrap());
    let served = Served::start(server, Probe::new());
    let mut random = Random::new(3);
    for round in 0..2000 {
        let stream = connect(served.addr());
        let conn = served.watch.connect();
        send(&stream, &[7; 100 * MESSAGES]);
        reset(stream);
        for _ in 0..random.below(2000) {
            hint::spin_loop();
        }
        conn.pause();
        conn.resume();
        for message in 0..MESSAGES {
            assert_eq!(
                served.watch.data(),
                [7; 100].as_slice(),
                "{round} {message}"
            );
        }
        let reason = served.watch.ended();
        assert!(matches!(reason, DisconnectReason::Reset), "{reason:?}");
    }
    served.finish();
}
