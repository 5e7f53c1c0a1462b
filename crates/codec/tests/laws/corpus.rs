//! What fuzzing has found worth keeping, once more.

use std::fs;
use std::path::Path;

use crate::check;

/// Runs `law` on every file of a corpus; see `fuzz/README.md` for how it came about.
fn replay(target: &str, law: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs::read_dir(&corpus).expect("every target has a corpus") {
        let bytes = fs::read(entry.expect("a file").path()).expect("it can be read");
        law(&bytes);
        files += 1;
    }
    assert!(files > 0, "{} is empty", corpus.display());
}

#[test]
fn decode() {
    replay("decode", check::check_decode);
}

#[test]
fn options() {
    replay("options", check::check_options);
}

#[test]
fn round_trip() {
    replay("round_trip", check::check_round_trip);
}

#[test]
fn switch() {
    replay("switch", check::check_switch);
    replay("switch", check::check_switch_between);
}
