//! Meta-processes: they end with their owner, before anyone is told of its end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lab::{Do, Handle, Msg, PATIENCE, Plan, Puppet, hear, node, stop, until};
use socktree_kernel::{
    Alias, CallError, Ctx, Envelope, Inspection, Meta, MetaExit, MetaLife, MetaPort, MetaScope,
    Reason, RelationError, Reply, SendError, Source, SpawnError, SpawnOptions,
};

/// Tells the test what it is told, and ends when the test says so.
struct Port {
    exits: Sender<MetaExit>,
    numbers: Sender<(Source, u64)>,
}

impl MetaPort for Port {
    fn send(&self, from: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        let number = message.open().map_err(SendError::NotAccepted)?;
        self.numbers.send((from, number)).unwrap();
        Ok(())
    }

    fn exit(&self, why: MetaExit) {
        let _nobody_listens = self.exits.send(why);
    }

    fn inspect(&self) -> Inspection {
        vec![("kind", "port".to_owned())]
    }
}

/// A port to be registered.
struct Plain;

/// The test's hold on one.
struct Held {
    life: Option<MetaLife>,
    alias: Alias,
    exits: Receiver<MetaExit>,
    numbers: Receiver<(Source, u64)>,
}

impl Held {
    fn register(scope: &MetaScope) -> Result<Self, SpawnError> {
        let (exits, told) = unbounded();
        let (numbers, sent) = unbounded();
        let alias = scope.new_alias();
        let life = scope.register(alias, Arc::new(Port { exits, numbers }))?;
        assert_eq!(life.alias(), alias);
        Ok(Self {
            life: Some(life),
            alias,
            exits: told,
            numbers: sent,
        })
    }

    /// Starts one for a process.
    fn of(owner: &Handle) -> Self {
        owner.run(|ctx| ctx.spawn_meta(Plain)).unwrap()
    }

    fn life(&mut self) -> &mut MetaLife {
        self.life.as_mut().unwrap()
    }

    fn end(&mut self, reason: &Reason) {
        self.life.take().unwrap().end(reason);
    }
}

impl Meta<Puppet> for Plain {
    type Handle = Held;
    type Error = SpawnError;

    fn spawn(self, ctx: &mut Ctx<'_, Puppet>) -> Result<Held, SpawnError> {
        Held::register(&ctx.meta_scope())
    }
}

#[test]
fn an_alias_is_an_address() {
    let node = node(1);
    let owner = Handle::new(&node);
    let mut meta = Held::of(&owner);
    let alias = meta.alias;
    let pid = owner.pid();
    owner.run(move |ctx| ctx.send(alias, 1_u64)).unwrap();
    node.send(alias, 2_u64).unwrap();
    assert_eq!(hear(&meta.numbers), (Source::Process(pid), 1));
    assert_eq!(hear(&meta.numbers), (Source::Outside, 2));
    match node.send(alias, "text") {
        Err(SendError::NotAccepted(text)) => assert_eq!(text, "text"),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.inspect(alias).unwrap(), [("kind", "port".to_owned())]);
    assert!(node.whereis(alias).is_none(), "it is no process");
    // P-07: and not its owner's to delete.
    let deleted = owner.run(move |ctx| ctx.delete_alias(alias));
    assert_eq!(deleted, Err(RelationError::NotOwner(pid)));
    meta.end(&Reason::Normal);
    assert!(matches!(
        node.send(alias, 3_u64),
        Err(SendError::Unknown(3))
    ));
    assert!(node.inspect(alias).is_none());
    stop(&node);
}

/// The owner gets messages in the meta-process's name (M-09).
#[test]
fn m_09_a_message_says_which_meta_process_sent_it() {
    let node = node(1);
    let owner = Handle::new(&node);
    let mut meta = Held::of(&owner);
    let sink = owner.run(|ctx| ctx.sink::<Msg>());
    let (alias, parent) = (meta.alias, owner.pid());
    let from = Source::Meta { alias, parent };
    sink.deliver(from, socktree_kernel::Receipt::NONE, Msg::from(5_u64))
        .ok()
        .unwrap();
    assert_eq!(owner.number(), (from, 5));
    meta.end(&Reason::Normal);
    stop(&node);
}

