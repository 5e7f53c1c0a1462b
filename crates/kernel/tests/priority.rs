//! Which message goes before which, and where those go that find no room.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lab::{Do, Handle, Msg, PATIENCE, Plan, hear, node, stop, until};
use socktree_kernel::{
    Actor, CallError, Ctx, Fallback, Flow, Priority, Protocol as _, Reason, Receipt, Reply,
    SendError, Sink, Source, SpawnOptions, Target, protocol,
};

/// Has a process block until the sender is dropped.
fn block(process: &Handle) -> Sender<()> {
    let (began, beginning) = bounded(1);
    let (release, released) = bounded::<()>(0);
    process.tell(move |ctx| {
        ctx.blocking(|| {
            began.send(())?;
            let _dropped = released.recv();
            Ok(())
        })
    });
    hear(&beginning);
    release
}

/// P-10: the priority is part of the send, so one message's is never another's.
#[test]
fn p_10_the_highest_goes_first_and_equals_in_order() {
    let node = node(2);
    let (target, sender) = (Handle::new(&node), Handle::new(&node));
    let (to, address, held) = (target.pid(), target.address.clone(), block(&target));
    sender.run(move |ctx| {
        ctx.send(to, 7_u64).unwrap();
        ctx.send_with_priority(to, 4_u64, Priority::High).unwrap();
        ctx.send_with_priority(to, 1_u64, Priority::Max).unwrap();
        ctx.send_to_with_priority(&address, 8_u64, Priority::Normal)
            .unwrap();
        ctx.send_to_with_priority(&address, 5_u64, Priority::High)
            .unwrap();
        ctx.send_to_with_priority(&address, 2_u64, Priority::Max)
            .unwrap();
    });
    node.send_with_priority(to, 6_u64, Priority::High).unwrap();
    target
        .address
        .send_with_priority(3_u64, Priority::Max)
        .unwrap();
    node.send(to, 9_u64).unwrap();
    drop(held);
    for n in 1..=9 {
        assert_eq!(target.number().1, n);
    }
    stop(&node);
}

/// What a process sends goes as it was started to send, unless the send says otherwise.
#[test]
fn a_process_has_a_priority_of_its_own() {
    let node = node(2);
    let target = Handle::new(&node);
    let options = SpawnOptions::new().send_priority(Priority::High);
    let sender = Plan::default().options(options).start(&node).unwrap();
    let (to, address, held) = (target.pid(), target.address.clone(), block(&target));
    node.send(to, 5_u64).unwrap();
    sender.run(move |ctx| {
        ctx.send(to, 2_u64).unwrap();
        ctx.send_to(&address, 3_u64).unwrap();
        ctx.send_with_priority(to, 6_u64, Priority::Normal).unwrap();
        ctx.send_with_priority(to, 1_u64, Priority::Max).unwrap();
        ctx.send_after(to, 4_u64, Duration::ZERO);
    });
    // With the one that it blocks in.
    until("all wait", || node.process_info(to).unwrap().mailbox == 7);
    drop(held);
    for n in 1..=6 {
        assert_eq!(target.number().1, n);
    }
    stop(&node);
}

/// Also those that were taken from the mailbox already, to be handled in one go.
#[test]
fn a_message_of_priority_goes_before_those_that_a_run_has_begun_with() {
    let node = node(1);
    let target = Handle::new(&node);
    let held = block(&target);
    target.tell(|ctx| {
        ctx.send_with_priority(ctx.pid(), 1_u64, Priority::High)
            .unwrap();
        Ok(())
    });
    target.address.send(2_u64).unwrap();
    drop(held);
    assert_eq!(target.number().1, 1);
    assert_eq!(target.number().1, 2);
    stop(&node);
}

#[test]
fn signals_go_before_any_priority() {
    let node = node(2);
    let target = Handle::new(&node);
    let held = block(&target);
    target
        .address
        .send_with_priority(1_u64, Priority::Max)
        .unwrap();
    node.exit(target.pid(), Reason::Shutdown);
    drop(held);
    assert!(matches!(target.end(), Reason::Shutdown));
    stop(&node);
}

