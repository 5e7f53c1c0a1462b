//! What a server's handle, its listener and its connections share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use socktree_kernel::{
    Alias, Envelope, Inspection, MetaExit, MetaPort, MetaScope, Pid, Reason, SendError, Source,
    WorkerId,
};
use socktree_reactor::Token;
use socktree_tls::{CertManager, TlsError};

use crate::connection::{Group, Station, Tell};
use crate::event::DisconnectReason;
use crate::options::ConnectionOptions;
use crate::route::{OwnerSink, Route};
use crate::server::handshakes::{CROWDED_OUT, Handshakes};

pub(crate) struct ServerShared {
    alias: Alias,
    pub(crate) scope: MetaScope,
    options: ConnectionOptions,
    route: Route,
    local: OnceLock<SocketAddr>,
    station: OnceLock<Arc<dyn Station>>,
    listener: Mutex<Listener>,
    groups: Mutex<Groups>,
    connections: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    certs: Option<CertManager>,
    pub(crate) handshakes: Handshakes,
}

/// What connections of one worker share, by worker, made when the first of them comes.
#[derive(Default)]
struct Groups {
    by_worker: Vec<Option<Arc<Group>>>,
    /// The listener is closed. Groups refer to their server: kept any longer, they would keep each
    /// other alive.
    closed: bool,
}

/// The listener as its driver knows it.
#[derive(Default)]
struct Listener {
    token: Option<Token>,
    early_exit: Option<MetaExit>,
}

impl ServerShared {
    pub(crate) fn new(
        alias: Alias,
        scope: MetaScope,
        options: ConnectionOptions,
        route: Route,
        certs: Option<CertManager>,
    ) -> Self {
        Self {
            alias,
            scope,
            options,
            route,
            local: OnceLock::new(),
            station: OnceLock::new(),
            listener: Mutex::default(),
            groups: Mutex::default(),
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            certs,
            handshakes: Handshakes::default(),
        }
    }

    pub(crate) fn alias(&self) -> Alias {
        self.alias
    }

    /// Where it listens, and which driver serves it. Called once, before anyone else knows it.
    pub(crate) fn bound(&self, local: SocketAddr, station: Arc<dyn Station>) {
        let _once = (self.local.set(local), self.station.set(station));
    }

    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local.get().copied()
    }

    /// The driver knows the listener from now on; an exit that came before is given out.
    pub(crate) fn begin(&self, token: Token) -> Option<MetaExit> {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        listener.token = Some(token);
        listener.early_exit.take()
    }

    /// What it speaks TLS with, if it does.
    pub(crate) fn certs(&self) -> Option<&CertManager> {
        self.certs.as_ref()
    }

    /// A connection has ended before its handshake was over.
    pub(crate) fn handshake_failed(&self, peer: SocketAddr, reason: &DisconnectReason) {
        let kind = match reason {
            // Not the peer's doing.
            DisconnectReason::Closed
            | DisconnectReason::Aborted
            | DisconnectReason::OwnerDown
            | DisconnectReason::ParentDown => return,
            DisconnectReason::Tls(error) => error.label(),
            _ => TlsError::Abandoned.label(),
        };
        let who = (self.alias, peer);
        self.handshakes.failed(who, kind, reason, self.scope.now());
    }

    /// A connection's handshake has to make room for others.
    pub(crate) fn crowded_out(&self, peer: SocketAddr) {
        let why = "too many handshakes are under way";
        let who = (self.alias, peer);
        self.handshakes
            .failed(who, CROWDED_OUT, &why, self.scope.now());
    }

    /// Ends the process that was started for a connection that comes to nothing.
    pub(crate) fn dismiss(&self, owner: Pid) {
        if let Route::PerConnection(_) = self.route {
            self.scope.exit(owner, Reason::Shutdown);
        }
    }

    /// Who is to own the next connection.
    pub(crate) fn pick(&self, peer: SocketAddr) -> Option<OwnerSink> {
        self.route.pick(&self.scope, peer)
    }

    /// What this server's connections on that worker have in common.
    pub(crate) fn group(
        self: &Arc<Self>,
        worker: WorkerId,
        station: impl FnOnce() -> Arc<dyn Station>,
    ) -> Arc<Group> {
        let make = || {
            Arc::new(Group {
                options: self.options.clone(),
                scope: self.scope.clone(),
                station: station(),
                server: Some(Arc::clone(self)),
            })
        };
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.closed {
            return make();
        }
        if groups.by_worker.len() <= worker.index() {
            groups.by_worker.resize(worker.index() + 1, None);
        }
        Arc::clone(groups.by_worker[worker.index()].get_or_insert_with(make))
    }

    /// The listener is closed: connections that come late get a group of their own.
    pub(crate) fn forget_groups(&self) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        *groups = Groups {
            by_worker: Vec::new(),
            closed: true,
        };
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Of those that were accepted.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.count_ended();
    }

    pub(crate) fn count_ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl MetaPort for ServerShared {
    /// A server takes no messages.
    fn send(&self, _from: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        Err(SendError::NotAccepted(message))
    }

    fn exit(&self, why: MetaExit) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        match (listener.token, self.station.get()) {
            (Some(token), Some(station)) => station.tell(token, Tell::Exit(Box::new(why))),
            _ => listener.early_exit = Some(why),
        }
    }

    fn inspect(&self) -> Inspection {
        let local = self
            .local()
            .map_or_else(String::new, |addr| addr.to_string());
        let mut items = vec![
            ("listener", local),
            ("connections", self.connections().to_string()),
            ("accepted", self.accepted().to_string()),
            ("refused", self.refused().to_string()),
        ];
        if self.certs.is_some() {
            let failed = self.handshakes.by_kind();
            let failed: Vec<_> = failed.iter().map(|(k, n)| format!("{k}: {n}")).collect();
            items.push(("handshakes", self.handshakes.count().to_string()));
            items.push(("failed handshakes", failed.join(", ")));
        }
        items
    }
}
