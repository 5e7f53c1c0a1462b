//! Listeners, and connections from their acceptance to the first event.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socktree_kernel::{MetaExit, MetaLife, Pid, Reason};
use socktree_reactor::{Os, RegisterError, Token};

use crate::connection::{Asked, Birth, Connection, Fate, Shared};
use crate::driver::{Accepted, Command, Listening, Owned, TcpDriver};
use crate::event::DisconnectReason;
use crate::node::TcpHandle;
use crate::route::{OwnerSink, is_crowded};
use crate::server::ServerShared;

/// How many owners are tried for one connection, should each end before it is told.
const OWNERS_TRIED: u32 = 4;

/// How long a listener waits for owners that do not keep up.
const OWNERS_PAUSE: Duration = Duration::from_millis(10);

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
                self.poll_certs(token);
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
        server.count_accepted();
        let crowded = self.place(Accepted {
            stream,
            peer,
            server,
            tries: OWNERS_TRIED,
        });
        if crowded {
            self.pause_accepting(listener);
        }
    }

    /// Brings a connection to the worker of an owner; true if that has more to do than it should.
    fn place(&mut self, mut accepted: Accepted<O>) -> bool {
        let server = &accepted.server;
        let owner = match accepted.tries.checked_sub(1) {
            Some(tries) => {
                accepted.tries = tries;
                server.pick(accepted.peer)
            }
            None => None,
        };
        let Some(sink) = owner else {
            server.count_refused();
            drop(accepted.stream);
            self.reactor.descriptor_freed();
            self.descriptor_freed();
            return false;
        };
        let crowded = is_crowded(&*sink);
        if sink.worker() == self.worker {
            self.adopt(accepted, sink);
            return crowded;
        }
        let line = TcpHandle::of(&server.scope, sink.worker())
            .ok()
            .and_then(|h| h.line::<O>());
        let server = Arc::clone(server);
        let adopt = Command::Adopt(Box::new(accepted), sink);
        if line.is_none_or(|line| line.post(adopt).is_err()) {
            server.count_ended();
        }
        crowded
    }

    /// Lets owners catch up. Without this, clients that come and go would fill the mailbox of an
    /// owner that is stuck, each with the notices of its coming and going.
    fn pause_accepting(&mut self, listener: Token) {
        let Some(mut source) = self.reactor.source(listener) else {
            return;
        };
        source.io.pause_read();
        if let Some(at) = self.reactor.after(OWNERS_PAUSE) {
            self.reactor.schedule(at, Command::Accept(listener));
        }
    }

    pub(super) fn accept_again(&mut self, listener: Token) {
        if let Some(mut source) = self.reactor.source(listener) {
            source.io.resume_read();
        }
    }

    /// Makes a connection of an accepted stream. The owner is told before anything can be read.
    pub(super) fn adopt(&mut self, accepted: Accepted<O>, sink: OwnerSink) {
        let line = &self.line;
        let Accepted { peer, server, .. } = &accepted;
        let group = server.group(self.worker, || Arc::clone(line) as _);
        let alias = group.scope.new_alias();
        let owner = sink.pid();
        let local = self.local_addr(&accepted.stream, server);
        let shared = Arc::new(Shared::accepted(alias, owner, group, local, *peer));
        let registered = server.scope.register(alias, Arc::clone(&shared) as _);
        let life = registered.and_then(|mut life| life.bind(owner).map(|()| life));
        let Ok(life) = life else {
            // The owner has just ended, and nobody was told yet: somebody else can have it.
            let _paused_by_the_listener = self.place(accepted);
            return;
        };
        let session = match accepted.server.certs() {
            None => None,
            Some(certs) => {
                let certs = certs.clone();
                match self.handshake_session(&certs) {
                    Some(session) => Some((session, certs)),
                    None => return self.turn_away(accepted, owner, life),
                }
            }
        };
        let Accepted { stream, server, .. } = accepted;
        if let Some(at_most) = shared.group().options.user_timeout {
            // The listener could hand it down, but not every system does; few ask for it.
            let set = self.reactor.os().set_user_timeout(&stream, Some(at_most));
            if let Err(error) = set {
                log::debug!("{alias}: no user timeout: {error}");
            }
        }
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
                match session {
                    None => self.with(token, |connection, io| {
                        connection.announce(io);
                        connection.flush(io)
                    }),
                    Some((session, certs)) => {
                        self.with(token, |connection, io| {
                            connection.begin_handshake(io, session, Asked::default());
                            Fate::Lives
                        });
                        self.handshake_begun(token, &certs);
                    }
                }
                if let Some(why) = exit {
                    self.exit(token, *why);
                }
            }
            Err(RegisterError { error, data }) => {
                server.count_ended();
                if let Owned::Connection(mut connection) = data {
                    connection.end_silently(&DisconnectReason::from_io(&error));
                }
                server.dismiss(owner);
            }
        }
    }

    /// Closes a connection for whose handshake there is no place.
    fn turn_away(&mut self, accepted: Accepted<O>, owner: Pid, life: MetaLife) {
        let Accepted {
            stream,
            peer,
            server,
            ..
        } = accepted;
        server.crowded_out(peer);
        life.end(&DisconnectReason::Closed.to_exit());
        server.dismiss(owner);
        server.count_refused();
        drop(stream);
        self.reactor.descriptor_freed();
        self.descriptor_freed();
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
