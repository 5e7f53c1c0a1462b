//! Descriptors of this very process: alone in its file, so that no other test opens any (O1, O2,
//! A05, B06, B09, A14 of the fault list).

use std::fs;
use std::io::Write;

use socktree::{DisconnectReason, Reason, TcpConnection};
use socktree_tests::{
    Ask, Probe, Process, Random, Served, Watch, connect, read_to_end, receive, reset, until,
};

/// Three thousand connections, and for each one of eight ends.
fn end_in_every_way(served: &Served, hears: &Watch) {
    let mut random = Random::new(8);
    let mut streams = Vec::new();
    for round in 0..3000 {
        let stream = connect(served.addr());
        let conn = hears.connect();
        match random.below(8) {
            0 => drop(stream),
            1 => reset(stream),
            2 => conn.close(),
            3 => conn.reset(),
            4 => served.node.exit(&conn, Reason::Normal),
            5 => served.node.exit(&conn, Reason::Kill),
            6 => {
                let mut sender = &stream;
                sender.write_all(b"ping").expect("the server reads");
                assert_eq!(receive(&stream, 4), b"ping");
                drop(stream);
            }
            _ => {
                streams.push((stream, conn));
                // Their end comes later, a few at a time.
                if streams.len() < 10 && round < 2990 {
                    continue;
                }
                for (stream, conn) in streams.drain(..) {
                    conn.close();
                    read_to_end(&stream);
                    hears.disconnect();
                }
                continue;
            }
        }
        hears.disconnect();
    }
}

/// Ends of every kind, in a row and mixed, on two workers.
#[test]
fn every_kind_of_end_gives_everything_back() {
    let own = Process::new(std::process::id());
    let node = Served::node(2);
    let (worker, hears) = Probe::echo();
    let worker = node.spawn(worker).unwrap();
    let served = Served::start_on(node, Served::any().process(&worker), Probe::new());
    // One of each has been there: what is set up once is set up.
    drop(connect(served.addr()));
    hears.disconnect();
    until("the first is gone", || {
        (served.server.connections() == 0).then_some(())
    });
    let (descriptors, threads) = (own.descriptors(), own.threads());

    end_in_every_way(&served, &hears);

    // Outgoing ones that come about, and that do not.
    let (refused, addr) = (socktree_tests::free_port(), served.addr());
    for _ in 0..100 {
        let made = served.parent.ask(move |ctx| {
            assert!(ctx.spawn_meta(TcpConnection::connect(refused)).is_err());
            ctx.spawn_meta(TcpConnection::connect(addr))
        });
        served.watch.connect();
        made.expect("it listens").close();
        hears.disconnect();
        let reason = served.watch.ended();
        assert!(matches!(reason, DisconnectReason::Closed), "{reason:?}");
    }

    served.settle();
    until("all descriptors closed", || {
        (own.descriptors() == descriptors).then_some(())
    });
    // A spare ends by itself when it has not been needed for a while. On a busy machine some were:
    // a handler that gets no core looks like one that blocks.
    until("no thread is left behind", || {
        (own.threads() <= threads + 1).then_some(())
    });
    assert!(hears.all_over());

    // Stopped, the node holds nothing at all: neither sockets nor pollers nor wakers.
    served.stop();
    drop((worker, hears));
    let kinds = ["socket:", "anon_inode:[eventpoll]", "anon_inode:[eventfd]"];
    until("nothing of the node is left", || {
        let links = fs::read_dir("/proc/self/fd").expect("it is this process");
        let mut targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        let left = targets.any(|target| {
            let target = target.to_string_lossy();
            kinds.iter().any(|kind| target.starts_with(kind))
        });
        (!left).then_some(())
    });
}
