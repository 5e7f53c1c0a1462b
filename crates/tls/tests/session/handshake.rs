//! How a connection begins, and how it fails to.

use std::time::{Duration, Instant};

use rcgen::ExtendedKeyUsagePurpose;
use socktree_tls::{
    CertManager, CertificateFault, ClientAuth, ClientTls, NamePolicy, ServeFor, TlsError,
    TlsVersion, Versions,
};

use crate::kit::{Ca, Leaf, Pair, VERSIONS, give, noon, output, providers};

#[test]
fn both_sides_learn_what_was_agreed_on() {
    for provider in providers() {
        for versions in VERSIONS {
            let ca = Ca::new("ca");
            let certs = ca
                .server()
                .provider(provider)
                .alpn(["b", "a"])
                .build()
                .unwrap();
            let tls = ca
                .client()
                .provider(provider)
                .versions(versions)
                .alpn(["a", "b", "c"]);
            let pair = Pair::open(&certs, &tls.build().unwrap());
            let (server, client) = (pair.server.info().unwrap(), pair.client.info().unwrap());
            let version = match versions {
                Versions::Tls12 => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            };
            assert_eq!((server.version, client.version), (version, version));
            assert_eq!(server.cipher_suite, client.cipher_suite);
            assert!(
                server.cipher_suite.starts_with("TLS"),
                "{}",
                server.cipher_suite
            );
            assert_eq!(server.alpn.as_deref(), Some(&b"b"[..]));
            assert_eq!(server.alpn, client.alpn);
            assert_eq!(server.server_name.as_deref(), Some("localhost"));
            assert_eq!(client.server_name.as_deref(), Some("localhost"));
            assert_eq!(
                (
                    server.peer_certificates.len(),
                    client.peer_certificates.len()
                ),
                (0, 1)
            );
            assert_eq!((server.verified, client.verified), (false, true));
            assert!(!server.resumed && !client.resumed);
        }
    }
}

/// A flight goes out in one piece, so that one write is enough for it.
#[test]
fn a_flight_is_one_piece() {
    let ca = Ca::new("ca");
    let mut pair = Pair::new(&ca.server().build().unwrap(), &ca.client().build().unwrap());
    let hello = output(&mut pair.client);
    give(&mut pair.server, &hello, usize::MAX, &mut Vec::new()).unwrap();
    // ServerHello, a change of cipher that means nothing, and four encrypted messages.
    assert!(
        pair.server.output().len() > 600,
        "{}",
        pair.server.output().len()
    );
}

/// E01: whatever a client does, its handshake is over at the deadline; and a flood of them stops
/// at the cap.
#[test]
fn e01_stalled_handshakes_end_at_the_deadline_and_are_capped() {
    let ca = Ca::new("ca");
    let timeout = Duration::from_secs(3);
    let certs = ca
        .server()
        .max_handshakes(5)
        .handshake_timeout(timeout)
        .build()
        .unwrap();
    let tls = ca.client().build().unwrap();
    let now = Instant::now();
    let hello = output(&mut tls.session("localhost", now).unwrap());
    let mut stalled = Vec::new();
    for sent in [0, 1, 5, hello.len() / 2, hello.len()] {
        let mut session = certs.session(now).unwrap();
        give(&mut session, &hello[..sent], 1, &mut Vec::new()).unwrap();
        assert_eq!(session.deadline(), Some(now + timeout));
        stalled.push(session);
    }
    assert_eq!(certs.session(now).unwrap_err().limit, 5);
    assert_eq!(certs.handshakes(), 5);
    for session in &mut stalled {
        session
            .handle_timeout(now + timeout - Duration::from_nanos(1))
            .unwrap();
        let over = session.handle_timeout(now + timeout).unwrap_err();
        assert_eq!(over, TlsError::TimedOut);
        assert_eq!(
            session.receive(&mut [22], &mut [0; 10]),
            Err(TlsError::TimedOut)
        );
        assert_eq!(session.deadline(), None);
    }
    // Failed is enough: they need not be dropped.
    assert_eq!(certs.handshakes(), 0);
    let pair = Pair::open(&certs, &tls);
    assert_eq!((certs.handshakes(), pair.server.deadline()), (0, None));
}

#[test]
fn a_session_that_is_dropped_gives_its_place_back() {
    let ca = Ca::new("ca");
    let certs = ca.server().max_handshakes(1).build().unwrap();
    for _ in 0..3 {
        let session = certs.session(Instant::now()).unwrap();
        assert!(certs.session(Instant::now()).is_err());
        drop(session);
    }
}

