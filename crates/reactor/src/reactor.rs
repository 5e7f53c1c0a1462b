//! The loop.

mod accept;
mod clock;
mod nested;
mod register;
mod turn;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use slab::Slab;

pub(crate) use clock::Clock;
use nested::Nesting;
pub use nested::{Doze, Host};
pub use register::RegisterError;

use crate::courtesy::Courtesy;
use crate::entry::{Accepting, Entry, Flags, Io, NEVER, NO_TIMER, Socket};
use crate::ready::ReadyList;
use crate::remote::Shared;
use crate::timers::Timers;
use crate::token::MAX_SOURCES;
use crate::{ListenOptions, Os, Remote, SourceMut, Stats, TimerKey, Token};

/// An event loop over the sockets of one worker.
///
/// `T` is the owner's data per source, `C` the commands it takes from other threads. The loop
/// belongs to whoever holds it and may move between threads; see the [crate page](crate) for
/// the contract and an example.
pub struct Reactor<O: Os, T, C> {
    base: Base<O, C>,
    commands: Receiver<C>,
    remote: Remote<C>,
    shared: Arc<Shared>,
    sources: Slab<Entry<O, T>>,
    /// With fewer sources than this the table is worth shrinking.
    sparse_below: usize,
    next_generation: u32,
    now: Instant,
    turn: Turn,
    /// Listeners without descriptors; may hold tokens of listeners removed meanwhile.
    starved: Vec<Token>,
    accept_log: AcceptLog,
    courtesy: Courtesy,
    nesting: Nesting<O>,
    stats: Stats,
}

/// What the loop and each of its sources work with.
pub(crate) struct Base<O: Os, C> {
    pub(crate) os: O,
    pub(crate) poller: O::Poller,
    pub(crate) ready: ReadyList,
    pub(crate) timers: Timers<Due<C>>,
    pub(crate) clock: Clock,
}

/// What a timer is for.
#[derive(Debug)]
pub(crate) enum Due<C> {
    Deadline(Token),
    AcceptRetry(Token),
    Command(C),
}

/// How far the present turn has come.
#[derive(Debug, Default)]
struct Turn {
    /// What the source being served has had.
    burst: u32,
    /// Sources still to be served; those listed from now on wait for the next turn.
    sources_left: usize,
    commands_left: u32,
    firings_left: u32,
    /// Turns in a row that did not ask the operating system.
    skipped: u32,
    /// Turns in a row that held the timers back.
    held: u32,
    /// Events given since it was last asked.
    unpolled_events: u32,
    /// It had as many reports as one answer holds when it was last asked.
    full: bool,
    /// The loop sleeps, and no thread waits for it.
    dozing: bool,
}

/// Keeps the log readable while accepting fails for a while.
#[derive(Debug, Default)]
struct AcceptLog {
    last: Option<Instant>,
    suppressed: u64,
}

