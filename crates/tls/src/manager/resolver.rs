//! From a ClientHello to a certificate.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::CertManager;
use super::store::Choice;

/// The resolver of one handshake: it remembers what the client asked for, which rustls' unbuffered
/// connection does not tell.
pub(crate) struct Pick {
    certs: CertManager,
    asked: OnceLock<Asked>,
}

/// What the client asked for.
pub(crate) struct Asked {
    pub(crate) name: Option<Box<str>>,
    pub(crate) refused: bool,
}

impl Pick {
    pub(crate) fn new(certs: CertManager) -> Arc<Self> {
        Arc::new(Self {
            certs,
            asked: OnceLock::new(),
        })
    }

    /// `None` while no ClientHello has been understood.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.asked.get()
    }
}

impl ResolvesServerCert for Pick {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let inner = &self.certs.0;
        let (unknown, missing) = inner.policies();
        let choice = inner
            .store()
            .choose(name, hello.signature_schemes(), unknown, missing);
        self.asked.get_or_init(|| Asked {
            name: name.map(Box::from),
            refused: matches!(choice, Choice::Refuse),
        });
        match choice {
            Choice::Serve(key) => Some(key),
            Choice::Refuse => None,
        }
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pick").finish_non_exhaustive()
    }
}

/// Stands in a configuration until a handshake puts its own resolver there.
#[derive(Debug)]
pub(super) struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// What is done for a client whose name leads to no certificate.
///
/// # Examples
///
/// ```
/// # let signed = rcgen::generate_simple_self_signed(["example.org".to_owned()])?;
/// # let identity = socktree_tls::Identity::from_der([signed.cert.der().to_vec()], signed.signing_key.serialize_der())?;
/// use socktree_tls::{CertManager, NamePolicy, ServeFor};
///
/// // Only clients that ask for example.org get as far as a handshake.
/// let certs = CertManager::builder()
///     .identity(ServeFor::Name("example.org".into()), identity)
///     .unknown_name(NamePolicy::Refuse)
///     .missing_name(NamePolicy::Refuse)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NamePolicy {
    /// It gets a default certificate, and judges for itself. Without one it is refused.
    #[default]
    Default,
    /// Its handshake fails with the alert `unrecognized_name` (RFC 6066, section 3).
    Refuse,
}