#[test]
fn an_idle_process_is_woken_by_any_priority() {
    let node = node(1);
    let target = Handle::new(&node);
    for n in 0..1_000_u64 {
        let priority = match n % 3 {
            0 => Priority::Normal,
            1 => Priority::High,
            _ => Priority::Max,
        };
        target.address.send_with_priority(n, priority).unwrap();
        assert_eq!(target.number().1, n);
    }
    stop(&node);
}

#[test]
fn a_priority_has_no_room_of_its_own() {
    struct Foreign;
    let node = node(2);
    let options = SpawnOptions::new().mailbox(2);
    let target = Plan::default().options(options).start(&node).unwrap();
    let held = block(&target);
    target
        .address
        .send_with_priority(1_u64, Priority::Max)
        .unwrap();
    let full = target.address.send_with_priority(2_u64, Priority::Max);
    assert!(matches!(full, Err(SendError::Full(Msg::Number(2)))));
    let full = node.send_with_priority(target.pid(), 3_u64, Priority::High);
    assert!(matches!(full, Err(SendError::Full(3))));
    let full = node.send(target.pid(), 3_u64);
    assert!(matches!(full, Err(SendError::Full(3))));
    drop(held);
    assert_eq!(target.number().1, 1);
    let foreign = node.send_with_priority(target.pid(), Foreign, Priority::High);
    assert!(matches!(foreign, Err(SendError::NotAccepted(Foreign))));
    let ended = target.address.clone();
    target.tell(|_| Err(Reason::Normal));
    target.end();
    let ended = ended.send_with_priority(4_u64, Priority::High);
    assert!(matches!(ended, Err(SendError::Terminated(Msg::Number(4)))));
    stop(&node);
}

/// Takes what others have no room for.
struct Overflow(Sender<(Source, Fallback)>);

impl Actor for Overflow {
    type Msg = Fallback;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, from: Source, message: Fallback) -> Flow {
        let sent = self.0.send((from, message));
        sent.map_err(|error| Reason::error(error.to_string()))
    }
}

fn overflow(node: &socktree_kernel::Node) -> Receiver<(Source, Fallback)> {
    let (told, tell) = unbounded();
    let options = SpawnOptions::new().name("overflow");
    node.spawn_with(Overflow(told), options).unwrap();
    tell
}

/// A process that has room for the message that it is busy with, and no more.
fn full(node: &socktree_kernel::Node, fallback: impl Into<Target>) -> (Handle, Sender<()>) {
    let options = SpawnOptions::new().mailbox(1).fallback(fallback);
    let process = Plan::default().options(options).start(node).unwrap();
    let held = block(&process);
    (process, held)
}

#[test]
fn what_finds_no_room_goes_to_the_fallback() {
    let node = node(2);
    let diverted = overflow(&node);
    let ((target, held), sender) = (full(&node, "overflow"), Handle::new(&node));
    let (to, address) = (target.pid(), target.address);
    sender.run(move |ctx| {
        ctx.send(to, 1_u64).unwrap();
        ctx.send_with_priority(to, 2_u64, Priority::Max).unwrap();
        ctx.send_to(&address, 3_u64).unwrap();
        ctx.send_to_with_priority(&address, 4_u64, Priority::Max)
            .unwrap();
    });
    for expected in 1..=4 {
        let (from, Fallback { full, message, .. }) = hear(&diverted);
        assert_eq!((from, full), (Source::Process(sender.pid()), to));
        let message = Msg::open(message);
        assert!(matches!(message, Ok(Msg::Number(n)) if n == expected));
    }
    drop(held);
    stop(&node);
}

#[test]
fn what_the_fallback_cannot_take_comes_back() {
    let node = node(4);
    let (deaf, held) = full(&node, "nobody");
    let back = node.send(deaf.pid(), 1_u64);
    assert!(matches!(back, Err(SendError::Full(1))), "there is none");
    let (other, other_held) = full(&node, deaf.pid());
    // It has room for nothing, and would take no such message either.
    let back = other.address.send(2_u64);
    assert!(
        matches!(back, Err(SendError::Full(Msg::Number(2)))),
        "it takes no such message"
    );
    drop((held, other_held));
    stop(&node);
}

