//! The tables of a node: processes, names and aliases.

#[cfg(all(test, loom))]
mod interleavings;

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::RelationError;
use crate::id::{Alias, Name, Pid, Target};
use crate::meta::MetaPort;
use crate::numbers::{NumberMap, shrink_if_sparse};
use crate::process::{AnyProcess, ProcessCore};
use crate::reason::Reason;
use crate::relations::{Kind, Outside, Relations, Told};
use crate::sync::seam::{RwLock, read, write};

/// How many locks a table is spread over. Lookups by different threads then seldom meet; more
/// would only cost memory.
pub(crate) const SHARDS: usize = if cfg!(loom) { 1 } else { 16 };

/// A table keyed by the node's own numbers.
struct Table<V>([RwLock<NumberMap<u64, V>>; SHARDS]);

impl<V: Clone> Table<V> {
    fn new() -> Self {
        Self(std::array::from_fn(|_| RwLock::new(NumberMap::default())))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 16")]
    fn shard(&self, key: u64) -> &RwLock<NumberMap<u64, V>> {
        &self.0[(key % SHARDS as u64) as usize]
    }

    fn get(&self, key: u64) -> Option<V> {
        read(self.shard(key)).get(&key).cloned()
    }

    fn insert(&self, key: u64, value: V) {
        let before = write(self.shard(key)).insert(key, value);
        assert!(
            before.is_none(),
            "numbers are given out once, so {key} cannot be in the table"
        );
    }

    fn remove(&self, key: u64) -> Option<V> {
        let mut shard = write(self.shard(key));
        let value = shard.remove(&key);
        shrink_if_sparse(&mut shard);
        value
    }

    fn entries(&self) -> Vec<(u64, V)> {
        let of = |shard: &RwLock<NumberMap<u64, V>>| {
            let shard = read(shard);
            let pairs = shard.iter().map(|(key, value)| (*key, value.clone()));
            pairs.collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    fn len(&self) -> usize {
        self.0.iter().map(|shard| read(shard).len()).sum()
    }

    fn values(&self) -> Vec<V> {
        self.0
            .iter()
            .flat_map(|shard| read(shard).values().cloned().collect::<Vec<_>>())
            .collect()
    }
}

/// What an alias leads to.
#[derive(Clone)]
pub(crate) enum AliasEntry {
    Meta {
        port: Arc<dyn MetaPort>,
        parent: Pid,
    },
    Process(Arc<dyn AnyProcess>),
}

pub(crate) struct Registry {
    processes: Table<Arc<dyn AnyProcess>>,
    aliases: Table<AliasEntry>,
    names: RwLock<HashMap<Name, Arc<dyn AnyProcess>>>,
    relations: Relations,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            processes: Table::new(),
            aliases: Table::new(),
            names: RwLock::new(HashMap::new()),
            relations: Relations::new(),
        }
    }

    // Processes.

    pub(crate) fn insert_process(&self, process: Arc<dyn AnyProcess>) {
        self.processes.insert(process.core().pid.get(), process);
    }

    pub(crate) fn process(&self, pid: Pid) -> Option<Arc<dyn AnyProcess>> {
        self.processes.get(pid.get())
    }

    pub(crate) fn processes(&self) -> Vec<Arc<dyn AnyProcess>> {
        self.processes.values()
    }

    pub(crate) fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// The process behind a target, if it leads to one.
    pub(crate) fn resolve(&self, target: &Target) -> Option<Arc<dyn AnyProcess>> {
        match target {
            Target::Pid(pid) => self.process(*pid),
            Target::Name(name) => read(&self.names).get(name).cloned(),
            Target::Alias(alias) => match self.alias(*alias)? {
                AliasEntry::Process(process) => Some(process),
                AliasEntry::Meta { .. } => None,
            },
        }
    }

    /// What a target leads to.
    pub(crate) fn find(&self, target: &Target) -> Option<AliasEntry> {
        match target {
            Target::Alias(alias) => self.alias(*alias),
            Target::Pid(_) | Target::Name(_) => self.resolve(target).map(AliasEntry::Process),
        }
    }

    // Names.

    pub(crate) fn take_name(
        &self,
        name: &Name,
        process: Arc<dyn AnyProcess>,
    ) -> Result<(), RelationError> {
        let mut names = write(&self.names);
        if names.contains_key(name) {
            return Err(RelationError::NameTaken(name.clone()));
        }
        names.insert(name.clone(), process);
        Ok(())
    }

    /// Puts a new process into the tables under a name. By its name, it is never found before it is
    /// by its number.
    pub(crate) fn insert_named(
        &self,
        name: &Name,
        process: Arc<dyn AnyProcess>,
    ) -> Result<(), RelationError> {
        let mut names = write(&self.names);
        if names.contains_key(name) {
            return Err(RelationError::NameTaken(name.clone()));
        }
        self.insert_process(Arc::clone(&process));
        names.insert(name.clone(), process);
        Ok(())
    }

    /// Frees a name, and gives out who watched it under its last holder: whoever watches it from
    /// now on means the next one.
    pub(crate) fn free_name(&self, name: &Name) -> Option<Told> {
        let target = Target::Name(name.clone());
        let mut holder = None;
        let free = || holder = write(&self.names).remove(name);
        self.relations.end(target, |pid| self.process(pid), free)
    }

    pub(crate) fn name_count(&self) -> usize {
        read(&self.names).len()
    }

    // Aliases.

    pub(crate) fn insert_alias(&self, alias: Alias, entry: AliasEntry) {
        self.aliases.insert(alias.get(), entry);
    }

    pub(crate) fn remove_alias(&self, alias: Alias) -> Option<AliasEntry> {
        self.aliases.remove(alias.get())
    }

    pub(crate) fn alias(&self, alias: Alias) -> Option<AliasEntry> {
        self.aliases.get(alias.get())
    }

    /// Each alias with what it leads to, the oldest first.
    pub(crate) fn aliases(&self) -> Vec<(Alias, AliasEntry)> {
        let mut all: Vec<_> = self.aliases.entries();
        all.sort_unstable_by_key(|(number, _)| *number);
        let known = |(number, entry)| Some((Alias::from_number(number)?, entry));
        all.into_iter().filter_map(known).collect()
    }

    pub(crate) fn alias_count(&self) -> usize {
        self.aliases.len()
    }

    // Links and monitors.

    fn is_alive(&self, target: &Target) -> bool {
        match target {
            Target::Pid(pid) => self.process(*pid).is_some(),
            Target::Name(name) => read(&self.names).contains_key(name),
            Target::Alias(alias) => self.alias(*alias).is_some(),
        }
    }

    /// Has `watcher` told when the target ends.
    pub(crate) fn watch(
        &self,
        watcher: &ProcessCore,
        target: &Target,
        kind: Kind,
    ) -> Result<(), RelationError> {
        if let Target::Pid(pid) = target {
            let process = self.process(*pid).ok_or(RelationError::Unknown)?;
            return process.core().watched.watch(watcher, target, kind);
        }
        self.relations
            .watch(watcher, target, kind, || self.is_alive(target))
    }

    pub(crate) fn unwatch(&self, watcher: &ProcessCore, target: &Target, kind: Kind) -> bool {
        if let Target::Pid(pid) = target {
            return match self.process(*pid) {
                Some(process) => process.core().watched.unwatch(watcher, target, kind),
                // Its end has struck off the watcher's note.
                None => false,
            };
        }
        let found = self.relations.unwatch(watcher, target, kind);
        if found
            && let Target::Alias(alias) = target
            && let Some(AliasEntry::Meta { port, .. }) = self.alias(*alias)
        {
            port.unwatched(watcher.pid, kind == Kind::Link);
        }
        found
    }

    pub(crate) fn watch_from_outside(
        &self,
        target: &Target,
        outside: Outside,
    ) -> Result<(), RelationError> {
        if let Target::Pid(pid) = target {
            let process = self.process(*pid).ok_or(RelationError::Unknown)?;
            return process.core().watched.watch_from_outside(outside);
        }
        self.relations
            .watch_from_outside(target, outside, || self.is_alive(target))
    }

    pub(crate) fn unwatch_from_outside(&self, target: &Target, ticket: u64) {
        match target {
            Target::Pid(pid) => {
                if let Some(process) = self.process(*pid) {
                    process.core().watched.unwatch_from_outside(ticket);
                }
            }
            _ => self.relations.unwatch_from_outside(target, ticket),
        }
    }

    pub(crate) fn relation_count(&self) -> usize {
        let processes = self.processes();
        let of = |process: &Arc<dyn AnyProcess>| process.core().watched.count();
        processes.iter().map(of).sum::<usize>() + self.relations.count()
    }

    /// Takes an ended process out of the tables, and gives out who has to be told of its end. From
    /// here on nobody can come to watch it.
    pub(crate) fn end_process(&self, core: &ProcessCore) -> Told {
        let told = core.watched.end(core.pid, |pid| self.process(pid));
        self.processes.remove(core.pid.get());
        told
    }

    /// Tells everyone who watches an alias that it has ended with its process, or was given up.
    pub(crate) fn notify(&self, alias: Alias, reason: &Reason, ended: Option<Pid>) {
        let target = Target::Alias(alias);
        if let Some(told) = self.relations.end(target, |pid| self.process(pid), || ()) {
            told.tell(reason, ended);
        }
    }
}
