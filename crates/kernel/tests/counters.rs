//! What is counted of a process: the messages that it sends, and how long its callbacks run.

#[path = "common/asking.rs"]
mod asking;
#[path = "common/lab.rs"]
mod lab;

use std::time::{Duration, Instant};

use asking::ask;
use crossbeam_channel::{Sender, bounded};
use lab::{Do, Handle, PATIENCE, Plan, Puppet, hear, node, stop, until};
use socktree_kernel::{
    Actor, CallError, Ctx, Event, Flow, InspectPool, NoMessages, Node, NodeBuilder, Pool, Priority,
    ProcessInfo, ProcessState, Published, Reason, Reply, SendError, Source, SpawnOptions, TestKit,
    protocol,
};

/// Long beside what a clock cannot tell apart, and short enough for a test.
const STINT: Duration = Duration::from_millis(2);

fn timed_node(builder: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Node {
    let builder = builder(NodeBuilder::new("lab@localhost"));
    let started = builder.measure_running_time(true).start();
    started.expect("threads can be started")
}

fn info(node: &Node, process: &Handle) -> ProcessInfo {
    node.process_info(process.pid()).expect("it lives")
}

fn sent(node: &Node, process: &Handle) -> u64 {
    info(node, process).messages_out
}

fn ran(node: &Node, process: &Handle) -> Duration {
    let time = info(node, process).running_time;
    time.expect("this node measures it")
}

fn spin(by: Duration) {
    let began = Instant::now();
    while began.elapsed() < by {
        std::hint::spin_loop();
    }
}

/// A message that is answered by a number.
fn answer(n: u64) -> impl FnOnce(Reply<u64>) -> Do {
    move |reply| {
        Do::new(move |_| {
            reply.send(n);
            Ok(())
        })
    }
}

/// Takes numbers that are published.
struct Listener(Sender<u64>);

impl Actor for Listener {
    type Msg = Published<u64>;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        ctx.monitor_event::<u64>("numbers")?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, number: Published<u64>) -> Flow {
        self.0.send(number.value)?;
        Ok(())
    }
}

#[test]
fn messages_that_were_taken_are_counted_and_no_others() {
    let node = node(2);
    let (one, other) = (Handle::new(&node), Handle::new(&node));
    let (to, address) = (other.pid(), other.address.clone());
    one.run(move |ctx| {
        ctx.send(to, 1_u64).unwrap();
        ctx.send_to(&address, 1_u64).unwrap();
        ctx.send_with_priority(to, 1_u64, Priority::High).unwrap();
        ctx.send_to_with_priority(&address, 1_u64, Priority::Max)
            .unwrap();
    });
    assert_eq!(sent(&node, &one), 4);

    // What is refused does not count, and what is no message does not either.
    let small = SpawnOptions::new().mailbox(1);
    let full = Plan::default().options(small).start(&node).unwrap();
    let (began, beginning) = bounded(1);
    let (release, released) = bounded::<()>(0);
    full.tell(move |ctx| {
        began.send(()).unwrap();
        let _released = ctx.blocking(|| released.recv());
        Ok(())
    });
    hear(&beginning);
    let (to_full, full_address) = (full.pid(), full.address);
    one.run(move |ctx| {
        let refused = ctx.send(to_full, 1_u64);
        assert!(matches!(refused, Err(SendError::Full(1))));
        assert!(ctx.send_to(&full_address, 1_u64).is_err());
        let high = ctx.send_to_with_priority(&full_address, 1_u64, Priority::High);
        assert!(high.is_err());
        assert!(ctx.send("nobody", 1_u64).is_err());
        assert!(ctx.send(to, 1_i8).is_err(), "it takes no such messages");
        let called = ctx.call(to_full, answer(1), PATIENCE);
        assert!(matches!(called, Err(CallError::Full)), "{called:?}");
        ctx.request("nobody", answer(1), PATIENCE, |_| 0_u64);
        ctx.monitor(to).unwrap();
        ctx.demonitor(to).unwrap();
        ctx.exit("nobody", Reason::Normal);
        // Nor what is sent later, when no callback runs, or in nobody's name.
        ctx.send_after(to, 2_u64, Duration::ZERO);
        ctx.node().send(to, 3_u64).unwrap();
    });
    drop(release);
    let mut numbers: Vec<_> = (0..6).map(|_| other.number().1).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 1, 1, 1, 2, 3]);
    assert_eq!(one.number().1, 0, "the answer of the request");
    assert_eq!(sent(&node, &one), 4);

    let address = other.address.clone();
    one.run(move |ctx| {
        assert_eq!(ctx.call(to, answer(7), PATIENCE).unwrap(), 7);
        assert_eq!(ctx.call_to(&address, answer(8), PATIENCE).unwrap(), 8);
        ctx.request(to, answer(9), PATIENCE, Result::unwrap);
        ctx.request_to(&address, answer(9), PATIENCE, Result::unwrap);
    });
    assert_eq!(sent(&node, &one), 8);
    assert_eq!((one.number().1, one.number().1), (9, 9));
    assert_eq!(sent(&node, &other), 0, "an answer is no message");
    let items = node.inspect(one.pid()).unwrap();
    assert!(items.contains(&("messages out", "8".to_owned())));
    stop(&node);
}

#[test]
fn a_value_counts_as_often_as_it_reaches_a_subscriber() {
    let node = node(1);
    let producer = Handle::new(&node);
    let publisher = producer.run(|ctx| ctx.spawn_meta(Event::<u64>::new("numbers")).unwrap());
    let (told, hears) = bounded(3);
    let listeners = (0..3).map(|_| node.spawn(Listener(told.clone())).unwrap());
    let _listeners: Vec<_> = listeners.collect();
    producer.run(move |ctx| assert_eq!(ctx.publish(&publisher, 5).reached, 3));
    assert_eq!([hear(&hears), hear(&hears), hear(&hears)], [5; 3]);
    assert_eq!(sent(&node, &producer), 3);
    stop(&node);
}

