//! From the owner to the socket: the write queue, and what a full one holds up.

use std::io;

use bytes::{Buf, Bytes};
use socktree_reactor::{Os, SourceIo, WriteOutcome};

use super::{Connection, Fate, Hold, Phase};
use crate::connection::waiting::Waiting;
use crate::connection::{Shut, Taken};
use crate::event::{DisconnectReason, TcpEvent};

impl Connection {
    /// Hands over what was written, and does what was asked to follow it.
    #[inline(always)]
    pub(crate) fn flush<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        // The usual case: nothing else is going on, and the system takes the one answer.
        if self.is_plain()
            && let Some(answer) = self.shared.take_only()
        {
            if self.secure.is_some() {
                return self.seal_only(io, answer);
            }
            return match io.write(&answer) {
                Ok(WriteOutcome::Written(n)) if n == answer.len() => {
                    self.shared.count_sent(n);
                    Fate::Lives
                }
                outcome => self.handed_part(io, answer, outcome),
            };
        }
        self.hand_over(io)
    }

    /// The system took less than everything.
    #[cold]
    fn handed_part<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        answer: Bytes,
        outcome: io::Result<WriteOutcome>,
    ) -> Fate {
        match outcome {
            Ok(outcome) => self.keep_rest(io, answer, outcome),
            Err(error) => return self.write_failed(io, DisconnectReason::from_io(&error)),
        }
        self.flushed(io)
    }

    /// Open in both directions, and nothing holds it up or waits for its queue to be empty.
    #[inline]
    fn is_plain(&self) -> bool {
        self.phase == Phase::Open
            && self.hold & (Hold::WRITES | Hold::DONE) == 0
            && !self.fin_wanted
            && self.pressure.is_none()
    }

    #[inline(never)]
    fn hand_over<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        // A session may have something to say of its own.
        if self.is_plain() && self.secure.is_none() && self.shared.has_nothing() {
            return Fate::Lives;
        }
        if self.phase == Phase::Connecting {
            return Fate::Lives;
        }
        if self.is_handshaking() {
            return self.flush_handshake(io);
        }
        let (taken, shut) = self.shared.take();
        if let Some(shut) = shut
            && let Some(fate) = self.shut(io, shut)
        {
            return fate;
        }
        if let Err(reason) = self.send(io, taken) {
            return self.write_failed(io, reason);
        }
        if self.shared.is_throttled() && self.shared.release_throttled() {
            let conn = self.conn();
            self.notify(io.token(), TcpEvent::Writable { conn });
        }
        self.flushed(io)
    }

    /// Prepares for what the owner asked to follow its last bytes, or says that there is no time
    /// for that.
    #[cold]
    pub(super) fn shut<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        shut: Shut,
    ) -> Option<Fate> {
        match shut {
            _ if self.phase == Phase::Lingering => {}
            Shut::Reset => return Some(Fate::resets(DisconnectReason::Aborted)),
            Shut::Slow => {
                let queued = self.shared.queued();
                return Some(Fate::resets(DisconnectReason::SlowConsumer { queued }));
            }
            Shut::Close if self.phase == Phase::Open => self.begin_close(io),
            Shut::Close => {}
            Shut::Write => self.fin_wanted = true,
        }
        None
    }

    /// The system has room again.
    pub(crate) fn writable<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.secure.is_some() {
            // What waits for the session goes on with whatever is new.
            return self.flush(io);
        }
        let waiting = self
            .pressure
            .as_mut()
            .map(|p| std::mem::take(&mut p.sending));
        if let Some(sending) = waiting
            && let Err(error) = self.send_all(io, sending)
        {
            return self.write_failed(io, DisconnectReason::from_io(&error));
        }
        self.flush(io)
    }

    /// Nothing can be written any more. What the peer had sent before may still be there, and is
    /// read and delivered before the connection ends.
    #[cold]
    pub(super) fn write_failed<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        reason: DisconnectReason,
    ) -> Fate {
        if let Some(secure) = &mut self.secure {
            secure.cut();
        }
        if self.phase != Phase::Open || self.eof && !self.has_undelivered() {
            return Fate::ends(reason);
        }
        let _dropped_last = self.shared.close();
        self.shared.forget_waiting();
        self.shared.set_blocked(false);
        let pressure = self.pressure();
        pressure.sending = Waiting::default();
        pressure.write_stall = None;
        pressure.broken.get_or_insert(reason);
        self.bound_broken(io);
        self.release_reads(io, Hold::WRITES);
        let fate = self.answers_go(io);
        if self.gone {
            self.bound_stuck(io);
        }
        fate
    }

    /// A broken connection ends when what the peer had sent is read, however long its owner takes to
    /// handle it; but it does not wait for an owner that does not want to read.
    pub(super) fn bound_broken<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        if !self.is_broken() {
            return;
        }
        let unwanted = self.hold & Hold::OWNER != 0;
        let linger = self.options().linger;
        let until = self.shared.group().scope.now().checked_add(linger);
        let pressure = self.pressure();
        pressure.linger = if unwanted {
            pressure.linger.or(until)
        } else {
            None
        };
        self.rearm(io);
    }

    /// Nothing can be written any more; only what the peer has sent is still of interest.
    pub(crate) fn is_broken(&self) -> bool {
        self.pressure.as_ref().is_some_and(|p| p.broken.is_some())
    }

    /// The reason of the end: that of a failed write, if there was one.
    pub(super) fn broken(&self, otherwise: DisconnectReason) -> DisconnectReason {
        let broken = self.pressure.as_ref().and_then(|p| p.broken.clone());
        broken.unwrap_or(otherwise)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.pressure
            .as_ref()
            .is_some_and(|p| !p.sending.is_empty())
            || self.secure.as_ref().is_some_and(|s| s.has_output())
    }

    /// Hands over the newest pieces, behind those that still wait.
    pub(super) fn send<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        taken: Taken,
    ) -> Result<(), DisconnectReason> {
        if self.secure.is_some() {
            return self.seal(io, taken);
        }
        let sent = match taken {
            Taken::Nothing => Ok(()),
            taken if self.is_blocked() => {
                let sending = &mut self.pressure().sending;
                match taken {
                    Taken::Nothing => {}
                    Taken::One(piece) => sending.push(piece),
                    Taken::Several(pieces) => sending.extend(pieces),
                }
                sending.settle();
                Ok(())
            }
            Taken::One(piece) => io
                .write(&piece)
                .map(|outcome| self.keep_rest(io, piece, outcome)),
            Taken::Several(pieces) => self.send_all(io, pieces.into()),
        };
        sent.map_err(|error| DisconnectReason::from_io(&error))
    }

    /// Keeps what the system did not take.
    fn keep_rest<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        mut piece: Bytes,
        outcome: WriteOutcome,
    ) {
        if let WriteOutcome::Written(n) = outcome {
            self.shared.count_sent(n);
            piece.advance(n);
        }
        if !piece.is_empty() {
            let sending = &mut self.pressure().sending;
            sending.push(piece);
            sending.settle();
            self.blocked(io, true);
        }
    }

    pub(super) fn send_all<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        mut pieces: Waiting,
    ) -> io::Result<()> {
        let mut progress = false;
        while !pieces.is_empty() {
            let (slices, used) = pieces.slices();
            let slices = &slices[..used];
            let asked = slices.iter().map(|slice| slice.len()).sum::<usize>();
            let WriteOutcome::Written(n) = io.write_vectored(slices)? else {
                break;
            };
            progress |= n > 0;
            self.shared.count_sent(n);
            pieces.advance(n);
            if n < asked {
                break;
            }
        }
        if !pieces.is_empty() {
            pieces.settle();
            self.pressure().sending = pieces;
            self.blocked(io, progress);
        } else if self.pressure.is_some() {
            self.unblocked(io);
        }
        Ok(())
    }

    /// Something could not be handed over: the clock runs.
    pub(super) fn blocked<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, progress: bool) {
        let options = self.options();
        let give_up = self
            .shared
            .group()
            .scope
            .now()
            .checked_add(options.write_timeout);
        let pressure = self.pressure();
        if progress || pressure.write_stall.is_none() {
            pressure.write_stall = give_up;
        }
        self.shared.set_blocked(true);
        self.rearm(io);
    }

    pub(super) fn unblocked<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        self.pressure().write_stall = None;
        self.shared.set_blocked(false);
        self.rearm(io);
        self.drop_pressure();
    }

    /// After a flush: reading may go on, or an end that waited for it can follow.
    pub(super) fn flushed<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.hold & Hold::WRITES != 0 && self.shared.queued() <= self.options().marks.low {
            self.release_reads(io, Hold::WRITES);
        }
        if self.hold & Hold::ANSWERS != 0 {
            let fate = self.answers_go(io);
            if !matches!(fate, Fate::Lives) {
                return fate;
            }
        }
        if self.is_blocked() {
            let options = self.options();
            if !options.read_while_throttled && self.shared.queued() > options.marks.high {
                self.hold_reads(io, Hold::WRITES);
            }
            return Fate::Lives;
        }
        if self.phase == Phase::Closing && self.eof {
            return self.end_in_order(io, DisconnectReason::Closed);
        }
        // A direction that is broken cannot be ended, and trying would end the other one.
        let fin_due = (self.fin_wanted || self.phase == Phase::Closing) && !self.fin_sent;
        if fin_due && !self.is_broken() {
            match self.say_goodbye(io) {
                Ok(true) => {}
                Ok(false) => return Fate::Lives,
                Err(reason) => return Fate::ends(reason),
            }
            self.fin_sent = true;
            if let Err(error) = io.shutdown_write() {
                return Fate::ends(DisconnectReason::from_io(&error));
            }
            self.wait_for_peers_end(io);
        }
        match self.phase {
            Phase::Connecting | Phase::Handshaking => Fate::Lives,
            Phase::Lingering => self.end_if_eof(DisconnectReason::Closed),
            Phase::Closing => Fate::lingers(DisconnectReason::Closed),
            Phase::Open if self.eof => self.half_closed(io),
            Phase::Open => Fate::Lives,
        }
    }
}
