//! Laws that hold for any bytes, any cut and any order of calls; the fuzz targets check the same.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests; a session needs some time to begin with"
)]

mod check;
#[path = "../kit/kit.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod kit;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn e02_any_bytes_end_a_server_cleanly(bytes in bytes(300)) {
        check::server(&bytes);
    }

    #[test]
    fn any_bytes_end_a_client_cleanly(bytes in bytes(300)) {
        check::client(&bytes);
    }

    #[test]
    fn any_conversation_arrives_as_it_was_said(bytes in bytes(120)) {
        check::conversation(&bytes);
    }
}

/// Prefixes that begin like TLS get further than random ones.
#[test]
fn e02_a_hundred_thousand_random_prefixes() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    for number in 0..100_000 {
        let mut bytes = Vec::new();
        if number % 4 != 0 {
            bytes.extend_from_slice(&[0, 22, 3, 1, 0]);
        }
        for _ in 0..number % 7 {
            bytes.extend_from_slice(&next());
        }
        check::server(&bytes);
    }
}

/// What fuzzing has found worth keeping.
#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for name in ["server", "client", "conversation"] {
        let mut count = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            match name {
                "server" => check::server(&bytes),
                "client" => check::client(&bytes),
                _ => check::conversation(&bytes),
            }
            count += 1;
        }
        assert!(count > 0, "{name}");
    }
}
