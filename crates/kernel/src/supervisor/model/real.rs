//! A real supervisor with real children, in a test kit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::bare::word;
use super::schedule::{Fate, Kid, Op, Setup, text};
use crate::actor::Actor;
use crate::call::{Reply, Waiting};
use crate::ctx::Ctx;
use crate::error::{SendError, SpawnError};
use crate::id::{Alias, Pid};
use crate::message::{Address, Envelope, Source};
use crate::meta::{Inspection, Meta, MetaExit, MetaLife, MetaPort};
use crate::node::Ended;
use crate::protocol;
use crate::reason::{Flow, Reason};
use crate::supervisor::spec::Strategy;
use crate::supervisor::{
    AddChild, ChildError, ChildSpec, DisableChild, EnableChild, StartChild, Supervisor,
    SupervisorMsg,
};
use crate::sync::lock;
use crate::test_kit::TestKit;

/// What the children and the test share.
#[derive(Default)]
struct World {
    began: Option<Instant>,
    now: u64,
    log: Vec<String>,
    failures: HashMap<usize, usize>,
    /// Which place a process stands in.
    places: HashMap<Pid, usize>,
    /// The latest process of each place.
    current: HashMap<usize, Pid>,
    anchors: HashMap<Pid, Anchor>,
}

/// A meta-process of a child's, which keeps it from ending for as long as it is held.
struct Anchor {
    held: bool,
    /// Nobody has told it to: it ends by itself.
    by_itself: bool,
    told: Option<Reason>,
    life: Option<MetaLife>,
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn say(&mut self, what: impl std::fmt::Display) {
        self.log.push(format!("{}: {what}", self.now));
    }
}

struct Die(Fate);
protocol!(Die);

struct Child {
    place: usize,
    world: Shared,
}

impl Actor for Child {
    type Msg = Die;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let mut world = lock(&self.world);
        let failures = world.failures.entry(self.place).or_default();
        if *failures > 0 {
            *failures -= 1;
            return Err(Reason::error("cannot start"));
        }
        world.places.insert(ctx.pid(), self.place);
        world.current.insert(self.place, ctx.pid());
        drop(world);
        ctx.spawn_meta(Hook(Arc::clone(&self.world)))?;
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, die: Die) -> Flow {
        if let Some(anchor) = lock(&self.world).anchors.get_mut(&ctx.pid()) {
            anchor.by_itself = true;
        }
        Err(die.0.reason())
    }
}

/// The anchor, as a meta-process.
struct Hook(Shared);

struct HookPort {
    owner: Pid,
    world: Shared,
}

impl Meta<Child> for Hook {
    type Handle = Alias;
    type Error = SpawnError;

    fn spawn(self, ctx: &mut Ctx<'_, Child>) -> Result<Alias, SpawnError> {
        let (scope, owner) = (ctx.meta_scope(), ctx.pid());
        let alias = scope.new_alias();
        let world = Arc::clone(&self.0);
        let life = scope.register(alias, Arc::new(HookPort { owner, world }))?;
        let anchor = Anchor {
            held: false,
            by_itself: false,
            told: None,
            life: Some(life),
        };
        lock(&self.0).anchors.insert(owner, anchor);
        Ok(alias)
    }
}

impl MetaPort for HookPort {
    fn send(&self, _: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        Err(SendError::NotAccepted(message))
    }

    fn exit(&self, why: MetaExit) {
        let MetaExit::ParentEnded(reason) = why else {
            panic!("{why:?}");
        };
        let mut world = lock(&self.world);
        let place = world.places[&self.owner];
        let anchor = world.anchors.get_mut(&self.owner).expect("it is tied");
        anchor.told = Some(reason.clone());
        let life = if anchor.held {
            None
        } else {
            anchor.life.take()
        };
        if !anchor.by_itself {
            world.say(format!("told {place} {}", text(&reason)));
        }
        drop(world);
        if let Some(life) = life {
            life.end(&reason);
        }
    }

    fn inspect(&self) -> Inspection {
        Inspection::new()
    }
}

type Answer = Arc<Waiting<Result<(), ChildError>>>;

