//! How processes start and end: options of their spawn, and the ways to end them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use lab::{Handle, PATIENCE, Plan, hear, node, stop, until};
use socktree_kernel::{
    Actor, BlockingMeta, CallError, Ctx, Down, Flow, NoMessages, Node, NodeBuilder, Pid, Reason,
    RelationError, Reply, SendError, Source, SpawnError, SpawnOptions, protocol,
};

/// One worker, and nobody who helps when a handler blocks.
fn unwatched() -> Node {
    let builder = NodeBuilder::new("lab@localhost")
        .workers(1)
        .stuck_after(None);
    builder.start().unwrap()
}

#[test]
fn an_init_that_is_late_fails_the_spawn_and_leaves_nothing() {
    let node = node(2);
    let parent = Handle::new(&node);
    let (release, released) = bounded::<()>(0);
    let (child, children) = bounded(1);
    let mut plan = Plan::terminate(|_| unreachable!("it never started"));
    plan.init = Some(Box::new(move |ctx| {
        child.send(Handle::child(ctx, SpawnOptions::new())).unwrap();
        let _released = ctx.blocking(|| released.recv());
        Ok(())
    }));
    let options = SpawnOptions::new()
        .name("late")
        .init_timeout(Duration::from_millis(1))
        .monitored()
        .link_child();
    let error = parent.run(|ctx| plan.options(options).start_in(ctx).err());
    assert!(
        matches!(error, Some(SpawnError::InitTimeout(_))),
        "{error:?}"
    );
    let grandchild = hear(&children);
    assert!(node.whereis("late").is_some(), "until it returns");
    drop(release);
    assert!(matches!(grandchild.end(), Reason::Kill));
    until("the name is free", || node.whereis("late").is_none());
    parent.run(|_| ());
    assert!(parent.noted().is_none(), "the error said it already");
    stop(&node);
}

#[test]
fn an_init_in_time_is_like_any_other() {
    let node = unwatched();
    let limit = SpawnOptions::new().init_timeout(PATIENCE);
    let started = Plan::init(|ctx| Ok(ctx.register("started")?));
    let process = started.options(limit.clone()).start(&node).unwrap();
    assert_eq!(node.whereis("started"), Some(process.pid()));

    let failed = Plan::init(|_| Err(Reason::error("not here")));
    let options = limit.clone().name("failed");
    let error = failed.options(options).start(&node).err();
    assert_eq!(error.unwrap().to_string(), "init failed: not here");
    assert!(
        node.whereis("failed").is_none(),
        "free as soon as it is told"
    );

    // On the spawner's own worker, which has to go on meanwhile.
    let child = process.run(move |ctx| {
        let plan = Plan::init(|ctx| Ok(ctx.register("child")?));
        plan.options(limit).start_in(ctx).unwrap().pid()
    });
    assert_eq!(node.whereis("child"), Some(child));
    stop(&node);
}

#[test]
fn a_process_with_a_thread_of_its_own_holds_up_nobody() {
    let node = unwatched();
    let options = SpawnOptions::new().own_thread();
    let (slow, neighbour) = (
        Plan::default().options(options).start(&node).unwrap(),
        Handle::new(&node),
    );
    for n in 0..100_u64 {
        let address = neighbour.address.clone();
        let (release, released) = bounded::<()>(0);
        slow.tell(move |_| {
            // Not `blocking`: the handler just blocks.
            let _released = released.recv();
            Ok(())
        });
        slow.address.send(n).unwrap();
        address.send(n).unwrap();
        assert_eq!(neighbour.number().1, n);
        drop(release);
        assert_eq!(slow.number().1, n);
    }
    for n in 0..1_000 {
        slow.address.send(n).unwrap();
    }
    for n in 0..1_000 {
        assert_eq!(slow.number().1, n, "more than one run, in order");
    }
    stop(&node);
}

