//! How a process is started.

use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;

use crate::env::Env;
use crate::id::{Name, Target};
use crate::message::Priority;
use crate::relations::Outside;
use crate::worker::WorkerId;

/// How a process is to be started.
///
/// # Examples
///
/// ```
/// use socktree_kernel::SpawnOptions;
/// let options = SpawnOptions::new().name("counter").mailbox(1000).link_parent();
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are given to a spawn"]
pub struct SpawnOptions {
    pub(crate) name: Option<Name>,
    pub(crate) worker: Option<usize>,
    pub(crate) mailbox: Option<usize>,
    pub(crate) link_parent: bool,
    pub(crate) link_child: bool,
    pub(crate) monitored: bool,
    pub(crate) log_filter: LevelFilter,
    pub(crate) init_timeout: Option<Duration>,
    pub(crate) own_thread: bool,
    pub(crate) fallback: Option<Target>,
    pub(crate) send_priority: Priority,
    pub(crate) env: Env,
    /// Told of the end, from before there can be one.
    pub(crate) told_outside: Option<Outside>,
    /// Its parent ends it, in its order, and restarts it.
    pub(crate) supervised: bool,
}

impl Default for SpawnOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SpawnOptions {
    /// No name, any worker, no bound on the mailbox, no links.
    pub fn new() -> Self {
        Self {
            name: None,
            worker: None,
            mailbox: None,
            link_parent: false,
            link_child: false,
            monitored: false,
            log_filter: LevelFilter::max(),
            init_timeout: None,
            own_thread: false,
            fallback: None,
            send_priority: Priority::Normal,
            env: Env::default(),
            told_outside: None,
            supervised: false,
        }
    }

    /// As the parent that supervises the process has it: with its own links, and this name.
    pub(crate) fn supervised(mut self, name: Option<&Name>) -> Self {
        self.name = name.cloned();
        self.link_child = false;
        self.supervised = true;
        self.link_parent().monitored()
    }

    /// Registers the process under a name, before `init`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The worker to live on, by its number from 0 on, or as [`Ctx::worker`](crate::Ctx::worker) says
    /// it. In turn by default. If there is none with this number, the spawn fails with
    /// [`SpawnError::NoSuchWorker`](crate::SpawnError::NoSuchWorker).
    pub fn worker(mut self, worker: impl Into<WorkerId>) -> Self {
        self.worker = Some(worker.into().index());
        self
    }

    /// How many messages may wait. No bound by default; 0 counts as 1.
    pub fn mailbox(mut self, capacity: usize) -> Self {
        self.mailbox = Some(capacity.max(1));
        self
    }

    /// Where messages go that the mailbox has no room for, wrapped as [`Fallback`](crate::Fallback). None by default:
    /// then the sender gets [`SendError::Full`](crate::SendError::Full), as it does if the fallback cannot take them.
    ///
    /// One hop and no further: the fallback's own fallback gets none of them. Calls, messages to
    /// oneself and those of meta-processes are not diverted.
    pub fn fallback(mut self, to: impl Into<Target>) -> Self {
        self.fallback = Some(to.into());
        self
    }

    /// The priority of what the process sends, at once or by a timer, without saying another.
    /// [`Priority::Normal`] by default. Calls, requests and events have none.
    pub fn send_priority(mut self, priority: Priority) -> Self {
        self.send_priority = priority;
        self
    }

    /// A setting for the process and for those that it starts: see [`Ctx::env`](crate::Ctx::env).
    /// It takes the place of an inherited one.
    pub fn env(mut self, name: impl AsRef<str>, value: impl Into<Arc<str>>) -> Self {
        self.env.set(name.as_ref(), value.into());
        self
    }

    /// How much of what the process has to say is logged: see [`Ctx::log`](crate::Ctx::log).
    /// Everything by default.
    pub fn log_level(mut self, filter: LevelFilter) -> Self {
        self.log_filter = filter;
        self
    }

    /// How long the spawner waits for `init`, which then runs on the process's own worker. No
    /// limit by default, and `init` runs on the spawner's thread.
    ///
    /// Where no [spare thread](crate::NodeBuilder::spare_threads) is left to run it, and in a test kit, it
    /// runs on the spawner's thread, without a limit.
    ///
    /// An `init` that is late goes on until it returns, and its process ends then:
    /// [`SpawnError::InitTimeout`](crate::SpawnError::InitTimeout).
    pub fn init_timeout(mut self, limit: Duration) -> Self {
        self.init_timeout = Some(limit);
        self
    }

    /// Gives the process a thread to itself whenever it has something to do: for handlers that
    /// block or compute as a rule. It is as if each used [`Ctx::blocking`](crate::Ctx::blocking), for the price of one
    /// hand-over in [`message_budget`](crate::NodeBuilder::message_budget) messages.
    pub fn own_thread(mut self) -> Self {
        self.own_thread = true;
        self
    }

    /// Links the new process to its parent: it ends when the parent does, and cannot trap that.
    pub fn link_parent(mut self) -> Self {
        self.link_parent = true;
        self
    }

    /// Links the parent to the new process: it ends when the child does, unless it
    /// [traps exits](crate::Ctx::trap_exit).
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