pub(super) struct Real {
    kit: TestKit,
    world: Shared,
    supervisor: Address<SupervisorMsg>,
    ended: Ended,
    over: bool,
    simple: bool,
    specs: usize,
    places: usize,
    /// What is disabled, and the answer if that has not come at once.
    leaving: Vec<(usize, Option<Answer>)>,
}

impl Real {
    pub(super) fn new(setup: &Setup) -> Self {
        let kit = TestKit::new();
        let world = Shared::default();
        lock(&world).began = Some(kit.now());
        let simple = setup.strategy == Strategy::SimpleOneForOne;
        let mut supervisor = match setup.strategy {
            Strategy::OneForOne => Supervisor::one_for_one(),
            Strategy::AllForOne => Supervisor::all_for_one(),
            Strategy::RestForOne => Supervisor::rest_for_one(),
            Strategy::SimpleOneForOne => Supervisor::simple_one_for_one(),
        };
        for (n, kid) in setup.kids.iter().enumerate() {
            supervisor = supervisor.child_spec(spec(&world, simple, n, *kid));
        }
        let seconds = Duration::from_secs;
        let (up, gone) = (Arc::clone(&world), Arc::clone(&world));
        let supervisor = supervisor
            .intensity(setup.intensity, seconds(setup.period))
            .retry_delay(seconds(setup.retry.0))
            .retry_delay_up_to(seconds(setup.retry.1))
            .keep_order(setup.keep_order)
            .auto_shutdown(setup.auto_shutdown)
            .on_start(move |_, _, pid| {
                let mut world = lock(&up);
                let place = world.places[&pid];
                world.say(format!("up {place}"));
            })
            .on_end(move |_, _, pid, reason| {
                let mut world = lock(&gone);
                let place = world.places[&pid];
                match reason {
                    Some(reason) => world.say(format!("gone {place} {}", text(reason))),
                    None => world.say(format!("gives up {place}")),
                }
            });
        let spawned = kit.node().spawn_monitored(supervisor);
        let (supervisor, ended) = spawned.expect("no start fails yet");
        kit.run();
        let kids = setup.kids.len();
        Self {
            kit,
            world,
            supervisor,
            ended,
            over: false,
            simple,
            specs: kids,
            places: if simple { 0 } else { kids },
            leaving: Vec::new(),
        }
    }

    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.world).log)
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match *op {
            Op::Advance(seconds) => {
                for _ in 0..seconds {
                    lock(&self.world).now += 1;
                    self.kit.advance(Duration::from_secs(1));
                    self.settle();
                }
            }
            Op::Start(n) | Op::Enable(n) | Op::Disable(n) => {
                if let Some(spec) = n.checked_rem(self.specs) {
                    self.manage(op, spec);
                }
            }
            Op::Add(kid) => {
                let spec = spec(&self.world, self.simple, self.specs, kid);
                let answer = self.ask(|reply| AddChild::new(spec, reply));
                if answer == "ok" {
                    self.specs += 1;
                    self.places += usize::from(!self.simple);
                }
                lock(&self.world).say(format!("add: {answer}"));
            }
            Op::Exit(clean) => {
                let node = self.kit.node();
                node.exit(&self.supervisor, Op::exit_reason(clean));
            }
            Op::End(n, fate) => self.end(n, fate),
            Op::Hold(n) => {
                if let Some(pid) = self.current(n)
                    && let Some(anchor) = lock(&self.world).anchors.get_mut(&pid)
                {
                    anchor.held = true;
                }
            }
            Op::Release(n) => self.release(n),
            Op::Fail(n, times) => {
                if let Some(n) = n.checked_rem(self.places) {
                    lock(&self.world).failures.insert(n, times);
                }
            }
        }
        self.settle();
    }

    /// The process in this place that its supervisor knows.
    fn current(&self, n: usize) -> Option<Pid> {
        let n = n.checked_rem(self.places)?;
        lock(&self.world).current.get(&n).copied()
    }

    fn end(&self, n: usize, fate: Fate) {
        let Some(pid) = self.current(n) else {
            return;
        };
        if matches!(fate, Fate::IsKilled) {
            let mut world = lock(&self.world);
            if let Some(anchor) = world.anchors.get_mut(&pid).filter(|a| a.told.is_none()) {
                anchor.by_itself = true;
            }
            drop(world);
            self.kit.node().exit(pid, Reason::Kill);
        } else {
            let _it_has_ended = self.kit.node().send(pid, Die(fate));
        }
    }

    fn release(&self, n: usize) {
        let Some(n) = n.checked_rem(self.places) else {
            return;
        };
        let mut freed = Vec::new();
        let mut world = lock(&self.world);
        let World {
            places, anchors, ..
        } = &mut *world;
        for (pid, anchor) in anchors {
            if places[pid] == n {
                anchor.held = false;
                if let Some(reason) = &anchor.told {
                    freed.extend(anchor.life.take().map(|life| (life, reason.clone())));
                }
            }
        }
        drop(world);
        for (life, reason) in freed {
            life.end(&reason);
        }
    }

    fn manage(&mut self, op: &Op, spec: usize) {
        let kind = if self.simple { "t" } else { "k" };
        let name = format!("{kind}{spec}");
        let answer = match op {
            Op::Start(_) if self.simple => {
                let place = self.places;
                let answer = self.ask(|reply| StartChild::instance(name, place, reply));
                self.places += usize::from(answer == "ok");
                answer
            }
            Op::Start(_) => self.ask(|reply| StartChild::new(name, reply)),
            Op::Enable(_) => self.ask(|reply| EnableChild::new(name, reply)),
            _ => {
                let (reply, waiting) = Waiting::new(None);
                if self
                    .supervisor
                    .send(DisableChild::new(name, reply))
                    .is_err()
                {
                    return lock(&self.world).say("manage: gone");
                }
                self.kit.run();
                match answer(&waiting) {
                    Some(Err(error)) => error,
                    Some(Ok(())) => return self.leaving.push((spec, None)),
                    None => return self.leaving.push((spec, Some(waiting))),
                }
            }
        };
        lock(&self.world).say(format!("manage: {answer}"));
    }

    fn ask<T: Send + 'static, M: Into<SupervisorMsg>>(
        &self,
        make: impl FnOnce(Reply<Result<T, ChildError>>) -> M,
    ) -> &'static str {
        let (reply, waiting) = Waiting::new(None);
        if self.supervisor.send(make(reply)).is_err() {
            return "gone";
        }
        self.kit.run();
        match answer(&waiting) {
            Some(Ok(_)) => "ok",
            Some(Err(error)) => error,
            None => panic!("no answer"),
        }
    }

    fn settle(&mut self) {
        self.kit.run();
        let ended = self.ended.wait_for(Duration::ZERO);
        self.over |= ended.is_some();
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain(|(spec, waiting)| {
            let waits = waiting.as_ref().is_some_and(|w| !w.is_answered());
            if !waits && !self.over {
                lock(&self.world).say(format!("disabled {spec}"));
            }
            waits
        });
        self.leaving = leaving;
        if let Some(down) = ended {
            let mut world = lock(&self.world);
            world.say(format!("over {}", text(&down.reason)));
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for n in 0..self.places {
            self.release(n);
        }
    }
}

/// The answer that has come; `None` as long as there is none.
fn answer<T: Send + 'static>(
    waiting: &Waiting<Result<T, ChildError>>,
) -> Option<Result<T, &'static str>> {
    if !waiting.is_answered() {
        return None;
    }
    let answer = waiting.wait(Duration::ZERO, || false);
    let answer = answer.expect("a supervisor that lives answers");
    Some(answer.map_err(|error| word(&error)))
}

fn spec(world: &Shared, simple: bool, n: usize, kid: Kid) -> ChildSpec {
    let world = Arc::clone(world);
    let make = move |place: usize| {
        lock(&world).say(format!("tries {place}"));
        let world = Arc::clone(&world);
        Child { place, world }
    };
    let spec = if simple {
        ChildSpec::template(format!("t{n}"), move |place: &usize| make(*place))
    } else {
        ChildSpec::new(format!("k{n}"), move || make(n))
    };
    let spec = spec.restart(kid.restart).shutdown(kid.shutdown);
    if kid.significant {
        spec.significant()
    } else {
        spec
    }
}
