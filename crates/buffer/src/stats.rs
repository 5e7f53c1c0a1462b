//! What a pool says about itself.

/// How many bytes a pool has, and may have.
///
/// # Examples
///
/// ```
/// use socktree_buffer::{BufferPool, PoolOptions};
///
/// let pool = BufferPool::new(PoolOptions::new().limit(1 << 20))?;
/// let block = pool.take(4096);
/// let usage = pool.usage();
/// assert_eq!((usage.out, usage.idle, usage.limit), (4096, 0, Some(1 << 20)));
/// assert_eq!(usage.available(), Some((1 << 20) - 4096));
/// # drop(block);
/// # Ok::<(), socktree_buffer::PoolOptionsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of blocks that are taken: held, or pinned by a slice of them.
    pub out: usize,
    /// Bytes of blocks that wait to be taken again.
    pub idle: usize,
    /// The limit on the sum, if there is one.
    pub limit: Option<usize>,
}

impl Usage {
    /// How much more may be taken before the pool refuses, if there is a limit.
    ///
    /// Idle blocks count as free: they are taken again, or freed to make room.
    #[must_use]
    pub fn available(&self) -> Option<usize> {
        self.limit.map(|limit| limit.saturating_sub(self.out))
    }
}

/// A pool's counters at one moment.
///
/// # Examples
///
/// ```
/// use socktree_buffer::BufferPool;
///
/// let pool = BufferPool::default();
/// drop((pool.take(4096), pool.take(4096)));
/// let stats = pool.stats();
/// assert_eq!((stats.usage.out, stats.high_water), (0, 8192));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Bytes now.
    pub usage: Usage,
    /// The most bytes that were ever out at once.
    pub high_water: usize,
    /// How often [`try_take`](crate::BufferPool::try_take) refused.
    pub refused: u64,
    /// Block by block size, smallest first.
    pub classes: Vec<ClassStats>,
    /// Blocks above the largest class, made to measure; their `size` is zero.
    pub oversize: ClassStats,
}

/// The counters of one size of block, in blocks.
///
/// # Examples
///
/// ```
/// use socktree_buffer::BufferPool;
///
/// let pool = BufferPool::default();
/// drop(pool.take(100));
/// drop(pool.take(100));
/// let smallest = pool.stats().classes[0];
/// assert_eq!((smallest.size, smallest.made, smallest.reused), (4096, 1, 1));
/// assert_eq!((smallest.out, smallest.idle), (0, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// The size of a block in bytes.
    pub size: usize,
    /// Blocks that are taken.
    pub out: usize,
    /// Blocks that wait to be taken again.
    pub idle: usize,
    /// The most that were ever out at once.
    pub high_water: usize,
    /// Blocks that had to be allocated.
    pub made: u64,
    /// Takes that an idle block served.
    pub reused: u64,
    /// Blocks that were freed: above the cap, by decay, or to make room.
    pub freed: u64,
}