/// There is a bound to the threads: past it a handler that blocks holds up its worker, until it
/// returns.
#[test]
fn no_more_threads_than_there_may_be() {
    let builder = NodeBuilder::new("lab@localhost")
        .workers(1)
        .stuck_after(None);
    let node = builder.spare_threads(1).start().unwrap();
    let processes = [(); 3].map(|()| Handle::new(&node));
    let gates = [(); 2].map(|()| bounded::<()>(0));
    for (process, (_, gate)) in processes.iter().zip(&gates) {
        let (began, beginning) = bounded(1);
        let gate = gate.clone();
        process.tell(move |ctx| {
            ctx.blocking(|| {
                began.send(()).unwrap();
                let _opened = gate.recv();
            });
            Ok(())
        });
        hear(&beginning);
    }
    let [_, second, third] = &processes;
    third.address.send(1_u64).unwrap();
    assert!(third.noted().is_none(), "no thread is left for it");
    let [(first_gate, _), (second_gate, _)] = gates;
    drop(second_gate);
    assert_eq!(third.number().1, 1);
    second.run(|_| ());
    drop(first_gate);
    stop(&node);
}

/// P-03: nothing is unwrapped on its way to a watcher.
#[test]
fn p_03_a_reason_arrives_as_it_was_given() {
    #[derive(Debug)]
    struct Context(std::num::ParseIntError);
    impl fmt::Display for Context {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("while counting")
        }
    }
    impl std::error::Error for Context {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let node = node(1);
    let process = Handle::new(&node);
    let ended = node.monitor(process.pid()).unwrap();
    process.tell(|_| {
        let _number: u8 = "x".parse().map_err(Context)?;
        Ok(())
    });
    let Down { reason, .. } = ended.wait();
    let Reason::Error(error) = &reason else {
        panic!("{reason}");
    };
    assert!(error.is::<Context>());
    assert_eq!(
        reason.to_string(),
        "while counting: invalid digit found in string"
    );
    stop(&node);
}

/// P-07: an alias that is given up leaves the others as they were.
#[test]
fn p_07_each_alias_is_its_own() {
    let node = node(1);
    let (process, watcher) = (Handle::new(&node), Handle::new(&node));
    let aliases = process.run(|ctx| [(); 4].map(|()| ctx.create_alias()));
    watcher.run(move |ctx| {
        for alias in aliases {
            ctx.monitor(alias).unwrap();
        }
    });
    process.run(move |ctx| ctx.delete_alias(aliases[2]).unwrap());
    let (target, reason) = watcher.down();
    assert_eq!(target, aliases[2].into());
    assert!(matches!(reason, Reason::Unregistered));
    for (n, alias) in aliases.into_iter().enumerate() {
        let sent = node.send(alias, n as u64);
        assert_eq!(sent.is_ok(), n != 2, "{n}");
    }
    process.tell(|_| Err(Reason::Normal));
    for alias in [aliases[0], aliases[1], aliases[3]] {
        let (target, reason) = watcher.down();
        assert_eq!(
            target,
            alias.into(),
            "each once, and the deleted one not again"
        );
        assert!(matches!(reason, Reason::Normal));
    }
    watcher.run(|_| ());
    assert!(watcher.noted().is_none());
    stop(&node);
}

/// P-11: what was sent to a name whose `init` then failed is answered, if it asked for that.
#[test]
fn p_11_a_call_to_a_name_whose_init_fails_is_told() {
    struct Ask(Reply<u64>);
    struct Failing(Sender<()>, crossbeam_channel::Receiver<()>);
    protocol!(Ask);
    impl Actor for Failing {
        type Msg = Ask;
        fn init(&mut self, _: &mut Ctx<'_, Self>) -> Flow {
            self.0.send(())?;
            let _released = self.1.recv();
            Err(Reason::error("no"))
        }
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, Ask(reply): Ask) -> Flow {
            reply.send(1);
            Ok(())
        }
    }
    let node = node(1);
    let ((began, beginning), (release, released)) = (bounded(1), bounded(0));
    let options = SpawnOptions::new().name("failing");
    let spawner = node.clone();
    let spawned = std::thread::spawn(move || {
        spawner
            .spawn_with(Failing(began, released), options)
            .err()
            .unwrap()
    });
    hear(&beginning);
    let caller = node.clone();
    let call = std::thread::spawn(move || caller.call("failing", Ask, PATIENCE));
    until("the call waits", || {
        node.processes().iter().any(|p| p.mailbox == 1)
    });
    drop(release);
    let error = call.join().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Ended(_)), "{error}");
    assert_eq!(error.to_string(), "the target has ended: no");
    assert!(matches!(spawned.join().unwrap(), SpawnError::Init(_)));
    stop(&node);
}

