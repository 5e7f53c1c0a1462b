//! The choice between a slice, which pins its block, and a copy, which does not.

use std::ops::Range;

use bytes::Bytes;

/// The length from which on slicing is worth it: below, a piece is copied out of its block.
///
/// A slice is the cheaper of the two at every length (20 ns for 1 KiB, where a copy costs 47, and
/// 38 for 16 KiB, where it costs 405), so the reason to copy is memory: a slice of ten bytes keeps
/// 64 KiB alive, and ten thousand of them 640 MB. At a quarter of the block for reads, no slice
/// keeps more than four times its own size. The copies of one full read then cost 1.5 to 3
/// microseconds in all, for messages from 1 KiB on (`docs/codec-measurements.md`).
pub const COPY_BELOW: usize = 16 * 1024;

/// Takes `range` out of `block`: as a copy if it is shorter than `copy_below`, else as a slice.
///
/// # Panics
///
/// If `range` is not inside `block`.
///
/// # Examples
///
/// ```
/// use socktree_buffer::{BufferPool, COPY_BELOW, copy_out};
///
/// let pool = BufferPool::default();
/// let block = pool.take(65536).freeze(65536);
/// let small = copy_out(&block, 0..10, COPY_BELOW);
/// let large = copy_out(&block, 10..60_000, COPY_BELOW);
/// assert_eq!(large.as_ptr(), block[10..].as_ptr());
/// drop((block, large));
/// assert_eq!(pool.usage().out, 0); // `small` keeps nothing
/// ```
#[must_use]
#[inline]
pub fn copy_out(block: &Bytes, range: Range<usize>, copy_below: usize) -> Bytes {
    if range.len() < copy_below {
        Bytes::copy_from_slice(&block[range])
    } else {
        block.slice(range)
    }
}
