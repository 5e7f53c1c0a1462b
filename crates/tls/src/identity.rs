//! A certificate chain together with its private key.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::facts::{Facts, Usage};
use crate::{CertError, Provider, pem};

/// The most that is read of one file: a chain of a hundred certificates has 200 KiB.
pub(crate) const FILE_LIMIT: usize = 1 << 20;

/// A certificate chain together with its private key, parsed and not yet judged.
///
/// Whether the key belongs to the certificate, the certificate is in its time and is meant for
/// servers is checked by whoever takes it: [`CertManager`](crate::CertManager) or
/// [`ClientTls`](crate::ClientTls).
///
/// The key is wiped from memory when the identity is dropped or loaded, and so is every buffer of
/// ours that it passed through. A slice you gave is yours to wipe. `Debug` shows no part of it.
///
/// # Examples
///
/// ```
/// # let signed = rcgen::generate_simple_self_signed(["example.org".to_owned()])?;
/// # let (chain, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
/// use socktree_tls::Identity;
///
/// let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes())?;
/// assert_eq!(identity.names().collect::<Vec<_>>(), ["example.org"]);
/// assert!(identity.not_after() > std::time::SystemTime::now());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<PrivateKeyDer<'static>>,
    facts: Facts,
}

/// An identity that a provider has taken, with its signing key.
pub(crate) struct Loaded {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) facts: Facts,
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and a key in PEM.
    ///
    /// Both may stand in the same text. Of several keys the first counts.
    ///
    /// # Errors
    ///
    /// [`CertError`] if there is no certificate or key, or if one cannot be parsed.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertError::BadPem)?;
        if chain.is_empty() {
            return Err(CertError::NoCertificate);
        }
        Self::new(chain, &pem::private_key(key)?)
    }

    /// Takes a chain, the server's own certificate first, and a key in DER: PKCS #8, PKCS #1 or
    /// SEC1.
    ///
    /// # Errors
    ///
    /// [`CertError`] if there is no certificate, or if it or the key cannot be parsed.
    pub fn from_der(
        chain: impl IntoIterator<Item = Vec<u8>>,
        key: Vec<u8>,
    ) -> Result<Self, CertError> {
        let key = Zeroizing::new(key);
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Self::new(chain, &key)
    }

    /// Reads the same from PEM files.
    ///
    /// Blocks while it reads them. To have them watched for changes, give their names to
    /// [`CertManagerBuilder::files`](crate::CertManagerBuilder::files) instead.
    ///
    /// # Errors
    ///
    /// [`CertError`] if a file cannot be read, is larger than 1 MiB, or does not hold what it
    /// should.
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, CertError> {
        let chain = read(chain.as_ref())?;
        let key = read(key.as_ref())?;
        Self::from_pem(&chain, &key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<Self, CertError> {
        let own = chain.first().ok_or(CertError::NoCertificate)?;
        let facts = Facts::of(own).ok_or(CertError::BadCertificate { position: 0 })?;
        for (position, certificate) in chain.iter().enumerate() {
            ParsedCertificate::try_from(certificate)
                .map_err(|_| CertError::BadCertificate { position })?;
        }
        let key = PrivateKeyDer::try_from(key).map_err(|_| CertError::NoKey)?;
        Ok(Self {
            chain,
            key: Zeroizing::new(key.clone_key()),
            facts,
        })
    }

    /// The first moment at which the certificate is valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.facts.not_before
    }

    /// The last second in which the certificate is valid. That of the chain's own certificate:
    /// what signs it may be an older one, kept for older clients.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// The DNS names of the certificate, in lower case; wildcards begin with `*.`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.facts.names.iter().map(AsRef::as_ref)
    }

    /// Judges it, and hands the key to the provider.
    pub(crate) fn load(
        &self,
        provider: Provider,
        usage: Usage,
        now: SystemTime,
    ) -> Result<Loaded, CertError> {
        self.facts.check(usage, now)?;
        let key = provider
            .signing_key(&self.key)
            .map_err(|_| CertError::UnsupportedKey)?;
        let key = CertifiedKey::new(self.chain.clone(), key);
        key.keys_match().map_err(|_| CertError::KeyMismatch)?;
        Ok(Loaded {
            key: Arc::new(key),
            facts: self.facts.clone(),
        })
    }
}

impl Loaded {
    /// Whether clients that ask for `name` will take the certificate.
    pub(crate) fn covers(&self, name: &str) -> bool {
        // A wildcard covers what a label in its place is covered by.
        let sample = match name.strip_prefix("*.") {
            Some(rest) => format!("any-label.{rest}"),
            None => name.to_owned(),
        };
        let Ok(name) = ServerName::try_from(sample) else {
            return false;
        };
        self.key
            .end_entity_cert()
            .and_then(ParsedCertificate::try_from)
            .and_then(|certificate| verify_server_name(&certificate, &name))
            .is_ok()
    }
}

/// A list of one, for calls that take several.
impl From<Identity> for Vec<Identity> {
    fn from(identity: Identity) -> Self {
        vec![identity]
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.chain.len())
            .field("names", &self.facts.names)
            .finish_non_exhaustive()
    }
}

/// The whole file, in memory that is wiped when it is dropped.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertError> {
    let unreadable = |error: std::io::Error| CertError::Unreadable {
        path: path.to_owned(),
        kind: error.kind(),
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    // Pipes and files that the system makes up do not say how long they are.
    let len = match usize::try_from(about.len()) {
        Ok(len @ 1..FILE_LIMIT) if about.is_file() => len,
        _ => FILE_LIMIT,
    };
    // One more than there is, so that the buffer does not grow, which would leave a copy behind.
    let room = len + 1;
    let mut text = Zeroizing::new(vec![0; room]);
    let mut filled = 0;
    let mut file = file;
    while filled < room {
        match file.read(&mut text[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    if filled > FILE_LIMIT {
        let path = path.to_owned();
        let limit = FILE_LIMIT;
        return Err(CertError::TooLarge { path, limit });
    }
    text.truncate(filled);
    Ok(text)
}
