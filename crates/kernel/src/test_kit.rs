//! Runs actors in a test: on its own thread, with a clock that only the test moves.
//!
//! A kit is a node whose worker is driven by the test itself. Everything else is what production
//! has: the same processes, mailboxes, relations and timers. So what a test shows of an actor holds
//! for the real thing, and nothing in the kernel knows whether it is tested.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::driver::{Driver, DriverParts, DriverRemote, Wait};
use crate::env::Env;
use crate::error::{SendError, SpawnError, StopReport};
use crate::id::{Name, Pid, Target};
use crate::info::ProcessInfo;
use crate::message::{Address, Protocol, Receipt, Source};
use crate::node::{Ended, Node, NodeInner, SpawnOptions, count_as_handler};
use crate::reason::{Flow, Reason};
use crate::relations::Kind;
use crate::spare::Spares;
use crate::sync::lock;
use crate::watchdog::Watchdog;
use crate::worker::{Worker, WorkerId};

/// How many messages a process handles before others get their turn: as in a node.
const MESSAGE_BUDGET: u32 = 256;

/// How long, by its own clock, a kit that stops gives its processes: as a node.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// A node for one test: no threads, and a time that stands still until the test moves it.
///
/// What is sent or started is handled by [`run`](Self::run), in the test's own thread, until
/// nothing is left to do; so a test needs no waiting, and every run of it is the same. Time moves
/// with [`advance`](Self::advance), timer by timer.
///
/// Whom the actor talks to is played by [`Probe`]s. What it starts runs as well. The kit has one
/// worker; a handler that blocks blocks the test, so [`Ctx::blocking`] gains nothing here, and a
/// [`Ctx::call`] waits in vain for its whole timeout: [`Ctx::request`] is what can be tested.
///
/// # Examples
///
/// An actor that reports to another, at once and a minute later:
///
/// ```
/// use std::time::Duration;
/// use socktree_kernel::{Actor, Ctx, Flow, Source, TestKit, protocol};
///
/// struct Order(u32);
/// #[derive(Debug, PartialEq)]
/// struct Line(&'static str, u32);
/// protocol!(Order, Line);
///
/// struct Shop;
/// impl Actor for Shop {
///     type Msg = Order;
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         ctx.monitor("journal")?;
///         Ok(())
///     }
///     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, order: Order) -> Flow {
///         ctx.send("journal", Line("ordered", order.0))?;
///         ctx.send_after("journal", Line("delivered", order.0), Duration::from_secs(60));
///         Ok(())
///     }
/// }
///
/// let kit = TestKit::new();
/// let journal = kit.probe::<Line>("journal");
/// let shop = kit.spawn(Shop)?;
/// assert_eq!(shop.monitors(), ["journal".into()]);
///
/// shop.send(Order(7))?;
/// assert_eq!(journal.take(), [Line("ordered", 7)]);
/// kit.advance(Duration::from_secs(59));
/// assert_eq!(journal.take(), []);
/// kit.advance(Duration::from_secs(1));
/// assert_eq!(journal.take(), [Line("delivered", 7)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TestKit {
    node: Node,
    inner: Arc<NodeInner>,
    worker: Arc<Worker>,
    clock: Arc<Clock>,
}

impl fmt::Debug for TestKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestKit").finish_non_exhaustive()
    }
}

impl Default for TestKit {
    fn default() -> Self {
        Self::new()
    }
}

impl TestKit {
    /// A kit without processes.
    #[must_use]
    pub fn new() -> Self {
        let clock = Arc::new(Clock(Mutex::new(Time {
            now: Instant::now(),
            next: None,
            busy: false,
        })));
        let parts = DriverParts {
            driver: Box::new(ByHand(Arc::clone(&clock))),
            handle: Arc::new(()),
            remote: Arc::clone(&clock) as _,
        };
        let (name, watchdog) = ("test@kit", Arc::new(Watchdog::default()));
        let spares = Spares::new(name, 0);
        // No thread of its own takes the worker's loop over, not even when a handler blocks.
        spares.close();
        let worker = Worker::new(
            WorkerId(0),
            parts,
            Arc::clone(&spares),
            Arc::clone(&watchdog),
        );
        // A worker that is to stop runs what there is, and returns.
        worker.stop();
        let inner = Arc::new(NodeInner::new(
            name.to_owned(),
            Env::default(),
            MESSAGE_BUDGET,
            STOP_DEADLINE,
            None,
            spares,
            watchdog,
        ));
        inner.adopt(vec![Arc::clone(&worker)]);
        Self {
            node: Node::from_inner(Arc::clone(&inner)),
            inner,
            worker,
            clock,
        }
    }

