//! The half of a connection that its worker drives: reading, framing, credit, writing, ending.
//!
//! Nothing here calls into the loop or waits: bytes and time come in as arguments, and what is to
//! become of the connection goes out as a [`Fate`].

mod ending;
mod reading;
mod secure;
mod writing;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use socktree_buffer::ReadBuffer;
use socktree_codec::Decoder;
use socktree_kernel::{MetaLife, Receipt, Sink};
use socktree_reactor::{Os, SourceIo, Token};

pub(crate) use self::secure::Asked;
use self::secure::Secure;
use crate::conn::Conn;
use crate::connection::Shared;
use crate::connection::waiting::Waiting;
use crate::event::{DisconnectReason, TcpEvent};
use crate::options::{ConnectionOptions, MESSAGE_OVERHEAD};

/// How many bytes are read before the processes that they are for get to run. Few enough that they are
/// still in the nearest of the processor's caches when the answers are handed over (of which this is
/// half, as a rule), and that nobody waits long for theirs; enough that the way to the processes and
/// back is a small part of it.
pub(crate) const TURN: usize = 16 << 10;

/// Where a worker's connections are read into, one after the other.
pub(crate) struct Buffers {
    /// What messages are cut from.
    pub(crate) plain: ReadBuffer,
    /// What TLS makes that of; without a block until the first such connection.
    pub(crate) sealed: ReadBuffer,
    /// How much was read since the processes last ran.
    pub(crate) unhandled: usize,
}

impl Buffers {
    /// Notes that so much was read, or that it took as long as if it had been.
    #[inline]
    fn count(&mut self, bytes: usize) {
        self.unhandled += bytes;
    }

    /// Whether the processes should run before more is read.
    #[inline]
    pub(crate) fn is_a_turns_worth(&self) -> bool {
        self.unhandled >= TURN
    }
}

/// What is to become of a connection after a step.
#[must_use]
#[derive(Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Lives,
    /// Everything is handed over and our direction is ended: tell the owner, and stay only to let
    /// the peer take it.
    Lingers(Why),
    /// It is over.
    Ends(Why),
    /// It is over and cut off.
    Resets(Why),
}

impl Fate {
    pub(crate) fn lingers(reason: DisconnectReason) -> Self {
        Self::Lingers(reason.into())
    }

    pub(crate) fn ends(reason: DisconnectReason) -> Self {
        Self::Ends(reason.into())
    }

    pub(crate) fn resets(reason: DisconnectReason) -> Self {
        Self::Resets(reason.into())
    }
}

/// The reason of an end, in one word, so that a [`Fate`] travels in registers: nearly every step says
/// that nothing happens. `None` is [`DisconnectReason::PeerClosed`], the usual one.
#[derive(Debug)]
pub(crate) struct Why(Option<Box<DisconnectReason>>);

impl From<DisconnectReason> for Why {
    fn from(reason: DisconnectReason) -> Self {
        match reason {
            DisconnectReason::PeerClosed => Self(None),
            reason => Self(Some(Box::new(reason))),
        }
    }
}

impl From<Why> for DisconnectReason {
    fn from(Why(reason): Why) -> Self {
        reason.map_or(Self::PeerClosed, |reason| *reason)
    }
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
    /// The peer has ended its direction: set with `eof`, and never taken back.
    const DONE: u8 = 1 << 4;
    /// An answer to the next message might find no room behind those to the messages before it.
    const ANSWERS: u8 = 1 << 5;

