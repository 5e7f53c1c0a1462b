//! How a client speaks TLS.

mod danger;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::ServerName;

use crate::clock::WallClock;
use crate::facts::Usage;
use crate::session::TlsSession;
use crate::{
    CertError, DEFAULT_BUFFER_LIMIT, Identity, Provider, Roots, Versions, check_protocols,
    smallest_buffer,
};

/// How a client speaks TLS: whom it trusts, and who it is. A handle that is cheap to clone.
///
/// Connections that should share tickets share one of these; nothing can be changed in it, so a
/// change of trust is a new one, with which nothing is resumed.
///
/// # Examples
///
/// ```
/// # let signed = rcgen::generate_simple_self_signed(["example.org".to_owned()])?;
/// # let ca = signed.cert.pem();
/// use socktree_tls::{ClientTls, Roots};
/// use std::time::Instant;
///
/// let tls = ClientTls::builder()
///     .roots(Roots::from_pem(ca.as_bytes())?)
///     .alpn(["mqtt"])
///     .build()?;
/// let session = tls.session("example.org", Instant::now())?;
/// assert!(!session.output().is_empty()); // the ClientHello
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ClientTls(Arc<Inner>);

struct Inner {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    handshake_timeout: Duration,
    buffer_limit: usize,
    verifies: bool,
}

/// The options of a [`ClientTls`]; made by [`ClientTls::builder`].
///
/// | option | default |
/// |---|---|
/// | [`provider`](Self::provider) | [`Provider::default`] |
/// | [`roots`](Self::roots) | what the system trusts, with the feature `system-roots` |
/// | [`server_name`](Self::server_name) | the host that is connected to |
/// | [`identity`](Self::identity) | none |
/// | [`alpn`](Self::alpn) | none |
/// | [`versions`](Self::versions) | TLS 1.3 and 1.2 |
/// | [`resumption`](Self::resumption) | on |
/// | [`handshake_timeout`](Self::handshake_timeout) | 10 s |
/// | [`buffer_limit`](Self::buffer_limit) | 64 KiB |
/// | [`wall_clock`](Self::wall_clock) | the system's |
#[derive(Debug)]
#[must_use = "nothing happens until `build` is called"]
pub struct ClientTlsBuilder {
    provider: Provider,
    roots: Option<Roots>,
    server_name: Option<String>,
    identity: Option<Identity>,
    alpn: Vec<Vec<u8>>,
    versions: Versions,
    resumption: bool,
    handshake_timeout: Duration,
    buffer_limit: usize,
    clock: WallClock,
    verifies: bool,
}

impl ClientTls {
    /// Begins to say how a client speaks TLS: whom it trusts, who it is, what it accepts.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder {
            provider: Provider::default(),
            roots: None,
            server_name: None,
            identity: None,
            alpn: Vec::new(),
            versions: Versions::default(),
            resumption: true,
            handshake_timeout: Duration::from_secs(10),
            buffer_limit: DEFAULT_BUFFER_LIMIT,
            clock: WallClock::default(),
            verifies: true,
        }
    }

    /// A session with `host`, a name or an IP address, whose certificate has to be for it; its
    /// first message is in its [`output`](TlsSession::output).
    ///
    /// The handshake has to be complete
    /// [`handshake_timeout`](ClientTlsBuilder::handshake_timeout) after `now`.
    ///
    /// # Errors
    ///
    /// [`CertError::BadName`] if `host` is neither, unless another
    /// [`server_name`](ClientTlsBuilder::server_name) was set; [`CertError::Provider`] if there
    /// are no random numbers.
    pub fn session(&self, host: &str, now: Instant) -> Result<TlsSession, CertError> {
        let inner = &*self.0;
        let name = match &inner.server_name {
            Some(name) => name.clone(),
            None => server_name(host)?,
        };
        if !inner.verifies {
            log::warn!("the certificate of {name:?} will not be verified");
        }
        let asked = match &name {
            ServerName::DnsName(name) => Some(name.as_ref().to_ascii_lowercase().into_boxed_str()),
            _ => None,
        };
        let tls = UnbufferedClientConnection::new(Arc::clone(&inner.config), name)
            .map_err(|_| CertError::Provider)?;
        let deadline = now.checked_add(inner.handshake_timeout);
        let limit = inner.buffer_limit;
        Ok(TlsSession::client(
            tls,
            asked,
            deadline,
            limit,
            inner.verifies,
        ))
    }

    /// Whether [`session`](Self::session) would take this host: to know it before connecting.
    ///
    /// # Errors
    ///
    /// [`CertError::BadName`], as there.
    pub fn check_host(&self, host: &str) -> Result<(), CertError> {
        match self.0.server_name {
            Some(_) => Ok(()),
            None => server_name(host).map(drop),
        }
    }

    /// Whether servers' certificates are verified: whether
    /// [`dangerous_skip_verification`](ClientTlsBuilder::dangerous_skip_verification) was not
    /// called.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.0.verifies
    }
}

