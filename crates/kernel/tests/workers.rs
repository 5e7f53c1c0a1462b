//! A handler that blocks holds up nobody but its own process, also when there is one worker.
//!
//! Nothing here is measured: a handler blocks until the test lets it go on, and the test does so
//! only after its neighbours on the same worker have answered.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::any::Any;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lab::{Do, Handle, Msg, Note, Plan, Puppet, hear, node, stop, until};
use socktree_kernel::{
    Ctx, Driver, DriverFactory, DriverParts, DriverRemote, Node, NodeBuilder, Reason, Receipt,
    Sink, Source, Wait, WorkerId,
};

/// One worker, on which only `Ctx::blocking` gives way.
fn unwatched() -> Node {
    let builder = NodeBuilder::new("lab@localhost").workers(1);
    builder.stuck_after(None).start().unwrap()
}

/// Something to block on: says that it has begun, and waits for the test.
fn gate() -> (impl FnOnce() + Send + 'static, Receiver<()>, Sender<()>) {
    let (began, beginning) = bounded(1);
    let (open, opened) = bounded(1);
    let pass = move || {
        began.send(()).unwrap();
        opened.recv().unwrap();
    };
    (pass, beginning, open)
}

/// Unless said otherwise there is one for each core, and all are used.
#[test]
fn there_are_as_many_workers_as_cores() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let node = NodeBuilder::new("lab@localhost").start().unwrap();
    assert_eq!(node.workers(), cores);
    let handles: Vec<_> = (0..cores).map(|_| Handle::new(&node)).collect();
    let used: HashSet<_> = handles.iter().map(|h| h.run(|ctx| ctx.worker())).collect();
    assert_eq!(used.len(), cores);
    stop(&node);
}

/// F10, noticed by the watchdog.
#[test]
fn a_blocked_handler_does_not_stop_its_neighbours() {
    let node = node(1);
    let (blocked, neighbour) = (Handle::new(&node), Handle::new(&node));
    for n in 0..5 {
        let (pass, beginning, open) = gate();
        blocked.tell(|_| {
            pass();
            Ok(())
        });
        blocked.address.send(n).unwrap();
        hear(&beginning);
        neighbour.run(|_| ());
        assert!(blocked.noted().is_none(), "one message at a time");
        open.send(()).unwrap();
        assert_eq!(blocked.number().1, n);
    }
    stop(&node);
}

/// F10, by intent: without a watchdog, so that nothing else can give way.
#[test]
fn a_blocking_call_hands_the_worker_over() {
    let node = unwatched();
    let (blocked, neighbour) = (Handle::new(&node), Handle::new(&node));
    for _ in 0..100 {
        let (pass, beginning, open) = gate();
        blocked.tell(|ctx| {
            // A second time in the same handler changes nothing.
            ctx.blocking(|| ());
            ctx.blocking(pass);
            Ok(())
        });
        hear(&beginning);
        neighbour.run(|_| ());
        open.send(()).unwrap();
        blocked.run(|_| ());
    }
    stop(&node);
}

#[test]
fn every_callback_can_block() {
    let node = unwatched();
    let neighbour = Handle::new(&node);
    // `init` of a child, inside its parent's handler.
    let parent = Handle::new(&node);
    let (pass, beginning, open) = gate();
    parent.tell(|ctx| {
        let plan = Plan::init(|ctx| {
            ctx.blocking(pass);
            Ok(())
        });
        plan.start_in(ctx)?.tell(|_| Err(Reason::Normal));
        Ok(())
    });
    hear(&beginning);
    neighbour.run(|_| ());
    open.send(()).unwrap();
    parent.run(|_| ());
    // `terminate`.
    let (pass, beginning, open) = gate();
    let ending = Plan::terminate(|ctx| ctx.blocking(pass))
        .start(&node)
        .unwrap();
    ending.tell(|_| Err(Reason::Normal));
    hear(&beginning);
    neighbour.run(|_| ());
    open.send(()).unwrap();
    ending.end();
    stop(&node);
}

/// Fifty at once on one worker, and the worker still serves: its messages and its timers.
#[test]
fn many_block_at_once() {
    let node = node(1);
    let neighbour = Handle::new(&node);
    let mut gates = Vec::new();
    let all: Vec<_> = (0..50).map(|_| Handle::new(&node)).collect();
    for (n, process) in all.iter().enumerate() {
        let (pass, beginning, open) = gate();
        process.tell(move |ctx| {
            // Half of them say so, the others are noticed.
            if n % 2 == 0 {
                ctx.blocking(pass);
            } else {
                pass();
            }
            Ok(())
        });
        gates.push((beginning, open));
    }
    for (beginning, _) in &gates {
        hear(beginning);
        neighbour.run(|_| ());
    }
    neighbour.run(|ctx| {
        ctx.send_after(ctx.pid(), 1_u64, Duration::from_millis(1));
    });
    assert_eq!(neighbour.number().1, 1);
    for (_, open) in gates.iter().rev() {
        open.send(()).unwrap();
    }
    for process in &all {
        process.run(|_| ());
    }
    stop(&node);
}

/// Displaced again and again, a process handles its messages in order and each once.
#[test]
fn a_displaced_process_keeps_its_order() {
    let node = unwatched();
    let all: Vec<_> = (0..4).map(|_| Handle::new(&node)).collect();
    for n in 0..500_u64 {
        for process in &all {
            process.address.send(n).unwrap();
            if n % 7 == 0 {
                process.tell(|ctx| {
                    ctx.blocking(std::thread::yield_now);
                    Ok(())
                });
            }
        }
    }
    for process in &all {
        for n in 0..500 {
            assert_eq!(process.number().1, n);
        }
        process.run(|_| ());
        assert!(process.noted().is_none());
    }
    stop(&node);
}

