//! A process that does what a test tells it to, and tells the test what happens to it.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use socktree_kernel::{
    Actor, Address, Ctx, Down, Exit, Flow, Node, NodeBuilder, Pid, Reason, Source, SpawnError,
    SpawnOptions, Target, protocol,
};

/// How long a test waits for what must happen. Only a failing test ever waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce(&mut Ctx<'_, Puppet>) -> Flow + Send>;

/// Something to do inside a process.
pub(crate) struct Do(Job);

impl Do {
    pub(crate) fn new(f: impl FnOnce(&mut Ctx<'_, Puppet>) -> Flow + Send + 'static) -> Self {
        Self(Box::new(f))
    }
}

protocol! {
    /// What a puppet takes.
    pub(crate) enum Msg { Do(Do), Number(u64), Text(&'static str) }
}

/// What happened to a puppet.
#[derive(Debug)]
pub(crate) enum Note {
    Number(Source, u64),
    Text(Source, &'static str),
    Down(Target, Reason),
    Exit(Target, Reason),
    Terminated(Reason),
}

/// The actor; what it is told to do in its callbacks comes from the test.
pub(crate) struct Puppet {
    notes: Sender<Note>,
    init: Option<Job>,
    terminate: Option<Job>,
    down: Option<fn(&mut Ctx<'_, Self>) -> Flow>,
}

/// Says how a puppet starts.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) options: SpawnOptions,
    pub(crate) init: Option<Job>,
    pub(crate) terminate: Option<Job>,
    pub(crate) down: Option<fn(&mut Ctx<'_, Puppet>) -> Flow>,
}

impl Plan {
    pub(crate) fn init(f: impl FnOnce(&mut Ctx<'_, Puppet>) -> Flow + Send + 'static) -> Self {
        let init: Option<Job> = Some(Box::new(f));
        Self {
            init,
            ..Self::default()
        }
    }

    pub(crate) fn terminate(f: impl FnOnce(&mut Ctx<'_, Puppet>) + Send + 'static) -> Self {
        let terminate: Option<Job> = Some(Box::new(|ctx| {
            f(ctx);
            Ok(())
        }));
        Self {
            terminate,
            ..Self::default()
        }
    }

    pub(crate) fn options(mut self, options: SpawnOptions) -> Self {
        self.options = options;
        self
    }

    fn actor(self) -> (Puppet, SpawnOptions, Receiver<Note>) {
        let (notes, heard) = unbounded();
        let puppet = Puppet {
            notes,
            init: self.init,
            terminate: self.terminate,
            down: self.down,
        };
        (puppet, self.options, heard)
    }

    /// Starts it without a parent.
    pub(crate) fn start(self, node: &Node) -> Result<Handle, SpawnError> {
        let (puppet, options, notes) = self.actor();
        let address = node.spawn_with(puppet, options)?;
        Ok(Handle { address, notes })
    }

    /// Starts it as a child of the process that `ctx` belongs to.
    pub(crate) fn start_in(self, ctx: &mut Ctx<'_, Puppet>) -> Result<Handle, SpawnError> {
        let (puppet, options, notes) = self.actor();
        let address = ctx.spawn_with(puppet, options)?;
        Ok(Handle { address, notes })
    }
}

impl Actor for Puppet {
    type Msg = Msg;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        self.init.take().map_or(Ok(()), |init| init(ctx))
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, from: Source, message: Msg) -> Flow {
        match message {
            Msg::Do(Do(job)) => return job(ctx),
            Msg::Number(n) => self.note(Note::Number(from, n)),
            Msg::Text(text) => self.note(Note::Text(from, text)),
        }
        Ok(())
    }

    fn down(&mut self, ctx: &mut Ctx<'_, Self>, down: Down) -> Flow {
        self.note(Note::Down(down.target, down.reason));
        self.down.map_or(Ok(()), |f| f(ctx))
    }

    fn exit(&mut self, _: &mut Ctx<'_, Self>, exit: Exit) -> Flow {
        self.note(Note::Exit(exit.from, exit.reason));
        Ok(())
    }

    fn terminate(&mut self, ctx: &mut Ctx<'_, Self>, reason: &Reason) {
        if let Some(job) = self.terminate.take() {
            let _flow = job(ctx);
        }
        self.note(Note::Terminated(reason.clone()));
    }
}

impl Puppet {
    fn note(&self, note: Note) {
        let _nobody_listens = self.notes.send(note);
    }
}

/// A test's hold on a puppet.
pub(crate) struct Handle {
    pub(crate) address: Address<Msg>,
    notes: Receiver<Note>,
}

impl Handle {
    pub(crate) fn new(node: &Node) -> Self {
        Plan::default().start(node).expect("an empty plan starts")
    }

