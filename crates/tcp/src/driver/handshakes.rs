//! TLS handshakes of accepted connections: each has a place among a bounded number.

use std::collections::VecDeque;
use std::sync::Arc;

use socktree_reactor::{Os, Token};
use socktree_tls::{CertManager, TlsSession};

use crate::driver::{Owned, TcpDriver};
use crate::event::DisconnectReason;
use crate::server::ServerShared;

/// Connections that began a handshake, the oldest first. Those that are done with it are left in
/// until there are too many of them.
pub(super) struct Handshakes {
    begun: VecDeque<Token>,
    sweep_at: usize,
}

/// Below this many it is not worth looking who is done.
const SWEEP_AT_LEAST: usize = 256;

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            begun: VecDeque::new(),
            sweep_at: SWEEP_AT_LEAST,
        }
    }
}

impl<O: Os> TcpDriver<O> {
    /// A session for a new connection of the server. When too many handshakes are under way the
    /// oldest of this worker makes room: an honest client needs a few round trips, so the one that
    /// has waited longest is the one that stalls. Servers that share their certificates share the
    /// places too, so it may be another's: else a flood on one would keep everybody off the other.
    pub(super) fn handshake_session(
        &mut self,
        server: &Arc<ServerShared>,
        certs: &CertManager,
    ) -> Option<TlsSession> {
        loop {
            match certs.session(self.reactor.now()) {
                Ok(session) => return Some(session),
                Err(too_many) => {
                    let Some(oldest) = self.oldest_handshake(certs) else {
                        log::debug!("{}: {too_many}", server.alias());
                        return None;
                    };
                    if let Some(Owned::Connection(connection)) = self.reactor.data(oldest)
                        && let Some(its) = &connection.shared.group().server
                    {
                        its.crowded_out(connection.shared.peer_addr());
                    }
                    // Counted already: as an end of ours it is not counted again.
                    self.end(oldest, DisconnectReason::Closed);
                }
            }
        }
    }

    fn oldest_handshake(&mut self, certs: &CertManager) -> Option<Token> {
        let reactor = &mut self.reactor;
        let begun = &mut self.handshakes.begun;
        let is_one = |token: &Token| match reactor.data(*token) {
            Some(Owned::Connection(connection)) if connection.is_handshaking() => {
                let its = connection.shared.group().server.as_ref();
                its.and_then(|its| its.certs())
                    .is_some_and(|its| its.is_same(certs))
            }
            _ => false,
        };
        let place = begun.iter().position(is_one)?;
        begun.remove(place)
    }

    pub(super) fn handshake_begun(&mut self, token: Token) {
        self.handshakes.begun.push_back(token);
        if self.handshakes.begun.len() < self.handshakes.sweep_at {
            return;
        }
        let reactor = &self.reactor;
        self.handshakes.begun.retain(|token| {
            matches!(reactor.data(*token), Some(Owned::Connection(c)) if c.is_handshaking())
        });
        // Twice as many as are left, so that each is looked at a bounded number of times.
        let left = self.handshakes.begun.len();
        self.handshakes.sweep_at = SWEEP_AT_LEAST.max(2 * left);
        self.handshakes.begun.shrink_to(self.handshakes.sweep_at);
    }
}
