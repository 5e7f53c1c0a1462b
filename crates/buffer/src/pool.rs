//! The pool: where blocks come from and go back to.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::block::Block;
use crate::leak::LeakReport;
use crate::options::{PoolOptions, PoolOptionsError};
use crate::shelf::{Freed, Shelf, Slip};
use crate::stats::{PoolStats, Usage};

/// A pool of blocks of memory, by size.
///
/// [`take`](Self::take) a [`Block`], read into it, [`freeze`](Block::freeze) it and hand slices
/// out. When the last slice is dropped, on whatever thread, the block is idle here again. There is
/// no `put`: a block cannot come home twice, shortened, or while somebody still reads it.
///
/// ```text
///           take                 freeze               slice, clone, send
///  pool ---------------> Block ---------> Bytes ----------------------------> Bytes
///   ^                      |                |                                   |
///   `---- drop ------------'                `------------ last drop ------------'
/// ```
///
/// A pool is a handle; clones are the same pool. Blocks may outlive it.
///
/// # Examples
///
/// ```
/// use socktree_buffer::BufferPool;
///
/// let pool = BufferPool::default();
/// let mut block = pool.take(1000);
/// block[..5].copy_from_slice(b"hello");
/// let bytes = block.freeze(5);
/// assert_eq!(pool.usage().out, 4096);
///
/// let word = bytes.slice(1..3);
/// drop(bytes);
/// assert_eq!(pool.usage().out, 4096); // `word` is in it
/// drop(word);
/// assert_eq!((pool.usage().out, pool.usage().idle), (0, 4096));
/// ```
#[derive(Clone)]
pub struct BufferPool {
    handle: Arc<Handle>,
}

/// What the handles of a pool share; its blocks share only the home behind it.
struct Handle(Arc<Home>);

/// Where blocks go back to.
pub(crate) struct Home {
    shelf: Mutex<Shelf>,
}

impl BufferPool {
    /// Makes a pool, with nothing in it.
    ///
    /// # Errors
    ///
    /// [`PoolOptionsError`] if the sizes do not ascend or the limit is below the largest.
    pub fn new(options: PoolOptions) -> Result<Self, PoolOptionsError> {
        options.check()?;
        Ok(Self::with_shelf(Shelf::new(options)))
    }

    fn with_shelf(shelf: Shelf) -> Self {
        let home = Arc::new(Home {
            shelf: Mutex::new(shelf),
        });
        Self {
            handle: Arc::new(Handle(home)),
        }
    }

    /// Takes a block of at least `size` bytes, whatever the limit says.
    ///
    /// For those who cannot go on without; what it takes above the limit makes
    /// [`try_take`](Self::try_take) refuse for longer.
    #[track_caller]
    pub fn take(&self, size: usize) -> Block {
        let location = Location::caller();
        let taken = self
            .handle
            .0
            .with_shelf(|shelf, freed| shelf.take(size, location, freed));
        self.block(taken)
    }

    /// Takes a block of at least `size` bytes if the limit allows it.
    ///
    /// # Errors
    ///
    /// [`Exhausted`], with the state of the budget, if it does not, even with every idle block
    /// freed.
    ///
    /// # Examples
    ///
    /// ```
    /// use socktree_buffer::{BufferPool, PoolOptions};
    ///
    /// let pool = BufferPool::new(PoolOptions::new().limit(100_000))?;
    /// let first = pool.try_take(65536)?;
    /// let refused = pool.try_take(65536).unwrap_err();
    /// assert_eq!(refused.usage.available(), Some(34464));
    /// drop(first);
    /// assert!(pool.try_take(65536).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn try_take(&self, size: usize) -> Result<Block, Exhausted> {
        let location = Location::caller();
        let taken = self.handle.0.with_shelf(|shelf, freed| {
            if !shelf.admits(size) {
                return Err(Exhausted {
                    size,
                    usage: shelf.usage(),
                });
            }
            Ok(shelf.take(size, location, freed))
        })?;
        Ok(self.block(taken))
    }

    fn block(&self, (slip, idle): (Slip, Option<Box<[u8]>>)) -> Block {
        // Zeroed when made and never again: what is in it later is what was read into it.
        let bytes = idle.unwrap_or_else(|| vec![0; slip.size].into_boxed_slice());
        Block::new(bytes, slip, Arc::clone(&self.handle.0))
    }

    /// How many bytes the pool has, out and idle, and the limit on them.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.handle.0.lock().usage()
    }

    /// The pool's counters.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.handle.0.lock().stats()
    }

    /// Changes the limit; `None` lifts it.
    ///
    /// Idle blocks above a lower limit are freed at once, those in use when they come home.
    pub fn set_limit(&self, limit: Option<usize>) {
        self.handle
            .0
            .with_shelf(|shelf, freed| shelf.set_limit(limit, freed));
    }

    /// Frees the blocks that lay idle ever since the last trim, and tells how many bytes that
    /// was.
    ///
    /// Call it from a timer: a pool that nobody uses any more is then empty after two rounds.
    pub fn trim(&self) -> usize {
        self.handle
            .0
            .with_shelf(|shelf, freed| shelf.decay(1, freed))
    }

    /// Tells which blocks are out, and where those were taken that were
    /// [recorded](PoolOptions::trace_every).
    ///
    /// It walks the records under the pool's lock: for the end of a test or a question by hand.
    pub fn leak_report(&self) -> LeakReport {
        self.handle.0.lock().leak_report()
    }
}

impl Default for BufferPool {
    /// Makes a pool of blocks of 4, 16 and 64 KiB; see [`PoolOptions::new`].
    fn default() -> Self {
        Self::with_shelf(Shelf::new(PoolOptions::new()))
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.with_shelf(Shelf::close);
    }
}

impl Home {
    pub(crate) fn put(&self, slip: Slip, block: Box<[u8]>) {
        self.with_shelf(|shelf, freed| shelf.put(slip, block, freed));
    }

    fn with_shelf<T>(&self, act: impl FnOnce(&mut Shelf, &mut Freed) -> T) -> T {
        let mut freed = Freed::new();
        let mut shelf = self.lock();
        let result = act(&mut shelf, &mut freed);
        // The lock is for pops and pushes. Handing 64 KiB to the allocator takes longer.
        drop(shelf);
        drop(freed);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Nothing under the lock panics half-way through a change, so poison means nothing.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a pool's limit does not allow another block.
///
/// # Examples
///
/// ```
/// use socktree_buffer::{BufferPool, PoolOptions};
///
/// let pool = BufferPool::new(PoolOptions::new().limit(64 * 1024))?;
/// let block = pool.try_take(64 * 1024)?;
/// let error = pool.try_take(1).unwrap_err();
/// assert_eq!((error.size, error.usage.out), (1, 64 * 1024));
/// drop(block); // what comes home may be taken again
/// assert!(pool.try_take(1).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted {
    /// How many bytes were asked for.
    pub size: usize,
    /// The budget at that moment.
    pub usage: Usage,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { out, limit, .. } = self.usage;
        let limit = limit.unwrap_or(usize::MAX);
        write!(
            f,
            "no block of {} bytes with {out} bytes out of {limit} in use",
            self.size
        )
    }
}

impl Error for Exhausted {}
