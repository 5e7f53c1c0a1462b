//! Flow control in both directions: slow sides are waited for, memory stays bounded, and not one
//! byte is lost or out of place (D01, D05, D07, D10, D11, T-14, T-51 of the fault lists).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socktree::{Conn, LengthPrefix, TcpConnection, TcpEvent, TryWriteError, WriteMarks, Written};
use socktree_tests::{
    Ask, DEADLINE, Probe, Process, Random, Served, connect, connect_small, read_to_end, receive,
    until,
};

const MIB: usize = 1 << 20;

/// Writes what the system takes, until it has taken nothing for a while.
fn offer(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a live socket");
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(n) => taken += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a live socket");
    taken
}

/// T-14: what was read for an owner that does not get to it is bounded, the peer has to wait, and
/// when the owner goes on everything comes.
#[test]
fn a_slow_owner_slows_the_peer() {
    let credit = 100_000;
    let (gate, gated) = mpsc::channel::<()>();
    let (probe, watch) = Probe::new();
    let mut open = false;
    let probe = probe.on(move |_, event| {
        if matches!(event, TcpEvent::Data { .. }) && !open {
            gated.recv_timeout(DEADLINE).expect("the test lets it go");
            open = true;
        }
        Ok(())
    });
    let served = Served::start(Served::any().read_credit(credit), (probe, watch));
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    let all = Random::new(5).bytes(20 * MIB);
    let taken = offer(&stream, &all);
    assert!(taken < all.len(), "nobody slowed it");
    let read = conn.bytes_in();
    let bound = u64::from(credit) + 64 * 1024;
    assert!(read <= bound, "{read} bytes were read, {bound} are allowed");

    gate.send(()).unwrap();
    thread::scope(|scope| {
        let rest = &all[taken..];
        let mut sender = &stream;
        scope.spawn(move || sender.write_all(rest).expect("the server reads"));
        assert!(served.watch.bytes(all.len()) == all, "other bytes");
    });
    drop(stream);
    served.finish();
}

/// D05: one owner and one peer that are stuck hold up nobody else on their worker.
#[test]
fn stuck_connections_leave_the_others_alone() {
    let served = Served::start_on(Served::node(1), Served::any(), Probe::echo());
    let stuck = connect_small(served.addr());
    offer(&stuck, &vec![0; 16 * MIB]);
    let conn = served.watch.connect();
    let healthy: Vec<_> = (0..50).map(|_| connect(served.addr())).collect();
    for round in 0..20_u8 {
        for mut stream in &healthy {
            stream.write_all(&[round; 64]).unwrap();
        }
        for stream in &healthy {
            assert_eq!(receive(stream, 64), [round; 64]);
        }
    }
    // M-02: it can be looked at and ended all the same.
    let inspection = served.node.inspect(&conn).expect("it lives");
    assert!(inspection.contains(&("throttled", "true".into())));
    conn.reset();
    read_to_end(&stuck);
    drop(healthy);
    served.finish();
}

/// A writer that holds back when it is told to and goes on when it is told to loses nothing.
#[test]
fn throttled_and_then_writable() {
    const PIECES: usize = 400;
    let piece = Bytes::from(Random::new(6).bytes(64 << 10));
    let (probe, watch) = Probe::new();
    let (mut left, mut throttled) = (PIECES, 0);
    let pieces = piece.clone();
    let mut go_on = move |conn: &Conn| {
        while left > 0 {
            left -= 1;
            match conn.write(pieces.clone()) {
                Written::Queued => {}
                Written::Throttled => {
                    throttled += 1;
                    return;
                }
                Written::Ended => panic!("it held back"),
            }
        }
        assert!(throttled > 1, "it was never throttled");
        conn.close();
    };
    let probe = probe.on(move |_, event| {
        if let TcpEvent::Connect { conn } | TcpEvent::Writable { conn } = event {
            go_on(conn);
        }
        Ok(())
    });
    let served = Served::start(Served::any(), (probe, watch));
    let stream = connect_small(served.addr());
    let (all, error) = read_to_end(&stream);
    assert_eq!((all.len(), error), (PIECES * piece.len(), None));
    assert!(all.chunks(piece.len()).all(|chunk| chunk == piece));
    drop(stream);
    served.finish();
}

