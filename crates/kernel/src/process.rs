//! One process: its mailbox, its actor, and what happens between spawn and end.

mod core;
mod meter;

use std::any::{Any, TypeId, type_name};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use crate::actor::{Actor, Exit};
use crate::call::{Reply, drop_for};
use crate::ctx::Ctx;
use crate::error::SendError;
use crate::guard::{caught, contain};
use crate::id::{Alias, Pid};
use crate::info::{ProcessInfo, ProcessState};
use crate::mailbox::{Entry, Left, Mailbox, Next, Pushed, Refused, Signal, Urgent, converted};
use crate::message::{Envelope, Priority, Protocol, Receipt, Sink, Source};
use crate::meta::{MetaExit, RoomWaiter};
use crate::node::{NodeInner, SpawnOptions, count_as_handler};
use crate::reason::{Flow, Reason};
use crate::registry::AliasEntry;
use crate::sync::lock;
use crate::worker::{Turn, Worker, WorkerId};

pub(crate) use self::core::ProcessCore;

/// What is to be done with a process after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It has more to do: back to the end of the run queue.
    Again,
    /// It is idle, or has ended, or waits for its meta-processes to end: it will be scheduled.
    Rest,
}

/// Who waits for the outcome of an `init`.
pub(crate) enum InitFor {
    /// The caller: it gets the outcome in return.
    Caller,
    /// Another thread, as long as it likes.
    Waiting(Reply<()>),
    /// Nobody: whoever watches the process is told.
    Nobody,
}

/// A refused message is opened as the type that it was wrapped from.
pub(crate) const RETURNED: &str = "what is refused comes back as it was";

/// A process whose actor's type is forgotten.
pub(crate) trait AnyProcess: Send + Sync {
    fn core(&self) -> &ProcessCore;
    /// Runs it for at most its budget of messages.
    fn run(&self, turn: &Turn<'_>) -> After;
    fn push_any(&self, from: Source, message: Envelope) -> Result<(), SendError<Envelope>>;
    fn push_any_with(
        &self,
        from: Source,
        priority: Priority,
        message: Envelope,
    ) -> Result<(), SendError<Envelope>>;
    fn signal(&self, signal: Signal);
    fn sink_any(&self, wanted: TypeId) -> Option<Box<dyn Any>>;
    /// Whether it hands on what it is sent.
    fn forwards(&self) -> bool;
    /// A meta-process that it owned has ended.
    fn meta_ended(&self, alias: Alias);
    fn info(&self) -> ProcessInfo;
}

impl dyn AnyProcess {
    /// The process as a taker of `T`, if its actor takes such messages.
    pub(crate) fn sink_for<T: 'static>(&self) -> Option<Arc<dyn Sink<T>>> {
        let sink = self.sink_any(TypeId::of::<T>())?;
        Some(
            *sink
                .downcast()
                .expect("a protocol gives the sink that it was asked for"),
        )
    }
}

/// A process with its actor. Public only for the [`protocol!`](crate::protocol) macro.
pub struct Process<A: Actor> {
    core: ProcessCore,
    mailbox: Mailbox<A::Msg>,
    cell: Mutex<Cell<A>>,
    me: Weak<Self>,
}

impl<A: Actor> fmt::Debug for Process<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.core.pid)
            .finish_non_exhaustive()
    }
}

/// What only the running thread touches. The lock is taken once a run and never contended: the
/// run queue holds a process at most once.
struct Cell<A: Actor> {
    /// `None` once it has ended.
    actor: Option<A>,
    /// Messages taken from the mailbox in one go and not yet handled.
    batch: VecDeque<Entry<A::Msg>>,
    trap_exit: bool,
    stage: Stage,
}

/// What a run of the process is for.
enum Stage {
    /// What is in the mailbox.
    Serves,
    /// `init` is still to be called, as the first thing that it does on its worker.
    NeedsInit(InitFor),
    /// Its meta-processes have to end before it can.
    Ending(Reason),
}