/// P-04: sockets are closed before names are free, and names are free before anyone is told.
#[test]
fn p_04_an_end_is_told_after_every_meta_process_has_ended() {
    let node = node(2);
    let owner = Plan::default().options(SpawnOptions::new().name("server"));
    let owner = owner.start(&node).unwrap();
    let mut metas: Vec<_> = (0..3).map(|_| Held::of(&owner)).collect();
    let ended = node.monitor(&owner.address).unwrap();
    owner.tell(|_| Err(Reason::error("over")));
    for meta in &metas {
        match hear(&meta.exits) {
            MetaExit::ParentEnded(reason) => assert_eq!(reason.to_string(), "over"),
            other => panic!("{other:?}"),
        }
    }
    while let Some(mut meta) = metas.pop() {
        assert_eq!(node.whereis("server"), Some(owner.pid()));
        assert!(ended.wait_for(std::time::Duration::ZERO).is_none());
        assert!(owner.noted().is_none());
        assert!(node.processes()[0].ending);
        assert_eq!(node.processes()[0].metas, metas.len() + 1);
        // It is deaf already.
        assert!(matches!(
            owner.address.send(1_u64),
            Err(SendError::Terminated(_))
        ));
        meta.end(&Reason::Normal);
    }
    assert_eq!(ended.wait().reason.to_string(), "over");
    assert!(node.whereis("server").is_none());
    stop(&node);
}

/// M-03: nothing is started for an owner that has begun to end.
#[test]
fn m_03_an_ending_owner_starts_nothing() {
    let node = node(2);
    let owner = Handle::new(&node);
    let scope = owner.run(|ctx| ctx.meta_scope());
    let mut meta = Held::of(&owner);
    owner.tell(|_| Err(Reason::Normal));
    hear(&meta.exits);
    for _ in 0..2 {
        assert!(matches!(
            Held::register(&scope),
            Err(SpawnError::ParentGone)
        ));
        let spawned = scope.spawn::<_, socktree_kernel::NoMessages>(Idle, &SpawnOptions::new());
        assert!(matches!(spawned.map(|_| ()), Err(SpawnError::ParentGone)));
        assert_eq!(node.info().processes, usize::from(meta.life.is_some()));
        if meta.life.is_some() {
            meta.end(&Reason::Normal);
            owner.end();
            until("the owner has ended", || node.info().processes == 0);
        }
    }
    stop(&node);
}

/// Does nothing.
struct Idle;

impl socktree_kernel::Actor for Idle {
    type Msg = socktree_kernel::NoMessages;

    fn handle(
        &mut self,
        _: &mut Ctx<'_, Self>,
        _: Source,
        never: Self::Msg,
    ) -> socktree_kernel::Flow {
        match never {}
    }
}

/// Ends itself on the thread that tells it to.
#[derive(Default)]
struct Prompt(Mutex<(bool, Option<MetaLife>)>);

impl Prompt {
    /// Registers one, unless it is told to end meanwhile.
    fn register(scope: &MetaScope) -> Result<(), SpawnError> {
        let prompt = Arc::new(Self::default());
        let life = scope.register(scope.new_alias(), Arc::clone(&prompt) as _)?;
        let mut state = prompt.0.lock().unwrap();
        if state.0 {
            drop(state);
            life.end(&Reason::Normal);
        } else {
            state.1 = Some(life);
        }
        Ok(())
    }
}

impl MetaPort for Prompt {
    fn send(&self, _: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        Err(SendError::NotAccepted(message))
    }

    fn exit(&self, _: MetaExit) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let life = state.1.take();
        drop(state);
        drop(life);
    }

    fn inspect(&self) -> Inspection {
        Vec::new()
    }
}

