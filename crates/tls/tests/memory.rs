//! What a session owns and allocates, counted.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests; a session needs some time to begin with"
)]

#[path = "kit/kit.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod kit;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use socktree_tls::{CertManager, ClientTls, TlsSession};

use crate::kit::{Ca, Pair, VERSIONS, give, output, providers};

/// Counts what this thread allocates and holds, so that tests may run beside each other.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; only counters are touched besides.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        HELD.with(|held| held.set(held.get() + layout.size().cast_signed()));
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - layout.size().cast_signed()));
        // SAFETY: the caller vouches that `place` was allocated here with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn held() -> isize {
    HELD.with(Cell::get)
}

fn count<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = COUNT.with(Cell::get);
    let result = act();
    (result, COUNT.with(Cell::get) - before)
}

/// The server's side of a connection that has been used and is idle.
fn idle(certs: &CertManager, tls: &ClientTls) -> TlsSession {
    let mut pair = Pair::open(certs, tls);
    pair.client.write(&[7; 3000]).unwrap();
    pair.settle().unwrap();
    pair.server.write(&[7; 3000]).unwrap();
    pair.settle().unwrap();
    pair.server
}

/// The bar is 9 KB for a connection in all, of which TCP takes half a KiB.
#[test]
fn an_idle_session_holds_less_than_five_kibibytes() {
    for provider in providers() {
        for versions in VERSIONS {
            let ca = Ca::new("ca");
            let certs = ca.server().provider(provider).versions(versions);
            let certs = certs.build().unwrap();
            let tls = ca
                .client()
                .provider(provider)
                .resumption(false)
                .build()
                .unwrap();
            drop(idle(&certs, &tls)); // whatever is made once
            let mut sessions = Vec::with_capacity(50);
            let before = held();
            for _ in 0..50 {
                sessions.push(idle(&certs, &tls));
            }
            let each = (held() - before) / 50 + size_of::<TlsSession>().cast_signed();
            assert!(each < 5 * 1024, "{provider:?} {versions:?}: {each}");
            assert!(each > 1024, "counts nothing");
        }
    }
}

/// The size of the session itself, which every connection carries.
#[test]
fn a_session_is_small() {
    assert!(
        size_of::<TlsSession>() <= 256,
        "{}",
        size_of::<TlsSession>()
    );
}

/// E01: a client that connects and says nothing.
#[test]
fn a_silent_client_costs_next_to_nothing() {
    let ca = Ca::new("ca");
    let certs = ca.server().build().unwrap();
    let mut sessions = Vec::with_capacity(100);
    let before = held();
    for _ in 0..100 {
        sessions.push(certs.session(Instant::now()).unwrap());
    }
    assert!((held() - before) / 100 < 200, "{}", (held() - before) / 100);
}

/// Nothing is left of sessions that are gone, however they ended.
#[test]
fn nothing_is_left_behind() {
    let ca = Ca::new("ca");
    let certs = ca.server().build().unwrap();
    let tls = ca.client().resumption(false).build().unwrap();
    drop(idle(&certs, &tls));
    let before = held();
    for cut in 0..20 {
        let mut pair = Pair::new(&certs, &tls);
        let mut hello = output(&mut pair.client);
        hello.truncate(hello.len() * cut / 20);
        give(&mut pair.server, &hello, 7, &mut Vec::new()).unwrap();
        let mut broken = idle(&certs, &tls);
        broken
            .receive(&mut [23, 3, 3, 0, 1, 0], &mut [0])
            .unwrap_err();
    }
    assert_eq!(held(), before);
    assert_eq!(certs.handshakes(), 0);
}

/// One record in and one out: rustls' two, and for a large one what the ciphertext waits in. That of a
/// small one is kept.
#[test]
fn a_round_trip_allocates_twice() {
    let ca = Ca::new("ca");
    let mut pair = Pair::open(&ca.server().build().unwrap(), &ca.client().build().unwrap());
    for (len, expected) in [(64, 2), (16 * 1024, 3)] {
        let mut plain = vec![0; 32 * 1024];
        for round in 0..3 {
            pair.client.write(&vec![7; len]).unwrap();
            let mut sealed = output(&mut pair.client);
            let ((), allocations) = count(|| {
                let n = pair.server.receive(&mut sealed, &mut plain).unwrap();
                assert_eq!(pair.server.write(&plain[..n]), Ok(len));
                let n = pair.server.output().len();
                pair.server.sent(n);
            });
            // The first one makes a queue that stays.
            assert!(
                allocations == expected || round == 0,
                "{len}: {allocations}"
            );
        }
    }
}
