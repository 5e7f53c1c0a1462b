//! The end of a node: connections are told, what was answered is delivered, and stuck peers do not
//! hold it up (I01, I03, T-10 of the fault list).

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use socktree::{DisconnectReason, Reason, TcpEvent};
use socktree_tests::{
    Ask, DEADLINE, Notice, Probe, Served, connect, connect_small, read_to_end, receive, until,
};

/// More than the system's buffers take from a server whose peer does not read.
const MUCH: usize = 8 << 20;

#[test]
fn a_stopping_node_tells_its_connections_and_their_peers() {
    let served = Served::start(Served::any(), Probe::echo());
    let streams: Vec<_> = (0..50).map(|_| connect(served.addr())).collect();
    for mut stream in &streams {
        stream.write_all(b"ping").unwrap();
        assert_eq!(receive(stream, 4), b"ping");
    }
    let report = served.node.stop().unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.took < Duration::from_secs(2), "{report}");
    for stream in &streams {
        assert_eq!(read_to_end(stream), (Vec::new(), None));
    }
    assert_eq!(served.node.info().aliases, 0);
    assert_eq!(served.server.connections(), 0);
}

/// I01: what was written before the stop arrives after it, whoever owns the connection.
#[test]
fn answers_under_way_are_delivered() {
    for owned_by_worker in [false, true] {
        // On one worker, parent and owner end in the same turn, and both tell the connection.
        let node = Served::node(1);
        let (worker, hears) = Probe::new();
        let worker = node.spawn(worker).unwrap();
        let served = if owned_by_worker {
            Served::start_on(node, Served::any().process(&worker), Probe::new())
        } else {
            Served::start_on(node, Served::any(), Probe::new())
        };
        let stream = connect_small(served.addr());
        let conn = if owned_by_worker {
            hears.connect()
        } else {
            served.watch.connect()
        };
        let piece = Bytes::from(vec![b'p'; MUCH]);
        conn.write(piece);
        served.node.shutdown();
        let (rest, error) = read_to_end(&stream);
        assert_eq!(
            (rest.len(), error),
            (MUCH, None),
            "worker: {owned_by_worker}"
        );
        drop(stream);
        let report = served.node.stop().unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

/// I03: a peer that reads nothing holds a stop up for no longer than the connection may linger.
#[test]
fn stuck_peers_are_cut_off() {
    let server = Served::any().linger(Duration::from_millis(300));
    let served = Served::start(server, Probe::new());
    let stuck: Vec<_> = (0..10).map(|_| connect_small(served.addr())).collect();
    for _ in &stuck {
        served.watch.connect().write(vec![0; MUCH]);
    }
    let report = served.node.stop().unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.took < Duration::from_secs(5), "{report}");
    for stream in &stuck {
        assert!(read_to_end(stream).0.len() < MUCH);
    }
}

/// T-10: when the parent ends, workers are told about each of their connections.
#[test]
fn workers_are_told_when_the_parent_ends() {
    for clean in [true, false] {
        let node = Served::node(2);
        let (worker, hears) = Probe::echo();
        let worker = node.spawn(worker).unwrap();
        let before = node.info();
        let server = Served::any().process(&worker);
        let served = Served::start_on(node, server, Probe::new());
        let streams: Vec<_> = (0..20).map(|_| connect(served.addr())).collect();
        for mut stream in &streams {
            stream.write_all(b"ping").unwrap();
            assert_eq!(receive(stream, 4), b"ping");
        }
        let ended = served.node.monitor(&served.parent).unwrap();
        let reason = if clean {
            Reason::Normal
        } else {
            Reason::error("over")
        };
        served.node.exit(&served.parent, reason);
        ended.wait();
        for stream in &streams {
            read_to_end(stream);
        }
        for _ in &streams {
            let reason = hears.ended();
            assert!(matches!(reason, DisconnectReason::ParentDown), "{reason:?}");
        }
        assert!(hears.all_over());
        assert!(matches!(served.watch.notice(), Notice::Terminated(_)));
        drop(streams);
        until("nothing left", || {
            (served.node.info().aliases == before.aliases).then_some(())
        });
        worker.ask(|_| ());
        served.stop();
    }
}

/// T-02, 6.3: a server that is ended by itself frees its port and leaves its connections alone.
#[test]
fn a_server_can_end_alone() {
    let served = Served::start(Served::any(), Probe::echo());
    let stream = connect(served.addr());
    served.watch.connect();
    let server = served.server.clone();
    served.parent.ask(move |ctx| {
        ctx.monitor(&server).expect("it lives");
        ctx.exit(&server, Reason::Normal);
    });
    assert!(matches!(served.watch.notice(), Notice::Down(_)));
    let refused = std::net::TcpStream::connect(served.addr());
    assert!(refused.is_err(), "it still listens");
    for _ in 0..3 {
        let mut sender = &stream;
        sender.write_all(b"ping").unwrap();
        assert_eq!(receive(&stream, 4), b"ping");
    }
    // The parent still owns the connection, and its end is the connection's.
    served.node.exit(&served.parent, Reason::Shutdown);
    assert_eq!(read_to_end(&stream), (Vec::new(), None));
    served.stop();
}

/// An owner that does not come back holds up the stop until its deadline, and is named. The others end in
/// good order beside it.
#[test]
fn an_owner_that_is_stuck_is_reported() {
    let (let_go, gate) = mpsc::channel::<()>();
    let (enter, entered) = mpsc::channel();
    let (probe, watch) = Probe::new();
    let probe = probe.on(move |_, event| {
        if matches!(event, TcpEvent::Data { .. }) {
            enter.send(())?;
            // Ends when the test drops the other end.
            let _let_go = gate.recv_timeout(DEADLINE);
        }
        Ok(())
    });
    let node = socktree::node("tests@localhost").workers(1);
    let node = node.stop_deadline(Duration::from_millis(300));
    let node = node.start().expect("a node");
    let (other, _hears) = Probe::echo();
    let other = node.spawn(other).unwrap();
    let neighbour = other.ask(|ctx| ctx.spawn_meta(Served::any())).unwrap();
    let served = Served::start_on(node, Served::any(), (probe, watch));
    let stuck: Vec<_> = (0..5).map(|_| connect(served.addr())).collect();
    let mut free = connect(neighbour.local_addr());
    free.write_all(b"ping").unwrap();
    assert_eq!(receive(&free, 4), b"ping");
    let mut sender = &stuck[2];
    sender.write_all(b"stuck").unwrap();
    entered.recv_timeout(DEADLINE).expect("the handler began");

    let report = served.node.stop().unwrap();
    let pids: Vec<_> = report.stuck.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [served.parent.pid()], "{report}");
    assert_eq!(read_to_end(&free), (Vec::new(), None));
    drop(free);
    drop(TcpListener::bind(neighbour.local_addr()).expect("the port is free"));
    drop(let_go);
}
