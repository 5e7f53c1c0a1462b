//! Decides which workers share a thread: compaction of load, as Erlang's schedulers do it.
//!
//! Where more threads want to run than there are cores, each that is added costs: loops that find
//! little to do sleep often, and are woken for nearly every message. One that drives two workers
//! finds twice as much whenever it looks. Where cores are free, a second thread is worth having as
//! soon as the first has much to do. Neither shows in advance, so it is tried, and the messages that
//! are handled tell:
//!
//! - While cores are short, a worker moves in with the first one. It stays if about as much gets
//!   done as when each had a thread of its own: then a thread was saved.
//! - Now and then a guest moves out. It stays out if clearly more gets done, or, if the thread that
//!   it shared found no time to sleep, not less.
//!
//! What was tried in vain is tried again ever more seldom. Everything here is told the time and
//! what was counted, so that it can be judged without threads.

use std::time::{Duration, Instant};

use crate::driver::Bustle;
use crate::worker::Home;

/// What is counted is looked at this often, if the node has anything to do.
const WINDOW: Duration = Duration::from_millis(50);

/// How many windows a trial is watched for. The first after a move is left out.
const WATCHED: u32 = 2;

/// Cores are short if each of our threads finds so often in a second that another wants its core. Where
/// they are not, that happens when the system has something to do of its own.
const CROWDED: f64 = 150.0;

/// A thread is full if it sleeps less often than this in a second.
const FULL: f64 = 100.0;

/// A worker moves in only if it handles this share of all messages: else nothing would be gained.
const ACTIVE: f64 = 0.05;

/// What must get done, in proportion to when each had a thread of its own, for a worker to stay its
/// host's guest.
const KEPT: f64 = 0.95;

/// What must get done with one more thread for it to be worth having.
const WORTH: f64 = 1.1;
const _: () = assert!(KEPT * WORTH >= 1.0, "what was lost can be won back");

/// How long the next trial waits after one in vain; each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// What a worker has counted since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) home: Home,
    pub(crate) messages: u64,
    pub(crate) bustle: Bustle,
}

/// What a worker is to do; by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Be driven by the first worker's thread.
    MoveIn(usize),
    /// Be driven by a thread of its own.
    MoveOut(usize),
}

impl Order {
    fn is_carried_out(self, counts: &[Count]) -> bool {
        match self {
            Self::MoveIn(index) => counts[index].home == Home::Host,
            Self::MoveOut(index) => counts[index].home != Home::Host,
        }
    }

    fn undone(self) -> Self {
        match self {
            Self::MoveIn(index) => Self::MoveOut(index),
            Self::MoveOut(index) => Self::MoveIn(index),
        }
    }
}

pub(crate) struct Compaction {
    last: Option<(Instant, Vec<Count>)>,
    trial: Option<Trial>,
    /// Messages in a second when each worker had a thread of its own the last time; more, if there
    /// have been more since.
    apart: f64,
    move_in: Pause,
    move_out: Pause,
}

/// A move that may be undone.
struct Trial {
    order: Order,
    /// Messages in a second that there must be.
    wanted: f64,
    /// And with which it is clearly better than before.
    better: f64,
    /// Windows since.
    age: u32,
    /// What was seen in the windows that count.
    sum: Seen,
}

/// What happened in one or more windows.
#[derive(Clone, Copy, Default)]
struct Seen {
    time: Duration,
    messages: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.time += other.time;
        self.messages += other.messages;
    }

    fn rate(&self) -> f64 {
        per_second(self.messages, self.time)
    }
}

/// When something may be tried again.
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            length: FIRST_PAUSE,
            until: None,
        }
    }
}

impl Pause {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    fn begin(&mut self, now: Instant) {
        self.until = now.checked_add(self.length);
    }

    /// It was tried in vain.
    fn lengthen(&mut self, now: Instant) {
        self.begin(now);
        self.length = (self.length * 2).min(LONGEST_PAUSE);
    }

    /// It was tried, and is better.
    fn shorten(&mut self) {
        self.until = None;
        self.length = (self.length / 2).max(FIRST_PAUSE);
    }

    fn lengthen_to_the_longest(&mut self, now: Instant) {
        self.length = LONGEST_PAUSE;
        self.lengthen(now);
    }
}

