//! Outgoing connections: the outcome is told once, by the call or by an event, and nothing is left
//! of those that never came about (B10, T-06 of the fault lists).

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use socktree::{
    CallError, ConnectError, DisconnectReason, Endpoint, Reason, TcpConnection, TcpEvent, Written,
};
use socktree_tests::{Ask, DEADLINE, Notice, Probe, Served, free_port, until};

/// Connects as a call that waits.
fn connect(served: &Served, to: TcpConnection) -> Result<socktree::Conn, ConnectError> {
    served.parent.ask(move |ctx| ctx.spawn_meta(to))
}

fn failure(error: &ConnectError) -> DisconnectReason {
    let ConnectError::Failed { reason, .. } = error else {
        panic!("{error}");
    };
    reason.clone()
}

fn is_refused(reason: &DisconnectReason) -> bool {
    matches!(reason, DisconnectReason::Io(ErrorKind::ConnectionRefused))
}

/// A listener that nobody accepts from and whose backlog is full, so that attempts get no answer.
struct BlackHole {
    _listener: Socket,
    _inside: Vec<TcpStream>,
    addr: SocketAddr,
}

impl BlackHole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        listener.bind(&any.into()).expect("a port");
        listener.listen(0).expect("a bound socket");
        let addr = listener.local_addr().expect("a bound socket");
        let addr = addr.as_socket().expect("IPv4");
        let mut inside = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
            inside.push(stream);
        }
        Self {
            _listener: listener,
            _inside: inside,
            addr,
        }
    }
}

#[test]
fn a_connection_to_oneself_and_back() {
    let served = Served::start(Served::any(), Probe::echo());
    for endpoint in [
        Endpoint::from(served.addr()),
        Endpoint::from(("localhost", served.addr().port())),
    ] {
        let conn = connect(&served, TcpConnection::connect(endpoint)).expect("it listens");
        assert_eq!(conn.peer_addr(), served.addr());
        // Both ends are this process's; the echo would go to and fro for ever.
        let ends = [served.watch.connect(), served.watch.connect()];
        assert!(ends.contains(&conn));
        assert_eq!(ends[0].peer_addr(), ends[1].local_addr());
        conn.close();
        let reasons = [served.watch.disconnect(), served.watch.disconnect()];
        for (ended, reason) in reasons {
            let expected = if ended == conn {
                matches!(reason, DisconnectReason::Closed)
            } else {
                matches!(reason, DisconnectReason::PeerClosed)
            };
            assert!(expected, "{reason:?}");
        }
    }
    served.finish();
}

#[test]
fn nobody_listens() {
    let served = Served::start(Served::any(), Probe::new());
    let addr = free_port();
    for _ in 0..50 {
        let error = connect(&served, TcpConnection::connect(addr)).unwrap_err();
        assert!(is_refused(&failure(&error)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&addr.to_string()), "{text}");

        let conn = connect(&served, TcpConnection::open(addr)).expect("told later");
        let event = served.watch.next();
        let TcpEvent::ConnectFailed {
            conn: failed,
            reason,
        } = event
        else {
            panic!("{event:?}");
        };
        assert_eq!(failed, conn);
        assert!(is_refused(&reason), "{reason:?}");
        assert_eq!(conn.write("to nobody"), Written::Ended);
    }
    assert!(served.watch.try_next().is_none());
    served.finish();
}

/// What cannot be looked up, for want of a port, more often than names are looked up at a time.
#[test]
fn endpoints_that_lead_nowhere() {
    const ATTEMPTS: usize = 100;
    let served = Served::start(Served::any(), Probe::new());
    let error = connect(&served, TcpConnection::connect("nobody")).unwrap_err();
    assert!(
        matches!(failure(&error), DisconnectReason::Unresolved(_)),
        "{error}"
    );
    assert!(error.to_string().contains("nobody"), "{error}");
    served.parent.ask(|ctx| {
        for n in 0..ATTEMPTS {
            let to = TcpConnection::open(format!("nobody{n}"));
            ctx.spawn_meta(to).expect("told later");
        }
    });
    for _ in 0..ATTEMPTS {
        let event = served.watch.next();
        let TcpEvent::ConnectFailed { reason, .. } = &event else {
            panic!("{event:?}");
        };
        assert!(
            matches!(reason, DisconnectReason::Unresolved(_)),
            "{event:?}"
        );
    }
    served.finish();
}

