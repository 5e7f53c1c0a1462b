//! From the socket to the owner: reading, framing, credit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use socktree_buffer::{COPY_BELOW, ReadBuffer};
use socktree_codec::FrameError;
use socktree_kernel::{Receipt, SendError};
use socktree_reactor::{Os, ReadOutcome, SourceIo};

use super::{Buffers, Connection, Fate, Hold, Phase};
use crate::connection::Tell;
use crate::event::{DisconnectReason, TcpEvent};
use crate::options::{MESSAGE_OVERHEAD, Overflow};

/// How much a closed connection reads and throws away, so that its last answer is not lost to the
/// reset that unread bytes would cause. The time for it is bounded as well.
const DISCARD_AT_MOST: usize = 16 << 20;

/// An owner with no more than this before it keeps up with its connection: a few messages of ordinary
/// size. What it is given may share chunks of memory with messages of others; a dozen of those, of 64
/// KiB, is the most that a connection can have kept alive in that way.
const KEEPS_UP: u32 = 8 * 1024;

/// Why no message is delivered although one may be there.
const NO_MESSAGES: u8 = Hold::CREDIT | Hold::MAILBOX | Hold::OWNER | Hold::ANSWERS;

impl Connection {
    /// Reads once.
    #[inline(always)]
    pub(crate) fn read<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffers: &mut Buffers,
    ) -> Fate {
        if self.secure.is_some() {
            return self.read_sealed(io, buffers);
        }
        match io.read(buffers.plain.spare_mut()) {
            Ok(ReadOutcome::Data(n)) => {
                buffers.count(n);
                self.received(io, &mut buffers.plain, n)
            }
            Ok(ReadOutcome::Eof) => self.peer_ended(io),
            Ok(ReadOutcome::WouldBlock) => Fate::Lives,
            Err(error) => Fate::ends(self.broken(DisconnectReason::from_io(&error))),
        }
    }

    /// Makes messages of the first `n` bytes of the buffer.
    #[inline(always)]
    pub(super) fn received<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffer: &mut ReadBuffer,
        n: usize,
    ) -> Fate {
        buffer.set_filled(n);
        self.shared.count_received(n);
        if self.phase != Phase::Open {
            return self.discard(n);
        }
        if self.decoder.is_none() {
            // The usual case: the owner keeps up, and so does the peer.
            if self.in_use == 0 && self.pressure.is_none() {
                let data = buffer.take_all();
                return self.hand_on(io, data);
            }
            return self.received_behind(io, buffer, n);
        }
        // A framer may be the user's: what it breaks is this connection alone.
        catch_unwind(AssertUnwindSafe(|| self.take_in(io, buffer)))
            .unwrap_or_else(|_| Fate::ends(DisconnectReason::FramerPanicked))
    }

    /// The same where something is before them, or waits to be written.
    #[inline(never)]
    fn received_behind<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffer: &mut ReadBuffer,
        n: usize,
    ) -> Fate {
        let data = if self.owner_lags() && n < COPY_BELOW {
            own_copy(buffer.as_ref())
        } else {
            buffer.take_all()
        };
        self.deliver_behind(io, data)
    }

    /// Whether the owner has not come yet to what was read before: then what is read now will wait as
    /// well, while others are served whose messages would share its memory.
    fn owner_lags(&self) -> bool {
        self.in_use > KEEPS_UP
    }

    /// Nothing more will come from the peer.
    pub(super) fn peer_ended<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        self.eof = true;
        self.hold_reads(io, Hold::DONE);
        self.half_closed(io)
    }

    pub(super) fn discard(&mut self, bytes: usize) -> Fate {
        let pressure = self.pressure();
        pressure.discarded += bytes;
        if pressure.discarded > DISCARD_AT_MOST && self.phase == Phase::Lingering {
            return Fate::ends(DisconnectReason::Closed);
        }
        Fate::Lives
    }

    /// Whether the owner takes messages now.
    #[inline(always)]
    fn may_deliver<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> bool {
        if self.shared.is_paused() {
            // The driver is still to be told. Another read could find the peer's end meanwhile, and
            // that would be the end of what waits.
            self.pause_for_owner(io);
        }
        self.hold & NO_MESSAGES == 0
    }

    /// Makes messages of what was read and delivers them, as far as credit and mailbox allow.
    pub(super) fn take_in<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffer: &mut ReadBuffer,
    ) -> Fate {
        // The decoder is out of the connection meanwhile, so that delivering can borrow it.
        let Some(mut decoder) = self.decoder.take() else {
            return Fate::Lives;
        };
        let mut fate = Fate::Lives;
        let lags = self.owner_lags();
        let mut feed = decoder.feed(buffer);
        loop {
            if !self.may_deliver(io) {
                self.backlog = true;
                break;
            }
            let data = match feed.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => match frame.range() {
                    Some(range) if lags && range.len() < COPY_BELOW => {
                        own_copy(&feed.input_mut().as_ref()[range])
                    }
                    Some(range) => feed.input_mut().take(range),
                    None => frame.copied([]),
                },
                Err(error) => {
                    fate = self.malformed(error);
                    break;
                }
            };
            fate = self.deliver(io, data);
            if !matches!(fate, Fate::Lives) {
                break;
            }
        }
        drop(feed);
        self.decoder = Some(decoder);
        fate
    }

    /// Delivers messages that were complete already when there was no credit for them.
    pub(super) fn work_off<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.shared.is_paused() {
            self.pause_for_owner(io);
        }
        if self.hold & (Hold::ANSWERS | Hold::OWNER) != 0 {
            return Fate::Lives;
        }
        if let Some(data) = self.pressure.as_mut().and_then(|p| p.refused.take()) {
            let fate = self.deliver_behind(io, data);
            if !matches!(fate, Fate::Lives) {
                return fate;
            }
            // The owner took it, so it is slow and not stuck: the clock begins anew.
            if let Some(pressure) = &mut self.pressure
                && pressure.refused.is_none()
            {
                pressure.owner_stall = None;
            }
        }
        while self.backlog && self.may_deliver(io) {
            let Some(decoder) = &mut self.decoder else {
                self.backlog = false;
                break;
            };
            let next = catch_unwind(AssertUnwindSafe(|| decoder.next_pending()));
            let Ok(next) = next else {
                return Fate::ends(DisconnectReason::FramerPanicked);
            };
            match next {
                Ok(Some(data)) => match self.deliver_behind(io, data) {
                    Fate::Lives => {}
                    fate => return fate,
                },
                Ok(None) => self.backlog = false,
                Err(error) => return self.malformed(error),
            }
        }
        Fate::Lives
    }

    pub(super) fn malformed(&self, error: FrameError) -> Fate {
        Fate::ends(DisconnectReason::Malformed(error))
    }

    /// Delivers one message, and holds reading when credit or mailbox are used up.
    #[inline(always)]
    pub(super) fn deliver<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, data: Bytes) -> Fate {
        if self.answers_may_pile_up(data.len()) {
            return self.deliver_behind(io, data);
        }
        self.hand_on(io, data)
    }

    /// Delivers one message behind others whose answers may not have left, if there is room for its own.
    #[inline(never)]
    fn deliver_behind<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, data: Bytes) -> Fate {
        if self.has_room_for_answer(data.len()) {
            return self.hand_on(io, data);
        }
        self.hold_reads(io, Hold::ANSWERS);
        self.pressure().refused = Some(data);
        Fate::Lives
    }

    #[inline(always)]
    fn hand_on<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, data: Bytes) -> Fate {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let amount = len.saturating_add(MESSAGE_OVERHEAD);
        let receipt = Receipt {
            token: io.token().to_bits(),
            amount,
        };
        let event = TcpEvent::Data {
            conn: self.conn(),
            data,
        };
        match self.sink.deliver(self.shared.source(), receipt, event) {
            Ok(()) => {
                self.in_use = self.in_use.saturating_add(amount);
                if self.in_use >= self.options().read_credit {
                    self.hold_reads(io, Hold::CREDIT);
                    if self.gone {
                        self.bound_stuck(io);
                    }
                }
                Fate::Lives
            }
            Err(SendError::Full(TcpEvent::Data { data, .. })) => self.refused(io, data),
            // It has ended, and the notice of that is on its way; it says whether what the owner
            // has written still goes out.
            Err(_) => {
                self.hold_reads(io, Hold::OWNER);
                Fate::Lives
            }
        }
    }

    /// Whether the answer to a message of this length may not find room; if so, it is worth a closer
    /// look.
    #[inline(always)]
    fn answers_may_pile_up(&self, len: usize) -> bool {
        self.pressure.is_some() || self.unhandled() + len > self.options().marks.hard
    }

    /// Whether an owner that answers each message with as many bytes stays below the hard mark, once it
    /// comes to this one. Those before it may all be unanswered still.
    ///
    /// A message that would not have room has to wait. So a service that echoes is never ended for what
    /// it was sent, whatever the sizes and however slowly the peer takes them back: one that lives on
    /// the connection's worker, so that what it has written was offered before more is read.
    fn has_room_for_answer(&self, len: usize) -> bool {
        let options = self.options();
        let before = self.shared.queued().saturating_add(self.unhandled());
        options.read_while_throttled
            || before <= options.marks.low
            || before.saturating_add(len) <= options.marks.hard
            || self.is_broken()
    }

    /// What was delivered and not yet handled, in bytes, with an overhead for each message.
    #[inline(always)]
    fn unhandled(&self) -> usize {
        self.in_use as usize
    }

    /// Delivers the message that waited for room for its answer, and those behind it.
    pub(super) fn answers_go<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        let refused = self.pressure.as_ref().and_then(|p| p.refused.as_ref());
        let len = refused.map_or(0, Bytes::len);
        if self.hold & Hold::ANSWERS == 0 || !self.has_room_for_answer(len) {
            return Fate::Lives;
        }
        self.release_reads(io, Hold::ANSWERS);
        let fate = self.work_off(io);
        self.drop_pressure();
        fate
    }

    pub(super) fn refused<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, data: Bytes) -> Fate {
        if self.options().overflow == Overflow::Terminate {
            return Fate::ends(DisconnectReason::MailboxFull);
        }
        self.hold_reads(io, Hold::MAILBOX);
        let give_up = self
            .shared
            .group()
            .scope
            .now()
            .checked_add(self.options().owner_stall);
        let pressure = self.pressure();
        pressure.refused = Some(data);
        pressure.owner_stall = pressure.owner_stall.or(give_up);
        self.rearm(io);
        let shared = Arc::clone(&self.shared);
        if !self
            .sink
            .when_room(Box::new(move || shared.tell(Tell::Room)))
        {
            self.shared.tell(Tell::Room);
        }
        Fate::Lives
    }

    /// The owner's mailbox has room again.
    pub(crate) fn room<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.hold & Hold::MAILBOX == 0 || self.phase == Phase::Lingering {
            return Fate::Lives;
        }
        self.release_reads(io, Hold::MAILBOX);
        let fate = self.work_off(io);
        if self.hold & Hold::MAILBOX == 0 {
            self.pressure().owner_stall = None;
            if self.gone {
                self.bound_stuck(io);
            }
            self.rearm(io);
            self.drop_pressure();
        }
        match fate {
            Fate::Lives if self.eof => self.half_closed(io),
            fate => fate,
        }
    }

    /// The owner has handled messages worth this much credit. True if something may have waited
    /// for that.
    #[inline]
    pub(crate) fn handled(&mut self, amount: u32) -> bool {
        self.in_use = self.in_use.saturating_sub(amount);
        self.hold & (Hold::CREDIT | Hold::DONE | Hold::ANSWERS) != 0
    }

    /// Goes on reading if there is enough credit again.
    pub(crate) fn credit_back<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        // Half of it has to be free, or a stream would pause and go on with every message.
        if self.hold & Hold::CREDIT != 0 && self.in_use <= self.options().read_credit / 2 {
            self.release_reads(io, Hold::CREDIT);
            let fate = self.work_off(io);
            if !matches!(fate, Fate::Lives) {
                return fate;
            }
        }
        let fate = self.answers_go(io);
        if self.gone {
            self.bound_stuck(io);
        }
        fate
    }

    /// What a peer has left that has gone waits for an owner that goes on, and not for one that is
    /// stuck: nobody else would ever end the connection. An owner that is slow and goes on has its time
    /// anew with each message.
    pub(super) fn bound_stuck<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        let stuck = self.hold & Hold::STUCK != 0 && self.phase == Phase::Open;
        let at_most = self.options().owner_stall;
        let until = self.shared.group().scope.now().checked_add(at_most);
        self.pressure().owner_stall = until.filter(|_| stuck);
        self.rearm(io);
        self.drop_pressure();
    }

    /// Whether the end of the peer's direction may end the connection: then it has to be looked
    /// at once the owner's last answers are in the queue.
    pub(crate) fn awaits_answers(&self) -> bool {
        self.eof && self.in_use == 0 && self.phase == Phase::Open
    }

    /// The owner has paused or resumed reading.
    pub(crate) fn pause<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.shared.is_paused() {
            self.pause_for_owner(io);
            return Fate::Lives;
        }
        self.release_reads(io, Hold::OWNER);
        self.bound_broken(io);
        if self.phase != Phase::Open {
            return Fate::Lives;
        }
        match self.work_off(io) {
            Fate::Lives if self.eof => self.half_closed(io),
            fate => fate,
        }
    }

    pub(super) fn pause_for_owner<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        if self.phase == Phase::Open {
            self.hold_reads(io, Hold::OWNER);
            self.bound_broken(io);
        }
    }

    pub(super) fn hold_reads<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, why: u8) {
        if self.hold == 0 {
            io.pause_read();
        }
        self.hold |= why;
    }

    pub(super) fn release_reads<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, why: u8) {
        let held = self.hold;
        self.hold &= !why;
        if held != 0 && self.hold == 0 {
            io.resume_read();
        }
    }
}

/// A message that keeps nothing but itself alive.
#[cold]
fn own_copy(message: &[u8]) -> Bytes {
    Bytes::copy_from_slice(message)
}
