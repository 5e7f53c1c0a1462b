//! Supervisors and pools among things that panic: they go on, or end in their order.

#[path = "common/lab.rs"]
mod lab;

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lab::{Handle, PATIENCE, hear, node, stop, until};
use socktree_kernel::{
    Actor, AddChild, BlockingMeta, CallError, ChildError, ChildSpec, Ctx, Flow, InspectPool,
    ListChildren, MetaHandle, NoMessages, Pid, Pool, Reason, Reply, Source, SpawnOptions,
    StartChild, Supervisor, protocol,
};

const LONG: Duration = Duration::from_secs(3_600);

/// Goes off when it is dropped.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb went off");
    }
}

/// An error that goes off when it is printed, and when its last holder lets go of it.
#[derive(Debug)]
struct Explosive(Bomb);

impl fmt::Display for Explosive {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words");
    }
}

impl Error for Explosive {}

/// Forwards each record to the process that this belongs to.
static FORWARDS: Mutex<Option<MetaHandle<u64>>> = Mutex::new(None);

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let to = FORWARDS.lock().unwrap_or_else(PoisonError::into_inner);
        let to = to.clone();
        if let Some(to) = to.filter(|_| text.ends_with("to be forwarded")) {
            let _full = to.send(1);
        }
    }

    fn flush(&self) {}
}

/// Ends as it is told, and says when it has begun to.
struct Child {
    starts: Sender<Pid>,
    failures: Arc<AtomicUsize>,
    end: Option<(Sender<()>, Receiver<()>)>,
}

enum Order {
    Explode,
    Leave,
    Answer(Reply<()>),
}
protocol!(Order);

impl Actor for Child {
    type Msg = Order;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let (order, fails) = (Ordering::SeqCst, |left: usize| left.checked_sub(1));
        if self.failures.fetch_update(order, order, fails).is_ok() {
            return Err(Explosive(Bomb).into());
        }
        Ok(self.starts.send(ctx.pid())?)
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, order: Order) -> Flow {
        match order {
            Order::Explode => Err(Explosive(Bomb).into()),
            Order::Leave => Err(Reason::Normal),
            Order::Answer(reply) => {
                reply.send(());
                Ok(())
            }
        }
    }

    fn terminate(&mut self, _: &mut Ctx<'_, Self>, _: &Reason) {
        if let Some((began, go_on)) = &self.end {
            let _nobody_waits = began.send(());
            let _released = go_on.recv();
        }
    }
}

struct Kind {
    starts: Receiver<Pid>,
    start: Sender<Pid>,
    failures: Arc<AtomicUsize>,
}

impl Kind {
    fn new() -> Self {
        let (start, starts) = unbounded();
        let failures = Arc::default();
        Self {
            starts,
            start,
            failures,
        }
    }

    fn make(&self) -> impl Fn() -> Child + Send + 'static {
        let (starts, failures) = (self.start.clone(), Arc::clone(&self.failures));
        move || Child {
            starts: starts.clone(),
            failures: Arc::clone(&failures),
            end: None,
        }
    }
}