impl<O: Os, T, C: Send + 'static> Reactor<O, T, C> {
    /// Makes a loop with no sources.
    ///
    /// # Errors
    ///
    /// If the system refuses a poller or a waker.
    pub fn new(os: O) -> io::Result<Self> {
        let (poller, waker) = os.poller()?;
        let (sender, commands) = crossbeam_channel::unbounded();
        let wake = {
            let os = os.clone();
            Box::new(move || {
                if let Err(error) = os.wake(&waker) {
                    log::error!("cannot wake an event loop: {error}");
                }
            })
        };
        let shared = Arc::new(Shared::new(wake));
        let now = os.now();
        Ok(Self {
            base: Base {
                os,
                poller,
                ready: ReadyList::default(),
                timers: Timers::new(),
                clock: Clock::new(now),
            },
            commands,
            remote: Remote::new(sender, Arc::clone(&shared)),
            shared,
            sources: Slab::new(),
            sparse_below: 0,
            next_generation: 0,
            now,
            turn: Turn::default(),
            starved: Vec::new(),
            accept_log: AcceptLog::default(),
            courtesy: Courtesy::default(),
            nesting: Nesting::default(),
            stats: Stats::default(),
        })
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote<C> {
        self.remote.clone()
    }

    /// The operating system underneath.
    pub fn os(&self) -> &O {
        &self.base.os
    }

    /// The time at the last [`poll`](Self::poll) or [`refresh_now`](Self::refresh_now).
    ///
    /// One time for a whole turn: cheap, and all events of a turn agree on it.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Looks at the clock, after work that took long.
    pub fn refresh_now(&mut self) -> Instant {
        self.now = self.base.os.now();
        self.now
    }

    /// The time `period` from [`now`](Self::now); `None`, which is never, when it is too far
    /// away to be counted.
    pub fn after(&self, period: Duration) -> Option<Instant> {
        self.now.checked_add(period)
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        Stats {
            wakeups: self.shared.wakeups(),
            sleeps: self.shared.sleeps(),
            core_offers_taken: self.shared.core_offers_taken(),
            sources: self.sources.len(),
            timers: self.base.timers.len(),
            ..self.stats
        }
    }

    /// Takes a listener and gives its connections as
    /// [`Event::Accepted`](crate::Event::Accepted).
    ///
    /// # Errors
    ///
    /// [`RegisterError`] with the data inside; the listener is closed.
    pub fn listen(&mut self, listener: O::Listener, data: T) -> Result<Token, RegisterError<T>> {
        let accepting = Accepting {
            listener,
            backoff: Duration::ZERO,
            retry: None,
            failures: 0,
        };
        self.register(Io::Listener(Box::new(accepting)), Flags::new(0), data)
    }

    /// Opens a listener and takes it.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] with the data inside, as [`Os::listen`] or if it cannot be
    /// registered.
    pub fn bind(
        &mut self,
        addr: SocketAddr,
        options: &ListenOptions,
        data: T,
    ) -> Result<Token, RegisterError<T>> {
        match self.base.os.listen(addr, options) {
            Ok(listener) => self.listen(listener, data),
            Err(error) => Err(RegisterError { error, data }),
        }
    }

    /// Takes a connected stream.
    ///
    /// What it received before is reported like everything else, and writing may begin at
    /// once.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] with the data inside; the stream is closed.
    pub fn adopt(&mut self, stream: O::Stream, data: T) -> Result<Token, RegisterError<T>> {
        self.register(Io::Stream(stream), Flags::new(0), data)
    }

    /// Takes a stream from [`Os::connect`] and gives the outcome as
    /// [`Event::Connected`](crate::Event::Connected) or
    /// [`Event::ConnectFailed`](crate::Event::ConnectFailed).
    ///
    /// A stream connected to itself, which happens when a client tries a free port of its own
    /// machine often enough, counts as refused. There is no time limit but the system's
    /// (minutes): set a deadline.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] with the data inside; the stream is closed.
    pub fn adopt_connecting(
        &mut self,
        stream: O::Stream,
        data: T,
    ) -> Result<Token, RegisterError<T>> {
        let flags = Flags::CONNECTING | Flags::ROOM_REPORTED;
        self.register(Io::Stream(stream), Flags::new(flags), data)
    }

    /// Starts to connect, and takes the stream.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] with the data inside when the attempt fails at once.
    pub fn connect(&mut self, addr: SocketAddr, data: T) -> Result<Token, RegisterError<T>> {
        match self.base.os.connect(addr) {
            Ok(stream) => self.adopt_connecting(stream, data),
            Err(error) => Err(RegisterError { error, data }),
        }
    }

    fn register(
        &mut self,
        mut io: Io<O>,
        flags: Flags,
        data: T,
    ) -> Result<Token, RegisterError<T>> {
        let slot = self.sources.vacant_key();
        if slot >= MAX_SOURCES {
            let error = io::Error::new(io::ErrorKind::OutOfMemory, "the table of sources is full");
            return Err(RegisterError { error, data });
        }
        let token = Token::new(slot, self.next_generation);
        let registered = match &mut io {
            Io::Stream(stream) => self.base.os.register_stream(
                &self.base.poller,
                stream,
                token.pack(),
                flags.has(Flags::ROOM_REPORTED),
            ),
            Io::Listener(accepting) => self.base.os.register_listener(
                &self.base.poller,
                &mut accepting.listener,
                token.pack(),
            ),
        };
        if let Err(error) = registered {
            drop(io);
            self.descriptor_freed();
            return Err(RegisterError { error, data });
        }
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = token.generation();
        let socket = Socket {
            io,
            deadline: NEVER,
            generation,
            timer: NO_TIMER,
            flags,
        };
        let entry = Entry { socket, data };
        let taken = self.sources.insert(entry);
        assert_eq!(taken, slot, "the slab gives the key it announced");
        self.sparse_below = self.sparse_below.max(self.sources.len() / 8);
        Ok(token)
    }

    /// Closes a source and gives the owner's data back; `None` if the token is stale.
    ///
    /// No event, deadline or report of the source comes after this. A listener that waits
    /// for a descriptor tries again at once.
    pub fn remove(&mut self, token: Token) -> Option<T> {
        self.entry(token)?;
        let Entry {
            socket: Socket { io, timer, .. },
            data,
        } = self.sources.remove(token.slot());
        if timer != NO_TIMER {
            self.base.timers.remove(timer);
        }
        if let Io::Listener(accepting) = &io
            && let Some(retry) = accepting.retry
        {
            self.base.timers.cancel(retry);
        }
        if self.sources.len() < self.sparse_below {
            // After a burst. Looking costs as much as the table is long, so the next look is due
            // only when half of the rest has gone.
            self.sources.shrink_to_fit();
            self.sparse_below = self.sources.len() / 2;
        }
        // Closes, and with the only descriptor goes the registration: see `SystemStream`.
        drop(io);
        self.descriptor_freed();
        Some(data)
    }

    /// A source, unless the token is stale.
    #[inline]
    pub fn source(&mut self, token: Token) -> Option<SourceMut<'_, O, T, C>> {
        let entry = self.sources.get_mut(token.slot())?;
        (entry.socket.generation == token.generation())
            .then(|| SourceMut::new(token, entry, &mut self.base))
    }

    /// The owner's data of a source, unless the token is stale.
    pub fn data(&self, token: Token) -> Option<&T> {
        let entry = self.sources.get(token.slot())?;
        (entry.socket.generation == token.generation()).then_some(&entry.data)
    }

    /// The owner's data of a source, to be changed, unless the token is stale.
    pub fn data_mut(&mut self, token: Token) -> Option<&mut T> {
        self.entry(token).map(|entry| &mut entry.data)
    }

    /// The tokens of all sources, in no particular order.
    pub fn tokens(&self) -> impl Iterator<Item = Token> {
        self.sources
            .iter()
            .map(|(slot, entry)| Token::new(slot, entry.socket.generation))
    }

    /// Gives back what the loop's own lists have grown to, for a time without events.
    pub fn release_spare_memory(&mut self) {
        self.base.ready.shrink();
        self.base.timers.shrink();
        self.sources.shrink_to_fit();
        self.starved.shrink_to_fit();
    }

    /// Delivers `command` as [`Event::Command`](crate::Event::Command) at `at`.
    ///
    /// Commands for the same time are delivered in the order in which they were scheduled.
    pub fn schedule(&mut self, at: Instant, command: C) -> TimerKey {
        self.base
            .timers
            .insert(self.base.clock.nanos(at), Due::Command(command))
    }

    /// Takes a scheduled command back; `None` if it was delivered or taken back already.
    pub fn cancel(&mut self, key: TimerKey) -> Option<C> {
        match self.base.timers.cancel(key)? {
            Due::Command(command) => Some(command),
            Due::Deadline(_) | Due::AcceptRetry(_) => {
                unreachable!("only scheduled commands hand out their keys")
            }
        }
    }

    fn entry(&mut self, token: Token) -> Option<&mut Entry<O, T>> {
        let entry = self.sources.get_mut(token.slot())?;
        (entry.socket.generation == token.generation()).then_some(entry)
    }
}