/// After many changes of the thread the watchdog still knows when a handler runs.
#[test]
fn a_worker_that_was_often_displaced_is_still_watched() {
    let node = node(1);
    let (blocked, neighbour) = (Handle::new(&node), Handle::new(&node));
    for _ in 0..20 {
        for _ in 0..200 {
            blocked.tell(|ctx| {
                ctx.blocking(|| ());
                Ok(())
            });
        }
        blocked.run(|_| ());
        let (pass, beginning, open) = gate();
        blocked.tell(|_| {
            pass();
            Ok(())
        });
        hear(&beginning);
        neighbour.run(|_| ());
        open.send(()).unwrap();
    }
    stop(&node);
}

/// A watchdog with no patience at all is allowed, and does no harm.
#[test]
fn a_threshold_of_nothing_works() {
    let builder = NodeBuilder::new("lab@localhost").workers(1);
    let node = builder.stuck_after(Some(Duration::ZERO)).start().unwrap();
    let process = Handle::new(&node);
    for n in 0..2_000 {
        process.address.send(n).unwrap();
    }
    for n in 0..2_000 {
        assert_eq!(process.number().1, n);
    }
    stop(&node);
}

/// A driver that waits for a token, tells the test of receipts, and panics when it is told to.
struct TestDriver {
    wakes: Receiver<()>,
    receipts: Sender<Receipt>,
    panics: Arc<AtomicU32>,
}

struct Remote(Sender<()>);

#[derive(Clone)]
struct Factory {
    receipts: Sender<Receipt>,
    panics: Arc<AtomicU32>,
}

impl DriverFactory for Factory {
    fn make(&self, _: WorkerId) -> io::Result<DriverParts> {
        let (wake, wakes) = bounded(1);
        let Self { receipts, panics } = self.clone();
        let driver = TestDriver {
            wakes,
            receipts,
            panics,
        };
        let handle: Arc<dyn Any + Send + Sync> = Arc::new(());
        Ok(DriverParts {
            driver: Box::new(driver),
            remote: Arc::new(Remote(wake)),
            handle,
        })
    }
}

impl DriverRemote for Remote {
    fn wake(&self) {
        let _a_token_is_there = self.0.try_send(());
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Driver for TestDriver {
    fn turn(&mut self, wait: Wait, _: &dyn Fn() -> bool) {
        let panics = self.panics.load(Ordering::Relaxed);
        if panics > 0 {
            self.panics.store(panics - 1, Ordering::Relaxed);
            assert!(panics == 1, "the driver's mistake");
            // The last one goes well.
            return;
        }
        match wait {
            Wait::No => {}
            Wait::Until(at) => drop(self.wakes.recv_deadline(at)),
            Wait::Forever => drop(self.wakes.recv()),
        }
    }

    fn handled(&mut self, receipts: &mut Vec<Receipt>) {
        for receipt in receipts.drain(..) {
            self.receipts.send(receipt).unwrap();
        }
    }

    fn flush(&mut self) {}

    fn is_busy(&self) -> bool {
        false
    }
}

fn driven() -> (Node, Receiver<Receipt>, Arc<AtomicU32>) {
    let (receipts, given_back) = unbounded();
    let panics = Arc::new(AtomicU32::new(0));
    let factory = Factory {
        receipts,
        panics: Arc::clone(&panics),
    };
    let builder = NodeBuilder::new("lab@localhost").workers(1).driver(factory);
    (builder.start().unwrap(), given_back, panics)
}

fn receipt(token: u64) -> Receipt {
    Receipt { token, amount: 1 }
}

#[test]
fn receipts_come_back_when_the_handler_has_returned() {
    let (node, given_back, _) = driven();
    let process = Handle::new(&node);
    let sink: Arc<dyn Sink<Msg>> = process.run(|ctx: &mut Ctx<'_, Puppet>| ctx.sink());
    for token in 0..100 {
        // Some of the handlers are displaced, and hand over what they owe.
        let job = Do::new(move |ctx| {
            if token % 3 == 0 {
                ctx.blocking(std::thread::yield_now);
            }
            Ok(())
        });
        sink.deliver(Source::Outside, receipt(token), Msg::from(job))
            .ok()
            .unwrap();
    }
    let mut back: Vec<_> = (0..100).map(|_| hear(&given_back).token).collect();
    back.sort_unstable();
    assert_eq!(back, (0..100).collect::<Vec<_>>());
    // Not before.
    let (pass, beginning, open) = gate();
    let job = Do::new(|_| {
        pass();
        Ok(())
    });
    sink.deliver(Source::Outside, receipt(1_000), Msg::from(job))
        .ok()
        .unwrap();
    hear(&beginning);
    Handle::new(&node).run(|_| ());
    assert!(given_back.try_recv().is_err());
    open.send(()).unwrap();
    assert_eq!(hear(&given_back).token, 1_000);
    // And none for a message of which nobody wants to hear.
    sink.deliver(Source::Outside, Receipt::NONE, Msg::from(1_u64))
        .ok()
        .unwrap();
    assert!(matches!(process.note(), Note::Number(..)));
    stop(&node);
    assert!(given_back.try_recv().is_err());
}

/// H05: a driver that panics does not silence its worker, however often, if it serves in between.
#[test]
fn a_worker_goes_on_after_its_driver_panicked() {
    let (node, _given_back, panics) = driven();
    let process = Handle::new(&node);
    process.run(|_| ());
    for _ in 0..30 {
        panics.store(6, Ordering::Relaxed);
        process.run(|_| ());
        until("it has served", || panics.load(Ordering::Relaxed) == 0);
    }
    stop(&node);
}
