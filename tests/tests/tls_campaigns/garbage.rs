//! E02: what is no handshake ends cleanly, however much of it comes.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use socktree::tls::PeerEnd;
use socktree::{CertManager, ClientTls};
use socktree_tests::{
    Authority, Probe, Random, Served, TlsPeer, connect, read_to_end, reset, until,
};

use crate::lab::{Alone, failures, report, scale};

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Bytes that make no handshake.
fn garbage(random: &mut Random, client: &ClientTls) -> Vec<u8> {
    let session = client.session("localhost", Instant::now()).unwrap();
    let mut hello = session.output().to_vec();
    match random.below(7) {
        // Anything at all.
        0 => {
            let len = random.below(700);
            random.bytes(len)
        }
        1 => HTTP[..random.below(HTTP.len() + 1)].to_vec(),
        // A ClientHello that stops.
        2 => {
            hello.truncate(random.below(hello.len()));
            hello
        }
        // One with a byte that is not as it was, and then nothing.
        3 => {
            let at = random.below(hello.len());
            hello[at] ^= 1 << random.below(8);
            hello
        }
        // A record of some kind and length that it does not have.
        4 => {
            let len = random.below(64);
            let mut record = vec![20 + random.below(5).to_le_bytes()[0], 3, 3];
            record.extend(random.bytes(len));
            record
        }
        // A right one, and then anything.
        5 => {
            let len = 1 + random.below(200);
            hello.extend(random.bytes(len));
            hello
        }
        // The same one twice.
        _ => hello.repeat(2),
    }
}

fn throw(addr: SocketAddr, client: &ClientTls, seed: u64) {
    let mut random = Random::new(seed);
    let bytes = garbage(&mut random, client);
    let mut stream = connect(addr);
    // A server that has seen enough does not take the rest.
    let taken = stream.write_all(&bytes);
    if random.below(8) == 0 {
        return reset(stream);
    }
    if taken.is_ok() {
        let _gone = stream.shutdown(Shutdown::Write);
    }
    let (alert, _reset) = read_to_end(&stream);
    assert!(
        alert.is_empty() || alert[0] == 21 || alert[0] == 22,
        "seed {seed}: neither an alert nor a flight: {:?}",
        &alert[..alert.len().min(16)]
    );
    // No port is to wait for stragglers: a hundred thousand are used up.
    reset(stream);
}

#[test]
fn garbage_ends_cleanly() {
    let mut alone = Alone::begin();
    let authority = Authority::new();
    let (certs, client): (CertManager, _) = (authority.certs(), authority.client());
    let served = Served::start(Served::any().tls(&certs), Probe::echo());
    alone.started();
    let addr = served.addr();
    let warm = 1_000.min(scale(1_000, 100));
    for seed in 0..warm {
        throw(addr, &client, seed as u64);
    }
    until("all warming up has failed", || {
        (failures(&served) == warm as u64).then_some(())
    });
    alone.warmed_up();

    let total = scale(100_000, 1_500);
    let next = AtomicUsize::new(warm);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= warm + total {
                        return;
                    }
                    throw(addr, &client, seed as u64);
                }
            });
        }
    });
    let took = began.elapsed();
    until("each has failed", || {
        (failures(&served) == (warm + total) as u64).then_some(())
    });
    assert_eq!(served.server.handshakes(), 0);
    let kept = alone.settle(&served, &certs);
    let by_kind = served.server.failed_handshakes();
    // It goes on as if nothing had been.
    let mut peer = TlsPeer::connect(served.addr(), &client).unwrap();
    peer.write(b"ping");
    assert_eq!(peer.read(4), b"ping");
    peer.finish();
    assert_eq!(peer.read_to_end(), (vec![], Ok(PeerEnd::Closed)));
    report(&format!(
        "garbage: {total} connections in {took:.1?}; {by_kind:?}; descriptors, aliases and timers as \
         before, {kept} KiB more memory in the whole process"
    ));
    assert!(kept < 16 << 10, "{kept} KiB were kept");
    served.finish();
}
