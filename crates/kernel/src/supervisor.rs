//! A supervisor: starts children under their names and restarts those that end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actor::{Actor, Down};
use crate::ctx::Ctx;
use crate::error::SpawnError;
use crate::id::{Name, Pid, Target};
use crate::message::Source;
use crate::node::SpawnOptions;
use crate::protocol;
use crate::reason::{Flow, Reason};

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
    /// Never.
    Temporary,
}

/// Starts a child, as its supervisor, under this name.
type Start = Box<dyn Fn(&mut Ctx<'_, Supervisor>, &Name) -> Result<Pid, SpawnError> + Send>;

struct Child {
    name: Name,
    start: Start,
    restart: Restart,
    pid: Option<Pid>,
}

/// Supervises children one for one: a child that ends is restarted, and no other is touched.
///
/// More than `intensity` restarts within `period` (default 5 in 5 seconds) end the supervisor with
/// [`Reason::RestartsExceeded`]. A restart that fails counts as a further crash and is tried again
/// after [`retry_delay`](Self::retry_delay). The children end with their supervisor.
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
pub struct Supervisor {
    children: Vec<Child>,
    restart: Restart,
    intensity: usize,
    period: Duration,
    retry_delay: Duration,
    /// When the latest restarts were, oldest first, at most `intensity + 1` of them.
    restarts: VecDeque<Instant>,
}

/// Try again to start the child with this place in the list.
#[derive(Debug)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "only the supervisor itself sends it")]
pub struct Retry(usize);
protocol!(Retry);

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.children.iter().map(|child| &child.name).collect();
        f.debug_struct("Supervisor")
            .field("children", &names)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor without children yet.
    pub fn one_for_one() -> Self {
        Self {
            children: Vec::new(),
            restart: Restart::default(),
            intensity: 5,
            period: Duration::from_secs(5),
            retry_delay: Duration::from_millis(100),
            restarts: VecDeque::new(),
        }
    }

    /// Adds a child that is started by `make`, each time anew, and registered under `name`.
    ///
    /// It is restarted as the last call of [`restart`](Self::restart) before this says.
    #[must_use]
    pub fn child<A: Actor>(
        mut self,
        name: impl Into<Name>,
        make: impl Fn() -> A + Send + 'static,
    ) -> Self {
        let start: Start = Box::new(move |ctx, name| {
            let options = SpawnOptions::new().name(name).link_parent().monitored();
            ctx.spawn_with(make(), options).map(|child| child.pid())
        });
        let (name, restart) = (name.into(), self.restart);
        self.children.push(Child {
            name,
            start,
            restart,
            pid: None,
        });
        self
    }

    /// When the children added from here on are restarted. [`Restart::Transient`] by default.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How many restarts within what time are bearable. 5 within 5 seconds by default.
    #[must_use]
    pub fn intensity(mut self, restarts: usize, period: Duration) -> Self {
        (self.intensity, self.period) = (restarts, period);
        self
    }

    /// How long to wait after a restart that failed. 100 ms by default.
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// Counts one more crash; an error if that is too many.
    fn count(&mut self, now: Instant, child: usize, reason: &Reason) -> Flow {
        self.restarts.push_back(now);
        while self
            .restarts
            .front()
            .is_some_and(|at| now.duration_since(*at) > self.period)
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() <= self.intensity {
            return Ok(());
        }
        Err(Reason::RestartsExceeded {
            child: self.children[child].name.as_str().into(),
            reason: Arc::new(reason.clone()),
        })
    }

    fn start_again(&mut self, ctx: &mut Ctx<'_, Self>, n: usize) -> Flow {
        let child = &mut self.children[n];
        match (child.start)(ctx, &child.name) {
            Ok(pid) => {
                child.pid = Some(pid);
                Ok(())
            }
            // The node is stopping, or this supervisor is: nothing to start for.
            Err(SpawnError::Stopping | SpawnError::ParentGone) => Ok(()),
            Err(error) => {
                log::warn!("{} cannot be restarted: {error}", child.name);
                self.count(ctx.now(), n, &error.into())?;
                ctx.send_after(ctx.pid(), Retry(n), self.retry_delay);
                Ok(())
            }
        }
    }
}

impl Actor for Supervisor {
    type Msg = Retry;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        for child in &mut self.children {
            child.pid = Some((child.start)(ctx, &child.name)?);
        }
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _from: Source, retry: Retry) -> Flow {
        self.start_again(ctx, retry.0)
    }

    fn down(&mut self, ctx: &mut Ctx<'_, Self>, down: Down) -> Flow {
        let ended = |child: &Child| child.pid.map(Target::Pid).as_ref() == Some(&down.target);
        let Some(n) = self.children.iter().position(ended) else {
            return Ok(());
        };
        self.children[n].pid = None;
        let again = match self.children[n].restart {
            Restart::Permanent => true,
            Restart::Transient => !down.reason.is_clean(),
            Restart::Temporary => false,
        };
        if !again {
            return Ok(());
        }
        self.count(ctx.now(), n, &down.reason)?;
        self.start_again(ctx, n)
    }
}
