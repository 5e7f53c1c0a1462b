//! Fuzzes `socktree_codec_fuzz::switch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| socktree_codec_fuzz::switch(bytes));