/// `try_write` gives back what it does not take, and says later when there is room.
#[test]
fn what_is_not_taken_comes_back() {
    let marks = WriteMarks {
        low: 1000,
        high: 1 << 20,
        hard: 4 << 20,
    };
    let served = Served::start(Served::any().write_marks(marks), Probe::new());
    let stream = connect_small(served.addr());
    let conn = served.watch.connect();
    // One message is taken whatever its size, if nothing waits; this one fills the system's
    // buffers, and some of it waits here.
    let first = Bytes::from(vec![1; 8 * MIB]);
    assert!(conn.try_write(first.clone()) == Ok(Written::Throttled));
    let second = Bytes::from(vec![2; 4 * MIB]);
    let refused = conn.try_write(second.clone());
    assert!(refused == Err(TryWriteError::Full(second.clone())));
    assert!(conn.queued() > 0 && conn.queued() <= first.len());
    assert!(receive(&stream, first.len()) == first);
    let event = served.watch.next();
    assert!(matches!(event, TcpEvent::Writable { .. }), "{event:?}");
    until("all of it sent", || (conn.queued() == 0).then_some(()));
    assert!(conn.try_write(second.clone()) == Ok(Written::Throttled));
    assert!(receive(&stream, second.len()) == second);
    conn.close();
    let ended = conn.try_write(second.clone());
    assert!(ended == Err(TryWriteError::Ended(second)));
    drop(stream);
    served.finish();
}

/// Also below the high mark: a message that would pass the hard one is refused, and whoever was
/// refused is told when there is room.
#[test]
fn whoever_was_refused_is_told_of_room() {
    let marks = WriteMarks {
        low: 1000,
        high: 16 * MIB,
        hard: 16 * MIB,
    };
    let served = Served::start(Served::any().write_marks(marks), Probe::new());
    let stream = connect_small(served.addr());
    let conn = served.watch.connect();
    // More than the system's buffers take, so some of it waits here, below the high mark.
    let filled = 12 * MIB;
    assert!(conn.try_write(vec![1; filled]) == Ok(Written::Queued));
    let large = Bytes::from(vec![2; 16 * MIB]);
    let refused = conn.try_write(large.clone());
    assert!(refused == Err(TryWriteError::Full(large)));
    receive(&stream, filled);
    let event = served.watch.next();
    assert!(matches!(event, TcpEvent::Writable { .. }), "{event:?}");
    drop(stream);
    served.finish();
}

/// D11: reading stops when the owner says so and goes on where it stopped, however often.
#[test]
fn pausing_and_resuming() {
    let served = Served::start(Served::any(), Probe::new());
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    let mut random = Random::new(7);
    for _ in 0..200 {
        conn.pause();
        // The loop has heard of it when it has answered this.
        served.parent.ask(|_| ());
        let len = 1 + random.below(100_000);
        let bytes = random.bytes(len);
        let mut sender = &stream;
        thread::scope(|scope| {
            let sent = &bytes;
            scope.spawn(move || sender.write_all(sent).expect("the server reads"));
            conn.resume();
            assert_eq!(served.watch.bytes(len), bytes);
        });
    }
    // Paused for good, nothing comes but the end that the owner makes.
    conn.pause();
    served.parent.ask(|_| ());
    let taken = offer(&stream, &vec![0; 32 * MIB]);
    assert!(taken < 32 * MIB, "it read on");
    let inspection = served.node.inspect(&conn).expect("it lives");
    assert!(inspection.contains(&("paused", "true".into())));
    conn.close();
    drop(stream);
    served.watch.disconnect();
    served.finish();
}

/// D07, T-51: one message to a thousand connections, each of which gets it whole.
#[test]
fn a_broadcast_is_exact() {
    const CLIENTS: usize = 1000;
    // Both ends of each are here.
    Process::new(std::process::id()).allow_descriptors(4096);
    let (probe, watch) = Probe::new();
    let mut room: Vec<Conn> = Vec::new();
    let probe = probe.on(move |_, event| {
        match event {
            TcpEvent::Connect { conn } => room.push(conn.clone()),
            TcpEvent::Data { data, .. } => {
                for conn in &room {
                    assert_ne!(conn.write(data.clone()), Written::Ended);
                }
            }
            TcpEvent::Disconnect { conn, .. } => room.retain(|other| other != conn),
            _ => {}
        }
        Ok(())
    });
    let server = Served::any().framing(socktree::Framing::fixed(20_000).unwrap());
    let served = Served::start(server, (probe, watch));
    let streams: Vec<_> = (0..CLIENTS).map(|_| connect(served.addr())).collect();
    for _ in 0..CLIENTS {
        served.watch.connect();
    }
    for sender in [0, 500, 999] {
        let message = Random::new(sender as u64).bytes(20_000);
        let mut from = &streams[sender];
        from.write_all(&message).unwrap();
        for stream in &streams {
            assert!(receive(stream, message.len()) == message, "other bytes");
        }
    }
    drop(streams);
    served.finish();
}

