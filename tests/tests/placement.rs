//! Where a connection lives: on the worker of its owner, whoever accepted it.
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use socktree::TcpEvent;
use socktree::tcp::node_on;
use socktree_reactor::{Os, System, SystemStream};
use socktree_tests::{Ask, Hooks, Probe, Served, SystemWith, connect, receive};

/// Notes which thread reads from which peer.
#[derive(Clone, Debug, Default)]
struct Readers(Arc<Mutex<HashMap<SocketAddr, ThreadId>>>);

impl Readers {
    fn of(&self, peer: SocketAddr) -> Option<ThreadId> {
        let readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.get(&peer).copied()
    }
}

impl Hooks for Readers {
    fn read(&self, stream: &SystemStream, buf: &mut [u8]) -> io::Result<usize> {
        if let Ok(peer) = System.peer_addr(stream) {
            let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            readers.insert(peer, thread::current().id());
        }
        System.read(stream, buf)
    }
}

/// One listener, two owners on different workers: what is handled was read by the same thread.
#[test]
fn a_connection_lives_on_the_worker_of_its_owner() {
    let readers = Readers::default();
    let node = node_on("tests@localhost", SystemWith::new(readers.clone()));
    // A handler that gets no core for a while must not be given another thread.
    let node = node.workers(2).stuck_after(None).compaction(false);
    let node = node.start().expect("a node");
    let owners = [(); 2].map(|()| {
        let (probe, watch) = Probe::new();
        let readers = readers.clone();
        let probe = probe.on(move |_, event| {
            if let TcpEvent::Data { conn, data } = event {
                let reader = readers.of(conn.peer_addr());
                assert_eq!(reader, Some(thread::current().id()), "it was handed over");
                conn.write(data.clone());
            }
            Ok(())
        });
        (node.spawn(probe).expect("it starts"), watch)
    });
    let threads = [0, 1].map(|n: usize| owners[n].0.ask(|_| thread::current().id()));
    assert_ne!(threads[0], threads[1], "they start on the workers in turn");
    let server = Served::any().workers(owners.each_ref().map(|(owner, _)| owner.pid()));
    let served = Served::start_on(node, server, Probe::new());
    let streams: Vec<_> = (0..20).map(|_| connect(served.addr())).collect();
    for round in 0..10_u8 {
        for mut stream in &streams {
            stream.write_all(&[round]).expect("the server reads");
        }
        for stream in &streams {
            assert_eq!(receive(stream, 1), [round]);
        }
    }
    for (n, stream) in streams.iter().enumerate() {
        let peer = stream.local_addr().expect("a live socket");
        assert_eq!(readers.of(peer), Some(threads[n % 2]), "they take turns");
    }
    drop(streams);
    served.finish();
}
