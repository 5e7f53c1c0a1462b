//! TLS handshakes of accepted connections: each has a place among a bounded number.

use std::collections::VecDeque;

use socktree_reactor::{Os, Reactor, Token};
use socktree_tls::{CertManager, HandshakeShare, TlsSession};

use crate::driver::{Command, Owned, TcpDriver};
use crate::event::DisconnectReason;

/// How many sockets of failed handshakes a worker keeps for their alerts. They have given up their
/// places, so that nobody honest has to make room for them; without a bound of their own they would
/// cost a fast peer nothing, and us a descriptor each for two seconds.
const ALERTS_AT_ONCE: usize = 256;

/// The handshakes of one worker.
#[derive(Default)]
pub(super) struct Handshakes {
    /// By the manager that bounds them. There are as many as a program has sets of certificates, so
    /// they are looked through.
    places: Vec<Places>,
    /// Failed ones whose peer may still have to read why, the oldest first, and others that have
    /// gone since.
    alerts: VecDeque<Token>,
}

/// This worker's places at one manager. Each worker has its own, so that whoever needs one finds
/// the oldest among its own connections.
struct Places {
    certs: CertManager,
    share: HandshakeShare,
    /// Connections that began a handshake, the oldest first. Those that are done with it are left
    /// in until they come to the front, or there are too many of them.
    begun: VecDeque<Token>,
    sweep_at: usize,
}

/// Below this many it is not worth looking who is done.
const SWEEP_AT_LEAST: usize = 256;

impl Places {
    fn of<'p, O: Os>(
        all: &'p mut Vec<Self>,
        certs: &CertManager,
        workers: usize,
        reactor: &Reactor<O, Owned, Command<O>>,
    ) -> &'p mut Self {
        let known = all.iter().position(|places| places.certs.is_same(certs));
        let at = known.unwrap_or_else(|| {
            // A manager that nobody uses any more is not kept, and its keys with it.
            all.retain_mut(|places| {
                places.sweep(reactor);
                !places.begun.is_empty()
            });
            all.push(Self {
                certs: certs.clone(),
                share: certs.share(workers),
                begun: VecDeque::new(),
                sweep_at: SWEEP_AT_LEAST,
            });
            all.len() - 1
        });
        &mut all[at]
    }

    /// The oldest that is still under way, and is not from now on.
    fn oldest<O: Os>(&mut self, reactor: &Reactor<O, Owned, Command<O>>) -> Option<Token> {
        while let Some(token) = self.begun.pop_front() {
            if is_handshaking(reactor, token) {
                return Some(token);
            }
        }
        None
    }

    fn sweep<O: Os>(&mut self, reactor: &Reactor<O, Owned, Command<O>>) {
        self.begun.retain(|token| is_handshaking(reactor, *token));
        // Twice as many as are left, so that each is looked at a bounded number of times.
        self.sweep_at = SWEEP_AT_LEAST.max(2 * self.begun.len());
        self.begun.shrink_to(self.sweep_at);
    }
}

fn is_handshaking<O: Os>(reactor: &Reactor<O, Owned, Command<O>>, token: Token) -> bool {
    matches!(reactor.data(token), Some(Owned::Connection(c)) if c.is_handshaking())
}

impl<O: Os> TcpDriver<O> {
    /// A session for a new connection. When too many handshakes are under way the oldest of this
    /// worker makes room: an honest client needs a few round trips, so the one that has waited
    /// longest is the one that stalls.
    pub(super) fn handshake_session(&mut self, certs: &CertManager) -> Option<TlsSession> {
        let now = self.reactor.now();
        let workers = self.workers();
        loop {
            let places = Places::of(&mut self.handshakes.places, certs, workers, &self.reactor);
            match certs.session_of(&places.share, now) {
                Ok(session) => return Some(session),
                Err(too_many) => {
                    let Some(oldest) = places.oldest(&self.reactor) else {
                        log::debug!("{too_many}");
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

    pub(super) fn handshake_begun(&mut self, token: Token, certs: &CertManager) {
        let workers = self.workers();
        let places = Places::of(&mut self.handshakes.places, certs, workers, &self.reactor);
        places.begun.push_back(token);
        if places.begun.len() >= places.sweep_at {
            places.sweep(&self.reactor);
        }
    }

    /// A handshake has failed, and its socket is there only for the alert.
    pub(super) fn alert_waits(&mut self, token: Token) {
        let alerts = &mut self.handshakes.alerts;
        alerts.push_back(token);
        if alerts.len() > ALERTS_AT_ONCE
            && let Some(oldest) = alerts.pop_front()
        {
            self.end(oldest, DisconnectReason::Closed);
        }
    }
}