/// A service that echoes is not ended for the size of what it was sent, even if the peer takes its
/// answers slowly: the next message waits until its answer has room. By default, and with marks that
/// few messages fit between.
#[test]
fn large_messages_to_a_slow_reader_all_come_back() {
    let narrow = WriteMarks {
        low: 1_000,
        high: 70_000,
        hard: 80_000,
    };
    let default = WriteMarks::default();
    for (marks, count, largest, seed) in [
        (narrow, 400, 40_000, 1),
        (default, 20, 1_000_000, 2),
        (default, 20, 1_000_000, 3),
        (default, 20, 900_000, 4),
        (default, 20, 900_000, 5),
    ] {
        let mut random = Random::new(seed);
        let mut sent = Vec::new();
        for _ in 0..count {
            let len = largest / 4 * 3 + random.below(largest / 4);
            sent.extend(u32::try_from(len).unwrap().to_be_bytes());
            sent.extend(random.bytes(len));
        }
        let framing = LengthPrefix::u32_be().strip(false).build().unwrap();
        let server = Served::any().framing(framing).write_marks(marks);
        let served = Served::start(server, Probe::echo());
        let stream = connect_small(served.addr());
        let taken = offer(&stream, &sent);
        assert!(taken < sent.len(), "nothing had to wait");
        thread::scope(|scope| {
            let (rest, mut sender) = (&sent[taken..], &stream);
            scope.spawn(move || sender.write_all(rest).expect("the server reads"));
            let mut reader = &stream;
            let mut bite = [0; 4096];
            let mut came = 0;
            while came < sent.len() {
                let n = reader.read(&mut bite).expect("the server answers");
                assert!(n > 0, "it has ended after {came} bytes");
                assert!(bite[..n] == sent[came..came + n], "other bytes at {came}");
                came += n;
            }
        });
        drop(stream);
        served.finish();
    }
}

/// A message that waits for room for its answer is not handed to an owner that has paused.
#[test]
fn what_waits_for_its_answer_waits_for_a_paused_owner() {
    const SIZE: usize = 40_000;
    let marks = WriteMarks {
        low: 1_000,
        high: 79_000,
        hard: 80_000,
    };
    let framing = socktree::Framing::fixed(SIZE).unwrap();
    let server = Served::any().framing(framing).write_marks(marks);
    let served = Served::start_on(Served::node(1), server, Probe::echo());
    let stream = connect_small(served.addr());
    let sent = Random::new(8).bytes(400 * SIZE);
    let taken = offer(&stream, &sent);
    assert!(taken < sent.len(), "nothing had to wait");
    let conn = served.watch.connect();
    conn.pause();
    // The loop has heard of that by the time that it accepts another.
    let other = connect(served.addr());
    let mut before = 0;
    loop {
        match served.watch.next() {
            TcpEvent::Data { .. } => before += 1,
            TcpEvent::Connect { .. } => break,
            _ => {}
        }
    }
    drop(other);
    // All that was handled is answered. Then there is room, and still nothing comes.
    assert!(receive(&stream, before * SIZE) == sent[..before * SIZE]);
    until("an empty queue", || (conn.queued() == 0).then_some(()));
    let last = connect(served.addr());
    loop {
        match served.watch.next() {
            TcpEvent::Connect { .. } => break,
            TcpEvent::Data { .. } => panic!("a message for an owner that has paused"),
            _ => {}
        }
    }
    drop(last);
    conn.resume();
    thread::scope(|scope| {
        let mut sender = &stream;
        let rest = &sent[taken..];
        scope.spawn(move || sender.write_all(rest).expect("the server reads"));
        let rest = &sent[before * SIZE..];
        assert!(receive(&stream, rest.len()) == rest, "other bytes");
    });
    drop(stream);
    served.finish();
}

