//! The half of a connection that its worker drives: reading, framing, credit, writing, ending.
//!
//! Nothing here calls into the loop or waits: bytes and time come in as arguments, and what is to
//! become of the connection goes out as a [`Fate`].

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use socktree_buffer::ReadBuffer;
use socktree_codec::{Decoder, FrameError};
use socktree_kernel::{MetaLife, Receipt, SendError, Sink};
use socktree_reactor::{Os, ReadOutcome, SourceIo, WriteOutcome};

use crate::conn::Conn;
use crate::connection::shared::{Rest, Taken};
use crate::connection::{Shared, Shut, Tell};
use crate::event::{DisconnectReason, TcpEvent};
use crate::options::{ConnectionOptions, MESSAGE_OVERHEAD, Overflow};

/// The most pieces handed to one `writev(2)`; Linux takes 1024, and above a few dozen nothing is
/// won any more.
const MAX_SLICES: usize = 64;

/// How much a closed connection reads and throws away, so that its last answer is not lost to the
/// reset that unread bytes would cause.
const DISCARD_AT_MOST: usize = 64 * 1024;

/// What is to become of a connection after a step.
#[must_use]
#[derive(Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Lives,
    /// It goes on, and filled the whole read buffer: its owner should run before more is read.
    Hot,
    /// Everything is handed over and our direction is ended: tell the owner, and stay only to let
    /// the peer take it.
    Lingers(DisconnectReason),
    /// It is over.
    Ends(DisconnectReason),
    /// It is over and cut off.
    Resets(DisconnectReason),
}

/// Why a connection is not read, as bits: reading goes on when there is no reason left.
struct Hold;

impl Hold {
    /// The owner has not handled what it got.
    const CREDIT: u8 = 1;
    /// The owner's mailbox is full.
    const MAILBOX: u8 = 1 << 1;
    /// Too much waits to be written.
    const WRITES: u8 = 1 << 2;
    /// The owner said so.
    const OWNER: u8 = 1 << 3;
    /// The peer has ended its direction, or ours is closing.
    const DONE: u8 = 1 << 4;
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    /// To be closed as soon as what was written is handed over.
    Closing,
    /// The owner has been told; only the socket is left.
    Lingering,
}

/// What only a connection under pressure needs, so that an idle one does not carry it.
#[derive(Default)]
struct Pressure {
    /// Not taken by the system yet, in order.
    sending: VecDeque<Bytes>,
    /// Since when the system takes nothing, as the time to give up.
    write_stall: Option<Instant>,
    /// Refused by the owner's full mailbox.
    refused: Option<Bytes>,
    /// Since when it is full, as the time to give up.
    owner_stall: Option<Instant>,
    /// When a closing connection is cut off.
    linger: Option<Instant>,
    /// How much was read and thrown away.
    discarded: usize,
}

/// What a new connection needs.
pub(crate) struct Birth {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sink: Arc<dyn Sink<TcpEvent>>,
    pub(crate) life: MetaLife,
    pub(crate) connecting: bool,
}

pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    sink: Arc<dyn Sink<TcpEvent>>,
    /// `None` once the owner has been told of the end.
    life: Option<MetaLife>,
    decoder: Decoder,
    pressure: Option<Box<Pressure>>,
    /// Credit in use: bytes delivered and not yet handled, with their overhead.
    in_use: u32,
    hold: u8,
    /// What held reading when the connection began to close.
    held_at_close: u8,
    phase: Phase,
    /// The peer has ended its direction.
    eof: bool,
    /// The owner of a half-open connection has been told so.
    eof_told: bool,
    /// Ours has been ended.
    fin_sent: bool,
    /// Ours is to be ended once the queue is empty.
    fin_wanted: bool,
    /// Complete messages may be waiting in the decoder.
    backlog: bool,
    /// In the driver's list of connections to look at before it sleeps.
    pub(crate) touched: bool,
}

impl Connection {
    pub(crate) fn new(birth: Birth) -> Self {
        let decoder = Decoder::new(birth.shared.framing().clone());
        Self {
            shared: birth.shared,
            sink: birth.sink,
            life: Some(birth.life),
            decoder,
            pressure: None,
            in_use: 0,
            hold: 0,
            held_at_close: 0,
            phase: if birth.connecting {
                Phase::Connecting
            } else {
                Phase::Open
            },
            eof: false,
            eof_told: false,
            fin_sent: false,
            fin_wanted: false,
            backlog: false,
            touched: false,
        }
    }

