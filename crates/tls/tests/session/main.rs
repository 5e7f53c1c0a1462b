//! What a session promises.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests; a session needs some time to begin with"
)]

#[path = "../kit/kit.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod kit;

mod closing;
mod handshake;
#[cfg(feature = "ring")]
mod oracle;
mod transfer;
