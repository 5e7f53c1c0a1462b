//! A connection as an address: who may send to it, what it answers to the wrong messages, what it
//! tells about itself, and that nothing reaches it once it has ended (6.1, 6.9, B07, B09, P-01).

use std::io::Write;
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use socktree::{SendError, Target, TcpEvent, WriteMarks, Written};
use socktree_tests::{Ask, Probe, Served, connect, connect_small, read_to_end, receive, until};

/// The seed's `Send(id, MessageTCP)`: every process may write to a connection by its alias.
#[test]
fn bytes_sent_to_the_alias_are_written() {
    let mut served = Served::start(Served::any(), Probe::new());
    let stranger = served.node.spawn(Probe::new().0).unwrap();
    served.rebase();
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    let alias = conn.alias();
    stranger.ask(move |ctx| {
        ctx.send(alias, Bytes::from_static(b"bytes, ")).unwrap();
        ctx.send(alias, b"a vector, ".to_vec()).unwrap();
        ctx.send(alias, "a text").unwrap();
    });
    served.node.send(alias, ", and from outside").unwrap();
    served.node.send(&conn, Bytes::from("!")).unwrap();
    let all = b"bytes, a vector, a text, and from outside!";
    assert_eq!(receive(&stream, all.len()), all);

    // What is refused comes back as it was.
    let refused = served.node.send(alias, 42_u32);
    assert_eq!(refused, Err(SendError::NotAccepted(42)));
    let refused = served.node.send(alias, String::from("no"));
    assert_eq!(refused, Err(SendError::NotAccepted("no".into())));
    let to_server = served.node.send(&served.server, "hello");
    assert_eq!(to_server, Err(SendError::NotAccepted("hello")));
    drop(stream);
    served.finish();
}

#[test]
fn a_full_connection_refuses_what_is_sent() {
    let marks = WriteMarks {
        low: 1000,
        high: 2000,
        hard: 64 << 10,
    };
    let served = Served::start(Served::any().write_marks(marks), Probe::new());
    let stream = connect_small(served.addr());
    let conn = served.watch.connect();
    let piece = vec![1_u8; 16 << 10];
    let mut sent = 0;
    let refused = loop {
        match served.node.send(&conn, piece.clone()) {
            Ok(()) => sent += piece.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SendError::Full(piece));
    // Nothing has ended, and there is no hole.
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| tell.send(receive(&stream, sent).len()));
        assert_eq!(told.recv().unwrap(), sent);
    });
    conn.close();
    assert_eq!(read_to_end(&stream), (Vec::new(), None));
    drop(stream);
    served.finish();
}

/// B07: once the owner has handled the `Disconnect`, every send is an error, from everywhere.
#[test]
fn nothing_reaches_a_connection_that_has_ended() {
    let (tell, told) = mpsc::channel();
    let (probe, watch) = Probe::new();
    let probe = probe.on(move |ctx, event| {
        if let TcpEvent::Disconnect { conn, .. } = event {
            let sent = ctx.send(conn, "late");
            let unknown = matches!(sent, Err(SendError::Unknown("late")));
            tell.send(unknown && conn.write("late") == Written::Ended)?;
            assert!(ctx.inspect(conn).is_none() && ctx.monitor(conn).is_err());
        }
        Ok(())
    });
    let served = Served::start(Served::any(), (probe, watch));
    for _ in 0..50 {
        let stream = connect(served.addr());
        let conn = served.watch.connect();
        thread::scope(|scope| {
            // Somebody sends all the time; neither a panic nor a success afterwards.
            let sender = scope.spawn(|| while served.node.send(&conn, "x").is_ok() {});
            drop(stream);
            assert!(told.recv().unwrap(), "it took something after its end");
            sender.join().unwrap();
        });
        let late = served.node.send(&conn, "late");
        assert_eq!(late, Err(SendError::Unknown("late")));
        served.watch.disconnect();
    }
    served.finish();
}

/// The seed's keys (section 6.9), the process by its name without quotes.
#[test]
fn what_can_be_inspected() {
    let node = Served::node(2);
    let (worker, hears) = Probe::echo();
    let named = socktree::SpawnOptions::new().name("worker_0");
    node.spawn_with(worker, named).unwrap();
    let served = Served::start_on(node, Served::any().workers(["worker_0"]), Probe::new());
    let stream = connect(served.addr());
    let conn = hears.connect();
    let mut sender = &stream;
    sender.write_all(b"12345").unwrap();
    assert_eq!(receive(&stream, 5), b"12345");
    hears.data();
    // The answer is with the peer before it is counted here.
    until("five bytes out", || (conn.bytes_out() == 5).then_some(()));

    let target = Target::from(&conn);
    let seen = served.parent.ask(move |ctx| ctx.inspect(target)).unwrap();
    let value = |key| {
        let found = seen.iter().find(|(k, _)| *k == key);
        found.map(|(_, value)| value.as_str())
    };
    let (local, remote) = (served.addr().to_string(), stream.local_addr().unwrap());
    assert_eq!(value("local"), Some(local.as_str()));
    assert_eq!(value("remote"), Some(remote.to_string().as_str()));
    assert_eq!(value("process"), Some("worker_0"));
    assert_eq!(value("bytes in"), Some("5"));
    assert_eq!(value("bytes out"), Some("5"));

    let server = served.node.inspect(&served.server).unwrap();
    assert!(server.contains(&("listener", local)));
    assert!(server.contains(&("connections", "1".into())));
    drop(stream);
    served.finish();
}

/// P-01, B09: an identity is never given twice, however many come and go.
#[test]
fn p_01_a_long_life_among_many_short_ones() {
    let served = Served::start(Served::any(), Probe::echo());
    let long = connect(served.addr());
    let conn = served.watch.connect();
    let mut seen = std::collections::HashSet::from([conn.alias()]);
    for round in 0..5000 {
        drop(connect(served.addr()));
        let (other, _) = served.watch.disconnect();
        assert!(seen.insert(other.alias()), "an alias was given twice");
        if round % 500 == 0 {
            served.node.send(&conn, "ping").unwrap();
            assert_eq!(receive(&long, 4), b"ping");
        }
    }
    assert_eq!(served.server.connections(), 1);
    drop(long);
    served.finish();
}
