//! The laws themselves. Bytes are turned into calls; the order in which they come is the input.

use std::sync::OnceLock;
use std::time::Instant;

use socktree_tls::{CertManager, ClientTls, PeerEnd, TlsError, TlsSession, Versions};

use crate::kit::Ca;

const LIMIT: usize = 20 * 1024;

struct Peers {
    certs: [CertManager; 2],
    tls: ClientTls,
}

/// Made once: keys take longer than anything that is checked here.
fn peers() -> &'static Peers {
    static PEERS: OnceLock<Peers> = OnceLock::new();
    PEERS.get_or_init(|| {
        let ca = Ca::new("ca");
        let certs = [Versions::Tls13, Versions::Tls12].map(|versions| {
            let server = ca.server().versions(versions).buffer_limit(LIMIT);
            server.build().unwrap()
        });
        let tls = ca.client().buffer_limit(LIMIT).build().unwrap();
        Peers { certs, tls }
    })
}

/// A server that is sent anything: the first byte says how it is cut.
pub(crate) fn server(bytes: &[u8]) {
    let (how, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let certs = &peers().certs[usize::from(how & 1)];
    stranger(certs.session(Instant::now()).unwrap(), *how, bytes);
}

/// The same for a client.
pub(crate) fn client(bytes: &[u8]) {
    let (how, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let session = peers().tls.session("localhost", Instant::now()).unwrap();
    stranger(session, *how, bytes);
}

fn stranger(mut session: TlsSession, how: u8, bytes: &[u8]) {
    let cut = usize::from(how >> 1) + 1;
    let mut failed = None;
    for piece in bytes.chunks(cut) {
        let mut piece = piece.to_vec();
        let mut plain = [0; 64];
        let before = session.output().len();
        match session.receive(&mut piece, &mut plain) {
            Ok(n) => {
                assert_eq!(n, 0, "plaintext without a key");
                assert_eq!(failed, None, "a failed session lives again");
            }
            Err(error) => {
                assert!(failed.as_ref().is_none_or(|first| *first == error));
                failed = Some(error);
            }
        }
        assert!(!session.has_more());
        assert!(session.room() <= LIMIT && session.output().len() < before + 8192);
    }
    let end = session.receive_eof().unwrap_err();
    assert_eq!(end, failed.unwrap_or(TlsError::Abandoned));
    assert!(session.info().is_none() && session.peer_end().is_none() && !session.wants_read());
}

/// One direction: what was said, what is on its way, what has arrived.
#[derive(Default)]
struct Way {
    said: Vec<u8>,
    transit: Vec<u8>,
    heard: Vec<u8>,
    closed: bool,
    changed: bool,
    /// How often keys were updated.
    updates: usize,
}

/// More than 32 updates of keys with no data in between are a flood, and those of one side are
/// answered by the other.
const MOST_UPDATES: usize = 16;

/// Two sides that talk in any order, cut in any way; and perhaps somebody changes a byte.
///
/// What arrives is always the beginning of what was said. If nobody interferes, it is all of it.
pub(crate) fn conversation(bytes: &[u8]) {
    let (how, orders) = bytes.split_first().unwrap_or((&0, &[]));
    let certs = &peers().certs[usize::from(how & 1)];
    let now = Instant::now();
    let mut sides = [
        peers().tls.session("localhost", now).unwrap(),
        certs.session(now).unwrap(),
    ];
    let mut ways = [Way::default(), Way::default()];
    let mut orders = orders.iter().copied();
    while let Some(order) = orders.next() {
        let amount = usize::from(orders.next().unwrap_or(0));
        let from = usize::from(order & 1);
        obey(order >> 1, amount, from, &mut sides, &mut ways);
        for (side, way) in sides.iter().zip([1, 0]) {
            let way: &Way = &ways[way];
            assert!(side.output().len() <= LIMIT + 20 * 1024);
            assert!(way.said.starts_with(&way.heard), "something else arrived");
        }
    }
    finish(&mut sides, &mut ways);
}

fn obey(order: u8, amount: usize, from: usize, sides: &mut [TlsSession; 2], ways: &mut [Way; 2]) {
    let way = &mut ways[from];
    match order % 8 {
        0 => {
            // Numbers that say where they belong.
            let len = amount * amount / 4;
            let start = way.said.len();
            let data: Vec<u8> = (0..249).cycle().skip(start % 249).take(len).collect();
            let taken = sides[from].write(&data).unwrap_or(0);
            assert!(!way.closed || taken == 0);
            way.said.extend_from_slice(&data[..taken]);
        }
        1 | 2 => send(&mut sides[from], way, amount),
        3 | 4 => arrive(&mut sides[1 - from], way, amount * amount, amount),
        5 => read(&mut sides[1 - from], way, amount),
        6 if amount < 8 => {
            let side = &mut sides[from];
            way.closed |= !side.is_handshaking() && side.close().is_ok();
        }
        6 if amount > 250 => {
            if let Some(byte) = way.transit.last_mut() {
                *byte ^= 1;
                way.changed = true;
            }
        }
        7 if way.updates < MOST_UPDATES => {
            way.updates += 1;
            let _ = sides[from].update_keys();
        }
        _ => {}
    }
}

fn send(side: &mut TlsSession, way: &mut Way, most: usize) {
    let n = side.output().len().min(most * 16 + 1);
    way.transit.extend_from_slice(&side.output()[..n]);
    side.sent(n);
}

fn arrive(to: &mut TlsSession, way: &mut Way, most: usize, room: usize) {
    let n = way.transit.len().min(most + 1).min(to.room());
    if !to.wants_read() {
        return read(to, way, room);
    }
    let mut piece: Vec<u8> = way.transit.drain(..n).collect();
    let mut plain = vec![0; room];
    if let Ok(n) = to.receive(&mut piece, &mut plain) {
        way.heard.extend_from_slice(&plain[..n]);
    }
}

fn read(to: &mut TlsSession, way: &mut Way, room: usize) {
    let mut plain = vec![0; room];
    if let Ok(n) = to.read(&mut plain) {
        way.heard.extend_from_slice(&plain[..n]);
    }
}

/// Carries everything, closes, and looks at what has become of it.
fn finish(sides: &mut [TlsSession; 2], ways: &mut [Way; 2]) {
    for from in [0, 1, 0, 1, 0, 1] {
        carry(sides, ways);
        if !sides[from].is_handshaking() && sides[from].close().is_ok() {
            ways[from].closed = true;
        }
    }
    carry(sides, ways);
    let changed = ways.iter().any(|way| way.changed);
    for (from, way) in ways.iter().enumerate() {
        let to = &sides[1 - from];
        assert!(way.said.starts_with(&way.heard));
        if !changed {
            assert!(
                way.said == way.heard,
                "{} of {}",
                way.heard.len(),
                way.said.len()
            );
            assert_eq!(to.peer_end(), Some(PeerEnd::Closed));
            assert!(to.info().is_some());
        }
    }
}

fn carry(sides: &mut [TlsSession; 2], ways: &mut [Way; 2]) {
    // Each turn moves something; a conversation that does not come to rest spins.
    for _ in 0..10_000 {
        let mut moved = false;
        for from in [0, 1] {
            let way = &mut ways[from];
            let waiting = sides[from].output().len() + way.transit.len();
            send(&mut sides[from], way, 4096);
            let to = &mut sides[1 - from];
            moved |= waiting > 0 || to.has_more();
            if to.wants_read() || to.has_more() {
                arrive(to, way, 30_000, 5000);
            } else {
                way.transit.clear();
            }
        }
        if !moved {
            return;
        }
    }
    panic!("it does not come to rest");
}
