//! What is fuzzed: the very laws that the property tests check, fed by libFuzzer.
#![forbid(unsafe_code)]

#[path = "../../tests/laws/check.rs"]
mod check;
#[path = "../../tests/kit/kit.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod kit;

/// Any bytes end a server's session cleanly.
pub fn server(bytes: &[u8]) {
    check::server(bytes);
}

/// Any bytes end a client's session cleanly.
pub fn client(bytes: &[u8]) {
    check::client(bytes);
}

/// Whatever the order of calls and the cut, what arrives is what was said.
pub fn conversation(bytes: &[u8]) {
    check::conversation(bytes);
}