impl Compaction {
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            trial: None,
            apart: 0.0,
            move_in: Pause::default(),
            move_out: Pause::default(),
        }
    }

    /// Whether a window is over, and it is time to [`look`](Self::look).
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let last = self.last.as_ref();
        last.is_none_or(|(then, _)| now.saturating_duration_since(*then) >= WINDOW)
    }

    /// What the workers have counted until now; the first is the host of all guests.
    pub(crate) fn look(&mut self, now: Instant, counts: Vec<Count>) -> Option<Order> {
        let (then, before) = self.last.replace((now, counts))?;
        let time = now.saturating_duration_since(then);
        let counts = self.last.as_ref().map(|(_, counts)| counts.clone())?;
        if time.is_zero() {
            return None;
        }
        let messages: Vec<u64> = counts
            .iter()
            .zip(&before)
            .map(|(now, then)| now.messages.saturating_sub(then.messages))
            .collect();
        let seen = Seen {
            time,
            messages: messages.iter().sum(),
        };
        if self.trial.is_some() {
            return self.judge(now, seen, &counts);
        }
        let rate = seen.rate();
        let are_apart = counts.iter().all(|count| count.home != Home::Host);
        self.apart = if are_apart {
            rate
        } else {
            self.apart.max(rate)
        };
        let per_second = |what: fn(&Bustle) -> u64, index: usize| {
            let more = what(&counts[index].bustle).saturating_sub(what(&before[index].bustle));
            per_second(more, time)
        };
        let moves_in = || {
            let threads = threads(&counts, &messages);
            let crowded: f64 = threads.iter().map(|&i| per_second(|b| b.crowded, i)).sum();
            let wanted = KEPT * self.apart;
            (crowded >= CROWDED * threads.len() as f64)
                .then(|| Some((move_in(&counts, &messages, &threads)?, wanted)))
                .flatten()
        };
        let moves_out = || {
            let is_full = per_second(|b| b.sleeps, 0) < FULL;
            let wanted = if is_full { rate } else { WORTH * rate };
            Some((move_out(&counts, &messages)?, wanted))
        };
        let (order, wanted) = (self.move_in.is_over(now).then(moves_in).flatten())
            .or_else(|| self.move_out.is_over(now).then(moves_out).flatten())?;
        // What would undo it is not tried at once.
        match order {
            Order::MoveIn(_) => self.move_out.begin(now),
            Order::MoveOut(_) => self.move_in.begin(now),
        }
        self.trial = Some(Trial {
            order,
            wanted,
            better: WORTH * rate,
            age: 0,
            sum: Seen::default(),
        });
        Some(order)
    }

    fn judge(&mut self, now: Instant, seen: Seen, counts: &[Count]) -> Option<Order> {
        let trial = self.trial.as_mut()?;
        trial.age += 1;
        if trial.age > 1 {
            trial.sum.add(seen);
        }
        if trial.age <= WATCHED {
            return None;
        }
        let Trial {
            order,
            wanted,
            better,
            sum,
            ..
        } = self.trial.take()?;
        let (pause, opposite) = match order {
            Order::MoveIn(_) => (&mut self.move_in, &mut self.move_out),
            Order::MoveOut(_) => (&mut self.move_out, &mut self.move_in),
        };
        if !order.is_carried_out(counts) {
            // Its driver cannot, or a handler blocks now and then. Neither passes soon.
            pause.lengthen_to_the_longest(now);
            return None;
        }
        if sum.rate() >= wanted {
            if sum.rate() >= better {
                pause.shorten();
            } else {
                // As good as before. The way back would be as well, and so on for ever.
                opposite.lengthen(now);
            }
            return None;
        }
        pause.lengthen(now);
        Some(order.undone())
    }

    /// Nothing was to be done for a while, and nobody looked.
    pub(crate) fn forget(&mut self) {
        self.last = None;
        self.trial = None;
        self.apart = 0.0;
    }

    /// A handler has blocked the thread that drives several workers: this is none to be shared.
    pub(crate) fn is_blocked(&mut self, now: Instant) {
        self.trial = None;
        self.move_in.lengthen_to_the_longest(now);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates are compared, not counted"
)]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The workers whose threads have something to do: their own, or, for the host's, a guest's.
fn threads(counts: &[Count], messages: &[u64]) -> Vec<usize> {
    let has_work = |index: usize| {
        let guests = || (1..counts.len()).any(|i| counts[i].home == Home::Host && messages[i] > 0);
        is_active(messages, index) || (index == 0 && guests())
    };
    (0..counts.len())
        .filter(|&index| counts[index].home != Home::Host && has_work(index))
        .collect()
}

