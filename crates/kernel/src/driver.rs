//! What a worker does besides running processes: wait, and serve ready-driven meta-processes.
//!
//! The kernel knows no sockets. It asks a [`Driver`] to serve what is ready and to wait "until
//! woken or until t"; alone, it waits on a condition variable.

#[cfg(all(test, loom))]
mod interleavings;

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::message::Receipt;
use crate::sync::seam::atomic::{AtomicBool, Ordering, fence};
use crate::sync::seam::{Condvar, Mutex, lock};
use crate::worker::WorkerId;

/// How long a [`Driver::turn`] may wait when it finds nothing to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a driver has to handle each of them"
)]
pub enum Wait {
    /// Not at all: processes are waiting to run.
    No,
    /// Until then at the latest.
    Until(Instant),
    /// Until something happens.
    Forever,
}

/// Serves the ready-driven meta-processes of one worker, and is where the worker sleeps.
///
/// All calls of one driver come from one thread at a time, but not always from the same thread:
/// when a handler blocks, the driver goes on under another.
pub trait Driver: Send {
    /// Serves what is ready; when nothing is, waits as long as `wait` allows.
    ///
    /// A driver must not sleep while a wake-up is due. It first publishes that it is about to
    /// sleep, and *then* asks `may_sleep`; a waker first makes its work visible to `may_sleep`,
    /// and *then* looks whether the driver sleeps. With sequentially consistent fences on both
    /// sides no wake-up is lost, and one that is not needed is never sent.
    ///
    /// It may return early, with sources still ready, to let processes run in between.
    fn turn(&mut self, wait: Wait, may_sleep: &dyn Fn() -> bool);

    /// The messages that were delivered with these receipts have been handled. Leaves the list
    /// empty.
    fn handled(&mut self, receipts: &mut Vec<Receipt>);

    /// The processes that were ready have run: what they wrote can go out now.
    fn flush(&mut self);

    /// Has the driver of worker `host` wake up for this one as well, and name this one's worker in
    /// [`next_guest`](Self::next_guest), until [`unnest`](Self::unnest). False, by default, if it
    /// cannot.
    fn nest(&mut self, host: WorkerId) -> bool {
        let _ = host;
        false
    }

    /// This driver waits for itself again.
    fn unnest(&mut self) {}

    /// Goes to sleep without waiting, for a driver that is [nested](Self::nest). Says for how long
    /// nothing is to be done unless its host's driver names it, and [`Wait::No`], by default, if
    /// something is to be done now. The next [`turn`](Self::turn) ends the sleep.
    ///
    /// What the host's driver has named is served in the turn that follows. A driver that did not
    /// look at its sources in that turn must not sleep after it: it would not be named again.
    ///
    /// For `may_sleep` the same holds as in [`turn`](Self::turn).
    fn doze(&mut self, may_sleep: &dyn Fn() -> bool) -> Wait {
        let _ = may_sleep;
        Wait::No
    }

    /// The index of a worker whose driver is nested here and has something to do; asked after a
    /// turn, until there is none. Naming one too often does no harm.
    fn next_guest(&mut self) -> Option<usize> {
        None
    }

    /// Whether something of an ended meta-process is still under way, such as the last bytes of a
    /// connection. A stopping node waits for it, within its deadline.
    fn is_busy(&self) -> bool;
}

/// The side of a [`Driver`] that any thread may use.
pub trait DriverRemote: Send + Sync {
    /// Makes the driver return from [`turn`](Driver::turn) soon. Cheap when it does not sleep.
    fn wake(&self);

    /// The time by the driver's clock, which is virtual in a simulation.
    fn now(&self) -> Instant;

    /// What the driver has noticed of how busy it and the machine are. By default nothing, and then
    /// the worker keeps a thread of its own.
    fn bustle(&self) -> Bustle {
        Bustle::default()
    }
}

/// What a [`Driver`] has noticed of how busy it and the machine are, counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bustle {
    /// How often it has slept.
    pub sleeps: u64,
    /// How often another thread wanted the core that it ran on.
    pub crowded: u64,
}

impl Bustle {
    /// So many of each.
    pub fn new(sleeps: u64, crowded: u64) -> Self {
        Self { sleeps, crowded }
    }
}

/// One worker's driver with what others need of it.
pub struct DriverParts {
    /// The driver itself.
    pub driver: Box<dyn Driver>,
    /// How others wake it and read its clock.
    pub remote: Arc<dyn DriverRemote>,
    /// What meta-processes get from [`MetaScope::driver`](crate::MetaScope::driver).
    pub handle: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for DriverParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverParts").finish_non_exhaustive()
    }
}

/// Makes one driver for each worker of a node.
pub trait DriverFactory: Send + Sync {
    /// Makes the driver of this worker.
    ///
    /// # Errors
    ///
    /// What the operating system said; the node then does not start.
    fn make(&self, worker: WorkerId) -> io::Result<DriverParts>;
}

/// The driver of a node without sources: a condition variable.
#[derive(Debug, Default)]
struct Parking {
    /// Set when a turn is about to wait; whoever clears it owes the notification.
    sleeping: AtomicBool,
    woken: Mutex<bool>,
    bell: Condvar,
}

#[derive(Debug)]
struct ParkingDriver(Arc<Parking>);

/// Makes drivers that only wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ParkingFactory;

impl DriverFactory for ParkingFactory {
    fn make(&self, _worker: WorkerId) -> io::Result<DriverParts> {
        let parking = Arc::new(Parking::default());
        Ok(DriverParts {
            driver: Box::new(ParkingDriver(Arc::clone(&parking))),
            handle: Arc::new(()),
            remote: parking,
        })
    }
}

impl DriverRemote for Parking {
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if !self.sleeping.load(Ordering::Relaxed) {
            return;
        }
        // Not a swap: one that loses the race writes nothing, and loom, whose exchanges may read an
        // old value, can follow.
        let (acquired, lost) = (Ordering::AcqRel, Ordering::Relaxed);
        let cleared = self.sleeping.compare_exchange(true, false, acquired, lost);
        if cleared.is_ok() {
            *lock(&self.woken) = true;
            self.bell.notify_one();
        }
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Driver for ParkingDriver {
    fn turn(&mut self, wait: Wait, may_sleep: &dyn Fn() -> bool) {
        if wait == Wait::No {
            return;
        }
        let parking = &*self.0;
        parking.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if may_sleep() {
            let mut woken = lock(&parking.woken);
            while !*woken {
                let Wait::Until(at) = wait else {
                    woken = parking.bell.wait(woken).unwrap_or_else(|e| e.into_inner());
                    continue;
                };
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                woken = parking
                    .bell
                    .wait_timeout(woken, left)
                    .unwrap_or_else(|e| e.into_inner())
                    .0;
            }
        }
        // A waker that has cleared `sleeping` may still be about to ring. Its ring is left for
        // the next turn, which then wakes once for nothing: harmless, and never lost.
        parking.sleeping.store(false, Ordering::Relaxed);
        *lock(&parking.woken) = false;
    }

    fn handled(&mut self, receipts: &mut Vec<Receipt>) {
        receipts.clear();
    }

    fn flush(&mut self) {}

    fn is_busy(&self) -> bool {
        false
    }
}