/// However a process is ended, by how many and while it does what: `terminate` comes once, last,
/// and never beside another callback.
#[test]
fn terminate_comes_once_and_alone() {
    #[derive(Default)]
    struct Watch {
        inside: AtomicBool,
        overlaps: AtomicUsize,
        terminated: AtomicUsize,
        late: AtomicUsize,
    }
    struct Alone(Arc<Watch>);
    struct Step;
    protocol!(Step);
    impl Alone {
        fn callback(&self) {
            let watch = &self.0;
            if watch.inside.swap(true, Ordering::SeqCst) {
                watch.overlaps.fetch_add(1, Ordering::SeqCst);
            }
            if watch.terminated.load(Ordering::SeqCst) > 0 {
                watch.late.fetch_add(1, Ordering::SeqCst);
            }
            std::thread::yield_now();
            watch.inside.store(false, Ordering::SeqCst);
        }
    }
    impl Actor for Alone {
        type Msg = Step;
        fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, Step: Step) -> Flow {
            ctx.blocking(|| self.callback());
            Ok(())
        }
        fn terminate(&mut self, ctx: &mut Ctx<'_, Self>, _: &Reason) {
            ctx.blocking(|| self.callback());
            self.0.terminated.fetch_add(1, Ordering::SeqCst);
        }
    }
    let node = node(2);
    for _ in 0..100 {
        let watch = Arc::new(Watch::default());
        let process = node.spawn(Alone(Arc::clone(&watch))).unwrap();
        std::thread::scope(|scope| {
            for reason in [Reason::Kill, Reason::Shutdown, Reason::Normal] {
                let (node, process) = (&node, &process);
                scope.spawn(move || {
                    for _ in 0..10 {
                        if let Err(SendError::Full(_)) = process.send(Step) {
                            unreachable!("it has no bound");
                        }
                    }
                    node.exit(process, reason);
                });
            }
        });
        until("it has ended", || node.whereis(&process).is_none());
        assert_eq!(watch.terminated.load(Ordering::SeqCst), 1);
        assert_eq!(watch.overlaps.load(Ordering::SeqCst), 0);
        assert_eq!(watch.late.load(Ordering::SeqCst), 0);
    }
    stop(&node);
}

/// A setting goes down the tree as it was when each process was started.
#[test]
fn settings_are_inherited() {
    let node = NodeBuilder::new("env@localhost")
        .env("region", "north")
        .env("tier", "one")
        .start()
        .unwrap();
    let seen = |process: &Handle| {
        process.run(|ctx| {
            ["region", "tier", "mode"].map(|name| ctx.env(name).map(|value| value.to_string()))
        })
    };
    let some = |text: &str| Some(text.to_owned());
    let top = Handle::new(&node);
    assert_eq!(seen(&top), [some("north"), some("one"), None]);
    let child = top.run(|ctx| {
        let own = SpawnOptions::new().env("tier", "two").env("mode", "test");
        Plan::default().options(own).start_in(ctx).unwrap()
    });
    assert_eq!(seen(&child), [some("north"), some("two"), some("test")]);
    let grandchild = child.run(|ctx| Plan::default().start_in(ctx).unwrap());
    assert_eq!(seen(&grandchild), seen(&child));
    assert_eq!(seen(&top), [some("north"), some("one"), None]);
    stop(&node);
}

/// A meta-process ends on another thread, which has nobody to wait for: its owner's worker is stuck
/// in the spawn, and there is no thread to go on with it.
#[test]
fn a_spawn_that_fails_waits_for_nothing_that_cannot_come() {
    let builder = NodeBuilder::new("lab@localhost").workers(1);
    let node = builder.spare_threads(0).start().unwrap();
    let parent = Handle::new(&node);
    let error = parent.run(|ctx| {
        let (release, released) = bounded::<()>(0);
        let plan = Plan::init(move |ctx| {
            let blocks = BlockingMeta::<u64>::new(move |_| {
                let _released = released.recv();
                Ok(())
            });
            ctx.spawn_meta(blocks.on_exit(|| drop(release)))?;
            Err(Reason::error("it cannot start"))
        });
        plan.start_in(ctx).err()
    });
    assert!(matches!(error, Some(SpawnError::Init(_))), "{error:?}");
    until("what it had started is gone", || node.info().aliases == 0);

    // Where nobody could run it meanwhile, an `init` with a limit has none.
    let options = SpawnOptions::new().init_timeout(Duration::from_secs(3_600));
    let child = parent.run(move |ctx| Plan::default().options(options).start_in(ctx).is_ok());
    assert!(child);
    stop(&node);
}

