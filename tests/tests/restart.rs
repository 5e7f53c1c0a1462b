//! Servers on a fixed port: whoever is restarted finds it free, and whoever cannot have it is told
//! why (P-04, A12, A13, F05 of the fault lists).

use std::error::Error as _;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socktree::{
    Actor, Ctx, Flow, ListenError, Node, Pid, Reason, Restart, Source, SpawnError, Supervisor,
    TcpEvent, TcpServer,
};
use socktree_tests::{
    DEADLINE, Probe, Served, connect, connect_small, free_port, read_to_end, receive,
};

/// More than the system's buffers take from a server whose peer does not read.
const MUCH: usize = 8 << 20;

/// A port of the system's choice.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Listens on its port, and on demand says much, panics, or ends.
struct Fixed {
    /// The same for all that are started one after the other, once the first has bound it.
    addr: Arc<Mutex<SocketAddr>>,
    started: Sender<SocketAddr>,
}

impl Actor for Fixed {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let mut addr = self.addr.lock().expect("nobody panics in between");
        // A client that gets no core for long still finds everything there.
        let server = TcpServer::bind(*addr).linger(DEADLINE);
        *addr = ctx.spawn_meta(server)?.local_addr();
        self.started.send(*addr)?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        if let TcpEvent::Data { conn, data } = event {
            assert!(data != "panic", "as the client wanted");
            if data == "end" {
                return Err(Reason::Normal);
            }
            if data == "much" {
                conn.write(vec![b'm'; MUCH]);
            } else {
                conn.write(data);
            }
        }
        Ok(())
    }
}

/// A supervised child on this address, which tells where it listens each time that it is started.
fn supervised(
    node: &Node,
    addr: SocketAddr,
    restart: Restart,
) -> (mpsc::Receiver<SocketAddr>, Pid) {
    let (started, starts) = mpsc::channel();
    let addr = Arc::new(Mutex::new(addr));
    let make = move || Fixed {
        addr: Arc::clone(&addr),
        started: started.clone(),
    };
    let supervisor = Supervisor::one_for_one().restart(restart);
    let supervisor = node.spawn(supervisor.child("fixed", make));
    (starts, supervisor.expect("the port is free").pid())
}

/// P-04: the port is closed before the supervisor is told, so the restart can bind it, each time,
/// without a retry, and with connections open.
#[test]
fn p_04_a_server_that_panics_finds_its_port_free() {
    for workers in [1, 2] {
        let node = Served::node(workers);
        let (starts, supervisor) = supervised(&node, ANY, Restart::Transient);
        let ended = node.monitor(supervisor).unwrap();
        for round in 0..5 {
            let addr = starts.recv_timeout(DEADLINE).expect("it is started");
            let others: Vec<_> = (0..20).map(|_| connect(addr)).collect();
            for mut stream in &others {
                stream.write_all(b"ping").unwrap();
                assert_eq!(receive(stream, 4), b"ping");
            }
            let mut victim = connect(addr);
            victim.write_all(b"panic").unwrap();
            read_to_end(&victim);
            for stream in &others {
                let (rest, _) = read_to_end(stream);
                assert!(rest.is_empty(), "round {round}");
            }
        }
        let addr = starts.recv_timeout(DEADLINE);
        let addr = addr.expect("it is started again");
        let stream = connect(addr);
        let mut sender = &stream;
        sender.write_all(b"ping").unwrap();
        assert_eq!(receive(&stream, 4), b"ping");
        assert!(ended.wait_for(Duration::ZERO).is_none(), "no retry failed");
        drop(stream);
        assert!(node.stop().unwrap().is_clean());
    }
}

/// P-04: a child that ends in good order leaves connections behind, whose last bytes are still under way.
/// Nobody who is started on its port is in their way, or they in his.
#[test]
fn a_server_that_ends_finds_its_port_free_beside_connections_that_linger() {
    let node = Served::node(2);
    let (starts, supervisor) = supervised(&node, ANY, Restart::Permanent);
    let ended = node.monitor(supervisor).unwrap();
    let addr = starts.recv_timeout(DEADLINE).expect("it is started");
    for round in 0..5 {
        let lingering: Vec<_> = (0..3).map(|_| connect_small(addr)).collect();
        for mut slow in &lingering {
            slow.write_all(b"much").unwrap();
            assert_eq!(receive(slow, 1), b"m");
        }
        let mut last = connect(addr);
        last.write_all(b"end").unwrap();
        assert_eq!(read_to_end(&last), (Vec::new(), None), "round {round}");
        let again = starts.recv_timeout(DEADLINE);
        assert_eq!(again.expect("it is started again"), addr, "round {round}");
        let mut next = connect(addr);
        next.write_all(b"ping").unwrap();
        assert_eq!(receive(&next, 4), b"ping");
        // They have not ended before, and end as they would have.
        for slow in &lingering {
            let (rest, error) = read_to_end(slow);
            assert_eq!((rest.len(), error), (MUCH - 1, None), "round {round}");
        }
    }
    assert!(ended.wait_for(Duration::ZERO).is_none(), "no retry failed");
    assert!(node.stop().unwrap().is_clean());
}

