//! E10: which certificates are taken, and which are refused with the old one kept.

use std::time::{Duration, SystemTime};

use rcgen::ExtendedKeyUsagePurpose;
use socktree_tls::{CertError, CertEvent, CertManager, Identity, Roots, ServeFor};

use crate::kit::{Ca, Leaf, Pair, noon, providers};

fn year(year: u64) -> SystemTime {
    // Close enough for dates that begin a year.
    SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952)
}

#[test]
fn e10_a_wrong_certificate_is_refused_and_the_old_one_stays() {
    for provider in providers() {
        let ca = Ca::new("ca");
        let certs = ca.server().provider(provider).build().unwrap();
        let before = certs.certificates();
        let right = ca.issue(&Leaf::default());
        let other = ca.issue(&Leaf::default());
        let old = ca.issue(&Leaf {
            years: (2019, 2024),
            ..Leaf::default()
        });
        let young = ca.issue(&Leaf {
            years: (2035, 2040),
            ..Leaf::default()
        });
        let client = [ExtendedKeyUsagePurpose::ClientAuth];
        let client = ca.issue(&Leaf {
            usage: &client,
            ..Leaf::default()
        });
        let mismatch = Identity::from_der(right.chain.clone(), other.key).unwrap();

        let refused = |identity| certs.replace(ServeFor::Default, identity).unwrap_err();
        assert_eq!(refused(mismatch), CertError::KeyMismatch);
        assert!(matches!(refused(old.identity()), CertError::Expired { .. }));
        assert!(matches!(
            refused(young.identity()),
            CertError::NotYetValid { .. }
        ));
        assert_eq!(refused(client.identity()), CertError::WrongUsage);
        assert_eq!(
            certs.replace(ServeFor::Default, Vec::<Identity>::new()),
            Err(CertError::NoCertificate)
        );
        for (name, error) in [
            (
                "example.org",
                CertError::NameNotCovered("example.org".to_owned()),
            ),
            (
                "*.localhost",
                CertError::NameNotCovered("*.localhost".to_owned()),
            ),
            ("a b", CertError::BadName("a b".to_owned())),
        ] {
            let which = ServeFor::Name(name.to_owned());
            assert_eq!(certs.replace(which, right.identity()), Err(error));
        }
        assert_eq!(certs.certificates(), before);
        certs.replace(ServeFor::Default, right.identity()).unwrap();
    }
}

#[test]
fn any_usage_and_no_usage_will_do() {
    let ca = Ca::new("ca");
    let certs = ca.server().build().unwrap();
    for usage in [&[][..], &[ExtendedKeyUsagePurpose::Any]] {
        let leaf = ca.issue(&Leaf {
            usage,
            ..Leaf::default()
        });
        certs.replace(ServeFor::Default, leaf.identity()).unwrap();
    }
}

