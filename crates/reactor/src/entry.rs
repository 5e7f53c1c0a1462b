//! What the loop keeps per source.

use std::fmt;
use std::time::Duration;

use crate::timers::TimerKey;
use crate::{Os, Readiness};

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// No armed timer.
pub(crate) const NO_TIMER: u32 = u32::MAX;

/// One slot of the table. Ten thousand idle sources are kept, so it has to stay small: what
/// only listeners need is in a box.
pub(crate) struct Entry<O: Os, T> {
    pub(crate) socket: Socket<O>,
    pub(crate) data: T,
}

/// The loop's part of an entry.
pub(crate) struct Socket<O: Os> {
    pub(crate) io: Io<O>,
    /// When the owner wants to be told, in nanoseconds of the loop's clock.
    pub(crate) deadline: u64,
    pub(crate) generation: u32,
    /// The armed timer; never later than `deadline`, but perhaps earlier.
    pub(crate) timer: u32,
    pub(crate) flags: Flags,
}

pub(crate) enum Io<O: Os> {
    Stream(O::Stream),
    Listener(Box<Accepting<O>>),
}

impl<O: Os> Socket<O> {
    /// A stream in its usual state: the only thing that can be due is reading.
    #[inline]
    pub(crate) fn is_plain_stream(&self) -> bool {
        self.flags.plain() && matches!(self.io, Io::Stream(_))
    }
}

/// A listener and the state of its accepting.
pub(crate) struct Accepting<O: Os> {
    pub(crate) listener: O::Listener,
    /// The coming pause when resources run out; zero after a success.
    pub(crate) backoff: Duration,
    /// Set while it pauses.
    pub(crate) retry: Option<TimerKey>,
    /// Clients lost in a row.
    pub(crate) failures: u32,
}

/// What is known about a source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// A read or accept may find something.
    pub(crate) const READABLE: u16 = 1;
    /// A short read does not mean that there is nothing more: the peer's end or an error
    /// follows the bytes and was told already, or urgent data cuts the stream.
    pub(crate) const SHORT_PROVES_NOTHING: u16 = 1 << 1;
    /// A write did not take everything.
    pub(crate) const WANTS_ROOM: u16 = 1 << 2;
    /// There is room again for one that wanted it.
    pub(crate) const HAS_ROOM: u16 = 1 << 3;
    /// The owner does not want to read or accept.
    pub(crate) const PAUSED: u16 = 1 << 4;
    /// A connection attempt is under way.
    pub(crate) const CONNECTING: u16 = 1 << 5;
    /// The attempt may be over.
    pub(crate) const CHECK_CONNECT: u16 = 1 << 6;
    /// Nothing more is told about it.
    pub(crate) const FAILED: u16 = 1 << 7;
    /// It stands in the ready list.
    pub(crate) const LISTED: u16 = 1 << 8;
    /// Both directions are over.
    pub(crate) const HUNG_UP: u16 = 1 << 9;
    /// The owner knows that the reading direction is over.
    pub(crate) const TOLD_HANGUP: u16 = 1 << 10;
    /// A listener that waits for descriptors.
    pub(crate) const STARVED: u16 = 1 << 11;
    /// The system reports room to write.
    pub(crate) const ROOM_REPORTED: u16 = 1 << 12;

    pub(crate) const fn new(flags: u16) -> Self {
        Self(flags)
    }

    pub(crate) fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u16) {
        self.0 |= flag;
    }

    pub(crate) fn clear(&mut self, flag: u16) {
        self.0 &= !flag;
    }

    /// Nothing but reading can be due.
    #[inline]
    pub(crate) fn plain(self) -> bool {
        const SPECIAL: u16 = Flags::FAILED
            | Flags::STARVED
            | Flags::CONNECTING
            | Flags::HAS_ROOM
            | Flags::HUNG_UP
            | Flags::PAUSED;
        self.0 & SPECIAL == 0
    }

    /// Whether there is something to do for the source now.
    #[inline]
    pub(crate) fn actionable(self) -> bool {
        if self.plain() {
            return self.0 & Self::READABLE != 0;
        }
        self.actionable_in_special()
    }

    #[inline(never)]
    fn actionable_in_special(self) -> bool {
        if self.has(Self::FAILED | Self::STARVED) {
            return false;
        }
        if self.has(Self::CONNECTING) {
            return self.has(Self::CHECK_CONNECT);
        }
        self.has(Self::HAS_ROOM) || self.read_due() || self.hangup_due()
    }

    pub(crate) fn read_due(self) -> bool {
        self.0 & (Self::READABLE | Self::PAUSED) == Self::READABLE
    }

    pub(crate) fn hangup_due(self) -> bool {
        self.0 & (Self::HUNG_UP | Self::PAUSED | Self::TOLD_HANGUP) == Self::HUNG_UP | Self::PAUSED
    }

    /// Takes in a report of the poller.
    #[inline]
    pub(crate) fn apply(&mut self, report: Readiness) {
        let special = report.read_closed | report.write_closed | report.error | report.urgent;
        let waiting = self.0 & (Self::WANTS_ROOM | Self::CONNECTING) != 0;
        if !special && !waiting {
            if report.readable {
                self.set(Self::READABLE);
            }
            return;
        }
        self.apply_special(report);
    }

    // Not out of line: the report would have to be in memory for that, in every case.
    #[inline]
    fn apply_special(&mut self, report: Readiness) {
        let Readiness {
            readable,
            writable,
            read_closed,
            write_closed,
            error,
            urgent,
            ..
        } = report;
        if readable || read_closed || error {
            self.set(Self::READABLE);
        }
        if read_closed || error || urgent {
            self.set(Self::SHORT_PROVES_NOTHING);
        }
        if (writable || write_closed || error) && self.has(Self::WANTS_ROOM) {
            self.set(Self::HAS_ROOM);
        }
        if error || (read_closed && write_closed) {
            self.set(Self::HUNG_UP);
        }
        if self.has(Self::CONNECTING) {
            self.set(Self::CHECK_CONNECT);
        }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 13] = [
            "readable",
            "short-proves-nothing",
            "wants-room",
            "has-room",
            "paused",
            "connecting",
            "check-connect",
            "failed",
            "listed",
            "hung-up",
            "told-hangup",
            "starved",
            "room-reported",
        ];
        let set = NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.has(1 << bit));
        f.debug_set().entries(set.map(|(_, name)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::System;

    #[test]
    fn a_source_stays_small() {
        // A10: ten thousand idle sources. The slab adds its own discriminant.
        assert!(
            size_of::<Entry<System, ()>>() <= 64,
            "{}",
            size_of::<Entry<System, ()>>()
        );
        let mut table = slab::Slab::<Entry<System, ()>>::new();
        table.reserve(1);
        assert!(size_of::<Option<Entry<System, ()>>>() <= 64);
    }
}
