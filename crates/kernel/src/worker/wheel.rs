//! The right to drive a worker, which goes from one thread to another while a handler blocks.

#[cfg(all(test, loom))]
mod interleavings;

use std::ops::{Deref, DerefMut};

use crate::sync::seam::atomic::{AtomicU64, Ordering};
use crate::sync::seam::{Mutex, MutexGuard, TryLockError, lock, thread};

/// What the driving thread works on. It lies here unlocked while a handler runs.
pub(super) struct Wheel<T> {
    held: Mutex<Held<T>>,
    /// Who drives: a thread whose epoch is older has been displaced.
    epoch: AtomicU64,
    /// Odd while a process runs, and different for every message: what the watchdog looks at.
    progress: AtomicU64,
}

struct Held<T> {
    epoch: u64,
    what: T,
}

/// The wheel in somebody's hands.
pub(super) struct InHand<'a, T>(MutexGuard<'a, Held<T>>);

impl<T> Deref for InHand<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.what
    }
}

impl<T> DerefMut for InHand<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.what
    }
}

impl<T> Wheel<T> {
    pub(super) fn new(what: T) -> Self {
        Self {
            held: Mutex::new(Held { epoch: 0, what }),
            epoch: AtomicU64::new(0),
            progress: AtomicU64::new(0),
        }
    }

    /// For a thread that is to drive under `epoch`: waits until it can. `None` if it was displaced
    /// before it came to it.
    pub(super) fn take(&self, epoch: u64) -> Option<InHand<'_, T>> {
        let held = lock(&self.held);
        (held.epoch == epoch).then_some(InHand(held))
    }

    /// The wheel if nobody has it in hand.
    #[inline]
    pub(super) fn try_hold(&self) -> Option<InHand<'_, T>> {
        match self.held.try_lock() {
            Ok(held) => Some(InHand(held)),
            Err(TryLockError::Poisoned(poisoned)) => Some(InHand(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// For the thread that drives under `epoch` and had let go while a handler ran; `None` if it
    /// has been displaced.
    ///
    /// It must not wait for the lock. A successor holds that while it sleeps, and would be waited
    /// for by a thread that still has a process to give back. Without a successor there is only
    /// the watchdog, or a process that puts another on the run queue, which hold it for a moment.
    #[inline]
    pub(super) fn regain(&self, epoch: u64) -> Option<InHand<'_, T>> {
        loop {
            if let Some(held) = self.try_hold() {
                return (held.0.epoch == epoch).then_some(held);
            }
            if self.is_displaced(epoch) {
                return None;
            }
            thread::yield_now();
        }
    }

    /// Whether another thread drives than the one that did under `epoch`.
    #[inline]
    pub(super) fn is_displaced(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) != epoch
    }

    #[inline]
    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// For the thread that drives, or that does not yet know better.
    #[inline]
    pub(super) fn set_progress(&self, progress: u64) {
        self.progress.store(progress, Ordering::Relaxed);
    }

    /// Gives the wheel to the thread that `successor` starts, to drive under the epoch that it is
    /// told; it waits until this returns. If there is none to be had, everything stays as it is.
    pub(super) fn pass<E>(
        &self,
        held: &mut InHand<'_, T>,
        successor: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        successor(held.0.epoch + 1)?;
        self.leave(held);
        Ok(())
    }

    /// Gives the wheel up: nobody drives until somebody does under the epoch that this answers.
    pub(super) fn leave(&self, held: &mut InHand<'_, T>) -> u64 {
        let next = held.0.epoch + 1;
        held.0.epoch = next;
        self.epoch.store(next, Ordering::Release);
        // The successor begins with nothing that runs.
        self.set_progress((self.progress() | 1) + 1);
        next
    }
}
