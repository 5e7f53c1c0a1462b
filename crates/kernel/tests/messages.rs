//! Messages: their order, their types, their bounds, and what goes before them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use lab::{Do, Handle, Msg, Note, Plan, hear, node, stop};
use socktree_kernel::{
    Actor, Ctx, Exit, Flow, NoMessages, NodeBuilder, Reason, Receipt, SendError, Sink, Source,
    SpawnOptions,
};

/// Has a process block until the sender is used or dropped.
fn block(process: &Handle) -> Sender<()> {
    let (began, beginning) = bounded(1);
    let (release, released) = bounded::<()>(1);
    process.tell(move |ctx| {
        ctx.blocking(|| {
            began.send(())?;
            let _or_dropped = released.recv();
            Ok(())
        })
    });
    hear(&beginning);
    release
}

fn bounded_to(capacity: usize, node: &socktree_kernel::Node) -> Handle {
    let options = SpawnOptions::new().mailbox(capacity);
    Plan::default().options(options).start(node).unwrap()
}

#[test]
fn one_senders_messages_keep_their_order_by_any_address() {
    let node = node(2);
    let sender = Handle::new(&node);
    let plan = Plan::default().options(SpawnOptions::new().name("target"));
    let target = plan.start(&node).unwrap();
    let alias = target.run(|ctx| ctx.create_alias());
    let (pid, address) = (target.pid(), target.address.clone());
    sender.run(move |ctx| {
        for n in 0..1_000_u64 {
            match n % 5 {
                0 => ctx.send(pid, n).unwrap(),
                1 => ctx.send("target", n).unwrap(),
                2 => ctx.send(alias, n).unwrap(),
                3 => ctx.send_to(&address, n).unwrap(),
                _ => ctx.send(pid, Msg::Number(n)).unwrap(),
            }
        }
    });
    for n in 0..1_000 {
        assert_eq!(target.number(), (Source::Process(sender.pid()), n));
    }
    stop(&node);
}

#[test]
fn a_process_sends_to_itself() {
    let node = node(1);
    let process = Handle::new(&node);
    process.run(|ctx| {
        ctx.send(ctx.pid(), 1_u64).unwrap();
        let me = ctx.me();
        ctx.send_to(&me, "two").unwrap();
    });
    let own = Source::Process(process.pid());
    assert_eq!(process.number(), (own, 1));
    assert_eq!(process.text(), (own, "two"));
    stop(&node);
}

/// The type is checked where the message is sent, and it comes back as it was.
#[test]
fn a_wrong_type_is_the_senders_error() {
    let node = node(2);
    let (process, sender) = (Handle::new(&node), Handle::new(&node));
    let (idle, _) = node.spawn_monitored(Mute).unwrap();
    let to = process.pid();
    match node.send(to, vec![1, 2]) {
        Err(SendError::NotAccepted(message)) => assert_eq!(message, [1, 2]),
        other => panic!("{other:?}"),
    }
    // Even the right number of the wrong type.
    let refused = sender.run(move |ctx| ctx.send(to, 1_u32));
    assert_eq!(refused.map_err(SendError::into_message), Err(1));
    assert!(matches!(
        node.send(&idle, ()),
        Err(SendError::NotAccepted(()))
    ));
    process.run(|_| ());
    assert!(process.noted().is_none());
    stop(&node);
}

struct Mute;

impl Actor for Mute {
    type Msg = NoMessages;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }
}

#[test]
fn what_cannot_be_delivered_comes_back() {
    let node = node(1);
    let process = Handle::new(&node);
    let address = process.address.clone();
    process.tell(|_| Err(Reason::Normal));
    process.end();
    match address.send(1_u64) {
        Err(SendError::Terminated(Msg::Number(1))) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        node.send("nobody", "text"),
        Err(SendError::Unknown("text"))
    ));
    stop(&node);
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    let node = node(2);
    let process = bounded_to(3, &node);
    let release = block(&process);
    // The message that is being handled counts.
    process.address.send(1_u64).unwrap();
    node.send(process.pid(), 2_u64).unwrap();
    assert!(matches!(
        node.send(process.pid(), 3_u64),
        Err(SendError::Full(3))
    ));
    assert!(matches!(
        process.address.send("x"),
        Err(SendError::Full(Msg::Text("x")))
    ));
    release.send(()).unwrap();
    assert_eq!(process.number().1, 1);
    assert_eq!(process.number().1, 2);
    stop(&node);
}

/// A bound of nothing would be a process that nobody can reach.
#[test]
fn the_smallest_mailbox_holds_one() {
    let node = node(1);
    let process = bounded_to(0, &node);
    for n in 0..100 {
        while process.address.send(n).is_err() {
            std::thread::yield_now();
        }
    }
    for n in 0..100 {
        assert_eq!(process.number().1, n);
    }
    stop(&node);
}

