//! Meta-processes that block: a loop on a thread of its own, and a handler on the scheduler.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread;

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::error::{SendError, SpawnError};
use crate::guard::{caught, contain};
use crate::id::{Alias, Pid};
use crate::mailbox::Signal;
use crate::message::{Envelope, NoMessages, Protocol, Receipt, Sink, Source};
use crate::meta::{Inspection, Meta, MetaExit, MetaLife, MetaPort, MetaScope};
use crate::node::{Node, SpawnOptions, is_in_handler};
use crate::process::{AnyProcess, InitFor, Process};
use crate::reason::{Flow, Reason};
use crate::sync::lock;

/// What runs on the thread.
type Start<T> = Box<dyn FnOnce(&MetaHandle<T>) -> Flow + Send>;
/// What runs on the scheduler, once for each message that is sent to the alias.
type HandleOne<T, M> = Box<dyn FnMut(&MetaHandle<T>, Source, M) -> Flow + Send>;
type OnExit = Box<dyn FnOnce() + Send>;

/// A meta-process around something that blocks, such as a pipe or a device.
///
/// It has two halves that run side by side. `start` has a thread to itself, may block, and sends
/// what it finds to the owner, as messages of the type `T`. The [handler](BlockingMeta::handler) runs on
/// the owner's worker and takes what others send to the alias, one message at a time. They share
/// what both closures hold.
///
/// The meta-process ends when `start` returns, when the handler fails, when it gets an exit signal,
/// or when its owner ends. Its reason is that of whichever came first. The end waits for the message
/// that the handler is just at. `start` is made to return by what [`on_exit`](Self::on_exit) does, and
/// the end waits for it too; without that, it is not waited for, and finds that nobody listens any more
/// the next time it [sends](MetaHandle::send).
///
/// As always, exits and notices overtake messages: whoever must not miss the last ones has `start`
/// send its end as a message of its own.
///
/// [`Node::inspect`] tells what it has sent and, if there is a handler, what waits for that, what came, and
/// how long it ran if the node [measures it](crate::NodeBuilder::measure_running_time).
///
/// # Examples
///
/// The lines of a file, as far as the owner wants them:
///
/// ```
/// use std::io::{BufRead, BufReader};
/// use socktree_kernel::{Actor, BlockingMeta, Ctx, Flow, NodeBuilder, Reason, Source, protocol};
///
/// struct Line(String);
/// protocol!(Line);
///
/// struct Head { path: &'static str, left: usize }
/// impl Actor for Head {
///     type Msg = Line;
///
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         let file = BufReader::new(std::fs::File::open(self.path)?);
///         ctx.spawn_meta(BlockingMeta::new(move |owner| {
///             for line in file.lines() {
///                 owner.send(Line(line?))?;
///             }
///             Ok(())
///         }))?;
///         Ok(())
///     }
///
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, Line(line): Line) -> Flow {
///         println!("{line}");
///         self.left -= 1;
///         if self.left == 0 { Err(Reason::Normal) } else { Ok(()) }
///     }
/// }
///
/// NodeBuilder::new("head@localhost").run(Head { path: "Cargo.toml", left: 3 })?;
/// # Ok::<(), socktree_kernel::NodeError>(())
/// ```
#[must_use = "a meta-process is started by `ctx.spawn_meta`"]
pub struct BlockingMeta<T, M: Protocol = NoMessages> {
    start: Start<T>,
    handler: Option<(HandleOne<T, M>, SpawnOptions)>,
    on_exit: Option<OnExit>,
}

impl<T, M: Protocol> fmt::Debug for BlockingMeta<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingMeta").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> BlockingMeta<T> {
    /// A meta-process that runs this on a thread of its own. What is sent to its alias is refused,
    /// unless there is a [handler](Self::handler).
    pub fn new(start: impl FnOnce(&MetaHandle<T>) -> Flow + Send + 'static) -> Self {
        Self {
            start: Box::new(start),
            handler: None,
            on_exit: None,
        }
    }

    /// Takes what is sent to the alias: one message at a time, on the owner's worker, where it must
    /// not block. At most `mailbox` messages wait for it. An error ends the meta-process with it.
    pub fn handler<M: Protocol>(
        self,
        mailbox: usize,
        handle: impl FnMut(&MetaHandle<T>, Source, M) -> Flow + Send + 'static,
    ) -> BlockingMeta<T, M> {
        let options = SpawnOptions::new().mailbox(mailbox);
        BlockingMeta {
            start: self.start,
            handler: Some((Box::new(handle), options)),
            on_exit: self.on_exit,
        }
    }
}

impl<T, M: Protocol> BlockingMeta<T, M> {
    /// Makes `start` return when the meta-process is told to end, by closing or killing what it
    /// waits for. Called at most once, on any thread; it must not block.
    pub fn on_exit(mut self, f: impl FnOnce() + Send + 'static) -> Self {
        self.on_exit = Some(Box::new(f));
        self
    }
}

