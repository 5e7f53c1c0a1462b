//! What a connection's handles share with its driver: the write queue, counters, addresses.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use socktree_codec::Framing;
use socktree_kernel::{
    Alias, Envelope, Inspection, MetaExit, MetaPort, MetaScope, Pid, SendError, Source,
};
use socktree_reactor::Token;
use socktree_tls::TlsInfo;

use crate::conn::{TryWriteError, Written};
use crate::connection::ends::Ends;
use crate::connection::pieces::{Pieces, Spent, Taken};
use crate::event::DisconnectReason;
use crate::options::ConnectionOptions;
use crate::server::ServerShared;

/// What other threads tell the driver of a connection.
#[derive(Debug)]
pub(crate) enum Tell {
    /// Something was written, or is to be shut.
    Flush,
    /// The owner's mailbox has room again.
    Room,
    /// The owner has paused or resumed reading.
    Pause,
    /// The meta-process was told to end.
    Exit(Box<MetaExit>),
}

/// A worker's driver, as connections of that worker see it from other threads.
pub(crate) trait Station: Send + Sync {
    fn tell(&self, token: Token, what: Tell);

    /// An outgoing connection that the driver may know only by its alias has been told something.
    fn look_for(&self, alias: Alias);
}

/// What the connections of one server on one worker have in common.
pub(crate) struct Group {
    pub(crate) options: ConnectionOptions,
    pub(crate) scope: MetaScope,
    pub(crate) station: Arc<dyn Station>,
    /// `None` for an outgoing connection.
    pub(crate) server: Option<Arc<ServerShared>>,
}

/// How the owner ends the writing side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// Our direction only.
    Write,
    /// Both, in good order.
    Close,
    /// Both, at once.
    Reset,
    /// The hard mark would have been passed.
    Slow,
}

/// What waits for the driver.
#[derive(Default)]
struct Queue {
    pieces: Pieces,
    /// Bytes ever taken; with `sent` this gives how many wait.
    accepted: u64,
    shut: Option<Shut>,
    /// The driver has been told and has not looked yet.
    told: bool,
    closed: bool,
    /// An exit that came before the driver knew the connection.
    early_exit: Option<Box<MetaExit>>,
}

/// The half of a connection that any thread may touch.
pub(crate) struct Shared {
    alias: Alias,
    owner: Pid,
    group: Arc<Group>,
    ends: Ends,
    /// The driver's name for it; `NO_TOKEN` until it has one.
    token: AtomicU64,
    queue: Mutex<Queue>,
    /// Bytes handed to the system. Written by the driver alone.
    sent: AtomicU64,
    /// Bytes read. Written by the driver alone.
    received: AtomicU64,
    /// The driver will look at the queue in this turn anyway: it need not be told.
    watched: AtomicBool,
    /// A writer was told to hold back, and has not been told to go on.
    throttled: AtomicBool,
    /// The owner does not want to read.
    paused: AtomicBool,
    /// The system has not taken everything that it was offered.
    blocked: AtomicBool,
}

/// No token yet. A token's bits are never all ones.
const NO_TOKEN: u64 = u64::MAX;

impl Shared {
    /// For a connection that is to be opened.
    pub(crate) fn opening(alias: Alias, owner: Pid, group: Arc<Group>) -> Self {
        Self::new(alias, owner, group, Ends::to_be_opened())
    }

    /// For a connection that was accepted. `local` is `None` for the address that the server
    /// listens on.
    pub(crate) fn accepted(
        alias: Alias,
        owner: Pid,
        group: Arc<Group>,
        local: Option<SocketAddr>,
        peer: SocketAddr,
    ) -> Self {
        let tls = group.server.as_ref().is_some_and(|s| s.certs().is_some());
        Self::new(alias, owner, group, Ends::accepted(local, peer, tls))
    }

