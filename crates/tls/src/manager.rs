//! The certificates of a server, replaced while it runs.

mod builder;
mod event;
mod files;
mod resolver;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

pub use self::builder::CertManagerBuilder;
use self::event::Observer;
pub use self::event::{CertEvent, CertStatus};
use self::files::{Look, RootsWatch, SETTLE, Watcher};
pub use self::resolver::NamePolicy;
use self::resolver::Nobody;
pub(crate) use self::resolver::Pick;
use self::store::{Served, Store, targets};
use crate::clock::WallClock;
use crate::facts::{Usage, normal_name};
use crate::session::TlsSession;
use crate::session::permit::Permit;
use crate::{CertError, Identity, Provider, Roots, Versions};

/// The certificates of a server: a handle that is cheap to clone, shared by its listeners.
///
/// Each new connection gets a [`session`](Self::session) from it. A certificate that is replaced
/// is judged first: the key has to belong to it, servers have to be what it is meant for, and it
/// has to be in its time and cover the name. If it is refused, what was served before still is.
/// A replacement counts from the next ClientHello on; a connection keeps what it began with.
///
/// Nothing happens by itself. [`poll`](Self::poll) reads watched files and looks at dates, when
/// [`next_poll`](Self::next_poll) says so.
///
/// # Examples
///
/// ```
/// # let signed = rcgen::generate_simple_self_signed(["example.org".to_owned()])?;
/// # let identity = |_: &str| socktree_tls::Identity::from_der([signed.cert.der().to_vec()], signed.signing_key.serialize_der());
/// use socktree_tls::{CertManager, ServeFor};
///
/// let certs = CertManager::new(identity("first")?)?;
/// let listener = certs.clone(); // one for each listener
///
/// // Months later:
/// certs.replace(ServeFor::Default, identity("second")?)?;
/// assert_eq!(listener.certificates().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CertManager(Arc<Inner>);

/// A part of the handshakes that a manager allows at once; see [`CertManager::share`].
#[derive(Debug)]
pub struct HandshakeShare {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// Whom a certificate is served to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServeFor {
    /// Clients that ask for no name, or for one that is not known.
    Default,
    /// Clients that ask for this name: a host name, or `*.` before one, which stands for a single
    /// label. An exact name goes before a wildcard.
    Name(String),
    /// Clients that ask for a DNS name which the certificate carries.
    ItsNames,
}

impl fmt::Display for ServeFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("for all other names"),
            Self::Name(name) => write!(f, "for {name}"),
            Self::ItsNames => f.write_str("for its own names"),
        }
    }
}

/// Whether clients show certificates, and who has to have signed them.
///
/// # Examples
///
/// ```
/// # let ca = rcgen::generate_simple_self_signed(["ca".to_owned()])?.cert.pem();
/// use socktree_tls::{ClientAuth, Roots};
///
/// let roots = Roots::from_pem(ca.as_bytes())?;
/// let auth = ClientAuth::required(roots);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientAuth(Option<(Trust, bool)>);

/// Which authorities' clients are trusted.
#[derive(Clone, Debug)]
enum Trust {
    Roots(Roots),
    File(PathBuf),
}

/// The same, read.
struct Clients {
    roots: Roots,
    /// Whether each has to show a certificate.
    required: bool,
}

impl ClientAuth {
    /// Clients are not asked.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Clients may show a certificate; if they do, it has to be right.
    #[must_use]
    pub fn optional(roots: Roots) -> Self {
        Self(Some((Trust::Roots(roots), false)))
    }

    /// Clients have to show a certificate that one of these authorities has signed, for clients,
    /// and in its time.
    #[must_use]
    pub fn required(roots: Roots) -> Self {
        Self(Some((Trust::Roots(roots), true)))
    }

    /// As [`optional`](Self::optional), with the authorities in a PEM file, which is watched: see
    /// [`required_file`](Self::required_file).
    #[must_use]
    pub fn optional_file(path: impl Into<PathBuf>) -> Self {
        Self(Some((Trust::File(path.into()), false)))
    }

    /// As [`required`](Self::required), with the authorities in a PEM file, which is watched.
    ///
    /// It is read when the manager is built, or takes this, and then by [`CertManager::poll`]. A
    /// file that has become unreadable or broken changes nothing: who was trusted still is.
    #[must_use]
    pub fn required_file(path: impl Into<PathBuf>) -> Self {
        Self(Some((Trust::File(path.into()), true)))
    }