    /// The kit as a node, for whatever a node can do. Its `stop` is [`TestKit::stop`].
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Starts the actor that is tested, and runs what its `init` has caused.
    ///
    /// # Errors
    ///
    /// As [`Node::spawn`].
    pub fn spawn<A: Actor>(&self, actor: A) -> Result<Subject<'_, A::Msg>, SpawnError> {
        let (address, ended) = self.node.spawn_monitored(actor)?;
        self.run();
        Ok(Subject {
            kit: self,
            address,
            ended,
        })
    }

    /// Starts a process that only keeps what it is sent, in the place of a real one of this name.
    ///
    /// `M` is usually the real one's message type.
    ///
    /// # Panics
    ///
    /// If the name is taken.
    pub fn probe<M: Protocol>(&self, name: impl Into<Name>) -> Probe<'_, M> {
        let heard = Arc::default();
        let recorder = Recorder {
            heard: Arc::clone(&heard),
        };
        let options = SpawnOptions::new().name(name);
        let address = self.node.spawn_with(recorder, options);
        Probe {
            kit: self,
            address: address.expect("a test gives each of its probes a name of its own"),
            heard,
        }
    }

    /// Runs until there is nothing left to do at this time.
    pub fn run(&self) {
        let _inside = count_as_handler();
        loop {
            self.clock.begin();
            self.worker.drive(0);
            if !self.clock.is_due() {
                return;
            }
        }
    }

    /// Lets this much time pass: each timer fires at its own time, and what it causes is run
    /// before time goes on.
    pub fn advance(&self, by: Duration) {
        let until = self.now() + by;
        self.run();
        while let Some(next) = self.clock.next().filter(|next| *next <= until) {
            self.clock.set(next);
            self.run();
        }
        self.clock.set(until);
    }

    /// The kit's time, as [`Ctx::now`] tells it.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// When the next timer fires, if there is one.
    pub fn next_timer(&self) -> Option<Instant> {
        self.run();
        // What the worker saw last may have been cancelled since.
        self.clock.next().filter(|_| self.worker.timer_count() > 0)
    }

    /// Stops the kit as [`Node::stop`] stops a node, with the deadline in the kit's own time.
    pub fn stop(self) -> StopReport {
        let began = self.now();
        self.node.shutdown();
        self.run();
        while self.inner.registry.process_count() > 0
            && let Some(next) = self.next_timer()
            && next <= began + STOP_DEADLINE
        {
            self.clock.set(next);
            self.run();
        }
        StopReport {
            took: self.now() - began,
            stuck: self.node.processes(),
        }
    }
}

impl Drop for TestKit {
    /// Ends what still runs: processes and their node refer to each other.
    fn drop(&mut self) {
        self.node.shutdown();
        for process in self.inner.registry.processes() {
            process.signal(crate::mailbox::Signal::Kill);
        }
        self.run();
    }
}

/// The process that a test is about.
///
/// Made by [`TestKit::spawn`], with an example there.
pub struct Subject<'k, M> {
    kit: &'k TestKit,
    address: Address<M>,
    ended: Ended,
}

impl<M> fmt::Debug for Subject<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl<M: Send + 'static> Subject<'_, M> {
    /// Its number.
    pub fn pid(&self) -> Pid {
        self.address.pid()
    }

    /// Its typed address.
    pub fn address(&self) -> &Address<M> {
        &self.address
    }

    /// Sends it a message from outside, and runs what that causes.
    ///
    /// # Errors
    ///
    /// As [`Address::send`].
    pub fn send(&self, message: impl Into<M>) -> Result<(), SendError<M>> {
        self.address.send(message)?;
        self.kit.run();
        Ok(())
    }

    /// Why it has ended; `None` while it lives, and after the end was told once.
    pub fn ended(&self) -> Option<Reason> {
        let down = self.ended.wait_for(Duration::ZERO)?;
        Some(down.reason)
    }

    /// What it is linked to.
    pub fn links(&self) -> Vec<Target> {
        self.watched(Kind::Link)
    }

    /// What it monitors.
    pub fn monitors(&self) -> Vec<Target> {
        self.watched(Kind::Monitor)
    }

    /// The processes that it has spawned and that live, oldest first.
    pub fn children(&self) -> Vec<ProcessInfo> {
        let me = Some(self.pid());
        let mut processes = self.kit.node.processes();
        processes.retain(|process| process.parent == me);
        processes.sort_by_key(|process| process.pid);
        processes
    }

    fn watched(&self, kind: Kind) -> Vec<Target> {
        let process = self.kit.inner.registry.process(self.pid());
        let process = process.map(|process| process.core().watched());
        let watched = process.into_iter().flatten();
        let mut targets: Vec<_> = watched.filter(|w| w.1 == kind).map(|w| w.0).collect();
        targets.sort_by_key(ToString::to_string);
        targets
    }
}

