//! The node: what holds processes and workers together.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::actor::{Actor, Down};
use crate::driver::{DriverFactory, ParkingFactory};
use crate::error::{NodeError, RelationError, SendError, SpawnError, StopReport};
use crate::id::{Alias, Counter, Name, Pid, Target};
use crate::info::{NodeInfo, ProcessInfo};
use crate::mailbox::Signal;
use crate::message::{Address, Envelope, Source};
use crate::meta::{Inspection, MetaExit};
use crate::process::{AnyProcess, Process};
use crate::reason::Reason;
use crate::registry::{AliasEntry, Kind, Registry};
use crate::spare::Spares;
use crate::sync::lock;
use crate::watchdog::Watchdog;
use crate::worker::{Turn, Worker, WorkerId};

/// How many messages a process handles before others get their turn. Enough that taking turns
/// costs nothing, few enough that it takes well under a millisecond.
const MESSAGE_BUDGET: u32 = 256;

/// When a handler counts as stuck. Long beside any handler that computes, short beside what a
/// person notices.
const STUCK_AFTER: Duration = Duration::from_millis(10);

/// How long a node waits for its processes when it stops.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// How long a stopped node waits for its threads, which have nothing left to do.
const THREADS_DEADLINE: Duration = Duration::from_secs(2);

thread_local! {
    static ON_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this thread drives workers, so that a handler that waits for its own node is found.
pub(crate) fn mark_worker_thread() {
    ON_WORKER.set(true);
}

/// Says how a node is to be made, and starts it.
///
/// # Examples
///
/// ```
/// use socktree_kernel::NodeBuilder;
/// let node = NodeBuilder::new("doc@localhost").workers(2).start()?;
/// let report = node.stop()?;
/// assert!(report.is_clean());
/// # Ok::<(), socktree_kernel::NodeError>(())
/// ```
#[must_use = "a node is made by `start` or `run`"]
pub struct NodeBuilder {
    name: String,
    workers: Option<usize>,
    budget: u32,
    stuck_after: Option<Duration>,
    stop_deadline: Duration,
    factory: Box<dyn DriverFactory>,
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("name", &self.name)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl NodeBuilder {
    /// A node called `name@host`, without sockets: processes, messages and timers alone.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            workers: None,
            budget: MESSAGE_BUDGET,
            stuck_after: Some(STUCK_AFTER),
            stop_deadline: STOP_DEADLINE,
            factory: Box::new(ParkingFactory),
        }
    }

    /// How many workers, each with a thread of its own. As many as there are cores by default;
    /// 0 counts as 1.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }

    /// How many messages a process handles before others get their turn. 256 by default; 0 counts
    /// as 1.
    pub fn message_budget(mut self, messages: u32) -> Self {
        self.budget = messages.max(1);
        self
    }

    /// How long a handler may run before its worker goes on under another thread. 10 ms by
    /// default, noticed after at most one and a half times as long; `None` switches it off, and
    /// then a handler that blocks holds up its worker.
    pub fn stuck_after(mut self, threshold: Option<Duration>) -> Self {
        self.stuck_after = threshold;
        self
    }

    /// How long [`Node::stop`] waits. 15 seconds by default.
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.stop_deadline = deadline;
        self
    }

    /// Where the workers wait and serve what is ready: for crates that bring sources of their own.
    pub fn driver(mut self, factory: impl DriverFactory + 'static) -> Self {
        self.factory = Box::new(factory);
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    ///
    /// [`NodeError::BadName`], or [`NodeError::Io`] if a thread or a driver could not be made.
    pub fn start(self) -> Result<Node, NodeError> {
        let well_formed = |(name, host): (&str, &str)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        };
        if !self.name.split_once('@').is_some_and(well_formed) {
            return Err(NodeError::BadName(self.name));
        }
        let count = self
            .workers
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZeroUsize::get));
        let spares = Spares::new(&self.name);
        let watchdog = Arc::new(Watchdog::default());
        let mut workers = Vec::with_capacity(count);
        for id in (0..count).map(WorkerId) {
            let parts = self.factory.make(id)?;
            workers.push(Worker::new(
                id,
                parts,
                Arc::clone(&spares),
                Arc::clone(&watchdog),
            ));
        }
        if let Some(threshold) = self.stuck_after {
            watchdog.start(workers.clone(), threshold)?;
        }
        let inner = Arc::new(NodeInner {
            name: self.name,
            registry: Registry::new(),
            budget: self.budget,
            stop_deadline: self.stop_deadline,
            counter: Counter::new(),
            next_worker: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stopped: Mutex::new(None),
            ended: Mutex::new(()),
            ended_bell: Condvar::new(),
            waiting_for_end: AtomicUsize::new(0),
            workers: OnceLock::new(),
            spares,
            watchdog,
        });
        for worker in &workers {
            if let Err(error) = inner.spares.start(Arc::clone(worker)) {
                inner.halt(&workers, Duration::ZERO);
                return Err(error.into());
            }
        }
        inner
            .workers
            .set(workers)
            .unwrap_or_else(|_| unreachable!("the node was just made"));
        Ok(Node { inner })
    }

    /// Starts the node with one first process, and stops it when that has ended.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); [`NodeError::Spawn`] if the process could not be started;
    /// [`NodeError::Ended`] if it ended in bad order; [`NodeError::Stuck`] if something had not
    /// ended by the stop deadline.
    pub fn run<A: Actor>(self, first: A) -> Result<(), NodeError> {
        let node = self.start()?;
        let reason = match node.spawn_monitored(first) {
            Ok((_, ended)) => ended.wait().reason,
            Err(error) => {
                node.stop()?;
                return Err(NodeError::Spawn(error));
            }
        };
        let report = node.stop()?;
        match reason {
            reason if !reason.is_clean() => Err(NodeError::Ended(reason)),
            _ if !report.is_clean() => Err(NodeError::Stuck(report)),
            _ => Ok(()),
        }
    }
}

