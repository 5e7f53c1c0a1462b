//! How a manager is set up.

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use super::event::{CertEvent, Observer};
use super::files::{Watch, Watcher};
use super::store::{Served, Store, targets};
use super::{CertManager, ClientAuth, Inner, NamePolicy, Options, ServeFor};
use crate::clock::WallClock;
use crate::facts::Usage;
use crate::{
    CertError, DEFAULT_BUFFER_LIMIT, Identity, Provider, Versions, check_protocols, smallest_buffer,
};

/// The options of a [`CertManager`]; made by [`CertManager::builder`].
///
/// | option | default |
/// |---|---|
/// | [`provider`](Self::provider) | [`Provider::default`] |
/// | [`unknown_name`](Self::unknown_name), [`missing_name`](Self::missing_name) | the default certificate |
/// | [`client_auth`](Self::client_auth) | none |
/// | [`alpn`](Self::alpn) | none |
/// | [`versions`](Self::versions) | TLS 1.3 and 1.2 |
/// | [`resumption`](Self::resumption) | on |
/// | [`tickets`](Self::tickets) | 1 |
/// | [`handshake_timeout`](Self::handshake_timeout) | 10 s |
/// | [`max_handshakes`](Self::max_handshakes) | 1024 |
/// | [`buffer_limit`](Self::buffer_limit) | 64 KiB |
/// | [`poll_every`](Self::poll_every) | 10 s |
/// | [`warn_before`](Self::warn_before) | 14 days |
/// | [`wall_clock`](Self::wall_clock) | the system's |
/// | [`on_event`](Self::on_event) | nobody |
#[derive(Debug)]
#[must_use = "nothing happens until `build` is called"]
pub struct CertManagerBuilder {
    options: Options,
    auth: ClientAuth,
    identities: Vec<(ServeFor, Vec<Identity>)>,
    files: Vec<(ServeFor, PathBuf, PathBuf)>,
}

