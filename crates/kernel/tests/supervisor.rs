//! Supervisors: who is restarted, how often, and what is left when it is too often.

#[path = "common/lab.rs"]
mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lab::{Handle, PATIENCE, hear, node, stop, until};
use socktree_kernel::{
    Actor, ChildSpec, Ctx, Flow, Node, Pid, Reason, Restart, Source, SpawnError, SpawnOptions,
    StartChild, Supervisor, protocol,
};

const LONG: Duration = Duration::from_secs(3_600);

type End = fn() -> Flow;

/// What a child is told to do.
struct Order(End);
protocol!(Order);

/// Tells the test of each start and each end.
struct Child {
    starts: Sender<Pid>,
    ends: Sender<Reason>,
    /// How many of the next `init`s fail.
    failures: Arc<AtomicUsize>,
}

impl Actor for Child {
    type Msg = Order;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let fails = |left: usize| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails)
            .is_ok()
        {
            return Err(Reason::error("not yet"));
        }
        Ok(self.starts.send(ctx.pid())?)
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, order: Order) -> Flow {
        order.0()
    }

    fn terminate(&mut self, _: &mut Ctx<'_, Self>, reason: &Reason) {
        let _nobody_listens = self.ends.send(reason.clone());
    }
}

/// One kind of child, and what is known of all that were started.
struct Kind {
    starts: Receiver<Pid>,
    ends: Receiver<Reason>,
    failures: Arc<AtomicUsize>,
    start: Sender<Pid>,
    end: Sender<Reason>,
}

impl Kind {
    fn new() -> Self {
        let ((start, starts), (end, ends)) = (unbounded(), unbounded());
        let failures = Arc::default();
        Self {
            starts,
            ends,
            failures,
            start,
            end,
        }
    }

    fn make(&self) -> impl Fn() -> Child + Clone + Send + 'static {
        let (starts, ends) = (self.start.clone(), self.end.clone());
        let failures = Arc::clone(&self.failures);
        move || Child {
            starts: starts.clone(),
            ends: ends.clone(),
            failures: Arc::clone(&failures),
        }
    }

    /// The next child that has been started, once it can be reached.
    fn started(&self) -> Pid {
        hear(&self.starts)
    }
}

fn order(node: &Node, name: &str, what: End) {
    let Err(_) = node.send(name, Order(what)) else {
        return;
    };
    panic!("{name} is not there");
}

fn fall() -> Flow {
    panic!("it falls")
}

fn leave() -> Flow {
    Err(Reason::Normal)
}

/// A supervisor of `child_0`, that bears this many restarts in an hour.
fn supervisor(kind: &Kind, restart: Restart, intensity: usize) -> Supervisor {
    Supervisor::one_for_one()
        .restart(restart)
        .intensity(intensity, LONG)
        .retry_delay(Duration::from_millis(1))
        .child("child_0", kind.make())
}

#[test]
fn a_child_that_falls_is_started_anew_and_no_other() {
    let node = node(2);
    let (kind, other) = (Kind::new(), Kind::new());
    let tree = supervisor(&kind, Restart::Transient, 5).child("child_1", other.make());
    node.spawn(tree).unwrap();
    let (first, beside) = (kind.started(), other.started());
    assert_eq!(node.whereis("child_0"), Some(first));
    order(&node, "child_0", fall);
    let second = kind.started();
    assert!(second > first);
    assert_eq!(node.whereis("child_0"), Some(second));
    assert_eq!(node.whereis("child_1"), Some(beside));
    assert!(matches!(hear(&kind.ends), Reason::Panic(_)));
    stop(&node);
}

#[test]
fn the_reason_and_the_kind_decide() {
    let node = node(2);
    let kinds = [Kind::new(), Kind::new(), Kind::new()];
    let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    let names = ["permanent", "transient", "temporary"];
    let mut tree = Supervisor::one_for_one().intensity(100, LONG);
    for ((kind, restart), name) in kinds.iter().zip(restarts).zip(names) {
        tree = tree.restart(restart).child(name, kind.make());
    }
    node.spawn(tree).unwrap();
    let ends = [
        (fall as End, [true, true, false]),
        (|| Err(Reason::error("broken")), [true, true, false]),
        (leave, [true, false, false]),
        (|| Err(Reason::Shutdown), [true, false, false]),
    ];
    for ((kind, name), n) in kinds.iter().zip(names).zip(0..) {
        kind.started();
        for (end, again) in ends {
            order(&node, name, end);
            hear(&kind.ends);
            if !again[n] {
                break;
            }
            until("it is back", || node.whereis(name).is_some());
            kind.started();
        }
    }
    assert!(node.whereis("permanent").is_some());
    until("the others are gone", || node.info().processes == 2);
    stop(&node);
}

