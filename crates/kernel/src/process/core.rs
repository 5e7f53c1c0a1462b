//! What of a process does not depend on its actor's type: who it is, and what ends with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::call::Interrupt;
use crate::env::Env;
use crate::error::RelationError;
use crate::id::{Alias, Name, Pid, Target};
use crate::info::{ProcessInfo, ProcessState};
use crate::message::{Envelope, Fallback, Priority, Source};
use crate::node::{NodeInner, SpawnOptions};
use crate::numbers::AliasSet;
use crate::process::RETURNED;
use crate::process::meter::Meter;
use crate::relations::{Kind, Kinds, Told, Watched};
use crate::sync::seam::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::seam::{Mutex, lock};
use crate::timer::{Action, TimerRef};
use crate::worker::Worker;

/// `init` is not over, and has spawned nothing so far.
const INIT_ALONE: u8 = 0;
/// `init` is not over, and has spawned somebody.
const INIT_WITH_CHILDREN: u8 = 1;
const INIT_OVER: u8 = 2;

const TIMERS_NEVER_SET: u8 = 0;
const TIMERS_SET: u8 = 1;
const TIMERS_OVER: u8 = 2;

/// What does not depend on the actor's type.
pub(crate) struct ProcessCore {
    pub(crate) pid: Pid,
    pub(crate) parent: Option<Pid>,
    pub(crate) node: Arc<NodeInner>,
    pub(crate) worker: Arc<Worker>,
    /// It ends its children before itself, so that even an order to end comes to its actor.
    supervises: AtomicBool,
    /// Its parent ends it, in its order.
    supervised: bool,
    /// Its handlers block, so each run leaves the worker to another thread.
    pub(super) own_thread: bool,
    /// Of what it sends without saying another.
    pub(crate) send_priority: Priority,
    pub(crate) env: Env,
    /// Where messages go that the mailbox has no room for.
    fallback: Option<Box<Target>>,
    /// When it was spawned, by the node's clock.
    born: Instant,
    pub(crate) meter: Meter,
    /// How far `init` is, so that a process that spawns nothing in it needs no lock for that.
    init: AtomicU8,
    /// Whether it has set timers, so that the end of one that has not needs no lock for that.
    timers: AtomicU8,
    /// Who is told when it ends.
    pub(crate) watched: Watched,
    owned: Mutex<Owned>,
}

/// What ends with the process.
struct Owned {
    /// Set when the process begins to end: nothing is added any more.
    closed: bool,
    /// Set when the process has ended and watches nobody any more. Later than `closed`, because
    /// `terminate` may still watch and spawn.
    gone: bool,
    log_filter: log::LevelFilter,
    /// In a box, because most processes only take messages and send them.
    ties: Option<Box<Ties>>,
}

/// What a process has come to own beside its state.
#[derive(Default)]
struct Ties {
    name: Option<Name>,
    /// The processes that `init` has spawned so far; none once it is over.
    init_children: Vec<Pid>,
    aliases: BTreeSet<Alias>,
    /// Meta-processes that it spawned, and those whose messages come to it.
    metas: AliasSet,
    watches: BTreeMap<Target, Kinds>,
    /// The call that it waits in, which a signal interrupts.
    call: Option<Arc<dyn Interrupt>>,
}

impl Owned {
    fn ties(&mut self) -> &mut Ties {
        self.ties.get_or_insert_default()
    }

    fn name(&self) -> Option<Name> {
        self.ties.as_ref()?.name.clone()
    }
}

