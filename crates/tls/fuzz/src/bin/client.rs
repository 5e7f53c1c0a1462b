//! Fuzzes `socktree_tls_fuzz::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| socktree_tls_fuzz::client(bytes));