#[test]
fn kinds_of_keys() {
    let ca = Ca::new("ca");
    for provider in providers() {
        let certs = ca.server().provider(provider).build().unwrap();
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            let leaf = ca.issue(&Leaf {
                algorithm,
                ..Leaf::default()
            });
            let pem = Identity::from_pem(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes());
            certs.replace(ServeFor::Default, pem.unwrap()).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_parsed_is_refused_by_its_place() {
    let ca = Ca::new("ca");
    let leaf = ca.issue(&Leaf::default());
    let (chain, key) = (leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes());
    let refused = |chain: &[u8], key: &[u8]| Identity::from_pem(chain, key).unwrap_err();
    assert_eq!(refused(b"", key), CertError::NoCertificate);
    assert_eq!(refused(chain, b""), CertError::NoKey);
    assert_eq!(refused(chain, chain), CertError::NoKey);
    assert_eq!(refused(&chain[..chain.len() - 30], key), CertError::BadPem);
    assert_eq!(refused(chain, &key[..key.len() - 30]), CertError::BadPem);
    let der = leaf.chain[0].clone();
    let broken = |chain: [Vec<u8>; 2]| Identity::from_der(chain, leaf.key.clone()).unwrap_err();
    let cut = der[..der.len() - 1].to_vec();
    assert_eq!(
        broken([cut.clone(), der.clone()]),
        CertError::BadCertificate { position: 0 }
    );
    assert_eq!(
        broken([der.clone(), cut]),
        CertError::BadCertificate { position: 1 }
    );
    assert_eq!(
        Identity::from_der([der], vec![1, 2, 3]).unwrap_err(),
        CertError::NoKey
    );

    assert_eq!(Roots::from_pem(b"").unwrap_err(), CertError::NoRoots);
    assert_eq!(
        Roots::from_der([ca.der.clone(), vec![48, 0]]).unwrap_err(),
        CertError::BadCertificate { position: 1 }
    );
    assert_eq!(Roots::from_pem(ca.pem.as_bytes()).unwrap().len(), 1);
    assert_eq!(
        CertManager::builder().build().unwrap_err(),
        CertError::NothingToServe
    );
}

#[test]
fn every_certificate_byte_may_be_wrong() {
    let leaf = Ca::new("ca").issue(&Leaf::default());
    for at in 0..leaf.chain[0].len() {
        let mut der = leaf.chain[0].clone();
        der[at] ^= 0xff;
        // Taken or refused, but never a panic.
        let _ = Identity::from_der([der], leaf.key.clone());
    }
}

#[test]
fn expiry_is_visible_and_reported_ahead() {
    use std::sync::{Arc, Mutex};
    let ca = Ca::new("ca");
    let now = Arc::new(Mutex::new(noon()));
    let clock = Arc::clone(&now);
    let leaf = ca.issue(&Leaf {
        names: &["localhost", "*.localhost"],
        ..Leaf::default()
    });
    let certs = CertManager::builder()
        .identity(ServeFor::Default, leaf.identity())
        .identity(ServeFor::ItsNames, leaf.identity())
        .warn_before(Duration::from_secs(30 * 86_400))
        .wall_clock(move || *clock.lock().unwrap())
        .build()
        .unwrap();
    let status = certs.certificates();
    assert_eq!(status.len(), 2);
    assert!(status[0].default && status[0].names.is_empty());
    assert_eq!(status[1].names, ["*.localhost", "localhost"]);
    let not_after = status[0].not_after;
    assert!(not_after > year(2039) && not_after < year(2041));

    let start = std::time::Instant::now();
    let day = Duration::from_secs(86_400);
    assert_eq!(certs.next_poll(), None);
    assert!(certs.poll(start).is_empty());
    let poll = |turn: u32, wall: SystemTime| {
        *now.lock().unwrap() = wall;
        let due = certs.next_poll().unwrap();
        // Not due yet: nothing is looked at.
        assert!(
            certs.poll(due - Duration::from_nanos(1)).is_empty(),
            "{turn}"
        );
        certs.poll(due)
    };
    assert!(poll(1, not_after - 31 * day).is_empty());
    let soon = poll(2, not_after - 30 * day);
    assert_eq!(soon.len(), 2);
    assert!(soon.contains(&CertEvent::ExpiresSoon {
        names: vec![],
        default: true,
        not_after
    }));
    assert!(poll(3, not_after - day).is_empty());
    assert!(poll(4, not_after).is_empty());
    let over = poll(5, not_after + Duration::from_secs(1));
    assert!(over.contains(&CertEvent::Expired {
        names: vec![],
        default: true,
        not_after
    }));
    assert_eq!((over.len(), poll(6, not_after + day).len()), (2, 0));
}

/// rustls panicked for an empty one in debug builds, and sent a broken ClientHello for a long one.
#[test]
fn protocols_that_do_not_fit_their_field_are_refused() {
    let ca = Ca::new("ca");
    for len in [0, 256, 300] {
        let name = vec![b'a'; len];
        let refused = CertError::BadProtocol { len };
        let certs = ca.server().alpn([name.clone()]).build();
        assert_eq!(certs.unwrap_err(), refused);
        let client = ca.client().alpn([name]).build();
        assert_eq!(client.unwrap_err(), refused);
    }
    for len in [1, 255] {
        let name = vec![b'a'; len];
        let certs = ca.server().alpn([name.clone()]).build().unwrap();
        let client = ca.client().alpn([name.clone()]).build().unwrap();
        let info = Pair::open(&certs, &client).server.info().unwrap();
        assert_eq!(info.alpn, Some(name));
    }
}
