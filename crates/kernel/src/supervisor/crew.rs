//! Carries out what the [`Rules`] say, for whichever actor they belong to.

use std::collections::HashMap;
use std::time::Instant;

use crate::actor::{Actor, Down};
use crate::ctx::Ctx;
use crate::error::SpawnError;
use crate::guard::{caught, contain};
use crate::id::{Pid, Target};
use crate::protocol;
use crate::reason::{Flow, Reason};
use crate::supervisor::rules::{ChildId, Command, Rules, State};
use crate::timer::TimerRef;

/// The time that the rules were waiting for has come.
#[derive(Debug)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "only a supervisor sends it, to itself")]
pub struct Tick;
protocol!(Tick);

/// The children of a process, the rules for them, and which process each of them is.
pub(crate) struct Crew {
    pub(crate) rules: Rules,
    pids: HashMap<ChildId, Pid>,
    ids: HashMap<Pid, ChildId>,
    timer: Option<(Instant, TimerRef)>,
}

/// An actor with a crew.
pub(crate) trait Host: Actor {
    fn crew(&mut self) -> &mut Crew;

    /// A [`Tick`], as it comes to this actor.
    fn tick() -> Self::Msg;

    /// Starts one child.
    fn start(&mut self, ctx: &mut Ctx<'_, Self>, id: ChildId) -> Result<Pid, SpawnError>;

    /// A child has been started.
    fn started(&mut self, ctx: &mut Ctx<'_, Self>, id: ChildId, pid: Pid);

    /// A child has ended, or was given up: then its reason is `None`.
    fn ended(&mut self, ctx: &mut Ctx<'_, Self>, id: ChildId, pid: Pid, reason: Option<&Reason>);

    /// Somebody asked for this child, and it could not be started.
    fn refused(&mut self, error: SpawnError);

    /// Nothing will be asked of this place again.
    fn forget(&mut self, id: ChildId);
}

impl Crew {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            pids: HashMap::new(),
            ids: HashMap::new(),
            timer: None,
        }
    }

    /// The process that a child is now.
    pub(crate) fn pid(&self, id: ChildId) -> Option<Pid> {
        self.pids.get(&id).copied()
    }

    /// A child that was told to end.
    fn stopping(&self) -> Option<Pid> {
        let mut children = self.rules.children();
        let is_stopping = |state: State| matches!(state, State::Stopping(_));
        let child = children.find(|(_, _, state, _)| is_stopping(*state));
        self.pid(child?.0)
    }

    fn set_pid(&mut self, id: ChildId, pid: Pid) {
        self.pids.insert(id, pid);
        self.ids.insert(pid, id);
    }

    fn lose(&mut self, id: ChildId) -> Option<Pid> {
        let pid = self.pids.remove(&id)?;
        self.ids.remove(&pid);
        Some(pid)
    }
}

/// Starts the crew for the first time.
///
/// # Errors
///
/// Why the first child that could not be started could not. Those that were started before it have
/// ended by then, in their order.
pub(crate) fn begin<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>) -> Flow {
    ctx.supervise();
    host.crew().rules.begin();
    work(host, ctx)?;
    match host.crew().rules.ending().cloned() {
        None => Ok(()),
        Some(_) if ctx.may_wait() => wait_for_ends(host, ctx),
        // Nobody would run them meanwhile. They are told to end, without order, when this fails.
        Some(reason) => Err(reason),
    }
}

/// Ends the crew before `init` is over, when no notice can come.
fn wait_for_ends<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>) -> Flow {
    loop {
        let next = host.crew().rules.next_tick();
        let stopping = host.crew().stopping();
        let pid = stopping.expect("who does not end has children that are told to");
        let now = ctx.now();
        let reason = match (ctx.node().monitor(pid), next) {
            (Ok(ended), None) => Some(ended.wait().reason),
            (Ok(ended), Some(at)) => {
                let down = ended.wait_for(at.saturating_duration_since(now));
                down.map(|down| down.reason)
            }
            // It has ended before we looked, so nobody can tell.
            (Err(_), _) => Some(Reason::NoProcess),
        };
        match reason {
            Some(reason) => down(host, ctx, &Down::new(Target::Pid(pid), reason))?,
            None => tick(host, ctx)?,
        }
    }
}

