//! The watchdog: notices a handler that blocks, and has its worker driven by a spare thread. As it
//! looks at the workers anyway, it also has those share a thread that are better off so.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::compaction::{Compaction, Order};
use crate::sync::lock;
use crate::worker::{Home, Worker};

/// After this many looks without any change the watchdog sleeps until a process runs again, so
/// that an idle node has no wake-ups at all, and one that is busy now and then has few.
const QUIET_LOOKS: u32 = 100;

/// How many looks in a row must find the same handler at the same message.
const STUCK_LOOKS: u32 = 2;

/// The shortest time between two looks, whatever the threshold: a watchdog that only looks would
/// take a core.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

/// Looks at the workers every so often. It costs a worker one store a message, and one a run for
/// what is counted.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    /// Set while it sleeps without a time limit; whoever clears it rings.
    asleep: AtomicBool,
    stopped: Mutex<bool>,
    bell: Condvar,
}

impl Watchdog {
    /// Starts watching. A handler is stuck when it has run for longer than `threshold`; that is
    /// noticed after at most one and a half times as long.
    pub(crate) fn start(
        self: &Arc<Self>,
        workers: Vec<Arc<Worker>>,
        threshold: Duration,
        compaction: bool,
    ) -> io::Result<()> {
        let dog = Arc::clone(self);
        let pause = (threshold / STUCK_LOOKS).max(SHORTEST_PAUSE);
        let housing = (compaction && workers.len() > 1).then(Compaction::new);
        thread::Builder::new()
            .name("socktree-watchdog".into())
            .spawn(move || dog.watch(&workers, pause, housing))
            .map(|_handle| ())
    }

    pub(crate) fn stop(&self) {
        *lock(&self.stopped) = true;
        self.bell.notify_all();
    }

    /// A process is about to run. The caller has just published its progress.
    ///
    /// The fence is for the first run of a worker's turn. Between that and the next ones there is
    /// no time in which the watchdog could look [`QUIET_LOOKS`] times and fall asleep.
    #[inline]
    pub(crate) fn notice(&self, is_first: bool) {
        if is_first {
            fence(Ordering::SeqCst);
        }
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // Under the lock, or the ring could fall between the watchdog's look and its wait.
            let _stopped = lock(&self.stopped);
            self.bell.notify_all();
        }
    }

    fn watch(&self, workers: &[Arc<Worker>], pause: Duration, mut housing: Option<Compaction>) {
        let mut looks = Looks::new(workers.len());
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            let may_sleep = looks.quiet >= QUIET_LOOKS && {
                self.asleep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                looks.found_all_at_rest(|index| workers[index].progress())
            };
            stopped = if may_sleep {
                if let Some(compaction) = &mut housing {
                    compaction.forget();
                }
                let asleep = |stopped: &mut bool| !*stopped && self.asleep.load(Ordering::Acquire);
                self.bell
                    .wait_while(stopped, asleep)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                // Also beside a handler that is stuck for good, because no thread is to be had:
                // the lock must be let go of, or the next to ring or to stop us waits for ever.
                self.asleep.store(false, Ordering::Relaxed);
                self.bell
                    .wait_timeout(stopped, pause)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            };
            self.asleep.store(false, Ordering::Relaxed);
            for (index, progress) in looks.look_at(workers) {
                if index == 0 && looks.a_guest_has_gone_on(workers) {
                    continue;
                }
                let worker = &workers[index];
                // To be asked before it has a thread of its own.
                let shares = shares_thread(workers, worker);
                if worker.displace_if_stuck_at(progress) {
                    log::debug!(
                        "{} goes on under another thread: a handler blocks",
                        worker.id
                    );
                    if let Some(compaction) = housing.as_mut().filter(|_| shares) {
                        part(workers, compaction);
                    }
                }
            }
            if let Some(compaction) = &mut housing {
                house(workers, compaction);
            }
        }
    }
}

/// What the watchdog has seen so far: of each worker its progress, which is odd while a handler runs,
/// and how many looks in a row have found just that.
pub(crate) struct Looks {
    workers: Vec<(u64, u32)>,
    /// How many looks in a row have found no change at all.
    quiet: u32,
}

impl Looks {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: vec![(0, 0); workers],
            quiet: 0,
        }
    }

    /// Whether nothing runs, and nothing has since the last look.
    fn found_all_at_rest(&self, progress: impl Fn(usize) -> u64) -> bool {
        let mut seen = self.workers.iter().enumerate();
        seen.all(|(index, &(before, _))| before % 2 == 0 && progress(index) == before)
    }

    /// Looks at all of them. Gives out those that are stuck, and where. The host comes first: should
    /// there be one thread only, then all go on but the one whose handler blocks.
    pub(crate) fn look_at(&mut self, workers: &[Arc<Worker>]) -> Vec<(usize, u64)> {
        let with_host = |index: usize| workers[index].is_driven_with(&workers[0]);
        self.look(|index| workers[index].progress(), with_host)
    }

    /// Whether a guest has gone on since the last look, so that its host is not stuck any more.
    fn a_guest_has_gone_on(&self, workers: &[Arc<Worker>]) -> bool {
        let mut guests = workers.iter().zip(&self.workers).skip(1);
        guests.any(|(worker, &(before, _))| {
            worker.progress() != before && worker.is_driven_with(&workers[0])
        })
    }

    /// The first is the host of those that are driven by its thread. It waits for them, and is not
    /// stuck as long as one of them goes on.
    fn look(
        &mut self,
        progress: impl Fn(usize) -> u64,
        with_host: impl Fn(usize) -> bool,
    ) -> Vec<(usize, u64)> {
        self.quiet = self.quiet.saturating_add(1);
        let mut stuck = Vec::new();
        let mut guest_goes_on = false;
        // The host last, when it is known what its guests do.
        for (index, (before, looks)) in self.workers.iter_mut().enumerate().rev() {
            let now = progress(index);
            let goes_on = now != *before;
            guest_goes_on |= goes_on && with_host(index);
            if goes_on || index == 0 && guest_goes_on {
                (*before, *looks, self.quiet) = (now, 0, 0);
                continue;
            }
            *looks = looks.saturating_add(1);
            // Ever more seldom, should there be no thread to be had.
            let due = *looks >= STUCK_LOOKS && looks.is_power_of_two();
            if due && now % 2 == 1 {
                stuck.push((index, now));
            }
        }
        stuck.reverse();
        stuck
    }
}

