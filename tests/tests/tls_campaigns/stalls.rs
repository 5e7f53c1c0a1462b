//! E01: clients that stall in the handshake are gone at the deadline, and keep nobody out.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use socktree::tls::{PeerEnd, TlsSession};
use socktree::{CertManager, ClientTls};
use socktree_tests::{Ask, Authority, Probe, Served, TlsPeer, connect, read_to_end, until};

use crate::lab::{Alone, failures, is_long, report, scale};

/// A client that does not go on.
struct Staller {
    stream: TcpStream,
    /// What it sends, a byte at a time.
    trickle: Vec<u8>,
}

fn hello(client: &ClientTls) -> Vec<u8> {
    let session: TlsSession = client.session("localhost", Instant::now()).unwrap();
    session.output().to_vec()
}

impl Staller {
    /// Stalls in one of four ways.
    fn new(served: &Served, client: &ClientTls, number: usize) -> Self {
        let mut stream = connect(served.addr());
        let mut trickle = Vec::new();
        let hello = hello(client);
        match number % 4 {
            0 => {}
            1 => stream.write_all(&hello[..hello.len() / 2]).unwrap(),
            2 => trickle = hello,
            _ => {
                stream.write_all(&hello).unwrap();
                let mut answer = [0; 64];
                match stream.read(&mut answer) {
                    // The ServerHello, in a handshake record.
                    Ok(n) => assert!(n > 0 && answer[0] == 22, "{:?}", &answer[..n]),
                    // Others have crowded it out.
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                }
            }
        }
        Self { stream, trickle }
    }
}

/// An honest client among them; how long it took.
fn honest(served: &Served, client: &ClientTls) -> Duration {
    let began = Instant::now();
    let mut peer = TlsPeer::connect(served.addr(), client).expect("honest clients get in");
    peer.write(b"ping");
    assert_eq!(peer.read(4), b"ping");
    let took = began.elapsed();
    peer.finish();
    assert_eq!(peer.read_to_end(), (vec![], Ok(PeerEnd::Closed)));
    took
}

fn stall(what: &str, timeout: Duration, certs: &CertManager, client: &ClientTls, stallers: usize) {
    let mut alone = Alone::begin();
    alone.process().allow_descriptors(20_000);
    let served = Served::start(Served::any().tls(certs), Probe::echo());
    alone.started();
    honest(&served, client);
    alone.warmed_up();

    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut honest_ones = 0;
    let mut all = Vec::with_capacity(stallers);
    for number in 0..stallers {
        all.push(Staller::new(&served, client, number));
        if number % 50 == 49 {
            slowest = slowest.max(honest(&served, client));
            honest_ones += 1;
        }
    }
    let opened = began.elapsed();
    let under_way = certs.handshakes();

    // A byte each second, until all are gone, and honest clients all the while.
    let (over, is_over) = channel::<()>();
    let ended = thread::scope(|scope| {
        let tricklers = &all;
        scope.spawn(move || {
            let mut at = 0;
            let second = Duration::from_secs(1);
            while is_over.recv_timeout(second) == Err(RecvTimeoutError::Timeout) {
                for staller in tricklers {
                    if let Some(byte) = staller.trickle.get(at) {
                        // Those that are gone do not take it.
                        let _gone = (&staller.stream).write(&[*byte]);
                    }
                }
                at += 1;
            }
        });
        until("every staller is gone", || {
            slowest = slowest.max(honest(&served, client));
            honest_ones += 1;
            (failures(&served) == stallers as u64).then_some(())
        });
        let ended = began.elapsed();
        drop(over);
        ended
    });
    for staller in &all {
        let (_alert, _reset) = read_to_end(&staller.stream);
    }
    drop(all);
    let kept = alone.settle(&served, certs);
    let by_kind = served.server.failed_handshakes();
    assert!(
        by_kind
            .iter()
            .all(|(kind, _)| ["timed-out", "crowded-out"].contains(kind)),
        "{by_kind:?}"
    );
    report(&format!(
        "stalls, {what}: {stallers} opened in {opened:.1?}, {under_way} under way then, the last gone \
         {:.2?} after it came with {timeout:?} allowed; {by_kind:?}; {honest_ones} honest handshakes \
         meanwhile, the slowest {slowest:.1?}; {kept} KiB kept",
        ended.saturating_sub(opened),
    ));
    served.finish();
}

#[test]
fn stalled_handshakes_make_room_for_new_ones() {
    let authority = Authority::new();
    let (builder, client) = (authority.server(), authority.client());
    let (timeout, builder) = if is_long() {
        (Duration::from_secs(10), builder)
    } else {
        let timeout = Duration::from_secs(1);
        (
            timeout,
            builder.handshake_timeout(timeout).max_handshakes(32),
        )
    };
    let certs = builder.build().unwrap();
    stall(
        "default options",
        timeout,
        &certs,
        &client,
        scale(5_000, 200),
    );
}

#[test]
fn stalled_handshakes_end_at_the_deadline() {
    let authority = Authority::new();
    let timeout = Duration::from_secs(if is_long() { 10 } else { 2 });
    let builder = authority.server().handshake_timeout(timeout);
    let certs = builder.max_handshakes(10_000).build().unwrap();
    stall(
        "room for all",
        timeout,
        &certs,
        &authority.client(),
        scale(5_000, 200),
    );
}

/// Servers that share their certificates share the places for handshakes, and the oldest makes room
/// wherever it is.
#[test]
fn one_server_that_is_flooded_keeps_nobody_off_another() {
    let _alone = Alone::begin();
    let authority = Authority::new();
    let certs = authority.server().max_handshakes(8).build().unwrap();
    let server = Served::any().tls(&certs);
    let flooded = Served::start_on(Served::node(1), server, Probe::echo());
    // On the same worker, as places are made there.
    let (probe, watch) = Probe::echo();
    let parent = flooded.node.spawn(probe).unwrap();
    let again = Served::any().tls(&certs);
    let other = parent.ask(|ctx| ctx.spawn_meta(again)).unwrap();
    let silent: Vec<_> = (0..8).map(|_| connect(flooded.addr())).collect();
    until("all places are taken", || {
        (certs.handshakes() == 8).then_some(())
    });

    let mut peer = TlsPeer::connect(other.local_addr(), &authority.client()).unwrap();
    peer.write(b"ping");
    assert_eq!(peer.read(4), b"ping");
    assert_eq!(flooded.server.failed_handshakes(), [("crowded-out", 1)]);
    assert_eq!(other.failed_handshakes(), []);
    let (_nothing, _end) = read_to_end(&silent[0]);
    drop((silent, peer));
    watch.ended();
    until("the flood is over", || {
        (certs.handshakes() == 0).then_some(())
    });
    flooded.stop();
}
