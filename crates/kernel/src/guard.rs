//! Runs foreign code so that its panic stays where it happened.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::reason::Reason;

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
