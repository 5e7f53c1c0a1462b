//! Certificates that can be replaced while running, and a TLS session without any input or output
//! of its own.
//!
//! [rustls](https://docs.rs/rustls) speaks TLS; this crate is what a server puts around it. It owns
//! no socket, no thread and no timer: bytes and time are arguments, so it fits under an event loop,
//! a blocking socket or a simulation alike.
//!
//! ```text
//!  files, PEM, DER                  socket
//!        |                     receive |  ^ output
//!        v         session()           v  |
//!  CertManager --------------->  TlsSession  <--------------- ClientTls
//!   replace, poll                 read |  ^ write    session()   roots, identity
//!                                      v  |
//!                                  plaintext
//! ```
//!
//! - [`CertManager`] holds a server's certificates: a default one and others by name, exact or
//!   wildcard. Each is judged before it is served, and replaced without a handshake failing. Files
//!   are watched by their content, the end of a certificate is reported ahead, and clients'
//!   certificates can be asked for.
//! - [`ClientTls`] is the same for a client: whom it trusts, and who it is.
//! - [`TlsSession`] is one connection. It has a deadline for its handshake and one bound for all
//!   that it holds, tells a clean end from a cut, says when plaintext waits inside while the socket
//!   is silent, and while it is idle no buffer larger than a short answer.
//! - [`TlsError`] tells apart why a handshake fails, so that it can be counted.
//!
//! # A server
//!
//! ```
//! # let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//! # let (chain, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
//! # let (mut sent, mut incoming) = (Vec::new(), b"GET / HTTP/1.1".to_vec());
//! use socktree_tls::{CertManager, Identity, TlsError};
//! use std::time::Instant;
//!
//! let certs = CertManager::new(Identity::from_pem(chain.as_bytes(), key.as_bytes())?)?;
//!
//! // Once for each connection:
//! let mut session = certs.session(Instant::now())?;
//! // and for each read from its socket:
//! let mut plain = [0; 4096];
//! match session.receive(&mut incoming, &mut plain) {
//!     Ok(n) => println!("{} bytes of plaintext", n),
//!     Err(TlsError::NotTls) => println!("somebody speaks plain HTTP"),
//!     Err(error) => println!("{}: {error}", error.label()),
//! }
//! sent.extend_from_slice(session.output()); // a write to the socket
//! session.sent(session.output().len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The examples `echo_server` and `fetch` are whole programs over a `TcpStream`.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `ring` | yes | [`Provider::Ring`] |
//! | `aws-lc-rs` | no | `Provider::AwsLcRs` |
//! | `system-roots` | yes | [`Roots::system`], and clients that trust what it finds |
//!
//! Both providers may be there: each manager and client says which one it means, and the process's
//! default is neither used nor set.
//!
//! # What it does not do
//!
//! Early data (its first bytes can be replayed), renegotiation and TLS before 1.2; revocation
//! lists and OCSP; getting certificates from an authority, for which
//! [`CertManager::replace`] is the place.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod client;
mod clock;
mod error;
mod facts;
mod fault;
mod identity;
mod manager;
mod pem;
mod provider;
mod roots;
mod session;
mod versions;

#[doc(no_inline)]
pub use rustls::pki_types::CertificateDer;

pub use crate::client::{ClientTls, ClientTlsBuilder};
pub use crate::error::CertError;
pub use crate::fault::{Alert, CertificateFault, Detail, TlsError};
pub use crate::identity::Identity;
pub use crate::manager::{
    CertEvent, CertManager, CertManagerBuilder, CertStatus, ClientAuth, HandshakeShare, NamePolicy,
    ServeFor, TooManyHandshakes,
};
pub use crate::provider::Provider;
pub use crate::roots::Roots;
pub use crate::session::{PeerEnd, TlsInfo, TlsSession};
pub use crate::versions::{TlsVersion, Versions};

/// The bound of each direction of a session, if none is set. rustls' own is the same.
const DEFAULT_BUFFER_LIMIT: usize = 64 * 1024;

/// A bound that holds a record: 5 bytes of header, 16 KiB, and what encryption may add to it
/// (RFC 5246, section 6.2.3), in round figures.
const fn smallest_buffer(bytes: usize) -> usize {
    const RECORD: usize = 20 * 1024;
    if bytes < RECORD { RECORD } else { bytes }
}

/// The length of a protocol's name goes over the wire in a byte, and none is empty.
fn check_protocols(alpn: &[Vec<u8>]) -> Result<(), CertError> {
    let wrong = |name: &&Vec<u8>| !(1..=255).contains(&name.len());
    match alpn.iter().find(wrong) {
        Some(name) => Err(CertError::BadProtocol { len: name.len() }),
        None => Ok(()),
    }
}