fn log_everything() {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        log::set_logger(&Logger).expect("there is no other");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// A logger is the user's, and may send what it is told where it came from.
#[test]
fn a_logger_may_use_the_meta_process_that_it_hears_of() {
    log_everything();
    let node = node(1);
    let owner = Handle::new(&node);
    owner.run(|ctx| {
        let meta = BlockingMeta::new(move |owner: &MetaHandle<u64>| {
            *FORWARDS.lock().unwrap() = Some(owner.clone());
            Err(Reason::error("to be forwarded"))
        });
        let alias = ctx.spawn_meta(meta).unwrap();
        ctx.trap_exit(true);
        ctx.link(alias).ok();
    });
    until("it has ended", || node.metas().is_empty());
    *FORWARDS.lock().unwrap() = None;
    stop(&node);
}

/// More of them than are remembered, so that some are forgotten, and all at the end.
#[test]
fn reasons_may_panic_that_a_supervisor_prints_and_forgets() {
    log_everything();
    let node = node(2);
    let (kind, beside) = (Kind::new(), Kind::new());
    let top = Supervisor::one_for_one()
        .intensity(1_000, LONG)
        .retry_delay(Duration::ZERO)
        .child("beside", beside.make())
        .child("it", kind.make());
    let top = node.spawn(top).unwrap();
    hear(&kind.starts);
    for round in 0..60 {
        if round % 20 == 0 {
            kind.failures.store(2, Ordering::SeqCst);
        }
        node.send("it", Order::Explode).ok().unwrap();
        hear(&kind.starts);
    }
    let children = top.call(ListChildren::new, PATIENCE).unwrap();
    assert_eq!(children[0].pid, Some(hear(&beside.starts)), "as before");
    assert!(beside.starts.is_empty());
    stop(&node);
}

#[test]
fn arguments_may_panic_when_they_are_dropped() {
    let node = node(2);
    let (start, starts) = unbounded();
    let template = ChildSpec::template("one", move |_: &Bomb| Child {
        starts: start.clone(),
        failures: Arc::default(),
        end: None,
    });
    let top = Supervisor::simple_one_for_one().child_spec(template);
    let top = node.spawn(top).unwrap();
    let start = |reply| StartChild::instance("one", Bomb, reply);
    let first = top.call(start, PATIENCE).unwrap().unwrap();
    // Kept to the end, with another.
    for _ in 0..2 {
        top.call(start, PATIENCE).unwrap().unwrap();
    }
    assert_eq!(hear(&starts), first);
    node.send(first, Order::Leave).ok().unwrap();
    until("it is forgotten", || {
        top.call(ListChildren::new, PATIENCE).unwrap().len() == 2
    });
    let unknown = |reply| StartChild::instance("other", Bomb, reply);
    let refused = top.call(unknown, PATIENCE).unwrap();
    assert!(matches!(refused, Err(ChildError::Unknown)));
    top.call(start, PATIENCE).unwrap().unwrap();
    stop(&node);
}

/// What goes off where nothing contains it ends the supervisor, and its children in their order.
#[test]
fn a_supervisor_that_panics_ends_its_children_in_order() {
    let node = node(2);
    let (first, second) = (Kind::new(), Kind::new());
    let (began, beginning) = bounded(1);
    let (go_on, goes_on) = bounded::<()>(0);
    let make = second.make();
    let top = Supervisor::one_for_one()
        .child("first", first.make())
        .child("second", move || Child {
            end: Some((began.clone(), goes_on.clone())),
            ..make()
        });
    let (top, ended) = node.spawn_monitored(top).unwrap();
    let bomb = Bomb;
    let again = ChildSpec::new("first", move || {
        let _held = &bomb;
        Nothing
    });
    let refused = top.call(|reply| AddChild::new(again, reply), PATIENCE);
    assert!(matches!(refused, Err(CallError::NoReply)), "{refused:?}");
    hear(&beginning);
    node.call("first", Order::Answer, PATIENCE).unwrap();
    drop(go_on);
    let Reason::Panic(text) = ended.wait().reason else {
        panic!("it ends with the panic");
    };
    assert_eq!(&*text, "a bomb went off");
    assert!(node.whereis("first").is_none());
    stop(&node);
}

struct Nothing;

impl Actor for Nothing {
    type Msg = NoMessages;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }
}

/// What takes what no worker took may panic, and the message as well.
#[test]
fn a_refused_message_may_panic_when_it_is_dropped() {
    #[expect(dead_code, reason = "it is there to go off")]
    struct Work(Option<Bomb>);
    protocol!(Work);

    struct Worker(Sender<()>, Receiver<()>);
    impl Actor for Worker {
        type Msg = Work;
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: Work) -> Flow {
            self.0.send(())?;
            let _released = self.1.recv();
            Ok(())
        }
    }

    let node = node(2);
    let (began, beginning) = unbounded();
    let (go_on, goes_on) = bounded::<()>(0);
    let options = SpawnOptions::new().mailbox(1);
    let pool = Pool::new(1, move || Worker(began.clone(), goes_on.clone())).options(options);
    let pool = node.spawn(pool).unwrap();
    pool.send(Work(None)).ok().unwrap();
    hear(&beginning);
    for _ in 0..3 {
        pool.send(Work(Some(Bomb))).ok().unwrap();
    }
    let info = node.call(&pool, InspectPool::new, PATIENCE).unwrap();
    assert_eq!((info.refused, info.restarts, info.workers.len()), (3, 0, 1));
    drop(go_on);
    stop(&node);
}
