//! How a node is made.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::actor::{Actor, Down};
use crate::driver::{DriverFactory, ParkingFactory};
use crate::env::Env;
use crate::error::NodeError;
use crate::node::{Node, NodeInner};
use crate::spare::Spares;
use crate::watchdog::Watchdog;
use crate::worker::{Worker, WorkerId};

/// How many messages a process handles before others get their turn. Enough that taking turns
/// costs nothing, few enough that it takes well under a millisecond.
const MESSAGE_BUDGET: u32 = 256;

/// When a handler counts as stuck. Long beside any handler that computes, short beside what a
/// person notices.
const STUCK_AFTER: Duration = Duration::from_millis(10);

/// How many handlers may block at a time. Far more than a sane program has, and few enough that
/// their stacks fit into any address space.
const SPARE_THREADS: usize = 1024;

/// How long a node waits for its processes when it stops.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

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
    env: Env,
    workers: Option<usize>,
    budget: u32,
    stuck_after: Option<Duration>,
    compaction: bool,
    spare_threads: usize,
    stop_deadline: Duration,
    measures_running_time: bool,
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
    ///
    /// The name is for people: [`Node::name`] tells it, and the node's threads are called after it.
    /// Nothing is looked up by it, and two nodes of a program may have the same. It has one `@` with
    /// something on either side of it; [`start`](Self::start) refuses any other with
    /// [`NodeError::BadName`].
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            env: Env::default(),
            workers: None,
            budget: MESSAGE_BUDGET,
            stuck_after: Some(STUCK_AFTER),
            compaction: true,
            spare_threads: SPARE_THREADS,
            stop_deadline: STOP_DEADLINE,
            measures_running_time: false,
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

    /// Whether workers may share a thread where that gets more done; they may, by default.
    ///
    /// It is compaction of load, as in Erlang (`+scl`). While more threads want to run than there are
    /// cores, such as on a machine that the clients run on too, a worker is driven by the thread of
    /// the first one, if that gets as much done. It gets its own back as soon as a handler blocks, and
    /// when that gets more done, which is tried now and then: 1 to 32 seconds after the last time.
    ///
    /// A worker that shares a thread shares its pauses as well: a handler that computes for 5 ms
    /// delays the processes of both. Switched off, each worker keeps a thread of its own. Without a
    /// watchdog ([`stuck_after`](Self::stuck_after)), and without a driver that knows how busy it is
    /// ([`DriverRemote::bustle`](crate::DriverRemote::bustle)), it does so anyway.
    pub fn compaction(mut self, allowed: bool) -> Self {
        self.compaction = allowed;
        self
    }

    /// How many threads there may be beside one for each worker, to go on while handlers block.
    /// 1,024 by default; they come when they are needed and end when they have not been for 10
    /// seconds. When all are in use, the next handler that blocks holds up its worker, and those that
    /// share its thread.
    pub fn spare_threads(mut self, threads: usize) -> Self {
        self.spare_threads = threads;
        self
    }

    /// How long [`Node::stop`] waits. 15 seconds by default.
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.stop_deadline = deadline;
        self
    }

    /// Whether to measure how long the callbacks of each process run, which
    /// [`ProcessInfo::running_time`](crate::ProcessInfo::running_time) then tells. Off by default: it
    /// reads the clock twice each time that a process has something to do.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use socktree_kernel::{Actor, Ctx, Flow, NodeBuilder, NoMessages, Source};
    /// # struct Idle;
    /// # impl Actor for Idle {
    /// #     type Msg = NoMessages;
    /// #     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
    /// #         match never {}
    /// #     }
    /// # }
    /// let node = NodeBuilder::new("doc@localhost").measure_running_time(true).start()?;
    /// node.spawn(Idle)?;
    /// let mut processes = node.processes();
    /// processes.sort_by_key(|process| process.running_time); // the busiest last
    /// assert!(processes[0].running_time.is_some());
    /// # node.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn measure_running_time(mut self, on: bool) -> Self {
        self.measures_running_time = on;
        self
    }

    /// A setting for all processes: see [`Ctx::env`](crate::Ctx::env).
    pub fn env(mut self, name: impl AsRef<str>, value: impl Into<Arc<str>>) -> Self {
        self.env.set(name.as_ref(), value.into());
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
        let spares = Spares::new(&self.name, count.saturating_add(self.spare_threads));
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
            watchdog.start(workers.clone(), threshold, self.compaction)?;
        }
        let inner = NodeInner::new(
            self.name,
            self.env,
            self.budget,
            self.stop_deadline,
            self.measures_running_time.then(Instant::now),
            spares,
            watchdog,
        );
        inner.start(workers)?;
        Ok(Node::from_inner(Arc::new(inner)))
    }

    /// Starts the node with one first process, and stops it when that has ended, or when
    /// [`Node::shutdown`] is called.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); [`NodeError::Spawn`] if the process could not be started;
    /// [`NodeError::Ended`] if it ended with a reason that is not [clean](crate::Reason::is_clean);
    /// [`NodeError::Stuck`] if something had not ended by the stop deadline.
    pub fn run<A: Actor>(self, first: A) -> Result<(), NodeError> {
        let node = self.start()?;
        let ended = match node.spawn_monitored(first) {
            Ok((_, ended)) => ended,
            Err(error) => {
                node.stop()?;
                return Err(NodeError::Spawn(error));
            }
        };
        // A shutdown must not wait for a first process that is stuck: the stop has a deadline.
        let down = node.wait_for_end_or_stop(&ended);
        let report = node.stop()?;
        match down.or_else(|| ended.wait_for(Duration::ZERO)) {
            Some(Down { reason, .. }) if !reason.is_clean() => Err(NodeError::Ended(reason)),
            _ if !report.is_clean() => Err(NodeError::Stuck(report)),
            _ => Ok(()),
        }
    }
}
