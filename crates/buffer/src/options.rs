//! What a pool keeps, and how much of it.

use std::error::Error;
use std::fmt;

/// The size of a block for reading from a socket.
///
/// One system call then takes a whole receive window of a fast local peer, and the price of the
/// call is spread over 64 KiB.
pub(crate) const READ_BLOCK: usize = 64 * 1024;

/// What a pool keeps, and how much of it.
///
/// # Examples
///
/// ```
/// use socktree_buffer::{BufferPool, PoolOptions};
///
/// let options = PoolOptions::new().classes([4096, 65536]).max_idle(1 << 20).limit(8 << 20);
/// let pool = BufferPool::new(options)?;
/// assert_eq!(pool.take(5000).capacity(), 65536);
/// # Ok::<(), socktree_buffer::PoolOptionsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until a pool is made with them"]
pub struct PoolOptions {
    pub(crate) classes: Vec<usize>,
    pub(crate) max_idle: usize,
    pub(crate) limit: Option<usize>,
    pub(crate) decay_every: u64,
    pub(crate) trace_every: u64,
}

impl PoolOptions {
    /// Blocks of 4, 16 and 64 KiB, at most 4 MiB of them idle, no limit on those in use.
    pub fn new() -> Self {
        Self {
            classes: vec![4 * 1024, 16 * 1024, READ_BLOCK],
            // What a worker's burst of 64 connections takes at once; the rest is the allocator's.
            max_idle: 4 << 20,
            limit: None,
            decay_every: 1024,
            trace_every: u64::from(cfg!(debug_assertions)),
        }
    }

    /// The sizes of blocks, in bytes, smallest first.
    ///
    /// A block comes from the smallest class that holds what is asked for; what is larger than
    /// the largest is made to measure and not kept.
    pub fn classes(mut self, sizes: impl IntoIterator<Item = usize>) -> Self {
        self.classes = sizes.into_iter().collect();
        self
    }

    /// The most bytes kept in idle blocks; what comes home above that is freed.
    pub fn max_idle(mut self, bytes: usize) -> Self {
        self.max_idle = bytes;
        self
    }

    /// The most bytes in blocks, idle or in use, before [`try_take`] refuses.
    ///
    /// None if not said; [`set_limit`](crate::BufferPool::set_limit) changes it later.
    ///
    /// [`try_take`]: crate::BufferPool::try_take
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// How many takes make a window of decay; `0` turns decay off.
    ///
    /// Half of the blocks that lay idle through a whole window are freed at its end, so that what
    /// a burst left behind goes away although the cap would allow it. A pool that nobody uses
    /// counts nothing: there, [`trim`](crate::BufferPool::trim) is for the owner's timer.
    pub fn decay_every(mut self, takes: u64) -> Self {
        self.decay_every = takes;
        self
    }

    /// Of how many takes one is recorded for the [leak report](crate::BufferPool::leak_report).
    ///
    /// `0` records none. Every one is recorded in builds with debug assertions, none in others.
    pub fn trace_every(mut self, takes: u64) -> Self {
        self.trace_every = takes;
        self
    }

    pub(crate) fn check(&self) -> Result<(), PoolOptionsError> {
        if self.classes.is_empty() {
            return Err(PoolOptionsError::NoClasses);
        }
        let mut below = 0;
        for &size in &self.classes {
            if size <= below {
                return Err(PoolOptionsError::ClassOrder { size, below });
            }
            below = size;
        }
        match self.limit {
            Some(limit) if limit < below => Err(PoolOptionsError::LimitBelowClass {
                limit,
                class: below,
            }),
            _ => Ok(()),
        }
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Says which option of a pool is wrong.
///
/// # Examples
///
/// ```
/// use socktree_buffer::{BufferPool, PoolOptions, PoolOptionsError};
///
/// let error = BufferPool::new(PoolOptions::new().classes([4096, 1024])).unwrap_err();
/// assert_eq!(error, PoolOptionsError::ClassOrder { size: 1024, below: 4096 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolOptionsError {
    /// `classes` names no size.
    NoClasses,
    /// `classes` has a size that is zero or not above the one before it.
    ClassOrder {
        /// The size.
        size: usize,
        /// The one before it, or zero.
        below: usize,
    },
    /// `limit` does not allow a single block of the largest class.
    LimitBelowClass {
        /// The limit.
        limit: usize,
        /// The size of the largest class.
        class: usize,
    },
}

impl fmt::Display for PoolOptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClasses => f.write_str("classes: at least one size is needed"),
            Self::ClassOrder { size, below } => {
                write!(f, "classes: a size of {size} bytes after one of {below}")
            }
            Self::LimitBelowClass { limit, class } => {
                write!(f, "limit: {limit} is below one block of {class} bytes")
            }
        }
    }
}

impl Error for PoolOptionsError {}
