//! Which process owns a new connection.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socktree_kernel::{Actor, MetaScope, Reason, Sink, SpawnError, SpawnOptions, Target};

use crate::event::TcpEvent;

/// A process as the owner of connections.
pub(crate) type OwnerSink = Arc<dyn Sink<TcpEvent>>;

/// More messages than this that wait for an owner are a sign that it does not keep up: some seven
/// megabytes.
const CROWDED: u64 = 64 * 1024;

/// Whether an owner has more to do already than it should.
pub(crate) fn is_crowded(owner: &dyn Sink<TcpEvent>) -> bool {
    owner.waiting() > CROWDED
}

/// Starts a process for one connection.
type Start = Box<dyn Fn(&MetaScope, SocketAddr) -> Result<OwnerSink, SpawnError> + Send + Sync>;

/// What to do with a connection when no worker of the list is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "somebody owns it or nobody does")]
pub enum NoWorker {
    /// The server's parent owns it, if it takes [`TcpEvent`]s; else it is refused.
    #[default]
    Parent,
    /// It is closed at once, and counted as refused.
    Refuse,
}

/// Who owns the connections of a server.
pub(crate) enum Route {
    Parent(OwnerSink),
    Workers(Workers),
    PerConnection(Start),
}

/// A list of processes that take turns.
pub(crate) struct Workers {
    targets: Vec<Target>,
    next: AtomicUsize,
    pub(crate) otherwise: NoWorker,
}

impl Workers {
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        Self {
            targets,
            next: AtomicUsize::new(0),
            otherwise: NoWorker::default(),
        }
    }

    /// The first that hands on what it is sent: a connection's bytes would go now to one process and
    /// now to another.
    fn forwarder(&self, scope: &MetaScope) -> Option<&Target> {
        self.targets.iter().find(|to| scope.is_forwarder(to))
    }

    /// The next that is alive, and keeps up if there is such a one. Names are looked up now, and the
    /// connection stays with the process that is found: one that is restarted under the name gets
    /// new connections only.
    fn pick(&self, scope: &MetaScope) -> Option<OwnerSink> {
        let count = self.targets.len();
        let mut crowded = None;
        for _ in 0..count {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % count;
            let target = &self.targets[turn];
            // One that has taken the name since the server was started.
            if scope.is_forwarder(target) {
                log::debug!("{target} hands on what it is sent, and cannot own a connection");
                continue;
            }
            match scope.find(target) {
                Some(sink) if is_crowded(&*sink) => crowded = crowded.or(Some(sink)),
                Some(sink) => return Some(sink),
                None => {}
            }
        }
        if crowded.is_some() {
            return crowded;
        }
        match self.otherwise {
            NoWorker::Parent => scope.find(&scope.parent().into()),
            NoWorker::Refuse => None,
        }
    }
}

impl Route {
    pub(crate) fn per_connection<A: Actor>(
        make: impl Fn(SocketAddr) -> A + Send + Sync + 'static,
    ) -> Self
    where
        A::Msg: From<TcpEvent>,
    {
        Self::PerConnection(Box::new(move |scope, peer| {
            // User code on the driver's own thread: what it breaks is this connection alone.
            let made = catch_unwind(AssertUnwindSafe(|| make(peer)));
            let actor = made.map_err(|_| SpawnError::Init(Reason::error("making it panicked")))?;
            scope.spawn::<A, TcpEvent>(actor, &SpawnOptions::new().link_parent())
        }))
    }

    /// A process of the list that must not own connections, if there is one by now.
    pub(crate) fn forwarder(&self, scope: &MetaScope) -> Option<&Target> {
        match self {
            Self::Workers(workers) => workers.forwarder(scope),
            Self::Parent(_) | Self::PerConnection(_) => None,
        }
    }

    /// The owner of the next connection; `None` if it is to be refused.
    pub(crate) fn pick(&self, scope: &MetaScope, peer: SocketAddr) -> Option<OwnerSink> {
        match self {
            Self::Parent(sink) => Some(Arc::clone(sink)),
            Self::Workers(workers) => workers.pick(scope),
            Self::PerConnection(start) => match start(scope, peer) {
                Ok(sink) => Some(sink),
                Err(error) => {
                    log::debug!("no process for the connection of {peer}: {error}");
                    None
                }
            },
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parent(_) => "Parent",
            Self::Workers(_) => "Workers",
            Self::PerConnection(_) => "PerConnection",
        })
    }
}
