//! An echo server over real loopback sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/echo.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;

use socktree_reactor::{ListenOptions, Os, System};

use support::{Command, Echo, EchoServer};

#[test]
fn every_byte_comes_back() {
    let mut server = EchoServer::new(System, 16 * 1024);
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = server
        .reactor
        .bind(any, &ListenOptions::default(), Echo::default())
        .unwrap();
    let source = server.reactor.source(listener).unwrap();
    let addr = System.listener_addr(source.io.listener().unwrap()).unwrap();
    let remote = server.reactor.remote();
    let server = thread::spawn(move || {
        while server.turn(None) {}
        server
    });
    let clients: Vec<_> = (0..8u8)
        .map(|id| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(addr).unwrap();
                // More than both socket buffers hold, so that writes are cut short (H02).
                let sent: Vec<u8> = (0..8_000_000u32).map(|i| (i % 251) as u8 ^ id).collect();
                let mut writing = stream.try_clone().unwrap();
                let expected = sent.clone();
                let writer = thread::spawn(move || {
                    writing.write_all(&sent).unwrap();
                    writing.shutdown(Shutdown::Write).unwrap();
                });
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                writer.join().unwrap();
                assert!(received == expected, "bytes differ");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    remote.post(Command::Stop).unwrap();
    let server = server.join().unwrap();
    let stats = server.reactor.stats();
    assert_eq!(stats.accepted, 8);
    assert_eq!(stats.sources, 1, "only the listener is left");
    assert_eq!(server.resets, 0);
}
