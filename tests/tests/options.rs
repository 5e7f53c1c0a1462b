//! Options as they reach the real sockets, seen from outside.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use socktree::{Keepalive, TcpConnection};
use socktree_tests::{Ask, Probe, Served, connect};

/// What `ss` says about sockets.
fn ss(options: &str, filter: &str) -> String {
    let mut command = Command::new("ss");
    command.arg(options).args(filter.split(' '));
    let output = command.output().expect("ss is there");
    assert!(output.status.success(), "{command:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn keepalive_on_both_kinds_of_connections() {
    let every = Keepalive::Every {
        idle: Duration::from_secs(77),
        interval: Duration::from_secs(5),
        count: 3,
    };
    for (keepalive, expected) in [
        (Keepalive::Off, None),
        (every, Some(["1min17sec", "1min16sec"])),
        // The system's own two hours.
        (Keepalive::OsDefault, Some(["120min", "119min"])),
    ] {
        let server = Served::any().tcp_keepalive(keepalive);
        let served = Served::start(server, Probe::new());
        let accepted = connect(served.addr());
        served.watch.connect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let made = served.parent.ask(move |ctx| {
            let to = TcpConnection::connect(addr).tcp_keepalive(keepalive);
            ctx.spawn_meta(to).expect("it listens")
        });
        served.watch.connect();
        let ours = [
            format!("sport = :{}", served.addr().port()),
            format!("dport = :{}", addr.port()),
        ];
        for filter in ours {
            let line = ss("-Htno", &format!("state established {filter}"));
            assert!(line.contains("127.0.0.1"), "no such socket: {filter}");
            let timer = line.split_once("timer:(keepalive,").map(|(_, rest)| rest);
            let right = match expected {
                None => timer.is_none(),
                Some(times) => {
                    timer.is_some_and(|timer| times.iter().any(|time| timer.starts_with(time)))
                }
            };
            assert!(right, "{expected:?}: {line}");
        }
        made.reset();
        drop((accepted, listener));
        served.finish();
    }
}

#[test]
fn the_backlog() {
    for (server, expected) in [(Served::any(), "1024"), (Served::any().backlog(17), "17")] {
        let served = Served::start(server, Probe::new());
        let line = ss("-Hltn", &format!("sport = :{}", served.addr().port()));
        // State, Recv-Q, and Send-Q, which is the backlog of a listening socket.
        assert_eq!(line.split_whitespace().nth(2), Some(expected), "{line}");
        served.finish();
    }
}

/// Names are looked up, and IPv6 is served like IPv4.
#[test]
fn names_and_both_families() {
    for endpoint in ["localhost:0", "[::1]:0"] {
        if TcpListener::bind(endpoint).is_err() {
            // A machine without IPv6.
            continue;
        }
        let server = socktree::TcpServer::bind(endpoint);
        let served = Served::start(server, Probe::echo());
        assert!(served.addr().ip().is_loopback());
        drop(connect(served.addr()));
        served.watch.disconnect();
        served.finish();
    }
}
