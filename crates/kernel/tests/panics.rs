//! A panic ends the process that it happened in, and nothing else.

#[path = "common/lab.rs"]
mod lab;

use std::backtrace::Backtrace;
use std::error::Error;
use std::fmt;
use std::panic::panic_any;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use lab::{Handle, Plan, hear, node, stop, until};
use socktree_kernel::{
    Actor, BlockingMeta, Ctx, Flow, NoMessages, Node, Reason, Source, SpawnError, SpawnOptions,
    protocol,
};

/// Goes off when it is dropped.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb went off");
    }
}

/// Keeps a bomb in a closure without setting it off.
fn holding(bomb: Bomb) -> impl FnOnce(&mut Ctx<'_, lab::Puppet>) -> Flow + Send {
    move |_| {
        let _held = &bomb;
        Ok(())
    }
}

fn is_panic(reason: &Reason, text: &str) -> bool {
    matches!(reason, Reason::Panic(found) if &**found == text)
}

/// A node of one worker with a process on it, whose life proves that the worker lives.
fn lab_with_neighbour() -> (Node, Handle) {
    let node = node(1);
    let neighbour = Handle::new(&node);
    (node, neighbour)
}

fn all_is_well(node: &Node, neighbour: &Handle) {
    until("the others have ended", || node.info().processes == 1);
    neighbour.run(|_| ());
    stop(node);
}

/// P-12: the hook comes before the panic is caught, so whoever wants to know where it was, or to
/// have a backtrace, has it as in any other program.
#[test]
fn p_12_the_panic_hook_is_told_where() {
    let (tell, told) = unbounded();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload().downcast_ref::<&str>();
        if payload == Some(&"where am I?") {
            let place = info.location().map(|at| (at.file().to_owned(), at.line()));
            let backtrace = Backtrace::force_capture().to_string();
            let _gone = tell.send((place, backtrace));
        }
        before(info);
    }));
    let (node, neighbour) = lab_with_neighbour();
    let process = Handle::new(&node);
    let line = line!() + 1;
    process.tell(|_| panic!("where am I?"));
    assert!(is_panic(&process.end(), "where am I?"));
    let (place, backtrace) = hear(&told);
    assert_eq!(place, Some((file!().to_owned(), line)));
    assert!(backtrace.contains("p_12_the_panic_hook_is_told_where"));
    all_is_well(&node, &neighbour);
}

/// F01
#[test]
fn a_panic_in_init_fails_the_spawn() {
    let (node, neighbour) = lab_with_neighbour();
    let plan = Plan::init(|_| panic!("in init"));
    let failed = plan.options(SpawnOptions::new().name("it")).start(&node);
    match failed.map(|_| ()) {
        Err(SpawnError::Init(reason)) => assert!(is_panic(&reason, "in init"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let again = Plan::default().options(SpawnOptions::new().name("it"));
    again.start(&node).unwrap().tell(|_| Err(Reason::Normal));
    all_is_well(&node, &neighbour);
}

/// F01
#[test]
fn a_panic_in_a_handler_is_the_reason() {
    let (node, neighbour) = lab_with_neighbour();
    for n in 0..100 {
        let process = Handle::new(&node);
        let pid = process.pid();
        neighbour.run(move |ctx| ctx.monitor(pid)).unwrap();
        process.tell(move |_| panic!("number {n}"));
        let text = format!("number {n}");
        assert!(is_panic(&process.end(), &text));
        assert!(is_panic(&neighbour.down().1, &text));
    }
    all_is_well(&node, &neighbour);
}

/// What panics in the callbacks that no message calls.
struct Fragile;

impl Actor for Fragile {
    type Msg = NoMessages;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        ctx.trap_exit(true);
        ctx.monitor("target").ok();
        Ok(())
    }

    fn down(&mut self, _: &mut Ctx<'_, Self>, _: socktree_kernel::Down) -> Flow {
        panic!("in down");
    }

    fn exit(&mut self, _: &mut Ctx<'_, Self>, _: socktree_kernel::Exit) -> Flow {
        panic!("in exit");
    }

    fn terminate(&mut self, _: &mut Ctx<'_, Self>, _: &Reason) {
        panic!("in terminate");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

/// F01, F02: and each of them panics in `terminate` and in its drop besides.
#[test]
fn panics_in_other_callbacks_are_reasons_too() {
    let (node, neighbour) = lab_with_neighbour();
    let target = Plan::default().options(SpawnOptions::new().name("target"));
    let target = target.start(&node).unwrap();
    let (_, downed) = node.spawn_monitored(Fragile).unwrap();
    target.tell(|_| Err(Reason::Normal));
    assert!(is_panic(&downed.wait().reason, "in down"));
    let (address, exited) = node.spawn_monitored(Fragile).unwrap();
    node.exit(&address, Reason::error("out"));
    assert!(is_panic(&exited.wait().reason, "in exit"));
    let (address, killed) = node.spawn_monitored(Fragile).unwrap();
    node.exit(&address, Reason::Kill);
    assert!(matches!(killed.wait().reason, Reason::Kill));
    all_is_well(&node, &neighbour);
}

/// F02: a payload is a value like any other, and may panic when it is dropped.
#[test]
fn a_panics_payload_may_panic() {
    let (node, neighbour) = lab_with_neighbour();
    let process = Handle::new(&node);
    process.tell(|_| panic_any(Bomb));
    assert!(is_panic(&process.end(), "a panic without a message"));
    all_is_well(&node, &neighbour);
}

/// F02: several of them, so that one unwinding over the rest would abort.
#[test]
fn waiting_messages_may_panic_when_they_are_dropped() {
    let (node, neighbour) = lab_with_neighbour();
    for _ in 0..20 {
        let process = Handle::new(&node);
        let (began, beginning) = bounded(0);
        let (go, gone) = bounded::<()>(0);
        process.tell(move |ctx| {
            ctx.blocking(|| {
                began.send(())?;
                Ok(gone.recv()?)
            })
        });
        hear(&beginning);
        for _ in 0..5 {
            process.tell(holding(Bomb));
        }
        node.exit(&process.address, Reason::Kill);
        go.send(()).unwrap();
        assert!(matches!(process.end(), Reason::Kill));
    }
    all_is_well(&node, &neighbour);
}

/// F02: the timers of an ended process are dropped with their messages.
#[test]
fn a_timers_message_may_panic_when_it_is_dropped() {
    let (node, neighbour) = lab_with_neighbour();
    let process = Handle::new(&node);
    process.run(|ctx| {
        for _ in 0..3 {
            let message = lab::Do::new(holding(Bomb));
            ctx.send_after(ctx.pid(), message, Duration::from_secs(3_600));
        }
    });
    process.tell(|_| Err(Reason::Normal));
    assert!(matches!(process.end(), Reason::Normal));
    assert_eq!(node.info().timers, 0);
    // And one that fires for a process that is no more.
    let dead = process.pid();
    neighbour.run(move |ctx| {
        let message = lab::Do::new(holding(Bomb));
        ctx.send_after(dead, message, Duration::ZERO);
    });
    until("it has fired", || node.info().timers == 0);
    all_is_well(&node, &neighbour);
}

/// An error that cannot even be printed.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words");
    }
}

impl Error for Unspeakable {}

/// An error that goes off when its last holder lets go of it.
#[derive(Debug)]
struct Explosive(Bomb);

impl fmt::Display for Explosive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("explosive")
    }
}

