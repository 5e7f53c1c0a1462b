//! Against plain rustls with buffers of its own, as somebody else uses it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, Connection, RootCertStore, ServerConfig};
use socktree_tls::{PeerEnd, TlsSession, Versions};

use crate::kit::{Ca, Leaf};

fn versions(
    tls12: bool,
) -> (
    Versions,
    &'static [&'static rustls::SupportedProtocolVersion],
) {
    static OLD: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
    static NEW: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    if tls12 {
        (Versions::Tls12, &OLD)
    } else {
        (Versions::Tls13, &NEW)
    }
}

/// Ours as a server, plain rustls as a client.
fn ours_serves(ca: &Ca, tls12: bool) -> (TlsSession, Connection) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (ours, theirs) = versions(tls12);
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone().into()).unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(theirs)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let theirs = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let certs = ca.server().versions(ours).build().unwrap();
    (certs.session(Instant::now()).unwrap(), theirs.into())
}

/// The other way round.
fn ours_connects(ca: &Ca, tls12: bool) -> (TlsSession, Connection) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (ours, theirs) = versions(tls12);
    let leaf = ca.issue(&Leaf::default());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(theirs)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            leaf.chain.into_iter().map(Into::into).collect(),
            PrivateKeyDer::try_from(leaf.key).unwrap(),
        )
        .unwrap();
    let theirs = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let tls = ca.client().versions(ours).build().unwrap();
    (
        tls.session("localhost", Instant::now()).unwrap(),
        theirs.into(),
    )
}

/// What ours says goes to the other, all of it.
fn there(ours: &mut TlsSession, theirs: &mut Connection, heard: &mut Vec<u8>) {
    let bytes = ours.output().to_vec();
    ours.sent(bytes.len());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        theirs.read_tls(&mut rest).unwrap();
        theirs.process_new_packets().unwrap();
        let mut plain = [0; 20_000];
        while let Ok(n @ 1..) = theirs.reader().read(&mut plain) {
            heard.extend_from_slice(&plain[..n]);
        }
    }
}

/// What the other says comes to ours, in pieces of `cut` bytes, into `room` bytes at a time.
fn back(
    theirs: &mut Connection,
    ours: &mut TlsSession,
    heard: &mut Vec<u8>,
    cut: usize,
    room: usize,
) {
    let mut bytes = Vec::new();
    while theirs.wants_write() {
        theirs.write_tls(&mut bytes).unwrap();
    }
    let mut plain = vec![0; room];
    for piece in bytes.chunks_mut(cut) {
        let n = ours.receive(piece, &mut plain).unwrap();
        heard.extend_from_slice(&plain[..n]);
        while ours.has_more() {
            let n = ours.read(&mut plain).unwrap();
            heard.extend_from_slice(&plain[..n]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rustls_understands_us_and_we_understand_it(
        serves: bool,
        tls12: bool,
        cut in prop_oneof![1_usize..40, 40_usize..20_000],
        room in prop_oneof![1_usize..40, 40_usize..20_000],
        sizes in proptest::collection::vec(prop_oneof![0_usize..100, 0_usize..40_000], 1..6),
    ) {
        let ca = Ca::new("ca");
        let make = if serves { ours_serves } else { ours_connects };
        let (mut ours, mut theirs) = make(&ca, tls12);
        let (mut here, mut far) = (Vec::new(), Vec::new());
        while ours.is_handshaking() || theirs.is_handshaking() {
            there(&mut ours, &mut theirs, &mut far);
            back(&mut theirs, &mut ours, &mut here, cut, room);
        }
        let mut said = Vec::new();
        for size in sizes {
            let data: Vec<u8> = (0..253).cycle().take(size).collect();
            prop_assert_eq!(ours.write(&data).unwrap(), size);
            there(&mut ours, &mut theirs, &mut far);
            theirs.writer().write_all(&data).unwrap();
            back(&mut theirs, &mut ours, &mut here, cut, room);
            said.extend_from_slice(&data);
        }
        prop_assert!(here == said && far == said);
        ours.close().unwrap();
        there(&mut ours, &mut theirs, &mut far);
        prop_assert_eq!(theirs.reader().read(&mut [0]).unwrap(), 0);
        theirs.send_close_notify();
        back(&mut theirs, &mut ours, &mut here, cut, room);
        prop_assert_eq!(ours.peer_end(), Some(PeerEnd::Closed));
    }
}
