//! Loops in loops: one thread serves several, and sleeps for all of them at once.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::Reactor;
use crate::token::Token;
use crate::{Os, Readiness};

/// The way into a [`Reactor`] for loops that are to be nested in it; cheap to clone.
///
/// Outlives the loop harmlessly.
pub struct Host<O: Os>(Arc<O::Outer>);

impl<O: Os> Clone for Host<O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<O: Os> fmt::Debug for Host<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// What came of [`Reactor::doze`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever serves the loop has to handle each of them"
)]
pub enum Doze {
    /// The loop has something to do: [`poll`](Reactor::poll) it.
    Refused,
    /// It sleeps, and wants to be polled when the host reports it, and at this time at the latest.
    Until(Instant),
    /// It sleeps, and wants to be polled when the host reports it.
    UntilWoken,
}

/// What a loop keeps about those around it and those inside.
pub(super) struct Nesting<O: Os> {
    inside: Option<Host<O>>,
    /// Loops nested in this one that have something to do, each once: nobody may ask for them.
    reported: Vec<u32>,
}

impl<O: Os> Default for Nesting<O> {
    fn default() -> Self {
        Self {
            inside: None,
            reported: Vec::new(),
        }
    }
}

impl<O: Os> Nesting<O> {
    /// A report that belongs to no source.
    #[cold]
    pub(super) fn take_report(&mut self, report: Readiness) {
        if let Some(name) = Token::unpack(report.token).nested()
            && !self.reported.contains(&name)
        {
            self.reported.push(name);
        }
    }
}

impl<O: Os, T, C> Reactor<O, T, C> {
    /// Ends the nesting, if there is any. Reports that the host has collected already may still
    /// come.
    pub fn unnest(&mut self) {
        if let Some(host) = self.nesting.inside.take()
            && let Err(error) = self.base.os.unnest(&self.base.poller, &host.0)
        {
            log::warn!("cannot take an event loop out of another: {error}");
        }
    }
}

impl<O: Os, T, C: Send + 'static> Reactor<O, T, C> {
    /// The way into this loop for others.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where pollers cannot be nested: elsewhere than on
    /// Linux, Android, FreeBSD and macOS, and in a simulation. Or no descriptor is left.
    pub fn host(&self) -> io::Result<Host<O>> {
        self.base
            .os
            .outer(&self.base.poller)
            .map(Arc::new)
            .map(Host)
    }

    /// Nests this loop in another: from now on that one is told, under `name`, when there is
    /// something to do here ([`next_nested`](Self::next_nested)), even while nobody polls this one.
    ///
    /// It stays a loop of its own, and may be polled as before; also without sleeping, and then put
    /// to [`doze`](Self::doze). If it was nested elsewhere, it is no longer.
    ///
    /// # Examples
    ///
    /// One thread serves two loops:
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use socktree_reactor::{Doze, Event, Reactor, System};
    ///
    /// let mut outer = Reactor::<_, (), &str>::new(System)?;
    /// let mut inner = Reactor::<_, (), &str>::new(System)?;
    /// inner.nest(&outer.host()?, 7)?;
    /// assert_eq!(inner.doze(|| true), Doze::UntilWoken);
    ///
    /// inner.remote().post("good morning")?;
    /// outer.poll(None, || true)?;
    /// assert_eq!(outer.next_nested(), Some(7));
    /// inner.poll(Some(inner.now()), || true)?;
    /// assert!(matches!(inner.next_event(), Some(Event::Command("good morning"))));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As `epoll_ctl(2)`: too many watches, no memory, or loops that are nested in each other. Also
    /// if the name is `u32::MAX`, or needs more than 15 bits on a 32-bit machine.
    pub fn nest(&mut self, host: &Host<O>, name: u32) -> io::Result<()> {
        self.unnest();
        let token = Token::of_nested(name).ok_or(io::ErrorKind::InvalidInput)?;
        self.base
            .os
            .nest(&self.base.poller, &host.0, token.pack())?;
        self.nesting.inside = Some(host.clone());
        Ok(())
    }

    /// Puts a nested loop to sleep without a thread that waits: it is asleep for senders, who wake
    /// it when they post, and the host reports it when there is something to do.
    ///
    /// Refused while something is left to do, and when the last poll did not ask the system: the
    /// host reports once what has happened, so whoever puts a loop to sleep has to have polled it after the
    /// host's last report. As for [`poll`](Self::poll), `may_sleep` is asked at the last moment. The
    /// next poll ends the doze.
    pub fn doze(&mut self, may_sleep: impl FnOnce() -> bool) -> Doze {
        self.end_service();
        // The host is told of new reports only: not of what did not fit into the last answer, and
        // not again of what was not asked for.
        let all_known = !self.turn.full && self.turn.skipped == 0;
        if self.nesting.inside.is_none() || !all_known || !self.base.ready.is_empty() {
            return Doze::Refused;
        }
        self.shared.about_to_sleep();
        let sleep =
            self.commands.is_empty() && !self.shared.descriptor_freed_elsewhere() && may_sleep();
        if !sleep {
            self.shared.awake();
            return Doze::Refused;
        }
        self.turn.dozing = true;
        match self.base.timers.next() {
            Some(when) => Doze::Until(self.base.clock.instant(when)),
            None => Doze::UntilWoken,
        }
    }

    #[inline]
    pub(super) fn wake_from_doze(&mut self) {
        if mem::take(&mut self.turn.dozing) {
            self.shared.awake();
        }
    }

    /// The name of a loop nested in this one that has something to do, if there is one since the
    /// last [`poll`](Self::poll). Asked until it says `None`; a name may come more than once, and
    /// after the nesting has ended.
    #[inline]
    pub fn next_nested(&mut self) -> Option<u32> {
        self.nesting.reported.pop()
    }
}