    pub(crate) fn options(&self) -> &ConnectionOptions {
        &self.shared.group().options
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.phase == Phase::Lingering
    }

    fn conn(&self) -> Conn {
        Conn(Arc::clone(&self.shared))
    }

    fn pressure(&mut self) -> &mut Pressure {
        self.pressure.get_or_insert_with(Box::default)
    }

    // What the owner is told.

    /// Tells the owner something that it must not miss. An owner that has ended misses nothing.
    fn notify(&self, event: TcpEvent) {
        let _gone = self.sink.deliver_always(self.shared.source(), event);
    }

    /// The connection is there: the owner is told before anything can be read.
    pub(crate) fn announce(&mut self) {
        self.phase = Phase::Open;
        self.notify(TcpEvent::Connect { conn: self.conn() });
    }

    /// The last the owner hears. The alias is gone when its watchers are told, and the handle
    /// takes no bytes any more.
    pub(crate) fn tell_end(&mut self, reason: DisconnectReason, failed_to_connect: bool) {
        let Some(life) = self.life.take() else {
            return;
        };
        self.shared.close();
        let exit = reason.to_exit();
        let conn = self.conn();
        self.notify(if failed_to_connect {
            TcpEvent::ConnectFailed { conn, reason }
        } else {
            TcpEvent::Disconnect { conn, reason }
        });
        life.end(&exit);
    }

    /// Ends the meta-process without a word, for a connection nobody was promised.
    pub(crate) fn end_silently(&mut self, reason: &DisconnectReason) {
        self.shared.close();
        if let Some(life) = self.life.take() {
            life.end(&reason.to_exit());
        }
    }

    // Reading.

