//! Whom a connection connects, and what secures it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use socktree_tls::TlsInfo;

/// The two ends of a connection.
pub(super) enum Ends {
    /// Known before anything else is.
    Accepted(Addrs),
    /// Known once there is a connection.
    Opened(Box<OnceLock<Addrs>>),
}

pub(super) struct Addrs {
    peer: SocketAddr,
    /// What only some connections have.
    more: Option<Box<More>>,
}

struct More {
    /// Ours, unless it is the one that the server listens on, which most connections share.
    local: Option<SocketAddr>,
    /// Once the TLS handshake is over.
    tls: OnceLock<TlsInfo>,
}

impl Ends {
    /// `local` is `None` for the address that the server listens on.
    pub(super) fn accepted(local: Option<SocketAddr>, peer: SocketAddr, tls: bool) -> Self {
        Self::Accepted(Addrs::new(local, peer, tls))
    }

    pub(super) fn to_be_opened() -> Self {
        Self::Opened(Box::default())
    }

    /// A connection that was to be opened is there.
    pub(super) fn connected(&self, local: SocketAddr, peer: SocketAddr, tls: bool) {
        if let Self::Opened(addrs) = self {
            // Set once: one that tries several addresses connects to one.
            let _again = addrs.set(Addrs::new(Some(local), peer, tls));
        }
    }

    /// `None` while there is no connection.
    fn addrs(&self) -> Option<&Addrs> {
        match self {
            Self::Accepted(addrs) => Some(addrs),
            Self::Opened(addrs) => addrs.get(),
        }
    }

    /// The unspecified address while there is no connection.
    pub(super) fn peer(&self) -> SocketAddr {
        self.addrs().map_or_else(unspecified, |addrs| addrs.peer)
    }

    /// The unspecified address while there is no connection.
    pub(super) fn local(&self, servers: impl FnOnce() -> Option<SocketAddr>) -> SocketAddr {
        let Some(addrs) = self.addrs() else {
            return unspecified();
        };
        let own = addrs.more.as_ref().and_then(|more| more.local);
        own.or_else(servers).unwrap_or_else(unspecified)
    }

    /// The TLS handshake is over.
    pub(super) fn secured(&self, info: TlsInfo) {
        if let Some(more) = self.addrs().and_then(|addrs| addrs.more.as_ref()) {
            let _once = more.tls.set(info);
        }
    }

    pub(super) fn tls(&self) -> Option<&TlsInfo> {
        self.addrs()?.more.as_ref()?.tls.get()
    }
}

impl Addrs {
    fn new(local: Option<SocketAddr>, peer: SocketAddr, tls: bool) -> Self {
        let more = (tls || local.is_some()).then(|| {
            Box::new(More {
                local,
                tls: OnceLock::new(),
            })
        });
        Self { peer, more }
    }
}

fn unspecified() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}
