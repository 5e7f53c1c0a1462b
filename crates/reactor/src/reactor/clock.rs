//! Time as the loop counts it.

use std::time::{Duration, Instant};

/// Nanoseconds since the loop began: half the size of an [`Instant`] and cheap to compare.
///
/// They last for 584 years; whatever lies beyond is clamped, whatever lies before is zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Instant,
}

impl Clock {
    pub(crate) fn new(base: Instant) -> Self {
        Self { base }
    }

    pub(crate) fn nanos(self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        // One below the top, which means "never".
        u64::try_from(nanos).unwrap_or(u64::MAX).min(u64::MAX - 1)
    }

    pub(crate) fn instant(self, nanos: u64) -> Instant {
        self.base + Duration::from_nanos(nanos)
    }
}
