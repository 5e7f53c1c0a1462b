//! Counters of one loop.

/// What a [`Reactor`](crate::Reactor) has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Clients that were gone, or refused by the system, before they could be accepted.
    pub accept_errors: u64,
    /// Times a listener paused because descriptors or memory had run out.
    pub accept_pauses: u64,
    /// Times another thread paid for a system call to wake this loop.
    pub wakeups: u64,
    /// Times the operating system was asked for readiness.
    pub polls: u64,
    /// Those of them that were ready to sleep until something is ready.
    pub sleeps: u64,
    /// Turns that went without asking because sources were ready anyway.
    pub polls_skipped: u64,
    /// Times the loop let other threads have the core before it slept.
    pub core_offers: u64,
    /// Those of them that another thread took.
    pub core_offers_taken: u64,
    /// Events delivered, commands included.
    pub events: u64,
    /// Listeners and streams now held.
    pub sources: usize,
    /// Deadlines, scheduled commands and listener pauses now armed.
    pub timers: usize,
}