impl<A: Actor> Process<A> {
    pub(crate) fn new(
        actor: A,
        pid: Pid,
        parent: Option<&ProcessCore>,
        node: Arc<NodeInner>,
        worker: Arc<Worker>,
        options: &SpawnOptions,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            core: ProcessCore::new(pid, parent, node, worker, options),
            mailbox: Mailbox::new(options.mailbox),
            cell: Mutex::new(Cell {
                actor: Some(actor),
                batch: VecDeque::new(),
                trap_exit: false,
                stage: Stage::Serves,
            }),
            me: me.clone(),
        })
    }

    pub(crate) fn core_ref(&self) -> &ProcessCore {
        &self.core
    }

    /// Itself, for tables and queues.
    pub(crate) fn arc(&self) -> Arc<Self> {
        self.me
            .upgrade()
            .expect("whoever calls this holds a reference")
    }

    /// For the models, in which nobody runs it: what waits for it.
    #[cfg(all(test, loom))]
    pub(crate) fn take_urgent(&self) -> Option<Urgent<A::Msg>> {
        self.mailbox.take_urgent()
    }

    /// For the models: the first step of its end. Gives out what has to end before it.
    #[cfg(all(test, loom))]
    pub(crate) fn close_for_model(&self) -> Vec<Alias> {
        self.core.close()
    }

    /// Whether a signal waits that will end the process.
    pub(crate) fn must_end(&self, traps_exits: bool) -> bool {
        self.mailbox.has_final_signal(traps_exits)
    }

    /// What follows from a push. A process whose conversion panicked ends as if its handler had.
    #[inline]
    fn pushed<T>(&self, pushed: Result<Pushed, Refused<T>>) -> Result<(), SendError<T>> {
        match pushed {
            Ok(pushed) => {
                self.follow_up(pushed);
                Ok(())
            }
            Err(Refused::Send(error)) => Err(error),
            Err(Refused::Conversion(reason)) => {
                AnyProcess::signal(self, Signal::ordered(self.core.pid, reason));
                Ok(())
            }
        }
    }

    #[inline]
    fn follow_up(&self, pushed: Pushed) {
        if pushed == Pushed::Schedule {
            self.schedule();
        }
    }

    #[inline(never)]
    fn schedule(&self) {
        self.core.worker.schedule(self.arc());
    }

    /// Runs `init` on the calling thread.
    ///
    /// After an error the process may still be in the tables, until its meta-processes have ended.
    /// A parent that waits for the outcome is told by the outcome alone.
    pub(crate) fn init(&self, turn: Option<&Turn<'_>>, whom: InitFor) -> Result<(), Reason> {
        let is_timed = self.core.begin_run();
        let flow = self.init_now(turn, whom);
        self.core.end_run(is_timed);
        flow
    }

    fn init_now(&self, turn: Option<&Turn<'_>>, whom: InitFor) -> Result<(), Reason> {
        let _inside = count_as_handler();
        let mut cell = lock(&self.cell);
        let flow = caught(|| {
            let Cell {
                actor, trap_exit, ..
            } = &mut *cell;
            let actor = actor
                .as_mut()
                .expect("the actor is there until the process ends");
            actor.init(&mut Ctx::new(self, trap_exit, turn))
        });
        let parent_waits = !matches!(whom, InitFor::Nobody);
        let (flow, is_heard) = match (whom, flow) {
            (InitFor::Caller, flow) => (flow, true),
            (InitFor::Nobody, flow) => (flow, false),
            (InitFor::Waiting(reply), Ok(())) => match reply.send(()) {
                None => (Ok(()), true),
                // For the parent there is no such process: it has waited long enough.
                Some(()) => (Err(Reason::Kill), false),
            },
            (InitFor::Waiting(reply), Err(reason)) => {
                let is_heard = reply.is_wanted();
                reply.refuse(reason.clone());
                (Err(reason), is_heard)
            }
        };
        match flow {
            Ok(()) => {
                drop(cell);
                drop(self.core.end_init());
                self.follow_up(self.mailbox.open_for_runs());
                Ok(())
            }
            Err(reason) => {
                if parent_waits {
                    self.core.forget_parents_watches();
                }
                if !is_heard {
                    self.log_end(log::Level::Error, &reason);
                }
                // Not `finish`'s callback: `terminate` is for actors that have started.
                self.begin_end(cell, reason.clone(), false, turn);
                Err(reason)
            }
        }
    }

    /// Leaves `init` to the process's first run: for a spawner that must not wait, or not for ever.
    pub(crate) fn init_later(&self, whom: InitFor) {
        lock(&self.cell).stage = Stage::NeedsInit(whom);
        self.core.worker.schedule(self.arc());
    }

    fn serve(&self, cell: &mut Cell<A>, turn: &Turn<'_>) -> Result<After, Reason> {
        let Cell {
            actor,
            batch,
            trap_exit,
            ..
        } = cell;
        let actor = actor
            .as_mut()
            .expect("the actor is there until the process ends");
        let mut left = self.core.node.budget;
        loop {
            while let Some(urgent) = self.mailbox.take_urgent() {
                match urgent {
                    Urgent::Signal(signal) => self.obey(actor, trap_exit, turn, signal)?,
                    Urgent::Message(entry) => {
                        let mut ctx = Ctx::new(self, trap_exit, Some(turn));
                        actor.handle(&mut ctx, entry.from, entry.message)?;
                        self.mailbox.count_handled();
                    }
                }
                left -= 1;
                if left == 0 || !turn.next_message() {
                    return Ok(After::Again);
                }
            }
            let entry = match batch.pop_front() {
                Some(entry) => entry,
                None => match self.mailbox.refill(batch) {
                    Next::Message(entry) => entry,
                    Next::Urgent => continue,
                    Next::Rest => return Ok(After::Rest),
                },
            };
            actor.handle(
                &mut Ctx::new(self, trap_exit, Some(turn)),
                entry.from,
                entry.message,
            )?;
            self.mailbox.count_handled();
            if entry.receipt.amount > 0 {
                turn.handled(entry.receipt);
            }
            left -= 1;
            if left == 0 || !turn.next_message() {
                return Ok(After::Again);
            }
        }
    }

    fn obey(&self, actor: &mut A, trap_exit: &mut bool, turn: &Turn<'_>, signal: Signal) -> Flow {
        match signal {
            Signal::Kill => Err(Reason::Kill),
            Signal::Exit {
                from,
                reason,
                trappable,
            } => {
                if (*trap_exit && trappable) || self.core.supervises() {
                    let mut ctx = Ctx::new(self, trap_exit, Some(turn));
                    actor.exit(&mut ctx, Exit::new(from, reason))
                } else {
                    Err(reason)
                }
            }
            Signal::Down(down) => actor.down(&mut Ctx::new(self, trap_exit, Some(turn)), down),
            Signal::Inspect(reply) if !reply.is_wanted() => Ok(()),
            Signal::Inspect(reply) => {
                let mut items = self.info().items();
                items.extend(actor.inspect());
                reply.send(items);
                Ok(())
            }
        }
    }

    /// The first half of the end: nothing is taken any more, and everything that holds resources
    /// is told to let go. The second half follows when it has.
    fn begin_end(
        &self,
        mut cell: MutexGuard<'_, Cell<A>>,
        reason: Reason,
        started: bool,
        turn: Option<&Turn<'_>>,
    ) {
        let pid = self.core.pid;
        let Left {
            messages,
            signals,
            waiters,
        } = self.mailbox.close();
        // They go beside the state: whoever waits for an answer is told no sooner than a watcher.
        cell.batch.extend(messages);
        // A drop may be user code, and must not take the process's end with it.
        for signal in signals {
            contain(pid, || drop_for(&reason, signal));
        }
        for waiter in waiters {
            contain(pid, waiter);
        }
        if !started {
            let actor = cell.actor.take();
            contain(pid, || drop_for(&reason, actor));
        }
        let metas = self.core.close();
        for action in self.core.strike_timers() {
            contain(pid, || drop_for(&reason, action));
        }
        if metas.is_empty() {
            return self.finish(cell, reason, turn);
        }
        let registry = &self.core.node.registry;
        let known = metas.into_iter().filter_map(|alias| {
            let AliasEntry::Meta { port, parent } = registry.alias(alias)? else {
                return None;
            };
            Some((alias, port, parent))
        });
        let metas: Vec<_> = known.collect();
        if metas.iter().any(|(_, port, _)| port.may_call()) {
            // We would wait for each other.
            drop_left(pid, &mut cell.batch, &reason);
        }
        cell.stage = Stage::Ending(reason.clone());
        drop(cell);
        for (alias, port, parent) in metas {
            let reason = reason.clone();
            contain(alias, || {
                port.exit(if parent == pid {
                    MetaExit::ParentEnded(reason)
                } else {
                    MetaExit::OwnerEnded(reason)
                });
            });
        }
        // The second half may be through already, on another thread.
        contain(pid, || drop(reason));
    }

    /// The second half of the end: all sockets are closed. Names become free, `terminate` is
    /// called, and only then is anyone told, so that whoever restarts the process finds its place
    /// empty.
    ///
    /// Nobody may hold the reason after it: then it goes with us, and not with whoever lets go of the
    /// process last.
    fn finish(&self, mut cell: MutexGuard<'_, Cell<A>>, reason: Reason, turn: Option<&Turn<'_>>) {
        let node = &self.core.node;
        let pid = self.core.pid;
        let (told_of_name, aliases) = self.core.release_addresses();
        let mut actor = cell.actor.take();
        if let Some(actor) = &mut actor {
            let trap_exit = &mut cell.trap_exit;
            contain(pid, || {
                actor.terminate(&mut Ctx::new(self, trap_exit, turn), &reason);
            });
        }
        drop_left(pid, &mut cell.batch, &reason);
        if let Some(actor) = actor {
            contain(pid, || drop_for(&reason, actor));
            let level = if reason.is_clean() {
                log::Level::Debug
            } else {
                log::Level::Error
            };
            self.log_end(level, &reason);
        }
        drop(cell);
        // Empty unless `init` failed: then its children do not outlive it.
        for child in self.core.end_init() {
            if let Some(child) = node.registry.process(child) {
                child.signal(Signal::ordered(pid, reason.clone()));
            }
        }
        // After `terminate`, which may have watched someone.
        self.core.release_watches();
        let told = node.registry.end_process(&self.core);
        for alias in aliases {
            node.registry.notify(alias, &reason, Some(pid));
        }
        if let Some(told) = told_of_name {
            told.tell(&reason, Some(pid));
        }
        told.tell(&reason, Some(pid));
        node.one_ended();
        contain(pid, || drop(reason));
    }

    #[inline(always)]
    fn run_now(&self, turn: &Turn<'_>) -> After {
        let mut cell = lock(&self.cell);
        if let Stage::Ending(_) = cell.stage
            && let Stage::Ending(reason) = std::mem::replace(&mut cell.stage, Stage::Serves)
        {
            self.finish(cell, reason, Some(turn));
            return After::Rest;
        }
        if self.core.own_thread {
            turn.take_thread();
        }
        if let Stage::NeedsInit(_) = cell.stage
            && let Stage::NeedsInit(whom) = std::mem::replace(&mut cell.stage, Stage::Serves)
        {
            drop(cell);
            // A failure ends the process here and now, and is told to whoever waits or watches.
            if let Err(reason) = self.init_now(Some(turn), whom) {
                contain(self.core.pid, || drop(reason));
            }
            return After::Rest;
        }
        match caught(|| self.serve(&mut cell, turn)) {
            Ok(after) => after,
            Err(reason) => {
                self.begin_end(cell, reason, true, Some(turn));
                After::Rest
            }
        }
    }

    fn log_end(&self, level: log::Level, reason: &Reason) {
        let (pid, behaviour) = (self.core.pid, type_name::<A>());
        // An error's text is user code too.
        if log::log_enabled!(target: behaviour, level) && level <= self.core.log_filter() {
            contain(
                pid,
                || log::log!(target: behaviour, level, "{pid}: {reason}"),
            );
        }
    }
}

