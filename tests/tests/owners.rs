//! Who owns a connection, and what its end does to whom: routing, crashes, links and monitors.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use socktree::tcp::Routed;
use socktree::{
    Actor, ConnectError, Ctx, DisconnectReason, Flow, ListenError, NoMessages, NoWorker, Pid, Pool,
    Reason, Source, SpawnOptions, Supervisor, Target, TcpConnection, TcpEvent, TcpServer,
};
use socktree_tests::{
    Ask, DEADLINE, Do, Ear, Notice, Probe, Served, Watch, connect, read_to_end, receive, reset,
    until,
};

fn ask(mut stream: &TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).expect("the server reads");
    receive(stream, request.len())
}

/// Whether the server answers on this connection, or ends it.
fn is_answered(mut stream: &TcpStream) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut answer).is_ok()
}

/// Which process answers on this connection.
fn owner_of(mut stream: &TcpStream) -> String {
    stream.write_all(b"who").expect("the server reads");
    let mut answer = String::new();
    while !answer.ends_with('\n') {
        answer.push(char::from(receive(stream, 1)[0]));
    }
    answer.trim_end().to_owned()
}

/// A worker that echoes, says who it is, and panics on demand. It must never hear of a connection
/// that it was not given, such as one of the process that had its name before.
fn crashing(ear: &Ear) -> Probe {
    let mut own = HashSet::new();
    ear.probe().on(move |ctx, event| {
        match event {
            TcpEvent::Connect { conn } => assert!(own.insert(conn.alias())),
            TcpEvent::Data { conn, data } => {
                assert!(own.contains(&conn.alias()), "T-11: a stranger's connection");
                assert!(data != "panic", "as the client wanted");
                if data == "who" {
                    conn.write(format!("{}\n", ctx.pid()));
                } else {
                    conn.write(data.clone());
                }
            }
            TcpEvent::Disconnect { conn, .. } => assert!(own.remove(&conn.alias())),
            _ => {}
        }
        Ok(())
    })
}

/// Supervised workers that tell `ear`, and a server that gives them connections in turn.
fn supervised(names: &'static [&'static str], ear: &Ear) -> Served {
    let node = Served::node(2);
    let none = Supervisor::one_for_one().intensity(1000, Duration::from_secs(5));
    let supervisor = names.iter().fold(none, |supervisor, name| {
        let ear = ear.clone();
        supervisor.child(*name, move || crashing(&ear))
    });
    node.spawn(supervisor).expect("children that start");
    let server = Served::any().workers(names.iter().copied());
    Served::start_on(node, server, Probe::new())
}

fn restarted(served: &Served, name: &str, before: Pid) -> Pid {
    until("another process under the name", || {
        served.node.whereis(name).filter(|pid| *pid != before)
    })
}

/// F01, F03, F04, T-11: a crash takes the worker's own connections and no other, and whoever watches
/// those is told why; the restarted worker gets new ones only.
#[test]
fn a_worker_that_panics_takes_its_own_connections_alone() {
    let (_, hears) = Probe::new();
    let served = supervised(&["a", "b", "c"], &hears.ear());
    let (streams, ends): (Vec<_>, Vec<_>) = (0..12)
        .map(|_| {
            let stream = connect(served.addr());
            assert_eq!(ask(&stream, b"hi"), b"hi");
            let end = served.node.monitor(hears.connect()).unwrap();
            assert_eq!(hears.data(), "hi");
            (stream, end)
        })
        .unzip();
    let before = served.node.whereis("b").unwrap();
    // They were given out in turn, so every third is b's.
    let mut victim = &streams[1];
    victim.write_all(b"panic").unwrap();
    for (n, (stream, end)) in streams.iter().zip(&ends).enumerate() {
        if n % 3 == 1 {
            let (rest, _) = read_to_end(stream);
            assert!(rest.is_empty());
            let down = end.wait_for(DEADLINE).expect("it is told");
            let right = DisconnectReason::OwnerDown.to_string();
            assert_eq!(down.reason.to_string(), right, "connection {n}");
        } else {
            assert_eq!(ask(stream, b"still"), b"still");
        }
    }
    restarted(&served, "b", before);
    let new: Vec<_> = (0..6).map(|_| connect(served.addr())).collect();
    let mut owners: Vec<_> = new.iter().map(owner_of).collect();
    owners.sort();
    let pid = |name| served.node.whereis(name).expect("it lives").to_string();
    let mut expected = ["a", "a", "b", "b", "c", "c"].map(pid);
    expected.sort();
    assert_eq!(owners, expected, "each has two, the new process too");
    for (n, (stream, end)) in streams.iter().zip(&ends).enumerate() {
        if n % 3 != 1 {
            assert_eq!(ask(stream, b"on"), b"on");
            assert!(end.wait_for(Duration::ZERO).is_none(), "connection {n}");
        }
    }
    drop((streams, new));
    served.finish();
}