impl ClientTlsBuilder {
    /// Chooses the implementation of cryptography.
    pub fn provider(mut self, provider: Provider) -> Self {
        self.provider = provider;
        self
    }

    /// Sets whom to trust.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Sets the name, or the IP address, that is asked for and that the certificate has to be for,
    /// whatever host is connected to.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets the certificate that is shown to a server that asks for one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the protocols to be spoken inside (RFC 7301), the one liked best first.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the versions of TLS that are spoken.
    pub fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// Whether to come back to a server with a ticket it gave, which saves both sides most of the
    /// handshake. Tickets of up to 256 servers are kept, in memory.
    pub fn resumption(mut self, on: bool) -> Self {
        self.resumption = on;
        self
    }

    /// Sets the time in which a handshake has to be complete.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets the one bound, in bytes, for each direction of a session; at least 20 KiB, which holds
    /// one record.
    pub fn buffer_limit(mut self, bytes: usize) -> Self {
        self.buffer_limit = smallest_buffer(bytes);
        self
    }

    /// Says where the time of day comes from, by which certificates are judged; for simulations
    /// and tests.
    pub fn wall_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = WallClock::new(now);
        self
    }

    /// Takes any certificate of any server, for any name and any time.
    ///
    /// Whoever is on the way can then read and change everything. Each session logs a warning, and
    /// its [`TlsInfo::verified`](crate::TlsInfo::verified) is false. The roots are not looked at.
    pub fn dangerous_skip_verification(mut self) -> Self {
        self.verifies = false;
        self
    }

    /// Judges the options and makes the client.
    ///
    /// Blocks while it reads the system's roots, if none were given.
    ///
    /// # Errors
    ///
    /// [`CertError`] for the server name, a protocol, the identity or the roots.
    pub fn build(self) -> Result<ClientTls, CertError> {
        check_protocols(&self.alpn)?;
        let crypto = self.provider.crypto();
        let server_name = self.server_name.as_deref().map(server_name).transpose()?;
        let time = Arc::new(self.clock.clone());
        let builder = ClientConfig::builder_with_details(Arc::clone(&crypto), time)
            .with_protocol_versions(self.versions.list())
            .map_err(|_| CertError::Provider)?;
        let builder = if self.verifies {
            let roots = match self.roots {
                Some(roots) => roots,
                None => default_roots()?,
            };
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.store(), crypto)
                .build()
                .map_err(|_| CertError::NoRoots)?;
            builder.with_webpki_verifier(verifier)
        } else {
            danger::skip_verification(builder, &crypto)
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let loaded = identity.load(self.provider, Usage::Client, self.clock.now())?;
                let key = rustls::sign::SingleCertAndKey::from(loaded.key);
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.alpn_protocols = self.alpn;
        if !self.resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(ClientTls(Arc::new(Inner {
            config: Arc::new(config),
            server_name,
            handshake_timeout: self.handshake_timeout,
            buffer_limit: self.buffer_limit,
            verifies: self.verifies,
        })))
    }
}

#[cfg(feature = "system-roots")]
fn default_roots() -> Result<Roots, CertError> {
    Roots::system()
}

#[cfg(not(feature = "system-roots"))]
fn default_roots() -> Result<Roots, CertError> {
    Err(CertError::NoRoots)
}

fn server_name(host: &str) -> Result<ServerName<'static>, CertError> {
    let name = host.strip_suffix('.').unwrap_or(host).to_owned();
    ServerName::try_from(name).map_err(|_| CertError::BadName(host.to_owned()))
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.0.server_name)
            .field("verifies", &self.0.verifies)
            .finish_non_exhaustive()
    }
}