/// Whoever gives up does not wait for the name: neither an owner that closes, nor one that ends,
/// nor a time limit that is over at once. The name does not exist (RFC 6761, 6.4), which is found
/// out soon, late or never, by the machine's resolver.
#[test]
fn a_lookup_holds_nobody_up() {
    let mut served = Served::start(Served::any(), Probe::new());
    for _ in 0..50 {
        let conn = served.parent.ask(|ctx| {
            let conn = ctx.spawn_meta(TcpConnection::open("nobody.invalid:7"));
            let conn = conn.expect("told later");
            conn.close();
            conn
        });
        let event = served.watch.next();
        let TcpEvent::ConnectFailed {
            conn: failed,
            reason,
        } = &event
        else {
            panic!("{event:?}");
        };
        assert_eq!(*failed, conn);
        assert!(
            matches!(
                reason,
                DisconnectReason::Closed | DisconnectReason::Unresolved(_)
            ),
            "{reason:?}"
        );
    }
    let at_once = TcpConnection::connect("nobody.invalid:7").connect_timeout(Duration::ZERO);
    let error = connect(&served, at_once).unwrap_err();
    assert!(
        matches!(failure(&error), DisconnectReason::ConnectTimeout),
        "{error}"
    );

    let (ending, _hears) = Probe::new();
    let ending = ending.init(|ctx| {
        for _ in 0..50 {
            ctx.spawn_meta(TcpConnection::open("nobody.invalid:7"))?;
        }
        Ok(())
    });
    let ending = served.node.spawn(ending).unwrap();
    let ended = served.node.monitor(&ending).unwrap();
    served.node.exit(&ending, Reason::Normal);
    ended.wait();
    served.rebase();
    served.finish();
}

/// T-06: no answer at all. The limit holds, and the worker goes on meanwhile.
#[test]
fn nobody_answers() {
    let hole = BlackHole::new();
    let limit = Duration::from_millis(300);
    let mut served = Served::start_on(Served::node(1), Served::any(), Probe::new());
    let (neighbour, _hears) = Probe::new();
    let neighbour = served.node.spawn(neighbour).unwrap();
    served.rebase();
    let to = TcpConnection::connect(hole.addr).connect_timeout(limit);
    let (tell, told) = mpsc::channel();
    let began = Instant::now();
    served.parent.tell(move |ctx| {
        tell.send(ctx.spawn_meta(to).map(|_| ()))?;
        Ok(())
    });
    // On the one worker that there is, while the other waits in its handler.
    neighbour.ask(|_| ());
    assert!(told.try_recv().is_err(), "the neighbour had to wait");
    let error = told.recv().unwrap().unwrap_err();
    let took = began.elapsed();
    assert!(
        matches!(failure(&error), DisconnectReason::ConnectTimeout),
        "{error}"
    );
    assert!(took >= limit && took < limit * 10, "{took:?}");

    let to = TcpConnection::open(hole.addr).connect_timeout(limit);
    connect(&served, to).expect("told later");
    let event = served.watch.next();
    assert!(
        matches!(
            event,
            TcpEvent::ConnectFailed {
                reason: DisconnectReason::ConnectTimeout,
                ..
            }
        ),
        "{event:?}"
    );
    served.finish();
}

/// The loop that has to make the connection is the one that would be stopped by waiting for it.
#[test]
fn without_a_spare_thread_nobody_waits() {
    let node = socktree::node("alone@localhost")
        .workers(1)
        .spare_threads(0);
    let node = node.start().unwrap();
    let served = Served::start_on(node, Served::any(), Probe::echo());
    let addr = served.addr();
    let error = connect(&served, TcpConnection::connect(addr)).unwrap_err();
    let ConnectError::NotAwaited(CallError::NoThread) = error else {
        panic!("{error:?}");
    };
    served.settle();
    connect(&served, TcpConnection::open(addr)).expect("told later");
    let first = served.watch.connect();
    let second = served.watch.connect();
    first.close();
    served.watch.disconnect();
    served.watch.disconnect();
    assert_ne!(first, second, "both ends are here");
    served.finish();
}

/// A process that waits for a connection hears that it is to end.
#[test]
fn whoever_waits_for_a_connection_can_be_ended() {
    let hole = BlackHole::new();
    let served = Served::start(Served::any(), Probe::new());
    let (waits, waits_watch) = Probe::new();
    let waits = served.node.spawn(waits).unwrap();
    let (tell, told) = mpsc::channel();
    let to = TcpConnection::connect(hole.addr).connect_timeout(Duration::from_secs(600));
    waits.tell(move |ctx| {
        tell.send(ctx.spawn_meta(to))?;
        Ok(())
    });
    until("an attempt", || {
        let info = served.node.process_info(waits.pid())?;
        (info.metas > 0).then_some(())
    });
    served.node.exit(waits.pid(), Reason::Shutdown);
    let outcome = told.recv_timeout(DEADLINE).expect("it is told");
    let Err(ConnectError::NotAwaited(CallError::Ending)) = outcome else {
        panic!("{outcome:?}");
    };
    let notice = waits_watch.notice();
    assert!(
        matches!(notice, Notice::Terminated(Reason::Shutdown)),
        "{notice:?}"
    );
    served.finish();
}

#[test]
fn names_that_lead_nowhere() {
    let served = Served::start(Served::any(), Probe::new());
    // The first is known to have no address (RFC 6761), the others are no addresses at all.
    for name in ["no-such-host.invalid:80", "localhost", "localhost:x", ""] {
        let error = connect(&served, TcpConnection::connect(name)).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        connect(&served, TcpConnection::open(name)).expect("told later");
        let event = served.watch.next();
        assert!(matches!(event, TcpEvent::ConnectFailed { .. }), "{event:?}");
    }
    served.finish();
}