/// F03: workers are killed again and again. Connections of the others never notice, and whoever
/// comes meanwhile is served or turned away, but not forgotten.
#[test]
fn workers_killed_under_load() {
    let served = supervised(&["a", "b", "c", "d"], &Watch::deaf());
    let steady: Vec<_> = (0..4).map(|_| connect(served.addr())).collect();
    steady.iter().for_each(|s| assert_eq!(ask(s, b"hi"), b"hi"));
    for round in 0..20 {
        let name = ["b", "c", "d"][round % 3];
        let before = served.node.whereis(name).unwrap();
        served.node.exit(name, Reason::Kill);
        let during: Vec<_> = (0..8).map(|_| connect(served.addr())).collect();
        // The one that is just dying may still have been given two of eight.
        let lost = during.iter().filter(|s| !is_answered(s)).count();
        assert!(lost <= 2, "{lost} of 8 were turned away");
        assert_eq!(ask(&steady[0], b"steady"), b"steady");
        let pid = restarted(&served, name, before).to_string();
        let after: Vec<_> = (0..8).map(|_| connect(served.addr())).collect();
        let owners: Vec<_> = after.iter().map(owner_of).collect();
        assert!(owners.contains(&pid), "{name} is {pid}, not in {owners:?}");
    }
    drop(steady);
    served.finish();
}

/// T-04: processes that are not there, or take no such messages, are skipped.
#[test]
fn dead_workers_are_skipped() {
    let node = Served::node(2);
    let dead = node.spawn(Probe::new().0).unwrap();
    let ended = node.monitor(&dead).unwrap();
    node.exit(&dead, Reason::Normal);
    ended.wait();
    let supervisor = node.spawn(Supervisor::one_for_one()).unwrap();
    let (worker, hears) = Probe::echo();
    let worker = node.spawn(worker).unwrap();
    let targets: [Target; 4] = [
        Target::from(&dead),
        Target::from("nobody"),
        Target::from(&supervisor),
        Target::from(&worker),
    ];
    let served = Served::start_on(node, Served::any().workers(targets), Probe::new());
    for _ in 0..10 {
        assert_eq!(ask(&connect(served.addr()), b"hi"), b"hi");
        hears.disconnect();
    }
    assert_eq!((served.server.accepted(), served.server.refused()), (10, 0));
    served.finish();
}

/// A worker that does not keep up gets no connections while another one does; when there is none,
/// clients wait, and lose nothing.
#[test]
fn workers_that_do_not_keep_up_are_skipped() {
    const TOO_MUCH: usize = 65 * 1024;
    let node = Served::node(2);
    let (stuck, hears_stuck) = Probe::echo();
    let stuck = node.spawn(stuck).unwrap();
    let (free, hears) = Probe::echo();
    let free = node.spawn(free).unwrap();
    let targets = [Target::from(&stuck), Target::from(&free)];
    let mut served = Served::start_on(node, Served::any().workers(targets), Probe::new());

    let (go_on, gate) = mpsc::channel::<()>();
    let step = move |ctx: &mut Ctx<'_, Probe>| {
        ctx.blocking(|| gate.recv()).expect("the test opens it");
        Ok(())
    };
    stuck.send(Do::new(step)).expect("it lives");
    for _ in 0..TOO_MUCH {
        stuck.send(Do::new(|_| Ok(()))).expect("no bound");
    }
    served.rebase();
    for _ in 0..20 {
        assert_eq!(ask(&connect(served.addr()), b"hi"), b"hi");
        hears.disconnect();
    }
    assert_eq!(served.server.accepted(), 20);

    // Now there is none but the one that is stuck.
    let ended = served.node.monitor(&free).unwrap();
    served.node.exit(&free, Reason::Normal);
    ended.wait();
    served.rebase();
    let clients: Vec<_> = (0..50).map(|_| connect(served.addr())).collect();
    until("the first is accepted", || {
        (served.server.accepted() > 20).then_some(())
    });
    go_on.send(()).expect("the worker waits");
    for client in clients {
        assert_eq!(ask(&client, b"late"), b"late");
    }
    for _ in 0..50 {
        hears_stuck.disconnect();
    }
    assert_eq!((served.server.accepted(), served.server.refused()), (70, 0));
    served.finish();
}

#[test]
fn without_a_worker_the_parent_owns_connections() {
    let server = Served::any().workers(["nobody"]);
    let served = Served::start(server, Probe::echo());
    assert_eq!(ask(&connect(served.addr()), b"hi"), b"hi");
    served.watch.connect();
    served.finish();
}

/// An actor that takes no events at all.
struct Deaf(Option<TcpServer<Routed>>, Sender<SocketAddr>);

impl Actor for Deaf {
    type Msg = NoMessages;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let server = ctx.spawn_meta(self.0.take().expect("init comes once"))?;
        self.1.send(server.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }
}

#[test]
fn without_anybody_connections_are_refused() {
    let server = Served::any().workers(["nobody"]);
    let served = Served::start(server.without_worker(NoWorker::Refuse), Probe::new());
    for _ in 0..5 {
        let (answer, _) = read_to_end(&connect(served.addr()));
        assert!(answer.is_empty());
    }
    until("five refused", || {
        (served.server.refused() == 5).then_some(())
    });
    // The parent could not own them either, by what it is.
    let (tell, told) = mpsc::channel();
    let deaf = Deaf(Some(Served::any().workers(["nobody"])), tell);
    served.node.spawn(deaf).unwrap();
    let (answer, _) = read_to_end(&connect(told.recv().unwrap()));
    assert!(answer.is_empty());
    assert!(served.watch.try_next().is_none());
    served.stop();
}

