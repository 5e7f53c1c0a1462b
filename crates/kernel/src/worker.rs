//! A worker: one run queue and one driver, served by one thread at a time.
//!
//! The loop's state is not tied to its thread. While a handler runs, the state lies unlocked; when
//! the handler takes too long, the watchdog (or the handler itself, by `Ctx::blocking`) raises the
//! worker's *epoch* and a spare thread goes on from there. The thread that was displaced notices
//! at its next look at the epoch, puts its process back in the queue and becomes a spare.

mod lodging;
mod turn;
mod wheel;

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::compaction::Count;
use crate::driver::{Driver, DriverParts, DriverRemote, Wait};
use crate::guard::contain;
use crate::id::Pid;
use crate::message::Receipt;
use crate::process::{After, AnyProcess};
use crate::spare::Spares;
use crate::sync::lock;
use crate::timer::{Action, TimerRef, Timers};
use crate::watchdog::Watchdog;
pub(crate) use crate::worker::lodging::Home;
use crate::worker::lodging::{Guest, Lodging, Move};
pub(crate) use crate::worker::turn::Turn;
use crate::worker::wheel::{InHand, Wheel};

/// How many processes run before the driver gets a look at its sources. Enough to make the price
/// of a poll small, few enough to keep sockets waiting for well under a millisecond.
const RUNS_PER_TURN: usize = 64;

/// How many timers fire before the driver gets a look at its sources.
const TIMERS_PER_TURN: usize = 1024;

/// One of a node's workers, counted from 0.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{SpawnOptions, WorkerId};
/// assert_eq!(WorkerId::from(1).index(), 1);
/// let beside_the_first = SpawnOptions::new().worker(0);
/// # let _ = beside_the_first;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub(crate) usize);

impl WorkerId {
    /// The number.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Whether there is such a worker is found out when it is used.
impl From<usize> for WorkerId {
    fn from(index: usize) -> Self {
        Self(index)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.0)
    }
}

/// What only the thread that drives the worker touches.
struct Core {
    driver: Box<dyn Driver>,
    run_queue: VecDeque<Arc<dyn AnyProcess>>,
    lodging: Lodging,
}

/// What other threads leave for the worker.
#[derive(Default)]
struct Inbox {
    runnable: VecDeque<Arc<dyn AnyProcess>>,
    /// From threads that were displaced before they could hand them over.
    receipts: Vec<Receipt>,
    /// Workers that are to be driven by this one's thread.
    guests: Vec<Guest>,
    /// The worker has stopped, and takes no guests any more.
    closed: bool,
    /// Where this one is to be driven from now on.
    moves: Option<Move>,
}

impl Inbox {
    /// Whether there is anything but processes to run.
    #[inline]
    fn has_news(&self) -> bool {
        !self.receipts.is_empty() || !self.guests.is_empty() || self.moves.is_some()
    }
}

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) handle: Arc<dyn Any + Send + Sync>,
    remote: Arc<dyn DriverRemote>,
    core: Wheel<Core>,
    inbox: Mutex<Inbox>,
    timers: Mutex<Timers>,
    /// Set after something was put into the inbox or the timers; the loop must not sleep then.
    pending: AtomicBool,
    stopping: AtomicBool,
    /// How many messages have been handled. Written by the thread that drives.
    messages: AtomicU64,
    /// How many turns have been completed. Written by the thread that drives.
    turns: AtomicU64,
    /// A [`Home`], for those who decide about it.
    home: AtomicU8,
    /// The epoch of the host whose thread has taken a turn here since this worker moved in.
    hosts_epoch: AtomicU64,
    spares: Arc<Spares>,
    watchdog: Arc<Watchdog>,
}

thread_local! {
    /// The worker that this thread drives, or has driven until just now: its key, or 0. And the
    /// epoch that it does so under.
    static AT_THE_WHEEL: Cell<(usize, u64)> = const { Cell::new((0, 0)) };
    /// As that, of the host whose wheel this thread has left for a guest's.
    static BEHIND: Cell<(usize, u64)> = const { Cell::new((0, 0)) };
}

