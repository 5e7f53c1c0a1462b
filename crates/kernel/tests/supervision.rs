//! Supervisors: groups, order, significant children, templates, and what can be asked of them.

#[path = "common/lab.rs"]
mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use lab::{PATIENCE, hear, node, stop, until};
use socktree_kernel::{
    Actor, AddChild, AutoShutdown, ChildError, ChildSpec, ChildState, Ctx, DisableChild,
    EnableChild, Flow, ListChildren, Node, NodeBuilder, Pid, Reason, Reply, Restart,
    RestartHistory, Shutdown, Source, SpawnError, SpawnOptions, StartChild, Supervisor, Target,
    protocol,
};

const LONG: Duration = Duration::from_secs(3_600);

/// What a child is told to do, or to wait for first.
enum Order {
    Fall,
    Leave,
    Wait(Sender<()>, Receiver<()>),
}
protocol!(Order);

/// What happened to a child, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Up(String),
    Down(String),
}

struct Child {
    name: String,
    events: Sender<Event>,
    failures: Arc<AtomicUsize>,
}

impl Actor for Child {
    type Msg = Order;

    fn init(&mut self, _: &mut Ctx<'_, Self>) -> Flow {
        let fails = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if self.failures.fetch_update(order, order, fails).is_ok() {
            return Err(Reason::error("not yet"));
        }
        Ok(self.events.send(Event::Up(self.name.clone()))?)
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, order: Order) -> Flow {
        match order {
            Order::Fall => Err(Reason::error("it falls")),
            Order::Leave => Err(Reason::Normal),
            Order::Wait(here, until) => {
                here.send(())?;
                let _over = until.recv();
                Ok(())
            }
        }
    }

    fn terminate(&mut self, _: &mut Ctx<'_, Self>, _: &Reason) {
        let _nobody_listens = self.events.send(Event::Down(self.name.clone()));
    }
}

/// Makes children that tell of themselves.
struct Nursery {
    event: Sender<Event>,
    events: Receiver<Event>,
    failures: Arc<AtomicUsize>,
}

impl Nursery {
    fn new() -> Self {
        let (event, events) = unbounded();
        let failures = Arc::default();
        Self {
            event,
            events,
            failures,
        }
    }

    fn make(&self, name: &str) -> impl Fn() -> Child + Clone + Send + 'static {
        let (name, events) = (name.to_owned(), self.event.clone());
        let failures = Arc::clone(&self.failures);
        move || Child {
            name: name.clone(),
            events: events.clone(),
            failures: Arc::clone(&failures),
        }
    }

    fn spec(&self, name: &str) -> ChildSpec {
        ChildSpec::new(name, self.make(name))
    }

    fn template(&self) -> ChildSpec {
        let (events, failures) = (self.event.clone(), Arc::clone(&self.failures));
        ChildSpec::template("session", move |user: &String| Child {
            name: user.clone(),
            events: events.clone(),
            failures: Arc::clone(&failures),
        })
    }

    /// The next events, in their order: `+` for an up and `-` for a down.
    #[track_caller]
    fn expect(&self, events: &str) {
        let next = |_| match hear(&self.events) {
            Event::Up(name) => format!("+{name}"),
            Event::Down(name) => format!("-{name}"),
        };
        let heard: Vec<_> = events.split(' ').map(next).collect();
        assert_eq!(heard.join(" "), events);
    }
}

/// Three children, `a`, `b` and `c`.
fn three(nursery: &Nursery, supervisor: Supervisor) -> Supervisor {
    let names = ["a", "b", "c"].iter();
    names.fold(supervisor.intensity(100, LONG), |supervisor, name| {
        supervisor.child_spec(nursery.spec(name))
    })
}

fn order(node: &Node, target: impl Into<Target>, what: Order) {
    let sent = node.send(target, what);
    sent.expect("the child is there, and has no bound");
}

/// Keeps a child in its handler until what is given out is dropped.
fn hold(node: &Node, name: &str) -> Sender<()> {
    let ((here, is_here), (go_on, until)) = (unbounded(), unbounded());
    order(node, name, Order::Wait(here, until));
    hear(&is_here);
    go_on
}

