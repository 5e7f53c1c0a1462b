//! Whether small writes are held back, which nothing shows but the system call that says so.

use std::net::{TcpListener, TcpStream};

use socktree::TcpConnection;
use socktree_tests::{Ask, Probe, Served, Trace};

/// What was said to a socket while `make` made one.
fn said<T>(make: impl FnOnce() -> T) -> (T, Vec<String>) {
    let trace = Trace::start("setsockopt");
    let made = make();
    let calls = trace.finish();
    let value = |line: &str| {
        let (_, rest) = line.split_once("TCP_NODELAY, [")?;
        let (value, outcome) = rest.split_once(']')?;
        assert!(outcome.ends_with(" = 0"), "{line}");
        Some(value.to_owned())
    };
    (made, calls.lines().filter_map(value).collect())
}

/// They are not, on what is accepted as on what is made, unless that was asked for. The system holds
/// them back unless it is told.
#[test]
fn nodelay_on_both_kinds_of_connections() {
    let node = Served::node(1);
    let (probe, watch) = Probe::new();
    let owner = node.spawn(probe).unwrap();
    // Their ends would come between.
    let mut alive = Vec::new();
    for (option, on) in [(None, true), (Some(true), true), (Some(false), false)] {
        let server = Served::any();
        let server = match option {
            Some(on) => server.nodelay(on),
            None => server,
        };
        let (accepted, on_accepted) = said(|| {
            let server = owner.ask(|ctx| ctx.spawn_meta(server));
            let addr = server.expect("it listens").local_addr();
            // One of the kit would set the option itself.
            let stream = TcpStream::connect(addr).expect("it takes connections");
            (stream, watch.connect())
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = TcpConnection::connect(listener.local_addr().unwrap());
        let to = match option {
            Some(on) => to.nodelay(on),
            None => to,
        };
        let (made, on_made) = said(|| {
            let made = owner.ask(|ctx| ctx.spawn_meta(to)).expect("it listens");
            (made, watch.connect())
        });
        for said in [on_accepted, on_made] {
            let last = said.last().is_some_and(|value| value == "1");
            assert_eq!(last, on, "{option:?}: {said:?}");
        }
        alive.push((accepted, made, listener));
    }
    assert!(node.stop().unwrap().is_clean());
}