impl CertManagerBuilder {
    pub(super) fn new() -> Self {
        Self {
            options: Options {
                provider: Provider::default(),
                unknown: NamePolicy::Default,
                missing: NamePolicy::Default,
                alpn: Vec::new(),
                versions: Versions::default(),
                resumption: true,
                tickets: 1,
                handshake_timeout: Duration::from_secs(10),
                max_handshakes: 1024,
                buffer_limit: DEFAULT_BUFFER_LIMIT,
                poll_every: Duration::from_secs(10),
                warn_before: Duration::from_secs(14 * 24 * 60 * 60),
                clock: WallClock::default(),
                observer: Observer::default(),
            },
            auth: ClientAuth::none(),
            identities: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Chooses the implementation of cryptography.
    pub fn provider(mut self, provider: Provider) -> Self {
        self.options.provider = provider;
        self
    }

    /// Serves a certificate. Several for the same stand side by side: the first whose key the
    /// client can check is used.
    pub fn identity(mut self, which: ServeFor, identity: impl Into<Vec<Identity>>) -> Self {
        self.identities.push((which, identity.into()));
        self
    }

    /// Serves a certificate from a pair of PEM files, and serves what they hold when they change.
    ///
    /// They are read by [`build`](Self::build), and then by [`CertManager::poll`]. It is their
    /// content that counts and not their dates, so a directory that is a symbolic link may be
    /// swapped, and a file that is rewritten as it was changes nothing.
    pub fn files(
        mut self,
        which: ServeFor,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.files.push((which, chain.into(), key.into()));
        self
    }

    /// Says what is done for a client that asks for a name we have no certificate for.
    pub fn unknown_name(mut self, policy: NamePolicy) -> Self {
        self.options.unknown = policy;
        self
    }

    /// Says what is done for a client that asks for no name, or for an IP address.
    pub fn missing_name(mut self, policy: NamePolicy) -> Self {
        self.options.missing = policy;
        self
    }

    /// Says whether clients show certificates, and who has to have signed them.
    pub fn client_auth(mut self, auth: ClientAuth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets the protocols that are spoken inside (RFC 7301), the one liked best first, such as
    /// `h2`. A client that offers others only is refused; one that offers none is not.
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.options.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the versions of TLS that are spoken.
    pub fn versions(mut self, versions: Versions) -> Self {
        self.options.versions = versions;
        self
    }

    /// Whether a client that comes back may skip the certificate (RFC 8446, section 2.2).
    ///
    /// It works by tickets that the client keeps; nothing is kept here. A ticket is good for any
    /// certificate of this manager, so replacing one costs no client its resumption. There is no
    /// early data: its first bytes could be replayed.
    pub fn resumption(mut self, on: bool) -> Self {
        self.options.resumption = on;
        self
    }

    /// Sets how many tickets a client gets with each handshake of TLS 1.3 (RFC 8446, section 4.6.1);
    /// 0 counts as 1, and [`resumption`](Self::resumption) switches them off. With TLS 1.2 it is
    /// always one.
    ///
    /// A client should use each but once (RFC 8446, appendix C.4), and gets a new one with each
    /// connection: one is enough to go on. More let a client that opens several at once
    /// resume that many, and make every handshake dearer, by some 180 bytes and three calls for
    /// random numbers each.
    pub fn tickets(mut self, tickets: usize) -> Self {
        self.options.tickets = tickets.max(1);
        self
    }

    /// Sets the time in which a handshake has to be complete, however busy the client is.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.handshake_timeout = timeout;
        self
    }

    /// Sets how many handshakes may be under way at once. One more is refused by
    /// [`CertManager::session`]; those who accept side by side may have a
    /// [`share`](CertManager::share) each.
    pub fn max_handshakes(mut self, most: usize) -> Self {
        self.options.max_handshakes = most;
        self
    }

    /// Sets the one bound, in bytes, for each direction of a session; at least 20 KiB, which holds
    /// one record.
    pub fn buffer_limit(mut self, bytes: usize) -> Self {
        self.options.buffer_limit = smallest_buffer(bytes);
        self
    }

    /// Sets how often files are read and dates looked at.
    pub fn poll_every(mut self, period: Duration) -> Self {
        self.options.poll_every = period;
        self
    }

    /// Sets how long before its end a certificate is reported.
    pub fn warn_before(mut self, ahead: Duration) -> Self {
        self.options.warn_before = ahead;
        self
    }

    /// Says where the time of day comes from, by which certificates and tickets are judged; for
    /// simulations and tests.
    pub fn wall_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.options.clock = WallClock::new(now);
        self
    }

    /// Says who is told what [`CertManager::poll`] finds, before it returns.
    ///
    /// This is for where others poll, as a TCP server does that was given the manager. Called by
    /// the thread that polls, one event after the other, with nothing locked: it may use the
    /// manager, and may block, which delays the next poll and nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// # let signed = rcgen::generate_simple_self_signed(["example.org".to_owned()])?;
    /// # let identity = socktree_tls::Identity::from_der([signed.cert.der().to_vec()], signed.signing_key.serialize_der())?;
    /// use socktree_tls::{CertEvent, CertManager, ServeFor};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let certs = CertManager::builder()
    ///     .identity(ServeFor::Default, identity)
    ///     .on_event(move |event| {
    ///         if let CertEvent::Expired { .. } | CertEvent::ReloadFailed { .. } = event {
    ///             tell.send(event.to_string()).ok();
    ///         }
    ///     })
    ///     .build()?;
    /// # drop((certs, told));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_event(mut self, hear: impl Fn(&CertEvent) + Send + Sync + 'static) -> Self {
        self.options.observer = Observer::new(hear);
        self
    }

    /// Reads the files, judges every certificate and makes the manager.
    ///
    /// # Errors
    ///
    /// [`CertError`] for the first certificate, key, name, protocol or file that is not right, or if
    /// there is nothing to serve.
    pub fn build(self) -> Result<CertManager, CertError> {
        let options = self.options;
        check_protocols(&options.alpn)?;
        let now = options.clock.now();
        let load = |identity: &Identity, watch| {
            let loaded = identity.load(options.provider, Usage::Server, now)?;
            Ok::<_, CertError>(Served::new(loaded, watch))
        };
        let mut store = Store::default();
        for (which, identities) in self.identities {
            let slot: Result<Vec<_>, _> = identities.iter().map(|i| load(i, None)).collect();
            store.add(targets(&which, &slot?)?);
        }
        let mut watches = Vec::new();
        for (which, chain, key) in self.files {
            let mut watch = Watch::new(which, chain, key);
            let served = load(&watch.open()?, Some(watches.len()))?;
            store.add(targets(&watch.which, &[served])?);
            watches.push(Some(watch));
        }
        if store.is_empty() {
            return Err(CertError::NothingToServe);
        }
        let (clients, roots) = self.auth.open()?;
        let config = options.config(clients.as_ref())?;
        Ok(CertManager(Arc::new(Inner {
            options,
            store: RwLock::new(store),
            config: RwLock::new(Arc::new(config)),
            watcher: Mutex::new(Watcher {
                watches,
                roots,
                due: None,
            }),
            handshakes: Arc::new(AtomicUsize::new(0)),
        })))
    }
}
