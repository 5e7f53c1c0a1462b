//! Timers: what a process has sent or done later.

use std::time::Duration;

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::id::Target;
use crate::timer::{Action, TimerRef};

/// Stands for a delay beyond the end of time.
const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);

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
            Box::new(move || {
                if process.core_ref().disown_timer(timer)
                    && let Err(error) = process.core_ref().node.send(from, &to, message)
                {
                    let pid = process.core_ref().pid;
                    log::debug!("{pid}: a timer's message to {to}: {error}");
                }
            })
        })
    }

    /// Sets a timer of this process's. Nothing is set, nor will be done, if it is ending.
    pub(super) fn set_timer(
        &self,
        delay: Duration,
        make: impl FnOnce(TimerRef) -> Action,
    ) -> TimerRef {
        let core = self.process.core_ref();
        let at = self.now().checked_add(delay);
        let at = at.unwrap_or_else(|| self.now() + NEVER);
        // Noted before it is armed: when it fires, on another thread, it looks for the note.
        core.worker
            .set_timer(at, |timer| core.own_timer(timer).then(|| make(timer)))
    }

    /// Cancels a timer. True if it really was cancelled, so that its message will never arrive;
    /// false if it has fired, or is not one of this process's.
    pub fn cancel(&mut self, timer: TimerRef) -> bool {
        let core = self.process.core_ref();
        // Whoever takes the note decides. The timer itself may be gone already, if its worker is
        // just about to look for the note.
        let cancelled = core.disown_timer(timer);
        if cancelled {
            core.worker.cancel_timer(timer);
        }
        cancelled
    }
}
