//! Who watches whom: the links and monitors of a node.
//!
//! A relation stands in two places, with the target, which has to tell, and with the watcher,
//! which has to take it back when it ends. Both are written under the lock of the target's shard,
//! so they cannot come to differ.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;

use crate::actor::Down;
use crate::error::RelationError;
use crate::id::{Pid, Target};
use crate::mailbox::Signal;
use crate::process::{AnyProcess, ProcessCore};
use crate::reason::Reason;
use crate::registry::{NumberHasher, NumberMap, SHARDS};
use crate::sync::lock;

/// A link sends an exit signal, a monitor sends a down message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Link,
    Monitor,
}

/// A thread that is no process; it is told once, and may have gone away.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    /// What it is found by when it loses interest.
    pub(crate) ticket: u64,
    pub(crate) tell: Sender<Down>,
}

/// A process can link to a target and monitor it as well.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Kinds {
    link: bool,
    monitor: bool,
}

impl Kinds {
    fn flag(&mut self, kind: Kind) -> &mut bool {
        match kind {
            Kind::Link => &mut self.link,
            Kind::Monitor => &mut self.monitor,
        }
    }
}

/// Who watches one target.
#[derive(Default)]
struct Watchers {
    /// A map, because a parent may be watched by a hundred thousand children, and each of them
    /// has to be found when it ends.
    processes: NumberMap<Pid, Kinds>,
    outside: Vec<Outside>,
}

impl Watchers {
    fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.outside.is_empty()
    }

    fn count(&self) -> usize {
        let of = |kinds: &Kinds| usize::from(kinds.link) + usize::from(kinds.monitor);
        self.processes.values().map(of).sum::<usize>() + self.outside.len()
    }
}

type Shard = HashMap<Target, Watchers>;

/// All relations of a node, by target.
#[derive(Default)]
pub(crate) struct Relations([Mutex<Shard>; SHARDS]);

impl Relations {
    fn shard(&self, target: &Target) -> &Mutex<Shard> {
        let mut hasher = NumberHasher::default();
        target.hash(&mut hasher);
        let n = (hasher.finish() >> 32) as usize;
        &self.0[n % SHARDS]
    }

    /// Adds a relation. `is_alive` is asked under the lock: the target's end first makes it dead
    /// and then comes for its watchers, so a watcher is either refused or told.
    pub(crate) fn watch(
        &self,
        watcher: &ProcessCore,
        target: &Target,
        kind: Kind,
        is_alive: impl FnOnce() -> bool,
    ) -> Result<(), RelationError> {
        let mut shard = lock(self.shard(target));
        if !is_alive() {
            return Err(RelationError::Unknown);
        }
        if !watcher.note_watch(target, kind)? {
            return Err(RelationError::Exists);
        }
        let watchers = shard.entry(target.clone()).or_default();
        *watchers
            .processes
            .entry(watcher.pid)
            .or_default()
            .flag(kind) = true;
        Ok(())
    }

    /// Takes a relation back. False if there is none.
    pub(crate) fn unwatch(&self, watcher: &ProcessCore, target: &Target, kind: Kind) -> bool {
        let mut shard = lock(self.shard(target));
        watcher.forget_watch(target, kind);
        let Some(watchers) = shard.get_mut(target) else {
            return false;
        };
        let Some(kinds) = watchers.processes.get_mut(&watcher.pid) else {
            return false;
        };
        let found = std::mem::take(kinds.flag(kind));
        if *kinds == Kinds::default() {
            watchers.processes.remove(&watcher.pid);
        }
        if watchers.is_empty() {
            shard.remove(target);
        }
        found
    }

    pub(crate) fn watch_from_outside(
        &self,
        target: &Target,
        outside: Outside,
        is_alive: impl FnOnce() -> bool,
    ) -> Result<(), RelationError> {
        let mut shard = lock(self.shard(target));
        if !is_alive() {
            return Err(RelationError::Unknown);
        }
        let watchers = shard.entry(target.clone()).or_default();
        watchers.outside.push(outside);
        Ok(())
    }

    pub(crate) fn unwatch_from_outside(&self, target: &Target, ticket: u64) {
        let mut shard = lock(self.shard(target));
        let Some(watchers) = shard.get_mut(target) else {
            return;
        };
        watchers.outside.retain(|outside| outside.ticket != ticket);
        if watchers.is_empty() {
            shard.remove(target);
        }
    }

    /// Ends all relations to a target, and gives out who has to be told. `free` runs under the
    /// same lock: what can be used again, such as a name, has no watchers from then on but those
    /// of its next holder.
    pub(crate) fn end(
        &self,
        target: Target,
        find: impl Fn(Pid) -> Option<Arc<dyn AnyProcess>>,
        free: impl FnOnce(),
    ) -> Told {
        let mut shard = lock(self.shard(&target));
        free();
        let Watchers { processes, outside } = shard.remove(&target).unwrap_or_default();
        let mut told = Vec::new();
        for (pid, kinds) in processes {
            let Some(process) = find(pid) else {
                continue;
            };
            for (is_set, kind) in [(kinds.link, Kind::Link), (kinds.monitor, Kind::Monitor)] {
                if is_set {
                    process.core().forget_watch(&target, kind);
                    told.push((Arc::clone(&process), kind));
                }
            }
        }
        drop(shard);
        // The oldest first: an order that does not depend on a table's layout.
        told.sort_by_key(|(process, _)| process.core().pid);
        Told {
            target,
            processes: told,
            outside,
        }
    }

    pub(crate) fn count(&self) -> usize {
        let of = |shard: &Mutex<Shard>| lock(shard).values().map(Watchers::count).sum::<usize>();
        self.0.iter().map(of).sum()
    }
}

/// Those who have to be told of an end.
#[must_use = "whoever watches a target has to be told of its end"]
pub(crate) struct Told {
    target: Target,
    processes: Vec<(Arc<dyn AnyProcess>, Kind)>,
    outside: Vec<Outside>,
}

impl Told {
    /// Tells them. `ended` is the process if it has ended: its children cannot trap the signal.
    pub(crate) fn tell(self, reason: &Reason, ended: Option<Pid>) {
        for (process, kind) in self.processes {
            let (target, reason) = (self.target.clone(), reason.clone());
            process.signal(match kind {
                Kind::Link => Signal::Exit {
                    from: target,
                    reason,
                    trappable: ended.is_none() || process.core().parent != ended,
                },
                Kind::Monitor => Signal::Down(Down::new(target, reason)),
            });
        }
        for outside in self.outside {
            // Nobody listens any more: then nobody has to be told.
            let down = Down::new(self.target.clone(), reason.clone());
            let _gone = outside.tell.send(down);
        }
    }
}
