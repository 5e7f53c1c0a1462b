//! The test kit: that time stands still, that everything runs, and that nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socktree_kernel::{
    Actor, Ctx, Flow, NoMessages, NodeError, Reason, SendError, Source, SpawnError, SpawnOptions,
    TestKit, protocol,
};

const SECOND: Duration = Duration::from_secs(1);

struct Number(u64);
struct Tick;
struct Link(&'static str);
struct Spawn;
protocol! {
    /// What a subject takes.
    enum Msg { Number(Number), Tick(Tick), Link(Link), Spawn(Spawn) }
}
#[derive(Debug, PartialEq)]
struct Seen(u64, Duration);
protocol!(Seen, Go);
struct Go;

/// Reports numbers, and the time, to a process called `log`.
struct Reporter {
    began: Option<std::time::Instant>,
    ticks: u64,
}

impl Reporter {
    fn new() -> Self {
        Self {
            began: None,
            ticks: 0,
        }
    }
}

impl Actor for Reporter {
    type Msg = Msg;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        self.began = Some(ctx.now());
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: Msg) -> Flow {
        let since = ctx.now() - self.began.expect("init was before");
        match message {
            Msg::Number(Number(0)) => return Err(Reason::error("nothing")),
            Msg::Number(Number(n)) => ctx.send("log", Seen(n, since))?,
            Msg::Tick(Tick) => {
                self.ticks += 1;
                ctx.send("log", Seen(self.ticks, since))?;
                ctx.send_after(ctx.pid(), Tick, 10 * SECOND);
            }
            Msg::Link(Link(name)) => ctx.link(name)?,
            Msg::Spawn(Spawn) => drop(ctx.spawn_named("child", Self::new())?),
        }
        Ok(())
    }
}

#[test]
fn what_an_actor_sends_is_seen_with_its_source() {
    let kit = TestKit::new();
    let log = kit.probe::<Seen>("log");
    let subject = kit.spawn(Reporter::new()).unwrap();
    subject.send(Number(7)).unwrap();
    let me = Source::Process(subject.pid());
    assert_eq!(log.take_with_sources(), [(me, Seen(7, Duration::ZERO))]);
    assert!(log.take().is_empty());
}

#[test]
fn timers_fire_at_their_own_time_and_not_before() {
    let kit = TestKit::new();
    let log = kit.probe::<Seen>("log");
    let subject = kit.spawn(Reporter::new()).unwrap();
    subject.send(Tick).unwrap();
    assert_eq!(kit.next_timer(), Some(kit.now() + 10 * SECOND));
    log.take();
    kit.advance(9 * SECOND);
    assert!(log.take().is_empty());
    // Each of them sets the next.
    kit.advance(26 * SECOND);
    let seen = [
        Seen(2, 10 * SECOND),
        Seen(3, 20 * SECOND),
        Seen(4, 30 * SECOND),
    ];
    assert_eq!(log.take(), seen);
    kit.advance(3_600 * SECOND);
    assert_eq!(log.take().len(), 360);
}

#[test]
fn many_timers_at_once_all_fire() {
    let kit = TestKit::new();
    let log = kit.probe::<Seen>("log");
    let subject = kit.spawn(Reporter::new()).unwrap();
    for _ in 0..5_000 {
        subject.send(Tick).unwrap();
    }
    log.take();
    kit.advance(10 * SECOND);
    assert_eq!(log.take().len(), 5_000);
    assert!(kit.stop().is_clean());
}

#[test]
fn links_children_and_ends_are_seen() {
    let kit = TestKit::new();
    let other = kit.probe::<NoMessages>("other");
    let subject = kit.spawn(Reporter::new()).unwrap();
    subject.send(Link("other")).unwrap();
    assert_eq!(subject.links(), ["other".into()]);
    assert!(subject.monitors().is_empty());
    subject.send(Spawn).unwrap();
    let children = subject.children();
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].name, Some("child".into()));
    assert!(subject.ended().is_none());
    other.exit(Reason::error("gone"));
    assert_eq!(subject.ended().unwrap().to_string(), "gone");
    assert!(subject.links().is_empty());
    let Err(SendError::Terminated(_)) = subject.send(Number(1)) else {
        panic!("it has ended");
    };
}

#[test]
fn a_failed_init_is_told() {
    struct Broken;
    impl Actor for Broken {
        type Msg = NoMessages;
        fn init(&mut self, _: &mut Ctx<'_, Self>) -> Flow {
            Err(Reason::error("broken"))
        }
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
            match never {}
        }
    }
    let kit = TestKit::new();
    let refused = kit.spawn(Broken);
    assert!(matches!(refused, Err(SpawnError::Init(_))));
    assert_eq!(kit.node().info().processes, 0);
}

/// Who waits for the kit inside a handler would wait for ever, as in a node.
#[test]
fn a_handler_cannot_stop_its_kit() {
    struct Stops(Arc<AtomicUsize>);
    impl Actor for Stops {
        type Msg = Go;
        fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, _: Go) -> Flow {
            assert!(matches!(ctx.node().stop(), Err(NodeError::InsideHandler)));
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    let (kit, calls) = (TestKit::new(), Arc::default());
    let subject = kit.spawn(Stops(Arc::clone(&calls))).unwrap();
    subject.send(Go).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// A kit that is dropped drops the actors in it, those that trap exits and those that wait too.
#[test]
fn nothing_outlives_its_kit() {
    struct Holds(#[expect(dead_code, reason = "it is counted")] Arc<()>);
    impl Actor for Holds {
        type Msg = NoMessages;
        fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
            ctx.trap_exit(true);
            Ok(())
        }
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
            match never {}
        }
    }
    let alive = Arc::new(());
    let kit = TestKit::new();
    for n in 0..10 {
        let options = SpawnOptions::new().name(format!("holder_{n}"));
        let holds = Holds(Arc::clone(&alive));
        kit.node().spawn_with(holds, options).unwrap();
    }
    assert_eq!(Arc::strong_count(&alive), 11);
    drop(kit);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn a_stop_ends_all_at_once_if_nothing_holds_it_up() {
    let kit = TestKit::new();
    kit.probe::<Seen>("log");
    kit.spawn(Reporter::new()).unwrap().send(Tick).unwrap();
    let report = kit.stop();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.took, Duration::ZERO);
}
