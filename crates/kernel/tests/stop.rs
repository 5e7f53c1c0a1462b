//! The node's stop: everything ends, in time, or is named.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, unbounded};
use lab::{Handle, PATIENCE, Plan, Puppet, hear, node, stop};
use socktree_kernel::{
    Actor, Ctx, Flow, NoMessages, Node, NodeBuilder, NodeError, Reason, SendError, Source,
    SpawnError, SpawnOptions,
};

/// A node that waits for this long when it stops.
fn node_with_deadline(deadline: Duration) -> Node {
    let builder = NodeBuilder::new("lab@localhost").workers(1);
    builder.stop_deadline(deadline).start().unwrap()
}

/// Has a process block until the sender is dropped.
fn block(process: &Handle) -> Sender<()> {
    let (began, beginning) = bounded(0);
    let (release, released) = bounded::<()>(0);
    process.tell(move |_| {
        began.send(())?;
        let _dropped = released.recv();
        Ok(())
    });
    hear(&beginning);
    release
}

#[test]
fn everything_ends_with_the_node() {
    let node = node(2);
    let all: Vec<_> = (0..200)
        .map(|n| {
            let plan = Plan::init(|ctx| {
                ctx.trap_exit(true);
                ctx.send_after(ctx.pid(), 1_u64, PATIENCE);
                ctx.create_alias();
                Ok(())
            });
            let options = SpawnOptions::new().name(format!("process {n}"));
            plan.options(options).start(&node).unwrap()
        })
        .collect();
    stop(&node);
    for process in all {
        assert!(
            matches!(process.end(), Reason::Shutdown),
            "which is not trapped"
        );
    }
}

#[test]
fn a_second_stop_gives_the_same_report() {
    let node = node(2);
    let began = Barrier::new(4);
    let (done, reports) = unbounded();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                began.wait();
                done.send(node.stop().unwrap()).unwrap();
            });
        }
    });
    let again = node.stop().unwrap();
    for report in reports.try_iter() {
        assert!(report.is_clean());
        assert_eq!(report.took, again.took);
    }
}

#[test]
fn who_is_stuck_is_named() {
    // Whoever is not stuck has to end in it, on a busy machine too.
    let deadline = Duration::from_secs(1);
    let node = node_with_deadline(deadline);
    let plan = Plan::default().options(SpawnOptions::new().name("sluggard"));
    let sluggard = plan.start(&node).unwrap();
    Handle::new(&node);
    let _release = block(&sluggard);
    let report = node.stop().unwrap();
    assert!(!report.is_clean());
    assert_eq!(report.stuck.len(), 1, "{report}");
    assert_eq!(report.stuck[0].pid, sluggard.pid());
    assert!(report.to_string().contains("'sluggard'"), "{report}");
    assert!(report.stuck[0].behaviour.ends_with("Puppet"));
    assert!(report.took >= deadline);
    // A stop that is over is over.
    assert_eq!(node.stop().unwrap().took, report.took);
}

/// F10: a stopped node has no spare threads, so that its watchdog looks at the stuck handler in
/// vain, more often than it takes until it would like to sleep.
#[test]
fn a_handler_that_is_stuck_for_good_does_not_hold_up_the_stop() {
    let builder = NodeBuilder::new("lab@localhost").workers(1);
    let builder = builder.stuck_after(Some(Duration::from_millis(8)));
    let node = builder.stop_deadline(Duration::ZERO).start().unwrap();
    let sluggard = Handle::new(&node);
    let _release = block(&sluggard);
    let (done, over) = bounded(1);
    thread::spawn(move || done.send(node.stop().unwrap()).unwrap());
    assert_eq!(hear(&over).stuck.len(), 1);
}

#[test]
fn a_stopped_node_starts_nothing() {
    let node = node(1);
    let process = Handle::new(&node);
    stop(&node);
    assert!(matches!(
        Plan::default().start(&node),
        Err(SpawnError::Stopping)
    ));
    assert!(matches!(
        node.send(process.pid(), 1_u64),
        Err(SendError::Unknown(1))
    ));
    assert!(process.address.send(1_u64).is_err());
    assert!(node.monitor(process.pid()).is_err());
    node.exit(process.pid(), Reason::Kill);
    node.shutdown();
}

/// Whatever a spawn says is true: what it started ends, also when it meets the node's stop.
#[test]
fn spawns_that_meet_a_stop_are_refused_or_ended() {
    for _ in 0..200 {
        let node = node(1);
        let began = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    began.wait();
                    while let Ok(process) = Plan::default().start(&node) {
                        if let Ok(ended) = node.monitor(process.pid()) {
                            drop(ended);
                        }
                    }
                });
            }
            began.wait();
            stop(&node);
        });
        assert_eq!(node.info().processes, 0);
    }
}

/// Stops the node it runs on, and then does not end.
struct Stubborn(crossbeam_channel::Receiver<()>);

impl Actor for Stubborn {
    type Msg = NoMessages;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        ctx.monitor("gone").ok();
        ctx.exit(ctx.pid(), Reason::Normal);
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }

    fn terminate(&mut self, ctx: &mut Ctx<'_, Self>, _: &Reason) {
        ctx.node().shutdown();
        let _dropped = self.0.recv();
    }
}

/// The deadline counts from the shutdown, also for the first process itself.
#[test]
fn run_names_a_first_process_that_is_stuck() {
    let (_release, released) = bounded(0);
    let (done, over) = bounded(1);
    thread::spawn(move || {
        let builder = NodeBuilder::new("lab@localhost").workers(1);
        let run = builder.stop_deadline(Duration::from_millis(50));
        done.send(run.run(Stubborn(released))).unwrap();
    });
    match hear(&over) {
        Err(NodeError::Stuck(report)) => assert_eq!(report.stuck.len(), 1, "{report}"),
        other => panic!("{other:?}"),
    }
}

/// Does one thing and ends.
struct Once<F>(Option<F>);

impl<F: FnOnce() -> Flow + Send + 'static> Actor for Once<F> {
    type Msg = NoMessages;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        ctx.trap_exit(true);
        ctx.exit(ctx.pid(), Reason::Normal);
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }

    fn exit(&mut self, _: &mut Ctx<'_, Self>, _: socktree_kernel::Exit) -> Flow {
        self.0.take().map_or(Ok(()), |f| f())
    }
}

#[test]
fn run_gives_the_first_process_reason() {
    let run = |end: fn() -> Flow| NodeBuilder::new("lab@localhost").run(Once(Some(end)));
    run(|| Err(Reason::Normal)).unwrap();
    run(|| Err(Reason::Shutdown)).unwrap();
    match run(|| Err(Reason::error("broken"))) {
        Err(NodeError::Ended(reason)) => assert_eq!(reason.to_string(), "broken"),
        other => panic!("{other:?}"),
    }
    match run(|| panic!("broken")) {
        Err(NodeError::Ended(Reason::Panic(_))) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_nodes_name_has_two_parts() {
    for name in ["", "lab", "@", "lab@", "@host", "a@b@c"] {
        match NodeBuilder::new(name).start() {
            Err(NodeError::BadName(given)) => assert_eq!(given, name),
            other => panic!("{other:?}"),
        }
    }
}

/// A shutdown from a handler, which cannot wait for it.
#[test]
fn a_handler_shuts_its_node_down() {
    let node = node(2);
    let (first, second) = (Handle::new(&node), Handle::new(&node));
    first.run(|ctx: &mut Ctx<'_, Puppet>| ctx.node().shutdown());
    assert!(matches!(first.end(), Reason::Shutdown));
    assert!(matches!(second.end(), Reason::Shutdown));
    stop(&node);
}
