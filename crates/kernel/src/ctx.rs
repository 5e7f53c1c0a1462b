//! What a process can do: the context that every callback gets.

mod calls;
mod timers;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use log::{Level, LevelFilter};

use crate::actor::Actor;
use crate::error::{RelationError, SendError, SpawnError};
use crate::id::{Alias, Name, Pid, Target};
use crate::message::{Address, Priority, Sink, Source};
use crate::meta::{Inspection, Meta, MetaScope};
use crate::node::{Node, SpawnOptions};
use crate::process::Process;
use crate::reason::Reason;
use crate::registry::AliasEntry;
use crate::relations::Kind;
use crate::worker::{Turn, WorkerId};

/// A process's hold on its node, for the length of one callback.
///
/// # Examples
///
/// A process that starts another, watches it, and ends when that does:
///
/// ```
/// use socktree_kernel::{Actor, Ctx, Down, Flow, NoMessages, NodeBuilder, Reason, Source};
///
/// struct Short;
/// impl Actor for Short {
///     type Msg = NoMessages;
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         ctx.exit(ctx.pid(), Reason::Normal); // to itself, once init is done
///         Ok(())
///     }
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
///         match never {}
///     }
/// }
///
/// struct Parent;
/// impl Actor for Parent {
///     type Msg = NoMessages;
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         let child = ctx.spawn(Short)?;
///         ctx.monitor(&child)?;
///         Ok(())
///     }
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
///         match never {}
///     }
///     fn down(&mut self, _: &mut Ctx<'_, Self>, down: Down) -> Flow {
///         Err(down.reason)
///     }
/// }
///
/// # // The child may have ended before it is monitored: then `?` ends the parent, which is fine too.
/// let _ended = NodeBuilder::new("doc@localhost").run(Parent);
/// ```
pub struct Ctx<'a, A: Actor> {
    process: &'a Process<A>,
    trap_exit: &'a mut bool,
    /// The worker's turn that this callback is part of; `None` on a thread outside.
    turn: Option<&'a Turn<'a>>,
}

impl<A: Actor> fmt::Debug for Ctx<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl<'a, A: Actor> Ctx<'a, A> {
    pub(crate) fn new(
        process: &'a Process<A>,
        trap_exit: &'a mut bool,
        turn: Option<&'a Turn<'a>>,
    ) -> Self {
        Self {
            process,
            trap_exit,
            turn,
        }
    }

    fn source(&self) -> Source {
        Source::Process(self.pid())
    }

    /// Whether the target leads to this process.
    fn is_own(&self, target: &Target) -> bool {
        let process = self.process.core_ref().node.registry.resolve(target);
        process.is_some_and(|process| process.core().pid == self.pid())
    }

    // Who and where.

    /// The process's number.
    pub fn pid(&self) -> Pid {
        self.process.core_ref().pid
    }

    /// The process that spawned this one; none if the node did.
    pub fn parent(&self) -> Option<Pid> {
        self.process.core_ref().parent
    }

    /// The name that the process is registered under.
    pub fn name(&self) -> Option<Name> {
        self.process.core_ref().name()
    }

    /// The node.
    pub fn node(&self) -> Node {
        Node::from_inner(Arc::clone(&self.process.core_ref().node))
    }

    /// The worker that the process lives on.
    pub fn worker(&self) -> WorkerId {
        self.process.core_ref().worker.id
    }

    /// The time by the node's clock, which is virtual in a simulation.
    pub fn now(&self) -> Instant {
        self.process.core_ref().worker.now()
    }