    pub(crate) fn child(ctx: &mut Ctx<'_, Puppet>, options: SpawnOptions) -> Self {
        let plan = Plan::default().options(options);
        plan.start_in(ctx).expect("an empty plan starts")
    }

    pub(crate) fn pid(&self) -> Pid {
        self.address.pid()
    }

    /// Has the process do this some time.
    pub(crate) fn tell(&self, f: impl FnOnce(&mut Ctx<'_, Puppet>) -> Flow + Send + 'static) {
        let told = self.address.send(Do::new(f));
        told.expect("the puppet lives, and its mailbox has room");
    }

    /// Has the process do this, and waits for the outcome.
    pub(crate) fn run<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Ctx<'_, Puppet>) -> R + Send + 'static,
    ) -> R {
        let (done, outcome) = bounded(1);
        self.tell(move |ctx| {
            done.send(f(ctx)).expect("the test waits");
            Ok(())
        });
        outcome.recv_timeout(PATIENCE).expect("the puppet runs it")
    }

    /// What happened next.
    pub(crate) fn note(&self) -> Note {
        self.notes
            .recv_timeout(PATIENCE)
            .expect("something happens")
    }

    /// What has happened by now, if anything.
    pub(crate) fn noted(&self) -> Option<Note> {
        self.notes.try_recv().ok()
    }

    /// The next thing, which must be its end.
    pub(crate) fn end(&self) -> Reason {
        match self.note() {
            Note::Terminated(reason) => reason,
            other => panic!("{other:?} instead of an end"),
        }
    }

    /// The next thing, which must be a message.
    pub(crate) fn number(&self) -> (Source, u64) {
        match self.note() {
            Note::Number(from, n) => (from, n),
            other => panic!("{other:?} instead of a number"),
        }
    }

    /// The next thing, which must be a message.
    pub(crate) fn text(&self) -> (Source, &'static str) {
        match self.note() {
            Note::Text(from, text) => (from, text),
            other => panic!("{other:?} instead of a text"),
        }
    }

    /// The next thing, which must be a trapped exit.
    pub(crate) fn exit(&self) -> (Target, Reason) {
        match self.note() {
            Note::Exit(from, reason) => (from, reason),
            other => panic!("{other:?} instead of an exit"),
        }
    }

    /// The next thing, which must be a monitor's notice.
    pub(crate) fn down(&self) -> (Target, Reason) {
        match self.note() {
            Note::Down(target, reason) => (target, reason),
            other => panic!("{other:?} instead of a down notice"),
        }
    }
}

/// A node of this many workers.
pub(crate) fn node(workers: usize) -> Node {
    let builder = NodeBuilder::new("lab@localhost").workers(workers);
    builder.start().expect("threads can be started")
}

/// Stops a node, and sees that nothing is left of what was in it.
pub(crate) fn stop(node: &Node) {
    let report = node.stop().expect("a test is no handler");
    assert!(report.is_clean(), "{report}");
    let info = node.info();
    let left = [
        info.processes,
        info.names,
        info.aliases,
        info.relations,
        info.timers,
    ];
    assert_eq!(left, [0; 5], "{info:?}");
}

/// Waits for what other threads are just about to make true.
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Waits for a value from a channel.
pub(crate) fn hear<T>(channel: &Receiver<T>) -> T {
    channel.recv_timeout(PATIENCE).expect("it is sent in time")
}

// No test file needs all of this, and each is compiled with its own copy.
const _: fn(&Node) = |lab| {
    let puppet = Handle::new(lab);
    let _ = (
        puppet.pid(),
        puppet.note(),
        puppet.noted(),
        puppet.end(),
        puppet.down(),
    );
    let _ = (puppet.number(), puppet.text(), puppet.exit());
    let child = |ctx: &mut Ctx<'_, Puppet>| drop(Handle::child(ctx, SpawnOptions::new()));
    let _ = (
        puppet.run(child),
        Plan::init(|_| Ok(())),
        Plan::terminate(|_| ()),
    );
    until("it is over", || true);
    hear(&bounded::<()>(0).1);
    stop(&node(0));
};