/// A process that keeps what it is sent: it stands for one that the tested actor talks to.
///
/// Made by [`TestKit::probe`]. It lives until it is ended by [`Probe::exit`] or with its kit.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{Actor, Ctx, Down, Flow, NoMessages, Reason, Source, TestKit, protocol};
///
/// struct Ping;
/// protocol!(Ping);
///
/// /// Pings a server for as long as it is there.
/// struct Client;
/// impl Actor for Client {
///     type Msg = Ping;
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         ctx.monitor("server")?;
///         Ok(())
///     }
///     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, ping: Ping) -> Flow {
///         ctx.send("server", ping)?;
///         Ok(())
///     }
///     fn down(&mut self, _: &mut Ctx<'_, Self>, down: Down) -> Flow {
///         Err(down.reason)
///     }
/// }
///
/// let kit = TestKit::new();
/// let server = kit.probe::<Ping>("server");
/// let client = kit.spawn(Client)?;
/// server.send(client.pid(), Ping)?; // as the server, which gets it back
/// assert_eq!(server.sources(), [Source::Process(client.pid())]);
///
/// server.exit(Reason::error("burnt down"));
/// assert_eq!(client.ended().unwrap().to_string(), "burnt down");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Probe<'k, M> {
    kit: &'k TestKit,
    address: Address<M>,
    heard: Arc<Mutex<Vec<(Source, M)>>>,
}

impl<M> fmt::Debug for Probe<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl<M: Send + 'static> Probe<'_, M> {
    /// Its number.
    pub fn pid(&self) -> Pid {
        self.address.pid()
    }

    /// Its typed address.
    pub fn address(&self) -> &Address<M> {
        &self.address
    }

    /// Takes what it was sent since the last time, oldest first.
    pub fn take(&self) -> Vec<M> {
        let heard = self.take_with_sources().into_iter();
        heard.map(|(_, message)| message).collect()
    }

    /// Takes what it was sent since the last time, and tells who sent it.
    pub fn take_with_sources(&self) -> Vec<(Source, M)> {
        self.kit.run();
        std::mem::take(&mut lock(&self.heard))
    }

    /// Who sent what it has not yet given out.
    pub fn sources(&self) -> Vec<Source> {
        self.kit.run();
        lock(&self.heard).iter().map(|(from, _)| *from).collect()
    }

    /// Sends a message in the name of the probe, and runs what that causes.
    ///
    /// # Errors
    ///
    /// As [`Ctx::send`].
    pub fn send<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<(), SendError<T>> {
        let from = Source::Process(self.pid());
        self.kit.inner.send(from, &to.into(), message)?;
        self.kit.run();
        Ok(())
    }

    /// Ends it with this reason, which whoever watches it is told, and runs what that causes.
    pub fn exit(&self, reason: Reason) {
        self.kit.node.exit(self.pid(), reason);
        self.kit.run();
    }
}

/// The actor behind a probe.
struct Recorder<M> {
    heard: Arc<Mutex<Vec<(Source, M)>>>,
}

impl<M: Protocol> Actor for Recorder<M> {
    type Msg = M;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, from: Source, message: M) -> Flow {
        lock(&self.heard).push((from, message));
        Ok(())
    }
}

/// The time of a kit, and what its worker waits for.
struct Clock(Mutex<Time>);

struct Time {
    now: Instant,
    /// The next timer, as the worker last knew it.
    next: Option<Instant>,
    /// The worker is not to return before it has looked at its timers.
    busy: bool,
}

impl Clock {
    fn begin(&self) {
        lock(&self.0).busy = true;
    }

    fn next(&self) -> Option<Instant> {
        lock(&self.0).next
    }

    fn is_due(&self) -> bool {
        let time = lock(&self.0);
        time.next.is_some_and(|next| next <= time.now)
    }

    fn set(&self, now: Instant) {
        lock(&self.0).now = now;
    }
}

impl DriverRemote for Clock {
    fn wake(&self) {}

    fn now(&self) -> Instant {
        lock(&self.0).now
    }
}

/// The driver of a worker that is driven by hand: it never waits.
struct ByHand(Arc<Clock>);

impl Driver for ByHand {
    fn turn(&mut self, wait: Wait, _may_sleep: &dyn Fn() -> bool) {
        let mut time = lock(&self.0.0);
        match wait {
            Wait::No => {}
            Wait::Until(at) => {
                time.next = Some(at);
                time.busy = at <= time.now;
            }
            Wait::Forever => {
                time.next = None;
                time.busy = false;
            }
        }
    }

    fn handled(&mut self, receipts: &mut Vec<Receipt>) {
        receipts.clear();
    }

    fn flush(&mut self) {}

    fn is_busy(&self) -> bool {
        lock(&self.0.0).busy
    }
}