/// How a process is to be started.
///
/// # Examples
///
/// ```
/// use socktree_kernel::SpawnOptions;
/// let options = SpawnOptions::new().name("counter").mailbox(1000).link_parent();
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are given to a spawn"]
pub struct SpawnOptions {
    name: Option<Name>,
    worker: Option<usize>,
    mailbox: Option<usize>,
    link_parent: bool,
    link_child: bool,
    monitored: bool,
    /// Told of the end, from before there can be one.
    told_outside: Option<Sender<Down>>,
}

impl SpawnOptions {
    /// No name, any worker, no bound on the mailbox, no links.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the process under a name, before `init`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The worker to live on, counted from 0. In turn by default.
    pub fn worker(mut self, worker: WorkerId) -> Self {
        self.worker = Some(worker.index());
        self
    }

    /// How many messages may wait. No bound by default; 0 counts as 1.
    pub fn mailbox(mut self, capacity: usize) -> Self {
        self.mailbox = Some(capacity.max(1));
        self
    }

    /// Links the new process to its parent: it ends when the parent does.
    pub fn link_parent(mut self) -> Self {
        self.link_parent = true;
        self
    }

    /// Links the parent to the new process: it ends when the child does.
    pub fn link_child(mut self) -> Self {
        self.link_child = true;
        self
    }

    /// Has the parent monitor the new process, from before it can end.
    pub fn monitored(mut self) -> Self {
        self.monitored = true;
        self
    }
}

pub(crate) struct NodeInner {
    name: String,
    pub(crate) registry: Registry,
    pub(crate) budget: u32,
    stop_deadline: Duration,
    counter: Counter,
    next_worker: AtomicUsize,
    stopping: AtomicBool,
    /// The report of the stop, once it is over.
    stopped: Mutex<Option<StopReport>>,
    ended: Mutex<()>,
    ended_bell: Condvar,
    waiting_for_end: AtomicUsize,
    workers: OnceLock<Vec<Arc<Worker>>>,
    spares: Arc<Spares>,
    watchdog: Arc<Watchdog>,
}

