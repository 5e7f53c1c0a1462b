//! A supervisor: starts children, restarts those that end, and ends them before itself.

pub(crate) mod crew;
mod error;
mod manage;
#[cfg(test)]
mod model;
mod requests;
mod rules;
mod spec;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::actor::{Actor, Down, Exit};
use crate::ctx::Ctx;
use crate::error::SpawnError;
use crate::guard::{Foreign, caught};
use crate::id::{Name, Pid};
use crate::message::Source;
use crate::meta::Inspection;
use crate::reason::{Flow, Reason};

pub use error::ChildError;
pub use requests::{
    AddChild, ChildInfo, ChildState, DisableChild, EnableChild, ListChildren, RestartHistory,
    RestartInfo, StartChild, SupervisorMsg,
};
pub use spec::{AutoShutdown, ChildSpec, Restart, Shutdown, Strategy};

pub(crate) use crew::{Crew, Host, Tick};
use manage::Leaving;
pub(crate) use rules::{ChildId, Policy, Rules, Traits};

type Arguments = Foreign<Box<dyn Any + Send>>;
type OnStart = Box<dyn FnMut(&mut Ctx<'_, Supervisor>, &Name, Pid) + Send>;
type OnEnd = Box<dyn FnMut(&mut Ctx<'_, Supervisor>, &Name, Pid, Option<&Reason>) + Send>;

/// Supervises children: starts them in order, restarts those that end, and ends with them.
///
/// **Which** children are restarted when one has ended is said by how the supervisor is made:
/// [one for one](Self::one_for_one) that one alone, [all for one](Self::all_for_one) all,
/// [rest for one](Self::rest_for_one) that one and those after it; and
/// [simple one for one](Self::simple_one_for_one) has any number of unnamed children made from
/// templates. **Whether** it is restarted at all is said by [`Restart`], for each child.
///
/// **How often**: more than `intensity` restarts within `period` (default 5 in 5 seconds) end the
/// supervisor with [`Reason::RestartsExceeded`]. A group that is restarted together counts once. A
/// restart that fails counts as a further crash and is tried again after
/// [`retry_delay`](Self::retry_delay). Children that are to be restarted together are first
/// stopped, the last first, and none is started before all of them are gone.
///
/// **The end.** Whatever ends a supervisor, other than a kill, ends its children first: the last
/// that was started first, each with the time that its [`Shutdown`] gives it, and with the
/// supervisor's own reason. When all of them are gone, with their sockets closed and their names
/// free, those who watch the supervisor are told. A supervisor that is killed takes its children
/// with it without order: nobody is left who could wait for one after the other.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{Actor, Ctx, Flow, NodeBuilder, Source, Supervisor, protocol};
///
/// struct Work;
/// protocol!(Work);
/// struct Worker;
/// impl Actor for Worker {
///     type Msg = Work;
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: Work) -> Flow { Ok(()) }
/// }
///
/// let node = NodeBuilder::new("doc@localhost").start()?;
/// node.spawn(Supervisor::one_for_one().child("worker_0", || Worker).child("worker_1", || Worker))?;
/// node.send("worker_1", Work).expect("the children are started before spawn returns");
/// # node.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a supervisor does nothing until it is spawned"]
pub struct Supervisor {
    /// For children that do not say it themselves.
    restart: Restart,
    /// The first thing that is wrong with the specs.
    bad: Option<ChildError>,
    on_start: OnStart,
    on_end: OnEnd,
    crew: Crew,
    specs: Vec<Spec>,
    children: BTreeMap<ChildId, Child>,
    leaving: Vec<Leaving>,
    /// Why the child that somebody asked for just now could not be started.
    refused: Option<SpawnError>,
}

/// A child of its own, or a template.
struct Spec {
    spec: ChildSpec,
    /// As the supervisor said when it was added.
    restart: Restart,
    /// The place of a child; `None` for a template.
    id: Option<ChildId>,
    /// For a template: whether there may be instances.
    enabled: bool,
}

/// A place for a child, and what it is made from.
struct Child {
    spec: usize,
    arguments: Arguments,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.specs.iter().map(|spec| &spec.spec.name).collect();
        f.debug_struct("Supervisor")
            .field("strategy", &self.policy().strategy)
            .field("children", &names)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    fn new(strategy: Strategy) -> Self {
        let policy = Policy {
            strategy,
            intensity: 5,
            period: Duration::from_secs(5),
            retry: (Duration::from_millis(100), Duration::ZERO),
            keep_order: true,
            auto_shutdown: AutoShutdown::default(),
        };
        Self {
            restart: Restart::default(),
            bad: None,
            on_start: Box::new(|_, _, _| ()),
            on_end: Box::new(|_, _, _, _| ()),
            crew: Crew::new(Rules::new(policy)),
            specs: Vec::new(),
            children: BTreeMap::new(),
            leaving: Vec::new(),
            refused: None,
        }
    }

    /// Restarts a child that has ended, and no other: for children that do not need each other.
    pub fn one_for_one() -> Self {
        Self::new(Strategy::OneForOne)
    }

    /// Restarts all children when one has ended: for those that are of no use without each other.
    pub fn all_for_one() -> Self {
        Self::new(Strategy::AllForOne)
    }

    /// Restarts a child that has ended and those that were added after it: for those of which each
    /// needs the ones before it.
    pub fn rest_for_one() -> Self {
        Self::new(Strategy::RestForOne)
    }

    /// Has no children at first, but [templates](ChildSpec::template): any number of instances is
    /// started from them later. One that ends is restarted alone.
    pub fn simple_one_for_one() -> Self {
        Self::new(Strategy::SimpleOneForOne)
    }

    /// Adds a child that is made by `make`, each time anew, and registered under `name`.
    ///
    /// It is restarted as the last call of [`restart`](Self::restart) before this says.
    pub fn child<A: Actor>(
        self,
        name: impl Into<Name>,
        make: impl Fn() -> A + Send + 'static,
    ) -> Self {
        self.child_spec(ChildSpec::new(name, make))
    }

    /// Adds a child, or a template, of which more is to be said than a name.
    ///
    /// A bad one, such as a second of its name, makes the supervisor's spawn fail with a
    /// [`ChildError`] as the reason.
    pub fn child_spec(mut self, spec: ChildSpec) -> Self {
        if let Err(error) = self.place(spec) {
            self.bad.get_or_insert(error);
        }
        self
    }

    /// When the children added from here on are restarted. [`Restart::Transient`] by default.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How many restarts within what time are allowed. 5 within 5 seconds by default.
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        let policy = self.policy_mut();
        (policy.intensity, policy.period) = (restarts, period);
        self
    }

    /// How long to wait after a restart that failed. 100 ms by default.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.policy_mut().retry.0 = delay;
        self
    }

    /// Waits twice as long after each further failure in a row, up to this. By default the delay
    /// stays what it is.
    pub fn retry_delay_up_to(mut self, most: Duration) -> Self {
        self.policy_mut().retry.1 = most;
        self
    }

    /// Whether children are stopped one after the other, the last first, each when the one after
    /// it is gone. They are by default; `false` tells all of them at once, which is faster for
    /// many that do not need each other. Instances of templates are always told at once.
    pub fn keep_order(mut self, keep: bool) -> Self {
        self.policy_mut().keep_order = keep;
        self
    }

    /// What the ends of [significant](ChildSpec::significant) children mean. By default the first
    /// that has ended for good ends the supervisor.
    ///
    /// Only those count that ended by themselves, not those that were stopped or disabled. The
    /// supervisor ends with the child's reason.
    pub fn auto_shutdown(mut self, when: AutoShutdown) -> Self {
        self.policy_mut().auto_shutdown = when;
        self
    }

    /// Calls this in the supervisor's process when a child has been started, for the first time or
    /// again: with the name of the child or of its template. A panic in it ends the supervisor.
    pub fn on_start(
        mut self,
        call: impl FnMut(&mut Ctx<'_, Self>, &Name, Pid) + Send + 'static,
    ) -> Self {
        self.on_start = Box::new(call);
        self
    }

    /// Calls this in the supervisor's process when a child has ended, before it is restarted. The
    /// reason is `None` if it was [given up](Shutdown). A panic in it ends the supervisor.
    pub fn on_end(
        mut self,
        call: impl FnMut(&mut Ctx<'_, Self>, &Name, Pid, Option<&Reason>) + Send + 'static,
    ) -> Self {
        self.on_end = Box::new(call);
        self
    }

    fn policy(&self) -> &Policy {
        self.crew.rules.policy()
    }

    fn policy_mut(&mut self) -> &mut Policy {
        self.crew.rules.policy_mut()
    }

    /// Keeps a spec; a child gets its place. Gives out that of a child.
    fn place(&mut self, spec: ChildSpec) -> Result<Option<ChildId>, ChildError> {
        let restart = self.restart;
        let traits = spec.traits(restart);
        let is_simple = self.policy().strategy == Strategy::SimpleOneForOne;
        if is_simple != traits.instance {
            return Err(ChildError::WrongKind(spec.name));
        }
        if traits.significant && traits.restart == Restart::Permanent {
            return Err(ChildError::PermanentSignificant(spec.name));
        }
        if self.specs.iter().any(|other| other.spec.name == spec.name) {
            return Err(ChildError::Duplicate(spec.name));
        }
        let id = (!is_simple).then(|| self.crew.rules.place(traits));
        if let Some(id) = id {
            let (spec, none) = (self.specs.len(), Box::new(()));
            let arguments = Foreign::new(none as Box<dyn Any + Send>);
            self.children.insert(id, Child { spec, arguments });
        }
        self.specs.push(Spec {
            spec,
            restart,
            id,
            enabled: true,
        });
        Ok(id)
    }
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        if let Some(error) = self.bad.take() {
            return Err(error.into());
        }
        crew::begin(self, ctx)
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _from: Source, message: SupervisorMsg) -> Flow {
        crew::guarded(self, ctx, |this, ctx| this.answer(ctx, message))
    }

    fn down(&mut self, ctx: &mut Ctx<'_, Self>, down: Down) -> Flow {
        let down = Foreign::new(down);
        crew::guarded(self, ctx, |this, ctx| {
            crew::down(this, ctx, &down)?;
            this.tell_who_waits();
            Ok(())
        })
    }

    fn exit(&mut self, ctx: &mut Ctx<'_, Self>, exit: Exit) -> Flow {
        let exit = Foreign::new(exit);
        crew::guarded(self, ctx, |this, ctx| {
            crew::shut_down(this, ctx, &exit.reason)
        })
    }

    /// Its strategy, how many of its children run, and what had to be restarted, the latest last:
    /// as many as [`RestartHistory`] tells, which also says when.
    fn inspect(&self) -> Inspection {
        let rules = &self.crew.rules;
        let running = rules.children().filter(|child| rules.is_alive(child.0));
        let (running, all) = (running.count(), rules.children().count());
        let mut items = vec![
            ("strategy", self.policy().strategy.to_string()),
            ("children", format!("{running} of {all}")),
        ];
        items.extend(rules.history().map(|crash| {
            // An error's text is user code: its panic is no reason to end a supervisor.
            let text = caught(|| Ok(format!("{}: {}", crash.child, *crash.reason)));
            ("restart", text.unwrap_or_else(|_| crash.child.to_string()))
        }));
        items
    }
}

impl Host for Supervisor {
    fn crew(&mut self) -> &mut Crew {
        &mut self.crew
    }

    fn tick() -> SupervisorMsg {
        SupervisorMsg::Tick(Tick)
    }

    fn start(&mut self, ctx: &mut Ctx<'_, Self>, id: ChildId) -> Result<Pid, SpawnError> {
        let child = &self.children[&id];
        let spec = &self.specs[child.spec].spec;
        // Not the box, which is a value of any type as well.
        (spec.start)(ctx, spec.spawn_options(), &**child.arguments)
    }

    fn started(&mut self, ctx: &mut Ctx<'_, Self>, id: ChildId, pid: Pid) {
        let spec = self.children[&id].spec;
        (self.on_start)(ctx, &self.specs[spec].spec.name, pid);
    }

    fn ended(&mut self, ctx: &mut Ctx<'_, Self>, id: ChildId, pid: Pid, reason: Option<&Reason>) {
        let spec = self.children[&id].spec;
        (self.on_end)(ctx, &self.specs[spec].spec.name, pid, reason);
    }

    fn refused(&mut self, error: SpawnError) {
        self.refused = Some(error);
    }

    fn forget(&mut self, id: ChildId) {
        self.children.remove(&id);
    }
}
