//! One block of memory, on its way from the pool to its readers and back.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;

use crate::pool::Home;
use crate::shelf::Slip;

/// A block of memory that belongs to a pool and, for now, to you.
///
/// It is bytes, initialised over its whole capacity, so a read needs no `unsafe` and no clearing.
/// They are whatever was read into the block before: hand on only the part that was written.
///
/// Dropped, it goes back; [frozen](Self::freeze), it goes back when the last slice is dropped.
///
/// # Examples
///
/// ```
/// use std::io::Read;
/// use socktree_buffer::BufferPool;
///
/// let pool = BufferPool::default();
/// let mut block = pool.take(65536);
/// let n = (&b"from a socket"[..]).read(&mut block)?;
/// let bytes = block.freeze(n);
/// assert_eq!(bytes, "from a socket");
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a block that is dropped at once was taken for nothing"]
pub struct Block {
    bytes: Box<[u8]>,
    slip: Slip,
    home: Arc<Home>,
}

impl Block {
    pub(crate) fn new(bytes: Box<[u8]>, slip: Slip, home: Arc<Home>) -> Self {
        Self { bytes, slip, home }
    }

    /// Its size in bytes, which is that of its class: at least what was asked for.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// All of it, to write into.
    #[must_use]
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Makes the first `len` bytes shared and read-only.
    ///
    /// Slices of the result keep the whole block out, so a few small ones that live long should
    /// be [copied out](crate::copy_out) instead.
    ///
    /// # Panics
    ///
    /// If `len` is more than the capacity.
    #[must_use = "dropping the bytes sends the block home"]
    pub fn freeze(self, len: usize) -> Bytes {
        assert!(
            len <= self.capacity(),
            "froze {len} bytes of a block of {}",
            self.capacity()
        );
        Bytes::from_owner(Frozen { block: self, len })
    }
}

impl Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.home.put(self.slip, mem::take(&mut self.bytes));
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the content: it may be another connection's.
        f.debug_struct("Block")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// A block that is only read, and the part of it that was written.
struct Frozen {
    block: Block,
    len: usize,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        &self.block[..self.len]
    }
}