impl NodeInner {
    pub(crate) fn workers(&self) -> &[Arc<Worker>] {
        self.workers.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn new_alias(&self) -> Alias {
        self.counter.next_alias()
    }

    /// A process has ended and is in no table any more.
    pub(crate) fn one_ended(&self) {
        if self.waiting_for_end.load(Ordering::SeqCst) > 0 {
            let _guard = lock(&self.ended);
            self.ended_bell.notify_all();
        }
    }

    /// Waits until `done`, looking each time a process has ended, for at most this long.
    fn wait_until(&self, at_most: Option<Duration>, done: impl Fn() -> bool) -> bool {
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
        let sent = match to {
            Target::Alias(alias) => match self.registry.alias(*alias) {
                None => return Err(SendError::Unknown(message)),
                Some(AliasEntry::Meta { port, .. }) => port.send(from, Envelope::new(message)),
                Some(AliasEntry::Process(process)) => {
                    process.push_any(from, Envelope::new(message))
                }
            },
            Target::Pid(_) | Target::Name(_) => match self.registry.resolve(to) {
                None => return Err(SendError::Unknown(message)),
                Some(process) => process.push_any(from, Envelope::new(message)),
            },
        };
        sent.map_err(|error| {
            error.map(|envelope| {
                envelope
                    .open()
                    .expect("what is refused comes back as it was")
            })
        })
    }

    pub(crate) fn inspect(&self, target: &Target) -> Option<Inspection> {
        if let Target::Alias(alias) = target
            && let AliasEntry::Meta { port, .. } = self.registry.alias(*alias)?
        {
            return Some(port.inspect());
        }
        let info = self.registry.resolve(target)?.info();
        Some(vec![
            (
                "process",
                info.name
                    .map_or_else(|| info.pid.to_string(), |n| n.as_str().into()),
            ),
            ("behaviour", info.behaviour.to_owned()),
            ("worker", info.worker.index().to_string()),
            ("mailbox", info.mailbox.to_string()),
            ("messages in", info.messages_in.to_string()),
            ("metas", info.metas.to_string()),
        ])
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

    /// Makes a process and puts it into the tables; `init` is still to come.
    fn make<A: Actor>(
        self: &Arc<Self>,
        actor: A,
        options: &SpawnOptions,
        parent: Option<Pid>,
    ) -> Result<Arc<Process<A>>, SpawnError> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(SpawnError::Stopping);
        }
        if let Some(name) = &options.name
            && name.as_str().len() > Name::MAX_LEN
        {
            return Err(SpawnError::NameTooLong(name.as_str().len()));
        }
        let worker = self.pick_worker(options.worker)?;
        let pid = self.counter.next_pid();
        let process = Process::new(
            actor,
            pid,
            parent,
            Arc::clone(self),
            worker,
            options.mailbox,
        );
        if let Some(name) = &options.name {
            let taken = self.registry.take_name(name, Arc::clone(&process) as _);
            taken.map_err(|_| SpawnError::NameTaken(name.clone()))?;
            process.core_ref().set_name(Some(name.clone()));
        }
        self.registry.insert_process(Arc::clone(&process) as _);
        if let Some(tell) = &options.told_outside {
            let watched = self
                .registry
                .watch_from_outside(&Target::Pid(pid), tell.clone());
            watched.expect("the process was just put into the table and cannot have ended");
        }
        if let Some(parent) = parent {
            self.relate(&*process, parent, options);
        }
        Ok(process)
    }

    /// A stop that began while the process was made may have missed it.
    fn check_stop(&self, process: &dyn AnyProcess) {
        if self.stopping.load(Ordering::SeqCst) {
            process.signal(Signal::ordered(process.core().pid, Reason::Shutdown));
        }
    }

    /// Starts a process whose `init` runs later, on its own worker.
    pub(crate) fn spawn_later<A: Actor>(
        self: &Arc<Self>,
        actor: A,
        options: &SpawnOptions,
        parent: Option<Pid>,
    ) -> Result<Arc<Process<A>>, SpawnError> {
        let process = self.make(actor, options, parent)?;
        process.init_later();
        self.check_stop(&*process);
        Ok(process)
    }

