//! A handler that is taken for stuck while it returns, in every order that the threads can take:
//! run by `crates/kernel/loom/run.sh`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use super::{InHand, Wheel};
use crate::sync::seam::{Mutex, lock};

/// A process that has something to do twice.
#[derive(Default)]
struct Process {
    running: AtomicBool,
    runs: AtomicUsize,
}

impl Process {
    /// True if it is to be run again.
    fn run(&self) -> bool {
        let ran_already = self.running.swap(true, Ordering::AcqRel);
        assert!(!ran_already, "one run at a time");
        let before = self.runs.fetch_add(1, Ordering::AcqRel);
        self.running.store(false, Ordering::Release);
        before == 0
    }
}

/// A worker without a driver, whose threads end when they find nothing to run.
struct Worker {
    wheel: Wheel<VecDeque<Arc<Process>>>,
    /// What displaced threads leave.
    inbox: Mutex<Vec<Arc<Process>>>,
    /// The highest epoch that anybody has driven under.
    newest: AtomicU64,
}

impl Worker {
    fn with(processes: &[Arc<Process>]) -> Arc<Self> {
        Arc::new(Self {
            wheel: Wheel::new(processes.iter().map(Arc::clone).collect()),
            inbox: Mutex::new(Vec::new()),
            newest: AtomicU64::new(0),
        })
    }

    fn drives(&self, epoch: u64) {
        let newest = self.newest.fetch_max(epoch, Ordering::AcqRel);
        assert!(newest <= epoch, "nobody drives who was displaced");
    }

    /// As the kernel drives.
    fn drive(&self, epoch: u64) {
        let Some(mut queue) = self.wheel.take(epoch) else {
            return;
        };
        let mut progress = self.wheel.progress();
        assert_eq!(progress % 2, 0, "nothing runs yet");
        self.drives(epoch);
        loop {
            queue.extend(lock(&self.inbox).drain(..));
            let Some(process) = queue.pop_front() else {
                return;
            };
            drop(queue);
            self.wheel.set_progress(progress + 1);
            let again = process.run();
            let seen = self.wheel.progress();
            if !self.wheel.is_displaced(epoch) {
                assert_eq!(seen, progress + 1, "the watchdog sees what runs");
            }
            let Some(regained) = self.wheel.regain(epoch) else {
                if again {
                    lock(&self.inbox).push(process);
                }
                return;
            };
            queue = regained;
            progress += 2;
            self.wheel.set_progress(progress);
            self.drives(epoch);
            if again {
                queue.push_back(process);
            }
        }
    }

    /// As the watchdog displaces. Gives out the epoch of the successor.
    fn displace(&self) -> Option<u64> {
        let progress = self.wheel.progress();
        if progress % 2 == 0 {
            return None;
        }
        let mut held: InHand<'_, _> = self.wheel.try_hold()?;
        if self.wheel.progress() != progress {
            return None;
        }
        let mut successor = None;
        let start = |epoch| {
            successor = Some(epoch);
            Ok::<(), Infallible>(())
        };
        let Ok(()) = self.wheel.pass(&mut held, start);
        successor
    }
}

fn check(processes: usize) {
    loom::model(move || {
        let processes: Vec<_> = (0..processes)
            .map(|_| Arc::new(Process::default()))
            .collect();
        let worker = Worker::with(&processes);
        let (driver, done) = (Arc::clone(&worker), Arc::new(AtomicBool::new(false)));
        let is_done = Arc::clone(&done);
        let driver = thread::spawn(move || {
            driver.drive(0);
            is_done.store(true, Ordering::Release);
        });
        // The watchdog's own thread stands for the spare one. It looks until there is something to
        // see, or loom would take its first look for all that there can be.
        while !done.load(Ordering::Acquire) {
            if let Some(epoch) = worker.displace() {
                worker.drive(epoch);
                break;
            }
            thread::yield_now();
        }
        driver.join().expect("no thread panics");
        // What was left after the successor had looked for the last time would have woken it.
        let epoch = worker.newest.load(Ordering::Acquire);
        worker.drive(epoch);
        for process in processes {
            assert_eq!(process.runs.load(Ordering::Acquire), 2, "nothing is lost");
        }
    });
}

#[test]
fn a_displaced_thread_never_drives_again_and_leaves_its_process() {
    check(1);
}

#[test]
fn neither_does_it_take_what_others_wait_for() {
    check(2);
}