/// Fallbacks of each other, or of itself: a message makes one hop.
#[test]
fn full_processes_do_not_pass_messages_to_and_fro() {
    struct Wait(Receiver<()>);
    struct Stuck;
    protocol! {
        enum Stay { Wait(Wait), Fallback(Fallback) }
    }
    impl Actor for Stuck {
        type Msg = Stay;
        fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: Stay) -> Flow {
            if let Stay::Wait(Wait(released)) = message {
                let _dropped = ctx.blocking(|| released.recv());
            }
            Ok(())
        }
    }
    let node = node(1);
    let (release, released) = bounded(0);
    for (name, fallback) in [("one", "two"), ("two", "one"), ("self", "self")] {
        let options = SpawnOptions::new().name(name).mailbox(1).fallback(fallback);
        let stuck = node.spawn_with(Stuck, options).unwrap();
        stuck.send(Wait(released.clone())).unwrap();
    }
    for name in ["one", "two", "self"] {
        let back = node.send(name, Wait(released.clone()));
        assert!(matches!(back, Err(SendError::Full(Wait(_)))), "{name}");
    }
    drop(release);
    stop(&node);
}

#[test]
fn what_a_process_sends_to_itself_is_not_diverted() {
    let node = node(1);
    let diverted = overflow(&node);
    let (target, held) = full(&node, "overflow");
    node.send(target.pid(), 1_u64).unwrap();
    assert_eq!(hear(&diverted).0, Source::Outside);
    drop(held);
    until("it has room", || {
        node.processes().iter().all(|p| p.mailbox == 0)
    });
    target.run(|ctx| {
        let own = ctx.send(ctx.pid(), 3_u64);
        assert!(matches!(own, Err(SendError::Full(3))));
    });
    stop(&node);
}

#[test]
fn a_call_is_not_diverted() {
    let node = node(2);
    let diverted = overflow(&node);
    let (target, held) = full(&node, "overflow");
    let ask = |reply: Reply<u64>| {
        Do::new(move |_| {
            reply.send(1);
            Ok(())
        })
    };
    let by_address = target.address.call(ask, PATIENCE);
    assert!(matches!(by_address, Err(CallError::Full)));
    let by_pid = node.call(target.pid(), ask, PATIENCE);
    assert!(matches!(by_pid, Err(CallError::Full)));
    drop(held);
    stop(&node);
    assert!(diverted.try_recv().is_err());
}

/// Tries until it is taken, and waits for room in between, as a driver does.
fn insist(sink: &Arc<dyn Sink<u64>>, told: &Sender<()>) {
    loop {
        match sink.deliver(Source::Outside, Receipt::NONE, 3) {
            Ok(()) => return told.send(()).unwrap(),
            Err(SendError::Full(_)) => {
                let (again, tell) = (Arc::clone(sink), told.clone());
                if sink.when_room(Box::new(move || insist(&again, &tell))) {
                    return;
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Whoever waits for room is not starved by those who just try, again and again.
#[test]
fn a_waiter_for_room_goes_before_those_who_just_try() {
    let node = node(2);
    let options = SpawnOptions::new().mailbox(2);
    let target = Plan::default().options(options).start(&node).unwrap();
    let sink = target.run(|ctx| ctx.sink::<u64>());
    let held = block(&target);
    target.address.send(1_u64).unwrap();
    let (told, tell) = bounded(1);
    insist(&sink, &told);
    assert!(tell.is_empty(), "it is full");
    // They try as fast as they can while the mailbox is emptied.
    let mut tries = 0_u64;
    drop(held);
    while tell.is_empty() {
        let _full = target.address.send(1_000 + tries);
        tries += 1;
    }
    hear(&tell);
    assert_eq!(target.number().1, 1);
    while target.number().1 != 3 {}
    stop(&node);
}
