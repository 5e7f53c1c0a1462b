//! What goes wrong in a simulation, and how often.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::rng::Rng;

/// Rates of faults, in thousandths of the occasions.
///
/// Every fault is one that a real system can commit within its contract. A short read, for
/// instance, leaves bytes behind only as if they had arrived just after it, so a report of
/// them follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Reads, writes, accepts and waits interrupted by a signal.
    pub interrupt: u16,
    /// Waits that report something that did not happen.
    pub spurious: u16,
    /// Reports held back to a later wait, where they merge with newer ones; also delays the
    /// outcome of connection attempts.
    pub delay: u16,
    /// Reads that stop in the middle of what is there.
    pub partial_read: u16,
    /// Writes that take less than there is room for; also on the remote end.
    pub partial_write: u16,
    /// Calls that find nothing although something came, or comes at that very moment.
    pub would_block: u16,
    /// Reads and writes that find the connection reset, for both ends.
    pub reset: u16,
    /// Resets that also lose what was received and not yet read.
    pub reset_discards: u16,
    /// Accepts that fail because of one client, which is lost.
    pub accept_error: u16,
    /// Accepts that fail for want of memory or because the system's table is full.
    pub accept_starved: u16,
    /// Connection attempts that fail.
    pub connect_error: u16,
    /// Waits during which the process was stopped, for up to [`gap`](Self::gap). As on Linux,
    /// such a wait ends as interrupted and reports nothing.
    pub clock_gap: u16,
    /// The longest stop.
    pub gap: Duration,
    /// Occasions to act that a remote end misses.
    pub peer_stall: u16,
    /// Bytes each direction of a connection holds; drawn per connection.
    pub buffer: RangeInclusive<usize>,
    /// What [`Os::short_proves_drained`](crate::Os::short_proves_drained) says. If false,
    /// partial transfers are not followed by a report.
    pub short_proves_drained: bool,
}

impl Faults {
    /// No faults: a perfect system with buffers of 64 KiB.
    pub fn none() -> Self {
        Self {
            interrupt: 0,
            spurious: 0,
            delay: 0,
            partial_read: 0,
            partial_write: 0,
            would_block: 0,
            reset: 0,
            reset_discards: 0,
            accept_error: 0,
            accept_starved: 0,
            connect_error: 0,
            clock_gap: 0,
            gap: Duration::ZERO,
            peer_stall: 0,
            buffer: 65_536..=65_536,
            short_proves_drained: true,
        }
    }

    /// A mix of faults drawn from `seed`.
    ///
    /// Each kind is absent in half of the mixes. With all of them at a middling rate, each
    /// run would look like the others, and what happens only when one fault is frequent and
    /// another never comes would not be met.
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5761_726d);
        let mut rate = |most: u16| {
            let drawn = rng.below(u64::from(most) * 2);
            u16::try_from(drawn.saturating_sub(u64::from(most))).unwrap_or(most)
        };
        Self {
            interrupt: rate(300),
            spurious: rate(300),
            delay: rate(700),
            partial_read: rate(900),
            partial_write: rate(900),
            would_block: rate(400),
            reset: rate(20),
            reset_discards: rate(900),
            accept_error: rate(200),
            accept_starved: rate(200),
            connect_error: rate(200),
            clock_gap: rate(20),
            gap: Duration::from_secs(3600),
            peer_stall: rate(700),
            buffer: if rate(2) > 0 { 1..=64 } else { 256..=65_536 },
            short_proves_drained: rate(4) == 0,
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

/// A kind of fault, to ask how often it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Fault {
    /// See [`Faults::interrupt`].
    Interrupt,
    /// See [`Faults::spurious`].
    Spurious,
    /// See [`Faults::delay`].
    Delay,
    /// See [`Faults::partial_read`].
    PartialRead,
    /// See [`Faults::partial_write`].
    PartialWrite,
    /// See [`Faults::would_block`].
    WouldBlock,
    /// See [`Faults::reset`].
    Reset,
    /// See [`Faults::reset_discards`].
    ResetDiscards,
    /// See [`Faults::accept_error`].
    AcceptError,
    /// See [`Faults::accept_starved`].
    AcceptStarved,
    /// See [`Faults::connect_error`].
    ConnectError,
    /// See [`Faults::clock_gap`].
    ClockGap,
    /// See [`Faults::peer_stall`].
    PeerStall,
    /// A call that would have gone over
    /// [`set_descriptor_limit`](super::SimOs::set_descriptor_limit).
    DescriptorLimit,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Interrupt,
        Self::Spurious,
        Self::Delay,
        Self::PartialRead,
        Self::PartialWrite,
        Self::WouldBlock,
        Self::Reset,
        Self::ResetDiscards,
        Self::AcceptError,
        Self::AcceptStarved,
        Self::ConnectError,
        Self::ClockGap,
        Self::PeerStall,
        Self::DescriptorLimit,
    ];

    fn rate(self, faults: &Faults) -> u16 {
        match self {
            Self::Interrupt => faults.interrupt,
            Self::Spurious => faults.spurious,
            Self::Delay => faults.delay,
            Self::PartialRead => faults.partial_read,
            Self::PartialWrite => faults.partial_write,
            Self::WouldBlock => faults.would_block,
            Self::Reset => faults.reset,
            Self::ResetDiscards => faults.reset_discards,
            Self::AcceptError => faults.accept_error,
            Self::AcceptStarved => faults.accept_starved,
            Self::ConnectError => faults.connect_error,
            Self::ClockGap => faults.clock_gap,
            Self::PeerStall => faults.peer_stall,
            Self::DescriptorLimit => 0,
        }
    }
}

/// The dice, and the record of what they decided.
#[derive(Debug)]
pub(super) struct Injector {
    pub(super) faults: Faults,
    pub(super) rng: Rng,
    counts: [u64; Fault::ALL.len()],
}

impl Injector {
    /// The highest rate that is honoured.
    ///
    /// A fault that happens every time is not a fault but another system: nothing would ever
    /// be reported, or every call interrupted, and the simulation would not end.
    const MOST: u16 = 950;

    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults,
            rng: Rng::new(seed),
            counts: [0; Fault::ALL.len()],
        }
    }

    /// Whether `fault` happens now.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let rate = fault.rate(&self.faults).min(Self::MOST);
        // No number is drawn for an absent fault, so adding a kind of fault leaves the runs
        // without it as they were.
        let strikes = rate > 0 && self.rng.below(1000) < u64::from(rate);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    pub(super) fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    pub(super) fn counted(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// A length from 1 to `most`, shorter than `most` if `fault` strikes and it can be.
    pub(super) fn cut(&mut self, fault: Fault, most: usize) -> usize {
        if most > 1 && self.strikes(fault) {
            1 + self.rng.index(most - 1)
        } else {
            most
        }
    }

    pub(super) fn buffer(&mut self) -> usize {
        let (least, most) = (*self.faults.buffer.start(), *self.faults.buffer.end());
        // A connection that holds nothing would carry nothing.
        let least = least.max(1);
        if most <= least {
            least
        } else {
            least + self.rng.index(most - least + 1)
        }
    }
}
