//! From spawn to end: what waits for what, and in which order things happen.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::thread;

use crossbeam_channel::{Receiver, bounded, unbounded};
use lab::{Handle, Plan, Puppet, hear, node, stop, until};
use socktree_kernel::{
    Ctx, Flow, Node, NodeError, Reason, RelationError, SendError, SpawnError, SpawnOptions,
};

/// An `init` that says when it has begun, and then waits for the test.
fn slow_init() -> (Plan, Receiver<()>, crossbeam_channel::Sender<Flow>) {
    let (began, beginning) = bounded(1);
    let (go, gone) = bounded(1);
    let plan = Plan::init(move |_| {
        began.send(())?;
        gone.recv()?
    });
    (plan, beginning, go)
}

/// Starts a plan under the name `slow` on a thread of its own, as `init` runs on the spawner's.
fn start(node: &Node, plan: Plan) -> Receiver<Result<Handle, SpawnError>> {
    let (done, outcome) = bounded(1);
    let node = node.clone();
    thread::spawn(move || {
        let plan = plan.options(SpawnOptions::new().name("slow"));
        done.send(plan.start(&node)).unwrap();
    });
    outcome
}

#[test]
fn what_arrives_during_init_waits() {
    let node = node(1);
    let (plan, beginning, go) = slow_init();
    let starting = start(&node, plan);
    hear(&beginning);
    let sender = Handle::new(&node);
    sender.run(|ctx| {
        for n in 0..10 {
            ctx.send("slow", n as u64).unwrap();
        }
    });
    go.send(Ok(())).unwrap();
    let slow = hear(&starting).unwrap();
    for n in 0..10 {
        assert_eq!(slow.number().1, n);
    }
    stop(&node);
}

/// What was sent to a process that then failed to start is gone, but its name is free.
#[test]
fn a_failed_init_frees_the_name_and_calls_no_terminate() {
    let node = node(1);
    let (plan, beginning, go) = slow_init();
    let starting = start(&node, plan);
    hear(&beginning);
    node.send("slow", 1_u64).unwrap();
    let ended = node.monitor("slow").unwrap();
    go.send(Err(Reason::error("cannot"))).unwrap();
    assert!(matches!(hear(&starting), Err(SpawnError::Init(_))));
    assert_eq!(ended.wait().reason.to_string(), "cannot");
    assert!(matches!(
        node.send("slow", 2_u64),
        Err(SendError::Unknown(2))
    ));
    stop(&node);
}

#[test]
fn a_kill_during_init_comes_right_after_it() {
    let node = node(1);
    let (plan, beginning, go) = slow_init();
    let starting = start(&node, plan);
    hear(&beginning);
    node.send("slow", 1_u64).unwrap();
    node.exit("slow", Reason::error("later"));
    node.exit("slow", Reason::Kill);
    go.send(Ok(())).unwrap();
    let slow = hear(&starting).unwrap();
    assert!(
        matches!(slow.end(), Reason::Kill),
        "before the message and the other exit"
    );
    stop(&node);
}

/// P-11: linked or not, children do not outlive an `init` that fails.
#[test]
fn p_11_a_failed_init_ends_the_children_it_started() {
    let node = node(2);
    let (tell, told) = unbounded();
    let plan = Plan::init(move |ctx| {
        tell.send(Handle::child(ctx, SpawnOptions::new()))?;
        tell.send(Handle::child(ctx, SpawnOptions::new().link_parent()))?;
        Err(Reason::error("cannot"))
    });
    assert!(plan.start(&node).is_err());
    for child in [hear(&told), hear(&told)] {
        assert_eq!(child.end().to_string(), "cannot");
    }
    until("all have ended", || node.info().processes == 0);
    // After a good start, an unlinked child is on its own.
    let parent = Handle::new(&node);
    let child = parent.run(|ctx| Handle::child(ctx, SpawnOptions::new()));
    parent.tell(|_| Err(Reason::error("over")));
    parent.end();
    child.run(|_| ());
    stop(&node);
}