/// A thread's place at the wheel of a worker, and what it had before.
struct Seat {
    before: (usize, u64),
    behind: (usize, u64),
}

impl Drop for Seat {
    fn drop(&mut self) {
        AT_THE_WHEEL.set(self.before);
        BEHIND.set(self.behind);
    }
}

/// How a thread's time as driver of a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// Another thread drives now.
    Displaced,
    /// The node has stopped.
    Stopped,
}

impl Worker {
    pub(crate) fn new(
        id: WorkerId,
        parts: DriverParts,
        spares: Arc<Spares>,
        watchdog: Arc<Watchdog>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            handle: parts.handle,
            remote: parts.remote,
            core: Wheel::new(Core {
                driver: parts.driver,
                run_queue: VecDeque::new(),
                lodging: Lodging::default(),
            }),
            inbox: Mutex::default(),
            timers: Mutex::default(),
            pending: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            messages: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            home: AtomicU8::new(Home::Own as u8),
            hosts_epoch: AtomicU64::new(lodging::NO_EPOCH),
            spares,
            watchdog,
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.remote.now()
    }

    /// Puts a process on the run queue. Exactly one thread does so for each time a process
    /// becomes runnable.
    pub(crate) fn schedule(&self, process: Arc<dyn AnyProcess>) {
        // In a handler of this worker's, the core is free: no need for an inbox and a wake-up. Not
        // for a thread that was displaced: whoever drives now may sleep, and as a guest does so with
        // the core free.
        if self.is_at_the_wheel()
            && let Some(mut core) = self.core.try_hold()
            && self.is_driven_by_this_thread()
        {
            core.run_queue.push_back(process);
            return;
        }
        lock(&self.inbox).runnable.push_back(process);
        self.announce();
    }

    /// Whether the calling thread drives this worker, or has until just now.
    #[inline]
    fn is_at_the_wheel(&self) -> bool {
        AT_THE_WHEEL.get().0 == self.key()
    }

    /// Whether the calling thread drives this worker, and nobody has taken over.
    fn is_driven_by_this_thread(&self) -> bool {
        let (key, epoch) = AT_THE_WHEEL.get();
        key == self.key() && !self.core.is_displaced(epoch)
    }

    /// Tells workers apart, those of other nodes included.
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn announce(&self) {
        self.pending.store(true, Ordering::Release);
        // The fence between our store and the look at whether the loop sleeps is in `wake`.
        self.remote.wake();
    }

    /// Sets a timer of a process that lives here.
    pub(crate) fn arm_timer(
        &self,
        owner: Pid,
        at: Instant,
        make: impl FnOnce(TimerRef) -> Action,
    ) -> TimerRef {
        let worker = self.id;
        let mut timers = lock(&self.timers);
        let serial = timers.arm(owner, at, |serial| make(TimerRef { worker, serial }));
        self.look_at(timers, at);
        TimerRef { worker, serial }
    }

    /// Arms a timer again that has fired, unless it was struck off meanwhile.
    pub(crate) fn renew_timer(&self, owner: Pid, timer: TimerRef, at: Instant, action: Action) {
        let mut timers = lock(&self.timers);
        let renewed = timers.renew(owner, timer.serial, at, action);
        self.look_at(timers, at);
        // Dropped outside the lock: it owns a message, and dropping that is user code.
        drop(renewed);
    }

    /// Sees to it that a timer for this time is not slept through.
    fn look_at(&self, timers: MutexGuard<'_, Timers>, at: Instant) {
        let is_first = timers.next() == Some(at);
        drop(timers);
        // Who drives looks at the timers before it sleeps. If that is another thread by now, it will
        // look after us, or it has before us: then their lock has told us of its epoch.
        if is_first && !self.is_driven_by_this_thread() {
            self.announce();
        }
    }

