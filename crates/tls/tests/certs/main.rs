//! What a certificate manager promises.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests; a session needs some time to begin with"
)]

#[path = "../kit/kit.rs"]
mod kit;

mod clients;
mod files;
mod judging;
mod resumption;
mod rotation;
mod secrets;
