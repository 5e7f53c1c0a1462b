//! What is fuzzed: the very laws that the property tests check, fed by libFuzzer.
#![forbid(unsafe_code)]

#[path = "../../tests/laws/check.rs"]
mod check;
#[path = "../../tests/laws/draw.rs"]
mod draw;
#[path = "../../tests/laws/spec.rs"]
mod spec;

/// Any cut and any pause give the frames that the slow and obvious way gives.
pub fn decode(bytes: &[u8]) {
    check::check_decode(bytes);
}

/// Options are refused exactly when they are wrong.
pub fn options(bytes: &[u8]) {
    check::check_options(bytes);
}

/// What is encoded is read back, and nothing else is encoded.
pub fn round_trip(bytes: &[u8]) {
    check::check_round_trip(bytes);
}

/// A framing that is switched decodes what follows, and loses no byte.
pub fn switch(bytes: &[u8]) {
    check::check_switch(bytes);
    check::check_switch_between(bytes);
}
