//! What becomes of a server's TLS handshakes: counted by kind, and logged at a bounded rate.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socktree_kernel::Alias;

/// How often a failed handshake is worth a line: whoever scans ports would fill a disk otherwise.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// A handshake that had to make room for another.
pub(crate) const CROWDED_OUT: &str = "crowded-out";

#[derive(Default)]
pub(crate) struct Handshakes {
    completed: AtomicU64,
    failed: Mutex<Failed>,
}

#[derive(Default)]
struct Failed {
    by_kind: BTreeMap<&'static str, u64>,
    /// When the next line may be written, and how many failures had none since the last.
    next_line: Option<Instant>,
    unsaid: u64,
}

impl Handshakes {
    fn failures(&self) -> MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn completed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    /// `kind` comes from a closed set, so the counters are bounded whatever peers do.
    pub(super) fn failed(
        &self,
        (server, peer): (Alias, SocketAddr),
        kind: &'static str,
        why: &dyn fmt::Display,
        now: Instant,
    ) {
        let mut failed = self.failures();
        *failed.by_kind.entry(kind).or_default() += 1;
        if failed.next_line.is_some_and(|at| now < at) {
            failed.unsaid += 1;
            return;
        }
        failed.next_line = now.checked_add(LOG_EVERY);
        let unsaid = std::mem::take(&mut failed.unsaid);
        drop(failed);
        log::info!("{server}: no TLS with {peer}: {why} ({unsaid} more since the last line)");
    }

    pub(super) fn count(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    pub(super) fn by_kind(&self) -> Vec<(&'static str, u64)> {
        let failed = self.failures();
        failed.by_kind.iter().map(|(&k, &n)| (k, n)).collect()
    }
}
