//! A listener without descriptors, and another worker that has one to give. Alone in its file, and so
//! in its process, because the limit is the process's.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use socktree::{Address, DisconnectReason, SpawnOptions};
use socktree_tests::{Ask, DEADLINE, Probe, Process, Said, Served, connect, receive, until};

/// How often a descriptor becomes free.
const ROUNDS: usize = 8;

/// A starved listener tries again by itself after 10 ms, then 20, and so on up to a second. So after
/// two seconds it does so once in a second; and when it has had one it begins anew, and after this
/// long the next time is 280 ms away.
const STARVED: Duration = Duration::from_secs(2);
const STARVED_AGAIN: Duration = Duration::from_millis(350);

/// How soon a client that waits gets the descriptor: long beside two wake-ups, and before a timer.
const SOON: Duration = Duration::from_millis(200);

/// How often it may take longer, because somebody got no core. By the timer alone it would each time.
const LATE: usize = 2;

/// Takes all descriptors that are left.
fn exhaust() -> Vec<File> {
    let own = Process::new(std::process::id());
    // The limit is on numbers, and there may be gaps below it.
    let limit = u32::try_from(own.descriptors() + 16).expect("a few");
    own.allow_descriptors(limit);
    let open = || File::open("/dev/null").ok();
    std::iter::from_fn(open).collect()
}

/// A client that has its socket, and is not connected yet.
fn client() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let set = socket.set_read_timeout(Some(DEADLINE));
    set.expect("a live socket");
    socket
}

/// A01: what one worker closes, the listener of another takes at once. No event of the system tells
/// it, and each time its own timer comes later.
#[test]
fn a_descriptor_that_another_worker_frees_is_taken_at_once() {
    let node = socktree::node("tests@localhost").workers(2);
    let node = node.compaction(false).start().expect("a node");
    let mut served = Served::start_on(node, Served::any().process("owner"), Probe::new());
    let (owner, hears) = Probe::echo();
    let owner = served
        .node
        .spawn_with(owner, SpawnOptions::new().name("owner"));
    let owner = owner.expect("it starts");
    served.rebase();
    let worker = |address: &Address<Said>| address.ask(|ctx| ctx.worker().index());
    // They start on the workers in turn.
    assert_eq!([worker(&served.parent), worker(&owner)], [0, 1]);

    let first = connect(served.addr());
    let mut open = VecDeque::from([hears.connect()]);
    let waiting = [(); ROUNDS].map(|()| client());
    let taken = exhaust();
    let waiting = waiting.map(|client| {
        client.connect(&served.addr().into()).expect("it listens");
        TcpStream::from(client)
    });

    let (_silent, bell) = mpsc::channel::<()>();
    let mut starved = STARVED;
    let mut times = Vec::new();
    for mut client in &waiting {
        let _starved = bell.recv_timeout(starved);
        starved = STARVED_AGAIN;
        assert!(hears.try_next().is_none(), "there was a descriptor left");
        let freed = Instant::now();
        open.pop_front().expect("one is open").reset();
        let reason = hears.ended();
        assert!(matches!(reason, DisconnectReason::Aborted), "{reason:?}");
        open.push_back(hears.connect());
        times.push(freed.elapsed());
        client.write_all(b"ping").expect("the server reads");
        assert_eq!(receive(client, 4), b"ping");
        assert_eq!(hears.data(), "ping");
    }
    let late = times.iter().filter(|took| **took > SOON).count();
    assert!(late <= LATE, "{times:?}");
    drop((taken, first, waiting));
    until("all are over", || hears.all_over().then_some(()));
    served.finish();
}
