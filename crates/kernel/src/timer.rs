//! The timers of one worker: what is to be done at a time, for a process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::worker::WorkerId;

/// Refers to a timer that was set, for [`Ctx::cancel`](crate::Ctx::cancel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerRef {
    /// Workers count for themselves, so the number alone would not be unique.
    pub(crate) worker: WorkerId,
    pub(crate) serial: u64,
}

/// What a timer does when its time has come.
pub(crate) enum Action {
    Call(Box<dyn FnOnce() + Send>),
    /// Of a request, which needs no box for it.
    Expire(Deadline),
}

impl Action {
    pub(crate) fn call(f: impl FnOnce() + Send + 'static) -> Self {
        Self::Call(Box::new(f))
    }

    pub(crate) fn fire(self) {
        match self {
            Self::Call(f) => f(),
            Self::Expire(deadline) => deadline.0.expire(),
        }
    }
}

/// What has a deadline.
pub(crate) trait Expire: Send + Sync {
    /// The time has come.
    fn expire(&self);
    /// It will not come any more: it has, or the timer was cancelled, or its process has ended.
    fn close(&self);
}

/// Closes what has a deadline when it is dropped, fired or not.
pub(crate) struct Deadline(pub(crate) Arc<dyn Expire>);

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An ordered map: setting, cancelling and firing cost a logarithm, and nothing is left behind of
/// a cancelled timer. A wheel would save some nanoseconds and bring tombstones or coarse ticks.
#[derive(Default)]
pub(crate) struct Timers {
    armed: BTreeMap<(Instant, u64), Action>,
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("armed", &self.armed.len())
            .finish_non_exhaustive()
    }
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Instant, serial: u64, action: Action) {
        self.armed.insert((at, serial), action);
    }

    pub(crate) fn cancel(&mut self, at: Instant, serial: u64) -> Option<Action> {
        self.armed.remove(&(at, serial))
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.armed.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Takes one timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Action> {
        let first = self.armed.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(crate) fn len(&self) -> usize {
        self.armed.len()
    }
}

/// When a timer that was due at `due`, and now fires, does so next: a whole number of periods
/// after `due`, and after `now`. The ticks in between were missed. `None` beyond the end of time.
pub(crate) fn next_tick(due: Instant, period: Duration, now: Instant) -> Option<Instant> {
    let late = now.saturating_duration_since(due);
    let since_tick = late.as_nanos() % period.as_nanos().max(1);
    let since_tick = Duration::from_nanos(u64::try_from(since_tick).ok()?);
    now.max(due).checked_add(period.saturating_sub(since_tick))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::{Action, Timers, next_tick};

    #[test]
    fn the_earliest_goes_first_and_equals_in_the_order_of_setting() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let (fire, fired) = mpsc::channel();
        let delays = [3, 1, 2, 1, 0, 3];
        let mut serials = 0..;
        let set = delays.map(|delay| {
            let at = now + Duration::from_secs(delay);
            let (serial, fire) = (serials.next().unwrap(), fire.clone());
            timers.arm(at, serial, Action::call(move || fire.send(serial).unwrap()));
            (at, serial)
        });
        assert!(timers.cancel(set[2].0, set[2].1).is_some());
        assert!(timers.cancel(set[2].0, set[2].1).is_none());
        assert_eq!(timers.next(), Some(now));
        let until = now + Duration::from_secs(2);
        while let Some(action) = timers.pop_due(until) {
            action.fire();
        }
        let order: Vec<_> = fired.try_iter().collect();
        assert_eq!(order, [set[4].1, set[1].1, set[3].1]);
        assert_eq!(timers.len(), 2);
    }

    #[test]
    fn ticks_keep_their_rate_and_those_that_were_missed_are_dropped() {
        let due = Instant::now();
        let after = |millis| due + Duration::from_millis(millis);
        let next = |late| next_tick(due, Duration::from_millis(10), after(late));
        assert_eq!(next(0), Some(after(10)));
        assert_eq!(next(3), Some(after(10)), "no drift");
        assert_eq!(
            next(10),
            Some(after(20)),
            "the one that is due now is missed"
        );
        assert_eq!(next(99), Some(after(100)));
        assert_eq!(next_tick(due, Duration::MAX, due), None);
    }
}
