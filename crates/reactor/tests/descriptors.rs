//! Running out of descriptors on the real system. Alone in its file, and so in its process,
//! because the limit is the process's.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use socktree_reactor::{Event, ListenOptions, Os, Reactor, System};

/// Sets the limit with util-linux's program: the call itself would take unsafe code.
fn limit_descriptors(limit: usize) -> bool {
    let pid = std::process::id().to_string();
    Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={limit}:")])
        .status()
        .is_ok_and(|status| status.success())
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A01 against the kernel: no event ever announces that there are descriptors again.
#[test]
fn an_exhausted_listener_recovers_within_a_turn_of_its_own_close() {
    const CLIENTS: usize = 20;
    let mut reactor = Reactor::<_, (), ()>::new(System).unwrap();
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = reactor.bind(any, &ListenOptions::default(), ()).unwrap();
    let addr = {
        let source = reactor.source(listener).unwrap();
        System.listener_addr(source.io.listener().unwrap()).unwrap()
    };
    // The clients need descriptors themselves, so they come first; the kernel completes
    // their connections without us.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(addr).unwrap())
        .collect();
    if !limit_descriptors(open_descriptors() + 4) {
        // No prlimit(1) here; the simulation has the same test.
        return;
    }
    let mut tokens = Vec::new();
    let turn = |reactor: &mut Reactor<System, (), ()>, tokens: &mut Vec<_>| {
        let until = reactor.after(Duration::from_millis(5));
        reactor.poll(until, || true).unwrap();
        while let Some(event) = reactor.next_event() {
            if let Event::Accepted { stream, .. } = event {
                tokens.push(reactor.adopt(stream, ()).unwrap());
            }
        }
    };
    while reactor.stats().accept_pauses == 0 {
        turn(&mut reactor, &mut tokens);
    }
    // Not known exactly: the limit is on numbers, and a parent may have left us high ones.
    let room = tokens.len();
    assert!((1..CLIENTS).contains(&room), "{room}");
    let started = Instant::now();
    let mut served = room;
    while served < CLIENTS {
        reactor.remove(tokens.remove(0)).unwrap();
        let before = tokens.len();
        turn(&mut reactor, &mut tokens);
        served += tokens.len() - before;
        assert_eq!(
            tokens.len(),
            room,
            "one was closed, so one is accepted at once"
        );
    }
    // Pauses of 10 ms and more for each would be visible.
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
    drop(clients);
}
