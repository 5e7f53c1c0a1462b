//! The right to have a handshake under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One of so many handshakes that may be under way at once; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Permit {
    pub(crate) fn take(counter: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        // Nothing is ordered by the count: it only has to be exact.
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            })
            .ok()?;
        Some(Self(Arc::clone(counter)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
