//! Runs foreign code so that its panic stays where it happened.

use std::any::type_name;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::reason::Reason;

/// The user's value among our own, whose drop is contained wherever it comes about: that of several
/// together, too, of which the second to panic would end the whole program.
#[derive(Clone, Debug)]
pub(crate) struct Foreign<T>(Option<T>);

impl<T> Foreign<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Foreign<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        contain(type_name::<T>(), || drop(value));
    }
}

/// Runs a callback; a panic becomes the reason.
pub(crate) fn caught<T>(f: impl FnOnce() -> Result<T, Reason>) -> Result<T, Reason> {
    // The state that a panic may leave half changed is dropped with its process and seen by none.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let reason = Reason::from_panic(&*payload);
        // The payload is the user's as well, and its drop may panic in turn.
        if catch_unwind(AssertUnwindSafe(|| drop(payload))).is_err() {
            log::error!("a panic's payload panicked when it was dropped");
        }
        Err(reason)
    })
}

/// Runs what has no say in how things go on, such as a message's drop; a panic is only logged.
///
/// One value at a time: a second panic while the first one unwinds ends the whole program.
pub(crate) fn contain(who: impl fmt::Display, f: impl FnOnce()) {
    let panicked = caught(|| {
        f();
        Ok(())
    });
    if let Err(panic) = panicked {
        log::error!("{who}: {panic}");
    }
}