#[test]
fn a_name_is_not_taken_any_more_in_terminate() {
    let node = node(1);
    let (told, outcome) = bounded(1);
    let plan = Plan::terminate(move |ctx| {
        let again = ctx.register("later");
        told.send((again, ctx.unregister())).unwrap();
    });
    let named = plan.options(SpawnOptions::new().name("named"));
    let named = named.start(&node).unwrap();
    named.tell(|_| Err(Reason::Normal));
    let (registered, unregistered) = hear(&outcome);
    assert_eq!(registered, Err(RelationError::Ending));
    assert_eq!(unregistered, Err(RelationError::Ending));
    stop(&node);
}

/// Does nothing.
struct Idle;

impl Actor for Idle {
    type Msg = NoMessages;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }
}

fn linked(parent: &Handle) -> Pid {
    let child = parent.run(|ctx| ctx.spawn_link(Idle));
    child.unwrap().pid()
}

#[test]
fn who_is_spawned_linked_ends_with_its_parent_and_the_other_way_round() {
    let node = node(2);
    let parent = Handle::new(&node);
    let child = node.monitor(linked(&parent)).unwrap();
    parent.tell(|_| Err(Reason::Normal));
    assert!(matches!(child.wait().reason, Reason::Normal));

    let parent = Handle::new(&node);
    node.exit(linked(&parent), Reason::Normal);
    let reason = parent.end();
    assert!(matches!(reason, Reason::Normal), "no exception: {reason}");

    // Who traps exits hears of the child and goes on.
    let parent = Handle::new(&node);
    parent.run(|ctx| ctx.trap_exit(true));
    let child = linked(&parent);
    node.exit(child, Reason::Shutdown);
    let (from, reason) = parent.exit();
    assert_eq!(from, child.into());
    assert!(matches!(reason, Reason::Shutdown));
    parent.run(|_| ());
    stop(&node);
}

#[test]
fn who_is_spawned_outlives_its_parent() {
    let node = node(2);
    let parent = Handle::new(&node);
    let child = parent.run(|ctx| ctx.spawn(Idle)).unwrap();
    let ended = node.monitor(parent.pid()).unwrap();
    parent.tell(|_| Err(Reason::Normal));
    let _ended = ended.wait();
    assert_eq!(node.whereis(&child), Some(child.pid()));
    stop(&node);
}

/// A handler may start a process through the node as well, which knows nothing of it: the worker that
/// it would wait for is its own.
#[test]
fn a_handler_that_spawns_through_the_node_holds_up_nobody() {
    let fails = || {
        let (release, released) = bounded::<()>(0);
        let plan = Plan::init(move |ctx| {
            let meta = BlockingMeta::<u64>::new(move |_| {
                let _released = released.recv();
                Ok(())
            });
            ctx.spawn_meta(meta.on_exit(move || drop(release)))?;
            Err(Reason::error("it fails"))
        });
        plan.options(SpawnOptions::new().name("it"))
    };
    // Without a watchdog, so that nothing helps but what the spawn does.
    for spares in [0, 10] {
        let builder = NodeBuilder::new("lab@localhost").workers(1);
        let builder = builder.stuck_after(None).spare_threads(spares);
        let node = builder.start().unwrap();
        let process = Handle::new(&node);
        let failed = process.run(move |ctx| {
            let failed = fails().start(&ctx.node()).map(|_| ());
            (failed, ctx.node().whereis("it").is_none())
        });
        assert!(matches!(failed.0, Err(SpawnError::Init(_))), "{failed:?}");
        // With another thread, it has been waited for.
        assert!(failed.1 || spares == 0);
        until("it is gone", || node.whereis("it").is_none());
        let started = process.run(|ctx| {
            let plan = Plan::default().options(SpawnOptions::new().init_timeout(PATIENCE));
            plan.start(&ctx.node()).is_ok()
        });
        assert!(started);
        stop(&node);
    }
}
