//! Calls: a message that carries where its answer goes.
//!
//! An answer has one of two takers: a thread that waits for it ([`Waiting`]), or a process that
//! gets it as a message ([`Pending`]). Whoever drops a [`Reply`] unused has answered as well, so
//! nothing has to watch the callee: when it ends, its mailbox and its state are dropped, and with
//! them the replies that it still owed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::error::CallError;
use crate::guard::{caught, contain};
use crate::mailbox::Signal;
use crate::message::{Receipt, Sink as _, Source};
use crate::process::{AnyProcess, Process};
use crate::reason::Reason;
use crate::sync::lock;
use crate::timer::{Action, Deadline, Expire, TimerRef};

/// Where the answer to a call goes: part of the message that asks for it.
///
/// It is a value: keep it and answer later, or send it on and let another process answer. Dropped
/// without an answer, it tells the caller so at once, and so does the end of whoever holds it.
///
/// # Examples
///
/// A message is a call when it has a `Reply` in it, and the caller says how to build it around one:
///
/// ```
/// use std::time::Duration;
/// use socktree_kernel::{Actor, CallError, Ctx, Flow, NodeBuilder, Reply, Source, protocol};
///
/// struct Length { of: &'static str, reply: Reply<usize> }
/// protocol!(Length);
///
/// struct Measure;
/// impl Actor for Measure {
///     type Msg = Length;
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, message: Length) -> Flow {
///         let Length { of, reply } = message;
///         if !of.is_empty() {
///             reply.send(of.len());
///         }
///         Ok(()) // otherwise the reply is dropped here
///     }
/// }
///
/// let node = NodeBuilder::new("doc@localhost").start()?;
/// let measure = node.spawn(Measure)?;
/// let second = Duration::from_secs(1);
///
/// assert_eq!(measure.call(|reply| Length { of: "socket", reply }, second)?, 6);
/// let empty = node.call(&measure, |reply| Length { of: "", reply }, second);
/// assert!(matches!(empty, Err(CallError::NoReply)));
/// # node.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is not `Sync`, and so no message with one in it is. A refused message would otherwise become a
/// [`Reason`] through `?`, and its caller wait for as long as somebody keeps that:
///
/// ```compile_fail,E0277
/// # use socktree_kernel::{Actor, Ctx, Flow, Reply, protocol};
/// # struct Length { of: &'static str, reply: Reply<usize> }
/// # protocol!(Length);
/// fn pass_on<A: Actor>(ctx: &mut Ctx<'_, A>, message: Length) -> Flow {
///     ctx.send("measure", message)?; // `.map_err(|error| error.map(drop))?` answers before
///     Ok(())
/// }
/// ```
#[must_use = "dropping it tells the caller that there is no answer"]
pub struct Reply<R> {
    /// `None` once it is used.
    asker: Option<Arc<dyn Asker<R>>>,
    /// A reason is `Sync`, which keeps this out of it.
    not_sync: PhantomData<Cell<()>>,
}

impl<R> Reply<R> {
    fn new(asker: Arc<dyn Asker<R>>) -> Self {
        Self {
            asker: Some(asker),
            not_sync: PhantomData,
        }
    }

    /// Answers. The answer comes back if nobody waits for it any more, because the call has timed
    /// out or was cancelled, or because the caller has ended.
    ///
    /// Not a `Result`, so that `?` on one impatient caller cannot end a process that serves many.
    pub fn send(self, answer: R) -> Option<R> {
        self.give(Ok(answer))?.ok()
    }

    /// Answers with an error: the caller gets [`CallError::Refused`].
    ///
    /// For errors that callers are to tell apart, a `Reply<Result<..>>` says more.
    pub fn refuse(self, reason: impl Into<Reason>) {
        let _nobody_waits = self.give(Err(CallError::Refused(reason.into())));
    }

    /// Whether somebody still waits. What costs much to answer is worth asking before.
    pub fn is_wanted(&self) -> bool {
        self.asker.as_ref().is_some_and(|asker| asker.is_open())
    }

    /// Until when somebody waits, by the clock of the node ([`Ctx::now`](crate::Ctx::now)). `None`
    /// if that is beyond the end of time.
    pub fn deadline(&self) -> Option<Instant> {
        self.asker.as_ref()?.deadline()
    }

    fn give(mut self, answer: Result<R, CallError>) -> Option<Result<R, CallError>> {
        let asker = self.asker.take();
        asker.expect("a reply is used once").answer(answer)
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        if let Some(asker) = self.asker.take() {
            let ended = ENDING.with_borrow(Option::clone);
            let error = ended.map_or(CallError::NoReply, CallError::Ended);
            let _nobody_waits = asker.answer(Err(error));
        }
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("is_wanted", &self.is_wanted())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// Why the process ends whose mailbox and state are just dropped.
    static ENDING: RefCell<Option<Reason>> = const { RefCell::new(None) };
}

/// Drops what an ended process leaves. The replies among it tell why it ended.
pub(crate) fn drop_for<T>(reason: &Reason, what: T) {
    struct Restore(Option<Reason>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENDING.set(self.0.take());
        }
    }
    // A drop is user code: it may panic, and may end other processes on its way.
    let _restore = Restore(ENDING.replace(Some(reason.clone())));
    drop(what);
}

/// Whoever asked.
trait Asker<R>: Send + Sync {
    /// Takes the answer, or gives it back if it is not wanted any more.
    fn answer(&self, answer: Result<R, CallError>) -> Option<Result<R, CallError>>;
    fn is_open(&self) -> bool;
    fn deadline(&self) -> Option<Instant>;
}

/// A thread that waits for an answer.
pub(crate) struct Waiting<R> {
    slot: Mutex<Slot<R>>,
    bell: Condvar,
    deadline: Option<Instant>,
}

struct Slot<R> {
    answer: Option<Result<R, CallError>>,
    /// The caller waits no more.
    closed: bool,
    /// The caller is to look whether it has to end.
    interrupted: bool,
}

/// A call that its own process's end must reach.
pub(crate) trait Interrupt: Send + Sync {
    fn interrupt(&self);
}

impl<R: Send + 'static> Waiting<R> {
    /// A call that is answered by the reply until then.
    pub(crate) fn new(deadline: Option<Instant>) -> (Reply<R>, Arc<Self>) {
        let waiting = Arc::new(Self {
            slot: Mutex::new(Slot {
                answer: None,
                closed: false,
                interrupted: false,
            }),
            bell: Condvar::new(),
            deadline,
        });
        (Reply::new(Arc::clone(&waiting) as _), waiting)
    }

    /// Whether waiting would be over at once.
    pub(crate) fn is_answered(&self) -> bool {
        lock(&self.slot).answer.is_some()
    }

    /// Stops to wait: an answer comes too late from now on.
    pub(crate) fn close(&self) {
        lock(&self.slot).closed = true;
    }

    /// Waits for the answer, or until `must_end` says so after an interruption.
    ///
    /// A thread cannot wait in virtual time, so this goes by the real clock.
    pub(crate) fn wait(
        &self,
        at_most: Duration,
        must_end: impl Fn() -> bool,
    ) -> Result<R, CallError> {
        let until = Instant::now().checked_add(at_most);
        let mut slot = lock(&self.slot);
        loop {
            if let Some(answer) = slot.answer.take() {
                slot.closed = true;
                return answer;
            }
            if std::mem::take(&mut slot.interrupted) {
                drop(slot);
                let must_end = must_end();
                slot = lock(&self.slot);
                if must_end && slot.answer.is_none() {
                    slot.closed = true;
                    return Err(CallError::Ending);
                }
                continue;
            }
            slot = match until {
                None => self.bell.wait(slot).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        slot.closed = true;
                        return Err(CallError::Timeout);
                    }
                    let waited = self.bell.wait_timeout(slot, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl<R: Send> Asker<R> for Waiting<R> {
    fn answer(&self, answer: Result<R, CallError>) -> Option<Result<R, CallError>> {
        let mut slot = lock(&self.slot);
        if slot.closed {
            return Some(answer);
        }
        slot.answer = Some(answer);
        drop(slot);
        self.bell.notify_one();
        None
    }

    fn is_open(&self) -> bool {
        !lock(&self.slot).closed
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl<R: Send> Interrupt for Waiting<R> {
    fn interrupt(&self) {
        lock(&self.slot).interrupted = true;
        self.bell.notify_one();
    }
}

/// Refers to a request under way, for [`Ctx::cancel_request`](crate::Ctx::cancel_request).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestRef(pub(crate) TimerRef);

/// A request that is under way: what is to be made of its answer.
///
/// The answer or the deadline, whichever takes what is open, decides how the request ends, unless a
/// cancel or the process's end has struck the timer of its deadline off before.
pub(crate) struct Pending<A: Actor, R, F> {
    open: Mutex<Option<Open<A, F>>>,
    deadline: Option<Instant>,
    answer: PhantomData<fn(R)>,
}

struct Open<A: Actor, F> {
    /// Let go of by whoever closes the request: at the latest, the process's end does.
    process: Arc<Process<A>>,
    timer: TimerRef,
    then: F,
}

impl<A: Actor, R: 'static, F> Pending<A, R, F>
where
    F: FnOnce(Result<R, CallError>) -> A::Msg + Send + 'static,
{
    /// A request of this process's, which the timer ends.
    pub(crate) fn open(
        process: Arc<Process<A>>,
        timer: TimerRef,
        deadline: Option<Instant>,
        then: F,
    ) -> Arc<Self> {
        Self::new(
            deadline,
            Some(Open {
                process,
                timer,
                then,
            }),
        )
    }

    /// A request of a process that is ending, which hears of no answer.
    pub(crate) fn closed(deadline: Option<Instant>) -> Arc<Self> {
        Self::new(deadline, None)
    }

    fn new(deadline: Option<Instant>, open: Option<Open<A, F>>) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::new(open),
            deadline,
            answer: PhantomData,
        })
    }

    /// What is to be done at its deadline. Dropping that unused, because the timer was cancelled or
    /// its process has ended, closes the request.
    pub(crate) fn expiry(self: &Arc<Self>) -> Action {
        Action::Expire(Deadline::new(Arc::clone(self) as _))
    }

    /// Where its answer goes.
    pub(crate) fn reply(self: &Arc<Self>) -> Reply<R> {
        Reply::new(Arc::clone(self) as _)
    }

    /// The message did not reach its target.
    pub(crate) fn refused(&self, error: CallError) {
        let _ending = self.answer(Err(error));
    }
}

impl<A: Actor, R, F> Expire for Pending<A, R, F>
where
    F: FnOnce(Result<R, CallError>) -> A::Msg + Send,
{
    fn expire(&self) {
        let _closed_already = self.answer(Err(CallError::Timeout));
    }

    fn close(&self) {
        let open = lock(&self.open).take();
        drop(open);
    }
}

impl<A: Actor, R, F> Asker<R> for Pending<A, R, F>
where
    F: FnOnce(Result<R, CallError>) -> A::Msg + Send,
{
    fn answer(&self, answer: Result<R, CallError>) -> Option<Result<R, CallError>> {
        // The answer and the deadline may come at once: who takes this is the one. Not the note of
        // the timer: the other would find it struck off, and close the request under our hands.
        let open = lock(&self.open).take();
        let Some(Open {
            process,
            timer,
            then,
        }) = open
        else {
            return Some(answer);
        };
        let core = process.core_ref();
        let Some(expiry) = core.strike_timer(timer) else {
            // It was cancelled, or its process has ended: nobody asks any more.
            contain("a request that was given up", || drop(then));
            return Some(answer);
        };
        if let Some(expiry) = expiry {
            expiry.settle();
        }
        // The user's code, on a thread that is perhaps not its process's: no lock is held, and
        // what it breaks is its own process alone.
        match caught(|| Ok(then(answer))) {
            Ok(message) => {
                let from = Source::Process(core.pid);
                // An answer has no bound to keep to: each was asked for. If the process has just
                // ended, there is nobody to hear it.
                let _ended = process.deliver_always(from, Receipt::NONE, message);
            }
            Err(reason) => process.signal(Signal::ordered(core.pid, reason)),
        }
        None
    }

    fn is_open(&self) -> bool {
        lock(&self.open).is_some()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
