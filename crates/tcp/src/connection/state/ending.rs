//! How a connection ends: by the peer, by the owner, by a deadline, by the end of a process.

use std::time::{Duration, Instant};

use socktree_codec::FrameError;
use socktree_reactor::{Os, SourceIo};

use super::{Connection, Fate, Hold, Phase};
use crate::connection::Taken;
use crate::event::{DisconnectReason, TcpEvent};

/// How long a connection that has ended its direction waits for the peer to end the other.
const PEERS_END: Duration = Duration::from_secs(2);

impl Connection {
    /// The peer has ended its direction. Whatever it sent is delivered, handled and answered
    /// before the connection ends.
    pub(super) fn half_closed<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        let undelivered = self.has_undelivered();
        if self.is_broken() && !undelivered {
            return Fate::ends(self.broken(DisconnectReason::Reset));
        }
        match self.phase {
            Phase::Lingering if !self.is_blocked() => Fate::ends(DisconnectReason::Closed),
            Phase::Closing if !self.is_blocked() => self.end_in_order(io, DisconnectReason::Closed),
            Phase::Open if undelivered => Fate::Lives,
            Phase::Open => {
                if let Some(Err(error)) = self.decoder.as_ref().map(|decoder| decoder.finish()) {
                    let FrameError::UnexpectedEof { pending } = error else {
                        return self.malformed(error);
                    };
                    return self.answered(io, DisconnectReason::Truncated { pending });
                }
                if self.secure.as_ref().is_some_and(|s| s.is_truncated()) {
                    return self.answered(io, DisconnectReason::Truncated { pending: 0 });
                }
                if self.options().half_open && !self.fin_sent {
                    if !std::mem::replace(&mut self.eof_told, true) {
                        let conn = self.conn();
                        self.notify(io.token(), TcpEvent::Eof { conn });
                    }
                    return Fate::Lives;
                }
                self.answered(io, DisconnectReason::PeerClosed)
            }
            _ => Fate::Lives,
        }
    }

    /// Whether there may be messages that the owner has had no room for.
    pub(super) fn has_undelivered(&self) -> bool {
        self.backlog || self.pressure.as_ref().is_some_and(|p| p.refused.is_some())
    }

    /// Ends the connection if the owner has handled everything and its answers are handed over.
    fn answered<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        reason: DisconnectReason,
    ) -> Fate {
        if self.in_use == 0 && !self.is_blocked() && self.shared.close_if_empty() {
            self.end_in_order(io, reason)
        } else {
            Fate::Lives
        }
    }

    /// Ends the connection, with TLS as soon as the peer can be told that it is an end in order.
    pub(super) fn end_in_order<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        reason: DisconnectReason,
    ) -> Fate {
        match self.say_goodbye(io) {
            Ok(true) => Fate::ends(reason),
            Ok(false) => Fate::Lives,
            Err(failed) => Fate::ends(failed),
        }
    }

    /// Closes after what was written. Told again, it goes on as it was: a connection that lingers
    /// must not come back from there.
    pub(crate) fn begin_close<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.set_linger(io);
        }
    }

    pub(super) fn set_linger<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        let until = self
            .shared
            .group()
            .scope
            .now()
            .checked_add(self.options().linger);
        self.pressure().linger = until;
        // Read and thrown away from now on: unread bytes would turn our close into a reset.
        self.pressure().refused = None;
        self.pressure().owner_stall = None;
        self.backlog = false;
        self.held_at_close = self.hold & !Hold::DONE;
        self.release_reads(io, self.hold & !Hold::DONE);
        self.rearm(io);
    }

    /// Everything is handed over: from here on the peer only has to take it, and to end its own
    /// direction. One that keeps its end open does not hold us up for the whole linger.
    pub(super) fn wait_for_peers_end<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        let until = self.shared.group().scope.now().checked_add(PEERS_END);
        if self.phase != Phase::Open
            && let Some(pressure) = &mut self.pressure
        {
            // A linger that is too long to be counted is none at all, and this bounds it too.
            pressure.linger = pressure.linger.into_iter().chain(until).min();
            self.rearm(io);
        }
    }

    /// The owner is told, and the socket stays for a while.
    pub(crate) fn linger<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        reason: DisconnectReason,
    ) {
        if self.pressure().linger.is_none() {
            self.set_linger(io);
        }
        let handshaking = self.is_handshaking();
        self.phase = Phase::Lingering;
        if self.fin_sent {
            self.wait_for_peers_end(io);
        }
        if handshaking {
            self.handshake_over(reason);
        } else {
            self.tell_end(reason, false);
        }
    }

    /// The meta-process has to end now, in good order: what was written still goes out.
    pub(crate) fn leave<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        reason: DisconnectReason,
    ) -> Fate {
        match self.phase {
            Phase::Connecting | Phase::Handshaking => return Fate::ends(reason),
            // When a node stops, parent and owner end together, and each tells it.
            Phase::Lingering => return Fate::Lives,
            Phase::Open | Phase::Closing => {}
        }
        let taken = self.shared.take_last();
        let nothing_new = matches!(taken, Taken::Nothing);
        if let Err(failed) = self.send(io, taken) {
            return Fate::ends(failed);
        }
        self.fin_wanted = true;
        let no_need_to_wait = self.eof || nothing_new && self.is_quiet(io);
        if !self.is_blocked() && !self.fin_sent {
            match self.say_goodbye(io) {
                Ok(true) if no_need_to_wait => return Fate::ends(reason),
                Ok(true) => {
                    self.fin_sent = true;
                    if io.shutdown_write().is_err() {
                        return Fate::ends(reason);
                    }
                }
                Ok(false) => {}
                Err(failed) => return Fate::ends(failed),
            }
        }
        if !self.is_blocked() && no_need_to_wait {
            return Fate::ends(reason);
        }
        Fate::lingers(reason)
    }

    /// The deadline has passed: one of ours is over.
    pub(crate) fn deadline<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, now: Instant) -> Fate {
        if self.is_handshaking() {
            return self.handshake_late(io, now);
        }
        let Some(pressure) = &self.pressure else {
            return Fate::Lives;
        };
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if over(pressure.write_stall) {
            return Fate::resets(DisconnectReason::WriteTimeout);
        }
        if over(pressure.owner_stall) {
            return Fate::ends(DisconnectReason::MailboxFull);
        }
        if over(pressure.linger) {
            if self.is_broken() {
                return Fate::ends(self.broken(DisconnectReason::Reset));
            }
            return match self.phase {
                Phase::Connecting => Fate::ends(DisconnectReason::ConnectTimeout),
                _ if self.is_blocked() => Fate::resets(DisconnectReason::LingerTimeout),
                _ => Fate::ends(DisconnectReason::Closed),
            };
        }
        self.rearm(io);
        Fate::Lives
    }

    /// The peer is gone in both directions while we do not read. What it sent can still be read;
    /// what we write can not be delivered any more.
    pub(crate) fn hung_up<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        // There may be more to read, but nobody waits at the other end.
        self.gone = true;
        if self.is_blocked() || self.phase != Phase::Open {
            return self.writable(io);
        }
        if self.eof {
            // Half-open, and now gone: nobody would tell the owner otherwise.
            let reason = if self.fin_sent {
                DisconnectReason::PeerClosed
            } else {
                DisconnectReason::Reset
            };
            return self.write_failed(io, reason);
        }
        self.bound_stuck(io);
        Fate::Lives
    }

    /// Whether nothing is going on, as far as we know, so that a connection that has to go because
    /// a process ended can be closed at once. Where bytes are unread, or may follow, a plain close
    /// would reset the connection and could take our last answer with it (RFC 1122, 4.2.2.13);
    /// that is why an owner's own close always waits for the peer's end.
    pub(super) fn is_quiet<O: Os, C>(&self, io: &SourceIo<'_, O, C>) -> bool {
        let held = self.held_at_close | self.hold & !Hold::DONE;
        let inside = self.secure.as_ref().is_some_and(|s| s.has_more());
        let started = self.decoder.as_ref().is_some_and(|d| d.pending() > 0);
        !io.is_readable() && !inside && held == 0 && self.in_use == 0 && !started
    }

    pub(super) fn end_if_eof(&self, reason: DisconnectReason) -> Fate {
        if self.eof {
            Fate::ends(reason)
        } else {
            Fate::Lives
        }
    }
}
