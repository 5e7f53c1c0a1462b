//! What other threads ask of a driver.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use socktree_kernel::{Alias, MetaLife, Reply};
use socktree_reactor::{Os, Token};
use socktree_tls::ClientTls;

use crate::connection::{Birth, Tell};
use crate::endpoint::Endpoint;
use crate::event::DisconnectReason;
use crate::route::OwnerSink;
use crate::server::ServerShared;

pub(crate) enum Command<O: Os> {
    /// Something about a source of this driver.
    Tell(Token, Tell),
    /// Serve this listener.
    Listen(Box<(O::Listener, Arc<ServerShared>, MetaLife)>),
    /// Take over a connection that another worker has accepted for a process of this one.
    Adopt(Box<Accepted<O>>, OwnerSink),
    /// Give back memory if nothing has happened for a while.
    Tidy,
    /// Make an outgoing connection.
    Connect(Box<Attempt>),
    /// Look whether a connection that has no socket yet is to go on: it was told something, or its
    /// time is over.
    LookFor(Alias),
    /// These addresses belong to the name that a connection is to be made to.
    LookedUp(Alias, io::Result<Vec<SocketAddr>>),
    /// Look at the certificates of this listener.
    PollCerts(Token),
    /// That was done, and is due again at this time.
    CertsPolled(Token, Option<Instant>),
    /// Accept again, after a pause for the owners.
    Accept(Token),
}

/// A connection on its way from the listener to its owner.
pub(crate) struct Accepted<O: Os> {
    pub(crate) stream: O::Stream,
    pub(crate) peer: SocketAddr,
    pub(crate) server: Arc<ServerShared>,
    /// How many more owners may be tried, should one end before it is told.
    pub(crate) tries: u32,
}

/// An outgoing connection to be made.
pub(crate) struct Attempt {
    pub(crate) birth: Birth,
    pub(crate) endpoint: Endpoint,
    pub(crate) deadline: Option<Instant>,
    pub(crate) tls: Option<ClientTls>,
    /// Whoever waits for the outcome; without one the owner gets an event.
    pub(crate) tell: Option<Reply<Result<(), DisconnectReason>>>,
}