/// F05, S-01: the supervisor ends with a reason of its own, and its children with it.
#[test]
fn s_01_too_many_restarts_end_the_supervisor() {
    let node = node(2);
    let (kind, other) = (Kind::new(), Kind::new());
    let tree = supervisor(&kind, Restart::Transient, 3).child("child_1", other.make());
    let (_, ended) = node.spawn_monitored(tree).unwrap();
    for _ in 0..4 {
        kind.started();
        order(&node, "child_0", fall);
    }
    let reason = ended.wait_for(PATIENCE).unwrap().reason;
    let Reason::RestartsExceeded { child, reason } = reason else {
        panic!("{reason}");
    };
    assert_eq!(
        (&*child, &*reason.to_string()),
        ("child_0", "panic: it falls")
    );
    assert!(matches!(hear(&other.ends), Reason::RestartsExceeded { .. }));
    assert!(
        kind.starts.try_recv().is_err(),
        "there was no restart after the last"
    );
    until("the children have ended", || node.info().processes == 0);
    stop(&node);
}

#[test]
fn no_restart_at_all_may_be_bearable() {
    let node = node(1);
    let kind = Kind::new();
    let (_, ended) = node
        .spawn_monitored(supervisor(&kind, Restart::Transient, 0))
        .unwrap();
    kind.started();
    order(&node, "child_0", fall);
    let reason = ended.wait_for(PATIENCE).unwrap().reason;
    assert!(matches!(reason, Reason::RestartsExceeded { .. }));
    stop(&node);
}

/// F05: only the restarts of the last period count.
#[test]
fn old_restarts_are_forgotten() {
    let node = node(1);
    let kind = Kind::new();
    let tree = Supervisor::one_for_one().intensity(1, Duration::ZERO);
    node.spawn(tree.child("child_0", kind.make())).unwrap();
    for _ in 0..20 {
        kind.started();
        order(&node, "child_0", fall);
    }
    kind.started();
    stop(&node);
}

/// S-02: a restart that fails is tried again, and does not end the supervisor.
#[test]
fn s_02_a_failing_restart_is_tried_again() {
    let node = node(2);
    let kind = Kind::new();
    node.spawn(supervisor(&kind, Restart::Transient, 10))
        .unwrap();
    kind.started();
    kind.failures.store(5, Ordering::SeqCst);
    order(&node, "child_0", fall);
    let pid = kind.started();
    assert_eq!(kind.failures.load(Ordering::SeqCst), 0);
    assert_eq!(node.whereis("child_0"), Some(pid));
    // And the child is supervised as before.
    order(&node, "child_0", fall);
    kind.started();
    assert_eq!(node.info().timers, 0);
    stop(&node);
}

/// S-02: but each failure counts.
#[test]
fn s_02_a_restart_that_always_fails_is_too_much() {
    let node = node(2);
    let kind = Kind::new();
    let (_, ended) = node
        .spawn_monitored(supervisor(&kind, Restart::Transient, 5))
        .unwrap();
    kind.started();
    kind.failures.store(usize::MAX, Ordering::SeqCst);
    order(&node, "child_0", fall);
    match ended.wait_for(PATIENCE).unwrap().reason {
        Reason::RestartsExceeded { reason, .. } => {
            assert_eq!(reason.to_string(), "init failed: not yet");
        }
        other => panic!("{other}"),
    }
    // The fall and five failures: the sixth restart was not tried any more.
    assert_eq!(kind.failures.load(Ordering::SeqCst), usize::MAX - 5);
    stop(&node);
}

/// P-11: a supervisor that cannot start all its children leaves none. Those that it had started
/// have ended when that is told, the last first, and their names are free.
#[test]
fn p_11_a_failed_start_leaves_nothing() {
    // On one worker, and on none when a thread outside starts it: both wait for others to go on.
    let node = node(1);
    for from_inside in [false, true] {
        let (kind, broken) = (Kind::new(), Kind::new());
        broken.failures.store(1, Ordering::SeqCst);
        let tree = supervisor(&kind, Restart::Transient, 5)
            .child("child_1", kind.make())
            .child("child_2", broken.make());
        let failed = if from_inside {
            Handle::new(&node).run(|ctx| ctx.spawn(tree).map(|_| ()))
        } else {
            node.spawn(tree).map(|_| ())
        };
        match failed {
            Err(SpawnError::Init(reason)) => assert!(reason.to_string().contains("not yet")),
            other => panic!("{other:?}"),
        }
        assert_eq!(kind.ends.try_iter().count(), 2);
        assert!(node.whereis("child_0").is_none() && node.whereis("child_1").is_none());
    }
    // Two of a name are such a failure.
    let kind = Kind::new();
    let twins = supervisor(&kind, Restart::Transient, 5).child("child_0", kind.make());
    assert!(matches!(node.spawn(twins), Err(SpawnError::Init(_))));
    let puppet = 1;
    assert_eq!(node.info().processes, puppet);
    stop(&node);
}

