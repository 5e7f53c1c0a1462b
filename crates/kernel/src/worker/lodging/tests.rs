//! Workers that move in and out while their processes have much to do.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Home;
use crate::sync::lock;
use crate::watchdog::Looks;
use crate::{
    Actor, Address, Ctx, Driver, DriverFactory, DriverParts, DriverRemote, Flow, Node, NodeBuilder,
    Receipt, Source, SpawnOptions, Wait, WorkerId, protocol,
};

/// How long a test waits for what must happen. Only a failing test ever waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Drivers that only wait, and can wait for each other: what an event loop does with pollers in
/// pollers, in one lock.
#[derive(Default)]
struct Drivers {
    seats: Mutex<Vec<Place>>,
    bell: Condvar,
    turns: AtomicU64,
}

#[derive(Default)]
struct Place {
    host: Option<usize>,
    woken: bool,
    dozing: bool,
    reported: Vec<usize>,
    /// The next turn panics.
    fails: bool,
    refuses: bool,
}

struct Seat {
    drivers: Arc<Drivers>,
    index: usize,
}

struct Factory(Arc<Drivers>);

impl DriverFactory for Factory {
    fn make(&self, worker: WorkerId) -> io::Result<DriverParts> {
        lock(&self.0.seats).push(Place::default());
        let seat = || Seat {
            drivers: Arc::clone(&self.0),
            index: worker.index(),
        };
        let handle: Arc<dyn Any + Send + Sync> = Arc::new(());
        Ok(DriverParts {
            driver: Box::new(seat()),
            remote: Arc::new(seat()),
            handle,
        })
    }
}

