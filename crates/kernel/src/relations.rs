//! Who watches whom: the links and monitors of a node.
//!
//! A relation stands in two places, with the target, which has to tell, and with the watcher,
//! which has to take it back when it ends. Both are written under the lock of the target's
//! watchers, so they cannot come to differ. Those of a process stand in the process itself; those
//! of names and aliases, which most processes have none of, in a table.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::actor::Down;
use crate::error::RelationError;
use crate::id::{Pid, Target};
use crate::mailbox::Signal;
use crate::numbers::NumberHasher;
use crate::process::{AnyProcess, ProcessCore};
use crate::reason::Reason;
use crate::registry::SHARDS;
use crate::sync::seam::{Mutex, lock};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    link: bool,
    monitor: bool,
}

impl Kinds {
    pub(crate) fn of(kind: Kind) -> Self {
        let mut kinds = Self::default();
        kinds.add(kind);
        kinds
    }

    fn flag(&mut self, kind: Kind) -> &mut bool {
        match kind {
            Kind::Link => &mut self.link,
            Kind::Monitor => &mut self.monitor,
        }
    }

    /// False if it is there already.
    pub(crate) fn add(&mut self, kind: Kind) -> bool {
        !std::mem::replace(self.flag(kind), true)
    }

    /// False if it is not there.
    pub(crate) fn remove(&mut self, kind: Kind) -> bool {
        std::mem::take(self.flag(kind))
    }

    /// Takes out all that `others` has.
    pub(crate) fn remove_all(&mut self, others: Self) {
        self.link &= !others.link;
        self.monitor &= !others.monitor;
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn each(self) -> impl Iterator<Item = Kind> {
        let kinds = [(self.link, Kind::Link), (self.monitor, Kind::Monitor)];
        kinds.into_iter().filter(|kind| kind.0).map(|kind| kind.1)
    }
}

/// Who watches one target.
#[derive(Default)]
pub(crate) struct Watchers {
    /// A map, because a parent may be watched by a hundred thousand children, and each of them
    /// has to be found when it ends. The oldest comes first, and is told first.
    processes: BTreeMap<Pid, Kinds>,
    outside: Vec<Outside>,
}

impl Watchers {
    fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.outside.is_empty()
    }

    fn count(&self) -> usize {
        let of = |kinds: &Kinds| kinds.each().count();
        self.processes.values().map(of).sum::<usize>() + self.outside.len()
    }

    /// The watcher's note comes first: it is refused if it ends, or has a relation of the kind.
    fn add(
        &mut self,
        watcher: &ProcessCore,
        target: &Target,
        kind: Kind,
    ) -> Result<(), RelationError> {
        if !watcher.note_watch(target, kind)? {
            return Err(RelationError::Exists);
        }
        self.processes.entry(watcher.pid).or_default().add(kind);
        Ok(())
    }

    fn remove(&mut self, watcher: Pid, kind: Kind) -> bool {
        let Some(kinds) = self.processes.get_mut(&watcher) else {
            return false;
        };
        let found = kinds.remove(kind);
        if kinds.is_empty() {
            self.processes.remove(&watcher);
        }
        found
    }

    fn remove_outside(&mut self, ticket: u64) {
        self.outside.retain(|outside| outside.ticket != ticket);
    }

    fn dissolve(self, target: Target, find: impl Fn(Pid) -> Option<Arc<dyn AnyProcess>>) -> Told {
        Told::all(self.processes.into_iter(), self.outside, target, find)
    }
}

/// Who watches one process: part of it, because most processes are watched and none is looked up
/// more often.
pub(crate) struct Watched(Mutex<Life>);

enum Life {
    /// Most that are watched at all are watched by one other: no map, and no box.
    Lives(Option<(Pid, Kinds)>),
    WatchedByMany(Box<Watchers>),
    /// Those who watched it are told, or are about to be. Nobody watches it any more.
    Ended,
}