/// M-03 as the race it was: registrations from two threads while the parent ends.
#[test]
fn m_03_registration_races_with_the_owners_end() {
    let node = node(2);
    for _ in 0..200 {
        let owner = Handle::new(&node);
        let scope = owner.run(|ctx| ctx.meta_scope());
        thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| while Prompt::register(&scope).is_ok() {});
            }
            owner.tell(|_| Err(Reason::Normal));
        });
        owner.end();
    }
    until("the owners have ended", || node.info().processes == 0);
    assert_eq!(node.info().aliases, 0);
    stop(&node);
}

#[test]
fn a_meta_process_is_watched_like_a_process() {
    let node = node(1);
    let (owner, watcher) = (Handle::new(&node), Handle::new(&node));
    let mut meta = Held::of(&owner);
    let alias = meta.alias;
    watcher.run(move |ctx| {
        ctx.trap_exit(true);
        ctx.link(alias).unwrap();
        ctx.monitor(alias).unwrap();
    });
    // Asked to end, it ends when it likes.
    owner.run(move |ctx| ctx.exit(alias, Reason::error("please")));
    match hear(&meta.exits) {
        MetaExit::Requested(reason) => assert_eq!(reason.to_string(), "please"),
        other => panic!("{other:?}"),
    }
    watcher.run(|_| ());
    assert!(watcher.noted().is_none());
    meta.end(&Reason::error("all right"));
    assert_eq!(watcher.exit().1.to_string(), "all right");
    assert_eq!(watcher.down().1.to_string(), "all right");
    owner.run(|_| ());
    assert_eq!(node.info().relations, 0);
    stop(&node);
}

/// There is no cleanup to forget.
#[test]
fn dropping_its_life_ends_a_meta_process() {
    let node = node(1);
    let owner = Handle::new(&node);
    let mut meta = Held::of(&owner);
    let ended = node.monitor(meta.alias).unwrap();
    meta.life = None;
    assert!(matches!(ended.wait().reason, Reason::Kill));
    owner.tell(|_| Err(Reason::Normal));
    owner.end();
    stop(&node);
}

/// Tied to another process than its parent, it ends with either.
#[test]
fn a_meta_process_ends_with_the_process_it_is_bound_to() {
    let node = node(2);
    let (parent, first, second) = (Handle::new(&node), Handle::new(&node), Handle::new(&node));
    let mut meta = Held::of(&parent);
    meta.life().bind(first.pid()).unwrap();
    // Bound anew, it is no concern of the first any more, which does not wait for it.
    meta.life().bind(second.pid()).unwrap();
    first.tell(|_| Err(Reason::Normal));
    first.end();
    assert!(meta.exits.try_recv().is_err());
    assert!(matches!(
        meta.life().bind(first.pid()),
        Err(SpawnError::ParentGone)
    ));
    second.tell(|_| Err(Reason::error("gone")));
    match hear(&meta.exits) {
        MetaExit::OwnerEnded(reason) => assert_eq!(reason.to_string(), "gone"),
        other => panic!("{other:?}"),
    }
    assert!(second.noted().is_none(), "it waits");
    // Back to the parent alone.
    let own = meta.life().parent();
    meta.life().bind(own).unwrap();
    assert_eq!(second.end().to_string(), "gone");
    assert!(matches!(
        meta.life().bind(second.pid()),
        Err(SpawnError::ParentGone)
    ));
    parent.tell(|_| Err(Reason::Normal));
    assert!(matches!(
        hear(&meta.exits),
        MetaExit::ParentEnded(Reason::Normal)
    ));
    meta.end(&Reason::Normal);
    parent.end();
    stop(&node);
}