    /// Reads the file, if there is one: whom to trust, and what to watch.
    fn open(&self) -> Result<(Option<Clients>, Option<RootsWatch>), CertError> {
        let Some((trust, required)) = &self.0 else {
            return Ok((None, None));
        };
        let required = *required;
        let (roots, watch) = match trust {
            Trust::Roots(roots) => (roots.clone(), None),
            Trust::File(path) => {
                let (watch, roots) = RootsWatch::open(path.clone(), required)?;
                (roots, Some(watch))
            }
        };
        Ok((Some(Clients { roots, required }), watch))
    }
}

/// As many handshakes as allowed are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyHandshakes {
    /// How many are allowed.
    pub limit: usize,
}

impl fmt::Display for TooManyHandshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handshakes are under way", self.limit)
    }
}

impl std::error::Error for TooManyHandshakes {}

#[derive(Debug)]
struct Options {
    provider: Provider,
    unknown: NamePolicy,
    missing: NamePolicy,
    alpn: Vec<Vec<u8>>,
    versions: Versions,
    resumption: bool,
    tickets: usize,
    handshake_timeout: Duration,
    max_handshakes: usize,
    buffer_limit: usize,
    poll_every: Duration,
    warn_before: Duration,
    clock: WallClock,
    observer: Observer,
}

