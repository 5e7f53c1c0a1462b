//! Which implementation of cryptography is used: always said, never the process's default.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ProducesTickets;
use rustls::sign::SigningKey;

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
compile_error!("socktree-tls needs a provider of cryptography: feature `ring` or `aws-lc-rs`");

/// The implementation of cryptography that a manager or client uses.
///
/// Each feature adds one, and both may be there: in a large program two crates may have asked for
/// one each. rustls' process-wide default, which panics in that case, is neither read nor set.
///
/// The default is ring where that feature is on, else aws-lc-rs; so turning the second one on
/// changes nothing for who has not asked for it.
///
/// # Examples
///
/// ```
/// use socktree_tls::Provider;
///
/// let provider = Provider::default();
/// # #[cfg(feature = "ring")]
/// assert_eq!(provider, Provider::Ring);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// [ring](https://docs.rs/ring): builds in seconds with a C compiler alone.
    #[cfg(feature = "ring")]
    Ring,
    /// [aws-lc-rs](https://docs.rs/aws-lc-rs): more algorithms (P-521, ML-KEM), a longer build.
    #[cfg(feature = "aws-lc-rs")]
    AwsLcRs,
}

impl Default for Provider {
    fn default() -> Self {
        #[cfg(feature = "ring")]
        return Self::Ring;
        #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
        return Self::AwsLcRs;
    }
}

impl Provider {
    pub(crate) fn crypto(self) -> Arc<CryptoProvider> {
        /// Made once: it is the same for every manager and client of a process.
        fn once(
            cell: &'static OnceLock<Arc<CryptoProvider>>,
            make: fn() -> CryptoProvider,
        ) -> Arc<CryptoProvider> {
            Arc::clone(cell.get_or_init(|| Arc::new(make())))
        }
        match self {
            #[cfg(feature = "ring")]
            Self::Ring => {
                static RING: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
                once(&RING, rustls::crypto::ring::default_provider)
            }
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLcRs => {
                static AWS: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
                once(&AWS, rustls::crypto::aws_lc_rs::default_provider)
            }
        }
    }

    pub(crate) fn ticketer(self) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        match self {
            #[cfg(feature = "ring")]
            Self::Ring => rustls::crypto::ring::Ticketer::new(),
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLcRs => rustls::crypto::aws_lc_rs::Ticketer::new(),
        }
    }

    /// Takes the key by reference, so that its source can be wiped by whoever owns it.
    pub(crate) fn signing_key(
        self,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        match self {
            #[cfg(feature = "ring")]
            Self::Ring => rustls::crypto::ring::sign::any_supported_type(key),
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLcRs => rustls::crypto::aws_lc_rs::sign::any_supported_type(key),
        }
    }
}
