//! Who took the blocks that have not come home.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// The blocks that are out, and where they were taken.
///
/// A block is out until the last slice of it is dropped, so a small slice in a long-lived map is
/// the usual suspect. Blocks taken by the read loop all have one place; set `RUST_BACKTRACE=1` to
/// see who called it, and look at the `age`.
///
/// # Examples
///
/// ```
/// use socktree_buffer::{BufferPool, PoolOptions};
///
/// let pool = BufferPool::new(PoolOptions::new().trace_every(1))?;
/// let kept = pool.take(100).freeze(10);
/// let report = pool.leak_report();
/// assert_eq!(report.blocks().len(), 1);
/// assert!(report.to_string().contains("block of 4096 bytes"));
/// drop(kept);
/// assert!(pool.leak_report().is_empty());
/// # Ok::<(), socktree_buffer::PoolOptionsError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a report does nothing until it is looked at"]
pub struct LeakReport {
    pub(crate) out: usize,
    pub(crate) blocks: Vec<OutstandingBlock>,
}

impl LeakReport {
    /// Tells if every block is at home.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out == 0
    }

    /// How many blocks are out, recorded or not.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// The blocks out of which it was recorded where they were taken, oldest first.
    #[must_use]
    pub fn blocks(&self) -> &[OutstandingBlock] {
        &self.blocks
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks out, {} recorded", self.out, self.blocks.len())?;
        self.blocks
            .iter()
            .try_for_each(|block| write!(f, "\n{block}"))
    }
}

/// One block that is out.
///
/// # Examples
///
/// ```
/// use socktree_buffer::{BufferPool, PoolOptions};
///
/// let pool = BufferPool::new(PoolOptions::new().trace_every(1))?;
/// let _kept = pool.take(5000);
/// let _later = pool.take(100);
/// let report = pool.leak_report();
/// let oldest = &report.blocks()[0];
/// assert_eq!((oldest.size, oldest.age), (16 * 1024, 1));
/// assert!(oldest.location.file().ends_with(".rs"));
/// # Ok::<(), socktree_buffer::PoolOptionsError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutstandingBlock {
    /// Its size in bytes.
    pub size: usize,
    /// How many blocks were taken from the pool since.
    pub age: u64,
    /// The line that took it.
    pub location: &'static Location<'static>,
    /// How that line was reached; captured if `RUST_BACKTRACE` is set.
    pub backtrace: Arc<Backtrace>,
}

impl fmt::Display for OutstandingBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            size,
            age,
            location,
            backtrace,
        } = self;
        write!(f, "block of {size} bytes, {age} takes ago, at {location}")?;
        if backtrace.status() == BacktraceStatus::Captured {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}