impl ProcessCore {
    pub(super) fn new(
        pid: Pid,
        parent: Option<&Self>,
        node: Arc<NodeInner>,
        worker: Arc<Worker>,
        options: &SpawnOptions,
    ) -> Self {
        let inherited = parent.map_or(&node.env, |parent| &parent.env);
        Self {
            pid,
            parent: parent.map(|parent| parent.pid),
            env: inherited.with(&options.env),
            send_priority: options.send_priority,
            node,
            born: worker.now(),
            meter: Meter::new(),
            worker,
            supervises: AtomicBool::new(false),
            supervised: options.supervised,
            own_thread: options.own_thread,
            fallback: options.fallback.clone().map(Box::new),
            init: AtomicU8::new(INIT_ALONE),
            timers: AtomicU8::new(TIMERS_NEVER_SET),
            watched: Watched::new(),
            owned: Mutex::new(Owned {
                closed: false,
                gone: false,
                log_filter: options.log_filter,
                ties: None,
            }),
        }
    }

    /// Sends what the mailbox has no room for to the fallback, which has none of its own: two full
    /// processes must not pass messages to and fro. The message comes back if that fails.
    pub(crate) fn divert(&self, from: Source, message: Envelope) -> Result<(), Envelope> {
        let Some(to) = self
            .fallback
            .as_deref()
            .filter(|_| from != Source::Process(self.pid))
        else {
            return Err(message);
        };
        let fallback = Fallback {
            full: self.pid,
            name: self.name(),
            message,
        };
        let sent = self.node.send_once(from, to, Envelope::new(fallback));
        sent.map_err(|refused| {
            let fallback = refused.into_message().open::<Fallback>();
            fallback.expect(RETURNED).message
        })
    }

    /// Callbacks run from now on. True if that is timed.
    #[inline]
    pub(super) fn begin_run(&self) -> bool {
        let epoch = self.node.runs_timed_since;
        if let Some(epoch) = epoch {
            self.meter.begin(epoch);
        }
        epoch.is_some()
    }

    /// What [`begin_run`](Self::begin_run) began is over.
    #[inline]
    pub(super) fn end_run(&self, is_timed: bool) {
        if is_timed && let Some(epoch) = self.node.runs_timed_since {
            self.meter.end(epoch);
        }
    }

    /// A snapshot, of what is known here.
    pub(super) fn info(&self) -> ProcessInfo {
        let timed = self.node.runs_timed_since;
        let timers = self.worker.timers_of(self.pid);
        let owned = lock(&self.owned);
        let starting = self.init.load(Ordering::Acquire) != INIT_OVER;
        let closed = owned.closed;
        let none = Ties::default();
        let ties = owned.ties.as_deref().unwrap_or(&none);
        let watched = |wanted: Kind| {
            let watches = ties.watches.iter();
            let of_kind = watches.filter(|(_, kinds)| kinds.each().any(|kind| kind == wanted));
            of_kind.map(|(target, _)| target.clone()).collect()
        };
        let state = if closed {
            ProcessState::Ending
        } else if starting {
            ProcessState::Starting
        } else if ties.call.is_some() {
            ProcessState::Calling
        } else {
            ProcessState::Running
        };
        ProcessInfo {
            pid: self.pid,
            name: owned.name(),
            behaviour: "",
            parent: self.parent,
            worker: self.worker.id,
            mailbox: 0,
            messages_in: 0,
            handled: 0,
            messages_out: self.meter.sent(),
            running_time: timed.map(|epoch| self.meter.ran(epoch)),
            metas: ties.metas.len(),
            aliases: ties.aliases.iter().copied().collect(),
            links: watched(Kind::Link),
            monitors: watched(Kind::Monitor),
            timers,
            uptime: self.worker.now().saturating_duration_since(self.born),
            state,
            ending: closed,
        }
    }

    /// How much of what its process has to say is logged.
    pub(crate) fn log_filter(&self) -> log::LevelFilter {
        lock(&self.owned).log_filter
    }

    pub(crate) fn set_log_filter(&self, filter: log::LevelFilter) {
        lock(&self.owned).log_filter = filter;
    }

    pub(crate) fn name(&self) -> Option<Name> {
        lock(&self.owned).name()
    }

    /// False if the process has begun to end.
    pub(crate) fn set_name(&self, name: Option<Name>) -> bool {
        let mut owned = lock(&self.owned);
        if owned.closed {
            return false;
        }
        owned.ties().name = name;
        true
    }

