//! A pool: several equal workers behind one address.

use std::any::{Any, TypeId};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actor::{Actor, Down, Exit};
use crate::call::Reply;
use crate::ctx::Ctx;
use crate::error::SpawnError;
use crate::guard::{Foreign, contain};
use crate::id::{Name, Pid};
use crate::message::{Address, Envelope, Protocol, Sink, Source};
use crate::node::SpawnOptions;
use crate::process::Process;
use crate::reason::{Flow, Reason};
use crate::supervisor::{
    AutoShutdown, ChildId, Crew, Host, Policy, Restart, Rules, Shutdown, Strategy, Tick, Traits,
    crew,
};

/// How often a pool looks whether a worker that it gave up has handled what it still had.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// How long a worker that was given up may take to handle what it still has.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Takes a message that no worker took, and who sent it.
type OnRefused<M> = Box<dyn FnMut(Source, M) + Send>;

/// Forwards each message to one of several equal workers, which take turns.
///
/// A worker whose mailbox is full is skipped; one that ends is replaced at once, under the rules of
/// a [`Supervisor`](crate::Supervisor) with the same limits. The message keeps its
/// sender, so a worker that answers answers the one who asked, and its end ends a call as it
/// always does. When no worker takes a message, [`on_refused`](Self::on_refused) gets it.
///
/// Two messages of one sender may go to two workers and be handled in any order. That makes a pool
/// a [forwarder](Actor::FORWARDS), and no owner of connections, whose bytes would be torn apart.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use socktree_kernel::{
///     Actor, Ctx, Flow, NodeBuilder, Pool, Reply, Source, SpawnOptions, protocol,
/// };
///
/// struct Square(u64, Reply<u64>);
/// protocol!(Square);
/// struct Worker;
/// impl Actor for Worker {
///     type Msg = Square;
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, Square(n, reply): Square) -> Flow {
///         reply.send(n * n);
///         Ok(())
///     }
/// }
///
/// let node = NodeBuilder::new("doc@localhost").start()?;
/// let squares = Pool::new(3, || Worker).options(SpawnOptions::new().mailbox(100));
/// node.spawn_with(squares, SpawnOptions::new().name("squares"))?;
/// let answer = node.call("squares", |reply| Square(7, reply), Duration::from_secs(1))?;
/// assert_eq!(answer, 49);
/// # node.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a pool does nothing until it is spawned"]
pub struct Pool<A: Actor> {
    make: Box<dyn Fn() -> A + Send>,
    options: SpawnOptions,
    size: usize,
    on_refused: OnRefused<A::Msg>,
    crew: Crew,
    workers: HashMap<ChildId, Address<A::Msg>>,
    /// Those that get messages; the first is next.
    turn: VecDeque<ChildId>,
    /// Those that get none any more, and until when they may handle what they have.
    leaving: Vec<(ChildId, Instant)>,
    /// Why the worker that was asked for just now could not be started.
    failed: Option<SpawnError>,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    forwarded: u64,
    refused: u64,
    restarts: u64,
}

impl<A: Actor> fmt::Debug for Pool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl<A: Actor> Pool<A> {
    /// A pool of this many workers, each made by `make`. 0 counts as 1.
    pub fn new(size: usize, make: impl Fn() -> A + Send + 'static) -> Self {
        let policy = Policy {
            strategy: Strategy::SimpleOneForOne,
            intensity: 5,
            period: Duration::from_secs(5),
            retry: (Duration::from_millis(100), Duration::ZERO),
            keep_order: false,
            auto_shutdown: AutoShutdown::Any,
        };
        Self {
            make: Box::new(make),
            options: SpawnOptions::new(),
            size: size.max(1),
            on_refused: Box::new(|from, _| {
                log::error!("no worker of a pool takes a message of {from:?}: it is dropped");
            }),
            crew: Crew::new(Rules::new(policy)),
            workers: HashMap::new(),
            turn: VecDeque::new(),
            leaving: Vec::new(),
            failed: None,
            counts: Counts::default(),
        }
    }

    /// How each worker is spawned, such as how many messages may wait for it. Links, and the name,
    /// are the pool's affair.
    pub fn options(mut self, options: SpawnOptions) -> Self {
        self.options = options;
        self
    }

    /// How many replacements within what time are allowed; more end the pool. 5 within 5 seconds
    /// by default.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        let policy = self.crew.rules.policy_mut();
        (policy.intensity, policy.period) = (restarts, period);
        self
    }

    /// How long to wait after a replacement that could not be started. 100 ms by default.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.crew.rules.policy_mut().retry.0 = delay;
        self
    }

    /// What to do with a message that no worker took, because all are full or just being
    /// replaced. It gets the message and its sender, so that nothing is lost unseen. By default it
    /// is dropped, which a call hears of at once, and the log says so. A panic in it is only logged.
    pub fn on_refused(mut self, take: impl FnMut(Source, A::Msg) + Send + 'static) -> Self {
        self.on_refused = Box::new(take);
        self
    }

    fn place(&mut self) -> ChildId {
        self.crew.rules.place(Traits {
            name: Name::from("worker"),
            restart: Restart::Permanent,
            significant: false,
            shutdown: Shutdown::Within(Duration::from_secs(5)),
            instance: true,
        })
    }

    fn forward(&mut self, ctx: &Ctx<'_, Self>, from: Source, mut message: A::Msg) {
        for _ in 0..self.turn.len() {
            self.turn.rotate_left(1);
            let last = self.turn.back();
            let worker = last.and_then(|id| self.workers.get(id));
            let Some(worker) = worker else {
                continue;
            };
            match worker.send_from(from, message) {
                Ok(()) => {
                    self.counts.forwarded += 1;
                    ctx.count_sent(1);
                    return;
                }
                Err(refused) => message = refused.into_message(),
            }
        }
        self.counts.refused += 1;
        let on_refused = &mut self.on_refused;
        contain(ctx.pid(), || on_refused(from, message));
    }

    /// What is no work.
    fn manage(&mut self, ctx: &mut Ctx<'_, Self>, message: PoolMsg<A::Msg>) -> Flow {
        match message {
            PoolMsg::Work(_) => unreachable!("work is forwarded"),
            PoolMsg::Resize(ResizePool { size, reply }) => {
                self.resize(ctx, size)?;
                reply.send(self.failed.take().map_or(Ok(()), Err));
            }
            PoolMsg::Inspect(InspectPool { reply }) => drop(reply.send(self.info())),
            PoolMsg::Look => self.look(ctx)?,
            PoolMsg::Tick(_) => crew::tick(self, ctx)?,
        }
        Ok(())
    }

    fn resize(&mut self, ctx: &mut Ctx<'_, Self>, size: usize) -> Result<(), Reason> {
        self.size = size.max(1);
        while self.turn.len() > self.size {
            let Some(id) = self.turn.pop_front() else {
                break;
            };
            if self.leaving.is_empty() {
                ctx.wake_after(DRAIN_LOOK, PoolMsg::Look);
            }
            let limit = ctx.now() + DRAIN_LIMIT;
            self.leaving.push((id, limit));
        }
        while self.turn.len() < self.size && self.crew.rules.check_open().is_ok() {
            let id = self.place();
            let asked = self.crew.rules.start(id);
            asked.expect("a new place is free, and the rules are open");
            crew::work(self, ctx)?;
            if self.failed.is_some() {
                break;
            }
            self.turn.push_back(id);
        }
        Ok(())
    }

    /// Ends those workers that have handled all that they had.
    fn look(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let (now, node) = (ctx.now(), ctx.node());
        let crew = &mut self.crew;
        self.leaving.retain(|(id, limit)| {
            let is_busy = crew.pid(*id).is_some_and(|pid| node.has_messages(pid));
            if is_busy && now < *limit {
                return true;
            }
            // Refused only while all are ending.
            let _ending = crew.rules.disable(*id, now);
            false
        });
        if !self.leaving.is_empty() {
            ctx.wake_after(DRAIN_LOOK, PoolMsg::Look);
        }
        crew::work(self, ctx)
    }

    fn info(&self) -> PoolInfo {
        PoolInfo {
            size: self.size,
            workers: self
                .turn
                .iter()
                .filter_map(|id| self.crew.pid(*id))
                .collect(),
            forwarded: self.counts.forwarded,
            refused: self.counts.refused,
            restarts: self.counts.restarts,
        }
    }
}

