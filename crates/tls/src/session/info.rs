//! What a handshake has agreed on.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use crate::TlsVersion;

/// What a handshake has agreed on, and who the peer is.
///
/// See [`TlsSession::info`](crate::TlsSession::info).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite, by its name in IANA's registry, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: &'static str,
    /// The name that the client asked for, in lower case. `None` if it asked for none, or for an
    /// IP address.
    pub server_name: Option<String>,
    /// The protocol that is spoken inside (ALPN), if one was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The peer's certificates as it showed them, its own first; empty if it showed none. On a
    /// resumed session, those of the session that is resumed.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether the peer's certificate was checked. `false` for a client that shows none, and for
    /// a server whose client skips verification.
    pub verified: bool,
}

impl TlsInfo {
    pub(super) fn of(
        state: &CommonState,
        server_name: Option<&str>,
        verifies: bool,
    ) -> Option<Self> {
        let peer_certificates = state.peer_certificates().unwrap_or_default().to_vec();
        Some(Self {
            version: match state.protocol_version()? {
                ProtocolVersion::TLSv1_2 => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
            cipher_suite: state.negotiated_cipher_suite()?.suite().as_str()?,
            server_name: server_name.map(str::to_owned),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            verified: verifies && !peer_certificates.is_empty(),
            peer_certificates,
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

impl fmt::Display for TlsInfo {
    /// Version, cipher suite and what else there is to say in one line, without the certificates.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.cipher_suite)?;
        if let Some(name) = &self.server_name {
            write!(f, ", for {name:?}")?;
        }
        if let Some(alpn) = &self.alpn {
            write!(f, ", ALPN {}", alpn.escape_ascii())?;
        }
        if self.verified {
            f.write_str(", peer verified")?;
        }
        if self.resumed {
            f.write_str(", resumed")?;
        }
        Ok(())
    }
}