/// A driver whose message was refused hears of the room, once, or of the end.
#[test]
fn a_waiter_is_called_when_there_is_room() {
    let node = node(1);
    let process = bounded_to(2, &node);
    let sink: Arc<dyn Sink<Msg>> = process.run(|ctx| ctx.sink());
    let (room, told) = crossbeam_channel::unbounded();
    let waiter = |n: u32| -> Box<dyn FnOnce() + Send> {
        let room = room.clone();
        Box::new(move || room.send(n).unwrap())
    };
    let deliver = |n: u64| sink.deliver(Source::Outside, Receipt::NONE, Msg::Number(n));
    // There may still be a message in hand, so room is only certain once there is some.
    lab::until("there is room", || !sink.when_room(waiter(0)));
    while let Ok(early) = told.try_recv() {
        assert_eq!(early, 0);
    }
    let release = block(&process);
    deliver(1).ok().unwrap();
    assert!(deliver(2).is_err());
    assert!(sink.when_room(waiter(1)));
    assert!(sink.when_room(waiter(2)));
    assert!(told.try_recv().is_err());
    release.send(()).unwrap();
    assert_eq!((hear(&told), hear(&told)), (1, 2));
    assert_eq!(process.number().1, 1);
    // The end makes room too: for nothing, but nobody waits for it in vain.
    let release = block(&process);
    deliver(3).ok().unwrap();
    assert!(sink.when_room(waiter(3)));
    node.exit(&process.address, Reason::Kill);
    release.send(()).unwrap();
    assert_eq!(hear(&told), 3);
    assert!(
        !sink.when_room(waiter(4)),
        "who has ended has no room, and never will"
    );
    stop(&node);
}

/// What must not be lost goes past the bound, in order with the rest.
#[test]
fn a_notice_goes_past_the_bound() {
    let node = node(1);
    let process = bounded_to(2, &node);
    let sink: Arc<dyn Sink<Msg>> = process.run(|ctx| ctx.sink());
    let release = block(&process);
    sink.deliver(Source::Outside, Receipt::NONE, Msg::Number(1))
        .ok()
        .unwrap();
    for n in 2..5 {
        sink.deliver_always(Source::Outside, Receipt::NONE, Msg::Number(n))
            .ok()
            .unwrap();
    }
    assert!(
        sink.deliver(Source::Outside, Receipt::NONE, Msg::Number(5))
            .is_err()
    );
    release.send(()).unwrap();
    for n in 1..5 {
        assert_eq!(process.number().1, n);
    }
    stop(&node);
}

/// P-06: signals are neither bounded nor lost, and come before messages that were sent earlier.
#[test]
fn p_06_signals_pass_a_full_mailbox_and_go_first() {
    let node = node(2);
    let process = bounded_to(2, &node);
    process.run(|ctx| ctx.trap_exit(true));
    let targets: Vec<_> = (0..100).map(|_| Handle::new(&node)).collect();
    for target in &targets {
        let pid = target.pid();
        loop {
            // The bound holds for these jobs too.
            let (done, outcome) = bounded(1);
            let watch = move |ctx: &mut Ctx<'_, lab::Puppet>| {
                ctx.monitor(pid)?;
                Ok(done.send(())?)
            };
            if process.address.send(Do::new(watch)).is_ok() {
                break hear(&outcome);
            }
        }
    }
    lab::until("there is room", || {
        node.processes().iter().all(|p| p.mailbox == 0)
    });
    let release = block(&process);
    process.address.send(1_u64).unwrap();
    assert!(process.address.send(2_u64).is_err(), "it is full");
    for target in &targets {
        target.tell(|_| Err(Reason::Normal));
        target.end();
    }
    node.exit(&process.address, Reason::error("an exit"));
    lab::until("all have ended", || node.info().processes == 1);
    release.send(()).unwrap();
    let mut signals = 0;
    for _ in 0..=targets.len() {
        match process.note() {
            Note::Down(..) | Note::Exit(..) => signals += 1,
            other => panic!("{other:?} before signal {signals}"),
        }
    }
    assert_eq!(process.number().1, 1);
    stop(&node);
}

/// P-06: and a kill goes before all of them.
#[test]
fn p_06_a_kill_goes_first() {
    let node = node(1);
    let process = bounded_to(2, &node);
    process.run(|ctx| ctx.trap_exit(true));
    lab::until("there is room", || node.processes()[0].mailbox == 0);
    let release = block(&process);
    process.address.send(1_u64).unwrap();
    node.exit(&process.address, Reason::error("trapped"));
    node.exit(&process.address, Reason::Kill);
    release.send(()).unwrap();
    assert!(matches!(process.end(), Reason::Kill));
    stop(&node);
}

/// Sends itself the next signal in each.
struct Restless;

impl Actor for Restless {
    type Msg = NoMessages;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        ctx.trap_exit(true);
        ctx.exit(ctx.pid(), Reason::Normal);
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
        match never {}
    }

    fn exit(&mut self, ctx: &mut Ctx<'_, Self>, exit: Exit) -> Flow {
        ctx.exit(ctx.pid(), exit.reason);
        Ok(())
    }
}

fn again(ctx: &mut Ctx<'_, lab::Puppet>) -> Flow {
    ctx.send(ctx.pid(), Do::new(again)).unwrap();
    Ok(())
}

/// A process that is never out of messages, or of signals, takes turns with its neighbours; no
/// watchdog helps.
#[test]
fn a_busy_process_takes_turns() {
    let builder = NodeBuilder::new("lab@localhost").workers(1);
    let node = builder.stuck_after(None).start().unwrap();
    let neighbour = Handle::new(&node);
    let (restless, _) = node.spawn_monitored(Restless).unwrap();
    neighbour.run(|_| ());
    node.exit(&restless, Reason::Kill);
    let busy = Handle::new(&node);
    busy.tell(again);
    for _ in 0..10 {
        neighbour.run(|_| ());
    }
    stop(&node);
}
