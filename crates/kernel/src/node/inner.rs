//! What holds a node's processes and workers together.

#[cfg(all(test, loom))]
mod interleavings;

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::actor::{Actor, Down};
use crate::call::{Reply, Waiting};
use crate::env::Env;
use crate::error::{CallError, NodeError, SendError, SpawnError, StopReport};
use crate::event::Events;
use crate::id::{Alias, Counter, Name, Pid, Target};
use crate::mailbox::Signal;
use crate::message::{Address, Envelope, Priority, Source};
use crate::meta::{Inspection, MetaExit};
use crate::node::SpawnOptions;
use crate::process::{AnyProcess, InitFor, Process, ProcessCore, RETURNED};
use crate::reason::Reason;
use crate::registry::{AliasEntry, Registry};
use crate::relations::{Kind, Outside};
use crate::spare::Spares;
use crate::sync::lock;
use crate::sync::seam::atomic::{AtomicUsize, Ordering};
use crate::watchdog::Watchdog;
use crate::worker::{Turn, Worker};

/// In [`NodeInner::starting`]: the node stops.
const STOPPING: usize = 1 << (usize::BITS - 1);

pub(crate) struct NodeInner {
    pub(super) name: String,
    pub(crate) registry: Registry,
    pub(crate) events: Events,
    /// What processes without a parent start from.
    pub(crate) env: Env,
    pub(crate) budget: u32,
    pub(super) stop_deadline: Duration,
    /// What running times are counted from, if they are measured. Always the real clock: a
    /// driver's may stand still while a callback runs.
    pub(crate) runs_timed_since: Option<Instant>,
    counter: Counter,
    next_worker: AtomicUsize,
    /// Spawns that have not yet put their process into the tables, and in the highest bit whether the
    /// node stops. In one, so that of a spawn and a stop either comes first for everyone.
    starting: AtomicUsize,
    /// Dropped when the stop begins, which is how `stop_begun` hears of it.
    until_stop: Mutex<Option<Sender<()>>>,
    pub(super) stop_begun: Receiver<()>,
    /// The report of the stop, once it is over.
    pub(super) stopped: Mutex<Option<StopReport>>,
    ended: Mutex<()>,
    ended_bell: Condvar,
    waiting_for_end: AtomicUsize,
    workers: OnceLock<Vec<Arc<Worker>>>,
    spares: Arc<Spares>,
    watchdog: Arc<Watchdog>,
}

impl NodeInner {
    /// A node without workers yet.
    pub(crate) fn new(
        name: String,
        env: Env,
        budget: u32,
        stop_deadline: Duration,
        runs_timed_since: Option<Instant>,
        spares: Arc<Spares>,
        watchdog: Arc<Watchdog>,
    ) -> Self {
        let (until_stop, stop_begun) = crossbeam_channel::bounded(0);
        Self {
            name,
            registry: Registry::new(),
            events: Events::default(),
            env,
            budget,
            stop_deadline,
            runs_timed_since,
            counter: Counter::new(),
            next_worker: AtomicUsize::new(0),
            starting: AtomicUsize::new(0),
            until_stop: Mutex::new(Some(until_stop)),
            stop_begun,
            stopped: Mutex::new(None),
            ended: Mutex::new(()),
            ended_bell: Condvar::new(),
            waiting_for_end: AtomicUsize::new(0),
            workers: OnceLock::new(),
            spares,
            watchdog,
        }
    }

    /// Starts the workers' threads. What has started is stopped again if one of them fails.
    pub(super) fn start(&self, workers: Vec<Arc<Worker>>) -> Result<(), NodeError> {
        for worker in &workers {
            if let Err(error) = self.spares.start(Arc::clone(worker)) {
                self.halt(&workers, Duration::ZERO);
                return Err(error.into());
            }
        }
        self.adopt(workers);
        Ok(())
    }

    /// Takes workers that somebody drives.
    pub(crate) fn adopt(&self, workers: Vec<Arc<Worker>>) {
        let set = self.workers.set(workers);
        set.unwrap_or_else(|_| unreachable!("a node is started once"));
    }

    pub(crate) fn workers(&self) -> &[Arc<Worker>] {
        self.workers.get().map_or(&[], Vec::as_slice)
    }

