//! An outgoing connection.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use socktree_kernel::{Actor, CallError, Ctx, Meta, SpawnError, Target};
use socktree_tls::{CertError, ClientTls};

use crate::conn::Conn;
use crate::connection::{Birth, Group, Shared};
use crate::driver::Attempt;
use crate::endpoint::Endpoint;
use crate::event::{DisconnectReason, TcpEvent};
use crate::node::{NoDriver, TcpHandle};
use crate::options::{ConnectionOptions, connection_options};
use crate::route::OwnerSink;
use crate::server::{Routed, ToParent};

/// How long an attempt to connect may take in all, unless said otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer than that the outcome is waited for. An attempt that is late says so itself, so this
/// is for a loop that is late, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an attempt's outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Wait,
    Event,
}

/// Makes a connection to somewhere, a meta-process like those that a server accepts.
///
/// All addresses of a name are tried in the system's order, within one
/// [`connect_timeout`](Self::connect_timeout).
///
/// # Examples
///
/// ```no_run
/// use socktree_kernel::{Actor, Ctx, Flow, Reason, Source};
/// use socktree_tcp::{TcpConnection, TcpEvent};
///
/// struct Client;
///
/// impl Actor for Client {
///     type Msg = TcpEvent;
///
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         let conn = ctx.spawn_meta(TcpConnection::connect("localhost:7171"))?;
///         conn.write("hello\n");
///         Ok(())
///     }
///
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
///         match event {
///             TcpEvent::Data { data, .. } => println!("{data:?}"),
///             TcpEvent::Disconnect { .. } => return Err(Reason::Normal),
///             _ => {}
///         }
///         Ok(())
///     }
/// }
/// # socktree_tcp::node("client@localhost").run(Client)?;
/// # Ok::<(), socktree_kernel::NodeError>(())
/// ```
#[derive(Debug)]
pub struct TcpConnection<R = ToParent> {
    endpoint: Endpoint,
    pub(crate) options: ConnectionOptions,
    timeout: Duration,
    style: Style,
    owner: Option<Target>,
    tls: Option<ClientTls>,
    routed: PhantomData<fn() -> R>,
}

impl TcpConnection {
    fn new(endpoint: Endpoint, style: Style) -> Self {
        Self {
            endpoint,
            options: ConnectionOptions {
                read_while_throttled: true,
                ..ConnectionOptions::default()
            },
            timeout: CONNECT_TIMEOUT,
            style,
            owner: None,
            tls: None,
            routed: PhantomData,
        }
    }

    /// Connects while [`Ctx::spawn_meta`] waits, which gives out a connection that is established,
    /// or the error. The worker goes on meanwhile under another thread, of which it
    /// [needs one](socktree_kernel::NodeBuilder::spare_threads); a signal to end ends the wait.
    ///
    /// The owner gets [`TcpEvent::Connect`] all the same. Of a failure there is no event: it is the
    /// [`ConnectError::Failed`] of `spawn_meta`.
    pub fn connect(endpoint: impl Into<Endpoint>) -> Self {
        Self::new(endpoint.into(), Style::Wait)
    }

    /// Connects while the process goes on: [`Ctx::spawn_meta`] gives out the handle at once, and
    /// one [`TcpEvent::Connect`] or [`TcpEvent::ConnectFailed`] tells the outcome. What is written
    /// before goes out when the connection is established.
    pub fn open(endpoint: impl Into<Endpoint>) -> Self {
        Self::new(endpoint.into(), Style::Event)
    }

    /// Gives the connection to another process, by name or by pid.
    #[must_use]
    pub fn process(self, owner: impl Into<Target>) -> TcpConnection<Routed> {
        TcpConnection {
            endpoint: self.endpoint,
            options: self.options,
            timeout: self.timeout,
            style: self.style,
            owner: Some(owner.into()),
            tls: self.tls,
            routed: PhantomData,
        }
    }
}

impl<R> TcpConnection<R> {
    /// Speaks TLS. The certificate has to be for the endpoint's host, unless the client
    /// [says otherwise](socktree_tls::ClientTlsBuilder::server_name).
    ///
    /// The connection is established when the handshake is over: until then
    /// [`connect`](Self::connect) waits, and [`open`](Self::open) tells nothing. What was written
    /// before goes out then.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use socktree_tcp::TcpConnection;
    /// use socktree_tls::ClientTls;
    ///
    /// let tls = ClientTls::builder().build()?; // trusts what the system trusts
    /// let connection = TcpConnection::connect("example.org:443").tls(tls);
    /// # drop(connection);
    /// # Ok::<(), socktree_tls::CertError>(())
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long it may take, looking up a name and a TLS handshake included. 10 seconds by
    /// default. [`Duration::MAX`] is no limit of ours, but of the system's alone; with
    /// [`Duration::ZERO`] every attempt fails.
    #[must_use]
    pub fn connect_timeout(mut self, at_most: Duration) -> Self {
        self.timeout = at_most;
        self
    }

    connection_options!();

