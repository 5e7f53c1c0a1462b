//! Listeners, and connections from their acceptance to the first event.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socktree_kernel::{MetaExit, MetaLife, Reason};
use socktree_reactor::{Os, RegisterError, Token};

use crate::connection::{Birth, Connection, Shared};
use crate::driver::{Command, Listening, Owned, TcpDriver};
use crate::event::DisconnectReason;
use crate::node::TcpHandle;
use crate::route::OwnerSink;
use crate::server::ServerShared;

impl<O: Os> TcpDriver<O> {
    pub(super) fn listen(
        &mut self,
        listener: O::Listener,
        server: Arc<ServerShared>,
        life: MetaLife,
    ) {
        let listening = Listening {
            server: Arc::clone(&server),
            life,
        };
        match self
            .reactor
            .listen(listener, Owned::Listener(Box::new(listening)))
        {
            Ok(token) => {
                if let Some(why) = server.begin(token) {
                    self.close_listener(token, why);
                }
            }
            Err(RegisterError { error, data }) => {
                if let Owned::Listener(listening) = data {
                    failed(*listening, error);
                }
            }
        }
    }

    pub(super) fn close_listener(&mut self, token: Token, why: MetaExit) {
        if let Some(Owned::Listener(listening)) = self.reactor.remove(token) {
            let (MetaExit::Requested(reason)
            | MetaExit::ParentEnded(reason)
            | MetaExit::OwnerEnded(reason)) = why;
            listening.server.forget_groups();
            listening.life.end(&reason);
        }
    }

    pub(super) fn listener_failed(&mut self, token: Token, error: io::Error) {
        if let Some(Owned::Listener(listening)) = self.reactor.remove(token) {
            failed(*listening, error);
        }
    }

    pub(super) fn accepted(&mut self, listener: Token, stream: O::Stream, peer: SocketAddr) {
        let Some(Owned::Listener(listening)) = self.reactor.data(listener) else {
            return;
        };
        let server = Arc::clone(&listening.server);
        let Some(sink) = server.pick(peer) else {
            server.count_refused();
            drop(stream);
            return self.reactor.descriptor_freed();
        };
        server.count_accepted();
        if sink.worker() == self.worker {
            return self.adopt(stream, peer, &server, sink);
        }
        let line = TcpHandle::of(&server.scope, sink.worker())
            .ok()
            .and_then(|h| h.line::<O>());
        let adopt = Command::Adopt(Box::new((stream, peer, Arc::clone(&server), sink)));
        if line.is_none_or(|line| line.post(adopt).is_err()) {
            server.count_ended();
        }
    }

    /// Makes a connection of an accepted stream. The owner is told before anything can be read.
    pub(super) fn adopt(
        &mut self,
        stream: O::Stream,
        peer: SocketAddr,
        server: &Arc<ServerShared>,
        sink: OwnerSink,
    ) {
        let line = &self.line;
        let group = server.group(self.worker, || Arc::clone(line) as _);
        let alias = group.scope.new_alias();
        let owner = sink.pid();
        let shared = Arc::new(Shared::new(alias, owner, group));
        let local = self.local_addr(&stream, server);
        shared.connected(local, peer);
        let registered = server.scope.register(alias, Arc::clone(&shared) as _);
        let life = registered.and_then(|mut life| life.bind(owner).map(|()| life));
        let Ok(life) = life else {
            // Parent or owner have just ended, so nobody is there to be told.
            server.count_ended();
            server.count_abandoned();
            drop(stream);
            return self.reactor.descriptor_freed();
        };
        let birth = Birth {
            shared: Arc::clone(&shared),
            sink,
            life,
            connecting: false,
        };
        let connection = Box::new(Connection::new(birth));
        match self.reactor.adopt(stream, Owned::Connection(connection)) {
            Ok(token) => {
                let exit = shared.begin(token);
                // Nothing is read before the next event is asked for, so this comes first. And
                // the owner may have written by then, on another thread.
                self.with(token, |connection, io| {
                    connection.announce(io);
                    connection.flush(io)
                });
                if let Some(why) = exit {
                    self.exit(token, *why);
                }
            }
            Err(RegisterError { error, data }) => {
                server.count_ended();
                if let Owned::Connection(mut connection) = data {
                    connection.end_silently(&DisconnectReason::from_io(&error));
                }
            }
        }
    }

    /// Our address; `None` for the one that the server listens on, which needs no asking.
    fn local_addr(&self, stream: &O::Stream, server: &ServerShared) -> Option<SocketAddr> {
        if server
            .local()
            .is_some_and(|addr| !addr.ip().is_unspecified())
        {
            return None;
        }
        // A peer that has reset the connection already may have taken the address with it.
        self.reactor.os().local_addr(stream).ok()
    }
}

/// A listener that fails by itself takes its parent with it: an actor that went on without the
/// port that it is there for would be alive and deaf.
fn failed(listening: Listening, error: io::Error) {
    let server = listening.server;
    let reason = Reason::from(error);
    log::error!("the listener {} has failed: {reason}", server.alias());
    server.forget_groups();
    listening.life.end(&reason);
    server.scope.fail_parent(server.alias(), reason);
}