/// Drops what a process has not come to, one message at a time.
fn drop_left<M>(pid: Pid, messages: &mut VecDeque<Entry<M>>, reason: &Reason) {
    for message in std::mem::take(messages) {
        contain(pid, || drop_for(reason, message));
    }
}

impl<A: Actor> AnyProcess for Process<A> {
    fn core(&self) -> &ProcessCore {
        &self.core
    }

    fn run(&self, turn: &Turn<'_>) -> After {
        let is_timed = self.core.begin_run();
        let after = self.run_now(turn);
        self.core.end_run(is_timed);
        after
    }

    fn push_any(&self, from: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        let pushed = self
            .mailbox
            .push_with(from, Receipt::NONE, message, |message| {
                A::Msg::open(message).map_err(SendError::NotAccepted)
            })?;
        self.follow_up(pushed);
        Ok(())
    }

    fn push_any_with(
        &self,
        from: Source,
        priority: Priority,
        message: Envelope,
    ) -> Result<(), SendError<Envelope>> {
        let open = |message| {
            let opened = A::Msg::open(message);
            opened.map_err(|message| Refused::Send(SendError::NotAccepted(message)))
        };
        self.pushed(self.mailbox.push_ahead(from, priority, message, open))
    }

    fn signal(&self, signal: Signal) {
        let may_end = !matches!(signal, Signal::Down(_) | Signal::Inspect(_));
        if let Some(pushed) = self.mailbox.signal(signal) {
            self.follow_up(pushed);
        }
        if may_end {
            self.core.interrupt_call();
        }
    }

