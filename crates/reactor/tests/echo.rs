//! An echo server over real loopback sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;

use socktree_reactor::{
    Event, ListenOptions, Os, Reactor, ReadOutcome, System, Token, WriteOutcome,
};

/// What a connection still owes its peer.
#[derive(Default)]
struct Echo {
    pending: Vec<u8>,
    ended: bool,
}

#[derive(Debug)]
enum Command {
    Stop,
}

type Loop = Reactor<System, Echo, Command>;

fn serve(mut reactor: Loop) -> Loop {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        reactor.poll(None, || true).unwrap();
        while let Some(event) = reactor.next_event() {
            match event {
                Event::Command(Command::Stop) => return reactor,
                Event::Accepted { stream, .. } => {
                    reactor.adopt(stream, Echo::default()).unwrap();
                }
                Event::Readable(token) => {
                    let mut source = reactor.source(token).unwrap();
                    match source.io.read(&mut buffer).unwrap() {
                        ReadOutcome::Data(n) => {
                            source.data.pending.extend_from_slice(&buffer[..n]);
                        }
                        ReadOutcome::Eof => source.data.ended = true,
                        ReadOutcome::WouldBlock => {}
                    }
                    flush(&mut reactor, token);
                }
                Event::Writable(token) => flush(&mut reactor, token),
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

fn flush(reactor: &mut Loop, token: Token) {
    let mut source = reactor.source(token).unwrap();
    if !source.data.pending.is_empty() {
        // Never more than is owed already: the peer is slowed down by its own echo.
        source.io.pause_read();
        match source.io.write(&source.data.pending).unwrap() {
            WriteOutcome::Written(n) => drop(source.data.pending.drain(..n)),
            WriteOutcome::WouldBlock => {}
        }
    }
    if source.data.pending.is_empty() {
        source.io.resume_read();
        if source.data.ended {
            reactor.remove(token);
        }
    }
}

fn start() -> (
    thread::JoinHandle<Loop>,
    socktree_reactor::Remote<Command>,
    SocketAddr,
) {
    let mut reactor = Loop::new(System).unwrap();
    let listener = System
        .listen((Ipv4Addr::LOCALHOST, 0).into(), &ListenOptions::default())
        .unwrap();
    let addr = System.listener_addr(&listener).unwrap();
    reactor.listen(listener, Echo::default()).unwrap();
    let remote = reactor.remote();
    (thread::spawn(move || serve(reactor)), remote, addr)
}

#[test]
fn every_byte_comes_back() {
    let (server, remote, addr) = start();
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
    let reactor = server.join().unwrap();
    let stats = reactor.stats();
    assert_eq!(stats.accepted, 8);
    assert_eq!(stats.sources, 1, "only the listener is left");
}
