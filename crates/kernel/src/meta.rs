//! Meta-processes: things with an address that a process owns and that no message loop runs, such
//! as a listening socket or a connection.
//!
//! The kernel knows a meta-process by its [`MetaPort`]: how to send to it, how to end it, what it
//! tells about itself. What it *does* is the affair of whoever made it, usually a
//! [`Driver`](crate::Driver).

mod blocking;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::error::SpawnError;
use crate::event::Events;
use crate::id::{Alias, Name, Pid, Target};
use crate::mailbox::Signal;
use crate::message::{Envelope, Sink, Source};
use crate::node::{NodeInner, SpawnOptions};
use crate::process::AnyProcess;
use crate::reason::Reason;
use crate::registry::{AliasEntry, Registry};
use crate::worker::WorkerId;

pub use blocking::{BlockingMeta, MetaHandle};

/// Called once when a mailbox that was full has room again, from the thread that made the room.
pub type RoomWaiter = Box<dyn FnOnce() + Send>;

/// What [`MetaPort::inspect`] tells: names and values, as text, in the order of their meaning.
pub type Inspection = Vec<(&'static str, String)>;

/// Something that a process can own: the argument of [`Ctx::spawn_meta`].
///
/// `A` is the actor that owns it, so that a meta-process whose messages the actor does not take
/// fails to compile.
pub trait Meta<A: Actor>: Sized {
    /// What the owner gets, such as an address to talk to.
    type Handle;
    /// Why it could not be started.
    type Error;

    /// Starts it on behalf of the process that `ctx` belongs to.
    ///
    /// # Errors
    ///
    /// Nothing must be left behind then.
    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<Self::Handle, Self::Error>;
}

/// Why a meta-process was told to end.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever serves a meta-process handles each"
)]
pub enum MetaExit {
    /// Somebody sent it an exit signal.
    Requested(Reason),
    /// Its parent, the process that spawned it, has ended.
    ParentEnded(Reason),
    /// The process that its messages go to has ended.
    OwnerEnded(Reason),
}

/// How the kernel sees a meta-process. All calls may come from any thread, and none may block.
pub trait MetaPort: Send + Sync {
    /// Takes a message that was sent to the alias.
    ///
    /// # Errors
    ///
    /// Gives the envelope back if the message cannot be taken.
    fn send(&self, from: Source, message: Envelope) -> Result<(), crate::SendError<Envelope>>;

    /// Ends it. Not waited for, but must lead to [`MetaLife::end`], and soon: a process that has
    /// ended waits for its meta-processes before anyone is told.
    fn exit(&self, why: MetaExit);

    /// A snapshot for debugging and monitoring.
    fn inspect(&self) -> Inspection;

    /// Whether its end may wait for an answer of the process that it belongs to, as that of a thread
    /// does which has called it. Such a process drops what waits in its mailbox before it waits for its
    /// meta-processes, and not after. False by default.
    fn may_call(&self) -> bool {
        false
    }

    /// A process that was linked to it (or, if not `linked`, monitored it) is so no more, because it
    /// undid that or has ended. Nothing has to follow, and by default nothing does.
    fn unwatched(&self, watcher: Pid, linked: bool) {
        let _ = (watcher, linked);
    }
}

/// What a meta-process may ask of its node: the parent's place in it, kept for later.
///
/// The parent may end meanwhile. What is left of it then, its number and its settings
/// ([`Ctx::env`]), stays in memory until the last scope is dropped.
#[derive(Clone)]
pub struct MetaScope {
    parent: Arc<dyn AnyProcess>,
    /// Its number, which drivers say with every message.
    pid: Pid,
}

impl fmt::Debug for MetaScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaScope")
            .field("parent", &self.parent())
            .finish_non_exhaustive()
    }
}

impl MetaScope {
    pub(crate) fn new(parent: Arc<dyn AnyProcess>) -> Self {
        let pid = parent.core().pid;
        Self { parent, pid }
    }

    fn node(&self) -> &Arc<NodeInner> {
        &self.parent.core().node
    }

    pub(crate) fn events(&self) -> &Events {
        &self.node().events
    }

    /// The process that owns what is started in this scope.
    pub fn parent(&self) -> Pid {
        self.pid
    }

    /// The worker that the parent lives on.
    pub fn worker(&self) -> WorkerId {
        self.parent.core().worker.id
    }

    /// The time by the node's clock, which is virtual in a simulation.
    pub fn now(&self) -> Instant {
        self.parent.core().worker.now()
    }