    /// The time by the node's clock.
    pub(super) fn now(&self) -> Instant {
        self.workers()
            .first()
            .map_or_else(Instant::now, |worker| worker.now())
    }

    /// Whether threads of its own run its processes, and not a test.
    fn has_threads(&self) -> bool {
        self.spares.limit() > 0
    }

    pub(crate) fn new_alias(&self) -> Alias {
        self.counter.next_alias()
    }

    /// A new watcher that is no process, and where it hears.
    pub(super) fn outside(&self) -> (Outside, Receiver<Down>) {
        let (tell, told) = crossbeam_channel::bounded(1);
        let ticket = self.counter.next_ticket();
        (Outside { ticket, tell }, told)
    }

    /// A process has ended and is in no table any more, or a spawn is through.
    pub(crate) fn one_ended(&self) {
        if self.waiting_for_end.load(Ordering::SeqCst) > 0 {
            let _guard = lock(&self.ended);
            self.ended_bell.notify_all();
        }
    }

    /// Waits until `done`, looking each time a process has ended, for at most this long.
    pub(super) fn wait_until(&self, at_most: Option<Duration>, done: impl Fn() -> bool) -> bool {
        let deadline = at_most.and_then(|limit| Instant::now().checked_add(limit));
        self.waiting_for_end.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.ended);
        let in_time = loop {
            if done() {
                break true;
            }
            guard = match deadline {
                None => self
                    .ended_bell
                    .wait(guard)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break false;
                    }
                    let waited = self.ended_bell.wait_timeout(guard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        };
        drop(guard);
        self.waiting_for_end.fetch_sub(1, Ordering::SeqCst);
        in_time
    }

