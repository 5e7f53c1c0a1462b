//! What TLS adds: a handshake before the owner hears of the connection, and records between the
//! socket and the messages.
//!
//! The session has neither input nor output of its own. What it has to say leaves with the next
//! flush, so that the end of a handshake and the first answer share a write; what it holds back
//! because there is no room or no credit is asked for by [`SourceIo::read_again`], as nothing on
//! the socket announces it.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use socktree_kernel::Reply;
use socktree_reactor::{Os, ReadOutcome, SourceIo, WriteOutcome};
use socktree_tls::{PeerEnd, TlsError, TlsSession};

use super::{Buffers, Connection, Fate, Hold, Phase, TURN};
use crate::connection::waiting::Waiting;
use crate::connection::{Shared, Taken};
use crate::event::DisconnectReason;

/// As much ciphertext as is made and handed over for one connection in a turn: some tenths of a
/// millisecond. A peer that takes it as fast as it is made would have the loop for itself; and while
/// anybody has more to do, the loop asks the system in every sixteenth turn only.
const OUT_AT_ONCE: usize = 256 << 10;

/// The session of a connection, and what its handshake leads to.
pub(super) struct Secure {
    session: TlsSession,
    /// Plaintext that the session has taken and the system has not, as far as it was counted.
    unsent: usize,
    /// Nothing can be sent any more.
    cut: bool,
    asked: Asked,
}

/// How far handing over has come.
enum Reached {
    /// As far as it goes: all of it, or what the system takes. Has it taken anything?
    End { progress: bool },
    /// Others have their turn before there is more.
    Pause,
}

/// What whoever asked for an outgoing connection wants; nothing for an accepted one.
#[derive(Default)]
pub(crate) struct Asked {
    /// When it has to be established.
    pub(crate) by: Option<Instant>,
    /// Who waits for that; without one the owner gets an event.
    pub(crate) tell: Option<Reply<Result<(), DisconnectReason>>>,
}

impl Secure {
    pub(super) fn has_output(&self) -> bool {
        !self.cut && !self.session.output().is_empty()
    }

    pub(super) fn has_more(&self) -> bool {
        self.session.has_more()
    }

    /// Whether the peer has ended its direction without saying so: somebody on the way may have.
    pub(super) fn is_truncated(&self) -> bool {
        self.session.peer_end() != Some(PeerEnd::Closed)
    }

    /// When the handshake has to be over, at the latest.
    fn deadline(&self) -> Option<Instant> {
        let both = [self.session.deadline(), self.asked.by];
        both.into_iter().flatten().min()
    }

    /// Nothing can be sent any more.
    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    /// Has the session take as much of a piece as its bound allows.
    #[inline]
    fn encrypt(&mut self, piece: &mut Bytes) -> Result<(), DisconnectReason> {
        let n = self.session.write(piece).map_err(failed)?;
        self.unsent += n;
        piece.advance(n);
        Ok(())
    }

    /// The same with several.
    fn encrypt_all(&mut self, pieces: &mut Waiting) -> Result<(), DisconnectReason> {
        while !pieces.is_empty() && self.session.may_write() {
            let (slices, used) = pieces.slices();
            let n = self.session.write_vectored(&slices[..used]);
            let n = n.map_err(failed)?;
            self.unsent += n;
            pieces.advance(n);
            if n == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Encrypts and hands over as much as session and system take of the pieces and of the newest,
    /// which are left behind the others.
    fn hand_over<O: Os, C>(
        &mut self,
        shared: &Shared,
        io: &mut SourceIo<'_, O, C>,
        newest: Taken,
        pieces: &mut Waiting,
    ) -> Result<Reached, DisconnectReason> {
        match newest {
            Taken::Nothing => {}
            // The usual case: one answer, and nothing before it.
            Taken::One(mut piece) if pieces.is_empty() => {
                self.encrypt(&mut piece)?;
                if !piece.is_empty() {
                    pieces.push(piece);
                }
            }
            Taken::One(piece) => pieces.push(piece),
            Taken::Several(newest) => pieces.extend(newest),
        }
        let mut progress = false;
        let mut sent = 0;
        loop {
            self.encrypt_all(pieces)?;
            let output = self.session.output();
            let len = output.len();
            if len == 0 {
                return Ok(Reached::End { progress });
            }
            let wrote = io.write(output);
            match wrote.map_err(|error| DisconnectReason::from_io(&error))? {
                WriteOutcome::WouldBlock => return Ok(Reached::End { progress }),
                WriteOutcome::Written(n) => {
                    progress |= n > 0;
                    sent += n;
                    shared.count_sent(self.sent(n));
                    if n < len {
                        return Ok(Reached::End { progress });
                    }
                    if sent >= OUT_AT_ONCE && !pieces.is_empty() {
                        return Ok(Reached::Pause);
                    }
                }
            }
        }
    }

    /// Says that the system has taken `n` bytes of output, and how much plaintext was in them.
    fn sent(&mut self, n: usize) -> usize {
        self.session.sent(n);
        let left = self.session.unsent_plaintext().min(self.unsent);
        std::mem::replace(&mut self.unsent, left) - left
    }
}

fn failed(error: TlsError) -> DisconnectReason {
    DisconnectReason::Tls(Arc::new(error))
}

impl Connection {
    /// The socket is connected, and TLS comes first: the owner is told when the handshake is over.
    pub(crate) fn begin_handshake<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        session: TlsSession,
        asked: Asked,
    ) {
        self.phase = Phase::Handshaking;
        self.secure = Some(Box::new(Secure {
            session,
            unsent: 0,
            cut: false,
            asked,
        }));
        self.rearm(io);
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshaking
    }

    pub(super) fn handshake_deadline(&self) -> Option<Instant> {
        match &self.secure {
            Some(secure) if self.is_handshaking() => secure.deadline(),
            _ => None,
        }
    }

    /// The handshake has taken too long.
    pub(super) fn handshake_late<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        now: Instant,
    ) -> Fate {
        if let Some(secure) = &mut self.secure {
            if secure.asked.by.is_some_and(|by| by <= now) {
                return Fate::ends(DisconnectReason::ConnectTimeout);
            }
            let stall = self.pressure.as_ref().and_then(|p| p.write_stall);
            if stall.is_some_and(|at| at <= now) {
                return Fate::resets(DisconnectReason::WriteTimeout);
            }
            if let Err(error) = secure.session.handle_timeout(now) {
                return Fate::ends(failed(error));
            }
        }
        self.rearm(io);
        Fate::Lives
    }

