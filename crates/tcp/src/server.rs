//! A listening socket as a meta-process.

mod handshakes;
mod shared;

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;

use socktree_kernel::{Actor, Alias, Ctx, Meta, SpawnError, Target};
use socktree_reactor::ListenOptions;
use socktree_tls::CertManager;
#[cfg(doc)]
use socktree_tls::TlsError;

pub(crate) use shared::ServerShared;

use crate::endpoint::Endpoint;
use crate::event::TcpEvent;
use crate::node::{NoDriver, TcpHandle};
use crate::options::{ConnectionOptions, connection_options};
use crate::route::{NoWorker, Route, Workers};

/// Connections go to the process that spawns the server; see [`TcpServer`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a mark in a type, without values")]
pub enum ToParent {}

/// Connections go to processes that were named; see [`TcpServer`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a mark in a type, without values")]
pub enum Routed {}

/// Each connection goes to a process of its own; see [`TcpServer`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a mark in a type, without values")]
pub enum PerConnection {}

/// Listens for connections and makes each a meta-process with an owner.
///
/// Nothing is opened before [`Ctx::spawn_meta`], so an unspawned server holds no port. The server
/// belongs to the process that spawned it and ends with it, and so do its connections. If it ends
/// by itself because the socket has failed, its parent ends too, and a supervisor can start both
/// anew.
///
/// Without a route the parent owns every connection, and must take [`TcpEvent`]s: otherwise it
/// does not compile. [`workers`](Self::workers) and [`per_connection`](Self::per_connection) send
/// them elsewhere.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{Actor, Ctx, Flow, Source};
/// use socktree_tcp::{TcpEvent, TcpServer};
///
/// struct Echo;
///
/// impl Actor for Echo {
///     type Msg = TcpEvent;
///
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         let server = ctx.spawn_meta(TcpServer::bind("127.0.0.1:0"))?;
///         println!("listening on {}", server.local_addr());
///         # ctx.exit(ctx.pid(), socktree_kernel::Reason::Normal);
///         Ok(())
///     }
///
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
///         if let TcpEvent::Data { conn, data } = event {
///             conn.write(data);
///         }
///         Ok(())
///     }
/// }
///
/// socktree_tcp::node("echo@localhost").run(Echo)?;
/// # Ok::<(), socktree_kernel::NodeError>(())
/// ```
pub struct TcpServer<R = ToParent> {
    endpoint: Endpoint,
    listen: ListenOptions,
    pub(crate) options: ConnectionOptions,
    route: Option<Route>,
    tls: Option<CertManager>,
    routed: PhantomData<fn() -> R>,
}

impl TcpServer {
    /// A server on this address. Port 0 lets the system choose; [`ServerHandle::local_addr`] says
    /// what it chose. Of a name with several addresses it takes the first that can be bound.
    pub fn bind(endpoint: impl Into<Endpoint>) -> Self {
        Self {
            endpoint: endpoint.into(),
            listen: ListenOptions::default(),
            options: ConnectionOptions::default(),
            route: None,
            tls: None,
            routed: PhantomData,
        }
    }

    fn routed<R>(self, route: Route) -> TcpServer<R> {
        TcpServer {
            endpoint: self.endpoint,
            listen: self.listen,
            options: self.options,
            route: Some(route),
            tls: self.tls,
            routed: PhantomData,
        }
    }

    /// Gives connections to these processes in turn, by name or by pid. An empty list is one with
    /// nobody alive in it: see [`without_worker`](TcpServer::without_worker).
    ///
    /// A name is looked up when a connection is accepted; the connection then stays with the
    /// process that was found and ends with it. Processes that are not alive, or do not take
    /// [`TcpEvent`]s, are skipped, and so are those that do not keep up: with more than 65,536
    /// messages waiting. If there are only such, the server accepts a hundred connections a second.
    /// A [pool](socktree_kernel::Pool), or whatever else
    /// [hands on](socktree_kernel::Actor::FORWARDS) what it is sent, is refused when the server is
    /// started and skipped later: name its workers instead.
    #[must_use]
    pub fn workers<T: Into<Target>>(
        self,
        workers: impl IntoIterator<Item = T>,
    ) -> TcpServer<Routed> {
        let targets = workers.into_iter().map(Into::into).collect();
        self.routed(Route::Workers(Workers::new(targets)))
    }

    /// Gives all connections to one process, by name or by pid.
    #[must_use]
    pub fn process(self, process: impl Into<Target>) -> TcpServer<Routed> {
        self.workers([process.into()])
    }