/// Runs what a host does in a callback. A panic of the user's that nothing in there contains ends it,
/// but as anything does: its children go first, in their order.
pub(crate) fn guarded<H: Host>(
    host: &mut H,
    ctx: &mut Ctx<'_, H>,
    work: impl FnOnce(&mut H, &mut Ctx<'_, H>) -> Flow,
) -> Flow {
    let done = caught(|| Ok(work(host, ctx)));
    done.unwrap_or_else(|panic| shut_down(host, ctx, &panic))
}

/// One child has ended, if it is one of ours.
pub(crate) fn down<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>, down: &Down) -> Flow {
    let Target::Pid(pid) = down.target else {
        return Ok(());
    };
    let Some(id) = host.crew().ids.get(&pid).copied() else {
        return Ok(());
    };
    host.crew().lose(id);
    let told = caught(|| {
        host.ended(ctx, id, pid, Some(&down.reason));
        Ok(())
    });
    let now = ctx.now();
    let rules = &mut host.crew().rules;
    rules.ended(id, &down.reason, now);
    if let Err(panic) = told {
        rules.shut_down(&panic, now);
    }
    work(host, ctx)
}

/// Somebody ends the process: its children go first.
pub(crate) fn shut_down<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>, reason: &Reason) -> Flow {
    host.crew().rules.shut_down(reason, ctx.now());
    work(host, ctx)
}

pub(crate) fn tick<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>) -> Flow {
    let crew = host.crew();
    crew.timer = None;
    crew.rules.tick(ctx.now());
    work(host, ctx)
}

/// Carries out what is to be done now.
pub(crate) fn work<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>) -> Flow {
    while let Some(command) = host.crew().rules.poll() {
        match command {
            Command::Start(id) => start(host, ctx, id),
            Command::Stop(id, reason) => {
                if let Some(pid) = host.crew().pid(id) {
                    ctx.exit(pid, reason);
                }
            }
            Command::Kill(id) => {
                if let Some(pid) = host.crew().pid(id) {
                    ctx.exit(pid, Reason::Kill);
                }
            }
            Command::GiveUp(id) => give_up(host, ctx, id),
            Command::Forget(id) => host.forget(id),
            Command::End(reason) => return Err(reason),
        }
    }
    let next = host.crew().rules.next_tick();
    let timer = host.crew().timer;
    if timer.map(|(at, _)| at) != next {
        if let Some((_, timer)) = timer {
            ctx.cancel(timer);
        }
        let now = ctx.now();
        let arm = |at: Instant| {
            (
                at,
                ctx.wake_after(at.saturating_duration_since(now), H::tick()),
            )
        };
        host.crew().timer = next.map(arm);
    }
    Ok(())
}

fn start<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>, id: ChildId) {
    // What makes a child is user code, and its panic is this child's failure.
    let outcome = caught(|| Ok(host.start(ctx, id)));
    let now = ctx.now();
    match outcome.unwrap_or_else(|panic| Err(SpawnError::Init(panic))) {
        Ok(pid) => {
            host.crew().set_pid(id, pid);
            host.crew().rules.started(id);
            let told = caught(|| {
                host.started(ctx, id, pid);
                Ok(())
            });
            if let Err(panic) = told {
                host.crew().rules.shut_down(&panic, ctx.now());
            }
        }
        Err(error) => {
            let rules = &mut host.crew().rules;
            let is_asked = rules.is_asked(id);
            if is_asked {
                rules.start_failed(id, error.clone().into(), now);
                host.refused(error);
            } else if matches!(error, SpawnError::Stopping | SpawnError::ParentGone) {
                // The node is stopping, or this process is: there is nothing to start for.
                rules.shut_down(&Reason::Shutdown, now);
            } else {
                // The error's text is user code.
                let name = rules.name(id);
                contain(ctx.pid(), || {
                    log::warn!("{name} cannot be started: {error}")
                });
                rules.start_failed(id, error.into(), now);
            }
        }
    }
}

fn give_up<H: Host>(host: &mut H, ctx: &mut Ctx<'_, H>, id: ChildId) {
    let Some(pid) = host.crew().lose(id) else {
        return;
    };
    log::error!(
        "{pid} does not end although it was killed: its handler does not return. Its supervisor \
         goes on without it, and its name stays taken"
    );
    let told = caught(|| {
        host.ended(ctx, id, pid, None);
        Ok(())
    });
    if let Err(panic) = told {
        let now = ctx.now();
        host.crew().rules.shut_down(&panic, now);
    }
}