impl<A: Actor> Actor for Pool<A> {
    type Msg = PoolMsg<A::Msg>;

    const FORWARDS: bool = true;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        for _ in 0..self.size {
            let id = self.place();
            self.turn.push_back(id);
        }
        crew::begin(self, ctx)
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, from: Source, message: Self::Msg) -> Flow {
        match message {
            PoolMsg::Work(message) => self.forward(ctx, from, message),
            other => crew::guarded(self, ctx, |this, ctx| this.manage(ctx, other))?,
        }
        Ok(())
    }

    fn down(&mut self, ctx: &mut Ctx<'_, Self>, down: Down) -> Flow {
        let down = Foreign::new(down);
        crew::guarded(self, ctx, |this, ctx| crew::down(this, ctx, &down))
    }

    fn exit(&mut self, ctx: &mut Ctx<'_, Self>, exit: Exit) -> Flow {
        let exit = Foreign::new(exit);
        crew::guarded(self, ctx, |this, ctx| {
            crew::shut_down(this, ctx, &exit.reason)
        })
    }
}

impl<A: Actor> Host for Pool<A> {
    fn crew(&mut self) -> &mut Crew {
        &mut self.crew
    }

    fn tick() -> Self::Msg {
        PoolMsg::Tick(Tick)
    }