impl DriverRemote for Seat {
    fn wake(&self) {
        let mut seats = lock(&self.drivers.seats);
        let place = &mut seats[self.index];
        place.woken = true;
        if std::mem::take(&mut place.dozing)
            && let Some(host) = place.host
        {
            seats[host].reported.push(self.index);
            seats[host].woken = true;
        }
        drop(seats);
        self.drivers.bell.notify_all();
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Driver for Seat {
    fn turn(&mut self, wait: Wait, may_sleep: &dyn Fn() -> bool) {
        self.drivers.turns.fetch_add(1, Ordering::Relaxed);
        let mut seats = lock(&self.drivers.seats);
        seats[self.index].dozing = false;
        if std::mem::take(&mut seats[self.index].fails) {
            drop(seats);
            panic!("told to");
        }
        let until = match wait {
            Wait::No => return,
            Wait::Until(at) => Some(at),
            Wait::Forever => None,
        };
        while may_sleep() && !seats[self.index].woken {
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            let left = left.unwrap_or(PATIENCE);
            (seats, _) = self.drivers.bell.wait_timeout(seats, left).unwrap();
        }
        seats[self.index].woken = false;
    }

    fn handled(&mut self, receipts: &mut Vec<Receipt>) {
        receipts.clear();
    }

    fn flush(&mut self) {}

    fn nest(&mut self, host: WorkerId) -> bool {
        let mut seats = lock(&self.drivers.seats);
        let place = &mut seats[self.index];
        place.host = Some(host.index());
        !place.refuses
    }

    fn unnest(&mut self) {
        lock(&self.drivers.seats)[self.index].host = None;
    }

    fn doze(&mut self, may_sleep: &dyn Fn() -> bool) -> Wait {
        let mut seats = lock(&self.drivers.seats);
        let place = &mut seats[self.index];
        if std::mem::take(&mut place.woken) || !may_sleep() {
            return Wait::No;
        }
        place.dozing = true;
        Wait::Forever
    }

    fn next_guest(&mut self) -> Option<usize> {
        lock(&self.drivers.seats)[self.index].reported.pop()
    }

    fn is_busy(&self) -> bool {
        false
    }
}

type Job = Box<dyn FnOnce(&mut Ctx<'_, Hand>) -> Flow + Send>;

/// Does what it is told.
struct Hand;

struct Do(Job);

protocol!(Do);

impl Actor for Hand {
    type Msg = Do;

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, Do(job): Do) -> Flow {
        job(ctx)
    }
}

struct Lab {
    node: Node,
    drivers: Arc<Drivers>,
    /// Two on each worker.
    hands: Vec<Address<Do>>,
}

impl Lab {
    fn new(workers: usize, set: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let drivers = Arc::new(Drivers::default());
        let builder = NodeBuilder::new("lab@localhost").workers(workers);
        // Who moves is for the test to say.
        let builder = builder
            .driver(Factory(Arc::clone(&drivers)))
            .compaction(false);
        let node = set(builder).start().unwrap();
        let on = |worker| {
            let options = SpawnOptions::new().worker(WorkerId(worker));
            node.spawn_with(Hand, options).unwrap()
        };
        let hands = (0..2 * workers).map(|n| on(n / 2)).collect();
        Self {
            node,
            drivers,
            hands,
        }
    }

    fn tell(&self, hand: usize, job: impl FnOnce(&mut Ctx<'_, Hand>) + Send + 'static) {
        let job: Job = Box::new(|ctx| {
            job(ctx);
            Ok(())
        });
        self.hands[hand].send(Do(job)).unwrap();
    }

    fn run<T: Send + 'static>(
        &self,
        hand: usize,
        job: impl FnOnce(&mut Ctx<'_, Hand>) -> T + Send + 'static,
    ) -> T {
        let (tell, heard) = bounded(1);
        self.tell(hand, move |ctx| tell.send(job(ctx)).unwrap());
        heard.recv_timeout(PATIENCE).unwrap()
    }

    /// The thread that drives this worker.
    fn thread(&self, worker: usize) -> ThreadId {
        self.run(2 * worker, |_| thread::current().id())
    }

    fn home(&self, worker: usize) -> Home {
        self.node.workers_for_test()[worker].home()
    }

    fn move_in(&self, worker: usize) {
        let workers = self.node.workers_for_test();
        workers[worker].move_to(Arc::clone(&workers[0]));
        self.until(|| self.home(worker) == Home::Host);
    }

    fn move_out(&self, worker: usize) {
        self.node.workers_for_test()[worker].move_out();
        self.until(|| self.home(worker) == Home::Own);
    }

    fn until(&self, what: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !what() {
            assert!(Instant::now() < end);
            // Each answer is one turn of that worker at least.
            for worker in 0..self.hands.len() / 2 {
                self.run(2 * worker, |_| ());
            }
        }
    }

    fn stop(self) {
        assert!(self.node.stop().unwrap().is_clean());
    }
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

#[test]
fn one_thread_drives_a_host_and_its_guests() {
    let lab = Lab::new(3, |builder| builder);
    assert_ne!(lab.thread(0), lab.thread(1));
    lab.move_in(1);
    lab.move_in(2);
    assert_eq!(lab.thread(0), lab.thread(1));
    assert_eq!(lab.thread(0), lab.thread(2));
    // A guest's timer ends the sleep of all, with nothing else under way.
    let (tell, heard) = bounded(1);
    lab.tell(4, move |ctx| {
        let job: Job = Box::new(move |_| {
            tell.send(thread::current().id()).unwrap();
            Ok(())
        });
        ctx.send_after(ctx.pid(), Do(job), Duration::from_millis(5));
    });
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), lab.thread(0));
    lab.move_out(1);
    assert_ne!(lab.thread(0), lab.thread(1));
    assert_eq!(lab.thread(0), lab.thread(2));
    lab.stop();
}

#[test]
fn who_shares_a_thread_sleeps_when_nothing_is_to_be_done() {
    let lab = Lab::new(2, |builder| builder);
    lab.move_in(1);
    // Asleep, and woken from outside, again and again; a turn that finds nothing is no sleep.
    for n in 0..1000 {
        lab.run(n % 4, |_| ());
    }
    let before = lab.drivers.turns.load(Ordering::Relaxed);
    for _ in 0..100 {
        lab.run(2, |_| ());
    }
    let turns = lab.drivers.turns.load(Ordering::Relaxed) - before;
    assert!(turns < 100 * 10, "{turns}");
    lab.stop();
}

/// The watchdog displaces the thread from the guest and from the host, whichever of them it is.
#[test]
fn a_handler_that_blocks_holds_up_nobody_on_either_worker() {
    let lab = Lab::new(2, |builder| builder);
    for blocks in [3, 0].into_iter().cycle().take(10) {
        lab.move_in(1);
        let (pass, beginning, open) = gate();
        lab.tell(blocks, |_| pass());
        beginning.recv_timeout(PATIENCE).unwrap();
        for hand in (0..4).filter(|&hand| hand != blocks) {
            lab.run(hand, |_| ());
        }
        open.send(()).unwrap();
        lab.run(blocks, |_| ());
    }
    lab.stop();
}

/// Without a watchdog: who waits for its own worker gives way, and so does its host.
#[test]
fn a_guest_that_spawns_through_the_node_gives_way() {
    let lab = Lab::new(2, |builder| builder.stuck_after(None));
    for hand in [2, 0] {
        lab.move_in(1);
        for worker in 0..2 {
            let options = SpawnOptions::new().worker(WorkerId(worker));
            let options = options.init_timeout(PATIENCE);
            let started = lab.run(hand, move |ctx| {
                let hand = ctx.node().spawn_with(Hand, options);
                hand.is_ok()
            });
            assert!(started);
        }
    }
    lab.stop();
}

/// By intent, without a watchdog: nothing else can give way.
#[test]
fn a_guest_that_says_that_it_blocks_gives_way_at_once() {
    let lab = Lab::new(2, |builder| builder.stuck_after(None));
    for round in 0..100 {
        lab.move_in(1);
        let (pass, beginning, open) = gate();
        let blocks = 2 * (round % 2);
        lab.tell(blocks, |ctx| ctx.blocking(pass));
        beginning.recv_timeout(PATIENCE).unwrap();
        for hand in (0..4).filter(|&hand| hand != blocks) {
            lab.run(hand, |_| ());
        }
        open.send(()).unwrap();
        lab.run(blocks, |_| ());
    }
    lab.stop();
}

/// It was displaced from the worker, which has become a guest meanwhile, and sleeps.
#[test]
fn a_displaced_handler_wakes_those_that_it_sends_to() {
    let lab = Lab::new(2, |builder| builder.stuck_after(None));
    let (pass, beginning, open) = gate();
    let (tell, heard) = bounded(1);
    let neighbour = lab.hands[2].clone();
    lab.tell(3, move |ctx| {
        ctx.blocking(pass);
        let (tell_back, answer) = bounded(1);
        let job: Job = Box::new(move |_| {
            tell_back.send(()).unwrap();
            Ok(())
        });
        neighbour.send(Do(job)).unwrap();
        tell.send(answer.recv_timeout(PATIENCE)).unwrap();
    });
    beginning.recv_timeout(PATIENCE).unwrap();
    lab.move_in(1);
    while !lock(&lab.drivers.seats)[1].dozing {
        thread::yield_now();
    }
    open.send(()).unwrap();
    heard.recv_timeout(2 * PATIENCE).unwrap().unwrap();
    lab.stop();
}

/// Looks as the watchdog does, from inside of as many messages of a guest, handled one after the
/// other.
fn looks_from_a_guest(lab: &Lab, count: usize) -> Vec<Vec<(usize, u64)>> {
    let workers = lab.node.workers_for_test().to_vec();
    let looks = Arc::new(Mutex::new(Looks::new(workers.len())));
    let (tell, seen) = bounded(count);
    lab.tell(2, move |ctx| {
        for _ in 0..count {
            let (tell, looks, workers) = (tell.clone(), Arc::clone(&looks), workers.clone());
            let job: Job = Box::new(move |_| {
                tell.send(lock(&looks).look_at(&workers)).unwrap();
                Ok(())
            });
            ctx.send(ctx.pid(), Do(job)).unwrap();
        }
    });
    let look = || seen.recv_timeout(PATIENCE).unwrap();
    (0..count).map(|_| look()).collect()
}

/// The watchdog must not take the host for stuck while a guest handles message after message.
#[test]
fn a_guests_messages_are_progress_of_its_host() {
    let lab = Lab::new(2, |builder| builder.stuck_after(None));
    lab.move_in(1);
    let looks = looks_from_a_guest(&lab, 10);
    assert!(looks.concat().is_empty(), "{looks:?}");
    // But a message that takes long holds up both.
    let workers = lab.node.workers_for_test().to_vec();
    let stuck = lab.run(2, move |_| {
        let mut looks = Looks::new(workers.len());
        let _first = (looks.look_at(&workers), looks.look_at(&workers));
        let stuck = looks.look_at(&workers);
        stuck.iter().map(|at| at.0).collect::<Vec<_>>()
    });
    assert_eq!(stuck, [0, 1]);
    lab.stop();
}

/// The host goes first: with it come all the other guests.
#[test]
fn the_only_thread_to_be_had_is_for_those_that_do_not_block() {
    // The one that the guest had before it moved in.
    let lab = Lab::new(2, |builder| builder.spare_threads(0));
    lab.move_in(1);
    let (pass, beginning, open) = gate();
    lab.tell(2, |_| pass());
    beginning.recv_timeout(PATIENCE).unwrap();
    for _ in 0..10 {
        lab.run(0, |_| ());
    }
    open.send(()).unwrap();
    lab.run(3, |_| ());
    lab.stop();
}

/// Its thread has been displaced from the host, and drives the guest to the end of its turn: that
/// must not hide that a handler blocks the host's new thread.
#[test]
fn a_guest_left_behind_is_no_progress_of_the_host() {
    let lab = Lab::new(2, |builder| builder.stuck_after(None));
    lab.move_in(1);
    let host = Arc::clone(&lab.node.workers_for_test()[0]);
    let (pass, beginning, open) = gate();
    let neighbour = lab.hands[0].clone();
    let (tell, looks) = bounded(1);
    let workers = lab.node.workers_for_test().to_vec();
    lab.tell(2, move |ctx| {
        assert!(host.displace_if_stuck_at(host.progress()));
        let job: Job = Box::new(|_| {
            pass();
            Ok(())
        });
        neighbour.send(Do(job)).unwrap();
        beginning.recv_timeout(PATIENCE).unwrap();
        let watch = Arc::new(Mutex::new(Looks::new(workers.len())));
        for last in [false, false, true] {
            let (watch, workers, tell) = (Arc::clone(&watch), workers.clone(), tell.clone());
            let job: Job = Box::new(move |_| {
                let stuck = lock(&watch).look_at(&workers);
                if last {
                    tell.send(stuck.first().map(|at| at.0)).unwrap();
                }
                Ok(())
            });
            ctx.send(ctx.pid(), Do(job)).unwrap();
        }
    });
    let stuck = looks.recv_timeout(PATIENCE).unwrap();
    open.send(()).unwrap();
    assert_eq!(stuck, Some(0));
    lab.stop();
}

/// With no thread to be had all goes on, as slowly as must be, and at the end in order.
#[test]
fn without_spare_threads_it_stays_as_it_is() {
    let lab = Lab::new(2, |builder| builder.stuck_after(None).spare_threads(0));
    lab.move_in(1);
    // The thread that the guest had is a spare one now; taken, there is none.
    lab.run(0, |ctx| ctx.blocking(|| ()));
    for _ in 0..10 {
        lab.run(2, |ctx| ctx.blocking(|| ()));
        lab.run(0, |ctx| ctx.blocking(|| ()));
        lab.run(3, |_| ());
    }
    lab.stop();
}

#[test]
fn a_driver_that_cannot_keeps_its_thread() {
    let lab = Lab::new(2, |builder| builder);
    lock(&lab.drivers.seats)[1].refuses = true;
    let workers = lab.node.workers_for_test();
    workers[1].move_to(Arc::clone(&workers[0]));
    lab.until(|| lab.home(1) == Home::OwnForGood);
    assert_ne!(lab.thread(0), lab.thread(1));
    lab.stop();
}

#[test]
fn a_guest_whose_driver_panics_gets_a_thread_of_its_own() {
    let lab = Lab::new(2, |builder| builder);
    lab.move_in(1);
    lock(&lab.drivers.seats)[1].fails = true;
    lab.run(2, |_| ());
    lab.until(|| lab.home(1) == Home::Own);
    assert_ne!(lab.thread(0), lab.thread(1));
    lab.stop();
}

/// Messages of one sender to one receiver arrive once and in order, whoever drives.
#[test]
fn nothing_is_lost_while_workers_move() {
    const EACH: u64 = 20_000;
    let lab = Lab::new(3, |builder| builder);
    let counters: Vec<_> = (0..lab.hands.len())
        .map(|_| Arc::new(AtomicU64::new(0)))
        .collect();
    // Each sends to itself and to the next, and blocks now and then.
    fn step(own: usize, n: u64, hands: Arc<Vec<Address<Do>>>, counters: Arc<Vec<Arc<AtomicU64>>>) {
        let next = (own + 1) % hands.len();
        let counter = Arc::clone(&counters[next]);
        let count: Job = Box::new(move |_| {
            assert_eq!(counter.fetch_add(1, Ordering::Relaxed), n, "in order");
            Ok(())
        });
        hands[next].send(Do(count)).unwrap();
        if n + 1 < EACH {
            let again = Arc::clone(&hands);
            let job: Job = Box::new(move |ctx| {
                if n.is_multiple_of(977) {
                    ctx.blocking(thread::yield_now);
                }
                step(own, n + 1, again, counters);
                Ok(())
            });
            hands[own].send(Do(job)).unwrap();
        }
    }
    let hands = Arc::new(lab.hands.clone());
    let counters = Arc::new(counters);
    for own in 0..hands.len() {
        step(own, 0, Arc::clone(&hands), Arc::clone(&counters));
    }
    let workers = lab.node.workers_for_test();
    let mut moves = 0_u64;
    let done = || counters.iter().all(|n| n.load(Ordering::Relaxed) == EACH);
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{counters:?}");
        for worker in &workers[1..] {
            match worker.home() {
                Home::Own => worker.move_to(Arc::clone(&workers[0])),
                Home::Host => worker.move_out(),
                Home::OwnForGood => panic!("it can"),
            }
            moves += 1;
        }
        thread::yield_now();
    }
    assert!(moves > 10);
    lab.stop();
}

/// The node stops in whatever phase of a move.
#[test]
fn a_node_stops_while_workers_move() {
    for round in 0..200_u32 {
        let lab = Lab::new(3, |builder| builder);
        let workers = lab.node.workers_for_test();
        for worker in &workers[1..] {
            worker.move_to(Arc::clone(&workers[0]));
        }
        for n in 0..round % 7 {
            lab.run(n as usize % 6, |_| ());
        }
        if round.is_multiple_of(3) {
            workers[1].move_out();
        }
        if round.is_multiple_of(5) {
            lab.tell(2, |ctx| ctx.blocking(thread::yield_now));
        }
        lab.stop();
    }
}