/// The worker with the least to do, of those that have a thread of their own for it, unless that
/// is the only one.
fn move_in(counts: &[Count], messages: &[u64], threads: &[usize]) -> Option<Order> {
    let may_move = |index: &usize| *index > 0 && counts[*index].home == Home::Own;
    let least = threads
        .iter()
        .copied()
        .filter(may_move)
        .min_by_key(|&index| messages[index])?;
    (threads.len() > 1).then_some(Order::MoveIn(least))
}

/// The guest with the most to do.
fn move_out(counts: &[Count], messages: &[u64]) -> Option<Order> {
    (1..counts.len())
        .filter(|&index| counts[index].home == Home::Host && messages[index] > 0)
        .max_by_key(|&index| messages[index])
        .map(Order::MoveOut)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shares are compared, not counted"
)]
fn is_active(messages: &[u64], index: usize) -> bool {
    let all: u64 = messages.iter().sum();
    messages[index] > 0 && messages[index] as f64 >= ACTIVE * all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that answers the orders, as far as the policy can see it.
    struct Machine {
        now: Instant,
        counts: Vec<Count>,
        compaction: Compaction,
        orders: Vec<Order>,
        /// Of each thread in a window.
        sleeps: u64,
    }

    impl Machine {
        fn with(workers: usize) -> Self {
            let count = Count {
                home: Home::Own,
                messages: 0,
                bustle: Bustle::default(),
            };
            Self {
                now: Instant::now(),
                counts: vec![count; workers],
                compaction: Compaction::new(),
                orders: Vec::new(),
                sleeps: 100,
            }
        }

        fn threads(&self) -> usize {
            let own = |count: &&Count| count.home != Home::Host;
            self.counts.iter().filter(own).count()
        }

        /// So many windows, each of which brings each worker `messages(threads)`, and `crowded(threads)`
        /// threads that wanted a core.
        fn run(
            &mut self,
            windows: u32,
            messages: impl Fn(usize) -> u64,
            crowded: impl Fn(usize) -> u64,
        ) {
            for _ in 0..windows {
                self.now += WINDOW;
                let threads = self.threads();
                for count in &mut self.counts {
                    count.messages += messages(threads);
                    if count.home != Home::Host {
                        count.bustle.crowded += crowded(threads);
                        count.bustle.sleeps += self.sleeps;
                    }
                }
                assert!(self.compaction.is_due(self.now));
                let Some(order) = self.compaction.look(self.now, self.counts.clone()) else {
                    continue;
                };
                self.orders.push(order);
                match order {
                    Order::MoveIn(index) if self.counts[index].home == Home::Own => {
                        assert_ne!(index, 0, "the host stays at home");
                        self.counts[index].home = Home::Host;
                    }
                    Order::MoveOut(index) => {
                        assert_eq!(self.counts[index].home, Home::Host);
                        self.counts[index].home = Home::Own;
                    }
                    Order::MoveIn(_) => {}
                }
            }
        }
    }

    const SECOND: u32 = 20;

    #[test]
    fn where_cores_are_free_everyone_keeps_a_thread() {
        let mut machine = Machine::with(4);
        machine.run(100 * SECOND, |_| 1000, |_| 7);
        assert_eq!(machine.orders, []);
    }

    #[test]
    fn where_cores_are_short_one_thread_drives_all() {
        let mut machine = Machine::with(3);
        // Each thread more makes things worse.
        let messages = |threads| 1000 - 200 * threads as u64;
        let crowded = |threads| 100 * (threads as u64 - 1);
        machine.run(2 * SECOND, messages, crowded);
        assert_eq!(machine.threads(), 1);
        // A second one is tried now and then, ever more seldom, for some windows each.
        machine.orders.clear();
        machine.run(300 * SECOND, messages, crowded);
        assert_eq!(machine.threads(), 1);
        let trials = machine.orders.len() / 2;
        assert!((10..20).contains(&trials), "{trials}");
    }

    #[test]
    fn a_thread_that_is_worth_having_is_kept() {
        let mut machine = Machine::with(2);
        let crowded = |_| 100;
        machine.run(SECOND, |_| 1000, crowded);
        assert_eq!(machine.threads(), 1, "one does as well as two");
        // There is more to do now, and two get more done.
        machine.run(5 * SECOND, |threads| 1000 * threads as u64, crowded);
        assert_eq!(machine.threads(), 2);
        // Beside others that want the cores, one is tried ever more seldom.
        machine.orders.clear();
        machine.run(300 * SECOND, |threads| 1000 * threads as u64, crowded);
        assert_eq!(machine.threads(), 2);
        let trials = machine.orders.len() / 2;
        assert!((10..20).contains(&trials), "{trials}");
    }

    /// One thread nearly keeps up with what comes in, and no more comes: a second one could not get
    /// more done, and is needed all the same.
    #[test]
    fn a_full_thread_is_not_shared_for_ever() {
        let mut machine = Machine::with(2);
        machine.run(SECOND, |_| 1000, |_| 100);
        assert_eq!(machine.threads(), 1);
        let messages = |threads| if threads == 1 { 975 } else { 1000 };
        machine.sleeps = 0;
        machine.run(5 * SECOND, messages, |_| 0);
        assert_eq!(machine.threads(), 2);
        machine.orders.clear();
        machine.run(100 * SECOND, messages, |_| 0);
        assert_eq!(machine.orders, []);
    }

    /// One is as good as two, and has no time to sleep: each move is worth keeping, and none worth
    /// making.
    #[test]
    fn who_is_well_either_way_moves_seldom() {
        let mut machine = Machine::with(2);
        machine.sleeps = 0;
        machine.run(300 * SECOND, |_| 1000, |_| 100);
        assert!(machine.orders.len() < 30, "{}", machine.orders.len());
    }

    /// What each move loses is little, and all of them together much.
    #[test]
    fn small_losses_do_not_add_up() {
        let mut machine = Machine::with(8);
        machine.run(
            100 * SECOND,
            |threads| 1000 - 40 * (8 - threads as u64),
            |_| 100,
        );
        assert!(machine.threads() >= 6, "{}", machine.threads());
    }

    #[test]
    fn who_has_nothing_to_do_stays_where_it_is() {
        let mut machine = Machine::with(3);
        for _ in 0..10 * SECOND {
            machine.counts[1].messages += 1000;
            machine.run(1, |_| 0, |_| 100);
        }
        assert_eq!(machine.orders, [], "one thread has all the work anyway");
        machine.run(10 * SECOND, |_| 0, |_| 100);
        assert_eq!(machine.orders, [], "and then there is none");
    }

    #[test]
    fn the_one_with_the_least_to_do_moves_first() {
        let mut machine = Machine::with(4);
        for _ in 0..5 {
            machine.counts[1].messages += 200;
            machine.counts[3].messages += 100;
            machine.run(1, |_| 300, |_| 100);
        }
        assert_eq!(machine.orders.first(), Some(&Order::MoveIn(2)));
    }

    #[test]
    fn a_worker_that_cannot_move_is_not_asked_again() {
        let mut machine = Machine::with(2);
        machine.counts[1].home = Home::OwnForGood;
        machine.run(100 * SECOND, |_| 1000, |_| 100);
        assert_eq!(machine.orders, []);
    }

    #[test]
    fn who_moves_out_by_itself_is_left_alone_for_long() {
        let mut machine = Machine::with(2);
        machine.run(2, |_| 1000, |_| 100);
        assert_eq!(machine.orders, [Order::MoveIn(1)]);
        // A handler gave the thread away.
        machine.counts[1].home = Home::Own;
        machine.run(30 * SECOND, |_| 1000, |_| 100);
        assert_eq!(machine.orders.len(), 1);
        machine.run(5 * SECOND, |_| 1000, |_| 100);
        assert_eq!(machine.threads(), 1);
        // The same when a handler blocks later.
        machine.compaction.is_blocked(machine.now);
        machine.counts[1].home = Home::Own;
        machine.orders.clear();
        machine.run(30 * SECOND, |_| 1000, |_| 100);
        assert_eq!(machine.orders, []);
    }

    /// The time of a rest is no window, and a trial that it cut short is none.
    #[test]
    fn a_rest_is_not_judged() {
        let mut machine = Machine::with(2);
        machine.run(2, |_| 1000, |_| 100);
        assert_eq!(machine.threads(), 1);
        machine.compaction.forget();
        machine.now += WINDOW * 10;
        machine.run(4, |_| 10, |_| 0);
        assert_eq!(machine.orders.len(), 1, "it is not undone");
    }
}
