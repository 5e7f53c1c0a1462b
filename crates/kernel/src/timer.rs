//! The timers of one worker: what is to be done at a time, for a process.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// Refers to a timer that was set, for [`Ctx::cancel`](crate::Ctx::cancel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerRef {
    at: Instant,
    serial: u64,
}

/// What a timer does when its time has come.
pub(crate) type Action = Box<dyn FnOnce() + Send>;

/// An ordered map: setting, cancelling and firing cost a logarithm, and nothing is left behind of
/// a cancelled timer. A wheel would save some nanoseconds and bring tombstones or coarse ticks.
#[derive(Default)]
pub(crate) struct Timers {
    armed: BTreeMap<TimerRef, Action>,
    serial: u64,
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("armed", &self.armed.len())
            .finish_non_exhaustive()
    }
}

impl Timers {
    pub(crate) fn next_ref(&mut self, at: Instant) -> TimerRef {
        self.serial += 1;
        TimerRef {
            at,
            serial: self.serial,
        }
    }

    pub(crate) fn arm(&mut self, timer: TimerRef, action: Action) {
        self.armed.insert(timer, action);
    }

    pub(crate) fn cancel(&mut self, timer: TimerRef) -> Option<Action> {
        self.armed.remove(&timer)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.armed.first_key_value().map(|(timer, _)| timer.at)
    }

    /// Takes one timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Action> {
        let first = self.armed.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }

    pub(crate) fn len(&self) -> usize {
        self.armed.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::Timers;

    #[test]
    fn the_earliest_goes_first_and_equals_in_the_order_of_setting() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let (fire, fired) = mpsc::channel();
        let delays = [3, 1, 2, 1, 0, 3];
        let refs = delays.map(|delay| {
            let (timer, fire) = (
                timers.next_ref(now + Duration::from_secs(delay)),
                fire.clone(),
            );
            timers.arm(timer, Box::new(move || fire.send(timer).unwrap()));
            timer
        });
        assert!(timers.cancel(refs[2]).is_some());
        assert!(timers.cancel(refs[2]).is_none());
        assert_eq!(timers.next(), Some(now));
        let until = now + Duration::from_secs(2);
        while let Some(action) = timers.pop_due(until) {
            action();
        }
        let order: Vec<_> = fired.try_iter().collect();
        assert_eq!(order, [refs[4], refs[1], refs[3]]);
        assert_eq!(timers.len(), 2);
    }
}
