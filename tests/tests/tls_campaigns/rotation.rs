//! E09: a hundred replacements a second under as many full handshakes as the machine gives.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use socktree::{CertManager, ClientTls, ServeFor};
use socktree_tests::{Authority, Issued, Probe, Served, TlsPeer, reset};

use crate::lab::{Alone, is_long, report};

/// How many certificates take turns: more than can be replaced during one handshake, so that each
/// tells which replacement it was.
const POOL: usize = 256;

const EVERY: Duration = Duration::from_millis(10);

/// Certificates that take turns, and how far that has got.
struct Turns {
    pool: Vec<Issued>,
    begun: AtomicUsize,
    done: AtomicUsize,
}

impl Turns {
    /// Replaces until told to stop, and says by how much it was late at most.
    fn replace(&self, certs: &CertManager, length: Duration) -> Duration {
        let (_silent, bell) = channel::<()>();
        let began = Instant::now();
        let mut late = Duration::ZERO;
        while began.elapsed() < length {
            let next = self.done.load(Ordering::SeqCst) + 1;
            self.begun.store(next, Ordering::SeqCst);
            let identity = self.pool[next % POOL].identity();
            certs.replace(ServeFor::Default, identity).unwrap();
            self.done.store(next, Ordering::SeqCst);
            let due = began + EVERY * u32::try_from(next).unwrap();
            let now = Instant::now();
            late = late.max(now.saturating_duration_since(due));
            // Nobody rings: waiting for it is the pace.
            let pause = bell.recv_timeout(due.saturating_duration_since(now));
            assert_eq!(pause, Err(RecvTimeoutError::Timeout));
        }
        late
    }

    /// One full handshake. The certificate is one that was served between its begin and its end:
    /// nothing older than what was there when the ClientHello left.
    fn shake(&self, addr: SocketAddr, client: &ClientTls) {
        let oldest = self.done.load(Ordering::SeqCst);
        let mut peer = TlsPeer::connect(addr, client).expect("no handshake fails");
        let newest = self.begun.load(Ordering::SeqCst);
        assert!(newest - oldest < POOL, "a handshake took too long to tell");
        let info = peer.session.info().unwrap();
        let shown = info.peer_certificates[0].as_ref();
        let is_right = |turn: usize| self.pool[turn % POOL].der == shown;
        assert!((oldest..=newest).any(is_right), "{oldest} to {newest}");
        assert!(!info.resumed);
        peer.write(b"ping");
        assert_eq!(peer.read(4), b"ping");
        // No port is to wait for stragglers: tens of thousands of them are used up.
        reset(peer.stream);
    }
}

#[test]
fn certificates_are_replaced_under_load() {
    let _alone = Alone::begin();
    let length = Duration::from_secs(if is_long() { 60 } else { 2 });
    let authority = Authority::new();
    let turns = Turns {
        pool: (0..POOL)
            .map(|_| authority.certificate("localhost"))
            .collect(),
        begun: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
    };
    let builder = CertManager::builder();
    let first = builder.identity(ServeFor::Default, turns.pool[0].identity());
    let certs = first.build().unwrap();
    let served = Served::start(Served::any().tls(&certs), Probe::echo());
    let client = ClientTls::builder().roots(authority.roots());
    let client = client.resumption(false).build().unwrap();
    let (addr, handshakes) = (served.addr(), AtomicUsize::new(0));
    let began = Instant::now();
    let late = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while began.elapsed() < length {
                    turns.shake(addr, &client);
                    handshakes.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        turns.replace(&certs, length)
    });
    let (handshakes, replaced) = (handshakes.into_inner(), turns.done.into_inner());
    assert!(handshakes > 0 && replaced > 0);
    assert_eq!(served.server.handshakes(), handshakes as u64);
    assert_eq!(served.server.failed_handshakes(), []);
    report(&format!(
        "rotation: {replaced} replacements in {length:?}, the latest {late:?} late; \
         {handshakes} full handshakes, none failed, each saw a certificate of its time"
    ));
    served.finish();
}
