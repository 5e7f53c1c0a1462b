//! What can be asked of a supervisor while it runs.

use std::any::Any;
use std::fmt;
use std::time::Instant;

use crate::call::Reply;
use crate::id::{Name, Pid};
use crate::protocol;
use crate::reason::Reason;
use crate::supervisor::crew::Tick;
use crate::supervisor::error::ChildError;
use crate::supervisor::rules::{Crash, State, Traits};
use crate::supervisor::spec::{ChildSpec, Restart};

/// Asks a supervisor to start a child that does not run, or a new instance of a template.
///
/// The answer is the process. A child that cannot be started is not tried again by itself.
///
/// # Examples
///
/// Sessions, one for each user, each restarted for the same user when it falls:
///
/// ```
/// use std::time::Duration;
/// use socktree_kernel::{
///     Actor, ChildSpec, Ctx, Flow, NodeBuilder, NoMessages, Source, StartChild, Supervisor,
/// };
///
/// struct Session { user: String }
/// impl Actor for Session {
///     type Msg = NoMessages;
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
///         match never {}
///     }
/// }
///
/// let node = NodeBuilder::new("doc@localhost").start()?;
/// let template = ChildSpec::template("session", |user: &String| Session { user: user.clone() });
/// let sessions = node.spawn(Supervisor::simple_one_for_one().child_spec(template))?;
///
/// let ask = |reply| StartChild::instance("session", String::from("ada"), reply);
/// let ada = node.call(&sessions, ask, Duration::from_secs(5))??;
/// assert!(node.whereis(ada).is_some());
/// # node.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StartChild {
    pub(super) name: Name,
    /// For an instance: what it is made from.
    pub(super) arguments: Option<Box<dyn Any + Send>>,
    pub(super) reply: Reply<Result<Pid, ChildError>>,
}

impl StartChild {
    /// Starts the child of this name again, after it has ended for good.
    pub fn new(name: impl Into<Name>, reply: Reply<Result<Pid, ChildError>>) -> Self {
        Self {
            name: name.into(),
            arguments: None,
            reply,
        }
    }

    /// Starts an instance of the template of this name from these arguments, which are of the type
    /// that the template takes. They are kept for its restarts.
    pub fn instance<T: Send + 'static>(
        template: impl Into<Name>,
        arguments: T,
        reply: Reply<Result<Pid, ChildError>>,
    ) -> Self {
        Self {
            name: template.into(),
            arguments: Some(Box::new(arguments)),
            reply,
        }
    }
}

impl fmt::Debug for StartChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartChild")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Asks a supervisor to take one more child, behind all others, and to start it; or to take one
/// more template. If the child cannot be started, the supervisor does not keep it.
#[derive(Debug)]
pub struct AddChild {
    pub(super) spec: ChildSpec,
    pub(super) reply: Reply<Result<(), ChildError>>,
}

impl AddChild {
    /// Adds this child.
    pub fn new(spec: ChildSpec, reply: Reply<Result<(), ChildError>>) -> Self {
        Self { spec, reply }
    }
}

/// Asks a supervisor to start a child, or to allow instances of a template, again after
/// [`DisableChild`]. Nothing happens if it was not disabled.
#[derive(Debug)]
pub struct EnableChild {
    pub(super) name: Name,
    pub(super) reply: Reply<Result<(), ChildError>>,
}

impl EnableChild {
    /// Enables the child of this name.
    pub fn new(name: impl Into<Name>, reply: Reply<Result<(), ChildError>>) -> Self {
        let name = name.into();
        Self { name, reply }
    }
}

/// Asks a supervisor to end a child, or all instances of a template, and not to start it again.
///
/// The answer comes when the child is gone: it has ended, or was given up.
#[derive(Debug)]
pub struct DisableChild {
    pub(super) name: Name,
    pub(super) reply: Reply<Result<(), ChildError>>,
}

