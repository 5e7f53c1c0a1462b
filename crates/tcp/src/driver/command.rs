//! What other threads ask of a driver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use socktree_kernel::MetaLife;
use socktree_reactor::{Os, Token};

use crate::connection::{Birth, Tell};
use crate::event::DisconnectReason;
use crate::route::OwnerSink;
use crate::server::ServerShared;

pub(crate) enum Command<O: Os> {
    /// Something about a source of this driver.
    Tell(Token, Tell),
    /// Serve this listener.
    Listen(Box<(O::Listener, Arc<ServerShared>, MetaLife)>),
    /// Take over a connection that another worker has accepted for a process of this one.
    Adopt(Box<(O::Stream, SocketAddr, Arc<ServerShared>, OwnerSink)>),
    /// Give back memory if nothing has happened for a while.
    Tidy,
    /// Make an outgoing connection.
    Connect(Box<Attempt>),
}

/// An outgoing connection to be made.
pub(crate) struct Attempt {
    pub(crate) birth: Birth,
    /// To be tried in this order.
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) deadline: Option<Instant>,
    /// Whoever waits for the outcome; without one the owner gets an event.
    pub(crate) tell: Option<SyncSender<Result<(), DisconnectReason>>>,
}
