//! One listener or stream, while its owner works on it.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::entry::{Entry, Flags, Io, NEVER, NO_TIMER, Socket};
use crate::reactor::{Base, Due};
use crate::{Keepalive, Os, Token};

/// A source borrowed from the [`Reactor`](crate::Reactor): its owner's data and its socket.
///
/// Two fields, so that a write queue inside `data` can be written through `io` while it is
/// borrowed.
pub struct SourceMut<'a, O: Os, T, C> {
    /// What the owner registered along with the socket.
    pub data: &'a mut T,
    /// The socket.
    pub io: SourceIo<'a, O, C>,
}

/// The socket of a source, and what the loop keeps about it.
pub struct SourceIo<'a, O: Os, C> {
    token: Token,
    socket: &'a mut Socket<O>,
    base: &'a mut Base<O, C>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a read has these outcomes and no others"
)]
pub enum ReadOutcome {
    /// So many bytes are in the buffer; 0 only for an empty buffer.
    Data(usize),
    /// The peer has ended its direction. Ours may still be open.
    Eof,
    /// Nothing now; [`Event::Readable`](crate::Event::Readable) will come.
    WouldBlock,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a write has these outcomes and no others"
)]
pub enum WriteOutcome {
    /// The system took so many bytes. If these are fewer than given,
    /// [`Event::Writable`](crate::Event::Writable) will come.
    Written(usize),
    /// No room now; [`Event::Writable`](crate::Event::Writable) will come.
    WouldBlock,
}

impl<'a, O: Os, T, C> SourceMut<'a, O, T, C> {
    pub(crate) fn new(token: Token, entry: &'a mut Entry<O, T>, base: &'a mut Base<O, C>) -> Self {
        let Entry { socket, data } = entry;
        let io = SourceIo {
            token,
            socket,
            base,
        };
        Self { data, io }
    }

    /// The source's name.
    pub fn token(&self) -> Token {
        self.io.token
    }
}

