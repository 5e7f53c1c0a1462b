//! Pools: who gets a message, who does not, and that there are always as many as there should be.

#[path = "common/lab.rs"]
mod lab;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use lab::{Handle, PATIENCE, hear, node, stop, until};
use socktree_kernel::{
    Actor, CallError, Ctx, Flow, InspectPool, Node, Pid, Pool, PoolInfo, Reason, Reply, ResizePool,
    Source, SpawnError, SpawnOptions, Supervisor, TestKit, protocol,
};

const LONG: Duration = Duration::from_secs(3_600);

/// Tells who handles it.
struct Note(u64);
/// Answers with who handles it.
struct Ask(Reply<Pid>);
/// Keeps a worker in its handler.
struct Wait(Sender<()>, Receiver<()>);
struct Fall;
protocol! {
    /// What a worker takes.
    enum Job { Note(Note), Ask(Ask), Wait(Wait), Fall(Fall) }
}

type Heard = (Pid, Source, u64);

struct Worker {
    heard: Sender<Heard>,
    failures: Arc<AtomicUsize>,
}

impl Actor for Worker {
    type Msg = Job;

    fn init(&mut self, _: &mut Ctx<'_, Self>) -> Flow {
        let (order, fails) = (Ordering::SeqCst, |left: usize| left.checked_sub(1));
        match self.failures.fetch_update(order, order, fails) {
            Ok(_) => Err(Reason::error("not yet")),
            Err(_) => Ok(()),
        }
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, from: Source, job: Job) -> Flow {
        match job {
            Job::Note(Note(n)) => self.heard.send((ctx.pid(), from, n))?,
            Job::Ask(Ask(reply)) => drop(reply.send(ctx.pid())),
            Job::Wait(Wait(here, until)) => {
                here.send(())?;
                let _over = until.recv();
            }
            Job::Fall(Fall) => return Err(Reason::error("it falls")),
        }
        Ok(())
    }
}

struct Workshop {
    heard: Receiver<Heard>,
    tell: Sender<Heard>,
    failures: Arc<AtomicUsize>,
}

impl Workshop {
    fn new() -> Self {
        let (tell, heard) = unbounded();
        Self {
            heard,
            tell,
            failures: Arc::default(),
        }
    }

    fn make(&self) -> impl Fn() -> Worker + Clone + Send + 'static {
        let (heard, failures) = (self.tell.clone(), Arc::clone(&self.failures));
        move || Worker {
            heard: heard.clone(),
            failures: Arc::clone(&failures),
        }
    }

    /// A pool called `pool` that bears much.
    fn pool(&self, size: usize) -> Pool<Worker> {
        Pool::new(size, self.make()).intensity(1_000, LONG)
    }
}

fn start(node: &Node, pool: Pool<Worker>) {
    let options = SpawnOptions::new().name("pool");
    let started = node.spawn_with(pool, options);
    started.expect("the workers start");
}

fn info(node: &Node) -> PoolInfo {
    let info = node.call("pool", InspectPool::new, PATIENCE);
    info.expect("a pool that lives answers")
}

fn resize(node: &Node, size: usize) -> Result<(), SpawnError> {
    let ask = |reply| ResizePool::new(size, reply);
    let answer = node.call("pool", ask, PATIENCE);
    answer.expect("a pool that lives answers")
}

/// Keeps this worker in its handler until what is given out is dropped.
fn hold(node: &Node, worker: Pid) -> Sender<()> {
    let ((here, is_here), (go_on, until)) = (unbounded(), unbounded());
    let sent = node.send(worker, Wait(here, until));
    sent.expect("the worker lives");
    hear(&is_here);
    go_on
}

#[test]
fn workers_take_turns_and_see_who_sent() {
    let (node, shop) = (node(2), Workshop::new());
    start(&node, shop.pool(3));
    let sender = Handle::new(&node);
    for n in 0..9 {
        sender.run(move |ctx| ctx.send("pool", Note(n)).unwrap());
    }
    let heard: Vec<_> = (0..9).map(|_| hear(&shop.heard)).collect();
    let workers: BTreeSet<_> = heard.iter().map(|(worker, ..)| *worker).collect();
    assert_eq!(workers.len(), 3);
    for worker in workers {
        let its = heard.iter().filter(|(by, ..)| *by == worker);
        assert_eq!(its.count(), 3);
    }
    let me = Source::Process(sender.pid());
    assert!(heard.iter().all(|(_, from, _)| *from == me));
    stop(&node);
}

