//! Timers: what a process has done later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::guard::caught;
use crate::id::Target;
use crate::mailbox::Signal;
use crate::message::{Receipt, Sink, Source};
use crate::process::{AnyProcess, Process};
use crate::reason::Reason;
use crate::timer::{Action, TimerRef, next_tick};

/// Stands for a delay beyond the end of time.
const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The shortest period: with less, a worker would do nothing but fire.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

impl<A: Actor> Ctx<'_, A> {
    /// Sends a message after a delay. The timer ends with the process.
    ///
    /// The target is looked up when the time has come; a message that cannot be delivered then is
    /// dropped.
    pub fn send_after<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
        delay: Duration,
    ) -> TimerRef {
        let (process, to, from) = (self.process.arc(), to.into(), self.source());
        self.set_timer(delay, |timer| {
            Action::call(move || {
                if process.core_ref().strike_timer(timer).is_some() {
                    deliver(&process, from, &to, message);
                }
            })
        })
    }

    /// Sends a message to itself after a delay, whatever the mailbox's bound: for those whose work
    /// would stop if the message were lost.
    pub(crate) fn wake_after<T: Send + 'static>(&self, delay: Duration, message: T) -> TimerRef
    where
        A::Msg: From<T>,
    {
        let (process, from) = (self.process.arc(), self.source());
        self.set_timer(delay, |timer| {
            Action::call(move || {
                if process.core_ref().strike_timer(timer).is_some() {
                    // Refused only by a process that has ended.
                    let _ended = process.deliver_always(from, Receipt::NONE, message);
                }
            })
        })
    }

    /// Sends a message every so often, for the first time after one period. Ends with the process,
    /// or when it is [cancelled](Self::cancel).
    ///
    /// The rate is fixed: a message that is late does not delay the next one, and those that were
    /// missed altogether, because the worker had no time, are not made up for. The target is looked
    /// up each time; a message that cannot be delivered is dropped. A target that is slower than the
    /// period has them wait in its mailbox: give it a [bound](crate::SpawnOptions::mailbox), and
    /// those that find no room are dropped. The message is cloned on the thread that drives the
    /// worker, and must not block that. A period below one millisecond counts as one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use socktree_kernel::{Actor, Ctx, Flow, NodeBuilder, Reason, Source, protocol};
    /// #[derive(Clone)]
    /// struct Tick;
    /// protocol!(Tick);
    ///
    /// struct Countdown(u32);
    /// impl Actor for Countdown {
    ///     type Msg = Tick;
    ///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
    ///         ctx.send_every(ctx.pid(), Tick, Duration::from_millis(1));
    ///         Ok(())
    ///     }
    ///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, Tick: Tick) -> Flow {
    ///         self.0 = self.0.checked_sub(1).ok_or(Reason::Normal)?;
    ///         Ok(())
    ///     }
    /// }
    /// # NodeBuilder::new("doc@localhost").run(Countdown(3))?;
    /// # Ok::<(), socktree_kernel::NodeError>(())
    /// ```
    pub fn send_every<T: Clone + Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
        period: Duration,
    ) -> TimerRef {
        let (process, to, from) = (self.process.arc(), to.into(), self.source());
        let period = period.max(SHORTEST_PERIOD);
        let due = self.time_after(period);
        self.set_timer(period, |timer| {
            let ticker = Ticker {
                process,
                from,
                to,
                message,
                timer,
                due,
                period,
            };
            Action::call(|| ticker.fire())
        })
    }

    /// Sends an exit signal after a delay, as [`exit`](Self::exit) would then. The timer ends with
    /// the process.
    pub fn exit_after(
        &mut self,
        target: impl Into<Target>,
        reason: Reason,
        delay: Duration,
    ) -> TimerRef {
        let (process, target) = (self.process.arc(), target.into());
        self.set_timer(delay, |timer| {
            Action::call(move || {
                let core = process.core_ref();
                if core.strike_timer(timer).is_some() {
                    core.node.exit(Some(core.pid), target, reason);
                }
            })
        })
    }

    /// Cancels a timer. True if it really was cancelled, so that what it was set for will never be
    /// done, or not once more; false if it has fired, or is not one of this process's.
    ///
    /// One of [`send_every`](Self::send_every) may be firing on another thread, if this handler has
    /// blocked or uses [`blocking`](Self::blocking): then that one message still comes.
    pub fn cancel(&mut self, timer: TimerRef) -> bool {
        // What it would have done is dropped here, outside all locks.
        self.process.core_ref().strike_timer(timer).is_some()
    }

    fn time_after(&self, delay: Duration) -> Instant {
        after(self.now(), delay)
    }

    /// Sets a timer of this process's. Nothing is set, nor will be done, if it is ending.
    fn set_timer(&self, delay: Duration, make: impl FnOnce(TimerRef) -> Action) -> TimerRef {
        self.set_timer_at(self.time_after(delay), make)
    }

    pub(super) fn set_timer_at(
        &self,
        at: Instant,
        make: impl FnOnce(TimerRef) -> Action,
    ) -> TimerRef {
        let core = self.process.core_ref();
        let timer = core.arm_timer(at, make);
        timer.unwrap_or_else(|| TimerRef::never(core.worker.id))
    }
}

/// A time beyond the end of time is as good as never.
pub(super) fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or_else(|| now + NEVER)
}

fn deliver<A: Actor, T: Send + 'static>(
    process: &Process<A>,
    from: Source,
    to: &Target,
    message: T,
) {
    let core = process.core_ref();
    let priority = core.send_priority;
    if let Err(error) = core.node.send_with(from, to, message, priority) {
        log::debug!("{}: a timer's message to {to}: {error}", core.pid);
    }
}

/// A timer that fires more than once.
struct Ticker<A: Actor, T> {
    process: Arc<Process<A>>,
    from: Source,
    to: Target,
    message: T,
    timer: TimerRef,
    due: Instant,
    period: Duration,
}

impl<A: Actor, T: Clone + Send + 'static> Ticker<A, T> {
    fn fire(mut self) {
        let process = Arc::clone(&self.process);
        let core = process.core_ref();
        if !core.worker.is_timer_noted(core.pid, self.timer) {
            return;
        }
        match caught(|| Ok(self.message.clone())) {
            Ok(message) => deliver(&process, self.from, &self.to, message),
            // The user's code: what it breaks is its own process.
            Err(reason) => {
                core.strike_timer(self.timer);
                return process.signal(Signal::ordered(core.pid, reason));
            }
        }
        let Some(at) = next_tick(self.due, self.period, core.worker.now()) else {
            core.strike_timer(self.timer);
            return;
        };
        let timer = self.timer;
        self.due = at;
        let again = Action::call(|| self.fire());
        core.worker.renew_timer(core.pid, timer, at, again);
    }
}
