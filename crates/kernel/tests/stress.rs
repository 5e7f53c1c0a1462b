//! Many threads, few processes, and a budget of one message: nothing is lost, doubled or overtaken.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::collections::HashMap;
use std::thread;

use crossbeam_channel::{Sender, bounded, unbounded};
use lab::{Handle, Plan, hear, node, stop, until};
use socktree_kernel::{
    Actor, Ctx, Flow, Node, NodeBuilder, Pid, Reason, SendError, Source, SpawnOptions, protocol,
};

const THREADS: usize = 4;
const RELAYS: usize = 3;

/// A node on which every process goes to the back of the queue after each message.
fn strict_node(workers: usize) -> Node {
    let builder = NodeBuilder::new("lab@localhost").workers(workers);
    builder.message_budget(1).start().unwrap()
}

/// The `n`th message of a thread.
struct Numbered {
    thread: usize,
    n: u64,
}
protocol!(Numbered);

/// Passes on what it gets, and sees that each sender's messages come in order, one by one.
struct Relay {
    to: Option<Pid>,
    expected: HashMap<(Source, usize), u64>,
    total: u64,
    finished: Sender<()>,
}

impl Actor for Relay {
    type Msg = Numbered;

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, from: Source, message: Numbered) -> Flow {
        let expected = self.expected.entry((from, message.thread)).or_default();
        assert_eq!(
            message.n, *expected,
            "from {from:?}, thread {}",
            message.thread
        );
        *expected += 1;
        if let Some(to) = self.to {
            return Ok(ctx.send(to, message)?);
        }
        self.total -= 1;
        if self.total == 0 {
            self.finished.send(())?;
        }
        Ok(())
    }
}

/// F08: from many threads to few processes and on to one.
fn relayed(workers: usize, capacity: Option<usize>, messages: u64) {
    let node = strict_node(workers);
    let (finished, done) = bounded(1);
    let start = |to, total, options| {
        let relay = Relay {
            to,
            expected: HashMap::new(),
            total,
            finished: finished.clone(),
        };
        node.spawn_with(relay, options).unwrap()
    };
    let total = messages * (THREADS * RELAYS) as u64;
    let last = start(None, total, SpawnOptions::new());
    let options = capacity.map_or_else(SpawnOptions::new, |n| SpawnOptions::new().mailbox(n));
    let relays: Vec<_> = (0..RELAYS)
        .map(|_| start(Some(last.pid()), 0, options.clone()))
        .collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let relays = &relays;
            scope.spawn(move || {
                for n in 0..messages {
                    for relay in relays {
                        let mut message = Numbered { thread, n };
                        while let Err(error) = relay.send(message) {
                            assert!(matches!(error, SendError::Full(_)));
                            message = error.into_message();
                            thread::yield_now();
                        }
                    }
                }
            });
        }
    });
    hear(&done);
    stop(&node);
}

#[test]
fn nothing_is_lost_on_one_worker() {
    relayed(1, None, 5_000);
}

#[test]
fn nothing_is_lost_on_many_workers() {
    relayed(4, None, 5_000);
}

/// F07: with the sender waiting for room.
#[test]
fn nothing_is_lost_at_a_bound() {
    relayed(2, Some(1), 1_000);
    relayed(2, Some(16), 5_000);
}

/// How often it still has to be passed on.
struct Token(u32);
protocol!(Token);

struct Hop {
    next: Option<Pid>,
    home: Sender<()>,
}

impl Actor for Hop {
    type Msg = Token;

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, token: Token) -> Flow {
        match (token.0.checked_sub(1), self.next) {
            (Some(left), Some(next)) => Ok(ctx.send(next, Token(left))?),
            (Some(left), None) => Ok(ctx.send("first", Token(left))?),
            (None, _) => Ok(self.home.send(())?),
        }
    }
}

/// F08: few tokens in a ring, so that processes and workers go idle and wake up all the time.
#[test]
fn no_wake_up_is_lost() {
    for (workers, tokens, hops) in [
        (1, 1, 20_000),
        (2, 1, 20_000),
        (2, 3, 20_000),
        (4, 50, 2_000),
    ] {
        let node = strict_node(workers);
        let (home, arrivals) = unbounded();
        let mut next = None;
        for n in 0..8 {
            let hop = Hop {
                next,
                home: home.clone(),
            };
            let options = SpawnOptions::new();
            let options = if n == 7 {
                options.name("first")
            } else {
                options
            };
            next = Some(node.spawn_with(hop, options).unwrap().pid());
        }
        for _ in 0..tokens {
            node.send("first", Token(hops)).unwrap();
        }
        for _ in 0..tokens {
            hear(&arrivals);
        }
        assert!(arrivals.try_recv().is_err());
        stop(&node);
    }
}

/// F08, H04: each message finds the node asleep.
#[test]
fn a_sleeping_worker_wakes_up() {
    let node = node(1);
    let process = Handle::new(&node);
    for _ in 0..10_000 {
        process.run(|_| ());
    }
    stop(&node);
}

/// F11: processes come and go under the same names on every thread.
#[test]
fn spawns_and_ends_on_many_threads_leave_nothing() {
    let node = node(2);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..1_000 {
                    let options = SpawnOptions::new().name(format!("name {}", n % 3));
                    let Ok(process) = Plan::default().options(options).start(&node) else {
                        continue;
                    };
                    let ended = node.monitor(process.pid()).unwrap();
                    process.run(|ctx| {
                        ctx.create_alias();
                        ctx.send_after(ctx.pid(), 1_u64, lab::PATIENCE);
                        Handle::child(ctx, SpawnOptions::new().link_parent());
                    });
                    node.exit(process.pid(), Reason::Kill);
                    assert!(matches!(ended.wait().reason, Reason::Kill));
                }
            });
        }
    });
    until("all have ended", || node.info().processes == 0);
    stop(&node);
}