/// A client that writes until it is throttled, and a server that answers more than it is asked: each had
/// too much to write to read anything, until both gave up.
#[test]
fn a_client_that_asks_for_more_than_it_sends_is_answered() {
    const ASKED: usize = 6 << 20;
    let (server, server_watch) = Probe::new();
    let server = server.on(|_, event| {
        if let TcpEvent::Data { conn, data } = event {
            conn.write([&data[..], &data[..], &data[..], &data[..]].concat());
        }
        Ok(())
    });
    let served = Served::start(Served::any(), (server, server_watch));
    let (client, watch) = Probe::new();
    let mut left = ASKED;
    let client = client.on(move |_, event| {
        if let TcpEvent::Connect { conn } | TcpEvent::Writable { conn } = event {
            while left > 0 {
                let piece = left.min(64 << 10);
                left -= piece;
                if conn.write(vec![7; piece]) == Written::Throttled {
                    break;
                }
            }
        }
        Ok(())
    });
    let client = served.node.spawn(client).expect("a client");
    let to = TcpConnection::open(served.addr());
    let conn = client.ask(|ctx| ctx.spawn_meta(to)).expect("told later");
    let mut came = 0;
    while came < 4 * ASKED {
        match watch.next() {
            TcpEvent::Data { data, .. } => came += data.len(),
            TcpEvent::Disconnect { reason, .. } => panic!("after {came} bytes: {reason}"),
            _ => {}
        }
    }
    assert_eq!(came, 4 * ASKED);
    conn.close();
    watch.disconnect();
    served.watch.disconnect();
    served.stop();
}

/// F10: a handler that blocks delays no other owner, also on one worker. The other
/// round trips are over before it is let go.
#[test]
fn a_handler_that_blocks_delays_no_other_owner() {
    let (gate, gated) = mpsc::channel::<()>();
    let (entered, enters) = mpsc::channel::<()>();
    let (blocking, watch) = Probe::new();
    let blocking = blocking.on(move |_, event| {
        if let TcpEvent::Data { conn, data } = event {
            entered.send(())?;
            gated.recv_timeout(DEADLINE).expect("the test lets it go");
            conn.write(data.clone());
        }
        Ok(())
    });
    let served = Served::start_on(Served::node(1), Served::any(), (blocking, watch));
    let (other, _hears) = Probe::echo();
    let other = served.node.spawn(other).unwrap();
    let neighbour = other.ask(|ctx| ctx.spawn_meta(Served::any())).unwrap();

    let slow = connect(served.addr());
    let mut sender = &slow;
    let fast = connect(neighbour.local_addr());
    for round in 0..5 {
        sender.write_all(b"wait").unwrap();
        enters.recv_timeout(DEADLINE).expect("the handler began");
        let began = Instant::now();
        for _ in 0..100 {
            let mut stream = &fast;
            stream.write_all(b"ping").unwrap();
            assert_eq!(receive(&fast, 4), b"ping");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "round {round}");
        // New connections of the neighbour as well.
        let mut new = connect(neighbour.local_addr());
        new.write_all(b"ping").unwrap();
        assert_eq!(receive(&new, 4), b"ping");
        gate.send(()).unwrap();
        assert_eq!(receive(&slow, 4), b"wait");
    }
    drop((slow, fast));
    until("no connection left", || {
        (neighbour.connections() == 0 && served.server.connections() == 0).then_some(())
    });
    served.stop();
}

/// H02, H03: a client that never stops sending starves no other.
#[test]
fn a_firehose_starves_nobody() {
    let served = Served::start_on(Served::node(1), Served::any(), Probe::echo());
    let addr = served.addr();
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        scope.spawn(move || {
            let stream = connect(addr);
            let mut reader = &stream;
            let mut writer = &stream;
            thread::scope(|scope| {
                scope.spawn(move || {
                    let mut buffer = vec![0; 256 << 10];
                    while reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
                });
                let piece = vec![0; 256 << 10];
                while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    writer.write_all(&piece).expect("the server reads");
                }
                writer
                    .shutdown(std::net::Shutdown::Write)
                    .expect("it is connected");
            });
        });
        let quiet: Vec<_> = (0..20).map(|_| connect(addr)).collect();
        for round in 0..10_u8 {
            for mut stream in &quiet {
                stream.write_all(&[round]).unwrap();
                assert_eq!(receive(stream, 1), [round]);
            }
        }
        stop.send(()).unwrap();
    });
    served.settle();
    served.stop();
}
