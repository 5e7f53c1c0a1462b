//! E09: certificates that are replaced while handshakes are under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use socktree_tls::{CertManager, ClientTls, Identity, NamePolicy, ServeFor, Versions};

use crate::kit::{Ca, Issued, Leaf, Pair, give, noon, output, providers};

/// The certificate that a client which asks for `host` is shown.
fn shown(certs: &CertManager, tls: &ClientTls, host: &str) -> Option<Vec<u8>> {
    let mut pair = Pair::new(certs, tls);
    pair.client = tls.session(host, Instant::now()).unwrap();
    pair.settle().ok()?;
    Some(pair.client.info().unwrap().peer_certificates[0].to_vec())
}

fn name(name: &str) -> ServeFor {
    ServeFor::Name(name.to_owned())
}

#[test]
fn names_lead_to_certificates() {
    let ca = Ca::new("ca");
    let issue = |names: &[&str]| {
        ca.issue(&Leaf {
            names,
            ..Leaf::default()
        })
    };
    let default = issue(&["default.example"]);
    let exact = issue(&["www.example.org"]);
    let wild = issue(&["*.example.org"]);
    let several = issue(&["one.example", "*.two.example"]);
    let certs = CertManager::builder()
        .identity(ServeFor::Default, default.identity())
        .identity(name("WWW.example.org."), exact.identity())
        .identity(name("*.example.org"), wild.identity())
        .identity(ServeFor::ItsNames, several.identity())
        .wall_clock(noon)
        .build()
        .unwrap();
    let tls = ca
        .client()
        .resumption(false)
        .dangerous_skip_verification()
        .build()
        .unwrap();
    let check = |host: &str, expected: &Issued| {
        assert!(
            shown(&certs, &tls, host).unwrap() == expected.chain[0],
            "{host}"
        );
    };
    check("www.example.org", &exact);
    check("Www.Example.Org", &exact);
    check("mail.example.org", &wild);
    check("example.org", &default);
    check("a.b.example.org", &default);
    check("one.example", &several);
    check("x.two.example", &several);
    check("two.example", &default);
    check("192.0.2.1", &default);

    // While it runs.
    let newer = issue(&["www.example.org"]);
    certs
        .replace(name("www.example.org"), newer.identity())
        .unwrap();
    check("www.example.org", &newer);
    assert!(certs.remove("WWW.example.org") && !certs.remove("www.example.org"));
    check("www.example.org", &wild);
    assert!(certs.remove("*.example.org"));
    check("www.example.org", &default);
    assert!(!certs.remove("not a name"));
}

/// Against RFC 6066, section 3, and yet it is sent; ours leaves it out, so it is put there by hand.
#[test]
fn a_dot_at_the_end_of_a_name_changes_nothing() {
    let ca = Ca::new("ca");
    let names = &["www.example.org"];
    let issued = ca.issue(&Leaf {
        names,
        ..Leaf::default()
    });
    let certs = ca
        .server()
        .identity(ServeFor::ItsNames, issued.identity())
        .versions(Versions::Tls12) // where certificates are in the clear
        .build()
        .unwrap();
    let tls = ca.client().build().unwrap();
    let mut pair = Pair::new(&certs, &tls);
    pair.client = tls.session("www.example.orgx", Instant::now()).unwrap();
    let mut hello = output(&mut pair.client);
    let name = b"www.example.orgx";
    let at = hello.windows(name.len()).position(|bytes| bytes == name);
    hello[at.unwrap() + name.len() - 1] = b'.';
    give(&mut pair.server, &hello, usize::MAX, &mut Vec::new()).unwrap();
    let answer = output(&mut pair.server);
    let own = &issued.chain[0];
    assert!(answer.windows(own.len()).any(|bytes| bytes == own));
}

#[test]
fn a_manager_without_a_default_refuses_the_rest() {
    let ca = Ca::new("ca");
    let certs = CertManager::builder()
        .identity(ServeFor::ItsNames, ca.issue(&Leaf::default()).identity())
        .unknown_name(NamePolicy::Default)
        .wall_clock(noon)
        .build()
        .unwrap();
    let tls = ca.client().dangerous_skip_verification().build().unwrap();
    assert!(shown(&certs, &tls, "localhost").is_some());
    assert!(shown(&certs, &tls, "example.org").is_none());
}