/// Has workers share a thread, or no longer, as it turns out to be better.
fn house(workers: &[Arc<Worker>], compaction: &mut Compaction) {
    let now = Instant::now();
    if !compaction.is_due(now) {
        return;
    }
    let counts = workers.iter().map(|worker| worker.count()).collect();
    match compaction.look(now, counts) {
        Some(Order::MoveIn(index)) => {
            let host = &workers[0];
            log::debug!("{} gets the thread of {}", workers[index].id, host.id);
            workers[index].move_to(Arc::clone(host));
        }
        Some(Order::MoveOut(index)) => {
            log::debug!("{} gets a thread of its own", workers[index].id);
            workers[index].move_out();
        }
        None => {}
    }
}

/// Whether the thread that drives this worker drives others too.
fn shares_thread(workers: &[Arc<Worker>], worker: &Worker) -> bool {
    let is_guest = |worker: &Worker| worker.home() == Home::Host;
    let is_host = worker.id == workers[0].id;
    is_guest(worker) || is_host && workers.iter().any(|worker| is_guest(worker))
}

/// A handler blocks, whose thread several workers share: they wait for it, so each gets a thread
/// of its own again.
fn part(workers: &[Arc<Worker>], compaction: &mut Compaction) {
    compaction.is_blocked(Instant::now());
    // Also those that have only been told to move in.
    for worker in &workers[1..] {
        worker.move_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: [bool; 3] = [false; 3];
    const GUEST: [bool; 3] = [false, false, true];

    /// Where the watchdog finds workers stuck that it sees like this, look by look.
    fn stuck(looks: &[[u64; 3]], with_host: [bool; 3]) -> Vec<Vec<(usize, u64)>> {
        let mut watch = Looks::new(3);
        let look = |seen: &[u64; 3]| watch.look(|index| seen[index], |index| with_host[index]);
        looks.iter().map(look).collect()
    }

    #[test]
    fn a_handler_that_stays_at_one_message_is_stuck() {
        let looks = [[2, 3, 2], [2, 3, 4], [2, 3, 6]];
        assert_eq!(stuck(&looks, ALONE), [vec![], vec![], vec![(1, 3)]]);
    }

    #[test]
    fn one_that_goes_on_is_not() {
        let looks = [[3, 0, 0], [5, 0, 0], [5, 0, 0], [7, 0, 0], [7, 0, 0]];
        assert!(stuck(&looks, ALONE).concat().is_empty());
    }

    /// Without a thread for it, it stays, and is asked for ever more seldom.
    #[test]
    fn it_is_told_ever_more_seldom() {
        let told = stuck(&[[1, 0, 0]; 18], ALONE);
        let told = told.iter().enumerate().filter(|told| !told.1.is_empty());
        assert_eq!(told.map(|told| told.0).collect::<Vec<_>>(), [2, 4, 8, 16]);
    }

    /// The host waits for its guest, which handles message after message.
    #[test]
    fn a_guests_messages_are_progress_of_its_host() {
        let looks = [[3, 0, 1], [3, 0, 3], [3, 0, 5], [3, 0, 7], [3, 0, 9]];
        assert!(stuck(&looks, GUEST).concat().is_empty());
        let told = stuck(&looks, ALONE);
        assert_eq!(told[2], [(0, 3)], "a neighbour's are not");
    }

    /// The thread is stuck at the guest's handler: both want another.
    #[test]
    fn a_guest_that_is_stuck_takes_its_host_along() {
        let looks = [[3, 0, 7], [3, 1, 7], [3, 3, 7]];
        assert_eq!(stuck(&looks, GUEST)[2], [(0, 3), (2, 7)]);
    }

    #[test]
    fn only_when_nothing_runs_all_are_at_rest() {
        let mut watch = Looks::new(2);
        let rest = |watch: &Looks, seen: [u64; 2]| watch.found_all_at_rest(|index| seen[index]);
        watch.look(|index| [4, 6][index], |_| false);
        assert!(rest(&watch, [4, 6]));
        assert!(!rest(&watch, [4, 7]), "one has begun just now");
        watch.look(|index| [4, 7][index], |_| false);
        assert!(!rest(&watch, [4, 7]), "one is at work");
    }
}
