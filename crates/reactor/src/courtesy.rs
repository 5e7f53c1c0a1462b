//! Whether to let others have the core before the loop sleeps.
//!
//! Where more threads want to run than there are cores, a loop that sleeps as soon as it finds
//! nothing is woken for nearly every message: whoever sends it pays for the wake-up, and the loop
//! for two changes of thread around one read and one write. Giving the core away without sleeping
//! lets the others, such as the next worker or a client on the same machine, run first. What they
//! send meanwhile is found in one go.
//!
//! It pays only if somebody waits for this very core and gives it back soon, which nobody can be
//! asked. So it is tried, and the time it takes tells:
//!
//! - next to nothing: nobody waited, and a system call was wasted;
//! - more, up to [`LONG`]: somebody ran, and most likely for us;
//! - longer: somebody who has work of their own. Sleeping would have been better, because the
//!   system prefers threads that wake up to those that have been running.

use std::time::Duration;

/// The core comes back faster than this when nobody else wants it: two changes of thread with
/// somebody's work between them take longer.
const UNWANTED: Duration = Duration::from_micros(3);

/// Who keeps the core for longer is no worker that answers a few dozen messages (some 5 µs each),
/// but one that uses up what the system gives it at a time: 1.4 ms and more with Linux's default
/// settings on two cores.
const LONG: Duration = Duration::from_millis(1);

/// The longest pause after offers that nobody took: short, because they cost a microsecond and
/// threads move between cores all the time.
const LONGEST_UNWANTED: u32 = 16;

/// The first pause after an offer that took long.
const FIRST_LONG: u32 = 16;

/// The longest pause, beside programs that never stop computing: an offer costs some milliseconds
/// then, which so few of them leave out of the 99.9th percentile.
const LONGEST: u32 = 4096;

/// Decides when the core is offered, and learns from what came of it.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    /// Sleeps that begin without an offer from now on.
    skip: u32,
    /// How many these were after the last offer.
    pause: u32,
}

impl Courtesy {
    /// Whether to make an offer before this sleep.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        due
    }

    /// An offer was made and the core was away for `period`. Tells whether it was taken.
    pub(crate) fn offered(&mut self, period: Duration) -> bool {
        self.pause = if period > LONG {
            (self.pause * 2).clamp(FIRST_LONG, LONGEST)
        } else if period >= UNWANTED || self.pause > LONGEST_UNWANTED {
            self.pause / 2
        } else {
            (self.pause * 2 + 1).min(LONGEST_UNWANTED)
        };
        self.skip = self.pause;
        period >= UNWANTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(100);
    const AT_ONCE: Duration = Duration::from_nanos(500);
    const LATE: Duration = Duration::from_millis(3);

    /// How many of so many sleeps begin with an offer that takes `period`.
    fn offers(courtesy: &mut Courtesy, sleeps: u32, period: Duration) -> u32 {
        (0..sleeps)
            .filter(|_| {
                let due = courtesy.is_due();
                if due {
                    courtesy.offered(period);
                }
                due
            })
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn offers_that_are_taken_go_on() {
        let mut courtesy = Courtesy::default();
        assert_eq!(offers(&mut courtesy, 1000, SOON), 1000);
    }

    #[test]
    fn offers_that_nobody_takes_become_few_and_never_none() {
        let mut courtesy = Courtesy::default();
        let made = offers(&mut courtesy, 10_000, AT_ONCE);
        assert!((500..700).contains(&made), "{made}");
        // Once somebody takes one, they are back within a few dozen sleeps.
        let made = offers(&mut courtesy, 1000, SOON);
        assert!(made > 960, "{made}");
    }

    #[test]
    fn offers_that_take_long_become_rare() {
        let mut courtesy = Courtesy::default();
        offers(&mut courtesy, 10_000, LATE);
        let made = offers(&mut courtesy, 1_000_000, LATE);
        assert!((1..=1_000_000 / 4096 + 1).contains(&made), "{made}");
        // Neither is forgotten at the first offer that goes well.
        let made = offers(&mut courtesy, 5000, SOON);
        assert!(made < 10, "{made}");
        offers(&mut courtesy, 10_000, SOON);
        assert_eq!(offers(&mut courtesy, 1000, SOON), 1000);
    }

    /// A long one now and then, which even the fairest neighbours cause, is no reason to stop.
    #[test]
    fn one_long_offer_among_many_costs_little() {
        let mut courtesy = Courtesy::default();
        let mut made = 0;
        for _ in 0..100 {
            made += offers(&mut courtesy, 1000, SOON);
            while !courtesy.is_due() {}
            assert!(courtesy.offered(LATE));
        }
        assert!(made > 80_000, "{made}");
    }
}