impl Life {
    /// The watchers as a map, unless there are none any more.
    fn many(&mut self) -> Option<&mut Watchers> {
        if let Self::Lives(one) = self {
            let processes = one.take().into_iter().collect();
            let outside = Vec::new();
            *self = Self::WatchedByMany(Box::new(Watchers { processes, outside }));
        }
        match self {
            Self::WatchedByMany(watchers) => Some(watchers),
            Self::Lives(_) | Self::Ended => None,
        }
    }
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Life::Lives(None)))
    }

    /// Adds a relation. The end and this exclude each other, so a watcher is either refused or
    /// told.
    pub(crate) fn watch(
        &self,
        watcher: &ProcessCore,
        target: &Target,
        kind: Kind,
    ) -> Result<(), RelationError> {
        let mut life = lock(&self.0);
        if let Life::Lives(one) = &mut *life
            && one.is_none_or(|(pid, _)| pid == watcher.pid)
        {
            if !watcher.note_watch(target, kind)? {
                return Err(RelationError::Exists);
            }
            one.get_or_insert((watcher.pid, Kinds::default()))
                .1
                .add(kind);
            return Ok(());
        }
        let watchers = life.many().ok_or(RelationError::Unknown)?;
        watchers.add(watcher, target, kind)
    }

    /// Takes a relation back. False if there is none.
    pub(crate) fn unwatch(&self, watcher: &ProcessCore, target: &Target, kind: Kind) -> bool {
        let mut life = lock(&self.0);
        watcher.forget_watch(target, kind);
        match &mut *life {
            Life::Lives(one) => {
                let Some((_, kinds)) = one.as_mut().filter(|one| one.0 == watcher.pid) else {
                    return false;
                };
                let found = kinds.remove(kind);
                if kinds.is_empty() {
                    *one = None;
                }
                found
            }
            Life::WatchedByMany(watchers) => watchers.remove(watcher.pid, kind),
            Life::Ended => false,
        }
    }

    pub(crate) fn watch_from_outside(&self, outside: Outside) -> Result<(), RelationError> {
        let mut life = lock(&self.0);
        let watchers = life.many().ok_or(RelationError::Unknown)?;
        watchers.outside.push(outside);
        Ok(())
    }

    pub(crate) fn unwatch_from_outside(&self, ticket: u64) {
        if let Life::WatchedByMany(watchers) = &mut *lock(&self.0) {
            watchers.remove_outside(ticket);
        }
    }

    /// Ends all relations to the process, and gives out who has to be told.
    pub(crate) fn end(&self, pid: Pid, find: impl Fn(Pid) -> Option<Arc<dyn AnyProcess>>) -> Told {
        let mut life = lock(&self.0);
        let target = Target::Pid(pid);
        match std::mem::replace(&mut *life, Life::Ended) {
            Life::Lives(one) => Told::all(one.into_iter(), Vec::new(), target, find),
            Life::WatchedByMany(watchers) => watchers.dissolve(target, find),
            Life::Ended => Told::all(std::iter::empty(), Vec::new(), target, find),
        }
    }

    pub(crate) fn count(&self) -> usize {
        match &*lock(&self.0) {
            Life::Lives(one) => one.iter().flat_map(|(_, kinds)| kinds.each()).count(),
            Life::WatchedByMany(watchers) => watchers.count(),
            Life::Ended => 0,
        }
    }
}

type Shard = HashMap<Target, Watchers>;

/// All relations of a node to names and aliases.
pub(crate) struct Relations([Mutex<Shard>; SHARDS]);

impl Relations {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(Shard::new())))
    }

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
        let watchers = shard.entry(target.clone()).or_default();
        let added = watchers.add(watcher, target, kind);
        if watchers.is_empty() {
            shard.remove(target);
        }
        added
    }

    /// Takes a relation back. False if there is none.
    pub(crate) fn unwatch(&self, watcher: &ProcessCore, target: &Target, kind: Kind) -> bool {
        let mut shard = lock(self.shard(target));
        watcher.forget_watch(target, kind);
        let Some(watchers) = shard.get_mut(target) else {
            return false;
        };
        let found = watchers.remove(watcher.pid, kind);
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
        watchers.remove_outside(ticket);
        if watchers.is_empty() {
            shard.remove(target);
        }
    }

    /// Ends all relations to a target, and gives out who has to be told, if anyone. `free` runs
    /// under the same lock: what can be used again, such as a name, has no watchers from then on
    /// but those of its next holder.
    pub(crate) fn end(
        &self,
        target: Target,
        find: impl Fn(Pid) -> Option<Arc<dyn AnyProcess>>,
        free: impl FnOnce(),
    ) -> Option<Told> {
        let mut shard = lock(self.shard(&target));
        free();
        // Most nodes have no relations to names and aliases, and each connection has an alias.
        if shard.is_empty() {
            return None;
        }
        let watchers = shard.remove(&target)?;
        Some(watchers.dissolve(target, find))
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
    first: Option<Watcher>,
    others: Vec<Watcher>,
    outside: Vec<Outside>,
}

type Watcher = (Arc<dyn AnyProcess>, Kinds);

impl Told {
    /// Strikes the relations off in the watchers' books. Those that are gone need not be told.
    fn all(
        watchers: impl Iterator<Item = (Pid, Kinds)>,
        outside: Vec<Outside>,
        target: Target,
        find: impl Fn(Pid) -> Option<Arc<dyn AnyProcess>>,
    ) -> Self {
        let mut living = watchers.filter_map(|(pid, kinds)| {
            let process = find(pid)?;
            process.core().forget_watches(&target, kinds);
            Some((process, kinds))
        });
        let first = living.next();
        let others = living.collect();
        Self {
            target,
            first,
            others,
            outside,
        }
    }

    /// Tells them. `ended` is the process if it has ended: its children cannot trap the signal.
    pub(crate) fn tell(self, reason: &Reason, ended: Option<Pid>) {
        for (process, kinds) in self.first.into_iter().chain(self.others) {
            for kind in kinds.each() {
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
        }
        for outside in self.outside {
            // Nobody listens any more: then nobody has to be told.
            let down = Down::new(self.target.clone(), reason.clone());
            let _gone = outside.tell.send(down);
        }
    }
}