    /// Strikes a timer off; nothing, if it is not noted. Whoever does so decides what becomes of it:
    /// it may just be firing, and then its action is not there any more.
    pub(crate) fn strike_timer(&self, owner: Pid, timer: TimerRef) -> Option<Option<Action>> {
        if timer.worker != self.id {
            return None;
        }
        lock(&self.timers).strike(owner, timer.serial)
    }

    /// Strikes off all timers of a process, and gives out what they would have done.
    pub(crate) fn strike_timers(&self, owner: Pid) -> Vec<Action> {
        lock(&self.timers).strike_all(owner)
    }

    pub(crate) fn is_timer_noted(&self, owner: Pid, timer: TimerRef) -> bool {
        lock(&self.timers).is_noted(owner, timer.serial)
    }

    pub(crate) fn timers_of(&self, owner: Pid) -> usize {
        lock(&self.timers).count_of(owner)
    }

    pub(crate) fn timer_count(&self) -> usize {
        lock(&self.timers).len()
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.announce();
    }

    /// For the watchdog: changes with every message, odd while a handler runs.
    pub(crate) fn progress(&self) -> u64 {
        self.core.progress()
    }

    /// Gives the loop to a spare thread if the handler seen at `progress` still runs.
    pub(crate) fn displace_if_stuck_at(self: &Arc<Self>, progress: u64) -> bool {
        // The wheel is free while a handler runs. If it is not, the handler has returned, or sends
        // to a neighbour just now: then a later look finds it.
        let Some(mut core) = self.core.try_hold() else {
            return false;
        };
        self.core.progress() == progress && self.displace(&mut core)
    }

    /// Without a thread to be had, everything stays as it is: slow is better than stopped.
    fn displace(self: &Arc<Self>, core: &mut InHand<'_, Core>) -> bool {
        if let Err(error) = self.pass_to_spare(core) {
            log::error!(
                "no spare thread to drive {} while a handler blocks: {error}",
                self.id
            );
            return false;
        }
        true
    }

    fn pass_to_spare(self: &Arc<Self>, core: &mut InHand<'_, Core>) -> io::Result<()> {
        let drive = |epoch| self.spares.drive(Arc::clone(self), epoch);
        self.core.pass(core, drive)
    }

    fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// What there is to know about how busy it is.
    pub(crate) fn count(&self) -> Count {
        Count {
            home: self.home(),
            messages: self.messages.load(Ordering::Relaxed),
            bustle: self.remote.bustle(),
        }
    }

    /// Changes with every turn that is completed by a thread of the worker's own.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Drives the worker until the node stops or another thread takes over.
    pub(crate) fn drive(self: &Arc<Self>, epoch: u64) -> Drive {
        let _seat = self.sit_down(epoch);
        let Some(mut core) = self.core.take(epoch) else {
            return Drive::Displaced;
        };
        self.be_at_home(&mut core);
        let turn = Turn::new(self, epoch, None);
        loop {
            core = match self.run_processes(core, &turn) {
                Some(core) => core,
                None => return Drive::Displaced,
            };
            core.driver.flush();
            if core.lodging.is_to_move() {
                core = match self.lodge(core) {
                    Some(core) => core,
                    None => return Drive::Displaced,
                };
            }
            let next_timer = lock(&self.timers).next();
            let wait = core.lodging.earliest(self.wait(&core, next_timer));
            if self.has_stopped(&core) && core.lodging.is_empty() && self.close() {
                return Drive::Stopped;
            }
            core.driver.turn(wait, &|| !self.is_pending());
            // One that was set meanwhile, by another thread, has ended the wait: it is next.
            if next_timer.is_some() {
                self.fire_timers();
            }
            if !core.lodging.is_empty() {
                core = match self.drive_guests(core, &turn) {
                    Some(core) => core,
                    None => return Drive::Displaced,
                };
            }
            self.turns.store(self.turns() + 1, Ordering::Relaxed);
        }
    }