    /// The owner has to do something before reading goes on.
    const STUCK: u8 = Self::CREDIT | Self::MAILBOX | Self::ANSWERS;
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    /// Connected, and the TLS handshake is under way.
    Handshaking,
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
    sending: Waiting,
    /// Since when the system takes nothing, as the time to give up.
    write_stall: Option<Instant>,
    /// The message that comes next, and has to wait: for room in the owner's mailbox, or in the queue.
    refused: Option<Bytes>,
    /// Since when the owner keeps us waiting, as the time to give up: while its mailbox is full, or the
    /// peer has gone.
    owner_stall: Option<Instant>,
    /// When a closing connection is cut off.
    linger: Option<Instant>,
    /// How much was read and thrown away.
    discarded: usize,
    /// Nothing can be written any more; what the peer has sent is still read.
    broken: Option<DisconnectReason>,
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
    /// What cuts messages out of the stream; `None` where it goes on as it comes.
    decoder: Option<Box<Decoder>>,
    /// `None` without TLS.
    secure: Option<Box<Secure>>,
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
    /// The peer has gone in both directions, and may have left something to be read.
    gone: bool,
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
        let framing = birth.shared.framing();
        let decoder = (!framing.is_raw()).then(|| Box::new(Decoder::new(framing.clone())));
        Self {
            shared: birth.shared,
            sink: birth.sink,
            life: Some(birth.life),
            decoder,
            secure: None,
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
            gone: false,
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

    /// Tells the owner something that it must not miss, and that it may answer: the end of the
    /// peer's direction waits until it has been handled. An owner that has ended misses nothing.
    fn notify(&mut self, token: Token, event: TcpEvent) {
        if self.life.is_none() {
            return;
        }
        let receipt = Receipt {
            token: token.to_bits(),
            amount: MESSAGE_OVERHEAD,
        };
        let source = self.shared.source();
        if self.sink.deliver_always(source, receipt, event).is_ok() {
            self.in_use = self.in_use.saturating_add(MESSAGE_OVERHEAD);
        }
    }

    /// The connection is there: the owner is told before anything can be read.
    pub(crate) fn announce<O: Os, C>(&mut self, io: &mut SourceIo<'_, O, C>) {
        self.phase = Phase::Open;
        let conn = self.conn();
        self.notify(io.token(), TcpEvent::Connect { conn });
        if self.shared.is_paused() {
            self.pause_for_owner(io);
        }
    }

    /// The connection is over, and its socket closed.
    pub(crate) fn end(&mut self, reason: DisconnectReason) {
        // Closed first: what somebody writes after that is refused, and none of it waits.
        let _dropped_last = self.shared.close();
        self.shared.forget_waiting();
        if self.is_handshaking() {
            self.handshake_over(reason);
        } else {
            self.tell_end(reason, false);
        }
    }

    /// The last the owner hears. The alias is gone when its watchers are told, and the handle
    /// takes no bytes any more.
    pub(crate) fn tell_end(&mut self, reason: DisconnectReason, failed_to_connect: bool) {
        let Some(life) = self.life.take() else {
            return;
        };
        let _dropped_last = self.shared.close();
        let exit = reason.to_exit();
        let conn = self.conn();
        let event = if failed_to_connect {
            TcpEvent::ConnectFailed { conn, reason }
        } else {
            TcpEvent::Disconnect { conn, reason }
        };
        let _gone = self
            .sink
            .deliver_always(self.shared.source(), Receipt::NONE, event);
        life.end(&exit);
    }

    /// Ends the meta-process without a word, for a connection nobody was promised.
    pub(crate) fn end_silently(&mut self, reason: &DisconnectReason) {
        let _dropped_last = self.shared.close();
        if let Some(life) = self.life.take() {
            life.end(&reason.to_exit());
        }
    }

    // Pressure.

    /// Arms the source's one deadline with the earliest of ours.
    fn rearm<O: Os, C>(&self, io: &mut SourceIo<'_, O, C>) {
        let first = self.pressure.as_ref().and_then(|p| {
            [p.write_stall, p.owner_stall, p.linger]
                .into_iter()
                .flatten()
                .min()
        });
        io.set_deadline(first.into_iter().chain(self.handshake_deadline()).min());
    }

    /// Gives the memory back when the pressure is gone.
    fn drop_pressure(&mut self) {
        let idle = |p: &Pressure| {
            p.sending.is_empty()
                && p.refused.is_none()
                && p.owner_stall.is_none()
                && p.linger.is_none()
                && p.write_stall.is_none()
                && p.broken.is_none()
        };
        if self.pressure.as_deref().is_some_and(idle) {
            self.pressure = None;
        }
    }
}