impl<A, T, M> Meta<A> for BlockingMeta<T, M>
where
    A: Actor,
    A::Msg: From<T>,
    T: Send + 'static,
    M: Protocol,
{
    type Handle = Alias;
    type Error = SpawnError;

    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<Alias, SpawnError> {
        let scope = ctx.meta_scope();
        let alias = scope.new_alias();
        let shared = Arc::new(Shared {
            alias,
            parent: scope.parent(),
            handler: OnceLock::new(),
            end: Mutex::new(End {
                reason: None,
                life: None,
                start_is_over: self.on_exit.is_none(),
                handler_is_over: self.handler.is_none(),
                on_exit: self.on_exit,
                rooms: 0,
            }),
            bell: Condvar::new(),
            sent: AtomicU64::new(0),
        });
        let handle = MetaHandle {
            shared: Arc::clone(&shared),
            owner: ctx.sink::<T>(),
            node: ctx.node(),
        };
        let handler = self.handler.map(|(handle_one, options)| {
            let half = HandlerHalf {
                meta: handle.clone(),
                handle_one: Some(handle_one),
            };
            scope.hidden(half, &options)
        });
        if let Some(half) = &handler {
            let half = Arc::downgrade(half);
            let set = shared.handler.set(half as Weak<dyn AnyProcess>);
            set.unwrap_or_else(|_| unreachable!("a meta-process is started once"));
        }
        let port = Port {
            shared: Arc::clone(&shared),
            handler: handler.map(|half| half as Arc<dyn AnyProcess>),
        };
        let life = scope.register(alias, Arc::new(port))?;
        lock(&shared.end).life = Some(life);
        // It may have been told to end as soon as it was known.
        shared.settle();
        let (name, start) = (format!("{}-meta", handle.node.name()), self.start);
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let flow = caught(|| start(&handle));
            let reason = flow.err().unwrap_or(Reason::Normal);
            handle.shared.start_is_over(reason);
        });
        if let Err(error) = spawned {
            shared.start_is_over(Reason::Kill);
            return Err(SpawnError::Thread(error.kind()));
        }
        Ok(alias)
    }
}

/// What both halves of a [`BlockingMeta`] know of it, and how they reach the owner.
pub struct MetaHandle<T> {
    shared: Arc<Shared>,
    owner: Arc<dyn Sink<T>>,
    node: Node,
}

impl<T> Clone for MetaHandle<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            owner: Arc::clone(&self.owner),
            node: self.node.clone(),
        }
    }
}

impl<T> fmt::Debug for MetaHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaHandle")
            .field("alias", &self.shared.alias)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> MetaHandle<T> {
    /// The meta-process's address.
    pub fn alias(&self) -> Alias {
        self.shared.alias
    }

    /// The process that owns it.
    pub fn parent(&self) -> Pid {
        self.shared.parent
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Whether it was told to end.
    pub fn is_ending(&self) -> bool {
        lock(&self.shared.end).reason.is_some()
    }

    /// Sends to the owner. On the thread of `start` it waits while the owner's mailbox is full, so
    /// that a fast source does not fill the memory of a slow owner; in a handler it does not.
    ///
    /// # Errors
    ///
    /// Gives the message back if the meta-process or its owner ends; in a handler also if the
    /// owner's mailbox is full.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        let from = Source::Meta {
            alias: self.shared.alias,
            parent: self.shared.parent,
        };
        let mut message = message;
        loop {
            let end = lock(&self.shared.end);
            let (seen, is_ending) = (end.rooms, end.reason.is_some());
            drop(end);
            if is_ending {
                return Err(SendError::Terminated(message));
            }
            message = match self.owner.deliver(from, Receipt::NONE, message) {
                Err(SendError::Full(message)) if !is_in_handler() => message,
                Err(refused) => return Err(refused),
                Ok(()) => {
                    self.shared.sent.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
            };
            let shared = Arc::clone(&self.shared);
            if self.owner.when_room(Box::new(move || shared.has_room())) {
                self.shared.wait_for_room(seen);
            }
        }
    }
}

/// The state of a blocking meta-process that its halves, its port and its waiters share.
struct Shared {
    alias: Alias,
    parent: Pid,
    handler: OnceLock<Weak<dyn AnyProcess>>,
    end: Mutex<End>,
    /// Rung when there is room at the owner's, and at the end.
    bell: Condvar,
    /// Messages that the owner has taken. Both halves send.
    sent: AtomicU64,
}

struct End {
    /// Why it ends: set once, by whoever is first.
    reason: Option<Reason>,
    /// Its place in the node, taken by whoever ends it.
    life: Option<MetaLife>,
    /// Nothing of `start` is waited for any more, because it has returned or cannot be made to.
    start_is_over: bool,
    /// There is no handler, or none any more.
    handler_is_over: bool,
    on_exit: Option<OnExit>,
    /// How often there was room at the owner's.
    rooms: u64,
}

