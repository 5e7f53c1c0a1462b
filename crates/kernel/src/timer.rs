//! The timers of one worker: what is to be done at a time, for a process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::Pid;
use crate::worker::WorkerId;

/// Refers to a timer that was set, for [`Ctx::cancel`](crate::Ctx::cancel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerRef {
    /// Workers count for themselves, so the number alone would not be unique.
    pub(crate) worker: WorkerId,
    pub(crate) serial: u64,
}

impl TimerRef {
    /// Of a process that is ending, which sets none.
    pub(crate) fn never(worker: WorkerId) -> Self {
        Self { worker, serial: 0 }
    }
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

    /// Drops it when what it was for has come about.
    pub(crate) fn settle(self) {
        if let Self::Expire(deadline) = self {
            deadline.settle();
        }
    }

    pub(crate) fn fire(self) {
        match self {
            Self::Call(f) => f(),
            Self::Expire(deadline) => {
                if let Some(of) = &deadline.0 {
                    of.expire();
                }
            }
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
pub(crate) struct Deadline(Option<Arc<dyn Expire>>);

impl Deadline {
    pub(crate) fn new(of: Arc<dyn Expire>) -> Self {
        Self(Some(of))
    }

    /// What has it is over: nothing is to be closed any more.
    fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(of) = &self.0 {
            of.close();
        }
    }
}

/// Two ordered maps, by time and by owner: setting, cancelling and firing cost a logarithm, and nothing
/// is left behind of a cancelled timer. A wheel would save some nanoseconds and bring tombstones or
/// coarse ticks.
///
/// A timer that fires stays noted until whoever carries it out strikes it off: whether it is noted
/// decides between that, a cancel, and its owner's end.
#[derive(Default)]
pub(crate) struct Timers {
    armed: BTreeMap<(Instant, u64), Action>,
    /// All that are set, each with its time: those that just fire are not armed any more.
    noted: BTreeMap<(Pid, u64), Instant>,
    last_serial: u64,
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("armed", &self.armed.len())
            .field("noted", &self.noted.len())
            .finish_non_exhaustive()
    }
}

impl Timers {
    /// Sets a timer, and gives out its serial. The action is made for it.
    pub(crate) fn arm(&mut self, owner: Pid, at: Instant, make: impl FnOnce(u64) -> Action) -> u64 {
        self.last_serial += 1;
        let serial = self.last_serial;
        self.noted.insert((owner, serial), at);
        self.armed.insert((at, serial), make(serial));
        serial
    }

    /// Arms a timer again that has fired. The action comes back if it was struck off meanwhile.
    pub(crate) fn renew(
        &mut self,
        owner: Pid,
        serial: u64,
        at: Instant,
        action: Action,
    ) -> Result<(), Action> {
        let Some(noted) = self.noted.get_mut(&(owner, serial)) else {
            return Err(action);
        };
        *noted = at;
        self.armed.insert((at, serial), action);
        Ok(())
    }

    /// Strikes a timer off. `None` if it is not noted; its action, if it was not just firing.
    pub(crate) fn strike(&mut self, owner: Pid, serial: u64) -> Option<Option<Action>> {
        let at = self.noted.remove(&(owner, serial))?;
        Some(self.armed.remove(&(at, serial)))
    }

    pub(crate) fn is_noted(&self, owner: Pid, serial: u64) -> bool {
        self.noted.contains_key(&(owner, serial))
    }

    /// Strikes off all of an owner's, and gives out what they would have done.
    pub(crate) fn strike_all(&mut self, owner: Pid) -> Vec<Action> {
        let of_owner = self.noted.range((owner, 0)..=(owner, u64::MAX));
        let serials: Vec<_> = of_owner.map(|((_, serial), _)| *serial).collect();
        let actions = serials.iter().map(|serial| self.strike(owner, *serial));
        actions.flatten().flatten().collect()
    }

    /// How many of an owner's there are.
    pub(crate) fn count_of(&self, owner: Pid) -> usize {
        self.noted.range((owner, 0)..=(owner, u64::MAX)).count()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.armed.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Takes what one timer that is due does. It stays noted.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Action> {
        let first = self.armed.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(crate) fn len(&self) -> usize {
        self.noted.len()
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
    use crate::id::{Counter, Pid};

    fn pids() -> (Pid, Pid) {
        let counter = Counter::new();
        (counter.next_pid(), counter.next_pid())
    }

    #[test]
    fn the_earliest_goes_first_and_equals_in_the_order_of_setting() {
        let (mut timers, now, (owner, other)) = (Timers::default(), Instant::now(), pids());
        let (fire, fired) = mpsc::channel();
        let set = [3, 1, 2, 1, 0, 3].map(|delay| {
            let at = now + Duration::from_secs(delay);
            let fire = fire.clone();
            timers.arm(owner, at, |serial| {
                Action::call(move || fire.send(serial).unwrap())
            })
        });
        assert!(timers.strike(other, set[2]).is_none(), "it is another's");
        assert!(matches!(timers.strike(owner, set[2]), Some(Some(_))));
        assert!(timers.strike(owner, set[2]).is_none());
        assert_eq!(timers.next(), Some(now));
        let until = now + Duration::from_secs(2);
        while let Some(action) = timers.pop_due(until) {
            action.fire();
        }
        let order: Vec<_> = fired.try_iter().collect();
        assert_eq!(order, [set[4], set[1], set[3]]);
        // Those that have fired are noted until whoever carried them out strikes them off.
        assert_eq!((timers.count_of(owner), timers.count_of(other)), (5, 0));
        for serial in order {
            assert!(matches!(timers.strike(owner, serial), Some(None)));
        }
        assert_eq!(timers.len(), 2);
    }

    #[test]
    fn an_owners_timers_end_together_and_no_others() {
        let (mut timers, now, (owner, other)) = (Timers::default(), Instant::now(), pids());
        let idle = |_| Action::call(|| ());
        let mine: Vec<_> = (0..3).map(|_| timers.arm(owner, now, idle)).collect();
        let its = timers.arm(other, now, idle);
        let fires = timers.pop_due(now).unwrap();
        assert_eq!(timers.strike_all(owner).len(), 2, "one just fires");
        assert!(mine.iter().all(|serial| !timers.is_noted(owner, *serial)));
        assert!(timers.is_noted(other, its));
        let renewed = timers.renew(owner, mine[0], now, fires);
        assert!(renewed.is_err(), "its owner has ended");
        let fires = timers.pop_due(now).unwrap();
        assert!(timers.next().is_none());
        assert!(timers.renew(other, its, now, fires).is_ok());
        assert_eq!((timers.next(), timers.len()), (Some(now), 1));
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