/// E02: something else than TLS.
#[test]
fn e02_what_is_not_tls_is_called_so() {
    let ca = Ca::new("ca");
    let certs = ca.server().build().unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"\x80\x2e\x01\x00\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        for cut in [1, 3, 100] {
            let mut session = certs.session(Instant::now()).unwrap();
            let mut all = Vec::new();
            assert_eq!(
                give(&mut session, bytes, cut, &mut all),
                Err(TlsError::NotTls)
            );
            assert!(all.is_empty() && session.info().is_none());
        }
    }
    // Like TLS for three bytes, and then no more.
    let mut session = certs.session(Instant::now()).unwrap();
    let error = give(
        &mut session,
        b"\x16\x03\x01\xff\xff\0\0",
        100,
        &mut Vec::new(),
    );
    assert_eq!(error.unwrap_err().label(), "protocol");
}

/// The same for a client that has connected to something else.
#[test]
fn a_client_notices_a_server_without_tls() {
    let ca = Ca::new("ca");
    let mut session = ca
        .client()
        .build()
        .unwrap()
        .session("localhost", Instant::now())
        .unwrap();
    let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    assert_eq!(
        give(&mut session, answer, 7, &mut Vec::new()),
        Err(TlsError::NotTls)
    );
}

/// E04: a `ClientHello` in a record for each byte (RUSTSEC-2024-0399).
#[test]
fn e04_a_fragmented_client_hello_is_put_together() {
    let ca = Ca::new("ca");
    let certs = ca.server().build().unwrap();
    let tls = ca.client().build().unwrap();
    for size in [1, 7, 100] {
        let mut pair = Pair::new(&certs, &tls);
        let hello = output(&mut pair.client);
        let mut records = Vec::new();
        for part in hello[5..].chunks(size) {
            records.extend_from_slice(&[22, 3, 1, 0, u8::try_from(part.len()).unwrap()]);
            records.extend_from_slice(part);
        }
        for cut in [1, 6, 1000, usize::MAX] {
            let mut server = certs.session(Instant::now()).unwrap();
            give(&mut server, &records, cut, &mut Vec::new()).unwrap();
            let answer = output(&mut server);
            assert!(answer.len() > 600, "size {size} cut {cut}");
        }
    }
}

/// E04: a `close_notify` in the middle of the handshake, alone or again and again.
#[test]
fn e04_a_close_in_the_handshake_is_no_end() {
    let ca = Ca::new("ca");
    for versions in VERSIONS {
        let certs = ca.server().versions(versions).build().unwrap();
        for times in [1, 50] {
            let mut session = certs.session(Instant::now()).unwrap();
            let alert = [21, 3, 3, 0, 2, 1, 0].repeat(times);
            let _ = give(&mut session, &alert, usize::MAX, &mut Vec::new());
            assert_eq!(session.peer_end(), None);
            let over = session.receive_eof().unwrap_err();
            assert!(
                ["abandoned", "alert", "protocol"].contains(&over.label()),
                "{over:?}"
            );
        }
    }
}

/// E11: what a client refuses, and that the server learns of it.
#[test]
fn e11_e13_a_client_refuses_what_it_cannot_trust() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let later = || noon() + Duration::from_secs(50 * 365 * 86_400);
    let leaf = ca.issue(&Leaf::default()).identity();
    let certs = CertManager::builder()
        .identity(ServeFor::Default, leaf)
        .wall_clock(noon)
        .build()
        .unwrap();
    let cases: [(ClientTls, &str, CertificateFault); 3] = [
        (
            other.client().build().unwrap(),
            "localhost",
            CertificateFault::UnknownIssuer,
        ),
        (
            ca.client().build().unwrap(),
            "example.org",
            CertificateFault::WrongName,
        ),
        (
            ca.client().wall_clock(later).build().unwrap(),
            "localhost",
            CertificateFault::Expired,
        ),
    ];
    for (tls, host, fault) in cases {
        let mut pair = Pair::new(&certs, &tls);
        pair.client = tls.session(host, Instant::now()).unwrap();
        assert_eq!(pair.settle(), Err(TlsError::BadCertificate(fault)));
        assert!(pair.client.info().is_none() && pair.server.info().is_none());
        let told = pair.server.receive(&mut [], &mut []).unwrap_err();
        assert_eq!(told.label(), "alert", "{told:?}");
    }
    let skips = other
        .client()
        .dangerous_skip_verification()
        .build()
        .unwrap();
    let mut pair = Pair::new(&certs, &skips);
    pair.client = skips.session("example.org", Instant::now()).unwrap();
    pair.settle().unwrap();
    assert!(!pair.client.info().unwrap().verified && !skips.verifies());
}

