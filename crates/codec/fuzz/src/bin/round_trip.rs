//! Fuzzes `socktree_codec_fuzz::round_trip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| socktree_codec_fuzz::round_trip(bytes));