    /// Starts a process for each connection, which owns it. The processes end with the parent, and
    /// not with their connections: let each end itself by returning
    /// [`Reason::Normal`](socktree_kernel::Reason::Normal) for the `Disconnect`. One that does not
    /// stays, without a connection, until the parent ends.
    ///
    /// `make` is told the peer's address. It runs on the event loop's own thread and must not block;
    /// the actor's `init` may. If it panics, the connection is closed and counted as
    /// [refused](ServerHandle::refused), and the server goes on.
    ///
    /// With TLS the process is started before the handshake, on the worker that is to bear its
    /// cost, and ended with [`Reason::Shutdown`](socktree_kernel::Reason::Shutdown) if that fails:
    /// such a process sees no event at all.
    ///
    /// # Examples
    ///
    /// ```
    /// use socktree_kernel::{Actor, Ctx, Flow, Reason, Source};
    /// use socktree_tcp::{TcpEvent, TcpServer};
    ///
    /// /// What one peer has sent so far.
    /// #[derive(Default)]
    /// struct Session { received: usize }
    ///
    /// impl Actor for Session {
    ///     type Msg = TcpEvent;
    ///
    ///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
    ///         match event {
    ///             TcpEvent::Data { conn, data } => {
    ///                 self.received += data.len();
    ///                 conn.write(format!("{} bytes so far\n", self.received));
    ///             }
    ///             TcpEvent::Disconnect { .. } => return Err(Reason::Normal), // else it would stay
    ///             _ => {}
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let server = TcpServer::bind("127.0.0.1:0").per_connection(|_peer| Session::default());
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn per_connection<A: Actor>(
        self,
        make: impl Fn(SocketAddr) -> A + Send + Sync + 'static,
    ) -> TcpServer<PerConnection>
    where
        A::Msg: From<TcpEvent>,
    {
        self.routed(Route::per_connection(make))
    }
}

impl TcpServer<Routed> {
    /// What to do when no worker is alive. By default the parent owns the connection, if it can.
    #[must_use]
    pub fn without_worker(mut self, otherwise: NoWorker) -> Self {
        if let Some(Route::Workers(workers)) = &mut self.route {
            workers.otherwise = otherwise;
        }
        self
    }
}

impl<R> TcpServer<R> {
    /// How many connections the system completes and keeps until they are accepted (listen(2)).
    /// 1024 by default; the system has a bound of its own (`somaxconn`).
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.listen.backlog = connections;
        self
    }

    /// Whether an IPv6 socket takes IPv6 connections only (`IPV6_V6ONLY`, ipv6(7)). The system's
    /// default by default.
    #[must_use]
    pub fn only_v6(mut self, on: bool) -> Self {
        self.listen.only_v6 = Some(on);
        self
    }

    /// Speaks TLS with the certificates of this manager, which may be shared, and replaced while
    /// the server runs: a replacement counts from the next handshake on. Without it nothing is
    /// encrypted.
    ///
    /// The owner hears of a connection when its handshake is over, and [`Conn::tls`](crate::Conn)
    /// says what it has agreed on. One that fails, or is not over within
    /// [`handshake_timeout`](socktree_tls::CertManagerBuilder::handshake_timeout), is counted by its
    /// kind ([`ServerHandle::failed_handshakes`]) and logged, one line a second at most; the owner
    /// hears nothing, and the socket is kept for two seconds at most, so that the alert arrives; a
    /// worker keeps 256 such sockets. When
    /// [`max_handshakes`](socktree_tls::CertManagerBuilder::max_handshakes) are under way, a new
    /// one takes the place of the oldest; each worker has an equal share of these places.
    ///
    /// While the server runs it has the manager look at its files and dates
    /// ([`CertManager::poll`]), and logs what it finds.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use socktree_tcp::TcpServer;
    /// use socktree_tls::{CertManager, ServeFor};
    ///
    /// let certs = CertManager::builder()
    ///     .files(ServeFor::Default, "cert.pem", "key.pem")
    ///     .build()?;
    /// let server = TcpServer::bind("127.0.0.1:7443").tls(&certs);
    /// # drop(server);
    /// # Ok::<(), socktree_tls::CertError>(())
    /// ```
    #[must_use]
    pub fn tls(mut self, certs: &CertManager) -> Self {
        self.tls = Some(certs.clone());
        self
    }

    connection_options!();

    fn start_routed<A: Actor>(mut self, ctx: &mut Ctx<'_, A>) -> Result<ServerHandle, ListenError> {
        let route = self.route.take().expect("a routed server has a route");
        if let Some(target) = route.forwarder(&ctx.meta_scope()) {
            return Err(ListenError::Forwarder(target.clone()));
        }
        self.start(ctx, route)
    }

    fn start<A: Actor>(
        self,
        ctx: &mut Ctx<'_, A>,
        route: Route,
    ) -> Result<ServerHandle, ListenError> {
        let scope = ctx.meta_scope();
        let handle = TcpHandle::of(&scope, scope.worker())?;
        let endpoint = self.endpoint;
        let failed = |error| ListenError::Io {
            endpoint: endpoint.clone(),
            error,
        };
        let addrs = match endpoint.literal() {
            Some(addr) => vec![addr],
            None => ctx.blocking(|| endpoint.resolve()).map_err(failed)?,
        };
        let mut listen = self.listen;
        listen.nodelay = self.options.nodelay;
        listen.keepalive = self.options.keepalive;
        let alias = scope.new_alias();
        let shared = ServerShared::new(alias, scope, self.options, route, self.tls);
        let shared = Arc::new(shared);
        // The first address that can be bound, as with an outgoing connection.
        let mut error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for addr in addrs {
            match handle.listen(addr, &listen, &shared) {
                Ok(local) => return Ok(ServerHandle { shared, local }),
                Err(Ok(next)) => error = next,
                Err(Err(gone)) => return Err(gone.into()),
            }
        }
        Err(failed(error))
    }
}

