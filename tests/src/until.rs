//! Waiting for something that tells nobody when it happens.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a test waits for anything: long beside what a busy machine needs, short beside a
/// person's patience.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks again and again, for what cannot be waited for: counters, and other processes' tables.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    // Nobody ever rings; waiting for it is the pause.
    let (_silent, bell) = mpsc::channel::<()>();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not in {DEADLINE:?}: {what}");
        let _pause = bell.recv_timeout(PAUSE);
    }
}