fn ask<T: Send + 'static, M: Send + 'static>(
    node: &Node,
    supervisor: impl Into<Target>,
    make: impl FnOnce(Reply<T>) -> M,
) -> T {
    let answer = node.call(supervisor, make, PATIENCE);
    answer.expect("a supervisor that lives answers")
}

#[test]
fn all_for_one_replaces_all_in_order() {
    let (node, nursery) = (node(2), Nursery::new());
    node.spawn(three(&nursery, Supervisor::all_for_one()))
        .unwrap();
    nursery.expect("+a +b +c");
    order(&node, "b", Order::Fall);
    nursery.expect("-b -c -a +a +b +c");
    stop(&node);
    nursery.expect("-c -b -a");
}

#[test]
fn rest_for_one_replaces_those_after_it() {
    let (node, nursery) = (node(2), Nursery::new());
    node.spawn(three(&nursery, Supervisor::rest_for_one()))
        .unwrap();
    nursery.expect("+a +b +c");
    let a = node.whereis("a");
    order(&node, "b", Order::Fall);
    nursery.expect("-b -c +b +c");
    order(&node, "c", Order::Fall);
    nursery.expect("-c +c");
    assert_eq!(node.whereis("a"), a);
    stop(&node);
}

/// P-04: when the supervisor's end is told, its children are gone, the last one first.
#[test]
fn p_04_children_are_gone_before_the_end_is_told() {
    let (node, nursery) = (node(2), Nursery::new());
    for reason in [Reason::Shutdown, Reason::error("out")] {
        let tree = three(&nursery, Supervisor::one_for_one());
        let (top, ended) = node.spawn_monitored(tree).unwrap();
        nursery.expect("+a +b +c");
        // It takes its time: the others wait for it.
        let go_on = hold(&node, "c");
        node.exit(&top, reason.clone());
        assert!(ended.wait_for(Duration::ZERO).is_none());
        assert!(node.whereis("a").is_some() && node.whereis("b").is_some());
        drop(go_on);
        assert_eq!(ended.wait().reason.to_string(), reason.to_string());
        nursery.expect("-c -b -a");
        let info = node.info();
        assert_eq!((info.processes, info.names, info.relations), (0, 0, 0));
    }
    stop(&node);
}

/// The node's stop leaves children to their supervisors, however deep.
#[test]
fn a_stopping_node_keeps_the_order() {
    let (node, nursery) = (node(2), Nursery::new());
    let inner = [nursery.make("x"), nursery.make("y")];
    let make = move || {
        let [x, y] = inner.clone();
        Supervisor::one_for_one().child("x", x).child("y", y)
    };
    let tree = three(&nursery, Supervisor::one_for_one()).child("inner", make);
    node.spawn(tree.child_spec(nursery.spec("d"))).unwrap();
    nursery.expect("+a +b +c +x +y +d");
    stop(&node);
    nursery.expect("-d -y -x -c -b -a");
}

/// Whoever does not care about the order does not wait for it.
#[test]
fn all_are_told_at_once_if_their_order_does_not_matter() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = three(&nursery, Supervisor::one_for_one()).keep_order(false);
    let (top, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a +b +c");
    let go_on = hold(&node, "c");
    node.exit(&top, Reason::Shutdown);
    for _ in 0..2 {
        assert!(matches!(hear(&nursery.events), Event::Down(name) if name != "c"));
    }
    assert!(ended.wait_for(Duration::ZERO).is_none());
    drop(go_on);
    ended.wait();
    stop(&node);
}