/// E12: client certificates: right, missing, expired, of another authority, and a server's.
#[test]
fn e12_client_certificates() {
    let (ca, clients, other) = (Ca::new("ca"), Ca::new("clients"), Ca::new("other"));
    let server_only = [ExtendedKeyUsagePurpose::ServerAuth];
    let right = clients.issue(&Leaf::default());
    let young = clients.issue(&Leaf {
        years: (2020, 2030),
        ..Leaf::default()
    });
    let strange = other.issue(&Leaf::default());
    for versions in VERSIONS {
        for required in [false, true] {
            let auth = if required {
                ClientAuth::required
            } else {
                ClientAuth::optional
            };
            let certs = ca
                .server()
                .versions(versions)
                .client_auth(auth(clients.roots()));
            let certs = certs.build().unwrap();
            let run = |certs: &CertManager, tls: ClientTls| {
                let mut pair = Pair::new(certs, &tls);
                let _ = pair.settle();
                let end = pair.server.receive(&mut [], &mut []).map(|_| ());
                (pair, end)
            };
            let (pair, end) = run(
                &certs,
                ca.client().identity(right.identity()).build().unwrap(),
            );
            assert_eq!(end, Ok(()));
            let info = pair.server.info().unwrap();
            assert!(info.verified && info.peer_certificates[0].as_ref() == right.chain[0]);

            let (pair, end) = run(&certs, ca.client().build().unwrap());
            if required {
                assert_eq!(end, Err(TlsError::NoCertificate));
                assert!(pair.server.info().is_none());
            } else {
                assert!(!pair.server.info().unwrap().verified);
            }
            let (_, end) = run(
                &certs,
                ca.client().identity(strange.identity()).build().unwrap(),
            );
            let unknown = CertificateFault::UnknownIssuer;
            assert_eq!(end, Err(TlsError::BadCertificate(unknown)));

            // Expired for the server, whose clock is ahead of the client's.
            let late = || noon() + Duration::from_secs(5 * 365 * 86_400);
            let ahead = ca.server().versions(versions).wall_clock(late);
            let ahead = ahead.client_auth(auth(clients.roots())).build().unwrap();
            let (_, end) = run(
                &ahead,
                ca.client().identity(young.identity()).build().unwrap(),
            );
            assert_eq!(
                end,
                Err(TlsError::BadCertificate(CertificateFault::Expired))
            );
        }
    }
    // A client refuses to be built with a server's certificate.
    let wrong = clients.issue(&Leaf {
        usage: &server_only,
        ..Leaf::default()
    });
    let built = ca.client().identity(wrong.identity()).build();
    assert_eq!(built.unwrap_err(), socktree_tls::CertError::WrongUsage);
}

/// E14: names that are odd, or not there.
#[test]
fn e14_odd_names_lead_to_the_default_or_to_a_refusal() {
    let ca = Ca::new("ca");
    let long = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61),
    ]
    .join(".");
    let tls = ca.client().dangerous_skip_verification().build().unwrap();
    for policy in [NamePolicy::Default, NamePolicy::Refuse] {
        let identity = ca.issue(&Leaf::default());
        let certs = CertManager::builder()
            .identity(ServeFor::Default, identity.identity())
            .identity(ServeFor::ItsNames, identity.identity())
            .unknown_name(policy)
            .missing_name(policy)
            .wall_clock(noon)
            .build()
            .unwrap();
        for host in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "::1",
            "unknown.example",
            &long,
            "xn--e1afmkfd.example",
        ] {
            let mut pair = Pair::new(&certs, &tls);
            pair.client = tls.session(host, Instant::now()).unwrap();
            let known = host.eq_ignore_ascii_case("localhost");
            let is_name = !host.starts_with(['1', ':']);
            if known || policy == NamePolicy::Default {
                pair.settle().unwrap();
                let name = pair.server.info().unwrap().server_name;
                assert_eq!(name, is_name.then(|| host.to_ascii_lowercase()));
            } else {
                let hello = output(&mut pair.client);
                let refused = give(&mut pair.server, &hello, 50, &mut Vec::new()).unwrap_err();
                assert_eq!(refused, TlsError::UnknownName(is_name.then(|| host.into())));
                assert_eq!(pair.server.output(), [21, 3, 3, 0, 2, 2, 112]);
                pair.settle().unwrap_err();
                let told = pair.client.receive(&mut [], &mut []).unwrap_err();
                assert_eq!(
                    told.to_string(),
                    "the peer refused with the TLS alert unrecognized_name"
                );
            }
        }
    }
    for odd in ["", "a b", "é.example", &"x".repeat(300)] {
        assert!(tls.session(odd, Instant::now()).is_err(), "{odd}");
    }
}

