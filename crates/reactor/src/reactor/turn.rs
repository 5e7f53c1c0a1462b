//! One turn of the loop: ask for readiness, then give what is there.

use std::io;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::entry::{Entry, Flags, Io, NEVER, NO_TIMER};
use crate::limits::{
    CLOCK_GAP, COMMAND_BUDGET, MAX_FIRINGS, MAX_HELD_TURNS, MAX_SECOND_LOOKS, MAX_SKIPPED_POLLS,
    MAX_UNPOLLED_EVENTS, READ_BURST,
};
use crate::reactor::{Base, Due, Reactor};
use crate::ready::ReadyList;
use crate::{Event, Os, Readiness, SourceMut, Token};

impl<O: Os, T, C: Send + 'static> Reactor<O, T, C> {
    /// Begins a turn: collects readiness, and sleeps when there is nothing to do.
    ///
    /// Sleeps until something happens to a source, a timer is due, a [`Remote`](crate::Remote)
    /// wakes it, or `until`, whichever is first; it may return early for no reason. It does
    /// not sleep while sources are ready or commands are queued, nor if `may_sleep` says no.
    /// `may_sleep` is asked at the last moment, after senders were told that the loop
    /// sleeps: what another thread makes visible before it calls
    /// [`Remote::wake`](crate::Remote::wake) is either seen by `may_sleep` or ends the sleep.
    ///
    /// After a turn with work it may first let other threads have the core, which saves them and
    /// itself a wake-up where there are more of them than cores ([`Stats::core_offers`](crate::Stats::core_offers)).
    ///
    /// While sources are ready the system is not asked in every turn, but often enough for
    /// others to get in.
    ///
    /// # Errors
    ///
    /// When the poller is broken. Do not call again: it would fail again, at full speed.
    pub fn poll(
        &mut self,
        until: Option<Instant>,
        may_sleep: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        self.end_service();
        self.wake_from_doze();
        let before = self.refresh_now();
        if self.may_skip_system() {
            self.turn.skipped += 1;
            self.stats.polls_skipped += 1;
            self.begin_turn(0);
            return Ok(());
        }
        self.turn.skipped = 0;
        let served = std::mem::take(&mut self.turn.unpolled_events) > 0;
        let before = if served {
            self.offer_core(before, until)
        } else {
            before
        };
        let mut full = match self.time_to_sleep(before, until) {
            Some(Duration::ZERO) => self.wait(Some(Duration::ZERO))?,
            timeout => {
                self.shared.about_to_sleep();
                let sleep = self.commands.is_empty()
                    && !self.shared.descriptor_freed_elsewhere()
                    && may_sleep();
                let timeout = if sleep {
                    self.shared.count_sleep();
                    timeout
                } else {
                    Some(Duration::ZERO)
                };
                let waited = self.wait(timeout);
                self.shared.awake();
                waited?
            }
        };
        let mut asked = before;
        for _ in 0..MAX_SECOND_LOOKS {
            let gap = self.refresh_now().saturating_duration_since(asked) >= CLOCK_GAP;
            if !gap || full || !self.timer_due() {
                break;
            }
            asked = self.now;
            full = self.wait(Some(Duration::ZERO))?;
        }
        // The patience is for timers that are due; under load, reports are always full.
        let hold = full && self.timer_due() && self.turn.held < MAX_HELD_TURNS;
        self.turn.held = if hold { self.turn.held + 1 } else { 0 };
        self.turn.full = full;
        if self.shared.take_descriptor_freed() {
            self.descriptor_freed();
        }
        self.begin_turn(if hold { 0 } else { MAX_FIRINGS });
        Ok(())
    }

    /// Before it sleeps after a turn with work, the loop may let others have the core; not before
    /// it sleeps on, so that one without work makes no system call at all. Tells the time.
    fn offer_core(&mut self, before: Instant, until: Option<Instant>) -> Instant {
        let would_sleep =
            self.time_to_sleep(before, until) != Some(Duration::ZERO) && self.commands.is_empty();
        if !would_sleep || !self.courtesy.is_due() {
            return before;
        }
        self.base.os.yield_core();
        self.stats.core_offers += 1;
        let after = self.refresh_now();
        if self
            .courtesy
            .offered(after.saturating_duration_since(before))
        {
            self.shared.offer_was_taken();
        }
        after
    }

    fn begin_turn(&mut self, firings: u32) {
        self.turn.sources_left = self.base.ready.len();
        // Found empty once, the queue is not looked at again in this turn, which spares every
        // socket event a look at a contended cache line.
        self.turn.commands_left = if self.commands.is_empty() {
            0
        } else {
            COMMAND_BUDGET
        };
        self.turn.firings_left = firings;
    }

    /// Whether this turn can do with what is known already.
    ///
    /// Not when a timer is due. Deadlines are judged only after the system was asked, because
    /// the bytes that would have moved one may be waiting to be reported, so a turn that
    /// skips it would delay them.
    fn may_skip_system(&self) -> bool {
        !self.base.ready.is_empty()
            && self.turn.skipped < MAX_SKIPPED_POLLS
            && self.turn.unpolled_events < MAX_UNPOLLED_EVENTS
            && !self.timer_due()
            && !self.shared.descriptor_freed_elsewhere()
    }

    fn timer_due(&self) -> bool {
        self.base
            .timers
            .next()
            .is_some_and(|when| when <= self.base.clock.nanos(self.now))
    }

    /// `None` is without end.
    fn time_to_sleep(&self, now: Instant, until: Option<Instant>) -> Option<Duration> {
        if !self.base.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = self
            .base
            .timers
            .next()
            .map(|when| self.base.clock.instant(when));
        let first = match (timer, until) {
            (Some(timer), Some(until)) => timer.min(until),
            (timer, until) => timer.or(until)?,
        };
        Some(first.saturating_duration_since(now))
    }

    /// Asks the system, and notes what it reports; tells whether there may be more.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.stats.polls += 1;
        let Self {
            base: Base {
                os, poller, ready, ..
            },
            sources,
            nesting,
            ..
        } = self;
        let mut reports = 0;
        os.wait(poller, timeout, |report| {
            reports += 1;
            if !take_report(sources, ready, report) {
                nesting.take_report(report);
            }
        })?;
        // The waker's report, of which we are not told, takes a place as well.
        Ok(reports + 1 >= O::EVENTS_PER_WAIT)
    }

    /// The next thing that happened in this turn; `None` when the turn is over and
    /// [`poll`](Self::poll) is due.
    ///
    /// Commands come first, then sockets, then what is due by time: a deadline is given only
    /// after the bytes that might have moved it. A source that stays readable is given again
    /// up to [`READ_BURST`] times and then waits behind the
    /// others. Stopping early is fine: nothing is lost, the rest comes in the next turn.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event<O, C>> {
        let event = match self.next_plain() {
            Some(token) => Some(Event::Readable(token)),
            None => self.next_rare(),
        };
        self.stats.events += u64::from(event.is_some());
        event
    }

    /// The next source to read, if that is what comes next in this turn.
    ///
    /// `None` says only that it is not: ask [`next_event`](Self::next_event) for what it is. The
    /// same as an [`Event::Readable`] with its source already looked up, for a loop to which
    /// nearly every event is one.
    #[inline(always)]
    pub fn next_readable(&mut self) -> Option<SourceMut<'_, O, T, C>> {
        let token = self.next_plain()?;
        self.stats.events += 1;
        let entry = self.sources.get_mut(token.slot())?;
        Some(SourceMut::new(token, entry, &mut self.base))
    }

    /// The next source if it is in its usual state, has something to read, and nothing comes
    /// before it.
    #[inline(always)]
    fn next_plain(&mut self) -> Option<Token> {
        if self.turn.commands_left > 0 {
            return None;
        }
        if let Some(token) = self.base.ready.current() {
            let socket = self.sources.get_mut(token.slot()).map(|e| &mut e.socket);
            if let Some(socket) = socket.filter(|s| s.generation == token.generation()) {
                if !socket.is_plain_stream() {
                    return None;
                }
                if socket.flags.has(Flags::READABLE) && self.turn.burst < READ_BURST {
                    self.turn.burst += 1;
                    self.turn.unpolled_events += 1;
                    return Some(token);
                }
                self.base.ready.list(token, &mut socket.flags);
            }
            self.base.ready.leave_current();
        }
        loop {
            let token = self.begin_service()?;
            let socket = self.sources.get_mut(token.slot()).map(|e| &mut e.socket);
            if let Some(socket) = socket.filter(|s| s.generation == token.generation()) {
                socket.flags.clear(Flags::LISTED);
                if !socket.is_plain_stream() {
                    return None;
                }
                if socket.flags.has(Flags::READABLE) {
                    self.turn.burst = 1;
                    self.turn.unpolled_events += 1;
                    return Some(token);
                }
            }
            self.base.ready.leave_current();
        }
    }

    #[inline(never)]
    fn next_rare(&mut self) -> Option<Event<O, C>> {
        if let Some(command) = self.next_command() {
            return Some(Event::Command(command));
        }
        loop {
            if let Some(token) = self.next_plain() {
                return Some(Event::Readable(token));
            }
            let Some(token) = self.base.ready.current() else {
                return self.next_due();
            };
            if let Some(event) = self.serve(token) {
                self.turn.unpolled_events += 1;
                return Some(event);
            }
            self.end_service();
        }
    }

    fn next_command(&mut self) -> Option<C> {
        if self.turn.commands_left == 0 {
            return None;
        }
        match self.commands.try_recv() {
            Ok(command) => {
                self.turn.commands_left -= 1;
                Some(command)
            }
            Err(_) => {
                self.turn.commands_left = 0;
                None
            }
        }
    }

    /// Takes the next ready source of this turn.
    #[inline]
    fn begin_service(&mut self) -> Option<Token> {
        if self.turn.sources_left == 0 {
            return None;
        }
        self.turn.sources_left -= 1;
        self.turn.burst = 0;
        self.base.ready.serve_next()
    }

    /// Puts the source being served behind the others if it has more to do.
    pub(super) fn end_service(&mut self) {
        let Some(token) = self.base.ready.leave_current() else {
            return;
        };
        let Some(entry) = self.sources.get_mut(token.slot()) else {
            return;
        };
        if entry.socket.generation == token.generation() {
            self.base.ready.list(token, &mut entry.socket.flags);
        }
    }

    /// The next event of the source being served; `None` when its time is over.
    fn serve(&mut self, token: Token) -> Option<Event<O, C>> {
        let entry = self.sources.get_mut(token.slot())?;
        if entry.socket.generation != token.generation() || !entry.socket.flags.actionable() {
            return None;
        }
        let Io::Stream(stream) = &entry.socket.io else {
            return self.accept_next(token);
        };
        let flags = &mut entry.socket.flags;
        if flags.has(Flags::CONNECTING) {
            flags.clear(Flags::CHECK_CONNECT);
            let outcome = connect_outcome(&self.base.os, stream);
            return match outcome {
                Ok(false) => None,
                Ok(true) => {
                    flags.clear(Flags::CONNECTING);
                    // A write tried before the outcome was known has its room now.
                    if flags.has(Flags::WANTS_ROOM) {
                        flags.set(Flags::HAS_ROOM);
                    }
                    Some(Event::Connected(token))
                }
                Err(error) => {
                    flags.set(Flags::FAILED);
                    Some(Event::ConnectFailed { token, error })
                }
            };
        }
        // Room first: what is written leaves before more arrives.
        if flags.has(Flags::HAS_ROOM) {
            flags.clear(Flags::HAS_ROOM | Flags::WANTS_ROOM);
            return Some(Event::Writable(token));
        }
        if flags.hangup_due() {
            flags.set(Flags::TOLD_HANGUP);
            return Some(Event::Hangup(token));
        }
        if self.turn.burst == READ_BURST {
            return None;
        }
        self.turn.burst += 1;
        Some(Event::Readable(token))
    }

    fn next_due(&mut self) -> Option<Event<O, C>> {
        while self.turn.firings_left > 0 {
            self.turn.firings_left -= 1;
            let now = self.base.clock.nanos(self.now);
            match self.base.timers.pop_due(now)? {
                Due::Command(command) => return Some(Event::Command(command)),
                Due::AcceptRetry(token) => self.retry_accept(token),
                Due::Deadline(token) => {
                    let Some(entry) = self.sources.get_mut(token.slot()) else {
                        continue;
                    };
                    debug_assert_eq!(
                        entry.socket.generation,
                        token.generation(),
                        "removed, not fired"
                    );
                    if entry.socket.deadline > now {
                        // Moved since it was armed.
                        let key = self
                            .base
                            .timers
                            .insert(entry.socket.deadline, Due::Deadline(token));
                        entry.socket.timer = key.node();
                    } else {
                        entry.socket.deadline = NEVER;
                        entry.socket.timer = NO_TIMER;
                        return Some(Event::Deadline(token));
                    }
                }
            }
        }
        None
    }
}

/// False if no source has this slot.
#[inline]
pub(super) fn take_report<O: Os, T>(
    sources: &mut Slab<Entry<O, T>>,
    ready: &mut ReadyList,
    report: Readiness,
) -> bool {
    let token = Token::unpack(report.token);
    let Some(Entry { socket, .. }) = sources.get_mut(token.slot()) else {
        return false;
    };
    // A report collected before its source was removed may name its successor's slot.
    if socket.generation == token.generation() {
        socket.flags.apply(report);
        ready.list(token, &mut socket.flags);
    }
    true
}

/// Whether the stream is connected, and to somebody else.
///
/// Two ends that open at the same time are connected by TCP without a listener, and a client
/// whose own port happens to be the one it tries meets itself. It would talk to its echo.
fn connect_outcome<O: Os>(os: &O, stream: &O::Stream) -> io::Result<bool> {
    if !os.connect_outcome(stream)? {
        return Ok(false);
    }
    match (os.local_addr(stream), os.peer_addr(stream)) {
        (Ok(local), Ok(peer)) if local == peer => Err(io::ErrorKind::ConnectionRefused.into()),
        _ => Ok(true),
    }
}