    pub(crate) fn send<T: Send + 'static>(
        &self,
        from: Source,
        to: &Target,
        message: T,
    ) -> Result<(), SendError<T>> {
        self.send_with(from, to, message, Priority::Normal)
    }

    pub(crate) fn send_with<T: Send + 'static>(
        &self,
        from: Source,
        to: &Target,
        message: T,
        priority: Priority,
    ) -> Result<(), SendError<T>> {
        let sent = match self.registry.find(to) {
            None => return Err(SendError::Unknown(message)),
            Some(AliasEntry::Meta { port, .. }) => port.send(from, Envelope::new(message)),
            Some(AliasEntry::Process(process)) => {
                let message = Envelope::new(message);
                let pushed = match priority {
                    Priority::Normal => process.push_any(from, message),
                    priority => process.push_any_with(from, priority, message),
                };
                match pushed {
                    Err(SendError::Full(message)) => {
                        let diverted = process.core().divert(from, message);
                        diverted.map_err(SendError::Full)
                    }
                    pushed => pushed,
                }
            }
        };
        sent.map_err(|error| error.map(|envelope| envelope.open().expect(RETURNED)))
    }

    /// Sends to the target or not at all: what it has no room for goes nowhere else.
    pub(crate) fn send_once(
        &self,
        from: Source,
        to: &Target,
        message: Envelope,
    ) -> Result<(), SendError<Envelope>> {
        match self.registry.find(to) {
            None => Err(SendError::Unknown(message)),
            Some(AliasEntry::Meta { port, .. }) => port.send(from, message),
            Some(AliasEntry::Process(process)) => process.push_any(from, message),
        }
    }

    /// As [`send_once`](Self::send_once), for calls: another process could not answer for this one.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        from: Source,
        to: &Target,
        message: T,
    ) -> Result<(), SendError<T>> {
        let sent = self.send_once(from, to, Envelope::new(message));
        sent.map_err(|error| error.map(|envelope| envelope.open().expect(RETURNED)))
    }

    /// Sends an exit signal, from a process or from outside.
    pub(crate) fn exit(&self, from: Option<Pid>, to: Target, reason: Reason) {
        if let Target::Alias(alias) = to
            && let Some(AliasEntry::Meta { port, .. }) = self.registry.alias(alias)
        {
            return port.exit(MetaExit::Requested(reason));
        }
        let Some(process) = self.registry.resolve(&to) else {
            return;
        };
        process.signal(match reason {
            Reason::Kill => Signal::Kill,
            reason => Signal::Exit {
                from: from.map_or(to, Target::Pid),
                reason,
                trappable: from.is_none() || process.core().parent != from,
            },
        });
    }

    pub(crate) fn inspect(&self, target: &Target) -> Option<Inspection> {
        if let Target::Alias(alias) = target
            && let AliasEntry::Meta { port, .. } = self.registry.alias(*alias)?
        {
            return Some(port.inspect());
        }
        Some(self.registry.resolve(target)?.info().items())
    }

    /// Asks an actor what it tells about itself; a meta-process answers at once.
    pub(crate) fn ask_to_inspect(
        &self,
        target: &Target,
        reply: Reply<Inspection>,
    ) -> Result<(), SendError<()>> {
        match self.registry.find(target).ok_or(SendError::Unknown(()))? {
            AliasEntry::Meta { port, .. } => drop(reply.send(port.inspect())),
            AliasEntry::Process(process) => process.signal(Signal::Inspect(reply)),
        }
        Ok(())
    }

    pub(crate) fn new_pid(&self) -> Pid {
        self.counter.next_pid()
    }

    fn pick_worker(&self, wanted: Option<usize>) -> Result<Arc<Worker>, SpawnError> {
        let workers = self.workers();
        let n = wanted.unwrap_or_else(|| {
            self.next_worker.fetch_add(1, Ordering::Relaxed) % workers.len().max(1)
        });
        workers
            .get(n)
            .map(Arc::clone)
            .ok_or(SpawnError::NoSuchWorker(n))
    }

    /// Refused once the node is stopping; until the guard is dropped, its stop is not over.
    fn begin_start(&self) -> Result<Starting<'_>, SpawnError> {
        let before = self.starting.fetch_add(1, Ordering::AcqRel);
        let starting = Starting(self);
        if before & STOPPING != 0 {
            return Err(SpawnError::Stopping);
        }
        Ok(starting)
    }

    /// Whether there is no process, nor will be: true for good once the node is stopping.
    pub(super) fn is_empty(&self) -> bool {
        // In this order: a spawn first fills the table and then ends its start.
        self.starting.load(Ordering::SeqCst) & !STOPPING == 0 && self.registry.process_count() == 0
    }

    /// Makes a process and puts it into the tables; `init` is still to come.
    fn make<A: Actor>(
        self: &Arc<Self>,
        actor: A,
        options: &SpawnOptions,
        parent: Option<&ProcessCore>,
    ) -> Result<Arc<Process<A>>, SpawnError> {
        let _starting = self.begin_start()?;
        if let Some(name) = &options.name
            && name.as_str().len() > Name::MAX_LEN
        {
            return Err(SpawnError::NameTooLong(name.as_str().len()));
        }
        let worker = self.pick_worker(options.worker)?;
        let pid = self.new_pid();
        let process = Process::new(actor, pid, parent, Arc::clone(self), worker, options);
        if let Some(name) = &options.name {
            process.core_ref().set_name(Some(name.clone()));
            let inserted = self.registry.insert_named(name, Arc::clone(&process) as _);
            inserted.map_err(|_| SpawnError::NameTaken(name.clone()))?;
        } else {
            self.registry.insert_process(Arc::clone(&process) as _);
        }
        if let Some(outside) = &options.told_outside {
            let watched = self
                .registry
                .watch_from_outside(&Target::Pid(pid), outside.clone());
            watched.expect("the process was just put into the table and cannot have ended");
        }
        if let Some(parent) = parent {
            Self::relate(&*process, parent, options);
        }
        Ok(process)
    }

    /// A stop that began while the process was made may have missed it.
    fn check_stop(&self, process: &dyn AnyProcess) {
        // The stop looks into the tables after it has said that it begins, and who is not yet there
        // looks here after it is.
        if self.starting.load(Ordering::Acquire) & STOPPING != 0 {
            process.signal(Signal::ordered(process.core().pid, Reason::Shutdown));
        }
    }

    /// Starts a process whose `init` runs later, on its own worker.
    pub(crate) fn spawn_later<A: Actor>(
        self: &Arc<Self>,
        actor: A,
        options: &SpawnOptions,
        parent: Option<&ProcessCore>,
    ) -> Result<Arc<Process<A>>, SpawnError> {
        let process = self.make(actor, options, parent)?;
        process.init_later(InitFor::Nobody);
        self.check_stop(&*process);
        Ok(process)
    }

    pub(crate) fn spawn<A: Actor>(
        self: &Arc<Self>,
        actor: A,
        options: &SpawnOptions,
        parent: Option<&ProcessCore>,
        turn: Option<&Turn<'_>>,
    ) -> Result<Address<A::Msg>, SpawnError> {
        let process = self.make(actor, options, parent)?;
        let pid = process.core_ref().pid;
        let flow = match options.init_timeout {
            None => process.init(turn, InitFor::Caller),
            Some(limit) => self.init_within(limit, &process, turn)?,
        };
        if let Err(reason) = flow {
            // What it had opened may be closed by another worker, or by this one: then its loop
            // has to go on meanwhile.
            if self.registry.process(pid).is_some() && self.may_wait(turn) {
                self.wait_until(None, || self.registry.process(pid).is_none());
            }
            return Err(SpawnError::Init(reason));
        }
        self.check_stop(&*process);
        Ok(Address::new(process))
    }

    /// Lets the worker that the calling thread drives, if it does, go on under another, so that this one
    /// can wait for what other processes do. False if there is no thread to do so.
    pub(crate) fn may_wait(&self, turn: Option<&Turn<'_>>) -> bool {
        match turn {
            Some(turn) => turn.hand_over(),
            // A handler may call its node without a context.
            None => self.has_threads() && self.workers().iter().all(Worker::let_go),
        }
    }

    /// Has `init` run on the process's own worker, and waits for it so long and no longer.
    fn init_within<A: Actor>(
        &self,
        limit: Duration,
        process: &Process<A>,
        turn: Option<&Turn<'_>>,
    ) -> Result<Result<(), Reason>, SpawnError> {
        if !self.may_wait(turn) {
            return Ok(process.init(turn, InitFor::Caller));
        }
        let (reply, waiting) = Waiting::new(self.now().checked_add(limit));
        process.init_later(InitFor::Waiting(reply));
        match waiting.wait(limit, || false) {
            Ok(()) => Ok(Ok(())),
            Err(CallError::Refused(reason)) => Ok(Err(reason)),
            Err(CallError::Timeout) => {
                process.core_ref().forget_parents_watches();
                Err(SpawnError::InitTimeout(limit))
            }
            // The node's threads have ended before they came to it.
            Err(_) => Err(SpawnError::Stopping),
        }
    }

    /// Makes the links and monitors between a new process and its parent.
    fn relate(child: &dyn AnyProcess, parent: &ProcessCore, options: &SpawnOptions) {
        if options.link_parent {
            let target = Target::Pid(parent.pid);
            let linked = parent.watched.watch(child.core(), &target, Kind::Link);
            if linked.is_err() {
                child.signal(Signal::ordered(parent.pid, Reason::NoProcess));
            }
        }
        let child = child.core();
        parent.note_child(child.pid);
        let kinds = [
            (options.link_child, Kind::Link),
            (options.monitored, Kind::Monitor),
        ];
        for (_, kind) in kinds.into_iter().filter(|(wanted, _)| *wanted) {
            let target = Target::Pid(child.pid);
            // The child is new and cannot have ended; if the parent has, there is nobody to be told.
            let _gone = child.watched.watch(parent, &target, kind);
        }
    }

    pub(super) fn begin_stop(&self) {
        if self.starting.fetch_or(STOPPING, Ordering::AcqRel) & STOPPING != 0 {
            return;
        }
        *lock(&self.until_stop) = None;
        for process in self.registry.processes() {
            let pid = process.core().pid;
            let core = process.core();
            let supervisor = core.parent.filter(|_| core.is_supervised());
            if supervisor.is_some_and(|pid| self.registry.process(pid).is_some()) {
                // It ends its children itself, in their order.
                continue;
            }
            process.signal(Signal::ordered(
                process.core().parent.unwrap_or(pid),
                Reason::Shutdown,
            ));
        }
    }

    pub(super) fn halt(&self, workers: &[Arc<Worker>], threads: Duration) {
        for worker in workers {
            worker.stop();
        }
        self.spares.close();
        self.spares.join(threads);
        self.watchdog.stop();
    }
}

/// A spawn that a stop has to wait for.
struct Starting<'a>(&'a NodeInner);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        // Before the look at who waits for it, in everyone's eyes, as is the waiter's note before this.
        self.0.starting.fetch_sub(1, Ordering::SeqCst);
        self.0.one_ended();
    }
}
