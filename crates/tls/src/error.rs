//! Why a certificate, a key or a set of roots is refused.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// Why certificates, keys or options are refused.
///
/// Whatever was in use before stays in use.
///
/// # Examples
///
/// ```
/// use socktree_tls::{CertError, Identity};
///
/// let refused = Identity::from_pem(b"not a certificate", b"not a key");
/// assert_eq!(refused.unwrap_err(), CertError::NoCertificate);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertError {
    /// A certificate cannot be parsed.
    BadCertificate {
        /// Which one of the chain, counted from 0.
        position: usize,
    },
    /// This is neither a host name nor a wildcard for one label (`*.example.org`).
    BadName(String),
    /// The text of a PEM section is broken, or its end is missing.
    BadPem,
    /// The name of a protocol (ALPN) is empty, or longer than 255 bytes (RFC 7301, section 3.1); this
    /// is its length.
    BadProtocol {
        /// How many bytes it has.
        len: usize,
    },
    /// The certificate's time is over.
    Expired {
        /// Its last second.
        not_after: SystemTime,
    },
    /// The key does not belong to the certificate.
    KeyMismatch,
    /// The certificate is not for this name, by its subject alternative names.
    NameNotCovered(String),
    /// There is no certificate in what was given.
    NoCertificate,
    /// There is no private key in what was given.
    NoKey,
    /// No certificate of an authority is there to trust.
    NoRoots,
    /// The certificate's time has not come.
    NotYetValid {
        /// Its first second.
        not_before: SystemTime,
    },
    /// There is neither a default certificate nor one for a name.
    NothingToServe,
    /// The provider's random numbers failed, or it lacks what TLS needs.
    Provider,
    /// A file is larger than any certificate or key.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read of one, in bytes.
        limit: usize,
    },
    /// A file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The provider does not support this kind of key.
    UnsupportedKey,
    /// The certificate's extended key usage does not include the one it is wanted for: servers for
    /// a server, clients for a client.
    WrongUsage,
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCertificate { position } => {
                write!(f, "certificate {position} of the chain cannot be parsed")
            }
            Self::BadName(name) => write!(f, "{name:?} is not a host name"),
            Self::BadPem => f.write_str("a PEM section is broken or incomplete"),
            Self::BadProtocol { len } => {
                write!(
                    f,
                    "the name of a protocol has {len} bytes instead of 1 to 255"
                )
            }
            Self::Expired { not_after } => {
                write!(f, "the certificate expired at {}", Seconds(*not_after))
            }
            Self::KeyMismatch => f.write_str("the key does not belong to the certificate"),
            Self::NameNotCovered(name) => write!(f, "the certificate is not for {name:?}"),
            Self::NoCertificate => f.write_str("no certificate found"),
            Self::NoKey => f.write_str("no private key found"),
            Self::NoRoots => f.write_str("no certificate of an authority found"),
            Self::NotYetValid { not_before } => {
                let from = Seconds(*not_before);
                write!(f, "the certificate is not valid before {from}")
            }
            Self::NothingToServe => f.write_str("no certificate to serve"),
            Self::Provider => f.write_str("the provider of cryptography failed"),
            Self::TooLarge { path, limit } => {
                write!(f, "{} is larger than {limit} bytes", path.display())
            }
            Self::Unreadable { path, kind } => {
                write!(f, "{} cannot be read: {kind}", path.display())
            }
            Self::UnsupportedKey => f.write_str("the provider does not support this kind of key"),
            Self::WrongUsage => f.write_str("the certificate is not meant for this use"),
        }
    }
}

impl Error for CertError {}

/// A time as seconds since 1970, which needs no calendar.
struct Seconds(SystemTime);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => write!(f, "Unix time {}", since.as_secs()),
            Err(_) => f.write_str("a time before 1970"),
        }
    }
}