/// S-03: a handler that does not return ends with a kill as soon as it does return.
#[test]
fn s_03_a_child_that_does_not_listen_is_killed() {
    let (node, nursery) = (node(2), Nursery::new());
    let (reason, reasons) = unbounded();
    let tree = Supervisor::one_for_one()
        .child_spec(nursery.spec("a").shutdown(Shutdown::Kill))
        .on_end(move |_, name, _, why| {
            let why = why.map(ToString::to_string);
            reason.send((name.clone(), why)).unwrap();
        });
    let (top, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a");
    let go_on = hold(&node, "a");
    node.exit(&top, Reason::Shutdown);
    drop(go_on);
    ended.wait();
    let expected = ("a".into(), Some("kill".to_owned()));
    assert_eq!(hear(&reasons), expected);
    stop(&node);
}

/// S-01, OTP's `any_significant`: with the child's own reason.
#[test]
fn s_01_a_significant_child_takes_its_supervisor_along() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = Supervisor::one_for_one()
        .child_spec(nursery.spec("a"))
        .child_spec(nursery.spec("b").significant());
    let (_, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a +b");
    // This one is not, and that one only once it is not started again.
    order(&node, "a", Order::Leave);
    order(&node, "b", Order::Fall);
    until("b is back", || nursery.events.len() == 3);
    nursery.events.try_iter().for_each(drop);
    order(&node, "b", Order::Leave);
    assert!(matches!(ended.wait().reason, Reason::Normal));
    nursery.expect("-b");
    stop(&node);
}

#[test]
fn the_last_significant_child_takes_its_supervisor_along() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = Supervisor::one_for_one()
        .auto_shutdown(AutoShutdown::All)
        .restart(Restart::Temporary)
        .child_spec(nursery.spec("a").significant())
        .child_spec(nursery.spec("b").significant())
        .child_spec(nursery.spec("c"));
    let (top, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a +b +c");
    order(&node, "a", Order::Fall);
    nursery.expect("-a");
    // It has heard of that end, and lives.
    until("a is down", || {
        ask(&node, &top, ListChildren::new)[0].state == ChildState::Down
    });
    order(&node, "b", Order::Fall);
    assert_eq!(ended.wait().reason.to_string(), "it falls");
    nursery.expect("-b -c");
    stop(&node);
}

#[test]
fn bad_specs_do_not_start() {
    let (node, nursery) = (node(1), Nursery::new());
    let permanent = nursery.spec("a").restart(Restart::Permanent).significant();
    let bad = [
        Supervisor::one_for_one().child_spec(permanent),
        Supervisor::one_for_one().child_spec(nursery.template()),
        Supervisor::simple_one_for_one().child_spec(nursery.spec("a")),
        three(&nursery, Supervisor::one_for_one()).child_spec(nursery.spec("a")),
    ];
    for bad in bad {
        let refused = node.spawn(bad);
        let Err(SpawnError::Init(Reason::Error(error))) = refused else {
            panic!("{refused:?}");
        };
        assert!(error.is::<ChildError>(), "{error}");
    }
    assert!(nursery.events.is_empty(), "nothing was started before");
    stop(&node);
}

/// S-09: every instance is made from its own arguments, each time.
#[test]
fn s_09_instances_keep_their_arguments() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = Supervisor::simple_one_for_one().child_spec(nursery.template());
    let top = node.spawn(tree).unwrap();
    let start = |user: &str| {
        let user = user.to_owned();
        ask(&node, &top, |r| StartChild::instance("session", user, r)).unwrap()
    };
    let (ada, bob) = (start("ada"), start("bob"));
    nursery.expect("+ada +bob");
    order(&node, ada, Order::Fall);
    nursery.expect("-ada +ada");
    order(&node, bob, Order::Fall);
    nursery.expect("-bob +bob");
    order(
        &node,
        ask(&node, &top, ListChildren::new)[0].pid.unwrap(),
        Order::Leave,
    );
    nursery.expect("-ada");
    until("ada is forgotten", || {
        ask(&node, &top, ListChildren::new).len() == 1
    });
    // Other arguments, or none, are refused before they are kept.
    let wrong = ask(&node, &top, |r| StartChild::instance("session", 7, r));
    assert!(matches!(wrong, Err(ChildError::WrongArguments)));
    let none = ask(&node, &top, |r| StartChild::new("session", r));
    assert!(matches!(none, Err(ChildError::WrongArguments)));
    let unknown = ask(&node, &top, |r| StartChild::instance("lesson", 7, r));
    assert!(matches!(unknown, Err(ChildError::Unknown)));
    stop(&node);
}

