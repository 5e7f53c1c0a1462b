//! E19: no key shows itself, and no provider is taken from the process.

use socktree_tls::{ClientAuth, Identity};

use crate::kit::{Ca, Leaf, Pair, providers};

/// Whether some eight bytes of a key stand in a text, as hex, decimal or base64.
fn leaks(text: &str, key: &[u8], pem: &str) -> bool {
    let text = text.replace([' ', '\n'], "").to_lowercase();
    let decimal = |bytes: &[u8]| format!("{bytes:?}").replace(['[', ']', ' '], "");
    // The last part of a PKCS #8 key is public, the middle is not.
    let middle = &key[key.len() / 3..key.len() / 3 + 8];
    let hex: String = middle.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = pem.lines().nth(1).unwrap_or("none").to_lowercase();
    text.contains(&hex) || text.contains(&decimal(middle)) || text.contains(&line)
}

#[test]
fn e19_no_debug_output_holds_a_key() {
    let ca = Ca::new("ca");
    let leaf = ca.issue(&Leaf::default());
    let identity =
        || Identity::from_pem(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes()).unwrap();
    let builder = ca
        .server()
        .identity(socktree_tls::ServeFor::ItsNames, identity());
    let client = ca.client().identity(identity());
    let mut texts = vec![
        format!("{:?}", identity()),
        format!("{:#?}", identity()),
        format!("{builder:?}"),
        format!("{client:?}"),
        format!("{:?}", ClientAuth::required(ca.roots())),
    ];
    let (certs, tls) = (builder.build().unwrap(), client.build().unwrap());
    let pair = Pair::open(&certs, &tls);
    texts.extend([
        format!("{certs:?}"),
        format!("{tls:?}"),
        format!("{:?} {:?}", pair.client, pair.server),
        format!("{:?}", pair.client.info()),
    ]);
    for text in texts {
        assert!(!leaks(&text, &leaf.key, &leaf.key_pem), "{text}");
    }
    // The measure itself works.
    assert!(leaks(&format!("{:?}", leaf.key), &leaf.key, &leaf.key_pem));
    assert!(leaks(&leaf.key_pem, &leaf.key, &leaf.key_pem));
}

#[test]
fn e19_the_process_has_no_provider_and_gets_none() {
    let ca = Ca::new("ca");
    for provider in providers() {
        let certs = ca.server().provider(provider).build().unwrap();
        let tls = ca.client().provider(provider).build().unwrap();
        Pair::open(&certs, &tls);
    }
    #[expect(clippy::disallowed_methods, reason = "to see that nobody has set one")]
    let default = rustls::crypto::CryptoProvider::get_default();
    assert!(default.is_none());
}

/// Both providers in one process, and with each other.
#[test]
fn providers_speak_to_each_other() {
    let ca = Ca::new("ca");
    for server in providers() {
        for client in providers() {
            let certs = ca.server().provider(server).build().unwrap();
            let tls = ca.client().provider(client).build().unwrap();
            for _ in 0..2 {
                let mut pair = Pair::open(&certs, &tls);
                pair.server.write(b"hello").unwrap();
                pair.settle().unwrap();
                assert_eq!(pair.at_client, b"hello");
            }
        }
    }
}

#[cfg(feature = "system-roots")]
#[test]
fn the_system_has_roots() {
    assert!(socktree_tls::Roots::system().unwrap().len() > 10);
}

/// E13: the verifier that takes anything is made in one place.
#[test]
fn e13_skipping_verification_is_in_one_place() {
    let danger = include_str!("../../src/client/danger.rs");
    let client = include_str!("../../src/client.rs");
    assert_eq!(danger.matches("AnyCertificate(Arc::clone").count(), 1);
    assert_eq!(client.matches("danger::skip_verification(").count(), 1);
    assert!(client.contains("log::warn!"));
}