#[cfg(feature = "ring")]
/// An Ed25519 certificate for who knows it, and another for who does not.
#[test]
fn the_first_certificate_that_the_client_can_check_is_used() {
    use rustls::{ClientConfig, SignatureScheme};
    let ca = Ca::new("ca");
    let modern = ca.issue(&Leaf {
        algorithm: &rcgen::PKCS_ED25519,
        ..Leaf::default()
    });
    let usual = ca.issue(&Leaf::default());
    let certs = CertManager::builder()
        .identity(ServeFor::Default, [modern.identity(), usual.identity()])
        .wall_clock(noon)
        .build()
        .unwrap();
    for (scheme, expected) in [
        (SignatureScheme::ED25519, &modern),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &usual),
    ] {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(Knows(scheme)))
            .with_no_client_auth();
        let mut client = rustls::ClientConnection::new(
            std::sync::Arc::new(config),
            "localhost".try_into().unwrap(),
        )
        .unwrap();
        let mut server = certs.session(Instant::now()).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        server.receive(&mut hello, &mut []).unwrap();
        let mut answer = server.output();
        while !answer.is_empty() {
            client.read_tls(&mut answer).unwrap();
            client.process_new_packets().unwrap();
        }
        assert!(client.peer_certificates().unwrap()[0].as_ref() == expected.chain[0]);
    }
}

/// Checks nothing, and knows one scheme.
#[cfg(feature = "ring")]
#[derive(Debug)]
struct Knows(rustls::SignatureScheme);

#[cfg(feature = "ring")]
impl rustls::client::danger::ServerCertVerifier for Knows {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12_signature(message, certificate, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![self.0]
    }
}

/// Replaced by one thread as fast as it can while others shake hands: none fails, and each sees a
/// certificate together with its own key, or its signature would not hold.
#[test]
fn e09_no_handshake_fails_while_certificates_are_replaced() {
    for provider in providers() {
        let ca = Ca::new("ca");
        let issued: Vec<Issued> = (0..4).map(|_| ca.issue(&Leaf::default())).collect();
        let certs = CertManager::builder()
            .identity(ServeFor::Default, issued[0].identity())
            .provider(provider)
            .wall_clock(noon)
            .build()
            .unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let replacing = scope.spawn(|| {
                let mut count = 0_usize;
                while !done.load(Ordering::Relaxed) {
                    count += 1;
                    let next = issued[count % 4].identity();
                    certs.replace(ServeFor::Default, next).unwrap();
                }
                count
            });
            let shaking: Vec<_> = [Versions::Tls13, Versions::Tls12]
                .map(|versions| {
                    let tls = ca
                        .client()
                        .versions(versions)
                        .resumption(false)
                        .build()
                        .unwrap();
                    let (certs, issued) = (&certs, &issued);
                    scope.spawn(move || {
                        for _ in 0..60 {
                            let seen = shown(certs, &tls, "localhost").expect("no failure");
                            assert!(issued.iter().any(|issued| issued.chain[0] == seen));
                        }
                    })
                })
                .into_iter()
                .collect();
            for thread in shaking {
                thread.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            assert!(replacing.join().unwrap() > 10);
        });
        // The next ClientHello sees the new one.
        let tls = ca.client().resumption(false).build().unwrap();
        for issued in &issued {
            let early = Pair::new(&certs, &tls);
            certs.replace(ServeFor::Default, issued.identity()).unwrap();
            assert!(shown(&certs, &tls, "localhost").unwrap() == issued.chain[0]);
            // Also for a connection that was there before, and had not said anything.
            let mut early = early;
            early.settle().unwrap();
            assert!(early.client.info().unwrap().peer_certificates[0].as_ref() == issued.chain[0]);
        }
    }
}

#[test]
fn thousands_of_names_are_served() {
    let ca = Ca::new("ca");
    let leaf = ca.issue(&Leaf {
        names: &["*.example.org"],
        ..Leaf::default()
    });
    let certs = CertManager::new_for_test(&leaf);
    for number in 0..3000 {
        let which = name(&format!("host{number}.example.org"));
        certs.replace(which, leaf.identity()).unwrap();
    }
    let tls = ca.client().resumption(false).build().unwrap();
    assert!(shown(&certs, &tls, "host2999.example.org").is_some());
    assert_eq!(certs.certificates().len(), 3001);
}

/// A short way to a manager with one default certificate.
trait NewForTest {
    fn new_for_test(issued: &Issued) -> Self;
}

impl NewForTest for CertManager {
    fn new_for_test(issued: &Issued) -> Self {
        let identity: Identity = issued.identity();
        Self::builder()
            .identity(ServeFor::Default, identity)
            .wall_clock(noon)
            .build()
            .unwrap()
    }
}
