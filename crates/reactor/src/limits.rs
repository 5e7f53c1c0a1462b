//! The loop's budgets: every repetition has a bound with a name and a reason.

use std::time::Duration;

/// Reads one source gets in a row before the others have their turn.
///
/// Consecutive reads find socket and buffer in the cache. Sixteen of 64 KiB are a megabyte,
/// some 100 µs: short enough that a thousand quiet neighbours do not notice.
pub const READ_BURST: u32 = 16;

/// Connections one listener may yield in a turn before it queues again.
///
/// Accepting costs several microseconds; without a bound a storm of clients stops those who
/// are connected already.
pub const ACCEPT_BUDGET: u32 = 64;

/// Turns in a row that may go without asking the operating system while sources are ready.
///
/// A bulk connection is ready turn after turn; asking each time would add a system call to
/// every burst.
pub const MAX_SKIPPED_POLLS: u32 = 16;

/// Events delivered since the operating system was last asked, after which it is asked again
/// although sources are ready.
///
/// The bound that counts under load: turns are cheap or dear, this caps how long a newly
/// ready source waits to be seen, at about four bursts.
pub const MAX_UNPOLLED_EVENTS: u32 = 64;

/// Timers that fire in one turn; the rest follows in the next ones.
///
/// Ten thousand connections accepted together time out together. One turn must not become a
/// second.
pub const MAX_FIRINGS: u32 = 1024;

/// Commands delivered in one turn; the rest follows in the next ones.
///
/// Commands come first, so without a bound a busy sender would shut the sockets out.
pub const COMMAND_BUDGET: u32 = 1024;

/// First pause of a listener that ran out of descriptors or memory; each further failure
/// doubles it.
pub const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(10);

/// Longest pause of a listener that ran out of descriptors or memory.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Between two log lines about accepting; the condition lasts, and so would the lines.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// A jump of the clock over a wait after which readiness is asked for once more before timers
/// fire.
///
/// A process that was stopped wakes up with all its timers due and an interrupted wait that
/// reports nothing. Its peers may have sent all along.
pub(crate) const CLOCK_GAP: Duration = Duration::from_secs(1);

/// Times in a row that readiness is asked for again because the clock jumped.
///
/// A machine on which every look takes longer than [`CLOCK_GAP`] should still get its timers.
pub(crate) const MAX_SECOND_LOOKS: u32 = 8;

/// Turns in a row in which timers wait because the operating system had more to report than
/// fits in one batch.
pub(crate) const MAX_HELD_TURNS: u32 = 16;