/// F05: one crash too many ends the supervisor, and when that is told the port is free.
#[test]
fn a_supervisor_that_gives_up_leaves_the_port_free() {
    let node = Served::node(2);
    let (starts, supervisor) = supervised(&node, ANY, Restart::Transient);
    let ended = node.monitor(supervisor).unwrap();
    let mut addr = ANY;
    for _ in 0..6 {
        addr = starts.recv_timeout(DEADLINE).expect("it is started");
        let mut victim = connect(addr);
        victim.write_all(b"panic").unwrap();
        read_to_end(&victim);
    }
    let down = ended.wait_for(DEADLINE).expect("six are too many");
    assert!(
        matches!(down.reason, Reason::RestartsExceeded { .. }),
        "{down:?}"
    );
    let (again, _) = supervised(&node, addr, Restart::Transient);
    again.recv_timeout(DEADLINE).expect("the port is free");
    assert!(node.stop().unwrap().is_clean());
}

/// A12, T-01: a spawn that fails after it has bound the port has closed it when it returns.
#[test]
fn a_failed_spawn_leaves_the_port_free() {
    let node = Served::node(2);
    let addr = free_port();
    let before = node.info();
    for _ in 0..200 {
        let (probe, _watch) = Probe::new();
        let failing = probe.init(move |ctx| {
            ctx.spawn_meta(TcpServer::bind(addr))?;
            Err(Reason::error("after the port was bound"))
        });
        let error = node.spawn(failing).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("after the port was bound"), "{text}");
        drop(TcpListener::bind(addr).expect("the port is free"));
    }
    // One that is never spawned has never held it.
    let unspawned = TcpServer::bind(addr);
    drop(TcpListener::bind(addr).expect("the port is free"));
    drop(unspawned);
    assert_eq!(node.info(), before);
    assert!(node.stop().unwrap().is_clean());
}

fn listen_error(node: &Node, server: TcpServer) -> (ErrorKind, String) {
    let (tell, told) = mpsc::channel();
    let (probe, _watch) = Probe::new();
    let probe = probe.init(move |ctx| {
        let error = ctx.spawn_meta(server).expect_err("it cannot be bound");
        let text = error.to_string();
        // A reason shows the causes as well: none may be in there twice.
        assert!(error.source().is_none(), "{text}");
        let ListenError::Io { error, .. } = error else {
            panic!("{text}");
        };
        tell.send((error.kind(), text))?;
        Err(Reason::Normal)
    });
    let spawned = node.spawn(probe).map(|_| ());
    assert!(matches!(spawned, Err(SpawnError::Init(Reason::Normal))));
    told.recv_timeout(DEADLINE).expect("an error")
}

/// A13: why a port cannot be had is typed, names the address, and leaves nothing behind.
#[test]
fn bind_errors_say_what_and_why() {
    let node = Served::node(2);
    let before = node.info();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    for _ in 0..100 {
        let (kind, text) = listen_error(&node, TcpServer::bind(addr));
        assert_eq!(kind, ErrorKind::AddrInUse);
        assert!(text.contains(&addr.to_string()), "{text}");
        // TEST-NET-1 (RFC 5737) is nobody's.
        let (kind, text) = listen_error(&node, TcpServer::bind("192.0.2.1:7171"));
        assert_eq!(kind, ErrorKind::AddrNotAvailable);
        assert!(text.contains("192.0.2.1:7171"), "{text}");
    }
    let (_, text) = listen_error(&node, TcpServer::bind("localhost:no-port"));
    assert!(text.contains("localhost:no-port"), "{text}");
    assert_eq!(node.info(), before);
    drop(taken);
    assert!(node.stop().unwrap().is_clean());
}

/// Two of our own servers are told so as well, and the first is unharmed.
#[test]
fn the_second_server_on_a_port_is_refused() {
    let served = Served::start(Served::any(), Probe::echo());
    let (kind, _) = listen_error(&served.node, TcpServer::bind(served.addr()));
    assert_eq!(kind, ErrorKind::AddrInUse);
    let stream = connect(served.addr());
    let mut sender = &stream;
    sender.write_all(b"ping").unwrap();
    assert_eq!(receive(&stream, 4), b"ping");
    drop(stream);
    served.finish();
}

/// M-03: connections that arrive while the parent ends are closed like all others.
#[test]
fn m_03_a_storm_of_connections_while_the_parent_ends() {
    for _ in 0..10 {
        let served = Served::start(Served::any(), Probe::echo());
        let addr = served.addr();
        std::thread::scope(|scope| {
            let storm = scope.spawn(move || {
                let mut streams = Vec::new();
                while let Ok(stream) = TcpStream::connect(addr) {
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    streams.push(stream);
                }
                streams
            });
            for _ in 0..20 {
                served.watch.connect();
            }
            served.node.exit(&served.parent, Reason::Kill);
            for mut stream in storm.join().unwrap() {
                // The system may have dropped one while it was made, and tells its client only
                // when that sends something.
                let _gone = stream.write_all(b"anybody?");
                read_to_end(&stream);
            }
        });
        socktree_tests::until("no alias left", || {
            (served.node.info().aliases == 0).then_some(())
        });
        served.stop();
    }
}