impl<O: Os, C> SourceIo<'_, O, C> {
    /// The source's name.
    pub fn token(&self) -> Token {
        self.token
    }

    /// The listener, unless the source is a stream.
    pub fn listener(&self) -> Option<&O::Listener> {
        match &self.socket.io {
            Io::Listener(accepting) => Some(&accepting.listener),
            Io::Stream(_) => None,
        }
    }

    /// The stream, unless the source is a listener.
    ///
    /// For options. Reading and writing behind the loop's back makes it lose track of
    /// readiness.
    pub fn stream(&self) -> Option<&O::Stream> {
        match &self.socket.io {
            Io::Stream(stream) => Some(stream),
            Io::Listener(_) => None,
        }
    }

    fn expect_stream(&self) -> io::Result<&O::Stream> {
        self.stream().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a listener has no bytes and no peer",
            )
        })
    }

    /// Reads once, as much as the system gives.
    ///
    /// Call it on [`Event::Readable`](crate::Event::Readable), once or several times; the
    /// loop keeps account and gives the event again while there may be more. A buffer that is
    /// not filled is taken as proof that there is nothing more, where the system allows that
    /// ([`Os::short_proves_drained`]), so no read is spent on finding nothing.
    ///
    /// # Errors
    ///
    /// What the system says about the connection; it is over then. Interruptions are retried.
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) on a listener.
    #[inline(always)]
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<ReadOutcome> {
        if buf.is_empty() {
            // The system would answer 0, which means the end of the stream.
            return Ok(ReadOutcome::Data(0));
        }
        let result = loop {
            match self.base.os.read(self.expect_stream()?, buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            // After its end a stream has nothing more to say until an event says otherwise:
            // with an open write side it may live on for hours.
            Ok(0) => {
                // A hangup that came before was told to somebody who could not know of the end yet,
                // and may have taken it for something that reading would show.
                self.socket
                    .flags
                    .clear(Flags::READABLE | Flags::TOLD_HANGUP);
                Ok(ReadOutcome::Eof)
            }
            Ok(n) => {
                if n < buf.len()
                    && !self.socket.flags.has(Flags::SHORT_PROVES_NOTHING)
                    && self.base.os.short_proves_drained()
                {
                    self.socket.flags.clear(Flags::READABLE);
                    self.base.ready.drained(self.token, self.socket.flags);
                }
                Ok(ReadOutcome::Data(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.socket.flags.clear(Flags::READABLE);
                Ok(ReadOutcome::WouldBlock)
            }
            Err(error) => {
                self.socket.flags.clear(Flags::READABLE);
                self.socket.flags.set(Flags::TOLD_HANGUP);
                Err(error)
            }
        }
    }

    /// Writes once from one buffer.
    ///
    /// Can be called at any time after the connection is made. When not everything was
    /// taken, wait for [`Event::Writable`](crate::Event::Writable).
    ///
    /// # Errors
    ///
    /// What the system says about the connection; nothing can be written any more. That includes
    /// not being able to report room, for lack of memory: nobody would say when to go on.
    /// Interruptions are retried. [`WriteZero`](io::ErrorKind::WriteZero) if the system takes
    /// nothing of something and calls it a success, which would otherwise be an endless loop.
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) on a listener.
    #[inline(always)]
    pub fn write(&mut self, buf: &[u8]) -> io::Result<WriteOutcome> {
        let result = loop {
            match self.base.os.write(self.expect_stream()?, buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.wrote(result, buf.len())
    }

    /// Writes once from several buffers, in order.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<WriteOutcome> {
        if let [buf] = bufs {
            return self.write(buf);
        }
        let result = loop {
            match self.base.os.write_vectored(self.expect_stream()?, bufs) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.wrote(result, bufs.iter().map(|buf| buf.len()).sum())
    }

    #[inline(always)]
    fn wrote(&mut self, result: io::Result<usize>, asked: usize) -> io::Result<WriteOutcome> {
        if let Ok(n) = result
            && n == asked
        {
            self.socket.flags.clear(Flags::WANTS_ROOM | Flags::HAS_ROOM);
            return Ok(WriteOutcome::Written(n));
        }
        self.wrote_part(result, asked)
    }

    #[inline(never)]
    fn wrote_part(&mut self, result: io::Result<usize>, asked: usize) -> io::Result<WriteOutcome> {
        match result {
            Ok(0) if asked > 0 => Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                self.want_room()?;
                if !self.base.os.short_proves_drained() {
                    // No report will come before a write would block, so the loop makes the
                    // promised event itself.
                    self.socket.flags.set(Flags::HAS_ROOM);
                    self.relist();
                }
                Ok(WriteOutcome::Written(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.want_room()?;
                Ok(WriteOutcome::WouldBlock)
            }
            Err(error) => Err(error),
        }
    }

    /// Has [`Event::Writable`](crate::Event::Writable) come when there is room. The first time the
    /// system has to be asked for that.
    fn want_room(&mut self) -> io::Result<()> {
        self.socket.flags.set(Flags::WANTS_ROOM);
        if !self.socket.flags.has(Flags::ROOM_REPORTED)
            && let Io::Stream(stream) = &mut self.socket.io
        {
            let Base { os, poller, .. } = &*self.base;
            os.report_room(poller, stream, self.token.pack())?;
            self.socket.flags.set(Flags::ROOM_REPORTED);
        }
        Ok(())
    }

    /// Ends our direction; the peer reads to the end and may still send.
    ///
    /// # Errors
    ///
    /// As [`Os::shutdown_write`].
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.base.os.shutdown_write(self.expect_stream()?)
    }

    /// Sends small writes at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// As [`Os::set_nodelay`].
    pub fn set_nodelay(&mut self, nodelay: bool) -> io::Result<()> {
        self.base.os.set_nodelay(self.expect_stream()?, nodelay)
    }

    /// Makes the system probe a silent peer.
    ///
    /// # Errors
    ///
    /// As [`Os::set_keepalive`].
    pub fn set_keepalive(&mut self, keepalive: &Keepalive) -> io::Result<()> {
        self.base.os.set_keepalive(self.expect_stream()?, keepalive)
    }

    /// Bounds how long sent bytes may stay unacknowledged.
    ///
    /// # Errors
    ///
    /// As [`Os::set_user_timeout`].
    pub fn set_user_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.base
            .os
            .set_user_timeout(self.expect_stream()?, timeout)
    }

    /// Makes the coming close send RST and drop what is unsent.
    ///
    /// # Errors
    ///
    /// As [`Os::set_reset_on_close`].
    pub fn set_reset_on_close(&mut self) -> io::Result<()> {
        self.base.os.set_reset_on_close(self.expect_stream()?)
    }

    /// Our address.
    ///
    /// # Errors
    ///
    /// As [`Os::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket.io {
            Io::Listener(accepting) => self.base.os.listener_addr(&accepting.listener),
            Io::Stream(stream) => self.base.os.local_addr(stream),
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// As [`Os::peer_addr`]: a peer that has reset has no address any more. Keep the one that
    /// came with [`Event::Accepted`](crate::Event::Accepted).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.base.os.peer_addr(self.expect_stream()?)
    }

    /// Stops [`Event::Readable`](crate::Event::Readable); on a listener, stops accepting.
    ///
    /// Costs no system call. What becomes readable meanwhile is remembered, the peer is
    /// slowed down by its full window, waiting clients stay in the backlog.
    pub fn pause_read(&mut self) {
        self.socket.flags.set(Flags::PAUSED);
        // It may be over already, which was not told because reading would have found out.
        self.relist();
    }

    /// Ends [`pause_read`](Self::pause_read); what became readable meanwhile is given in the
    /// next turn.
    pub fn resume_read(&mut self) {
        self.socket.flags.clear(Flags::PAUSED);
        self.relist();
    }

    /// Gives [`Event::Readable`](crate::Event::Readable) once more, whatever the system says; while
    /// reading is paused, when it goes on.
    ///
    /// For an owner that holds bytes it has read and not used: decrypted records, say. They are
    /// announced by nothing else.
    pub fn read_again(&mut self) {
        self.socket.flags.set(Flags::READABLE);
        self.relist();
    }

    /// Gives [`Event::Writable`](crate::Event::Writable) in the next turn, whatever the system says;
    /// a write that takes everything takes it back.
    ///
    /// For an owner that has more to write than it wants to write at a time.
    pub fn write_again(&mut self) {
        self.socket.flags.set(Flags::WANTS_ROOM | Flags::HAS_ROOM);
        self.relist();
    }

    /// Whether reading is paused.
    pub fn is_read_paused(&self) -> bool {
        self.socket.flags.has(Flags::PAUSED)
    }

    /// Whether a read may find something, as far as the loop knows.
    pub fn is_readable(&self) -> bool {
        self.socket.flags.has(Flags::READABLE)
    }

    /// Sets, moves or (with `None`) cancels the source's one deadline.
    ///
    /// Moving it to a later time costs one store, so an idle timeout can be moved at every
    /// message. Cancelled means gone, also from memory. A time that has passed fires in the
    /// coming turn. With [`Reactor::after`](crate::Reactor::after), a period too long to be
    /// counted is no deadline instead of a panic.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            self.socket.deadline = NEVER;
            if self.socket.timer != NO_TIMER {
                self.base.timers.remove(self.socket.timer);
                self.socket.timer = NO_TIMER;
            }
            return;
        };
        let when = self.base.clock.nanos(deadline);
        self.socket.deadline = when;
        if self.socket.timer == NO_TIMER {
            self.socket.timer = self
                .base
                .timers
                .insert(when, Due::Deadline(self.token))
                .node();
        } else if when < self.base.timers.when(self.socket.timer) {
            self.base.timers.reschedule(self.socket.timer, when);
        }
        // Later than armed: the timer fires at the old time, finds the new one and moves.
    }

    /// The deadline, if one is set.
    pub fn deadline(&self) -> Option<Instant> {
        (self.socket.deadline != NEVER).then(|| self.base.clock.instant(self.socket.deadline))
    }

    fn relist(&mut self) {
        self.base.ready.list(self.token, &mut self.socket.flags);
    }
}

impl<O: Os, T: fmt::Debug, C> fmt::Debug for SourceMut<'_, O, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceMut")
            .field("data", &self.data)
            .field("io", &self.io)
            .finish()
    }
}

impl<O: Os, C> fmt::Debug for SourceIo<'_, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceIo")
            .field("token", &self.token)
            .field("flags", &self.socket.flags)
            .finish_non_exhaustive()
    }
}