    pub(crate) fn spawn<A: Actor>(
        self: &Arc<Self>,
        actor: A,
        options: &SpawnOptions,
        parent: Option<Pid>,
        turn: Option<&Turn<'_>>,
    ) -> Result<Address<A::Msg>, SpawnError> {
        let process = self.make(actor, options, parent)?;
        let pid = process.core_ref().pid;
        if let Err(reason) = process.init(turn) {
            // What it had opened may be closed by another worker, or by this one: then its loop
            // has to go on meanwhile.
            if self.registry.process(pid).is_some() {
                if let Some(turn) = turn {
                    turn.hand_over();
                }
                self.wait_until(None, || self.registry.process(pid).is_none());
            }
            return Err(SpawnError::Init(reason));
        }
        self.check_stop(&*process);
        Ok(Address::new(process))
    }

    /// Makes the links and monitors between a new process and its parent.
    fn relate(&self, child: &dyn AnyProcess, parent: Pid, options: &SpawnOptions) {
        let pid = child.core().pid;
        if options.link_parent {
            child.core().note_watch(Target::Pid(parent), Kind::Link);
            if self
                .registry
                .watch(pid, &Target::Pid(parent), Kind::Link)
                .is_err()
            {
                child.core().forget_watch(&Target::Pid(parent), Kind::Link);
                child.signal(Signal::ordered(parent, Reason::NoProcess));
            }
        }
        let Some(parent) = self.registry.process(parent) else {
            return;
        };
        let kinds = [
            (options.link_child, Kind::Link),
            (options.monitored, Kind::Monitor),
        ];
        for (_, kind) in kinds.into_iter().filter(|(wanted, _)| *wanted) {
            parent.core().note_watch(Target::Pid(pid), kind);
            let made = self
                .registry
                .watch(parent.core().pid, &Target::Pid(pid), kind);
            made.expect("the child was just put into the table and cannot have ended");
        }
    }

    fn begin_stop(&self) {
        if self.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        for process in self.registry.processes() {
            let pid = process.core().pid;
            process.signal(Signal::ordered(
                process.core().parent.unwrap_or(pid),
                Reason::Shutdown,
            ));
        }
    }

    fn halt(&self, workers: &[Arc<Worker>], threads: Duration) {
        for worker in workers {
            worker.stop();
        }
        self.spares.close();
        self.spares.join(threads);
        self.watchdog.stop();
    }
}

/// A running node, or rather a hold on one: cheap to clone, and usable from any thread.
///
/// Dropping it does not stop the node; [`stop`](Self::stop) does.
#[derive(Clone)]
pub struct Node {
    inner: Arc<NodeInner>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(crate) fn from_inner(inner: Arc<NodeInner>) -> Self {
        Self { inner }
    }