impl Options {
    /// A configuration with tickets of its own: what was trusted before cannot be resumed.
    fn config(&self, clients: Option<&Clients>) -> Result<ServerConfig, CertError> {
        let crypto = self.provider.crypto();
        let builder =
            ServerConfig::builder_with_details(Arc::clone(&crypto), Arc::new(self.clock.clone()))
                .with_protocol_versions(self.versions.list())
                .map_err(|_| CertError::Provider)?;
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(Clients { roots, required }) => {
                let builder = WebPkiClientVerifier::builder_with_provider(roots.store(), crypto);
                let builder = if *required {
                    builder
                } else {
                    builder.allow_unauthenticated()
                };
                builder.build().map_err(|_| CertError::NoRoots)?
            }
        };
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Nobody));
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.resumption {
            config.ticketer = self.provider.ticketer().map_err(|_| CertError::Provider)?;
            config.send_tls13_tickets = self.tickets;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

struct Inner {
    options: Options,
    store: RwLock<Store>,
    config: RwLock<Arc<ServerConfig>>,
    watcher: Mutex<Watcher>,
    handshakes: Arc<AtomicUsize>,
}

// Everything under these locks is whole at any moment: a panic elsewhere is no reason to stop.
impl Inner {
    fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_mut(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn watcher(&self) -> MutexGuard<'_, Watcher> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policies(&self) -> (NamePolicy, NamePolicy) {
        (self.options.unknown, self.options.missing)
    }

    fn set_config(&self, config: ServerConfig) {
        let mut place = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(config);
    }

    fn load(&self, identity: &Identity, watch: Option<usize>) -> Result<Arc<Served>, CertError> {
        let now = self.options.clock.now();
        let loaded = identity.load(self.options.provider, Usage::Server, now)?;
        Ok(Served::new(loaded, watch))
    }
}

/// What a poll looks at; each says whether something is just being changed.
impl Inner {
    fn look_at_pairs(&self, watcher: &mut Watcher, events: &mut Vec<CertEvent>) -> bool {
        let mut changing = false;
        for (number, watch) in watcher.watches.iter_mut().enumerate() {
            let Some(watch) = watch else { continue };
            let read = match watch.look() {
                Look::Unchanged => continue,
                Look::Changing => {
                    changing = true;
                    continue;
                }
                Look::Changed(read) => read,
            };
            let which = watch.which.clone();
            let loaded = read.and_then(|identity| {
                let served = self.load(&identity, Some(number))?;
                let not_after = identity.not_after();
                Ok((targets(&which, &[served])?, not_after))
            });
            events.push(match loaded {
                Ok((targets, not_after)) => {
                    self.store_mut().reload(number, targets);
                    CertEvent::Reloaded { which, not_after }
                }
                Err(error) => CertEvent::ReloadFailed { which, error },
            });
        }
        changing
    }

    fn look_at_clients(&self, watcher: &mut Watcher, events: &mut Vec<CertEvent>) -> bool {
        let Some(watch) = &mut watcher.roots else {
            return false;
        };
        let read = match watch.look() {
            Look::Unchanged => return false,
            Look::Changing => return true,
            Look::Changed(read) => read,
        };
        let loaded = read.and_then(|roots| {
            let authorities = roots.len();
            let required = watch.required;
            let clients = Clients { roots, required };
            Ok((self.options.config(Some(&clients))?, authorities))
        });
        events.push(match loaded {
            Ok((config, authorities)) => {
                self.set_config(config);
                CertEvent::ClientCaReloaded { authorities }
            }
            Err(error) => CertEvent::ClientCaReloadFailed { error },
        });
        false
    }
}

impl CertManager {
    /// A manager that serves one certificate to everyone, with every option at its default.
    ///
    /// # Errors
    ///
    /// [`CertError`] if the certificate is not right.
    pub fn new(identity: Identity) -> Result<Self, CertError> {
        Self::builder()
            .identity(ServeFor::Default, identity)
            .build()
    }

    /// Begins to say what else a manager is to do: several certificates, files, client certificates,
    /// limits.
    pub fn builder() -> CertManagerBuilder {
        CertManagerBuilder::new()
    }

    /// A session for a connection that was just accepted.
    ///
    /// Its handshake has to be complete [`handshake_timeout`](CertManagerBuilder::handshake_timeout)
    /// after `now`. Until the first byte comes it costs next to nothing.
    ///
    /// # Errors
    ///
    /// [`TooManyHandshakes`] if as many are under way as are allowed. Stop accepting for a while,
    /// or close the connection.
    pub fn session(&self, now: Instant) -> Result<TlsSession, TooManyHandshakes> {
        let options = &self.0.options;
        let limit = options.max_handshakes;
        let permit = Permit::take(&self.0.handshakes, limit).ok_or(TooManyHandshakes { limit })?;
        Ok(self.session_with(permit, now))
    }

    /// The same, with a place of a share; how many are taken of the others does not matter.
    ///
    /// # Errors
    ///
    /// [`TooManyHandshakes`] if all places of the share are taken.
    ///
    /// # Examples
    ///
    /// ```
    /// # let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// # let identity = socktree_tls::Identity::from_der([signed.cert.der().to_vec()], signed.signing_key.serialize_der())?;
    /// use socktree_tls::{CertManager, ServeFor};
    /// use std::time::Instant;
    ///
    /// let certs = CertManager::builder()
    ///     .identity(ServeFor::Default, identity)
    ///     .max_handshakes(4)
    ///     .build()?;
    /// let (mine, yours) = (certs.share(2), certs.share(2));
    /// let now = Instant::now();
    /// let first = certs.session_of(&mine, now)?;
    /// let second = certs.session_of(&mine, now)?;
    /// assert!(certs.session_of(&mine, now).is_err());
    /// assert!(certs.session_of(&yours, now).is_ok());
    /// # drop((first, second));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn session_of(
        &self,
        share: &HandshakeShare,
        now: Instant,
    ) -> Result<TlsSession, TooManyHandshakes> {
        let limit = share.limit;
        let permit = Permit::take_of(&self.0.handshakes, &share.taken, limit);
        let permit = permit.ok_or(TooManyHandshakes { limit })?;
        Ok(self.session_with(permit, now))
    }

    /// Places for one of so many `parties` that accept connections side by side, such as the
    /// threads of a server: an equal share of
    /// [`max_handshakes`](CertManagerBuilder::max_handshakes), and at least one. With a share each
    /// of them can make room by itself, and none takes the places of another.
    #[must_use]
    pub fn share(&self, parties: usize) -> HandshakeShare {
        HandshakeShare {
            taken: Arc::default(),
            limit: self
                .0
                .options
                .max_handshakes
                .div_ceil(parties.max(1))
                .max(1),
        }
    }

    fn session_with(&self, permit: Permit, now: Instant) -> TlsSession {
        let options = &self.0.options;
        let deadline = now.checked_add(options.handshake_timeout);
        TlsSession::server(self.clone(), permit, deadline, options.buffer_limit)
    }

    /// Whether both are handles of one manager, and so share certificates and options.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many handshakes are under way.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.0.handshakes.load(Ordering::Relaxed)
    }

    /// Serves these certificates for `which`, in place of what was served for it until now, files
    /// included: those are no longer watched.
    ///
    /// # Errors
    ///
    /// [`CertError`] if one is not right; then nothing has changed.
    pub fn replace(
        &self,
        which: ServeFor,
        identities: impl Into<Vec<Identity>>,
    ) -> Result<(), CertError> {
        let slot: Result<Vec<_>, _> = identities
            .into()
            .iter()
            .map(|identity| self.0.load(identity, None))
            .collect();
        let targets = targets(&which, &slot?)?;
        let mut watcher = self.0.watcher();
        watcher.forget(&which);
        self.0.store_mut().replace(targets);
        drop(watcher);
        Ok(())
    }

    /// Serves nothing of its own for `name` any more, and says whether there was anything.
    ///
    /// Clients that ask for it are then treated as for any name that is not known.
    pub fn remove(&self, name: &str) -> bool {
        let Some(normal) = normal_name(name) else {
            return false;
        };
        let mut watcher = self.0.watcher();
        watcher.forget(&ServeFor::Name(normal.to_string()));
        self.0.store_mut().remove(&normal)
    }

    /// Changes whom it trusts as a client, for every handshake that has not begun. A file that was
    /// watched until now is no longer.
    ///
    /// A client that was let in before, and comes back with a ticket, has to show its certificate
    /// again. Connections that are there stay. Blocks while a file is read.
    ///
    /// # Errors
    ///
    /// [`CertError`] if the roots are not right; then nothing has changed.
    pub fn set_client_auth(&self, auth: &ClientAuth) -> Result<(), CertError> {
        let (clients, watch) = auth.open()?;
        let config = self.0.options.config(clients.as_ref())?;
        let mut watcher = self.0.watcher();
        watcher.roots = watch;
        self.0.set_config(config);
        drop(watcher);
        Ok(())
    }

    /// The certificates in use, with their dates.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertStatus> {
        self.0.store().status()
    }

    /// When to call [`poll`](Self::poll) next. `None` is for a manager that was never polled: at
    /// once.
    #[must_use]
    pub fn next_poll(&self) -> Option<Instant> {
        self.0.watcher().due
    }

    /// Reads the watched files and looks at the dates, if that is due.
    ///
    /// Files that have changed are looked at again a second later, and are loaded when they are
    /// still the same: so nobody was just writing them. What is refused is reported once, and
    /// looked at again when it changes.
    ///
    /// Blocks while it reads. Any thread may call it. Whoever asked for it by
    /// [`on_event`](CertManagerBuilder::on_event) is told of the events before this returns.
    pub fn poll(&self, now: Instant) -> Vec<CertEvent> {
        let inner = &*self.0;
        let mut events = Vec::new();
        let mut watcher = inner.watcher();
        if watcher.due.is_some_and(|due| now < due) {
            return events;
        }
        let changing = inner.look_at_pairs(&mut watcher, &mut events)
            | inner.look_at_clients(&mut watcher, &mut events);
        let period = inner.options.poll_every;
        let again = if changing { period.min(SETTLE) } else { period };
        watcher.due = now.checked_add(again);
        drop(watcher);
        let (wall, ahead) = (inner.options.clock.now(), inner.options.warn_before);
        inner.store().expiring(wall, ahead, &mut events);
        inner.options.observer.tell(&events);
        events
    }

    /// The configuration of one handshake, with a resolver of its own.
    pub(crate) fn config(&self, pick: &Arc<Pick>) -> Arc<ServerConfig> {
        let shared = Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner));
        let mut config = ServerConfig::clone(&shared);
        config.cert_resolver = Arc::clone(pick) as _;
        Arc::new(config)
    }
}

impl Watcher {
    /// Forgets the files that are served for exactly this.
    fn forget(&mut self, which: &ServeFor) {
        let is_meant = |watched: &ServeFor| match (watched, which) {
            (ServeFor::Name(watched), ServeFor::Name(name)) => {
                normal_name(watched) == normal_name(name)
            }
            (watched, which) => watched == which,
        };
        for watch in &mut self.watches {
            if watch.as_ref().is_some_and(|watch| is_meant(&watch.which)) {
                *watch = None;
            }
        }
    }
}

impl fmt::Debug for CertManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertManager")
            .field("options", &self.0.options)
            .field("certificates", &self.certificates())
            .field("handshakes", &self.handshakes())
            .finish_non_exhaustive()
    }
}