    pub(crate) fn own_meta(&self, alias: Alias) -> bool {
        let mut owned = lock(&self.owned);
        if !owned.closed {
            owned.ties().metas.insert(alias);
        }
        !owned.closed
    }

    /// A meta-process has ended. True if the process's own end has waited for it.
    pub(super) fn disown_meta(&self, alias: Alias) -> bool {
        let mut owned = lock(&self.owned);
        let Some(ties) = &mut owned.ties else {
            return false;
        };
        let was_the_last = ties.metas.remove(alias) && ties.metas.is_empty();
        was_the_last && owned.closed
    }

    pub(crate) fn own_alias(&self, alias: Alias) -> bool {
        let mut owned = lock(&self.owned);
        if !owned.closed {
            owned.ties().aliases.insert(alias);
        }
        !owned.closed
    }

    pub(crate) fn disown_alias(&self, alias: Alias) -> bool {
        let mut owned = lock(&self.owned);
        let ties = owned.ties.as_mut();
        ties.is_some_and(|ties| ties.aliases.remove(&alias))
    }

    /// A process has been spawned on behalf of this one.
    pub(crate) fn note_child(&self, child: Pid) {
        if self.init.load(Ordering::Acquire) == INIT_OVER {
            return;
        }
        let mut owned = lock(&self.owned);
        // The end of `init` that comes after this waits for the lock.
        if self.init.fetch_max(INIT_WITH_CHILDREN, Ordering::AcqRel) != INIT_OVER {
            owned.ties().init_children.push(child);
        }
    }

    /// Gives out the children of an `init` that is over, which depend on how it ended.
    pub(super) fn end_init(&self) -> Vec<Pid> {
        if self.init.swap(INIT_OVER, Ordering::AcqRel) != INIT_WITH_CHILDREN {
            return Vec::new();
        }
        let ties = &mut lock(&self.owned).ties;
        let ties = ties.as_mut();
        ties.map_or_else(Vec::new, |ties| std::mem::take(&mut ties.init_children))
    }

    /// Sets a timer. `None` if the process is ending and sets none any more.
    ///
    /// In a callback alone, as is what [`strike_timers`](Self::strike_timers) follows: so what is kept of
    /// it here needs no lock.
    pub(crate) fn arm_timer(
        &self,
        at: Instant,
        make: impl FnOnce(TimerRef) -> Action,
    ) -> Option<TimerRef> {
        if self.timers.load(Ordering::Relaxed) == TIMERS_OVER {
            return None;
        }
        self.timers.store(TIMERS_SET, Ordering::Relaxed);
        Some(self.worker.arm_timer(self.pid, at, make))
    }

    /// Strikes a timer of this process's off: see [`Worker::strike_timer`].
    pub(crate) fn strike_timer(&self, timer: TimerRef) -> Option<Option<Action>> {
        self.worker.strike_timer(self.pid, timer)
    }

    /// The end of all timers, and of setting any. Gives out what they would have done.
    pub(super) fn strike_timers(&self) -> Vec<Action> {
        let before = self.timers.load(Ordering::Relaxed);
        self.timers.store(TIMERS_OVER, Ordering::Relaxed);
        if before == TIMERS_SET {
            self.worker.strike_timers(self.pid)
        } else {
            Vec::new()
        }
    }

    /// Says which call signals have to interrupt. What came before has interrupted nothing: look
    /// for it afterwards.
    pub(crate) fn interrupt_by_signals(&self, call: Option<Arc<dyn Interrupt>>) {
        let before = std::mem::replace(&mut lock(&self.owned).ties().call, call);
        drop(before);
    }

    pub(super) fn interrupt_call(&self) {
        let ties = &lock(&self.owned).ties;
        let call = ties.as_ref().and_then(|ties| ties.call.clone());
        if let Some(call) = call {
            call.interrupt();
        }
    }

