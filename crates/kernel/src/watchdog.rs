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
        let mut seen: Vec<(u64, u32)> = workers.iter().map(|w| (w.progress(), 0)).collect();
        let mut quiet = 0;
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            let may_sleep = quiet >= QUIET_LOOKS && {
                self.asleep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                let unchanged = |(worker, (before, _)): (&Arc<Worker>, &(u64, u32))| {
                    worker.progress() == *before && before % 2 == 0
                };
                workers.iter().zip(&seen).all(unchanged)
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
            quiet = quiet.saturating_add(1);
            for (worker, (before, looks)) in workers.iter().zip(&mut seen) {
                let progress = worker.progress();
                if progress != *before {
                    (*before, *looks, quiet) = (progress, 0, 0);
                    continue;
                }
                *looks = looks.saturating_add(1);
                // Ever more seldom, should there be no thread to be had.
                let due = *looks >= STUCK_LOOKS && looks.is_power_of_two();
                let stuck = progress % 2 == 1 && due;
                // To be asked before it has a thread of its own.
                let shares = stuck && shares_thread(workers, worker);
                if stuck && worker.displace_if_stuck_at(progress) {
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