/// What a supervisor tells of itself: its children, and why they were restarted.
#[test]
fn its_restarts_can_be_inspected() {
    let node = node(1);
    let kind = Kind::new();
    let tree = node
        .spawn(supervisor(&kind, Restart::Transient, 5))
        .unwrap();
    kind.started();
    for _ in 0..2 {
        order(&node, "child_0", fall);
        kind.started();
    }
    let items = node.inspect_actor(&tree, PATIENCE).unwrap();
    let of = |name: &str| {
        let found = items.iter().filter(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("strategy"), ["one for one"]);
    assert_eq!(of("children"), ["1 of 1"]);
    assert_eq!(of("restart"), ["'child_0': panic: it falls"; 2]);
    stop(&node);
}

#[test]
fn children_end_with_their_supervisor() {
    let node = node(2);
    for reason in [Reason::Kill, Reason::Normal, Reason::error("out")] {
        let kind = Kind::new();
        let top = node
            .spawn(supervisor(&kind, Restart::Permanent, 5))
            .unwrap();
        kind.started();
        node.exit(&top, reason.clone());
        assert_eq!(hear(&kind.ends).to_string(), reason.to_string());
        until("all have ended", || node.info().processes == 0);
        assert!(kind.starts.try_recv().is_err());
    }
    stop(&node);
}

/// P-04, P-05, S-08: a name is free at each of many restarts, and nothing is left of the dead.
#[test]
fn p_04_p_05_s_08_restarts_find_the_name_free_and_leave_nothing() {
    let node = node(2);
    let kind = Kind::new();
    // Were the name ever taken, the restart would count twice.
    node.spawn(supervisor(&kind, Restart::Transient, 500))
        .unwrap();
    kind.started();
    let before = node.info();
    for _ in 0..500 {
        order(&node, "child_0", fall);
        kind.started();
    }
    until("only the living are left", || node.info() == before);
    stop(&node);
}

/// F03 in the small: killed from outside, again and again, it comes back.
#[test]
fn a_killed_child_comes_back() {
    let node = node(2);
    let kind = Kind::new();
    node.spawn(supervisor(&kind, Restart::Transient, 100))
        .unwrap();
    for _ in 0..100 {
        let pid = kind.started();
        node.exit(pid, Reason::Kill);
        assert!(matches!(hear(&kind.ends), Reason::Kill));
    }
    kind.started();
    stop(&node);
}

/// A supervisor is a child like any other.
#[test]
fn supervisors_supervise_supervisors() {
    let node = node(2);
    let kind = Kind::new();
    let make = kind.make();
    let inner = move || {
        let tree = Supervisor::one_for_one().intensity(0, LONG);
        let make = make.clone();
        tree.child("leaf", make)
    };
    let outer = Supervisor::one_for_one().intensity(1_000, LONG);
    let outer = outer.retry_delay(Duration::from_millis(1));
    node.spawn(outer.child("inner", inner)).unwrap();
    let first = kind.started();
    order(&node, "leaf", fall);
    let second = kind.started();
    assert!(second > first);
    until("both are back", || {
        node.whereis("inner").is_some() && node.whereis("leaf") == Some(second)
    });
    stop(&node);
}

/// Links and the name are the supervisor's affair, whatever the options say.
#[test]
fn options_of_children_neither_name_nor_link_them() {
    let node = node(1);
    let kind = Kind::new();
    let options = SpawnOptions::new().name("another").link_child();
    let spec = ChildSpec::new("child_0", kind.make()).options(options.clone());
    let top = Supervisor::one_for_one().child_spec(spec);
    let (_, ended) = node.spawn_monitored(top).unwrap();
    let first = kind.started();
    assert!(node.whereis("another").is_none());
    order(&node, "child_0", fall);
    assert_ne!(kind.started(), first);
    until("it can be reached", || node.whereis("child_0").is_some());

    let make = kind.make();
    let template = ChildSpec::template("any", move |(): &()| make()).options(options);
    let simple = Supervisor::simple_one_for_one().child_spec(template);
    let (simple, simple_ended) = node.spawn_monitored(simple).unwrap();
    for _ in 0..2 {
        let ask = |reply| StartChild::instance("any", (), reply);
        let started = node.call(&simple, ask, PATIENCE).unwrap();
        assert_eq!(started.unwrap(), kind.started());
    }
    stop(&node);
    assert!(matches!(ended.wait().reason, Reason::Shutdown));
    assert!(matches!(simple_ended.wait().reason, Reason::Shutdown));
}

/// A supervisor ends its children when the node stops. What its callbacks have started is none of them.
#[test]
fn what_a_callback_starts_ends_with_the_node() {
    let node = node(2);
    // The child ends when it is heard, and its supervisor lives until then.
    let (end, ends) = bounded(0);
    let child = Kind {
        end,
        ends,
        ..Kind::new()
    };
    let helper = Kind::new();
    let make = helper.make();
    let top = supervisor(&child, Restart::Transient, 5).on_start(move |ctx, _, _| {
        ctx.spawn(make()).expect("its init is fine");
    });
    node.spawn(top).unwrap();
    child.started();
    helper.started();
    node.shutdown();
    assert!(matches!(hear(&helper.ends), Reason::Shutdown));
    assert!(matches!(hear(&child.ends), Reason::Shutdown));
    stop(&node);
}