/// S-04: disabled instances are waited for, and for no longer than they live.
#[test]
fn s_04_a_disabled_template_leaves_nothing_to_wait_for() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = Supervisor::simple_one_for_one().child_spec(nursery.template());
    let (top, ended) = node.spawn_monitored(tree).unwrap();
    let start = |user: &str| {
        let user = user.to_owned();
        ask(&node, &top, |r| StartChild::instance("session", user, r))
    };
    for n in 0..10 {
        start(&n.to_string()).unwrap();
    }
    ask(&node, &top, |r| DisableChild::new("session", r)).unwrap();
    assert_eq!(
        node.info().processes,
        1,
        "the answer comes when they are gone"
    );
    assert!(matches!(start("late"), Err(ChildError::Disabled)));
    assert!(ask(&node, &top, ListChildren::new).is_empty());
    ask(&node, &top, |r| EnableChild::new("session", r)).unwrap();
    start("again").unwrap();
    node.exit(&top, Reason::Shutdown);
    ended.wait();
    stop(&node);
}

/// S-05: a group is complete when all have started that are to, wherever the disabled ones stand.
#[test]
fn s_05_a_group_with_disabled_children_is_complete() {
    let (node, nursery) = (node(2), Nursery::new());
    let kinds = [Supervisor::all_for_one(), Supervisor::rest_for_one()];
    for kind in kinds {
        let top = node.spawn(three(&nursery, kind)).unwrap();
        nursery.expect("+a +b +c");
        ask(&node, &top, |r| DisableChild::new("c", r)).unwrap();
        nursery.expect("-c");
        order(&node, "a", Order::Fall);
        nursery.expect("-a -b +a +b");
        ask(&node, &top, |r| EnableChild::new("c", r)).unwrap();
        nursery.expect("+c");
        assert!(
            ask(&node, &top, ListChildren::new)
                .iter()
                .all(|c| c.enabled)
        );
        node.exit(&top, Reason::Shutdown);
        nursery.expect("-c -b -a");
        until("it is gone", || node.info().processes == 0);
    }
    stop(&node);
}

/// S-06: nothing is managed while children are replaced, nor while all end.
#[test]
fn s_06_requests_are_refused_while_children_are_replaced() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = three(&nursery, Supervisor::all_for_one());
    let (top, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a +b +c");
    let disable = || ask(&node, &top, |r| DisableChild::new("a", r));
    let go_on = hold(&node, "a");
    order(&node, "c", Order::Fall);
    nursery.expect("-c -b");
    assert!(matches!(disable(), Err(ChildError::Restarting)));
    let states = ask(&node, &top, ListChildren::new);
    let states: Vec<_> = states.iter().map(|child| child.state).collect();
    use ChildState::{Down, Stopping};
    assert_eq!(states, [Stopping, Down, Down]);
    drop(go_on);
    nursery.expect("-a +a +b +c");
    let go_on = hold(&node, "a");
    node.exit(&top, Reason::Shutdown);
    nursery.expect("-c -b");
    assert!(matches!(disable(), Err(ChildError::Ending)));
    drop(go_on);
    ended.wait();
    stop(&node);
}

/// S-07: a supervisor is known by its number, whatever it and its children are called.
#[test]
fn s_07_a_supervisor_may_have_the_name_of_a_template() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = Supervisor::simple_one_for_one().child_spec(nursery.template());
    let options = SpawnOptions::new().name("session");
    node.spawn_with(tree, options).unwrap();
    let ask_start = |r| StartChild::instance("session", String::from("ada"), r);
    let ada = ask(&node, "session", ask_start).unwrap();
    order(&node, ada, Order::Fall);
    nursery.expect("+ada -ada +ada");
    let ended = node.monitor("session").unwrap();
    node.exit("session", Reason::Shutdown);
    ended.wait();
    nursery.expect("-ada");
    stop(&node);
}