/// What is written before there is a connection is sent when there is one, in order.
#[test]
fn writes_before_the_connection() {
    let mut served = Served::start(Served::any(), Probe::echo());
    let (peer, peer_watch) = Probe::new();
    let peer = served.node.spawn(peer).unwrap();
    served.rebase();
    for close in [false, true] {
        let addr = served.addr();
        let conn = peer.ask(move |ctx| {
            let conn = ctx
                .spawn_meta(TcpConnection::open(addr))
                .expect("told later");
            for word in ["one ", "two ", "three"] {
                assert_eq!(conn.write(word), Written::Queued);
            }
            conn
        });
        assert_eq!(peer_watch.connect(), conn);
        assert_eq!(peer_watch.bytes(13), b"one two three");
        if close {
            conn.close();
        } else {
            conn.reset();
        }
        peer_watch.disconnect();
        served.watch.disconnect();
    }
    served.finish();
}

/// Closed before it is there: everything written still arrives, and one end is told.
#[test]
fn closed_before_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let served = Served::start(Served::any(), Probe::new());
    served.parent.ask(move |ctx| {
        let conn = ctx
            .spawn_meta(TcpConnection::open(addr))
            .expect("told later");
        conn.write("hello and goodbye");
        conn.close();
        assert_eq!(conn.write("too late"), Written::Ended);
    });
    let (stream, _) = listener.accept().unwrap();
    let (bytes, error) = socktree_tests::read_to_end(&stream);
    assert_eq!((bytes, error), (b"hello and goodbye".to_vec(), None));
    drop(stream);
    served.watch.connect();
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    served.finish();
}

/// Given away, it belongs to the other; and it ends with either.
#[test]
fn a_connection_for_another_process() {
    let served = Served::start(Served::any(), Probe::echo());
    let (owner, hears) = Probe::new();
    let owner = served.node.spawn(owner).unwrap();
    let (addr, target) = (served.addr(), owner.pid());
    let spawner = served.node.spawn(Probe::new().0).unwrap();
    let conn = spawner.ask(move |ctx| {
        let to = TcpConnection::connect(addr).process(target);
        ctx.spawn_meta(to).expect("it listens")
    });
    assert_eq!(hears.connect(), conn);
    conn.write("hi");
    assert_eq!(hears.bytes(2), b"hi");
    served.node.exit(&spawner, Reason::Normal);
    let reason = hears.ended();
    assert!(matches!(reason, DisconnectReason::ParentDown), "{reason:?}");
    let nobody = served.parent.ask(move |ctx| {
        let to = TcpConnection::connect(addr).process("nobody");
        ctx.spawn_meta(to).map(|_| ())
    });
    assert!(matches!(nobody, Err(ConnectError::NoOwner)), "{nobody:?}");
    served.watch.disconnect();
    served.node.exit(&owner, Reason::Normal);
    until("both processes' end", || {
        (served.node.info().processes == 1).then_some(())
    });
    assert!(served.watch.all_over());
    served.stop();
}

/// An attempt ends with the process that made it, at once, and the node's stop does not wait for
/// its limit.
#[test]
fn an_attempt_ends_with_its_owner() {
    let hole = BlackHole::new();
    let served = Served::start(Served::any(), Probe::new());
    for clean in [true, false] {
        let open = TcpConnection::open(hole.addr);
        let conn = connect(&served, open).expect("told later");
        served.parent.ask({
            let conn = conn.clone();
            move |ctx| ctx.monitor(&conn).expect("it is under way")
        });
        let exit = if clean { Reason::Normal } else { Reason::Kill };
        served.node.exit(&conn, exit);
        assert!(matches!(served.watch.notice(), Notice::Down(_)));
        let event = served.watch.next();
        let TcpEvent::ConnectFailed { reason, .. } = event else {
            panic!("{event:?}");
        };
        let expected = match reason {
            DisconnectReason::Closed => clean,
            DisconnectReason::Aborted => !clean,
            _ => false,
        };
        assert!(expected, "{reason:?}");
    }
    let conn = connect(&served, TcpConnection::open(hole.addr)).expect("told later");
    let report = served.node.stop().unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.took < Duration::from_secs(5), "{report}");
    assert_eq!(conn.write("x"), Written::Ended);
}

/// What was written before had told the driver, and nobody told it of the reset.
#[test]
fn a_reset_behind_a_write_is_heard_while_connecting() {
    let hole = BlackHole::new();
    let served = Served::start(Served::any(), Probe::new());
    let to = TcpConnection::open(hole.addr).connect_timeout(Duration::from_secs(600));
    let conn = served.parent.ask(move |ctx| {
        let conn = ctx.spawn_meta(to).expect("told later");
        conn.write("hello");
        conn
    });
    // The driver has the attempt by now, and was told of the write.
    served.parent.ask(|_| ());
    conn.reset();
    let event = served.watch.next();
    let TcpEvent::ConnectFailed { reason, .. } = &event else {
        panic!("{event:?}");
    };
    assert!(matches!(reason, DisconnectReason::Aborted), "{reason:?}");
    served.finish();
}
