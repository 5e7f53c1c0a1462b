//! What is counted of a process beside what its mailbox needs anyway: the messages that it sends, and
//! how long its callbacks run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Two counters that anyone may read.
pub(crate) struct Meter {
    /// Written under the lock of the process's cell alone, by whichever thread runs a callback: so
    /// adding is a load and a store, and needs no locked instruction.
    sent: AtomicU64,
    /// In the two lowest bits, how many runs are under way: one, or two for the moment in which one
    /// thread has just let go of the process and another has taken it. Above them the nanoseconds
    /// that callbacks have run, less the time at which each run under way began. Whoever looks adds
    /// the time that it is for each, and so sees a callback that does not return as well. All of it
    /// in wrapping arithmetic.
    ran: AtomicU64,
}

/// The place value of a nanosecond in [`Meter::ran`], and above the number of runs under way.
const NANO: u64 = 4;

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            sent: AtomicU64::new(0),
            ran: AtomicU64::new(0),
        }
    }

    /// In a callback alone.
    #[inline]
    pub(crate) fn count_sent(&self, messages: u64) {
        let sent = self.sent.load(Ordering::Relaxed);
        self.sent.store(sent + messages, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A run begins. Its [`end`](Self::end) must follow. `epoch` is what times are counted from.
    #[cold]
    pub(super) fn begin(&self, epoch: Instant) {
        let one_more = since(epoch).wrapping_mul(NANO).wrapping_sub(1);
        // Whoever sees it under way takes the time after we did.
        self.ran.fetch_sub(one_more, Ordering::Release);
    }

    #[cold]
    pub(super) fn end(&self, epoch: Instant) {
        let one_less = since(epoch).wrapping_mul(NANO).wrapping_sub(1);
        self.ran.fetch_add(one_less, Ordering::Release);
    }

    /// How long callbacks have run, those that run now included.
    pub(super) fn ran(&self, epoch: Instant) -> Duration {
        let ran = self.ran.load(Ordering::Acquire);
        let under_way = ran % NANO;
        let until_now = since(epoch).wrapping_mul(under_way);
        let nanos = (ran / NANO).wrapping_add(until_now) % (u64::MAX / NANO + 1);
        Duration::from_nanos(nanos)
    }
}

/// Nanoseconds: enough of them for a century.
fn since(epoch: Instant) -> u64 {
    let nanos = epoch.elapsed().as_nanos();
    nanos.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Meter;

    /// A century ago, if the machine's clock goes back as far; it counts from its start.
    fn long_ago() -> Instant {
        let now = Instant::now();
        let ages = [86_400 * 365, 3_600, 60, 0].map(Duration::from_secs);
        let known = ages.into_iter().find_map(|age| now.checked_sub(age));
        known.unwrap_or(now)
    }

    /// Until the clock has moved.
    fn spin(by: Duration) {
        let began = Instant::now();
        while began.elapsed() < by {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn time_adds_up_run_by_run_and_shows_before_a_run_is_over() {
        let (meter, epoch) = (Meter::new(), long_ago());
        let step = Duration::from_micros(50);
        assert_eq!(meter.ran(epoch), Duration::ZERO);
        let (mut outside, all) = (Duration::ZERO, Instant::now());
        let mut before = Duration::ZERO;
        for _ in 0..5 {
            meter.begin(epoch);
            spin(step);
            let within = meter.ran(epoch);
            assert!(within >= before + step, "{within:?}");
            meter.end(epoch);
            before = meter.ran(epoch);
            assert!(before >= within);
            let idle = Instant::now();
            spin(step);
            assert_eq!(meter.ran(epoch), before, "nothing runs");
            outside += idle.elapsed();
        }
        assert!(before <= all.elapsed().checked_sub(outside).unwrap());
    }
}