#[test]
fn children_are_added_started_disabled_and_enabled() {
    let (node, nursery) = (node(2), Nursery::new());
    let top = node.spawn(Supervisor::one_for_one()).unwrap();
    let add = |spec| ask(&node, &top, |r| AddChild::new(spec, r));
    let start = |name: &str| ask(&node, &top, |r| StartChild::new(name, r));
    let enable = |name: &str| ask(&node, &top, |r| EnableChild::new(name, r));
    let disable = |name: &str| ask(&node, &top, |r| DisableChild::new(name, r));
    add(nursery.spec("a")).unwrap();
    let twin = add(nursery.spec("a"));
    assert!(matches!(twin, Err(ChildError::Duplicate(name)) if name.as_str() == "a"));
    // What cannot be started is not kept.
    nursery.failures.store(1, Ordering::SeqCst);
    let failed = add(nursery.spec("b"));
    assert!(matches!(
        failed,
        Err(ChildError::Spawn(SpawnError::Init(_)))
    ));
    add(nursery.spec("b")).unwrap();
    nursery.expect("+a +b");
    assert!(matches!(start("a"), Err(ChildError::Running)));
    assert!(matches!(start("x"), Err(ChildError::Unknown)));
    order(&node, "a", Order::Leave);
    nursery.expect("-a");
    until("a is down", || start("a").is_ok());
    nursery.expect("+a");

    disable("a").unwrap();
    nursery.expect("-a");
    assert!(node.whereis("a").is_none());
    disable("a").unwrap();
    assert!(matches!(start("a"), Err(ChildError::Disabled)));
    nursery.failures.store(1, Ordering::SeqCst);
    assert!(matches!(enable("a"), Err(ChildError::Spawn(_))));
    assert!(
        !ask(&node, &top, ListChildren::new)[0].enabled,
        "nothing has changed"
    );
    enable("a").unwrap();
    enable("a").unwrap();
    nursery.expect("+a");
    stop(&node);
    nursery.expect("-b -a");
}

#[test]
fn restarts_are_remembered_up_to_a_bound() {
    let (node, nursery) = (node(2), Nursery::new());
    let top = node
        .spawn(three(&nursery, Supervisor::one_for_one()))
        .unwrap();
    nursery.expect("+a +b +c");
    let before = ask(&node, &top, RestartHistory::new);
    assert!(before.is_empty());
    for name in ["b", "a"].into_iter().cycle().take(60) {
        order(&node, name, Order::Fall);
        nursery.expect(&format!("-{name} +{name}"));
        until("it is there", || node.whereis(name).is_some());
    }
    let history = ask(&node, &top, RestartHistory::new);
    assert_eq!(history.len(), 50);
    assert_eq!(history[49].child.as_str(), "a");
    assert_eq!(history[49].reason.to_string(), "it falls");
    assert!(history.is_sorted_by_key(|restart| restart.at));
    stop(&node);
}

#[test]
fn callbacks_hear_of_every_start_and_end() {
    let (node, nursery) = (node(2), Nursery::new());
    let (tell, told) = unbounded();
    let tell_end = tell.clone();
    let tree = Supervisor::one_for_one()
        .child_spec(nursery.spec("a"))
        .on_start(move |ctx, name, pid| {
            tell.send((ctx.pid(), name.clone(), pid, None)).unwrap();
        })
        .on_end(move |ctx, name, pid, reason| {
            let reason = reason.map(ToString::to_string);
            tell_end
                .send((ctx.pid(), name.clone(), pid, reason))
                .unwrap();
        });
    let top = node.spawn(tree).unwrap();
    let first = node.whereis("a").unwrap();
    order(&node, "a", Order::Fall);
    nursery.expect("+a -a +a");
    let fell = Some("it falls".to_owned());
    assert_eq!(hear(&told), (top.pid(), "a".into(), first, None));
    assert_eq!(hear(&told), (top.pid(), "a".into(), first, fell));
    let (_, _, second, _) = hear(&told);
    assert!(second > first);
    stop(&node);
    let end = Some("shutdown".to_owned());
    assert_eq!(hear(&told), (top.pid(), "a".into(), second, end));
}