/// What a name does to a line of a log.
#[test]
fn e14_names_cannot_forge_log_lines() {
    let error = TlsError::UnknownName(Some("a\nINFO b\x1b[31m".into()));
    assert_eq!(
        error.to_string(),
        r#"no certificate for the name "a\nINFO b\u{1b}[31m""#
    );
}

#[test]
fn nothing_in_common_is_told_apart() {
    let ca = Ca::new("ca");
    let old = ca.client().versions(Versions::Tls12).build().unwrap();
    let new = ca.server().versions(Versions::Tls13).build().unwrap();
    let mut pair = Pair::new(&new, &old);
    pair.settle().unwrap_err();
    let end = pair.server.receive(&mut [], &mut []).unwrap_err();
    assert_eq!(end.label(), "incompatible");
    assert!(std::error::Error::source(&end).is_some());

    let certs = ca.server().alpn(["h2"]).build().unwrap();
    let mut pair = Pair::new(&certs, &ca.client().alpn(["mqtt"]).build().unwrap());
    pair.settle().unwrap_err();
    let end = pair.server.receive(&mut [], &mut []).unwrap_err();
    assert_eq!(end, TlsError::NoCommonProtocol);
}

/// A chain of 60 KiB still fits; one that does not ends the handshake instead of filling memory.
#[test]
fn e18_a_handshake_larger_than_the_bound_fails() {
    let ca = Ca::new("ca");
    let many: Vec<Vec<u8>> = (0..250).map(|_| ca.der.clone()).collect();
    let leaf = ca.issue(&Leaf::default());
    for (count, fits) in [(100, true), (250, false)] {
        let chain = leaf
            .chain
            .iter()
            .cloned()
            .chain(many[..count].iter().cloned());
        let identity = socktree_tls::Identity::from_der(chain, leaf.key.clone()).unwrap();
        let certs = CertManager::builder()
            .identity(ServeFor::Default, identity)
            .wall_clock(noon)
            .build()
            .unwrap();
        let mut pair = Pair::new(&certs, &ca.client().build().unwrap());
        let outcome = pair.settle_cut(1000);
        assert_eq!(outcome.is_ok(), fits, "{count}: {outcome:?}");
    }
}

/// E03: whatever part of a flight arrives before the connection breaks, it ends as abandoned and
/// leaves no handshake behind.
#[test]
fn e03_cut_at_every_byte_of_every_flight() {
    let ca = Ca::new("ca");
    for versions in VERSIONS {
        let certs = ca.server().versions(versions).build().unwrap();
        let tls = ca.client().build().unwrap();
        // What each side says, flight by flight.
        let mut pair = Pair::new(&certs, &tls);
        let mut flights: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        while pair.server.is_handshaking() || pair.client.is_handshaking() {
            let up = output(&mut pair.client);
            give(&mut pair.server, &up, usize::MAX, &mut Vec::new()).unwrap();
            let down = output(&mut pair.server);
            give(&mut pair.client, &down, usize::MAX, &mut Vec::new()).unwrap();
            flights.push((up, down));
        }
        let client_says = flights[0].0.len();
        for sent in 0..client_says {
            let mut server = certs.session(Instant::now()).unwrap();
            give(
                &mut server,
                &flights[0].0[..sent],
                usize::MAX,
                &mut Vec::new(),
            )
            .unwrap();
            assert!(server.output().is_empty(), "{sent}");
            assert_eq!(server.receive_eof(), Err(TlsError::Abandoned));
            assert_eq!(certs.handshakes(), 0, "{sent}");
        }
        // Flights after the first depend on random numbers: made anew for each offset.
        for second in [false, true] {
            for sent in 0..3000 {
                let mut pair = Pair::new(&certs, &tls);
                let hello = output(&mut pair.client);
                give(&mut pair.server, &hello, usize::MAX, &mut Vec::new()).unwrap();
                let down = output(&mut pair.server);
                let (part, to) = if second {
                    give(&mut pair.client, &down, usize::MAX, &mut Vec::new()).unwrap();
                    (output(&mut pair.client), &mut pair.server)
                } else {
                    (down, &mut pair.client)
                };
                if sent >= part.len() {
                    break;
                }
                give(to, &part[..sent], usize::MAX, &mut Vec::new()).unwrap();
                assert_eq!(
                    to.receive_eof(),
                    Err(TlsError::Abandoned),
                    "{second} {sent}"
                );
                drop(pair);
                assert_eq!(certs.handshakes(), 0);
            }
        }
    }
}
