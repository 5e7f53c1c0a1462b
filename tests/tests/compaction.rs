//! Workers that share a thread, under connections: nothing is lost, and nothing waits for an event
//! that does not come.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socktree_tests::{
    Ask, Crowded, Hooks, Probe, Random, Served, SystemWith, connect, receive, until,
};

/// How often a worker has moved in with another, or out.
static MOVES: AtomicUsize = AtomicUsize::new(0);

/// A crowded machine that counts this.
#[derive(Clone, Copy)]
struct Counted;

impl Hooks for Counted {
    fn yield_core(&self) {
        Crowded.yield_core();
    }

    fn moved(&self) {
        MOVES.fetch_add(1, Ordering::Relaxed);
    }
}

/// One question after the other, each of which has to be answered in full and right.
fn converse(addr: SocketAddr, seed: u64, enough: &AtomicBool) -> u32 {
    let mut random = Random::new(seed);
    let pattern: Vec<u8> = (0..=u8::MAX).cycle().take(61_000).collect();
    let stream = connect(addr);
    let mut rounds = 0;
    while !enough.load(Ordering::Relaxed) || rounds < 200 {
        // Most are small; the large ones take more than one turn of a worker.
        let most = if random.below(4) == 0 { 60_000 } else { 100 };
        let length = random.below(most) + 1;
        let sent = &pattern[random.below(256)..][..length];
        let mut sender = &stream;
        sender.write_all(sent).expect("the server reads");
        assert!(receive(&stream, length) == sent, "round {rounds}");
        rounds += 1;
    }
    rounds
}

#[test]
fn connections_of_workers_that_share_a_thread_lose_nothing() {
    let node = socktree::tcp::node_on("tests@localhost", SystemWith::new(Counted)).workers(2);
    let node = node.start().expect("a node");
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (probe, watch) = Probe::echo();
            (node.spawn(probe).expect("it starts"), watch)
        })
        .collect();
    let worker = |n: usize| workers[n].0.ask(|ctx| ctx.worker());
    assert_ne!(worker(0), worker(1), "they start in turn");
    let server = Served::any().workers([workers[0].0.pid(), workers[1].0.pid()]);
    let served = Served::start_on(node, server, Probe::new());
    let enough = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|seed| {
            let (addr, enough) = (served.addr(), Arc::clone(&enough));
            thread::spawn(move || converse(addr, seed, &enough))
        })
        .collect();
    // A few times in and out. Each is tried, and kept only if it pays, for a moment or for long, so it
    // is counted where it cannot be missed. Once is enough on a machine so busy that the loops keep from
    // offering their core, and with it from seeing that others want it.
    let began = Instant::now();
    until("workers that move", || {
        let moves = MOVES.load(Ordering::Relaxed);
        let patience = began.elapsed() > Duration::from_secs(5);
        (moves >= 4 || moves >= 2 && patience).then_some(())
    });
    enough.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().expect("every byte came back") >= 200);
    }
    served.finish();
}