    fn established<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        let Some(secure) = &mut self.secure else {
            return;
        };
        if let Some(info) = secure.session.info() {
            self.shared.secured(info);
        }
        let asked = std::mem::take(&mut secure.asked);
        if let Some(server) = &self.shared.group().server {
            server.handshakes.completed();
        }
        self.announce(io);
        self.rearm(io);
        if let Some(tell) = asked.tell {
            let _nobody_waits = tell.send(Ok(()));
        }
    }

    /// The end of a connection that nobody has heard of yet. A client's owner is told; a server's
    /// was promised nothing.
    pub(super) fn handshake_over(&mut self, reason: DisconnectReason) {
        let shared = Arc::clone(&self.shared);
        if let Some(server) = &shared.group().server {
            server.handshake_failed(shared.peer_addr(), &reason);
            self.end_silently(&reason);
            return server.dismiss(shared.owner());
        }
        match self.secure.as_mut().and_then(|s| s.asked.tell.take()) {
            Some(tell) => {
                self.end_silently(&reason);
                let _nobody_waits = tell.send(Err(reason));
            }
            None => self.tell_end(reason, true),
        }
    }

    // From the socket to the owner.

    /// Reads once: from the session while it holds something, else from the socket.
    #[inline(never)]
    pub(super) fn read_sealed<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffers: &mut Buffers,
    ) -> Fate {
        let Some(secure) = &mut self.secure else {
            return Fate::Lives;
        };
        if !matches!(self.phase, Phase::Open | Phase::Handshaking) {
            return self.read_and_discard(io, buffers);
        }
        let plain = buffers.plain.spare_mut();
        let mut sealed_bytes = 0;
        let received = if secure.session.wants_read() {
            let sealed = buffers.sealed.spare_mut();
            let room = secure.session.room().min(sealed.len());
            match io.read(&mut sealed[..room]) {
                Ok(ReadOutcome::Data(n)) => {
                    sealed_bytes = n;
                    secure.session.receive(&mut sealed[..n], plain)
                }
                Ok(ReadOutcome::Eof) => return self.sealed_eof(io),
                Ok(ReadOutcome::WouldBlock) => return Fate::Lives,
                Err(error) => {
                    return Fate::ends(self.broken(DisconnectReason::from_io(&error)));
                }
            }
        } else {
            secure.session.read(plain)
        };
        let more = secure.session.has_more();
        let ended = secure.session.peer_end().is_some();
        let handshaking = secure.session.is_handshaking();
        let n = match received {
            Ok(n) => n,
            Err(error) => return self.session_failed(io, error),
        };
        // Both: decrypting costs as much as reading, or more.
        buffers.count(sealed_bytes + n);
        if more {
            io.read_again();
        }
        if self.is_handshaking() {
            if handshaking {
                // Public-key operations: others should run before the next handshake goes on.
                buffers.count(TURN);
                return Fate::Lives;
            }
            self.established(io);
        }
        let mut fate = Fate::Lives;
        if n > 0 {
            fate = self.take_plain(io, buffers, n);
        }
        if ended && !self.eof && matches!(fate, Fate::Lives) {
            fate = self.peer_ended(io);
        }
        fate
    }

    /// Delivers what was decrypted.
    fn take_plain<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffers: &mut Buffers,
        n: usize,
    ) -> Fate {
        if self.hold & Hold::OWNER != 0 && self.decoder.is_none() {
            // Paused before there was anything to pause: it came with the end of the handshake.
            buffers.plain.set_filled(n);
            self.shared.count_received(n);
            self.pressure().refused = Some(buffers.plain.take_all());
            return Fate::Lives;
        }
        self.received(io, &mut buffers.plain, n)
    }

    /// Our end is under way: what the peer still sends is not even decrypted.
    fn read_and_discard<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffers: &mut Buffers,
    ) -> Fate {
        match io.read(buffers.sealed.spare_mut()) {
            Ok(ReadOutcome::Data(n)) => self.discard(n),
            Ok(ReadOutcome::Eof) => self.peer_ended(io),
            Ok(ReadOutcome::WouldBlock) => Fate::Lives,
            Err(error) => Fate::ends(self.broken(DisconnectReason::from_io(&error))),
        }
    }

    fn sealed_eof<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        let told = self.secure.as_mut().map(|s| s.session.receive_eof());
        if let Some(Err(error)) = told {
            self.eof = true;
            self.hold_reads(io, Hold::DONE);
            return self.session_failed(io, error);
        }
        self.peer_ended(io)
    }

    /// The session cannot go on. The peer is told why, as far as it still listens.
    #[cold]
    fn session_failed<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, error: TlsError) -> Fate {
        if let Some(pressure) = &mut self.pressure {
            pressure.sending = Waiting::default();
        }
        let reason = failed(error);
        let alert = self.secure.as_ref().is_some_and(|s| s.has_output());
        let told = alert && self.seal(io, Taken::Nothing).is_ok() && !self.is_blocked();
        if !told || self.eof || io.shutdown_write().is_err() {
            return Fate::ends(reason);
        }
        // A close with bytes unread would be a reset, and could take the alert with it.
        self.fin_sent = true;
        Fate::lingers(reason)
    }

    // From the owner to the socket.

    /// Carries the handshake on, and looks whether it still should.
    pub(super) fn flush_handshake<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        self.shared.look();
        if let Some(reason) = self.shared.given_up() {
            return Fate::ends(reason);
        }
        if self.seal(io, Taken::Nothing).is_err()
            && let Some(secure) = &mut self.secure
        {
            // What the peer has said before it went away, an alert perhaps, is still to be read,
            // and so is its end.
            secure.cut();
        }
        Fate::Lives
    }

    /// Encrypts and hands over the one answer that there is.
    #[inline(never)]
    pub(super) fn seal_only<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        mut answer: Bytes,
    ) -> Fate {
        let Some(secure) = &mut self.secure else {
            return Fate::Lives;
        };
        if let Err(reason) = secure.encrypt(&mut answer) {
            return self.write_failed(io, reason);
        }
        if answer.is_empty() {
            let output = secure.session.output();
            let len = output.len();
            match io.write(output) {
                Ok(WriteOutcome::Written(n)) => {
                    self.shared.count_sent(secure.sent(n));
                    if n == len {
                        return Fate::Lives;
                    }
                }
                Ok(WriteOutcome::WouldBlock) => {}
                Err(error) => return self.write_failed(io, DisconnectReason::from_io(&error)),
            }
        }
        match self.seal(io, Taken::One(answer)) {
            Ok(()) => self.flushed(io),
            Err(reason) => self.write_failed(io, reason),
        }
    }

    /// Encrypts what waits and the newest behind it, and hands it over, as far as session and
    /// system take it.
    pub(super) fn seal<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        taken: Taken,
    ) -> Result<(), DisconnectReason> {
        // Borrowed where it is: whatever happens in here, a connection with TLS never becomes one
        // without.
        let Some(secure) = &mut self.secure else {
            return Ok(());
        };
        if secure.cut {
            return Ok(());
        }
        let waiting = self.pressure.as_mut().map(|p| &mut p.sending);
        let mut pieces = waiting.map(std::mem::take).unwrap_or_default();
        let reached = secure.hand_over(&self.shared, io, taken, &mut pieces)?;
        let waits = !pieces.is_empty() || secure.has_output();
        match reached {
            Reached::End { progress } if waits => {
                pieces.settle();
                self.pressure().sending = pieces;
                self.blocked(io, progress);
            }
            Reached::End { .. } if self.pressure.is_some() => self.unblocked(io),
            Reached::End { .. } => {}
            Reached::Pause => {
                pieces.settle();
                self.pressure().sending = pieces;
                // It is not the peer who holds it up, and who writes meanwhile is not to blame.
                self.unblocked(io);
                self.shared.watch();
                io.write_again();
            }
        }
        Ok(())
    }

    /// Tells the peer that this was all, before the socket says so. False if that has to wait.
    pub(super) fn say_goodbye<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
    ) -> Result<bool, DisconnectReason> {
        let Some(secure) = &mut self.secure else {
            return Ok(true);
        };
        if secure.cut {
            return Ok(true);
        }
        secure.session.close().map_err(failed)?;
        self.seal(io, Taken::Nothing)?;
        Ok(!self.is_blocked())
    }

    /// The last thing before the socket is closed without an end in order: an alert, perhaps.
    #[cold]
    pub(crate) fn farewell<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        if self.shared.queued() == 0 {
            // If it cannot be sent, the peer hears nothing.
            let _best_effort = self.seal(io, Taken::Nothing);
        }
    }
}