impl DisableChild {
    /// Disables the child of this name.
    pub fn new(name: impl Into<Name>, reply: Reply<Result<(), ChildError>>) -> Self {
        let name = name.into();
        Self { name, reply }
    }
}

/// Asks a supervisor what children it has.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use socktree_kernel::{
///     ChildState, DisableChild, EnableChild, ListChildren, NodeBuilder, Supervisor,
/// };
///
/// # let node = NodeBuilder::new("doc@localhost").start()?;
/// let top = Supervisor::one_for_one().child("cache", Supervisor::one_for_one);
/// let top = node.spawn(top)?;
/// let second = Duration::from_secs(1);
/// node.call(&top, |reply| DisableChild::new("cache", reply), second)??;
///
/// let children = node.call(&top, ListChildren::new, second)?;
/// assert_eq!(children[0].state, ChildState::Down);
/// assert!(!children[0].enabled);
/// node.call(&top, |reply| EnableChild::new("cache", reply), second)??;
/// assert!(node.whereis("cache").is_some());
/// # node.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ListChildren {
    pub(super) reply: Reply<Vec<ChildInfo>>,
}

impl ListChildren {
    /// Lists the children in the order in which they were started.
    pub fn new(reply: Reply<Vec<ChildInfo>>) -> Self {
        Self { reply }
    }
}

/// Asks a supervisor for its restarts: the latest 50, oldest first.
#[derive(Debug)]
pub struct RestartHistory {
    pub(super) reply: Reply<Vec<RestartInfo>>,
}

impl RestartHistory {
    /// Tells the latest restarts.
    pub fn new(reply: Reply<Vec<RestartInfo>>) -> Self {
        Self { reply }
    }
}

protocol! {
    /// What a [`Supervisor`](crate::Supervisor) takes.
    #[derive(Debug)]
    #[non_exhaustive]
    pub enum SupervisorMsg {
        /// Starts a child or an instance.
        Start(StartChild),
        /// Adds a child or a template.
        Add(AddChild),
        /// Enables a child or a template.
        Enable(EnableChild),
        /// Disables a child or a template.
        Disable(DisableChild),
        /// Lists the children.
        List(ListChildren),
        /// Tells the latest restarts.
        History(RestartHistory),
        /// The supervisor's own timer.
        #[doc(hidden)]
        Tick(Tick),
    }
}

/// What a child does just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// It runs.
    Running,
    /// It has been told to end and has not yet.
    Stopping,
    /// It could not be started, and that is tried again.
    Retrying,
    /// It does not run.
    Down,
}

/// One child of a supervisor, as [`ListChildren`] tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its name, or that of the template that it is an instance of.
    pub name: Name,
    /// The process, if there is one.
    pub pid: Option<Pid>,
    /// What it does.
    pub state: ChildState,
    /// Whether it is started again at all.
    pub enabled: bool,
    /// When it is started again.
    pub restart: Restart,
    /// Whether its end for good ends the supervisor.
    pub significant: bool,
}

impl ChildInfo {
    pub(super) fn new(traits: &Traits, pid: Option<Pid>, state: State, enabled: bool) -> Self {
        Self {
            name: traits.name.clone(),
            pid,
            state: match state {
                State::Up => ChildState::Running,
                State::Stopping(_) => ChildState::Stopping,
                State::Retry => ChildState::Retrying,
                State::Down => ChildState::Down,
            },
            enabled,
            restart: traits.restart,
            significant: traits.significant,
        }
    }
}

/// One end of a child that called for a restart, as [`RestartHistory`] tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestartInfo {
    /// When, by the node's clock.
    pub at: Instant,
    /// Which child, or of which template an instance.
    pub child: Name,
    /// Why it had ended, or could not be started.
    pub reason: Reason,
}

impl RestartInfo {
    pub(super) fn new(crash: &Crash) -> Self {
        Self {
            at: crash.at,
            child: crash.child.clone(),
            reason: Reason::clone(&crash.reason),
        }
    }
}