/// M-08: one that its parent cannot do without ends it, as a link would.
#[test]
fn m_08_a_meta_process_can_end_its_parent() {
    let node = node(1);
    let owner = Handle::new(&node);
    let (scope, mut meta) = owner.run(|ctx| (ctx.meta_scope(), ctx.spawn_meta(Plain).unwrap()));
    owner.run(|ctx| ctx.trap_exit(true));
    scope.fail_parent(meta.alias, Reason::error("deaf"));
    assert_eq!(owner.exit().0, meta.alias.into());
    owner.run(|ctx| ctx.trap_exit(false));
    scope.fail_parent(meta.alias, Reason::error("deaf"));
    hear(&meta.exits);
    meta.end(&Reason::Normal);
    assert_eq!(owner.end().to_string(), "deaf");
    stop(&node);
}

/// A failed `init` is told once what it had opened is closed, so that it can be tried again.
#[test]
fn a_failed_init_waits_for_its_meta_processes() {
    let node = node(1);
    let (tell, told) = bounded(1);
    let (done, outcome) = bounded(1);
    let starter = node.clone();
    thread::spawn(move || {
        let plan = Plan::init(move |ctx| {
            tell.send(ctx.spawn_meta(Plain)?).unwrap();
            Err(Reason::error("cannot"))
        });
        done.send(plan.start(&starter).map(|_| ())).unwrap();
    });
    let mut meta = hear(&told);
    assert!(matches!(hear(&meta.exits), MetaExit::ParentEnded(_)));
    assert!(outcome.try_recv().is_err());
    meta.end(&Reason::Normal);
    assert!(matches!(hear(&outcome), Err(SpawnError::Init(_))));
    stop(&node);
}

/// P-01, M-06: an address is never given twice, however many come and go meanwhile.
#[test]
fn p_01_m_06_three_hundred_thousand_aliases_are_all_different() {
    let node = node(1);
    let owner = Handle::new(&node);
    let mut meta = Held::of(&owner);
    let long = meta.alias;
    owner.run(move |ctx| {
        // Many at the same time, and given up from the front.
        let mut last = long;
        for _ in 0..10 {
            let aliases: Vec<_> = (0..30_000).map(|_| ctx.create_alias()).collect();
            for alias in aliases {
                assert!(alias > last, "{alias} after {last}");
                last = alias;
                ctx.delete_alias(alias).unwrap();
            }
        }
    });
    node.send(long, 1_u64).unwrap();
    assert_eq!(hear(&meta.numbers).1, 1);
    assert_eq!(node.info().aliases, 1);
    meta.end(&Reason::Normal);
    stop(&node);
}

/// P-04: nor are those who wait for an answer, whose call nobody has come to.
#[test]
fn p_04_a_waiting_call_is_told_no_sooner_than_a_watcher() {
    let node = node(2);
    for metas in [1, 0] {
        let (owner, caller) = (Plan::default(), Handle::new(&node));
        let owner = owner.options(SpawnOptions::new().name("server"));
        let owner = owner.start(&node).unwrap();
        let mut metas: Vec<_> = (0..metas).map(|_| Held::of(&owner)).collect();
        let (go_on, goes_on) = bounded::<()>(0);
        owner.tell(move |ctx| {
            let _released = ctx.blocking(|| goes_on.recv());
            Err(Reason::error("over"))
        });
        let (server, seen) = (owner.address.clone(), node.clone());
        caller.run(move |ctx| {
            let ask = |reply: Reply<u64>| {
                Do::new(move |_| {
                    reply.send(1);
                    Ok(())
                })
            };
            let then = move |answer: Result<u64, CallError>| {
                let is_free = seen.whereis("server").is_none();
                let is_told = matches!(answer, Err(CallError::Ended(_)));
                Msg::Text(if is_free && is_told {
                    "over"
                } else {
                    "too soon"
                })
            };
            ctx.request_to(&server, ask, PATIENCE, then);
        });
        drop(go_on);
        while let Some(mut meta) = metas.pop() {
            hear(&meta.exits);
            caller.run(|_| ());
            assert!(caller.noted().is_none());
            meta.end(&Reason::Shutdown);
        }
        assert_eq!(caller.text().1, "over");
        assert_eq!(owner.end().to_string(), "over");
    }
    stop(&node);
}
