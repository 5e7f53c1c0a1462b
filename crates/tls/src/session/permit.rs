//! The right to have a handshake under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One of so many handshakes that may be under way at once; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    /// All of a manager's.
    all: Arc<AtomicUsize>,
    /// Those of one of its shares.
    share: Option<Arc<AtomicUsize>>,
}

impl Permit {
    pub(crate) fn take(all: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        take(all, limit)?;
        let all = Arc::clone(all);
        Some(Self { all, share: None })
    }

    /// The bound is the share's; the others' places do not matter.
    pub(crate) fn take_of(
        all: &Arc<AtomicUsize>,
        share: &Arc<AtomicUsize>,
        limit: usize,
    ) -> Option<Self> {
        take(share, limit)?;
        all.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            all: Arc::clone(all),
            share: Some(Arc::clone(share)),
        })
    }
}

fn take(counter: &AtomicUsize, limit: usize) -> Option<()> {
    // Nothing is ordered by the count: it only has to be exact.
    let more = |count| (count < limit).then_some(count + 1);
    let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    taken.ok().map(drop)
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(share) = &self.share {
            share.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
