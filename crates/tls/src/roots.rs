//! Whom a client or a server trusts.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::CertError;
use crate::identity::read;

/// The certificates of authorities whose signature is trusted.
///
/// Cheap to clone.
///
/// # Examples
///
/// ```
/// # let ca = rcgen::generate_simple_self_signed(["example.org".to_owned()])?.cert.pem();
/// use socktree_tls::Roots;
///
/// let roots = Roots::from_pem(ca.as_bytes())?;
/// assert_eq!(roots.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Trusts every certificate in a PEM text.
    ///
    /// # Errors
    ///
    /// [`CertError`] if there is none, or if one cannot be parsed: a set that is smaller than it
    /// was meant to be would refuse peers for no visible reason.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertError::BadPem)?;
        Self::new(certificates)
    }

    /// Does the same with a PEM file. Blocks while it is read.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem), or if the file cannot be read or is larger than 1 MiB.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, CertError> {
        Self::from_pem(&read(path.as_ref())?)
    }

    /// Trusts these certificates, each in DER.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, CertError> {
        Self::new(certificates.into_iter().map(CertificateDer::from).collect())
    }

    /// Trusts what the system trusts: its files or its store, or what `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name.
    ///
    /// Blocks while they are read, which takes some milliseconds. What cannot be parsed is left
    /// out, as every other program does with these.
    ///
    /// # Errors
    ///
    /// [`CertError::NoRoots`] if none is found.
    #[cfg(feature = "system-roots")]
    pub fn system() -> Result<Self, CertError> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        Self::of_store(store)
    }

    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, CertError> {
        let mut store = RootCertStore::empty();
        for (position, certificate) in certificates.into_iter().enumerate() {
            store
                .add(certificate)
                .map_err(|_| CertError::BadCertificate { position })?;
        }
        Self::of_store(store)
    }

    fn of_store(store: RootCertStore) -> Result<Self, CertError> {
        if store.is_empty() {
            return Err(CertError::NoRoots);
        }
        Ok(Self(Arc::new(store)))
    }

    /// How many authorities there are; never none.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.0.len()).finish()
    }
}