impl Shared {
    fn exit(&self, reason: Reason) {
        let mut end = lock(&self.end);
        if end.reason.is_some() {
            return;
        }
        end.reason = Some(reason);
        let on_exit = end.on_exit.take();
        drop(end);
        self.bell.notify_all();
        if let Some(on_exit) = on_exit {
            contain(self.alias, on_exit);
        }
        self.settle();
    }

    fn start_is_over(&self, reason: Reason) {
        let mut end = lock(&self.end);
        let is_first = end.reason.is_none();
        if is_first {
            end.reason = Some(reason.clone());
        }
        end.start_is_over = true;
        let on_exit = end.on_exit.take();
        drop(end);
        // Without the lock: a logger is the user's, and may look at this or send through it.
        if is_first && !reason.is_clean() {
            let alias = self.alias;
            contain(alias, || log::error!("{alias}: {reason}"));
        }
        // A sender in the handler's thread may wait, and what is not needed any more is dropped.
        self.bell.notify_all();
        contain(self.alias, || drop(on_exit));
        self.settle();
    }

    fn handler_is_over(&self) {
        lock(&self.end).handler_is_over = true;
        self.settle();
    }

    /// Ends it if there is a reason and nothing to wait for.
    fn settle(&self) {
        let mut end = lock(&self.end);
        let Some(reason) = end.reason.clone() else {
            return;
        };
        if !end.handler_is_over {
            drop(end);
            // It may be at a message just now. Without the process, its drop is what comes next.
            if let Some(half) = self.handler.get().and_then(Weak::upgrade) {
                half.signal(Signal::ordered(half.core().pid, Reason::Normal));
            }
            return;
        }
        if !end.start_is_over {
            return;
        }
        let life = end.life.take();
        drop(end);
        if let Some(life) = life {
            life.end(&reason);
        }
    }

    fn has_room(&self) {
        lock(&self.end).rooms += 1;
        self.bell.notify_all();
    }

    fn wait_for_room(&self, seen: u64) {
        let end = lock(&self.end);
        let full = |end: &mut End| end.rooms == seen && end.reason.is_none();
        let _room = self
            .bell
            .wait_while(end, full)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// How the node sees it.
struct Port {
    shared: Arc<Shared>,
    handler: Option<Arc<dyn AnyProcess>>,
}

impl MetaPort for Port {
    fn send(&self, from: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        match &self.handler {
            Some(half) => half.push_any(from, message),
            None => Err(SendError::NotAccepted(message)),
        }
    }

    fn exit(&self, why: MetaExit) {
        let (MetaExit::Requested(reason)
        | MetaExit::ParentEnded(reason)
        | MetaExit::OwnerEnded(reason)) = why;
        self.shared.exit(reason);
    }

    fn may_call(&self) -> bool {
        let end = lock(&self.shared.end);
        !(end.start_is_over && end.handler_is_over)
    }

    fn inspect(&self) -> Inspection {
        let sent = self.shared.sent.load(Ordering::Relaxed);
        let mut items = vec![
            ("parent", self.shared.parent.to_string()),
            ("messages out", sent.to_string()),
        ];
        if let Some(half) = &self.handler {
            let info = half.info();
            items.push(("mailbox", info.mailbox.to_string()));
            items.push(("messages in", info.messages_in.to_string()));
            let ran = info.running_time;
            items.extend(ran.map(|ran| ("running time", format!("{ran:?}"))));
        }
        items
    }
}

/// The handler as a process that is in no table: it has the meta-process's address, and no other.
struct HandlerHalf<T, M> {
    meta: MetaHandle<T>,
    /// `None` once it is dropped.
    handle_one: Option<HandleOne<T, M>>,
}

impl<T: Send + 'static, M: Protocol> Actor for HandlerHalf<T, M> {
    type Msg = M;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, from: Source, message: M) -> Flow {
        let handle_one = self.handle_one.as_mut();
        handle_one.expect("it goes with the process")(&self.meta, from, message)
    }

    fn terminate(&mut self, _: &mut Ctx<'_, Self>, reason: &Reason) {
        self.meta.shared.exit(reason.clone());
    }
}

impl<T, M> Drop for HandlerHalf<T, M> {
    /// Nobody is told before what the handler holds is gone.
    fn drop(&mut self) {
        let shared = &self.meta.shared;
        let handle_one = self.handle_one.take();
        contain(shared.alias, || drop(handle_one));
        shared.handler_is_over();
    }
}

impl MetaScope {
    /// Starts a process that nobody can find.
    fn hidden<A: Actor>(&self, actor: A, options: &SpawnOptions) -> Arc<Process<A>> {
        let (node, worker) = (
            Arc::clone(self.node()),
            Arc::clone(&self.parent.core().worker),
        );
        let pid = node.new_pid();
        let process = Process::new(actor, pid, None, node, worker, options);
        let started = process.init(None, InitFor::Caller);
        started.expect("a handler has no init of its own that could fail");
        process
    }
}