impl<O: Os, T, C> Drop for Reactor<O, T, C> {
    fn drop(&mut self) {
        // With a `Host` of ours about, closing our own descriptor would not end the nesting.
        self.unnest();
    }
}

impl<O: Os, T, C> fmt::Debug for Reactor<O, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("sources", &self.sources.len())
            .field("ready", &self.base.ready.len())
            .field("timers", &self.base.timers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Readiness;
    use crate::sim::{Faults, SimOs};

    /// B08: the sequence of generations runs over its end without a name being re-used.
    #[test]
    fn generations_wrap() {
        let mut reactor = Reactor::<_, u32, ()>::new(SimOs::new(0, Faults::none())).unwrap();
        reactor.next_generation = u32::MAX - 5;
        let addr = "10.1.1.1:7".parse().unwrap();
        let mut stale = Vec::new();
        for round in 0..12 {
            let token = reactor
                .bind(addr, &ListenOptions::default(), round)
                .unwrap();
            assert_eq!(token.slot(), 0, "the slot is re-used");
            assert_eq!(reactor.data(token), Some(&round));
            for &old in &stale {
                assert!(reactor.source(old).is_none());
                assert!(reactor.data_mut(old).is_none());
                assert!(reactor.remove(old).is_none());
                // A report collected for a former tenant.
                let report = Readiness {
                    token: old.pack(),
                    readable: true,
                    ..Default::default()
                };
                assert!(turn::take_report(
                    &mut reactor.sources,
                    &mut reactor.base.ready,
                    report
                ));
                reactor.poll(Some(reactor.now()), || true).unwrap();
                assert!(reactor.base.ready.is_empty());
            }
            assert_eq!(reactor.remove(token), Some(round));
            stale.push(token);
        }
        assert_eq!(reactor.next_generation, 6);
    }
}