    fn new(alias: Alias, owner: Pid, group: Arc<Group>, ends: Ends) -> Self {
        Self {
            alias,
            owner,
            group,
            ends,
            token: AtomicU64::new(NO_TOKEN),
            queue: Mutex::default(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            throttled: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn alias(&self) -> Alias {
        self.alias
    }

    pub(crate) fn owner(&self) -> Pid {
        self.owner
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub(crate) fn framing(&self) -> &Framing {
        &self.group.options.framing
    }

    pub(crate) fn source(&self) -> Source {
        Source::Meta {
            alias: self.alias,
            parent: self.group.scope.parent(),
        }
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.ends.peer()
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        let server = self.group.server.as_ref();
        self.ends.local(|| server.and_then(|server| server.local()))
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn queued(&self) -> usize {
        self.waiting(&self.queue())
    }

    #[expect(clippy::cast_possible_truncation, reason = "what waits is in memory")]
    fn waiting(&self, queue: &Queue) -> usize {
        (queue.accepted - self.sent.load(Ordering::Acquire)) as usize
    }

    // The owner's side.

    pub(crate) fn write(&self, bytes: Bytes) -> Written {
        self.write_with(bytes.len(), |queue| queue.pieces.push(bytes))
    }

    pub(crate) fn write_parts(&self, header: &[u8], payload: Bytes, trailer: &[u8]) -> Written {
        let len = header.len() + payload.len() + trailer.len();
        self.write_with(len, |queue| {
            queue.pieces.push_parts(header, payload, trailer)
        })
    }

    #[inline]
    fn write_with(&self, len: usize, push: impl FnOnce(&mut Queue) -> Spent) -> Written {
        let mut queue = self.queue();
        if queue.closed || queue.shut.is_some() {
            return Written::Ended;
        }
        let waiting = self.waiting(&queue);
        if self.is_too_much(waiting, len) {
            queue.shut = Some(Shut::Slow);
            self.announce(queue);
            return Written::Ended;
        }
        let spent = push(&mut queue);
        let written = self.took(queue, waiting, len);
        drop(spent);
        written
    }

    /// Whether the hard mark would be passed by more than one message.
    ///
    /// What the owner writes in the turn in which it was read is exempt as long as the system has
    /// refused nothing: it was never offered, so it says nothing about the peer. How much that is the
    /// owner alone decides; it is told to hold back like everyone else.
    #[inline]
    fn is_too_much(&self, waiting: usize, len: usize) -> bool {
        let marks = &self.group.options.marks;
        waiting > marks.low
            && waiting.saturating_add(len) > marks.hard
            && (self.blocked.load(Ordering::Relaxed) || !self.watched.load(Ordering::Relaxed))
    }

    pub(crate) fn try_write(&self, bytes: Bytes) -> Result<Written, TryWriteError> {
        let len = bytes.len();
        let mut queue = self.queue();
        if queue.closed || queue.shut.is_some() {
            return Err(TryWriteError::Ended(bytes));
        }
        let waiting = self.waiting(&queue);
        if self.is_too_much(waiting, len) {
            // Whoever was refused waits for room, also where the high mark is not passed. The
            // driver may have sent everything just now, and then has to look once more.
            self.throttled.store(true, Ordering::Relaxed);
            self.announce(queue);
            return Err(TryWriteError::Full(bytes));
        }
        let spent = queue.pieces.push(bytes);
        let written = self.took(queue, waiting, len);
        drop(spent);
        Ok(written)
    }

    #[inline(always)]
    fn took(&self, mut queue: MutexGuard<'_, Queue>, waiting: usize, len: usize) -> Written {
        queue.accepted += len as u64;
        let throttled = waiting + len > self.group.options.marks.high;
        if throttled {
            self.throttled.store(true, Ordering::Relaxed);
        }
        if len > 0 {
            self.announce(queue);
        }
        if throttled {
            Written::Throttled
        } else {
            Written::Queued
        }
    }

    pub(crate) fn shut(&self, how: Shut) {
        let mut queue = self.queue();
        let stronger = match queue.shut {
            None => true,
            Some(Shut::Write) => how != Shut::Write,
            Some(Shut::Close) => how == Shut::Reset,
            Some(Shut::Reset | Shut::Slow) => false,
        };
        if stronger && !queue.closed {
            queue.shut = Some(how);
            self.announce(queue);
        }
    }

    pub(crate) fn pause(&self, on: bool) {
        if self.paused.swap(on, Ordering::AcqRel) != on {
            self.tell(Tell::Pause);
        }
    }

    /// Tells the driver that there is something in the queue, unless it knows or will look.
    ///
    /// The driver takes `watched` back *before* it takes the lock to empty the queue. So whoever
    /// finds `watched` set under the lock has put its bytes there in time.
    #[inline(always)]
    fn announce(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.told || self.watched.load(Ordering::Relaxed) {
            return;
        }
        queue.told = true;
        drop(queue);
        self.tell(Tell::Flush);
    }

    /// A driver that does not know the connection yet looks for itself when it does.
    #[inline(never)]
    pub(crate) fn tell(&self, what: Tell) {
        match self.token() {
            Some(token) => self.group.station.tell(token, what),
            None if self.group.server.is_none() => self.group.station.look_for(self.alias),
            None => {}
        }
    }

    fn token(&self) -> Option<Token> {
        match self.token.load(Ordering::Acquire) {
            NO_TOKEN => None,
            packed => Some(Token::from_bits(packed)),
        }
    }

    // The driver's side.

    /// The driver knows the connection from now on. What came before is still to be looked at;
    /// an exit is given out here.
    pub(crate) fn begin(&self, token: Token) -> Option<Box<MetaExit>> {
        let mut queue = self.queue();
        self.token.store(token.to_bits(), Ordering::Release);
        // Whoever is told of this looks at what is there.
        queue.told = false;
        queue.early_exit.take()
    }

    /// The exit that came before there was a socket.
    pub(crate) fn take_early_exit(&self) -> Option<Box<MetaExit>> {
        self.queue().early_exit.take()
    }

    /// Ends writing if nothing waits. Looking and ending are one, so that no other thread is told
    /// that bytes are queued which then never leave.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut queue = self.queue();
        let empty = self.waiting(&queue) == 0;
        queue.closed |= empty;
        empty
    }

    /// A connection that was to be opened is there.
    pub(crate) fn connected(&self, local: SocketAddr, peer: SocketAddr, tls: bool) {
        self.ends.connected(local, peer, tls);
    }

    /// The TLS handshake is over.
    pub(crate) fn secured(&self, info: TlsInfo) {
        self.ends.secured(info);
    }

    pub(crate) fn tls(&self) -> Option<&TlsInfo> {
        self.ends.tls()
    }

    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Why a connection that is not there yet need not come: it was cut off, or closed before anything
    /// was written. What was written before a close still wants to arrive.
    pub(crate) fn given_up(&self) -> Option<DisconnectReason> {
        let queue = self.queue();
        match queue.shut {
            Some(Shut::Reset) => Some(DisconnectReason::Aborted),
            Some(Shut::Slow) => Some(DisconnectReason::SlowConsumer {
                queued: self.waiting(&queue),
            }),
            Some(Shut::Close) if queue.accepted == 0 => Some(DisconnectReason::Closed),
            Some(Shut::Close | Shut::Write) | None => None,
        }
    }

    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// The one piece that there is, if nothing else is asked for and nobody waits for room.
    ///
    /// Writers are throttled under the lock, and told to go on by whoever empties the queue: so it
    /// is under the lock that the driver has to look.
    #[inline(always)]
    pub(crate) fn take_only(&self) -> Option<Bytes> {
        self.watched.store(false, Ordering::Relaxed);
        // One way out: the guard's drop is no call then.
        let mut queue = self.queue();
        let only = if queue.shut.is_none() && !self.is_throttled() {
            queue.pieces.take_only()
        } else {
            None
        };
        queue.told &= only.is_none();
        only
    }

    /// Whether there is nothing to take, nothing else is asked for and nobody waits for room. If so,
    /// what comes from now on is told again.
    pub(crate) fn has_nothing(&self) -> bool {
        self.watched.store(false, Ordering::Relaxed);
        let mut queue = self.queue();
        let nothing = queue.pieces.is_empty() && queue.shut.is_none() && !self.is_throttled();
        // The driver was told of a writer that waits, and has let it go on before it came to that.
        queue.told &= !nothing;
        nothing
    }

    /// The driver looks, and takes nothing: what comes from now on is told again.
    pub(crate) fn look(&self) {
        self.watched.store(false, Ordering::Relaxed);
        self.queue().told = false;
    }

    pub(crate) fn take(&self) -> (Taken, Option<Shut>) {
        self.watched.store(false, Ordering::Relaxed);
        let mut queue = self.queue();
        queue.told = false;
        (queue.pieces.take(), queue.shut)
    }

    /// Takes all that there is, and nothing after it: what is written from now on is told so.
    pub(crate) fn take_last(&self) -> Taken {
        self.watched.store(false, Ordering::Relaxed);
        let mut queue = self.queue();
        queue.told = false;
        queue.closed = true;
        queue.pieces.take()
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        let received = self.received.load(Ordering::Relaxed);
        self.received
            .store(received + bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        let sent = self.sent.load(Ordering::Relaxed);
        self.sent.store(sent + bytes as u64, Ordering::Release);
    }

    pub(crate) fn is_throttled(&self) -> bool {
        self.throttled.load(Ordering::Relaxed)
    }

    /// Whether a throttled writer can go on; it is told once.
    pub(crate) fn release_throttled(&self) -> bool {
        let queue = self.queue();
        // From here on any one message is taken.
        let room = self.waiting(&queue) <= self.group.options.marks.low;
        room && self.throttled.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Nothing can be written any more. What waited is to be dropped when everyone has been told:
    /// it may be a user's, whose drop panics.
    #[must_use = "dropping it may panic"]
    pub(crate) fn close(&self) -> Taken {
        let mut queue = self.queue();
        queue.closed = true;
        queue.pieces.take()
    }

    /// Nothing is sent any more: what waited has been dropped.
    pub(crate) fn forget_waiting(&self) {
        self.queue().accepted = self.sent.load(Ordering::Acquire);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("alias", &self.alias)
            .finish_non_exhaustive()
    }
}

impl MetaPort for Shared {
    /// Takes bytes in the usual forms and writes them, as `Send(id, MessageTCP)` does in Ergo.
    fn send(&self, _from: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        let refused = |error| match error {
            TryWriteError::Full(_) => SendError::Full(()),
            TryWriteError::Ended(_) => SendError::Terminated(()),
        };
        // What is refused must come back as it was, so the envelope is opened on a copy of the
        // bytes' handle where there is one, and rebuilt where there is not.
        let message = match message.open::<Bytes>() {
            Ok(bytes) => {
                return self
                    .try_write(bytes.clone())
                    .map(drop)
                    .map_err(refused)
                    .map_err(|error| error.map(|()| Envelope::new(bytes)));
            }
            Err(message) => message,
        };
        let message = match message.open::<Vec<u8>>() {
            Ok(bytes) => {
                return self
                    .try_write(Bytes::from(bytes))
                    .map(drop)
                    .map_err(give_back_vec);
            }
            Err(message) => message,
        };
        match message.open::<&'static str>() {
            Ok(text) => self
                .try_write(Bytes::from_static(text.as_bytes()))
                .map(drop)
                .map_err(refused)
                .map_err(|error| error.map(|()| Envelope::new(text))),
            Err(message) => Err(SendError::NotAccepted(message)),
        }
    }

    fn exit(&self, why: MetaExit) {
        // Kept here as well: an attempt that moves on to its next address gets another token, and
        // what was told to the old one reaches nobody.
        let former = self.queue().early_exit.replace(Box::new(why.clone()));
        drop(former);
        self.tell(Tell::Exit(Box::new(why)));
    }

    fn inspect(&self) -> Inspection {
        let owner = self.group.scope.name_of(self.owner);
        let mut items = vec![
            ("local", self.local_addr().to_string()),
            ("remote", self.peer_addr().to_string()),
            (
                "process",
                owner.map_or_else(|| self.owner.to_string(), |n| n.as_str().to_owned()),
            ),
            ("bytes in", self.bytes_in().to_string()),
            ("bytes out", self.bytes_out().to_string()),
            ("queued", self.queued().to_string()),
            ("paused", self.is_paused().to_string()),
            ("throttled", self.is_throttled().to_string()),
        ];
        if let Some(tls) = self.tls() {
            items.push(("tls", tls.to_string()));
        }
        items
    }
}

fn give_back_vec(error: TryWriteError) -> SendError<Envelope> {
    match error {
        TryWriteError::Full(bytes) => SendError::Full(Envelope::new(Vec::from(bytes))),
        TryWriteError::Ended(bytes) => SendError::Terminated(Envelope::new(Vec::from(bytes))),
    }
}
