//! A process that is started while its node stops, in every order that the threads can take: run by
//! `crates/kernel/loom/run.sh`.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::NodeInner;
use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::driver::{DriverFactory as _, ParkingFactory};
use crate::env::Env;
use crate::mailbox::{Signal, Urgent};
use crate::message::{NoMessages, Source};
use crate::node::SpawnOptions;
use crate::process::Process;
use crate::reason::{Flow, Reason};
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

/// A node whose worker nobody drives.
fn node() -> Arc<NodeInner> {
    let spares = Spares::new("model", 0);
    let parts = ParkingFactory.make(WorkerId(0)).expect("nothing is opened");
    let worker = Worker::new(WorkerId(0), parts, Arc::clone(&spares), Arc::default());
    let (name, stop) = ("model@localhost".to_owned(), Duration::ZERO);
    let node = NodeInner::new(name, Env::default(), 1, stop, None, spares, Arc::default());
    node.adopt(vec![worker]);
    Arc::new(node)
}

fn start(node: &Arc<NodeInner>) -> Option<Arc<Process<Anybody>>> {
    let started = node.spawn_later(Anybody, &SpawnOptions::new(), None);
    started.ok()
}

fn is_told_to_end(process: &Process<Anybody>) -> bool {
    let signals = std::iter::from_fn(|| process.take_urgent());
    let ends = |urgent: Urgent<_>| {
        matches!(
            urgent,
            Urgent::Signal(Signal::Exit {
                reason: Reason::Shutdown,
                trappable: false,
                ..
            })
        )
    };
    signals.map(ends).any(|ends| ends)
}

/// Whoever starts a process while its node stops is refused, or the process is told to end; and once
/// the stop has seen that there is nobody, nobody comes any more.
#[test]
fn what_starts_while_its_node_stops_is_refused_or_told_to_end() {
    loom::model(|| {
        let node = node();
        let before = start(&node).expect("it does not stop yet");
        let stopping = Arc::clone(&node);
        let stopping = thread::spawn(move || stopping.begin_stop());
        let started = start(&node);
        stopping.join().expect("no thread panics");
        assert!(is_told_to_end(&before));
        let started = started.as_deref();
        assert!(started.is_none_or(is_told_to_end));
        let expected = 1 + usize::from(started.is_some());
        assert_eq!(node.registry.process_count(), expected);
        assert!(start(&node).is_none());
    });
}

#[test]
fn a_stopped_node_that_is_empty_stays_so() {
    loom::model(|| {
        let node = node();
        let stopping = Arc::clone(&node);
        let stopping = thread::spawn(move || {
            stopping.begin_stop();
            stopping.is_empty()
        });
        let started = start(&node);
        let was_empty = stopping.join().expect("no thread panics");
        assert!(started.is_none() || !was_empty);
        assert_eq!(node.is_empty(), started.is_none());
    });
}