impl<A: Actor> Meta<A> for TcpServer
where
    A::Msg: From<TcpEvent>,
{
    type Handle = ServerHandle;
    type Error = ListenError;

    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<ServerHandle, ListenError> {
        let parent = ctx.sink();
        self.start(ctx, Route::Parent(parent))
    }
}

impl<A: Actor> Meta<A> for TcpServer<Routed> {
    type Handle = ServerHandle;
    type Error = ListenError;

    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<ServerHandle, ListenError> {
        self.start_routed(ctx)
    }
}

impl<A: Actor> Meta<A> for TcpServer<PerConnection> {
    type Handle = ServerHandle;
    type Error = ListenError;

    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<ServerHandle, ListenError> {
        self.start_routed(ctx)
    }
}

impl<R> fmt::Debug for TcpServer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer")
            .field("endpoint", &self.endpoint)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// A running server.
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<ServerShared>,
    local: SocketAddr,
}

impl ServerHandle {
    /// The address it listens on, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Its address as a meta-process: to inspect, to link, to monitor, or to end it by
    /// [`ctx.exit`](Ctx::exit), which leaves its connections alone.
    pub fn alias(&self) -> Alias {
        self.shared.alias()
    }

    /// How many of its connections there are now, with TLS those in their handshakes included.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// How many it has accepted, with TLS before their handshakes.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted()
    }

    /// How many it has accepted and closed at once, because nobody was there to own them, or no
    /// place for their TLS handshakes.
    pub fn refused(&self) -> u64 {
        self.shared.refused()
    }

    /// How many TLS handshakes it has completed.
    pub fn handshakes(&self) -> u64 {
        self.shared.handshakes.count()
    }

    /// How many TLS handshakes have failed, by kind: [`TlsError::label`], or `crowded-out` where
    /// there was no place for one, or it had to make room for another. Kinds that have not been
    /// seen are left out.
    pub fn failed_handshakes(&self) -> Vec<(&'static str, u64)> {
        self.shared.handshakes.by_kind()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("alias", &self.alias())
            .field("local_addr", &self.local)
            .finish_non_exhaustive()
    }
}

impl From<&ServerHandle> for Target {
    fn from(server: &ServerHandle) -> Self {
        Self::Alias(server.alias())
    }
}

impl From<ServerHandle> for Target {
    fn from(server: ServerHandle) -> Self {
        (&server).into()
    }
}

/// Why a server could not be started. Nothing is left open.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The name could not be looked up, or no address of it could be bound: in use
    /// (`EADDRINUSE`), not permitted (`EACCES`), not ours (`EADDRNOTAVAIL`).
    Io {
        /// What was to be bound.
        endpoint: Endpoint,
        /// What the system said last.
        error: io::Error,
    },
    /// This process hands on what it is sent, as a [pool](socktree_kernel::Pool) does, so that a
    /// connection's messages would reach several workers, out of order.
    Forwarder(Target),
    /// The process, or the node, is ending.
    Spawn(SpawnError),
    /// The node was made without TCP.
    NoDriver(NoDriver),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { endpoint, error } => write!(f, "cannot listen on {endpoint}: {error}"),
            Self::Forwarder(target) => {
                write!(
                    f,
                    "{target} hands on what it is sent: name its workers instead"
                )
            }
            Self::Spawn(error) => error.fmt(f),
            Self::NoDriver(error) => error.fmt(f),
        }
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // These speak for themselves in what is shown: what is behind them comes next.
        match self {
            Self::Io { error, .. } => error.source(),
            Self::Forwarder(_) => None,
            Self::Spawn(error) => error.source(),
            Self::NoDriver(error) => error.source(),
        }
    }
}

impl From<SpawnError> for ListenError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl From<NoDriver> for ListenError {
    fn from(error: NoDriver) -> Self {
        Self::NoDriver(error)
    }
}
