//! The node, as its users hold it.

mod builder;
mod inner;
mod options;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::actor::{Actor, Down};
use crate::call::{Reply, Waiting};
use crate::error::{CallError, NodeError, RelationError, SendError, SpawnError, StopReport};
use crate::id::{Alias, Pid, Target};
use crate::info::{MetaInfo, NodeInfo, ProcessInfo};
use crate::message::{Address, Priority, Source};
use crate::meta::Inspection;
use crate::reason::Reason;
use crate::sync::lock;
#[cfg(test)]
use crate::worker::Worker;

pub use builder::NodeBuilder;
pub(crate) use inner::NodeInner;
pub use options::SpawnOptions;

/// How long a stopped node waits for its threads, which have nothing left to do.
const THREADS_DEADLINE: Duration = Duration::from_secs(2);

thread_local! {
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

/// Ends what [`count_as_handler`] began.
pub(crate) struct InHandler {
    before: bool,
}

impl Drop for InHandler {
    fn drop(&mut self) {
        IN_HANDLER.set(self.before);
    }
}

/// Notes that this thread runs callbacks, so that one that waits for its own node is found. For
/// good in the threads that drive workers, and in others for as long as they run an `init`.
pub(crate) fn count_as_handler() -> InHandler {
    InHandler {
        before: IN_HANDLER.replace(true),
    }
}

/// Whether this thread runs a callback.
pub(crate) fn is_in_handler() -> bool {
    IN_HANDLER.get()
}

/// Sends what asks for an answer, and waits for it.
pub(crate) fn call_from_outside<T, M, R: Send + 'static>(
    now: Instant,
    make: impl FnOnce(Reply<R>) -> T,
    timeout: Duration,
    send: impl FnOnce(T) -> Result<(), SendError<M>>,
) -> Result<R, CallError> {
    if IN_HANDLER.get() {
        return Err(CallError::InsideHandler);
    }
    let (reply, waiting) = Waiting::new(now.checked_add(timeout));
    send(make(reply)).map_err(|refused| CallError::from(&refused))?;
    waiting.wait(timeout, || false)
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
    #[cfg(test)]
    pub(crate) fn workers_for_test(&self) -> &[Arc<Worker>] {
        self.inner.workers()
    }

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
        let (outside, told) = self.inner.outside();
        let ticket = outside.ticket;
        let options = SpawnOptions {
            told_outside: Some(outside),
            ..SpawnOptions::new()
        };
        let address = self.spawn_with(actor, options)?;
        let target = Target::Pid(address.pid());
        Ok((address, self.ended(target, ticket, told)))
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

    /// As [`send`](Self::send), ahead of what has a lower priority.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_with_priority<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        priority: Priority,
    ) -> Result<(), SendError<T>> {
        let from = Source::Outside;
        self.inner.send_with(from, &to.into(), message, priority)
    }

    /// Sends a message that asks for an answer, and waits for it, on a thread that is no process.
    ///
    /// `make` builds the message around the [`Reply`] that it carries; with a tuple struct such as
    /// `Get(Reply<u64>)` that is its name.
    ///
    /// # Errors
    ///
    /// At once if the message is refused ([`SendError`] says when), or if the callee ends or drops
    /// the reply; [`CallError::Timeout`] at last. [`CallError::InsideHandler`] in a handler, which
    /// has [`Ctx::call`](crate::Ctx::call).
    pub fn call<T: Send + 'static, R: Send + 'static>(
        &self,
        to: impl Into<Target>,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let to = to.into();
        let ask = |message| self.inner.ask(Source::Outside, &to, message);
        call_from_outside(self.inner.now(), make, timeout, ask)
    }

    /// Watches a target from a thread that is no process.
    ///
    /// # Errors
    ///
    /// [`RelationError::Unknown`] if there is no such target any more.
    pub fn monitor(&self, target: impl Into<Target>) -> Result<Ended, RelationError> {
        let target = target.into();
        let (outside, told) = self.inner.outside();
        let ticket = outside.ticket;
        self.inner.registry.watch_from_outside(&target, outside)?;
        Ok(self.ended(target, ticket, told))
    }

    /// Waits for an end or for the beginning of the node's stop, whichever comes first.
    pub(super) fn wait_for_end_or_stop(&self, ended: &Ended) -> Option<Down> {
        crossbeam_channel::select! {
            recv(ended.told) -> down => down.ok(),
            recv(self.inner.stop_begun) -> _never => None,
        }
    }

    fn ended(&self, target: Target, ticket: u64, told: Receiver<Down>) -> Ended {
        Ended {
            node: Arc::clone(&self.inner),
            target,
            ticket,
            told,
        }
    }

    /// Sends an exit signal, which ends a process unless it traps exits, and a meta-process
    /// always. [`Reason::Kill`] cannot be trapped.
    pub fn exit(&self, target: impl Into<Target>, reason: Reason) {
        self.inner.exit(None, target.into(), reason);
    }

    /// What the target tells about itself, or `None` if there is none. Never waits.
    pub fn inspect(&self, target: impl Into<Target>) -> Option<Inspection> {
        self.inner.inspect(&target.into())
    }

    /// What the target tells about itself, with what its actor adds ([`Actor::inspect`]): so it waits
    /// until the process has returned from its handler, and goes before the messages that wait.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn inspect_actor(
        &self,
        target: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Inspection, CallError> {
        let target = target.into();
        let ask = |reply| self.inner.ask_to_inspect(&target, reply);
        call_from_outside(self.inner.now(), |reply| reply, timeout, ask)
    }

    /// A snapshot of the process that a target leads to.
    pub fn process_info(&self, target: impl Into<Target>) -> Option<ProcessInfo> {
        Some(self.inner.registry.resolve(&target.into())?.info())
    }

    /// A snapshot of a meta-process.
    pub fn meta_info(&self, alias: Alias) -> Option<MetaInfo> {
        let entry = self.inner.registry.alias(alias)?;
        MetaInfo::new(alias, &entry)
    }

    /// A snapshot of each meta-process.
    pub fn metas(&self) -> Vec<MetaInfo> {
        let aliases = self.inner.registry.aliases();
        let known = |(alias, entry): &(_, _)| MetaInfo::new(*alias, entry);
        aliases.iter().filter_map(known).collect()
    }

    /// The process that a target leads to.
    pub fn whereis(&self, target: impl Into<Target>) -> Option<Pid> {
        Some(self.inner.registry.resolve(&target.into())?.core().pid)
    }

    /// Whether a process has messages waiting, or is handling one.
    pub(crate) fn has_messages(&self, pid: Pid) -> bool {
        let process = self.inner.registry.process(pid);
        process.is_some_and(|process| process.info().mailbox > 0)
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
        if IN_HANDLER.get() {
            return Err(NodeError::InsideHandler);
        }
        let began = Instant::now();
        self.inner.begin_stop();
        // Once it is over, it is not waited for again.
        if let Some(report) = &*lock(&self.inner.stopped) {
            return Ok(report.clone());
        }
        let deadline = self.inner.stop_deadline;
        self.inner
            .wait_until(Some(deadline), || self.inner.is_empty());
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

/// Waits for the end of something that is watched from outside. Dropping it ends the watch.
pub struct Ended {
    node: Arc<NodeInner>,
    target: Target,
    ticket: u64,
    told: Receiver<Down>,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Ended {
    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// If the end was heard by an earlier call: it is told once.
    pub fn wait(&self) -> Down {
        self.told
            .recv()
            .expect("a target's end is told once, and was heard already")
    }

    /// Waits until it has ended, for at most this long.
    pub fn wait_for(&self, at_most: Duration) -> Option<Down> {
        self.told.recv_timeout(at_most).ok()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let registry = &self.node.registry;
        registry.unwatch_from_outside(&self.target, self.ticket);
    }
}