    /// What the node's driver factory gave out as the handle of this worker's driver.
    ///
    /// # Panics
    ///
    /// If there is no such worker; a [`WorkerId`] of the same node always exists.
    pub fn driver(&self, worker: WorkerId) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.node().workers()[worker.index()].handle)
    }

    /// A number for a new meta-process.
    pub fn new_alias(&self) -> Alias {
        self.node().new_alias()
    }

    /// Makes a meta-process known under its alias and ties it to its parent.
    ///
    /// # Errors
    ///
    /// [`SpawnError::ParentGone`] if the parent has ended, or is just ending.
    pub fn register(&self, alias: Alias, port: Arc<dyn MetaPort>) -> Result<MetaLife, SpawnError> {
        let registry = &self.node().registry;
        let parent = self.parent();
        // The table first: once the parent knows the alias, its end looks it up there.
        registry.insert_alias(alias, AliasEntry::Meta { port, parent });
        if self.parent.core().own_meta(alias) {
            Ok(MetaLife {
                alias,
                parent: Arc::clone(&self.parent),
                owner: None,
            })
        } else {
            registry.remove_alias(alias);
            // The alias was known for a moment.
            registry.notify(alias, &Reason::NoProcess, None);
            Err(SpawnError::ParentGone)
        }
    }

    /// Finds a process that takes `T`: its mailbox, resolved now and for good.
    ///
    /// `None` if there is no such process, or if it does not take such messages.
    pub fn find<T: 'static>(&self, target: &Target) -> Option<Arc<dyn Sink<T>>> {
        let process = self.node().registry.resolve(target)?;
        if process.core().is_ending() {
            return None;
        }
        process.sink_for::<T>()
    }

    /// Whether the target leads to a process that [hands on](Actor::FORWARDS) what it is sent.
    pub fn is_forwarder(&self, target: &Target) -> bool {
        let process = self.node().registry.resolve(target);
        process.is_some_and(|process| process.forwards())
    }

    /// The name that a process is registered under.
    pub fn name_of(&self, pid: Pid) -> Option<Name> {
        self.node().registry.process(pid)?.core().name()
    }

    /// Starts a process as a child of the parent, without waiting for its `init`, which runs on
    /// its own worker before anything else. Messages can be delivered to it at once.
    ///
    /// # Errors
    ///
    /// As [`Ctx::spawn_with`], except that a failing `init` is told to watchers alone;
    /// [`SpawnError::ParentGone`] if the parent has ended, or is just ending.
    pub fn spawn<A: Actor, T: Send + 'static>(
        &self,
        actor: A,
        options: &SpawnOptions,
    ) -> Result<Arc<dyn Sink<T>>, SpawnError>
    where
        A::Msg: From<T>,
    {
        let parent = self.parent.core();
        if parent.is_ending() {
            return Err(SpawnError::ParentGone);
        }
        let process = self.node().spawn_later(actor, options, Some(parent))?;
        Ok(process)
    }

    /// Sends an exit signal in the parent's name, as [`Ctx::exit`] does.
    pub fn exit(&self, target: Pid, reason: Reason) {
        self.node().exit(Some(self.parent()), target.into(), reason);
    }

    /// Ends the parent as a link to the meta-process would, for one that it cannot do without.
    pub fn fail_parent(&self, alias: Alias, reason: Reason) {
        self.parent.signal(Signal::Exit {
            from: alias.into(),
            reason,
            trappable: true,
        });
    }
}

/// A meta-process's place in the node. Ends it when dropped.
pub struct MetaLife {
    alias: Alias,
    parent: Arc<dyn AnyProcess>,
    owner: Option<Pid>,
}

impl fmt::Debug for MetaLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaLife")
            .field("alias", &self.alias)
            .finish_non_exhaustive()
    }
}

impl MetaLife {
    /// Its address.
    pub fn alias(&self) -> Alias {
        self.alias
    }

    /// The process that spawned it.
    pub fn parent(&self) -> Pid {
        self.parent.core().pid
    }

    fn registry(&self) -> &Registry {
        &self.parent.core().node.registry
    }

    /// Ties it to the process that its messages go to, and not to one that takes its name later: when
    /// that ends, the port is told [`MetaExit::OwnerEnded`]. Frees it of the one it was tied to before.
    ///
    /// # Errors
    ///
    /// [`SpawnError::ParentGone`] if the process has ended, or is just ending.
    pub fn bind(&mut self, owner: Pid) -> Result<(), SpawnError> {
        let owner = Some(owner).filter(|owner| *owner != self.parent());
        if owner == self.owner {
            return Ok(());
        }
        if let Some(owner) = owner {
            let process = self.registry().process(owner);
            let process = process.ok_or(SpawnError::ParentGone)?;
            if !process.core().own_meta(self.alias) {
                return Err(SpawnError::ParentGone);
            }
        }
        // The former owner would wait for it at its end, and never hear of it.
        let former = std::mem::replace(&mut self.owner, owner);
        if let Some(process) = former.and_then(|pid| self.registry().process(pid)) {
            process.meta_ended(self.alias);
        }
        Ok(())
    }

    /// Ends it: the alias leads nowhere from now on, and its watchers are told the reason.
    ///
    /// Whatever it held of the operating system must be closed before.
    pub fn end(self, reason: &Reason) {
        self.finish(reason);
    }

    fn finish(&self, reason: &Reason) {
        let registry = self.registry();
        if registry.remove_alias(self.alias).is_none() {
            return;
        }
        registry.notify(self.alias, reason, None);
        if let Some(owner) = self.owner.and_then(|pid| registry.process(pid)) {
            owner.meta_ended(self.alias);
        }
        self.parent.meta_ended(self.alias);
    }
}

impl Drop for MetaLife {
    fn drop(&mut self) {
        self.finish(&Reason::Kill);
    }
}