#[test]
fn one_process_for_each_connection() {
    let (parent, watch) = Probe::new();
    let ear = watch.ear();
    let server = Served::any().per_connection(move |_| {
        ear.probe().on(|_, event| match event {
            TcpEvent::Data { data, .. } if data == "panic" => panic!("as the client wanted"),
            TcpEvent::Data { conn, data } => {
                conn.write(data.clone());
                Ok(())
            }
            TcpEvent::Disconnect { .. } => Err(Reason::Normal),
            _ => Ok(()),
        })
    });
    let served = Served::start(server, (parent, watch));
    let processes = served.node.info().processes;
    let streams: Vec<_> = (0..10).map(|_| connect(served.addr())).collect();
    streams
        .iter()
        .for_each(|s| assert_eq!(ask(s, b"hi"), b"hi"));
    assert_eq!(served.node.info().processes, processes + 10);
    let mut victim = &streams[3];
    victim.write_all(b"panic").unwrap();
    read_to_end(victim);
    for (n, stream) in streams.iter().enumerate() {
        assert!(n == 3 || ask(stream, b"on") == b"on");
    }
    drop(streams);
    served.settle();
    served.stop();
}

/// 5.5: a connection can be linked to and monitored like a process, with its reason.
#[test]
fn links_and_monitors_on_a_connection() {
    let (parent, watch) = Probe::new();
    let parent = parent.on(|ctx, event| {
        if let TcpEvent::Connect { conn } = event {
            ctx.trap_exit(true);
            ctx.link(conn)?;
            ctx.monitor(conn)?;
        }
        Ok(())
    });
    let served = Served::start(Served::any(), (parent, watch));
    for clean in [true, false] {
        let stream = connect(served.addr());
        let conn = served.watch.connect();
        let outside = served.node.monitor(&conn).unwrap();
        if clean {
            drop(stream);
        } else {
            reset(stream);
        }
        let mut reasons = vec![outside.wait().reason];
        for _ in 0..2 {
            reasons.push(match served.watch.notice() {
                Notice::Down(down) => {
                    assert_eq!(down.target, Target::from(&conn));
                    down.reason
                }
                Notice::Exit(exit) => {
                    assert_eq!(exit.from, Target::from(&conn));
                    exit.reason
                }
                other => panic!("{other:?}"),
            });
        }
        for reason in reasons {
            assert_eq!(reason.is_clean(), clean, "{reason}");
        }
        let reason = served.watch.ended();
        assert_eq!(matches!(reason, DisconnectReason::PeerClosed), clean);
    }
    served.finish();
}

/// Not trapped, a link ends the process, and its other connections with it.
#[test]
fn a_process_linked_to_a_connection_ends_with_it() {
    let (parent, watch) = Probe::echo();
    let served = Served::start(Served::any(), (parent, watch));
    let (first, second) = (connect(served.addr()), connect(served.addr()));
    let conn = served.watch.connect();
    let linked = conn.clone();
    served.parent.ask(move |ctx| ctx.link(&linked)).unwrap();
    let ended = served.node.monitor(&served.parent).unwrap();
    let peer = conn.peer_addr();
    let (cut, other) = if first.local_addr().unwrap() == peer {
        (first, second)
    } else {
        (second, first)
    };
    reset(cut);
    let down = ended.wait();
    assert_eq!(down.reason.to_string(), DisconnectReason::Reset.to_string());
    read_to_end(&other);
    served.stop();
}

/// T-51: a pool would tear a connection's bytes apart, so it is refused when a server is started or
/// a connection made, and skipped if it has taken a worker's name since.
#[test]
fn a_pool_cannot_own_connections() {
    let node = Served::node(2);
    let ear = Watch::deaf();
    let pool = move || {
        let ear = ear.clone();
        Pool::new(2, move || ear.probe().echoing())
    };
    let named = |name: &str| SpawnOptions::new().name(name);
    node.spawn_with(pool(), named("pool")).unwrap();

    let refused = Served::any().process("pool");
    let (probe, hears) = Probe::new();
    let probe = probe.init(move |ctx| {
        let server = ctx.spawn_meta(refused).map(|_| ());
        assert!(matches!(&server, Err(ListenError::Forwarder(to)) if *to == "pool".into()));
        let connection = TcpConnection::open("127.0.0.1:1").process("pool");
        let connection = ctx.spawn_meta(connection).map(|_| ());
        assert!(matches!(connection, Err(ConnectError::Forwarder(_))));
        Ok(())
    });
    node.spawn(probe).unwrap();
    assert!(hears.try_next().is_none());

    let served = Served::start_on(node, Served::any().process("late"), Probe::echo());
    served.node.spawn_with(pool(), named("late")).unwrap();
    assert_eq!(ask(&connect(served.addr()), b"hi"), b"hi");
    served.watch.connect();
    served.stop();
}
