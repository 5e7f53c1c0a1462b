//! How a process is started.

use crate::id::Name;
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
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are given to a spawn"]
pub struct SpawnOptions {
    pub(super) name: Option<Name>,
    pub(super) worker: Option<usize>,
    pub(super) mailbox: Option<usize>,
    pub(super) link_parent: bool,
    pub(super) link_child: bool,
    pub(super) monitored: bool,
    /// Told of the end, from before there can be one.
    pub(super) told_outside: Option<Outside>,
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
