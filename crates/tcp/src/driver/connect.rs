//! Outgoing connections, from the first attempt to the first event.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use socktree_kernel::Reply;
use socktree_reactor::{Os, RegisterError, SourceMut, Token};
use socktree_tls::{ClientTls, TlsError};

use crate::connection::{Asked, Connection, Shared};
use crate::driver::{Attempt, Owned, TcpDriver};
use crate::event::DisconnectReason;

/// An attempt under way, with what is left to try.
pub(crate) struct Connecting {
    connection: Connection,
    /// In reverse order: the next is the last.
    left: Vec<SocketAddr>,
    deadline: Option<Instant>,
    /// What speaks TLS, and with whom.
    tls: Option<(ClientTls, Box<str>)>,
    tell: Option<Reply<Result<(), DisconnectReason>>>,
}

impl Connecting {
    /// One that has nothing left to try.
    fn over(connection: Connection, tell: Option<Reply<Result<(), DisconnectReason>>>) -> Self {
        Self {
            connection,
            left: Vec::new(),
            deadline: None,
            tls: None,
            tell,
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.connection.shared
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }

    /// Addresses to try, the best first.
    pub(super) fn will_try(&mut self, mut addrs: Vec<SocketAddr>) {
        addrs.reverse();
        self.left = addrs;
    }

    /// Nothing came of it: whoever waits is told, or the owner.
    pub(super) fn fail(self, reason: DisconnectReason) {
        let Self {
            mut connection,
            tell,
            ..
        } = self;
        match tell {
            Some(tell) => {
                connection.end_silently(&reason);
                let _nobody_waits = tell.send(Err(reason));
            }
            None => connection.tell_end(reason, true),
        }
    }
}

impl<O: Os> TcpDriver<O> {
    pub(super) fn connect(&mut self, attempt: Attempt) {
        let Attempt {
            birth,
            endpoint,
            deadline,
            tls,
            tell,
        } = attempt;
        let mut connecting = Box::new(Connecting {
            connection: Connection::new(birth),
            left: Vec::new(),
            deadline,
            tls: tls.map(|tls| (tls, endpoint.host().into())),
            tell,
        });
        let Some(addr) = endpoint.literal() else {
            return self.look_up(endpoint, connecting);
        };
        connecting.will_try(vec![addr]);
        let nothing = DisconnectReason::Io(std::io::ErrorKind::NotFound);
        self.try_next(connecting, nothing);
    }

    /// Tries the next address, or gives up with the reason of the last one.
    pub(super) fn try_next(
        &mut self,
        mut connecting: Box<Connecting>,
        mut reason: DisconnectReason,
    ) {
        loop {
            if connecting.is_late(self.reactor.refresh_now()) {
                return connecting.fail(DisconnectReason::ConnectTimeout);
            }
            let Some(addr) = connecting.left.pop() else {
                return connecting.fail(reason);
            };
            let shared = Arc::clone(&connecting.connection.shared);
            let deadline = connecting.deadline;
            match self.reactor.connect(addr, Owned::Connecting(connecting)) {
                Ok(token) => {
                    if let Some(mut source) = self.reactor.source(token) {
                        source.io.set_deadline(deadline);
                    }
                    if let Some(why) = shared.begin(token) {
                        self.exit(token, *why);
                    }
                    if let Some(reason) = shared.given_up() {
                        self.end(token, reason);
                    }
                    return;
                }
                Err(RegisterError { error, data }) => {
                    let Owned::Connecting(back) = data else {
                        return;
                    };
                    connecting = back;
                    reason = DisconnectReason::from_io(&error);
                }
            }
        }
    }

    pub(super) fn connect_failed(&mut self, token: Token, reason: DisconnectReason) {
        if let Some(Owned::Connecting(connecting)) = self.reactor.remove(token) {
            self.try_next(connecting, reason);
        }
    }

    pub(super) fn connect_deadline(&mut self, token: Token) {
        if let Some(Owned::Connecting(_)) = self.reactor.data_mut(token) {
            self.end(token, DisconnectReason::ConnectTimeout);
        }
    }

    pub(super) fn connected(&mut self, token: Token) {
        let now = self.reactor.now();
        let Some(SourceMut { data, mut io }) = self.reactor.source(token) else {
            return;
        };
        let Owned::Connecting(_) = data else {
            return;
        };
        io.set_deadline(None);
        let addrs = io
            .local_addr()
            .and_then(|local| Ok((local, io.peer_addr()?)));
        // The slot must hold something while its content changes its kind.
        let Owned::Connecting(connecting) = std::mem::replace(data, Owned::Vacant) else {
            return;
        };
        let Connecting {
            mut connection,
            deadline,
            tls,
            tell,
            ..
        } = *connecting;
        let options = connection.options();
        let configured = io
            .set_nodelay(options.nodelay)
            .and_then(|()| io.set_keepalive(&options.keepalive))
            .and_then(|()| match options.user_timeout {
                Some(at_most) => io.set_user_timeout(Some(at_most)),
                None => Ok(()),
            });
        match addrs.and_then(|addrs| configured.map(|()| addrs)) {
            Ok((local, peer)) => connection.shared.connected(local, peer, tls.is_some()),
            Err(error) => {
                // Reset between the handshake and here: then it never was.
                *data = Owned::Connecting(Box::new(Connecting::over(connection, tell)));
                return self.end(token, DisconnectReason::from_io(&error));
            }
        }
        let session = tls.map(|(tls, host)| tls.session(&host, now)).transpose();
        match session {
            Ok(Some(session)) => {
                let asked = Asked { by: deadline, tell };
                connection.begin_handshake(&mut io, session, asked);
            }
            Ok(None) => {
                connection.announce(&mut io);
                if let Some(tell) = tell {
                    let _nobody_waits = tell.send(Ok(()));
                }
            }
            Err(error) => {
                *data = Owned::Connecting(Box::new(Connecting::over(connection, tell)));
                let error = TlsError::from(error);
                return self.end(token, DisconnectReason::Tls(Arc::new(error)));
            }
        }
        *data = Owned::Connection(Box::new(connection));
        // What was written before the connection was there, or a handshake's first words.
        self.with(token, |connection, io| connection.flush(io));
    }
}