    fn start(&mut self, ctx: &mut Ctx<'_, Self>, id: ChildId) -> Result<Pid, SpawnError> {
        let options = self.options.clone().supervised(None);
        let worker = ctx.spawn_with((self.make)(), options)?;
        let pid = worker.pid();
        if self.workers.insert(id, worker).is_some() {
            self.counts.restarts += 1;
        }
        Ok(pid)
    }

    fn started(&mut self, _: &mut Ctx<'_, Self>, _: ChildId, _: Pid) {}

    fn ended(&mut self, _: &mut Ctx<'_, Self>, _: ChildId, _: Pid, _: Option<&Reason>) {}

    fn refused(&mut self, error: SpawnError) {
        self.failed = Some(error);
    }

    fn forget(&mut self, id: ChildId) {
        self.workers.remove(&id);
        self.turn.retain(|other| *other != id);
    }
}

/// Asks a pool to have this many workers from now on; 0 counts as 1.
///
/// Workers that are too many get no messages any more, and end when they have handled what they
/// have, or after 5 seconds. If a new one cannot be started, the pool keeps those that could.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use socktree_kernel::{Actor, Ctx, Flow, InspectPool, NodeBuilder, NoMessages, Pool, ResizePool, Source};
/// # struct Worker;
/// # impl Actor for Worker {
/// #     type Msg = NoMessages;
/// #     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow { match never {} }
/// # }
/// # let node = NodeBuilder::new("doc@localhost").start()?;
/// let pool = node.spawn(Pool::new(2, || Worker))?;
/// let second = Duration::from_secs(1);
/// node.call(&pool, |reply| ResizePool::new(5, reply), second)??;
/// let info = node.call(&pool, InspectPool::new, second)?;
/// assert_eq!(info.workers.len(), 5);
/// # node.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ResizePool {
    size: usize,
    reply: Reply<Result<(), SpawnError>>,
}

impl ResizePool {
    /// Has the pool keep this many workers.
    pub fn new(size: usize, reply: Reply<Result<(), SpawnError>>) -> Self {
        Self { size, reply }
    }
}

/// Asks a pool what it has done so far.
#[derive(Debug)]
pub struct InspectPool {
    reply: Reply<PoolInfo>,
}

impl InspectPool {
    /// Tells what there is.
    pub fn new(reply: Reply<PoolInfo>) -> Self {
        Self { reply }
    }
}

/// A snapshot of a [`Pool`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolInfo {
    /// How many workers there should be.
    pub size: usize,
    /// Those that run and get messages; the first is next.
    pub workers: Vec<Pid>,
    /// Messages that a worker took.
    pub forwarded: u64,
    /// Messages that none took.
    pub refused: u64,
    /// Workers that were replaced.
    pub restarts: u64,
}

/// What a [`Pool`] takes: what its workers take, and what concerns itself.
#[non_exhaustive]
pub enum PoolMsg<M> {
    /// For one of the workers.
    Work(M),
    /// Changes the number of workers.
    Resize(ResizePool),
    /// Tells what there is.
    Inspect(InspectPool),
    /// The pool's own timers.
    #[doc(hidden)]
    Look,
    #[doc(hidden)]
    Tick(Tick),
}

impl<M> fmt::Debug for PoolMsg<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Work(_) => "Work(..)",
            Self::Resize(_) => "Resize(..)",
            Self::Inspect(_) => "Inspect(..)",
            Self::Look => "Look",
            Self::Tick(_) => "Tick",
        })
    }
}

impl<M> From<M> for PoolMsg<M> {
    fn from(message: M) -> Self {
        Self::Work(message)
    }
}

impl<M: Protocol> Protocol for PoolMsg<M> {
    fn open(envelope: Envelope) -> Result<Self, Envelope> {
        let envelope = match envelope.open::<Self>() {
            Ok(message) => return Ok(message),
            Err(envelope) => envelope,
        };
        let envelope = match envelope.open::<ResizePool>() {
            Ok(message) => return Ok(Self::Resize(message)),
            Err(envelope) => envelope,
        };
        match envelope.open::<InspectPool>() {
            Ok(message) => Ok(Self::Inspect(message)),
            Err(envelope) => M::open(envelope).map(Self::Work),
        }
    }

    fn sink<A: Actor<Msg = Self>>(
        process: Arc<Process<A>>,
        wanted: TypeId,
    ) -> Option<Box<dyn Any>> {
        if wanted == TypeId::of::<Self>() {
            let sink: Arc<dyn Sink<Self>> = process;
            return Some(Box::new(sink));
        }
        if wanted == TypeId::of::<M>() {
            let sink: Arc<dyn Sink<M>> = process;
            return Some(Box::new(sink));
        }
        None
    }
}