    /// Notes that the calling thread drives this worker, until the answer is dropped.
    fn sit_down(&self, epoch: u64) -> Seat {
        let before = AT_THE_WHEEL.replace((self.key(), epoch));
        Seat {
            before,
            behind: BEHIND.replace(before),
        }
    }

    /// Has another thread drive this worker if the calling one does, so that it can wait for what
    /// happens here. As [`Turn::hand_over`], for those who do not know of a turn. False if the worker
    /// would wait as well.
    pub(crate) fn let_go(self: &Arc<Self>) -> bool {
        let seats = [AT_THE_WHEEL.get(), BEHIND.get()];
        let Some((_, epoch)) = seats.into_iter().find(|(key, _)| *key == self.key()) else {
            return true;
        };
        // Without waiting for the wheel: what the loop itself calls finds it in its own hands.
        match self.core.try_hold() {
            Some(mut core) => self.core.is_displaced(epoch) || self.displace(&mut core),
            None => self.core.is_displaced(epoch),
        }
    }

    /// Runs what is ready to run, up to a turn's worth; `None` if another thread drives now.
    #[inline]
    fn run_processes<'a>(
        &'a self,
        mut core: InHand<'a, Core>,
        turn: &Turn<'_>,
    ) -> Option<InHand<'a, Core>> {
        let mut runs = 0;
        while runs < RUNS_PER_TURN {
            if self.pending.load(Ordering::Acquire) {
                self.empty_inbox(&mut core);
            }
            let Some(process) = core.run_queue.pop_front() else {
                break;
            };
            runs += 1;
            drop(core);
            let after = turn.run(&*process, runs == 1);
            let Some(regained) = self.core.regain(turn.epoch()) else {
                turn.leave(process, after);
                return None;
            };
            core = regained;
            turn.rest();
            turn.give_receipts(|receipts| core.driver.handled(receipts));
            if after == After::Again {
                core.run_queue.push_back(process);
            }
        }
        Some(core)
    }

    fn wait(&self, core: &Core, next_timer: Option<Instant>) -> Wait {
        if !core.run_queue.is_empty() || self.pending.load(Ordering::Acquire) {
            return Wait::No;
        }
        match next_timer {
            Some(at) => Wait::Until(at),
            None => Wait::Forever,
        }
    }

    fn has_stopped(&self, core: &Core) -> bool {
        self.stopping.load(Ordering::Acquire)
            && core.run_queue.is_empty()
            && !self.is_pending()
            && !core.driver.is_busy()
    }

    fn empty_inbox(&self, core: &mut Core) {
        // Cleared first: what is pushed after we have looked sets it again.
        self.pending.store(false, Ordering::SeqCst);
        let mut inbox = lock(&self.inbox);
        if core.run_queue.is_empty() {
            mem::swap(&mut core.run_queue, &mut inbox.runnable);
        } else {
            core.run_queue.append(&mut inbox.runnable);
        }
        if inbox.has_news() {
            self.take_news(inbox, core);
        }
    }

    #[cold]
    fn take_news(&self, mut inbox: MutexGuard<'_, Inbox>, core: &mut Core) {
        let mut receipts = mem::take(&mut inbox.receipts);
        let guests = mem::take(&mut inbox.guests);
        let moves = inbox.moves.take();
        drop(inbox);
        core.lodging.news(guests, moves);
        if !receipts.is_empty() {
            core.driver.handled(&mut receipts);
        }
    }

    fn fire_timers(&self) {
        let now = self.now();
        for _ in 0..TIMERS_PER_TURN {
            let Some(action) = lock(&self.timers).pop_due(now) else {
                return;
            };
            // It converts or drops a message: user code that is part of no handler.
            contain(self.id, || action.fire());
        }
    }
}