/// A supervisor's own panic ends it in order, too.
#[test]
fn a_panic_in_a_callback_ends_all_in_order() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = three(&nursery, Supervisor::one_for_one());
    let tree = tree.on_end(|_, name, _, _| assert_ne!(name.as_str(), "b", "not b"));
    let (_, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a +b +c");
    order(&node, "b", Order::Fall);
    assert!(matches!(ended.wait().reason, Reason::Panic(text) if text.contains("not b")));
    nursery.expect("-b -c -a");

    let mut starts = 0;
    let tree = three(&nursery, Supervisor::one_for_one()).on_start(move |_, _, _| {
        starts += 1;
        assert_ne!(starts, 4, "no fourth");
    });
    let (_, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a +b +c");
    order(&node, "b", Order::Fall);
    assert!(matches!(ended.wait().reason, Reason::Panic(text) if text.contains("no fourth")));
    nursery.expect("-b +b -c -b -a");
    stop(&node);
}

/// A factory that panics is a restart that fails.
#[test]
fn a_panic_in_a_factory_is_a_failed_start() {
    let (node, nursery) = (node(2), Nursery::new());
    let (make, calls) = (nursery.make("a"), AtomicUsize::new(0));
    let tree = Supervisor::one_for_one()
        .retry_delay(Duration::ZERO)
        .child("a", move || {
            assert_ne!(calls.fetch_add(1, Ordering::SeqCst), 1, "not twice");
            make()
        });
    node.spawn(tree).unwrap();
    order(&node, "a", Order::Fall);
    nursery.expect("+a -a +a");
    stop(&node);
}

/// However full its mailbox is, a supervisor's own work goes on.
#[test]
fn a_full_mailbox_does_not_stop_a_supervisor() {
    let (node, nursery) = (node(2), Nursery::new());
    let tree = Supervisor::one_for_one()
        .intensity(100, LONG)
        .retry_delay(Duration::from_millis(1))
        .child_spec(nursery.spec("a"));
    let options = SpawnOptions::new().name("top").mailbox(1);
    node.spawn_with(tree, options).unwrap();
    nursery.expect("+a");
    for _ in 0..20 {
        nursery.failures.store(2, Ordering::SeqCst);
        order(&node, "a", Order::Fall);
        nursery.expect("-a");
        while nursery.events.is_empty() {
            let _full = node.call("top", ListChildren::new, PATIENCE);
        }
        nursery.expect("+a");
        until("a is there", || node.whereis("a").is_some());
    }
    stop(&node);
}

/// A supervisor waits for its children without holding anybody up: on a single worker, without a
/// watchdog, others go on meanwhile.
#[test]
fn waiting_for_a_child_blocks_no_worker() {
    let nursery = Nursery::new();
    let builder = NodeBuilder::new("lab@localhost").workers(2);
    let node = builder.stuck_after(None).start().unwrap();
    let worker = |pid: Pid| {
        let processes = node.processes();
        let process = processes.iter().find(|process| process.pid == pid);
        process.unwrap().worker
    };
    let tree = three(&nursery, Supervisor::one_for_one());
    let (top, ended) = node.spawn_monitored(tree).unwrap();
    nursery.expect("+a +b +c");
    // One that lives on the supervisor's worker, and one that does not.
    let names = ["a", "b", "c"].map(|name| (name, worker(node.whereis(name).unwrap())));
    let home = worker(top.pid());
    let (away, _) = names.into_iter().find(|(_, on)| *on != home).unwrap();
    let go_on = hold(&node, away);
    node.exit(&top, Reason::Shutdown);
    let beside = SpawnOptions::new().worker(home);
    let other = node.spawn_with(Supervisor::one_for_one(), beside).unwrap();
    assert!(ask(&node, &other, ListChildren::new).is_empty());
    assert!(ended.wait_for(Duration::ZERO).is_none());
    drop(go_on);
    ended.wait();
    stop(&node);
}
