//! Why a session fails.

use std::error::Error;
use std::fmt;

use rustls::{AlertDescription, CertificateError, Error as Rustls};

use crate::CertError;

/// Why a session has failed. It is over then: send what is left of its
/// [`output`](crate::TlsSession::output), which may hold an alert, and close the connection.
///
/// # Examples
///
/// ```
/// use socktree_tls::TlsError;
///
/// // A short name for each kind, for counters and logs.
/// assert_eq!(TlsError::TimedOut.label(), "timed-out");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TlsError {
    /// The connection ended in the middle of the handshake.
    Abandoned,
    /// The peer has refused us, with this alert: a reason of its own.
    Alert(Alert),
    /// The peer's certificate is not one that we trust.
    BadCertificate(CertificateFault),
    /// A record was changed on the way, or made with other keys.
    BadRecord,
    /// There is no version, cipher suite, group or kind of signature that both sides know.
    Incompatible(Detail),
    /// Something that is not the peer's fault went wrong in here.
    Internal(Detail),
    /// The peer had to show a certificate, and did not.
    NoCertificate,
    /// There is no protocol (ALPN) that both sides speak.
    NoCommonProtocol,
    /// The first bytes are not those of TLS. Plain HTTP on a TLS port looks like this.
    NotTls,
    /// The peer has not kept to the protocol.
    Protocol(Detail),
    /// The handshake was not complete in time.
    TimedOut,
    /// The peer's handshake is larger than the session's bound.
    TooLarge,
    /// The client asked for a name that is not served here, or for none.
    UnknownName(Option<Box<str>>),
}

impl TlsError {
    /// A short name for the kind of error, for counters and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Alert(_) => "alert",
            Self::BadCertificate(_) => "bad-certificate",
            Self::BadRecord => "bad-record",
            Self::Incompatible(_) => "incompatible",
            Self::Internal(_) => "internal",
            Self::NoCertificate => "no-certificate",
            Self::NoCommonProtocol => "no-common-protocol",
            Self::NotTls => "not-tls",
            Self::Protocol(_) => "protocol",
            Self::TimedOut => "timed-out",
            Self::TooLarge => "too-large",
            Self::UnknownName(_) => "unknown-name",
        }
    }

    pub(crate) fn of(error: Rustls) -> Self {
        match error {
            Rustls::AlertReceived(alert) => Self::Alert(Alert(alert)),
            Rustls::InvalidCertificate(error) => Self::BadCertificate(CertificateFault::of(&error)),
            Rustls::DecryptError => Self::BadRecord,
            Rustls::NoCertificatesPresented => Self::NoCertificate,
            Rustls::NoApplicationProtocol => Self::NoCommonProtocol,
            Rustls::PeerIncompatible(_) => Self::Incompatible(Detail(error)),
            Rustls::InappropriateMessage { .. }
            | Rustls::InappropriateHandshakeMessage { .. }
            | Rustls::InvalidMessage(_)
            | Rustls::PeerMisbehaved(_)
            | Rustls::PeerSentOversizedRecord => Self::Protocol(Detail(error)),
            _ => Self::Internal(Detail(error)),
        }
    }
}

impl From<CertError> for TlsError {
    /// What could have been known before is ours to answer for.
    fn from(error: CertError) -> Self {
        Self::Internal(Detail(Rustls::General(error.to_string())))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abandoned => f.write_str("the connection ended during the TLS handshake"),
            Self::Alert(alert) => write!(f, "the peer refused with the TLS alert {alert}"),
            Self::BadCertificate(fault) => write!(f, "the peer's certificate {fault}"),
            Self::BadRecord => f.write_str("a TLS record could not be decrypted"),
            Self::Incompatible(_) => f.write_str("the peers have no way of speaking TLS in common"),
            Self::Internal(_) => f.write_str("TLS failed in here"),
            Self::NoCertificate => f.write_str("the peer showed no certificate"),
            Self::NoCommonProtocol => f.write_str("no protocol in common (ALPN)"),
            Self::NotTls => f.write_str("the peer does not speak TLS"),
            Self::Protocol(_) => f.write_str("the peer broke the TLS protocol"),
            Self::TimedOut => f.write_str("the TLS handshake took too long"),
            Self::TooLarge => f.write_str("the peer's TLS handshake is too large"),
            // Debug, so that nothing in it reaches a terminal or splits a line of a log.
            Self::UnknownName(Some(name)) => write!(f, "no certificate for the name {name:?}"),
            Self::UnknownName(None) => f.write_str("the client asked for no name"),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Incompatible(detail) | Self::Internal(detail) | Self::Protocol(detail) => {
                Some(detail)
            }
            _ => None,
        }
    }
}

/// What exactly went wrong, in words.
#[derive(Clone, PartialEq)]
pub struct Detail(Rustls);

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Detail {}

/// An alert of the peer (RFC 8446, section 6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Alert(AlertDescription);

impl Alert {
    /// Its number.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0.into()
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code();
        match NAMES.iter().find(|(known, _)| *known == code) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{code}"),
        }
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The names in IANA's registry of alerts, less those that no version we speak knows.
const NAMES: [(u8, &str); 27] = [
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (22, "record_overflow"),
    (40, "handshake_failure"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (116, "certificate_required"),
    (120, "no_application_protocol"),
];

/// What is wrong with a peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It cannot be parsed, or uses something that is not supported.
    Malformed,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Its authority has taken it back.
    Revoked,
    /// No authority that we trust has signed it.
    UnknownIssuer,
    /// A signature is wrong, or of a kind that is not supported.
    BadSignature,
    /// It is for another name than the one that was asked for.
    WrongName,
    /// It is not meant for this: a server's shown by a client, or the other way round.
    WrongUsage,
    /// Anything else.
    Other,
}

impl CertificateFault {
    fn of(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::BadEncoding | E::UnhandledCriticalExtension => Self::Malformed,
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::Revoked => Self::Revoked,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::BadSignature
            | E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::BadSignature,
            E::NotValidForName | E::NotValidForNameContext { .. } => Self::WrongName,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongUsage,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "cannot be parsed",
            Self::Expired => "has expired",
            Self::NotYetValid => "is not valid yet",
            Self::Revoked => "has been revoked",
            Self::UnknownIssuer => "was not signed by a trusted authority",
            Self::BadSignature => "has a bad or unsupported signature",
            Self::WrongName => "is for another name",
            Self::WrongUsage => "is not meant for this use",
            Self::Other => "is not acceptable",
        })
    }
}