#[test]
fn calls_are_answered_by_a_worker() {
    let (node, shop) = (node(2), Workshop::new());
    start(&node, shop.pool(2));
    let workers = info(&node).workers;
    for _ in 0..10 {
        let by = node.call("pool", Ask, PATIENCE).unwrap();
        assert!(workers.contains(&by));
    }
    stop(&node);
}

/// Full workers are skipped; when all are, the message comes back to the pool, a call hears of it
/// at once, and nothing is lost unseen.
#[test]
fn full_workers_are_skipped() {
    let (node, shop) = (node(2), Workshop::new());
    let (refuse, refused) = unbounded();
    let pool = shop.pool(2).options(SpawnOptions::new().mailbox(1));
    start(
        &node,
        pool.on_refused(move |from, job| {
            let n = match job {
                Job::Note(Note(n)) => n,
                _ => 0,
            };
            refuse.send((from, n)).unwrap();
        }),
    );
    let workers = info(&node).workers;
    // What it handles counts, so that there is no room in this one.
    let first = hold(&node, workers[0]);
    for n in 0..5 {
        node.send("pool", Note(n)).unwrap();
        assert_eq!(hear(&shop.heard).0, workers[1]);
    }
    let second = hold(&node, workers[1]);
    node.send("pool", Note(7)).unwrap();
    assert_eq!(hear(&refused), (Source::Outside, 7));
    let call = node.call("pool", Ask, PATIENCE);
    assert!(matches!(call, Err(CallError::NoReply)), "{call:?}");
    let info = info(&node);
    assert_eq!((info.forwarded, info.refused), (5, 2));
    drop((first, second));
    stop(&node);
}

/// L-03: a worker is replaced when it ends, and not only when it is missed.
#[test]
fn l_03_dead_workers_are_replaced_at_once() {
    let (node, shop) = (node(2), Workshop::new());
    start(&node, shop.pool(3));
    let before = info(&node).workers;
    node.exit(before[1], Reason::Kill);
    node.send(before[2], Fall).unwrap();
    until("there are three again", || {
        let info = info(&node);
        info.workers.len() == 3 && info.restarts == 2
    });
    let after = info(&node).workers;
    assert!(after.contains(&before[0]) && !after.contains(&before[1]));
    for n in 0..6 {
        node.send("pool", Note(n)).unwrap();
    }
    let by: BTreeSet<_> = (0..6).map(|_| hear(&shop.heard).0).collect();
    assert_eq!(by.len(), 3);
    stop(&node);
}

/// L-01: a replacement that fails is tried again; the pool does not shrink. In virtual time.
#[test]
fn l_01_a_failed_replacement_is_tried_again() {
    let shop = Workshop::new();
    let kit = TestKit::new();
    let pool = shop.pool(2).retry_delay(Duration::from_secs(1));
    let pool = kit.spawn(pool).unwrap();
    shop.failures.store(3, Ordering::SeqCst);
    kit.node().exit(pool.children()[0].pid, Reason::Kill);
    kit.run();
    // Until then the other one gets everything.
    for seconds in 0..3 {
        assert_eq!(pool.children().len(), 1, "after {seconds} s");
        pool.send(Job::Note(Note(seconds))).unwrap();
        assert_eq!(shop.heard.try_recv().unwrap().2, seconds);
        kit.advance(Duration::from_secs(1));
    }
    assert_eq!(pool.children().len(), 2);
    assert!(kit.next_timer().is_none());
}

/// L-01: and if it fails too often, the pool ends with that reason, to be restarted itself.
#[test]
fn l_01_a_pool_that_cannot_be_kept_up_ends() {
    let shop = Workshop::new();
    let kit = TestKit::new();
    let pool = Pool::new(2, shop.make()).intensity(3, LONG);
    let pool = kit.spawn(pool).unwrap();
    shop.failures.store(usize::MAX, Ordering::SeqCst);
    kit.node().exit(pool.children()[0].pid, Reason::Kill);
    kit.advance(LONG);
    let reason = pool.ended().unwrap();
    assert!(
        matches!(reason, Reason::RestartsExceeded { .. }),
        "{reason}"
    );
    assert_eq!(kit.node().info().processes, 0);
}

