//! Reaching the loop from other threads.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam_channel::Sender;

/// What senders and the loop share.
///
/// # The protocol
///
/// A wake-up costs a system call on each side, so a sender pays for it only if the loop
/// sleeps, and only the first of a batch does. The loop raises `sleeping`, then looks at its
/// queues, then blocks; a sender queues, then looks at `sleeping`. With a sequentially
/// consistent fence between the two steps on both sides (Dekker's protocol), at least one of
/// them sees what the other did: either the loop finds the command, or the sender finds the
/// loop asleep. Release and acquire would not do: both could read the old value.
pub(crate) struct Shared {
    // Alone on its cache line: senders read it at every post.
    sleeping: Padded,
    wakeups: AtomicU64,
    /// These two are written by the loop alone.
    sleeps: AtomicU64,
    core_offers_taken: AtomicU64,
    /// A listener of this loop is waiting for a descriptor.
    starved: AtomicBool,
    /// Somebody else closed one.
    freed: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

// Two lines: the adjacent-line prefetcher of x86 fetches pairs.
#[repr(align(128))]
struct Padded(AtomicBool);

impl Shared {
    pub(crate) fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            sleeping: Padded(AtomicBool::new(false)),
            wakeups: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
            core_offers_taken: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            freed: AtomicBool::new(false),
            wake,
        }
    }

    /// The loop's side: what is queued before a sender's next look is seen after this.
    pub(crate) fn about_to_sleep(&self) {
        self.sleeping.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn awake(&self) {
        self.sleeping.0.store(false, Ordering::Relaxed);
    }

    /// The sender's side, after it has queued.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.0.load(Ordering::Relaxed) && self.sleeping.0.swap(false, Ordering::AcqRel)
        {
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            (self.wake)();
        }
    }

    pub(crate) fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// The loop's side: it is going to sleep.
    pub(crate) fn count_sleep(&self) {
        let sleeps = self.sleeps.load(Ordering::Relaxed);
        self.sleeps.store(sleeps + 1, Ordering::Relaxed);
    }

    pub(crate) fn sleeps(&self) -> u64 {
        self.sleeps.load(Ordering::Relaxed)
    }

    /// The loop's side: somebody else has used the core that it offered.
    pub(crate) fn offer_was_taken(&self) {
        let taken = self.core_offers_taken.load(Ordering::Relaxed);
        self.core_offers_taken.store(taken + 1, Ordering::Relaxed);
    }

    pub(crate) fn core_offers_taken(&self) -> u64 {
        self.core_offers_taken.load(Ordering::Relaxed)
    }

    pub(crate) fn set_starved(&self, starved: bool) {
        self.starved.store(starved, Ordering::Relaxed);
    }

    pub(crate) fn descriptor_freed_elsewhere(&self) -> bool {
        self.freed.load(Ordering::Relaxed)
    }

    pub(crate) fn take_descriptor_freed(&self) -> bool {
        self.descriptor_freed_elsewhere() && self.freed.swap(false, Ordering::Relaxed)
    }
}

/// A handle to a [`Reactor`](crate::Reactor) for other threads; cheap to clone.
///
/// Outlives the loop harmlessly: posting then gives the command back.
pub struct Remote<C> {
    commands: Sender<C>,
    shared: Arc<Shared>,
}

impl<C: Send> Remote<C> {
    pub(crate) fn new(commands: Sender<C>, shared: Arc<Shared>) -> Self {
        Self { commands, shared }
    }

    /// Queues a command for the loop and wakes it if it sleeps.
    ///
    /// Commands of one thread arrive in order. The queue has no bound: it carries control,
    /// loops post to each other, and two that wait for room in each other's queue would wait
    /// for good. What needs a bound has to be counted where it is produced.
    ///
    /// # Errors
    ///
    /// [`PostError`] with the command inside when the loop is gone.
    #[inline]
    pub fn post(&self, command: C) -> Result<(), PostError<C>> {
        self.commands
            .send(command)
            .map_err(|refused| PostError(refused.0))?;
        self.shared.wake();
        Ok(())
    }

    /// Wakes the loop if it sleeps.
    ///
    /// For queues other than the loop's own: make the work visible first, then call this. It
    /// is not remembered for a loop that is awake, because that one asks `may_sleep` before
    /// it blocks and finds the work there (see [`Reactor::poll`](crate::Reactor::poll)).
    #[inline]
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// How often the loop has slept: hardly ever, if it has more to do than it gets done. Costs
    /// one load.
    pub fn sleeps(&self) -> u64 {
        self.shared.sleeps()
    }

    /// How often another thread has used the core that the loop offered before it slept: many
    /// times in a second, if more threads want to run than there are cores. Costs one load.
    pub fn core_offers_taken(&self) -> u64 {
        self.shared.core_offers_taken()
    }

    /// Says that a descriptor was closed outside this loop.
    ///
    /// A listener that had run out of descriptors tries again at once instead of at the end
    /// of its pause. Costs one load while no listener waits. A hint: one that comes too early
    /// to be noticed costs the rest of the pause, a second at most.
    #[inline]
    pub fn descriptor_freed(&self) {
        if self.shared.starved.load(Ordering::Relaxed) {
            self.shared.freed.store(true, Ordering::Relaxed);
            self.shared.wake();
        }
    }
}

impl<C> Clone for Remote<C> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C> fmt::Debug for Remote<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// The loop is gone; here is the command it did not take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PostError<C>(pub C);

impl<C> fmt::Debug for PostError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostError(..)")
    }
}

impl<C> fmt::Display for PostError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is gone")
    }
}

impl<C> Error for PostError<C> {}