    /// The node's name, `name@host`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.inner.workers().len()
    }

    /// Starts a process without a parent. Its `init` runs before this returns.
    ///
    /// # Errors
    ///
    /// As [`Ctx::spawn`](crate::Ctx::spawn).
    pub fn spawn<A: Actor>(&self, actor: A) -> Result<Address<A::Msg>, SpawnError> {
        self.spawn_with(actor, SpawnOptions::new())
    }

    /// Starts a process with options.
    ///
    /// # Errors
    ///
    /// As [`Ctx::spawn_named`](crate::Ctx::spawn_named).
    pub fn spawn_with<A: Actor>(
        &self,
        actor: A,
        options: SpawnOptions,
    ) -> Result<Address<A::Msg>, SpawnError> {
        self.inner.spawn(actor, &options, None, None)
    }

    /// Starts a process and watches it, from before it can end.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_monitored<A: Actor>(
        &self,
        actor: A,
    ) -> Result<(Address<A::Msg>, Ended), SpawnError> {
        let (tell, told) = crossbeam_channel::bounded(1);
        let options = SpawnOptions {
            told_outside: Some(tell),
            ..SpawnOptions::new()
        };
        Ok((self.spawn_with(actor, options)?, Ended(told)))
    }

    /// Sends from a thread that is no process.
    ///
    /// # Errors
    ///
    /// As [`Ctx::send`](crate::Ctx::send).
    pub fn send<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<(), SendError<T>> {
        self.inner.send(Source::Outside, &to.into(), message)
    }

    /// Watches a target from a thread that is no process.
    ///
    /// # Errors
    ///
    /// [`RelationError::Unknown`] if there is no such target any more.
    pub fn monitor(&self, target: impl Into<Target>) -> Result<Ended, RelationError> {
        let (tell, told) = crossbeam_channel::bounded(1);
        self.inner
            .registry
            .watch_from_outside(&target.into(), tell)?;
        Ok(Ended(told))
    }

    /// Sends an exit signal, which ends a process unless it traps exits, and a meta-process
    /// always. [`Reason::Kill`] cannot be trapped.
    pub fn exit(&self, target: impl Into<Target>, reason: Reason) {
        let target = target.into();
        if let Target::Alias(alias) = target
            && let Some(AliasEntry::Meta { port, .. }) = self.inner.registry.alias(alias)
        {
            return port.exit(MetaExit::Requested(reason));
        }
        if let Some(process) = self.inner.registry.resolve(&target) {
            process.signal(match reason {
                Reason::Kill => Signal::Kill,
                reason => Signal::Exit {
                    from: target,
                    reason,
                    trappable: true,
                },
            });
        }
    }

    /// What the target tells about itself, or `None` if there is none. Never waits.
    pub fn inspect(&self, target: impl Into<Target>) -> Option<Inspection> {
        self.inner.inspect(&target.into())
    }

    /// The process that a target leads to.
    pub fn whereis(&self, target: impl Into<Target>) -> Option<Pid> {
        Some(self.inner.registry.resolve(&target.into())?.core().pid)
    }

    /// How much of everything there is.
    pub fn info(&self) -> NodeInfo {
        let registry = &self.inner.registry;
        NodeInfo {
            processes: registry.process_count(),
            names: registry.name_count(),
            aliases: registry.alias_count(),
            relations: registry.relation_count(),
            timers: self
                .inner
                .workers()
                .iter()
                .map(|worker| worker.timer_count())
                .sum(),
        }
    }

    /// A snapshot of each process.
    pub fn processes(&self) -> Vec<ProcessInfo> {
        self.inner
            .registry
            .processes()
            .iter()
            .map(|process| process.info())
            .collect()
    }

    /// Begins to stop: every process is told to shut down, nothing is started any more. Returns
    /// at once, and may be called from anywhere, a handler or a signal's thread included.
    pub fn shutdown(&self) {
        self.inner.begin_stop();
    }

    /// Stops the node: tells every process to shut down, waits until they have ended, and ends the
    /// threads. Processes that have not ended by the stop deadline are named in the report.
    ///
    /// # Errors
    ///
    /// [`NodeError::InsideHandler`] in a handler, where it would wait for itself; use
    /// [`shutdown`](Self::shutdown) there.
    pub fn stop(&self) -> Result<StopReport, NodeError> {
        if ON_WORKER.get() {
            return Err(NodeError::InsideHandler);
        }
        let began = Instant::now();
        self.inner.begin_stop();
        let registry = &self.inner.registry;
        let deadline = self.inner.stop_deadline;
        self.inner
            .wait_until(Some(deadline), || registry.process_count() == 0);
        // Whoever comes second waits here and gets the same report.
        let mut stopped = lock(&self.inner.stopped);
        if let Some(report) = &*stopped {
            return Ok(report.clone());
        }
        let stuck = self.processes();
        let left = deadline.saturating_sub(began.elapsed());
        self.inner
            .halt(self.inner.workers(), left.max(THREADS_DEADLINE));
        let report = StopReport {
            took: began.elapsed(),
            stuck,
        };
        *stopped = Some(report.clone());
        Ok(report)
    }
}

/// Waits for the end of something that is watched from outside.
#[derive(Debug)]
pub struct Ended(Receiver<Down>);

impl Ended {
    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// If the node was dropped without an end, which its tables make impossible.
    pub fn wait(&self) -> Down {
        self.0.recv().expect("a target's end is always told")
    }

    /// Waits until it has ended, for at most this long.
    pub fn wait_for(&self, at_most: Duration) -> Option<Down> {
        self.0.recv_timeout(at_most).ok()
    }
}