impl Error for Explosive {}

/// Ends with such an error.
struct Doomed;

struct Go;
protocol!(Go);

impl Actor for Doomed {
    type Msg = Go;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: Go) -> Flow {
        Err(Explosive(Bomb).into())
    }
}

/// F02: more of them than a worker's loop would stand.
#[test]
fn a_reason_may_panic_when_it_is_dropped() {
    let (node, neighbour) = lab_with_neighbour();
    for _ in 0..150 {
        node.spawn(Doomed).unwrap().send(Go).unwrap();
        neighbour.run(|_| ());
    }
    // Those that end in two halves, and are still known meanwhile.
    for _ in 0..20 {
        let doomed = node.spawn(Keeper).unwrap();
        doomed.send(Go).unwrap();
        drop(doomed);
        until("it has ended", || node.info().processes == 1);
    }
    all_is_well(&node, &neighbour);
}

/// Ends with such an error, after a meta-process has ended.
struct Keeper;

impl Actor for Keeper {
    type Msg = Go;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let (held, wait) = bounded::<()>(0);
        let meta = BlockingMeta::<Go>::new(move |_| {
            let _released = wait.recv();
            Ok(())
        });
        ctx.spawn_meta(meta.on_exit(move || drop(held)))?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: Go) -> Flow {
        Err(Explosive(Bomb).into())
    }
}

/// Prints every record, as a real one would.
struct Logger;

static RECORDS: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        RECORDS.fetch_add(record.args().to_string().len(), Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// F01: the kernel logs reasons, and their text is user code.
#[test]
fn a_reason_may_panic_when_it_is_printed() {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    let (node, neighbour) = lab_with_neighbour();
    let process = Handle::new(&node);
    let ended = node.monitor(&process.address).unwrap();
    process.tell(|_| Err(Unspeakable.into()));
    assert!(matches!(
        ended.wait_for(lab::PATIENCE).unwrap().reason,
        Reason::Error(_)
    ));
    process.end();
    all_is_well(&node, &neighbour);
    assert!(RECORDS.load(Ordering::Relaxed) > 0);
}

/// A thread that was displaced unwinds like any other.
#[test]
fn a_panic_in_a_blocking_call_is_the_reason() {
    let (node, neighbour) = lab_with_neighbour();
    let process = Handle::new(&node);
    let (began, beginning) = bounded(0);
    let (go, gone) = bounded::<()>(0);
    process.tell(move |ctx| {
        ctx.blocking(|| {
            began.send(()).unwrap();
            gone.recv().unwrap();
            panic!("while it blocked");
        })
    });
    hear(&beginning);
    neighbour.run(|_| ());
    go.send(()).unwrap();
    assert!(is_panic(&process.end(), "while it blocked"));
    all_is_well(&node, &neighbour);
}
