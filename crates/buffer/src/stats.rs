//! What a pool says about itself.

/// How many bytes a pool has, and may have.
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
