//! What connections cost when nothing goes on, and when they are gone: no wake-up, and no memory that
//! grows with every wave of them.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use socktree_tests::{EchoServer, Process, connect, receive, until};

const CONNECTIONS: usize = 500;

/// How often they come and go between two looks at the memory, and what it may grow by.
const WAVES: usize = 4;
const NOTHING: u64 = 64 << 10;

/// Opens connections, each of which is served once.
fn open(server: &EchoServer) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(server.addr())).collect();
    for mut stream in &streams {
        stream.write_all(b"ping").expect("the server reads");
    }
    for stream in &streams {
        assert_eq!(receive(stream, 4), b"ping");
    }
    streams
}

/// Opens and closes them all, several times over.
fn waves(server: &EchoServer, waves: usize, descriptors: usize) -> u64 {
    for _ in 0..waves {
        drop(open(server));
        until("all descriptors closed", || {
            (server.process().descriptors() == descriptors).then_some(())
        });
    }
    server.process().memory()
}

#[test]
fn many_connections_wake_nobody_and_leave_nothing() {
    Process::new(std::process::id()).allow_descriptors(4096);
    let server = EchoServer::start(&["--threads", "2", "--workers", "2"]);
    let descriptors = server.process().descriptors();

    let streams = open(&server);
    let (_never, clock) = mpsc::channel::<()>();
    // The watchdog looks on for half a second, and spare threads wait for ten.
    let quiet = (0..30).any(|_| {
        let before = server.process().sleeps();
        let _a_second = clock.recv_timeout(Duration::from_secs(1));
        server.process().sleeps() == before
    });
    assert!(
        quiet,
        "there was no second without a wake-up in half a minute"
    );
    drop(streams);

    // What is set up once is set up, and pools are as large as they get.
    let mut before = waves(&server, 3, descriptors);
    let mut grown = Vec::new();
    // A thread more, because one got no core in time, is none of the connections' doing. What they
    // leave they leave every time.
    let kept = (0..5).all(|_| {
        let after = waves(&server, WAVES, descriptors);
        grown.push(after.saturating_sub(before));
        before = after;
        grown.last().is_some_and(|grown| *grown > NOTHING)
    });
    assert!(
        !kept,
        "{WAVES} times {CONNECTIONS} connections leave {grown:?} bytes"
    );
    server.stop();
}