    fn start<A: Actor>(self, ctx: &mut Ctx<'_, A>, sink: OwnerSink) -> Result<Conn, ConnectError> {
        if let Some(tls) = &self.tls {
            tls.check_host(&self.endpoint.host())?;
        }
        let scope = ctx.meta_scope();
        let handle = TcpHandle::of(&scope, sink.worker())?;
        let alias = scope.new_alias();
        let group = Arc::new(Group {
            options: self.options,
            scope: scope.clone(),
            station: handle.station(),
            server: None,
        });
        let shared = Arc::new(Shared::opening(alias, sink.pid(), group));
        let mut life = scope.register(alias, Arc::clone(&shared) as _)?;
        life.bind(sink.pid()).map_err(|_| ConnectError::NoOwner)?;
        let conn = Conn(Arc::clone(&shared));
        let birth = Birth {
            shared,
            sink,
            life,
            connecting: true,
        };
        let deadline = ctx.now().checked_add(self.timeout);
        let (endpoint, tls) = (self.endpoint.clone(), self.tls);
        let attempt = |tell| Attempt {
            birth,
            endpoint,
            deadline,
            tls,
            tell,
        };
        if self.style == Style::Event {
            handle.connect(attempt(None))?;
            return Ok(conn);
        }
        let patience = self.timeout.saturating_add(PATIENCE);
        let mut asked = Ok(());
        let outcome = ctx.wait_for_reply(patience, |tell| {
            asked = handle.connect(attempt(Some(tell)));
        });
        asked?;
        match outcome {
            Ok(Ok(())) => Ok(conn),
            Ok(Err(reason)) => Err(ConnectError::Failed {
                endpoint: self.endpoint,
                reason,
            }),
            // The node stops, and the driver has gone with the attempt.
            Err(CallError::NoReply) => Err(ConnectError::Spawn(SpawnError::Stopping)),
            Err(error) => {
                conn.reset();
                Err(ConnectError::NotAwaited(error))
            }
        }
    }
}

impl<A: Actor> Meta<A> for TcpConnection
where
    A::Msg: From<TcpEvent>,
{
    type Handle = Conn;
    type Error = ConnectError;

    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<Conn, ConnectError> {
        let sink = ctx.sink();
        self.start(ctx, sink)
    }
}

impl<A: Actor> Meta<A> for TcpConnection<Routed> {
    type Handle = Conn;
    type Error = ConnectError;

    fn spawn(mut self, ctx: &mut Ctx<'_, A>) -> Result<Conn, ConnectError> {
        let owner = self.owner.take().ok_or(ConnectError::NoOwner)?;
        let scope = ctx.meta_scope();
        if scope.is_forwarder(&owner) {
            return Err(ConnectError::Forwarder(owner));
        }
        let sink = scope.find(&owner).ok_or(ConnectError::NoOwner)?;
        self.start(ctx, sink)
    }
}

/// Why an outgoing connection could not be made. Nothing is left of it, but for a socket that may take
/// two seconds to tell the peer why its TLS handshake has failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address took the connection, or not in time; the reason is the last one's.
    Failed {
        /// What was to be connected to.
        endpoint: Endpoint,
        /// Why not.
        reason: DisconnectReason,
    },
    /// The process that should own it is not alive, or takes no [`TcpEvent`]s.
    NoOwner,
    /// The process that should own it hands on what it is sent, as a
    /// [pool](socktree_kernel::Pool) does: the connection's messages would reach several workers,
    /// out of order.
    Forwarder(Target),
    /// The endpoint's host is no name that a certificate could be for.
    Tls(CertError),
    /// The process, or the node, is ending.
    Spawn(SpawnError),
    /// The outcome could not be waited for, and the attempt was given up: no thread is left to go on
    /// with the worker meanwhile ([`CallError::NoThread`]; [`open`](TcpConnection::open) needs none),
    /// or the process was told to end ([`CallError::Ending`]).
    NotAwaited(CallError),
    /// The node was made without TCP.
    NoDriver(NoDriver),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { endpoint, reason } => {
                write!(f, "cannot connect to {endpoint}: {reason}")
            }
            Self::NoOwner => f.write_str("the process that should own the connection is not there"),
            Self::Forwarder(target) => {
                write!(
                    f,
                    "{target} hands on what it is sent, and cannot own a connection"
                )
            }
            Self::Tls(error) => error.fmt(f),
            Self::Spawn(error) => error.fmt(f),
            Self::NotAwaited(error) => write!(f, "cannot wait for the connection: {error}"),
            Self::NoDriver(error) => error.fmt(f),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // These speak for themselves in what is shown: what is behind them comes next.
        match self {
            Self::Failed { .. } | Self::NoOwner | Self::Forwarder(_) => None,
            Self::Tls(error) => error.source(),
            Self::Spawn(error) => error.source(),
            Self::NotAwaited(error) => error.source(),
            Self::NoDriver(error) => error.source(),
        }
    }
}

impl From<CertError> for ConnectError {
    fn from(error: CertError) -> Self {
        Self::Tls(error)
    }
}

impl From<SpawnError> for ConnectError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl From<NoDriver> for ConnectError {
    fn from(error: NoDriver) -> Self {
        Self::NoDriver(error)
    }
}