    fn forwards(&self) -> bool {
        A::FORWARDS
    }

    fn sink_any(&self, wanted: TypeId) -> Option<Box<dyn Any>> {
        A::Msg::sink(self.arc(), wanted)
    }

    fn meta_ended(&self, alias: Alias) {
        if self.core.disown_meta(alias) {
            self.core.worker.schedule(self.arc());
        }
    }

    fn info(&self) -> ProcessInfo {
        let (mailbox, messages_in, is_idle) = self.mailbox.depth();
        let known = self.core.info();
        ProcessInfo {
            behaviour: type_name::<A>(),
            mailbox,
            messages_in,
            handled: messages_in - mailbox,
            state: match known.state {
                ProcessState::Running if is_idle => ProcessState::Idle,
                state => state,
            },
            ..known
        }
    }
}

impl<A: Actor, T: Send + 'static> Sink<T> for Process<A>
where
    A::Msg: From<T>,
{
    fn deliver(&self, from: Source, receipt: Receipt, message: T) -> Result<(), SendError<T>> {
        self.pushed(self.mailbox.push(from, receipt, message, false))
    }

    fn deliver_always(
        &self,
        from: Source,
        receipt: Receipt,
        message: T,
    ) -> Result<(), SendError<T>> {
        self.pushed(self.mailbox.push(from, receipt, message, true))
    }

    fn deliver_with(
        &self,
        from: Source,
        priority: Priority,
        message: T,
    ) -> Result<(), SendError<T>> {
        let convert = |message| converted(message).map_err(Refused::Conversion);
        self.pushed(self.mailbox.push_ahead(from, priority, message, convert))
    }

    #[cold]
    fn divert(&self, from: Source, message: T) -> Result<(), SendError<T>> {
        let diverted = self.core.divert(from, Envelope::new(message));
        diverted.map_err(|message| SendError::Full(message.open().expect(RETURNED)))
    }

    fn pid(&self) -> Pid {
        self.core.pid
    }

    fn worker(&self) -> WorkerId {
        self.core.worker.id
    }

    fn now(&self) -> Instant {
        self.core.worker.now()
    }

    fn waiting(&self) -> u64 {
        self.mailbox.depth().0
    }

    fn when_room(&self, waiter: RoomWaiter) -> bool {
        self.mailbox.when_room(waiter)
    }
}