/// L-02: however large it grows, every worker is used, and ends with its pool.
#[test]
fn l_02_a_pool_grows_and_shrinks_without_orphans() {
    let (node, shop) = (node(2), Workshop::new());
    start(&node, shop.pool(1));
    resize(&node, 500).unwrap();
    assert_eq!(info(&node).workers.len(), 500);
    for n in 0..500 {
        node.send("pool", Note(n)).unwrap();
    }
    let by: BTreeSet<_> = (0..500).map(|_| hear(&shop.heard).0).collect();
    assert_eq!(by.len(), 500);
    resize(&node, 0).unwrap();
    assert_eq!(info(&node).workers.len(), 1);
    until("the others are gone", || node.info().processes == 2);
    assert_eq!(info(&node).restarts, 0);
    resize(&node, 10).unwrap();
    stop(&node);
}

/// A worker that has to go first handles what it has.
#[test]
fn shrinking_loses_no_message() {
    let (node, shop) = (node(2), Workshop::new());
    start(&node, shop.pool(4));
    let held: Vec<_> = info(&node)
        .workers
        .iter()
        .map(|w| hold(&node, *w))
        .collect();
    for n in 0..100 {
        node.send("pool", Note(n)).unwrap();
    }
    resize(&node, 1).unwrap();
    drop(held);
    let heard: BTreeSet<_> = (0..100).map(|_| hear(&shop.heard).2).collect();
    assert_eq!(heard.len(), 100);
    until("three are gone", || node.info().processes == 2);
    stop(&node);
}

#[test]
fn a_worker_that_cannot_be_added_is_told() {
    let (node, shop) = (node(2), Workshop::new());
    start(&node, shop.pool(2));
    shop.failures.store(1, Ordering::SeqCst);
    assert!(matches!(resize(&node, 4), Err(SpawnError::Init(_))));
    assert_eq!(info(&node).workers.len(), 2);
    resize(&node, 4).unwrap();
    assert_eq!(info(&node).workers.len(), 4);
    stop(&node);
}

/// L-04: what was not said is shown as what it is.
#[test]
fn l_04_an_empty_pool_has_one_worker_and_says_so() {
    let (node, shop) = (node(1), Workshop::new());
    start(&node, shop.pool(0));
    let info = info(&node);
    assert_eq!((info.size, info.workers.len()), (1, 1));
    stop(&node);
}

#[test]
fn a_pool_whose_workers_cannot_start_does_not() {
    let (node, shop) = (node(2), Workshop::new());
    shop.failures.store(1, Ordering::SeqCst);
    let refused = node.spawn(shop.pool(3));
    assert!(matches!(refused, Err(SpawnError::Init(_))), "{refused:?}");
    until("nothing is left", || node.info().processes == 0);
    stop(&node);
}

#[test]
fn a_supervised_pool_comes_back() {
    let (node, shop) = (node(2), Workshop::new());
    let make = shop.make();
    let tree = Supervisor::one_for_one().child("pool", move || Pool::new(2, make.clone()));
    node.spawn(tree).unwrap();
    let before = node.whereis("pool").unwrap();
    let workers = info(&node).workers;
    node.exit("pool", Reason::error("out"));
    until("it is back", || {
        node.whereis("pool").is_some_and(|pid| pid != before)
    });
    let after = info(&node).workers;
    assert!(after.iter().all(|worker| !workers.contains(worker)));
    assert_eq!(node.info().processes, 4);
    stop(&node);
}

/// Links and the name are the pool's affair, whatever the options say.
#[test]
fn options_of_workers_neither_name_nor_link_them() {
    let (node, shop) = (node(1), Workshop::new());
    let options = SpawnOptions::new().name("pool_worker").link_child();
    start(&node, shop.pool(3).options(options));
    let workers = info(&node).workers;
    assert_eq!(workers.len(), 3);
    assert!(node.whereis("pool_worker").is_none());
    node.send(workers[0], Fall).unwrap();
    until("it is replaced", || info(&node).restarts == 1);
    assert_eq!(info(&node).workers.len(), 3);
    stop(&node);
}