    /// For [`relations`](crate::relations) alone, under their lock. False if it is noted already.
    pub(crate) fn note_watch(&self, target: &Target, kind: Kind) -> Result<bool, RelationError> {
        let mut owned = lock(&self.owned);
        if owned.gone {
            return Err(RelationError::Ending);
        }
        let kinds = owned.ties().watches.entry(target.clone()).or_default();
        Ok(kinds.add(kind))
    }

    /// What it watches, and how.
    #[cfg(any(test, feature = "test-kit"))]
    pub(crate) fn watched(&self) -> Vec<(Target, Kind)> {
        let owned = lock(&self.owned);
        let watches = owned.ties.iter().flat_map(|ties| &ties.watches);
        let of = |(target, kinds): (&Target, &Kinds)| {
            let target = target.clone();
            kinds.each().map(move |kind| (target.clone(), kind))
        };
        watches.flat_map(of).collect()
    }

    /// As [`note_watch`](Self::note_watch).
    pub(crate) fn forget_watch(&self, target: &Target, kind: Kind) {
        self.forget_watches(target, Kinds::of(kind));
    }

    /// As [`note_watch`](Self::note_watch).
    pub(crate) fn forget_watches(&self, target: &Target, those: Kinds) {
        let mut owned = lock(&self.owned);
        let Some(ties) = &mut owned.ties else {
            return;
        };
        if let Some(kinds) = ties.watches.get_mut(target) {
            kinds.remove_all(those);
            if kinds.is_empty() {
                ties.watches.remove(target);
            }
        }
    }

    /// From now on whoever ends the process, a kill aside, leaves it to its actor how.
    pub(crate) fn supervise(&self) {
        self.supervises.store(true, Ordering::Release);
    }

    pub(crate) fn supervises(&self) -> bool {
        self.supervises.load(Ordering::Acquire)
    }

    /// Whether its parent, if that lives, ends it when the node stops.
    pub(crate) fn is_supervised(&self) -> bool {
        self.supervised
    }

    pub(crate) fn is_ending(&self) -> bool {
        lock(&self.owned).closed
    }

    /// Refuses additions from now on. Gives out what has to end first.
    pub(super) fn close(&self) -> Vec<Alias> {
        let mut owned = lock(&self.owned);
        owned.closed = true;
        let ties = owned.ties.as_ref();
        ties.map_or_else(Vec::new, |ties| ties.metas.in_order())
    }

    /// Frees the name and the aliases. Gives out the aliases, and who is to be told of the name.
    pub(super) fn release_addresses(&self) -> (Option<Told>, BTreeSet<Alias>) {
        let mut owned = lock(&self.owned);
        let name = owned.name();
        let ties = owned.ties.as_mut();
        let aliases = ties.map_or_else(BTreeSet::new, |ties| std::mem::take(&mut ties.aliases));
        drop(owned);
        let registry = &self.node.registry;
        for alias in &aliases {
            registry.remove_alias(*alias);
        }
        (name.and_then(|name| registry.free_name(&name)), aliases)
    }

    /// Takes back what the parent's spawn options made.
    pub(crate) fn forget_parents_watches(&self) {
        let registry = &self.node.registry;
        let Some(parent) = self.parent.and_then(|pid| registry.process(pid)) else {
            return;
        };
        for kind in [Kind::Link, Kind::Monitor] {
            registry.unwatch(parent.core(), &Target::Pid(self.pid), kind);
        }
    }

    /// Watches nobody any more, and never again.
    pub(super) fn release_watches(&self) {
        let mut owned = lock(&self.owned);
        owned.gone = true;
        let Some(ties) = &mut owned.ties else {
            return;
        };
        let watches = std::mem::take(&mut ties.watches);
        drop(owned);
        for (target, kinds) in watches {
            for kind in kinds.each() {
                self.node.registry.unwatch(self, &target, kind);
            }
        }
    }
}
