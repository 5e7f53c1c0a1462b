//! What a supervisor is told about its children before it starts them.

use std::any::{Any, TypeId};
use std::fmt;
use std::time::Duration;

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::error::SpawnError;
use crate::id::{Name, Pid};
use crate::node::SpawnOptions;
use crate::reason::Reason;
use crate::supervisor::Supervisor;
use crate::supervisor::rules::Traits;

/// Which children are started again when one of them has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are Erlang's four, and Ergo's"
)]
pub enum Strategy {
    /// That one.
    OneForOne,
    /// All: the others are stopped first.
    AllForOne,
    /// That one and those after it, which are stopped first.
    RestForOne,
    /// That one, of many unnamed instances made from templates.
    SimpleOneForOne,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneForOne => "one for one",
            Self::AllForOne => "all for one",
            Self::RestForOne => "rest for one",
            Self::SimpleOneForOne => "simple one for one",
        })
    }
}

/// When a child that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are Erlang's three, and Ergo's"
)]
pub enum Restart {
    /// Whatever the reason.
    Permanent,
    /// Unless it ended in good order ([`Reason::is_clean`]).
    #[default]
    Transient,
    /// Never: not with its group either.
    Temporary,
}

impl Restart {
    pub(crate) fn is_due_after(self, reason: &Reason) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => !reason.is_clean(),
            Self::Temporary => false,
        }
    }
}

/// How a supervisor ends a child, and how long it waits for that.
///
/// A child that was killed and has still not ended 5 seconds later is in a handler that does not
/// return. Its supervisor says so in the log and goes on without it. Until the handler returns the child
/// keeps its name and its meta-processes: to start it again meanwhile, as one of a group, fails, and
/// each failure is a further crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are Erlang's three")]
pub enum Shutdown {
    /// Kills it at once.
    Kill,
    /// Tells it to end, and kills it after this long. The default, with 5 seconds.
    Within(Duration),
    /// Tells it to end, and waits for as long as it takes. The default for children that are
    /// supervisors themselves: they have children of their own to wait for.
    Wait,
}

/// What [significant](ChildSpec::significant) children that have ended for good mean for their
/// supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "any or all; without significant children, never"
)]
pub enum AutoShutdown {
    /// It ends with the first of them.
    #[default]
    Any,
    /// It ends when none of them is left.
    All,
}

/// Starts a child, as its supervisor, with these options and arguments.
pub(crate) type Start =
    Box<dyn Fn(&mut Ctx<'_, Supervisor>, SpawnOptions, &dyn Any) -> Result<Pid, SpawnError> + Send>;

/// One child of a [`Supervisor`]: how it is made, started again and stopped.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use socktree_kernel::{ChildSpec, Restart, Shutdown, SpawnOptions, Supervisor};
/// # use socktree_kernel::{Actor, Ctx, Flow, NoMessages, Source};
/// # struct Cache;
/// # impl Actor for Cache {
/// #     type Msg = NoMessages;
/// #     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow { match never {} }
/// # }
/// let cache = ChildSpec::new("cache", || Cache)
///     .restart(Restart::Permanent)
///     .shutdown(Shutdown::Within(Duration::from_secs(30)))
///     .options(SpawnOptions::new().mailbox(10_000));
/// let supervisor = Supervisor::one_for_one().child_spec(cache);
/// # let _ = supervisor;
/// ```
#[must_use = "a child is started by the supervisor that it is given to"]
pub struct ChildSpec {
    pub(crate) name: Name,
    pub(crate) start: Start,
    /// What instances are made from; `None` for a child of its own.
    pub(crate) arguments: Option<TypeId>,
    /// As the supervisor says, unless it is said here.
    restart: Option<Restart>,
    significant: bool,
    shutdown: Shutdown,
    options: SpawnOptions,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// A child that is made by `make`, each time anew, and registered under `name`.
    pub fn new<A: Actor>(name: impl Into<Name>, make: impl Fn() -> A + Send + 'static) -> Self {
        let start: Start = Box::new(move |ctx, options, _| {
            ctx.spawn_with(make(), options).map(|child| child.pid())
        });
        Self::with::<A>(name.into(), start, None)
    }

    /// A template, for [simple one-for-one](Supervisor::simple_one_for_one) supervisors: each
    /// instance is made from arguments that came with the request to start it, and made from the
    /// same ones again when it is restarted.
    ///
    /// Instances have no names: `name` is the template's.
    #[expect(
        clippy::missing_panics_doc,
        reason = "arguments of another type are refused before"
    )]
    pub fn template<A: Actor, T: Send + 'static>(
        name: impl Into<Name>,
        make: impl Fn(&T) -> A + Send + 'static,
    ) -> Self {
        let start: Start = Box::new(move |ctx, options, arguments| {
            let arguments = arguments.downcast_ref::<T>();
            let arguments = arguments.expect("arguments are checked before they are kept");
            ctx.spawn_with(make(arguments), options)
                .map(|child| child.pid())
        });
        Self::with::<A>(name.into(), start, Some(TypeId::of::<T>()))
    }

    fn with<A: Actor>(name: Name, start: Start, arguments: Option<TypeId>) -> Self {
        let is_supervisor = TypeId::of::<A>() == TypeId::of::<Supervisor>();
        Self {
            name,
            start,
            arguments,
            restart: None,
            significant: false,
            shutdown: if is_supervisor {
                Shutdown::Wait
            } else {
                Shutdown::Within(Duration::from_secs(5))
            },
            options: SpawnOptions::new(),
        }
    }

    /// When it is started again. By default as [`Supervisor::restart`] says.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = Some(restart);
        self
    }

    /// Has the supervisor end when this child has ended by itself and is not started again: see
    /// [`Supervisor::auto_shutdown`]. Not for permanent children, which are always started again.
    pub fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// How it is ended.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// How it is spawned. Its name and its links are the supervisor's affair.
    pub fn options(mut self, options: SpawnOptions) -> Self {
        self.options = options;
        self
    }

    /// The options for the next life.
    pub(crate) fn spawn_options(&self) -> SpawnOptions {
        let is_template = self.arguments.is_some();
        let name = (!is_template).then_some(&self.name);
        self.options.clone().supervised(name)
    }

    pub(crate) fn traits(&self, restart: Restart) -> Traits {
        Traits {
            name: self.name.clone(),
            restart: self.restart.unwrap_or(restart),
            significant: self.significant,
            shutdown: self.shutdown,
            instance: self.arguments.is_some(),
        }
    }
}