    /// A setting of this process's: its own ([`SpawnOptions::env`]), or as its parent had it when it
    /// started this one, up to the node's ([`NodeBuilder::env`](crate::NodeBuilder::env)).
    ///
    /// # Examples
    ///
    /// ```
    /// # use socktree_kernel::{Actor, Ctx, Flow, NoMessages, NodeBuilder, Reason, Source};
    /// struct Child;
    /// impl Actor for Child {
    ///     type Msg = NoMessages;
    ///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
    ///         assert_eq!(ctx.env("region").as_deref(), Some("north"));
    ///         Ok(())
    ///     }
    /// #   fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
    /// #       match never {}
    /// #   }
    /// }
    /// let node = NodeBuilder::new("doc@localhost").env("region", "north").start()?;
    /// node.spawn(Child)?;
    /// # node.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env(&self, name: &str) -> Option<Arc<str>> {
        self.process.core_ref().env.get(name)
    }

    /// The process's own typed address, to give to others.
    pub fn me(&self) -> Address<A::Msg> {
        Address::new(self.process.arc())
    }

    // Messages.

    /// Sends a message to whatever the target is: a process or a meta-process.
    ///
    /// `Ok` means that the message is in the mailbox, not that it was handled. Messages from one
    /// process to one target arrive in the order in which they were sent.
    ///
    /// # Errors
    ///
    /// The message comes back if there is no such target, if it takes no messages of this type,
    /// if it has ended, or if its mailbox is full.
    pub fn send<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<(), SendError<T>> {
        let priority = self.process.core_ref().send_priority;
        self.send_with_priority(to, message, priority)
    }

    /// Sends to a typed address: no lookup, no box, and wrong types do not compile.
    ///
    /// # Errors
    ///
    /// The message comes back if the process has ended or its mailbox is full.
    pub fn send_to<M: Send + 'static>(
        &mut self,
        to: &Address<M>,
        message: impl Into<M>,
    ) -> Result<(), SendError<M>> {
        let sent = match self.process.core_ref().send_priority {
            Priority::Normal => to.send_from(self.source(), message.into()),
            priority => to.send_from_with(self.source(), message.into(), priority),
        };
        self.counted(sent)
    }

    /// As [`send`](Self::send), ahead of what has a lower priority. A meta-process takes all in
    /// the order in which they come.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_with_priority<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
        priority: Priority,
    ) -> Result<(), SendError<T>> {
        let node = &self.process.core_ref().node;
        self.counted(node.send_with(self.source(), &to.into(), message, priority))
    }

    /// As [`send_to`](Self::send_to), ahead of what has a lower priority.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn send_to_with_priority<M: Send + 'static>(
        &mut self,
        to: &Address<M>,
        message: impl Into<M>,
        priority: Priority,
    ) -> Result<(), SendError<M>> {
        self.counted(to.send_from_with(self.source(), message.into(), priority))
    }

    /// Counts a message that was taken.
    #[inline]
    fn counted<E>(&self, sent: Result<(), E>) -> Result<(), E> {
        // Spelt out: what was taken is then not moved as if it might have been refused.
        match sent {
            Ok(()) => {
                self.count_sent(1);
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }

    /// Counts messages of this process's that were taken.
    #[inline]
    pub(crate) fn count_sent(&self, messages: u64) {
        self.process.core_ref().meter.count_sent(messages);
    }

    // Processes.

    /// Starts a process and waits for its `init`, which runs on the calling thread.
    ///
    /// The new process is not linked: it goes on when this one ends, until it ends by itself or the
    /// node stops. With [`spawn_link`](Self::spawn_link) both end together.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Init`] with the reason if `init` failed. By then its meta-processes have
    /// ended, and the processes that it had spawned have been told to, linked or not. Only where no
    /// [spare thread](crate::NodeBuilder::spare_threads) is left to run them, that is not waited for.
    pub fn spawn<B: Actor>(&mut self, actor: B) -> Result<Address<B::Msg>, SpawnError> {
        self.spawn_with(actor, SpawnOptions::new())
    }

    /// Starts a process that ends when this one does, and the other way round.
    ///
    /// As Erlang's `spawn_link`, but for two things: the end of either ends the other whatever its
    /// reason, [`Reason::Normal`] included, and the new process cannot trap that of its parent.
    /// This one hears of its child's end in [`Actor::exit`] if it [traps exits](Self::trap_exit).
    /// [`SpawnOptions::link_parent`] and [`SpawnOptions::link_child`] link one way only.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn). This process goes on then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use socktree_kernel::{Actor, Ctx, Flow, NoMessages, NodeBuilder, Source, Supervisor};
    /// # struct Worker;
    /// # impl Actor for Worker {
    /// #     type Msg = NoMessages;
    /// #   fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
    /// #       match never {}
    /// #   }
    /// # }
    /// struct Service;
    /// impl Actor for Service {
    ///     type Msg = NoMessages;
    ///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
    ///         // Gives up if its workers fail too often, and takes them along when it ends.
    ///         ctx.spawn_link(Supervisor::one_for_one().child("worker", || Worker))?;
    ///         Ok(())
    ///     }
    /// #   fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
    /// #       match never {}
    /// #   }
    /// }
    /// # let node = NodeBuilder::new("doc@localhost").start()?;
    /// # node.spawn(Service)?;
    /// # node.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_link<B: Actor>(&mut self, actor: B) -> Result<Address<B::Msg>, SpawnError> {
        self.spawn_with(actor, SpawnOptions::new().link_parent().link_child())
    }

    /// Starts a process under a registered name.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn), and [`SpawnError::NameTaken`].
    pub fn spawn_named<B: Actor>(
        &mut self,
        name: impl Into<Name>,
        actor: B,
    ) -> Result<Address<B::Msg>, SpawnError> {
        self.spawn_with(actor, SpawnOptions::new().name(name))
    }

    /// Starts a process with options.
    ///
    /// # Errors
    ///
    /// As [`spawn_named`](Self::spawn_named).
    pub fn spawn_with<B: Actor>(
        &mut self,
        actor: B,
        options: SpawnOptions,
    ) -> Result<Address<B::Msg>, SpawnError> {
        let core = self.process.core_ref();
        core.node.spawn(actor, &options, Some(core), self.turn)
    }

    /// Starts a meta-process, such as a listener, owned by this process: it ends when this does.
    ///
    /// # Errors
    ///
    /// What the meta-process says; nothing is left behind then.
    pub fn spawn_meta<M: Meta<A>>(&mut self, meta: M) -> Result<M::Handle, M::Error> {
        meta.spawn(self)
    }

    /// For [`Meta::spawn`]: this process's place in the node.
    pub fn meta_scope(&self) -> MetaScope {
        MetaScope::new(self.process.arc())
    }

    /// For [`Meta::spawn`]: this process as a taker of `T`.
    pub fn sink<T: Send + 'static>(&self) -> Arc<dyn Sink<T>>
    where
        A::Msg: From<T>,
    {
        self.process.arc()
    }

    /// Runs something that blocks, while the worker goes on under another thread.
    ///
    /// A handler that blocks without this is noticed too, after the node's
    /// [`stuck_after`](crate::NodeBuilder::stuck_after); this saves its neighbours that wait.
    pub fn blocking<T>(&mut self, f: impl FnOnce() -> T) -> T {
        if let Some(turn) = self.turn {
            turn.hand_over();
        }
        f()
    }

    /// Lets the worker go on under another thread, so that this one can wait for what other
    /// processes do. False if there is no thread to do so.
    pub(crate) fn may_wait(&self) -> bool {
        self.process.core_ref().node.may_wait(self.turn)
    }

    // Ends.

    /// Sends an exit signal: the target ends with the reason, unless it traps exits.
    ///
    /// [`Reason::Kill`], and a signal from the target's parent, cannot be trapped. Unlike in Erlang
    /// [`Reason::Normal`] is no exception: it ends the target as any other reason does. A
    /// meta-process ends always. Nothing happens if there is no such target. A process may send one
    /// to itself.
    pub fn exit(&mut self, target: impl Into<Target>, reason: Reason) {
        let core = self.process.core_ref();
        core.node.exit(Some(core.pid), target.into(), reason);
    }

    /// Whether exit signals come to [`Actor::exit`] instead of ending the process. Off at first.
    ///
    /// Four cannot be trapped: a [kill](Reason::Kill), a signal that the parent sends, the end of a
    /// parent that this process is linked to, and the node's stop.
    pub fn trap_exit(&mut self, on: bool) {
        *self.trap_exit = on;
    }

    /// Links this process to the target: when the target ends, this process gets an exit signal
    /// with its reason, and ends too unless it [traps exits](Self::trap_exit). Unlike in Erlang it
    /// does so for [`Reason::Normal`] as well. The other way round nothing happens; two links make
    /// it mutual.
    ///
    /// # Errors
    ///
    /// [`RelationError::Unknown`] if there is no such target any more,
    /// [`RelationError::Exists`] if it is linked already.
    pub fn link(&mut self, target: impl Into<Target>) -> Result<(), RelationError> {
        let target = target.into();
        if self.is_own(&target) {
            return Err(RelationError::ToItself);
        }
        self.watch(&target, Kind::Link)
    }

    /// Undoes [`link`](Self::link).
    ///
    /// # Errors
    ///
    /// [`RelationError::NoRelation`] if there is no such link.
    pub fn unlink(&mut self, target: impl Into<Target>) -> Result<(), RelationError> {
        self.unwatch(&target.into(), Kind::Link)
    }

    /// Monitors the target: when it ends, [`Actor::down`] is called, once. A name or an alias can
    /// also go while its process lives on; then the reason is [`Reason::Unregistered`].
    ///
    /// # Errors
    ///
    /// As [`link`](Self::link).
    pub fn monitor(&mut self, target: impl Into<Target>) -> Result<(), RelationError> {
        self.watch(&target.into(), Kind::Monitor)
    }

    /// Undoes [`monitor`](Self::monitor). A notice that is already in the mailbox still comes.
    ///
    /// # Errors
    ///
    /// [`RelationError::NoRelation`] if there is no such monitor.
    pub fn demonitor(&mut self, target: impl Into<Target>) -> Result<(), RelationError> {
        self.unwatch(&target.into(), Kind::Monitor)
    }

    /// Declares that this process ends its children before itself.
    pub(crate) fn supervise(&self) {
        self.process.core_ref().supervise();
    }

    fn watch(&self, target: &Target, kind: Kind) -> Result<(), RelationError> {
        let core = self.process.core_ref();
        core.node.registry.watch(core, target, kind)
    }

    fn unwatch(&self, target: &Target, kind: Kind) -> Result<(), RelationError> {
        let core = self.process.core_ref();
        if core.node.registry.unwatch(core, target, kind) {
            Ok(())
        } else {
            Err(RelationError::NoRelation)
        }
    }

    // Names and aliases.

    /// Registers the process under a name.
    ///
    /// # Errors
    ///
    /// [`RelationError::NameTaken`], [`RelationError::HasName`] if it has one already, or
    /// [`RelationError::Ending`] in [`Actor::terminate`].
    pub fn register(&mut self, name: impl Into<Name>) -> Result<(), RelationError> {
        let (name, core) = (name.into(), self.process.core_ref());
        if name.as_str().len() > Name::MAX_LEN {
            return Err(RelationError::NameTooLong(name.as_str().len()));
        }
        if core.is_ending() {
            return Err(RelationError::Ending);
        }
        if let Some(name) = core.name() {
            return Err(RelationError::HasName(name));
        }
        core.node.registry.take_name(&name, self.process.arc())?;
        if core.set_name(Some(name.clone())) {
            return Ok(());
        }
        // Nothing would free it any more.
        if let Some(told) = core.node.registry.free_name(&name) {
            told.tell(&Reason::Unregistered, None);
        }
        Err(RelationError::Ending)
    }

    /// Gives the name up; whoever watches it is told [`Reason::Unregistered`].
    ///
    /// # Errors
    ///
    /// [`RelationError::NoRelation`] if the process has no name.
    /// [`RelationError::Ending`] in [`Actor::terminate`], where its name is free already.
    pub fn unregister(&mut self) -> Result<(), RelationError> {
        let core = self.process.core_ref();
        let name = core.name().ok_or(RelationError::NoRelation)?;
        if !core.set_name(None) {
            return Err(RelationError::Ending);
        }
        if let Some(told) = core.node.registry.free_name(&name) {
            told.tell(&Reason::Unregistered, None);
        }
        Ok(())
    }

    /// Makes a further address for the process, to be given up without ending the process. In
    /// [`Actor::terminate`] it leads nowhere from the beginning.
    pub fn create_alias(&mut self) -> Alias {
        let core = self.process.core_ref();
        let alias = core.node.new_alias();
        core.node
            .registry
            .insert_alias(alias, AliasEntry::Process(self.process.arc()));
        if !core.own_alias(alias) {
            core.node.registry.remove_alias(alias);
        }
        alias
    }

    /// Gives an alias up; whoever watches it is told [`Reason::Unregistered`].
    ///
    /// # Errors
    ///
    /// [`RelationError::NotOwner`] if it is not one of this process's own.
    pub fn delete_alias(&mut self, alias: Alias) -> Result<(), RelationError> {
        let core = self.process.core_ref();
        if !core.disown_alias(alias) {
            return Err(RelationError::NotOwner(core.pid));
        }
        core.node.registry.remove_alias(alias);
        let registry = &core.node.registry;
        registry.notify(alias, &Reason::Unregistered, None);
        Ok(())
    }

    /// Writes a log record in the process's name: its actor's type is the target, and its name or
    /// number leads the text. Levels past [`log_level`](Self::log_level) are left out.
    ///
    /// # Examples
    ///
    /// ```
    /// # use socktree_kernel::{Actor, Ctx, Level};
    /// # fn handler<A: Actor>(ctx: &mut Ctx<'_, A>, seen: u32) {
    /// ctx.log(Level::Info, format_args!("{seen} messages so far"));
    /// # }
    /// ```
    pub fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        let core = self.process.core_ref();
        let target = std::any::type_name::<A>();
        if level > core.log_filter() || !log::log_enabled!(target: target, level) {
            return;
        }
        match core.name() {
            Some(name) => log::log!(target: target, level, "{name}: {text}"),
            None => log::log!(target: target, level, "{}: {text}", core.pid),
        }
    }

    /// How much of what this process has to say is logged, if the logger wants it at all. The
    /// reason of its end is part of that. Everything by default.
    pub fn log_level(&mut self, filter: LevelFilter) {
        self.process.core_ref().set_log_filter(filter);
    }

    /// What is known of the target without asking its actor, or `None` if there is none. Never waits.
    /// [`inspect_actor`](Self::inspect_actor) tells what the actor adds.
    pub fn inspect(&self, target: impl Into<Target>) -> Option<Inspection> {
        self.process.core_ref().node.inspect(&target.into())
    }
}
