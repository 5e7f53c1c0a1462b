//! Aliases that come and go, and ends of which others want to hear, in every order that the threads
//! can take: run by `crates/kernel/loom/run.sh`.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::AliasEntry;
use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::driver::{DriverFactory as _, ParkingFactory};
use crate::env::Env;
use crate::id::{Pid, Target};
use crate::mailbox::{Signal, Urgent};
use crate::message::{NoMessages, Source};
use crate::node::{NodeInner, SpawnOptions};
use crate::process::{AnyProcess as _, Process};
use crate::reason::{Flow, Reason};
use crate::relations::Kind;
use crate::spare::Spares;
use crate::worker::{Worker, WorkerId};

/// Is only there: nobody runs it.
struct Anybody;

impl Actor for Anybody {
    type Msg = NoMessages;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }
}

/// A node without threads, and two of its processes.
struct Two {
    node: Arc<NodeInner>,
    watcher: Arc<Process<Anybody>>,
    target: Arc<Process<Anybody>>,
}

impl Two {
    fn new() -> Arc<Self> {
        let spares = Spares::new("model", 0);
        let (name, stop) = ("model@localhost".to_owned(), Duration::ZERO);
        let env = Env::default();
        let node = NodeInner::new(
            name,
            env,
            1,
            stop,
            None,
            Arc::clone(&spares),
            Arc::default(),
        );
        let node = Arc::new(node);
        let parts = ParkingFactory.make(WorkerId(0)).expect("nothing is opened");
        let worker = Worker::new(WorkerId(0), parts, spares, Arc::default());
        let process = || {
            let (node, worker) = (Arc::clone(&node), Arc::clone(&worker));
            let pid = node.new_pid();
            let process = Process::new(Anybody, pid, None, node, worker, &SpawnOptions::new());
            process
                .core()
                .node
                .registry
                .insert_process(Arc::clone(&process) as _);
            process
        };
        let (watcher, target) = (process(), process());
        Arc::new(Self {
            node,
            watcher,
            target,
        })
    }

    fn target(&self) -> Pid {
        self.target.core().pid
    }

    fn end_target(&self) {
        let told = self.node.registry.end_process(self.target.core());
        told.tell(&Reason::Normal, Some(self.target()));
    }

    fn watch(&self, target: &Target) -> bool {
        let registry = &self.node.registry;
        let watched = registry.watch(self.watcher.core(), target, Kind::Monitor);
        watched.is_ok()
    }

    fn unwatch(&self, target: &Target) -> bool {
        let registry = &self.node.registry;
        registry.unwatch(self.watcher.core(), target, Kind::Monitor)
    }

    /// How often the watcher was told of an end.
    fn notices(&self) -> usize {
        let signals = std::iter::from_fn(|| self.watcher.take_urgent());
        let is_down = |urgent: &Urgent<_>| matches!(urgent, Urgent::Signal(Signal::Down(_)));
        signals.filter(is_down).count()
    }

    /// Neither side has kept anything.
    fn is_tidy(&self) -> bool {
        self.node.registry.relation_count() == 0 && self.watcher.core().watched().is_empty()
    }
}

/// What two threads did.
fn both<T: 'static>(f: impl FnOnce() -> T + 'static, g: impl FnOnce() + 'static) -> T {
    let g = thread::spawn(g);
    let done = f();
    g.join().expect("no thread panics");
    done
}

/// P-02: whoever watches a process is refused or told.
#[test]
fn p_02_a_watcher_of_a_process_is_refused_or_told() {
    loom::model(|| {
        let two = Two::new();
        let (watching, ending) = (Arc::clone(&two), Arc::clone(&two));
        let watches = both(
            move || watching.watch(&Target::Pid(watching.target())),
            move || ending.end_target(),
        );
        assert_eq!(two.notices(), usize::from(watches));
        assert!(two.is_tidy());
    });
}

/// Who takes a relation back in time is not told.
#[test]
fn a_watcher_that_leaves_is_told_or_has_left() {
    loom::model(|| {
        let two = Two::new();
        let target = Target::Pid(two.target());
        assert!(two.watch(&target));
        let (leaving, ending) = (Arc::clone(&two), Arc::clone(&two));
        let has_left = both(
            move || leaving.unwatch(&target),
            move || ending.end_target(),
        );
        assert_eq!(two.notices(), usize::from(!has_left));
        assert!(two.is_tidy());
    });
}

/// Two that watch each other: neither waits for the other's lock with its own in hand.
#[test]
fn two_that_watch_each_other_do_not_lock_each_other_out() {
    loom::model(|| {
        let two = Two::new();
        let (one, other) = (Arc::clone(&two), Arc::clone(&two));
        let watched = both(
            move || one.watch(&Target::Pid(one.target())),
            move || {
                let (registry, watched) = (&other.node.registry, other.watcher.core().pid);
                let target = Target::Pid(watched);
                let back = registry.watch(other.target.core(), &target, Kind::Link);
                assert!(back.is_ok(), "nobody has ended");
            },
        );
        assert!(watched);
        assert_eq!(two.node.registry.relation_count(), 2);
        two.end_target();
        assert_eq!(two.notices(), 1);
    });
}

/// P-01, P-02: an alias leads to its process or nowhere, and whoever watches it is refused or told.
#[test]
fn p_01_p_02_an_alias_is_known_or_unknown_and_its_watcher_is_told() {
    loom::model(|| {
        let two = Two::new();
        let alias = two.node.new_alias();
        let entry = AliasEntry::Process(Arc::clone(&two.target) as _);
        two.node.registry.insert_alias(alias, entry);
        let (watching, going) = (Arc::clone(&two), Arc::clone(&two));
        let watches = both(
            move || {
                if let Some(found) = watching.node.registry.resolve(&Target::Alias(alias)) {
                    assert_eq!(found.core().pid, watching.target());
                }
                watching.watch(&Target::Alias(alias))
            },
            move || {
                let registry = &going.node.registry;
                assert!(registry.remove_alias(alias).is_some(), "it was there");
                registry.notify(alias, &Reason::Unregistered, None);
            },
        );
        assert_eq!(two.notices(), usize::from(watches));
        assert!(two.is_tidy());
        assert!(two.node.registry.resolve(&Target::Alias(alias)).is_none());
    });
}

/// An alias that is just made is found as a whole or not at all.
#[test]
fn a_new_alias_is_found_or_not_yet() {
    loom::model(|| {
        let two = Two::new();
        let alias = two.node.new_alias();
        let entry = AliasEntry::Process(Arc::clone(&two.target) as _);
        let (looking, making) = (Arc::clone(&two), Arc::clone(&two));
        both(
            move || {
                let registry = &looking.node.registry;
                if let Some(found) = registry.resolve(&Target::Alias(alias)) {
                    assert_eq!(found.core().pid, looking.target());
                    assert_eq!(registry.alias_count(), 1);
                }
            },
            move || making.node.registry.insert_alias(alias, entry),
        );
        assert!(two.node.registry.resolve(&Target::Alias(alias)).is_some());
    });
}

/// M-03: what is registered while its process ends is refused, or is told to end with it.
#[test]
fn m_03_what_an_ending_process_takes_ends_with_it() {
    loom::model(|| {
        let two = Two::new();
        let alias = two.node.new_alias();
        let (taking, ending) = (Arc::clone(&two), Arc::clone(&two));
        let ending = thread::spawn(move || ending.target.close_for_model());
        let is_taken = taking.target.core().own_meta(alias);
        let told = ending.join().expect("no thread panics");
        assert_eq!(told, if is_taken { vec![alias] } else { Vec::new() });
    });
}