/// P-04: who is told of an end finds the names free, and `terminate` over.
#[test]
fn p_04_names_are_free_before_anyone_is_told() {
    let node = node(2);
    let watcher = Handle::new(&node);
    for _ in 0..300 {
        let (over, terminated) = bounded(1);
        let plan = Plan::terminate(move |_| over.send(()).unwrap());
        let process = plan
            .options(SpawnOptions::new().name("role"))
            .start(&node)
            .unwrap();
        let alias = process.run(|ctx| ctx.create_alias());
        let pid = process.pid();
        watcher.run(move |ctx| {
            ctx.monitor(pid).unwrap();
            ctx.monitor(alias).unwrap();
            ctx.monitor("role").unwrap();
        });
        process.tell(|_| Err(Reason::error("over")));
        watcher.down();
        terminated.try_recv().expect("terminate is over by then");
        assert!(node.whereis("role").is_none() && node.whereis(alias).is_none());
        assert!(node.whereis(pid).is_none());
        watcher.down();
        watcher.down();
    }
    stop(&node);
}

/// P-02: whoever finds a name can watch what it leads to.
#[test]
fn p_02_a_name_leads_to_a_process_that_is_there() {
    let node = node(1);
    for n in 0..3_000 {
        let name = format!("name {n}");
        thread::scope(|scope| {
            let starter = scope.spawn(|| {
                let options = SpawnOptions::new().name(&*name);
                Plan::default().options(options).start(&node).unwrap()
            });
            until("it is there", || match node.whereis(&*name) {
                Some(pid) => {
                    node.monitor(pid).unwrap();
                    true
                }
                None => false,
            });
            starter.join().unwrap().tell(|_| Err(Reason::Normal));
        });
    }
    stop(&node);
}

/// P-04: and so a watcher can take the name at once.
#[test]
fn p_04_a_name_can_be_taken_in_the_notice() {
    let node = node(2);
    let plan = Plan {
        down: Some(|ctx: &mut Ctx<'_, Puppet>| Ok(ctx.register("role")?)),
        ..Plan::default()
    };
    let heir = plan.start(&node).unwrap();
    let first = Plan::default().options(SpawnOptions::new().name("role"));
    let first = first.start(&node).unwrap();
    heir.run(|ctx| ctx.monitor("role")).unwrap();
    first.tell(|_| Err(Reason::error("over")));
    heir.down();
    heir.run(|_| ());
    assert_eq!(node.whereis("role"), Some(heir.pid()));
    stop(&node);
}

/// A process that ends may still start another, which outlives it, or, linked, does not.
#[test]
fn terminate_may_spawn() {
    let node = node(2);
    let (tell, told) = unbounded();
    let plan = Plan::terminate(move |ctx| {
        tell.send(Handle::child(ctx, SpawnOptions::new())).unwrap();
        tell.send(Handle::child(ctx, SpawnOptions::new().link_parent()))
            .unwrap();
    });
    let parent = plan.start(&node).unwrap();
    parent.tell(|_| Err(Reason::error("over")));
    let (free, linked) = (hear(&told), hear(&told));
    assert_eq!(linked.end().to_string(), "over");
    free.run(|_| ());
    stop(&node);
}

/// What cannot be undone any more is refused, or is gone with the process.
#[test]
fn terminate_leaves_nothing_behind() {
    let node = node(1);
    let (tell, told) = bounded(1);
    let plan = Plan::terminate(move |ctx| {
        let named = ctx.register("ghost");
        let alias = ctx.create_alias();
        ctx.send_after(ctx.pid(), 1_u64, std::time::Duration::from_secs(3_600));
        tell.send((named, ctx.unregister(), alias)).unwrap();
    });
    let process = plan.options(SpawnOptions::new()).start(&node).unwrap();
    process.tell(|_| Err(Reason::Normal));
    process.end();
    let (named, unnamed, alias) = hear(&told);
    assert_eq!(named, Err(RelationError::Ending));
    assert_eq!(unnamed, Err(RelationError::NoRelation));
    assert!(node.whereis(alias).is_none());
    until("it has ended", || node.info().processes == 0);
    stop(&node);
}

/// It would wait for itself, on whatever thread it runs.
#[test]
fn a_node_is_not_stopped_inside_a_handler() {
    let node = node(1);
    let process = Handle::new(&node);
    let stopped = process.run(|ctx| ctx.node().stop());
    assert!(matches!(stopped, Err(NodeError::InsideHandler)));
    let plan = Plan::init(|ctx| match ctx.node().stop() {
        Err(NodeError::InsideHandler) => Ok(()),
        other => panic!("{other:?}"),
    });
    plan.start(&node).unwrap();
    // The thread that ran `init` is no handler any more.
    stop(&node);
}