#[test]
fn what_a_pool_hands_on_counts() {
    struct Worker;
    struct Work(Reply<()>);
    protocol!(Work);
    impl Actor for Worker {
        type Msg = Work;
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, Work(reply): Work) -> Flow {
            reply.send(());
            Ok(())
        }
    }
    let node = node(1);
    let pool = node.spawn(Pool::new(2, || Worker)).unwrap();
    for _ in 0..5 {
        node.call(&pool, Work, PATIENCE).unwrap();
    }
    let forwarded = node.call(&pool, InspectPool::new, PATIENCE).unwrap();
    assert_eq!(forwarded.forwarded, 5);
    assert_eq!(node.process_info(&pool).unwrap().messages_out, 5);
    stop(&node);
}

/// Two threads run such a process in turns: none of its counts may be lost between them.
#[test]
fn the_count_is_right_whichever_thread_runs_the_process() {
    const MESSAGES: u64 = 2_000;
    let node = node(2);
    let sink = Handle::new(&node);
    let own = SpawnOptions::new().own_thread();
    for options in [SpawnOptions::new(), own] {
        let process = Plan::default().options(options).start(&node).unwrap();
        for n in 0..MESSAGES {
            let to = sink.pid();
            process.tell(move |ctx: &mut Ctx<'_, Puppet>| {
                ctx.send(to, n)?;
                if n % 7 == 0 {
                    ctx.blocking(std::thread::yield_now);
                }
                if n % 100 == 0 {
                    ctx.call(to, answer(n), PATIENCE)?;
                }
                ctx.send(to, n)?;
                Ok(())
            });
        }
        process.run(|_| ());
        let calls = MESSAGES / 100;
        assert_eq!(sent(&node, &process), 2 * MESSAGES + calls);
    }
    stop(&node);
}

#[test]
fn nothing_is_timed_unless_it_is_wanted() {
    let node = node(1);
    let process = Handle::new(&node);
    let time = |node: &Node, process| node.process_info(process).unwrap().running_time;
    assert_eq!(time(&node, process.pid()), None);
    let items = node.inspect(process.pid()).unwrap();
    assert!(items.iter().all(|(name, _)| *name != "running time"));
    stop(&node);

    struct Idle;
    impl Actor for Idle {
        type Msg = NoMessages;
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
            match never {}
        }
    }
    let kit = TestKit::new();
    let idle = kit.spawn(Idle).unwrap();
    assert_eq!(time(kit.node(), idle.pid()), None);
}

#[test]
fn each_callback_counts_with_the_time_that_it_takes() {
    let began = Instant::now();
    // One thread, whatever happens: one run is over when another has begun.
    let node = timed_node(|builder| builder.workers(1).stuck_after(None));
    let (last, at_the_end) = bounded(1);
    let plan = Plan {
        init: Some(Box::new(|_| {
            spin(STINT);
            Ok(())
        })),
        terminate: Some(Box::new(move |ctx: &mut Ctx<'_, Puppet>| {
            let time = |ctx: &Ctx<'_, Puppet>| ctx.node().process_info(ctx.pid())?.running_time;
            let before = time(ctx);
            spin(STINT);
            last.send((before, time(ctx))).unwrap();
            Ok(())
        })),
        ..Plan::default()
    };
    let process = plan.start(&node).unwrap();
    let other = Handle::new(&node);
    let after_init = ran(&node, &process);
    assert!(after_init >= STINT, "{after_init:?}");
    for n in 1..=3 {
        process.run(|_| spin(STINT));
        other.run(|_| ());
        let so_far = ran(&node, &process);
        assert!(so_far >= STINT * (n + 1), "{so_far:?} after {n}");
        assert_eq!(info(&node, &process).state, ProcessState::Idle);
        spin(STINT);
        assert_eq!(ran(&node, &process), so_far, "an idle process has no time");
    }
    assert!(ran(&node, &process) + ran(&node, &other) <= began.elapsed());
    let items = node.inspect(process.pid()).unwrap();
    assert!(items.iter().any(|(name, _)| *name == "running time"));

    process.tell(|_| Err(Reason::Normal));
    let (before, after) = hear(&at_the_end);
    assert!(before.unwrap() >= STINT * 4);
    assert!(after.unwrap() >= before.unwrap() + STINT);
    stop(&node);
}

/// A handler that does not return is what one looks for: its time shows before it is over.
#[test]
fn the_time_goes_on_while_a_handler_waits() {
    let node = timed_node(|builder| builder.workers(2));
    let other = Handle::new(&node);
    let own = SpawnOptions::new().own_thread();
    for options in [SpawnOptions::new(), own] {
        let process = Plan::default().options(options).start(&node).unwrap();
        let (kept, keep) = bounded(1);
        let to = other.pid();
        process.tell(move |ctx| {
            let hold = ask(move |reply| kept.send(reply).unwrap());
            ctx.call(to, hold, PATIENCE)?;
            Ok(())
        });
        let reply = hear(&keep);
        let seen = ran(&node, &process);
        until("its time goes on", || ran(&node, &process) >= seen + STINT);
        reply.send(1);
        process.run(|_| ());
        let in_call = seen + STINT;
        until("it is at rest", || {
            let before = ran(&node, &process);
            spin(Duration::from_micros(10));
            ran(&node, &process) == before && before >= in_call
        });
    }
    stop(&node);
}
