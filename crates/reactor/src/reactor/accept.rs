//! Accepting: what a listener does when it is ready, and when it cannot.

use std::io;
use std::time::{Duration, Instant};

use crate::entry::{Flags, Io};
use crate::limits::{ACCEPT_BACKOFF_MAX, ACCEPT_BACKOFF_MIN, ACCEPT_BUDGET, LOG_INTERVAL};
use crate::os::{AcceptFailure, classify_accept};
use crate::reactor::{AcceptLog, Due, Reactor};
use crate::{Event, Os, Token};

impl<O: Os, T, C: Send + 'static> Reactor<O, T, C> {
    /// Tells listeners that have run out of descriptors that one is free again.
    ///
    /// [`remove`](Self::remove) does so by itself. For descriptors closed outside the loop,
    /// by the thread that runs it; other threads have
    /// [`Remote::descriptor_freed`](crate::Remote::descriptor_freed).
    pub fn descriptor_freed(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        for token in std::mem::take(&mut self.starved) {
            let Some(entry) = self.sources.get_mut(token.slot()) else {
                continue;
            };
            if entry.socket.generation != token.generation() {
                continue;
            }
            let Io::Listener(accepting) = &mut entry.socket.io else {
                continue;
            };
            if let Some(retry) = accepting.retry.take() {
                self.base.timers.cancel(retry);
            }
            entry.socket.flags.clear(Flags::STARVED);
            self.base.ready.list(token, &mut entry.socket.flags);
        }
        self.shared.set_starved(false);
    }

    /// The pause of a listener is over.
    pub(super) fn retry_accept(&mut self, token: Token) {
        let Some(entry) = self.sources.get_mut(token.slot()) else {
            return;
        };
        debug_assert_eq!(
            entry.socket.generation,
            token.generation(),
            "removing cancels the retry"
        );
        let Io::Listener(accepting) = &mut entry.socket.io else {
            return;
        };
        accepting.retry = None;
        entry.socket.flags.clear(Flags::STARVED);
        self.base.ready.list(token, &mut entry.socket.flags);
        self.starved.retain(|&other| other != token);
        self.shared.set_starved(!self.starved.is_empty());
    }

    /// Accepts one connection from the listener being served; `None` when its turn is over.
    pub(super) fn accept_next(&mut self, token: Token) -> Option<Event<O, C>> {
        loop {
            let entry = self.sources.get_mut(token.slot())?;
            if entry.socket.generation != token.generation() || !entry.socket.flags.actionable() {
                return None;
            }
            let Io::Listener(accepting) = &mut entry.socket.io else {
                return None;
            };
            if self.turn.burst == ACCEPT_BUDGET {
                return None;
            }
            self.turn.burst += 1;
            let error = match self.base.os.accept(&accepting.listener) {
                Ok((stream, peer)) => {
                    accepting.backoff = Duration::ZERO;
                    accepting.failures = 0;
                    self.stats.accepted += 1;
                    return Some(Event::Accepted {
                        listener: token,
                        stream,
                        peer,
                    });
                }
                Err(error) => error,
            };
            match classify_accept(&error) {
                AcceptFailure::Drained => entry.socket.flags.clear(Flags::READABLE),
                AcceptFailure::Again => {}
                AcceptFailure::Connection => {
                    self.stats.accept_errors += 1;
                    accepting.failures += 1;
                    // An error that comes without end, such as a security policy that
                    // refuses every accept, must not keep the loop from sleeping.
                    if accepting.failures >= ACCEPT_BUDGET {
                        accepting.failures = 0;
                        self.starve(token, &error);
                    }
                }
                AcceptFailure::Exhausted => self.starve(token, &error),
                AcceptFailure::Listener => {
                    entry.socket.flags.set(Flags::FAILED);
                    return Some(Event::ListenerFailed { token, error });
                }
            }
        }
    }

    /// Pauses a listener for which there is no descriptor or memory.
    ///
    /// Neither kind of triggering helps here: an edge was told and does not come again when a
    /// descriptor is free, and a level would be told thousands of times a second. So the
    /// readiness is kept, and accept is called again when a timer fires or, at once, when
    /// one of our own descriptors is closed.
    fn starve(&mut self, token: Token, error: &io::Error) {
        let Some(entry) = self.sources.get_mut(token.slot()) else {
            return;
        };
        let Io::Listener(accepting) = &mut entry.socket.io else {
            return;
        };
        accepting.backoff = (accepting.backoff * 2).clamp(ACCEPT_BACKOFF_MIN, ACCEPT_BACKOFF_MAX);
        let backoff = accepting.backoff;
        let when = self.base.clock.nanos(self.now + backoff);
        accepting.retry = Some(self.base.timers.insert(when, Due::AcceptRetry(token)));
        entry.socket.flags.set(Flags::STARVED);
        self.starved.push(token);
        self.shared.set_starved(true);
        self.stats.accept_pauses += 1;
        self.accept_log.warn(self.now, || {
            format!("cannot accept connections, next attempt in {backoff:?}: {error}")
        });
    }
}

impl AcceptLog {
    fn warn(&mut self, now: Instant, message: impl FnOnce() -> String) {
        let quiet = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < LOG_INTERVAL);
        if quiet {
            self.suppressed += 1;
            return;
        }
        log::warn!("{} ({} like this not logged)", message(), self.suppressed);
        self.last = Some(now);
        self.suppressed = 0;
    }
}
