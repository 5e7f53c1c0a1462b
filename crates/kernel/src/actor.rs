//! What a user writes: an [`Actor`], plain functions called one at a time.

use crate::ctx::Ctx;
use crate::id::Target;
use crate::message::{Protocol, Source};
use crate::meta::Inspection;
use crate::reason::{Flow, Reason};

/// A process's behaviour: its state, and what it does with each message.
///
/// The callbacks of one process never run at the same time, so the state needs no lock. A
/// callback that returns an error, or panics, ends its process, and no other: the process's
/// connections and other meta-processes end with it, and its watchers get the reason.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{Actor, Ctx, Flow, Source, protocol};
///
/// struct Add(u64);
/// protocol!(Add);
///
/// #[derive(Default)]
/// struct Counter { total: u64 }
///
/// impl Actor for Counter {
///     type Msg = Add;
///
///     fn handle(&mut self, _ctx: &mut Ctx<'_, Self>, _from: Source, add: Add) -> Flow {
///         self.total += add.0;
///         Ok(())
///     }
/// }
/// ```
pub trait Actor: Sized + Send + 'static {
    /// The messages it takes: one type, or an enum made by [`protocol!`](crate::protocol).
    type Msg: Protocol;

    /// Whether it hands what it is sent on to others, as a [`Pool`](crate::Pool) does: not always
    /// to the same, so that what belongs together may be torn apart. Such a process is refused where
    /// that must not happen, as by TCP servers for the owner of a connection.
    const FORWARDS: bool = false;

    /// Called once, before anything else, while the spawner waits.
    ///
    /// The address and the name already work: what others send waits in the mailbox.
    ///
    /// # Errors
    ///
    /// An error makes the spawn fail with it; what was started here is stopped, and `terminate`
    /// is not called.
    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let _ = ctx;
        Ok(())
    }

    /// Called for each message, in the order in which each sender sent them.
    ///
    /// # Errors
    ///
    /// An error ends the process with it.
    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, from: Source, message: Self::Msg) -> Flow;

    /// Called when a monitored target has ended.
    ///
    /// # Errors
    ///
    /// An error ends the process with it.
    fn down(&mut self, ctx: &mut Ctx<'_, Self>, down: Down) -> Flow {
        let _ = (ctx, down);
        Ok(())
    }

    /// Called for an exit signal, if exits are trapped ([`Ctx::trap_exit`]). A signal from the
    /// parent, a kill and the node's stop cannot be trapped.
    ///
    /// # Errors
    ///
    /// An error ends the process with it.
    fn exit(&mut self, ctx: &mut Ctx<'_, Self>, exit: Exit) -> Flow {
        let _ = (ctx, exit);
        Ok(())
    }

    /// Called for [`Ctx::inspect_actor`] and
    /// [`Node::inspect_actor`](crate::Node::inspect_actor): what the actor adds to what is
    /// known of every process. Names and values, as text.
    fn inspect(&self) -> Inspection {
        Inspection::new()
    }

    /// Called once, last, after the process's sockets are closed and its names are free, and
    /// before anyone is told.
    fn terminate(&mut self, ctx: &mut Ctx<'_, Self>, reason: &Reason) {
        let _ = (ctx, reason);
    }
}

/// The end of a monitored target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Down {
    /// What was monitored, addressed as in the call to [`Ctx::monitor`].
    pub target: Target,
    /// Why it ended.
    pub reason: Reason,
}

/// An exit signal that was trapped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exit {
    /// Who sent it, or which linked target has ended.
    pub from: Target,
    /// The reason that came with it.
    pub reason: Reason,
}

impl Down {
    pub(crate) fn new(target: Target, reason: Reason) -> Self {
        Self { target, reason }
    }
}

impl Exit {
    pub(crate) fn new(from: Target, reason: Reason) -> Self {
        Self { from, reason }
    }
}