    /// Reads once.
    pub(crate) fn read<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        buffer: &mut ReadBuffer,
    ) -> Fate {
        let spare = buffer.spare_mut();
        let room = spare.len();
        match io.read(spare) {
            Ok(ReadOutcome::Data(n)) => {
                buffer.set_filled(n);
                self.shared.count_received(n);
                if self.phase != Phase::Open {
                    return self.discard(n);
                }
                let fate = if self.decoder.framing().is_raw() {
                    let data = buffer.take(0..n);
                    self.deliver(io, data)
                } else {
                    self.take_in(io, buffer)
                };
                match fate {
                    Fate::Lives if n == room => Fate::Hot,
                    fate => fate,
                }
            }
            Ok(ReadOutcome::Eof) => {
                self.eof = true;
                self.hold_reads(io, Hold::DONE);
                self.half_closed()
            }
            Ok(ReadOutcome::WouldBlock) => Fate::Lives,
            Err(error) => Fate::Ends(DisconnectReason::from_io(&error)),
        }
    }

    fn discard(&mut self, bytes: usize) -> Fate {
        let pressure = self.pressure();
        pressure.discarded += bytes;
        if pressure.discarded > DISCARD_AT_MOST && self.phase == Phase::Lingering {
            return Fate::Ends(DisconnectReason::Closed);
        }
        Fate::Lives
    }

    /// Makes messages of what was read and delivers them, as far as credit and mailbox allow.
    fn take_in<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, buffer: &mut ReadBuffer) -> Fate {
        // The decoder is out of the connection meanwhile, so that delivering can borrow it.
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(raw()));
        let mut fate = Fate::Lives;
        let mut feed = decoder.feed(buffer);
        loop {
            if self.hold & (Hold::CREDIT | Hold::MAILBOX) != 0 {
                self.backlog = true;
                break;
            }
            let data = match feed.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => match frame.range() {
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
        self.decoder = decoder;
        fate
    }

    /// Delivers messages that were complete already when there was no credit for them.
    fn work_off<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if let Some(data) = self.pressure.as_mut().and_then(|p| p.refused.take()) {
            let fate = self.deliver(io, data);
            if !matches!(fate, Fate::Lives) {
                return fate;
            }
        }
        while self.backlog && self.hold & (Hold::CREDIT | Hold::MAILBOX) == 0 {
            match self.decoder.next_pending() {
                Ok(Some(data)) => match self.deliver(io, data) {
                    Fate::Lives => {}
                    fate => return fate,
                },
                Ok(None) => self.backlog = false,
                Err(error) => return self.malformed(error),
            }
        }
        Fate::Lives
    }

    fn malformed(&self, error: FrameError) -> Fate {
        Fate::Ends(DisconnectReason::Malformed(error))
    }

    /// Delivers one message, and holds reading when credit or mailbox are used up.
    fn deliver<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, data: Bytes) -> Fate {
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
                }
                Fate::Lives
            }
            Err(SendError::Full(TcpEvent::Data { data, .. })) => self.refused(io, data),
            // It has ended, and `MetaExit::OwnerEnded` is on its way.
            Err(_) => Fate::Ends(DisconnectReason::OwnerDown),
        }
    }

    fn refused<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, data: Bytes) -> Fate {
        if self.options().overflow == Overflow::Terminate {
            return Fate::Ends(DisconnectReason::MailboxFull);
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
            self.rearm(io);
        }
        match fate {
            Fate::Lives if self.eof => self.half_closed(),
            fate => fate,
        }
    }

    /// The owner has handled messages worth this much credit.
    #[inline]
    pub(crate) fn handled<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, amount: u32) -> Fate {
        self.in_use = self.in_use.saturating_sub(amount);
        // Half of it has to be free, or a stream would pause and go on with every message.
        if self.hold & Hold::CREDIT != 0 && self.in_use <= self.options().read_credit / 2 {
            self.release_reads(io, Hold::CREDIT);
            let fate = self.work_off(io);
            if !matches!(fate, Fate::Lives) {
                return fate;
            }
        }
        Fate::Lives
    }

    /// Whether the end of the peer's direction may end the connection: then it has to be looked
    /// at once the owner's last answers are in the queue.
    pub(crate) fn awaits_answers(&self) -> bool {
        self.eof && self.in_use == 0 && self.phase == Phase::Open
    }

    /// The owner has paused or resumed reading.
    pub(crate) fn pause<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        if self.shared.is_paused() {
            self.hold_reads(io, Hold::OWNER);
        } else {
            self.release_reads(io, Hold::OWNER);
        }
    }

    fn hold_reads<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, why: u8) {
        if self.hold == 0 {
            io.pause_read();
        }
        self.hold |= why;
    }

    fn release_reads<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, why: u8) {
        let held = self.hold;
        self.hold &= !why;
        if held != 0 && self.hold == 0 {
            io.resume_read();
        }
    }

    // Writing.

    /// Hands over what was written, and does what was asked to follow it.
    pub(crate) fn flush<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.phase == Phase::Connecting {
            return Fate::Lives;
        }
        let Taken { first, rest, shut } = self.shared.take();
        if let Some(shut) = shut
            && let Some(fate) = self.shut(io, shut)
        {
            return fate;
        }
        if let Err(error) = self.send(io, first, rest) {
            return Fate::Ends(DisconnectReason::from_io(&error));
        }
        if self.shared.is_throttled() && self.shared.release_throttled() {
            self.notify(TcpEvent::Writable { conn: self.conn() });
        }
        self.flushed(io)
    }

    /// Prepares for what the owner asked to follow its last bytes, or says that there is no time
    /// for that.
    #[cold]
    fn shut<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, shut: Shut) -> Option<Fate> {
        match shut {
            _ if self.phase == Phase::Lingering => {}
            Shut::Reset => return Some(Fate::Resets(DisconnectReason::Aborted)),
            Shut::Slow(queued) => {
                return Some(Fate::Resets(DisconnectReason::SlowConsumer { queued }));
            }
            Shut::Close if self.phase == Phase::Open => self.begin_close(io),
            Shut::Close => {}
            Shut::Write => self.fin_wanted = true,
        }
        None
    }

    /// The system has room again.
    pub(crate) fn writable<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        let waiting = self
            .pressure
            .as_mut()
            .map(|p| std::mem::take(&mut p.sending));
        if let Some(sending) = waiting
            && let Err(error) = self.send_all(io, sending)
        {
            return Fate::Ends(DisconnectReason::from_io(&error));
        }
        self.flush(io)
    }

    fn is_blocked(&self) -> bool {
        self.pressure
            .as_ref()
            .is_some_and(|p| !p.sending.is_empty())
    }

    /// Hands over the newest pieces, behind those that still wait.
    fn send<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        first: Bytes,
        rest: Rest,
    ) -> io::Result<()> {
        if first.is_empty() {
            return Ok(());
        }
        if self.is_blocked() {
            let sending = &mut self.pressure().sending;
            sending.push_back(first);
            sending.extend(rest.into_iter().flat_map(|rest| *rest));
            return Ok(());
        }
        if let Some(mut all) = rest {
            all.push_front(first);
            return self.send_all(io, *all);
        }
        // The usual case: one answer, and the system takes it.
        let mut first = first;
        match io.write(&first)? {
            WriteOutcome::Written(n) if n == first.len() => {
                self.shared.count_sent(n);
                return Ok(());
            }
            WriteOutcome::Written(n) => {
                self.shared.count_sent(n);
                first.advance(n);
            }
            WriteOutcome::WouldBlock => {}
        }
        self.pressure().sending.push_back(first);
        self.blocked(io, true);
        Ok(())
    }

    fn send_all<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        mut pieces: VecDeque<Bytes>,
    ) -> io::Result<()> {
        let mut progress = false;
        while !pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let used = pieces.len().min(MAX_SLICES);
            let mut asked = 0;
            for (slice, piece) in slices.iter_mut().zip(&pieces) {
                *slice = IoSlice::new(piece);
                asked += piece.len();
            }
            let WriteOutcome::Written(n) = io.write_vectored(&slices[..used])? else {
                break;
            };
            progress |= n > 0;
            self.shared.count_sent(n);
            drop_front(&mut pieces, n);
            if n < asked {
                break;
            }
        }
        if !pieces.is_empty() {
            self.pressure().sending = pieces;
            self.blocked(io, progress);
        } else if self.pressure.is_some() {
            self.unblocked(io);
        }
        Ok(())
    }

    /// Something could not be handed over: the clock runs.
    fn blocked<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>, progress: bool) {
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
        self.rearm(io);
    }

    fn unblocked<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        self.pressure().write_stall = None;
        self.rearm(io);
        self.drop_pressure();
    }

    /// Gives the memory back when the pressure is gone.
    fn drop_pressure(&mut self) {
        let idle = |p: &Pressure| {
            p.sending.is_empty()
                && p.refused.is_none()
                && p.owner_stall.is_none()
                && p.linger.is_none()
                && p.write_stall.is_none()
        };
        if self.pressure.as_deref().is_some_and(idle) {
            self.pressure = None;
        }
    }

    /// After a flush: reading may go on, or an end that waited for it can follow.
    fn flushed<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.hold & Hold::WRITES != 0 && self.shared.queued() <= self.options().marks.low {
            self.release_reads(io, Hold::WRITES);
        }
        if self.is_blocked() {
            let options = self.options();
            if !options.read_while_throttled && self.shared.queued() > options.marks.high {
                self.hold_reads(io, Hold::WRITES);
            }
            return Fate::Lives;
        }
        if self.phase == Phase::Closing && (self.eof || self.is_quiet(io)) {
            return Fate::Ends(DisconnectReason::Closed);
        }
        if (self.fin_wanted || self.phase == Phase::Closing) && !self.fin_sent {
            self.fin_sent = true;
            if let Err(error) = io.shutdown_write() {
                return Fate::Ends(DisconnectReason::from_io(&error));
            }
        }
        match self.phase {
            Phase::Connecting => Fate::Lives,
            Phase::Lingering => self.end_if_eof(DisconnectReason::Closed),
            Phase::Closing => Fate::Lingers(DisconnectReason::Closed),
            Phase::Open if self.eof => self.half_closed(),
            Phase::Open => Fate::Lives,
        }
    }

    /// Whether the peer is in the middle of nothing, as far as we know: then a plain close is safe.
    /// Where bytes are unread, or may follow, it would reset the connection and could take our
    /// last answer with it (RFC 1122, 4.2.2.13).
    fn is_quiet<O: Os, C>(&self, io: &SourceIo<'_, O, C>) -> bool {
        let held = self.held_at_close | self.hold & !Hold::DONE;
        !io.is_readable() && held == 0 && self.in_use == 0 && self.decoder.pending() == 0
    }

    fn end_if_eof(&self, reason: DisconnectReason) -> Fate {
        if self.eof {
            Fate::Ends(reason)
        } else {
            Fate::Lives
        }
    }

    // Ending.

    /// The peer has ended its direction. Whatever it sent is delivered, handled and answered
    /// before the connection ends.
    fn half_closed(&mut self) -> Fate {
        let refused = self.pressure.as_ref().is_some_and(|p| p.refused.is_some());
        let undelivered = self.backlog || refused;
        match self.phase {
            Phase::Lingering | Phase::Closing if !self.is_blocked() => {
                Fate::Ends(DisconnectReason::Closed)
            }
            Phase::Open if undelivered => Fate::Lives,
            Phase::Open => {
                if let Err(error) = self.decoder.finish() {
                    let FrameError::UnexpectedEof { pending } = error else {
                        return self.malformed(error);
                    };
                    return self.answered(DisconnectReason::Truncated { pending });
                }
                if self.options().half_open && !self.fin_sent {
                    if !std::mem::replace(&mut self.eof_told, true) {
                        self.notify(TcpEvent::Eof { conn: self.conn() });
                    }
                    return Fate::Lives;
                }
                self.answered(DisconnectReason::PeerClosed)
            }
            _ => Fate::Lives,
        }
    }

    /// Ends the connection if the owner has handled everything and its answers are handed over.
    fn answered(&self, reason: DisconnectReason) -> Fate {
        if self.in_use == 0 && !self.is_blocked() && self.shared.queued() == 0 {
            Fate::Ends(reason)
        } else {
            Fate::Lives
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

    fn set_linger<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        let until = self
            .shared
            .group()
            .scope
            .now()
            .checked_add(self.options().linger);
        self.pressure().linger = until;
        // Read and thrown away from now on: unread bytes would turn our close into a reset.
        self.pressure().refused = None;
        self.backlog = false;
        self.held_at_close = self.hold & !Hold::DONE;
        self.release_reads(io, self.hold & !Hold::DONE);
        self.rearm(io);
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
        self.phase = Phase::Lingering;
        self.tell_end(reason, false);
    }

    /// The meta-process has to end now, in good order: what was written still goes out.
    pub(crate) fn leave<O: Os, C>(
        &mut self,
        io: &mut SourceIo<'_, O, C>,
        reason: DisconnectReason,
    ) -> Fate {
        match self.phase {
            Phase::Connecting => return Fate::Ends(reason),
            // When a node stops, parent and owner end together, and each tells it.
            Phase::Lingering => return Fate::Lives,
            Phase::Open | Phase::Closing => {}
        }
        let taken = self.shared.take();
        if let Err(error) = self.send(io, taken.first, taken.rest) {
            return Fate::Ends(DisconnectReason::from_io(&error));
        }
        self.fin_wanted = true;
        if !self.is_blocked() && (self.eof || self.is_quiet(io)) {
            return Fate::Ends(reason);
        }
        if !self.is_blocked() && !self.fin_sent {
            self.fin_sent = true;
            if io.shutdown_write().is_err() {
                return Fate::Ends(reason);
            }
        }
        Fate::Lingers(reason)
    }

    /// Arms the source's one deadline with the earliest of ours.
    fn rearm<O: Os, C>(&self, io: &mut SourceIo<'_, O, C>) {
        let first = self.pressure.as_ref().and_then(|p| {
            [p.write_stall, p.owner_stall, p.linger]
                .into_iter()
                .flatten()
                .min()
        });
        io.set_deadline(first);
    }

    /// The deadline has passed: one of ours is over.
    pub(crate) fn deadline<O: Os, C>(&self, io: &mut SourceIo<'_, O, C>, now: Instant) -> Fate {
        let Some(pressure) = &self.pressure else {
            return Fate::Lives;
        };
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if over(pressure.write_stall) {
            return Fate::Resets(DisconnectReason::WriteTimeout);
        }
        if over(pressure.owner_stall) {
            return Fate::Ends(DisconnectReason::MailboxFull);
        }
        if over(pressure.linger) {
            return match self.phase {
                Phase::Connecting => Fate::Ends(DisconnectReason::ConnectTimeout),
                _ if self.is_blocked() => Fate::Resets(DisconnectReason::WriteTimeout),
                _ => Fate::Ends(DisconnectReason::Closed),
            };
        }
        self.rearm(io);
        Fate::Lives
    }

    /// The peer is gone in both directions while we do not read. What it sent can still be read;
    /// what we write can not be delivered any more.
    pub(crate) fn hung_up<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) -> Fate {
        if self.is_blocked() || self.phase != Phase::Open {
            return self.writable(io);
        }
        Fate::Lives
    }
}

fn raw() -> socktree_codec::Framing {
    socktree_codec::Framing::raw()
}

/// Drops the first `n` bytes of a sequence of pieces.
fn drop_front(pieces: &mut VecDeque<Bytes>, mut n: usize) {
    while n > 0 {
        let Some(first) = pieces.front_mut() else {
            return;
        };
        if n < first.len() {
            first.advance(n);
            return;
        }
        n -= first.len();
        pieces.pop_front();
    }
}
