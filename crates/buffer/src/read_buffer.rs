//! The block a read loop reads into, again and again.

use std::fmt;
use std::mem;
use std::ops::Range;

use bytes::Bytes;

use crate::arena::Arena;
use crate::block::Block;
use crate::copy::COPY_BELOW;
use crate::options::READ_BLOCK;
use crate::pool::{BufferPool, Exhausted};

/// Messages below this many bytes are copied into chunks of [`SMALL_CHUNK`].
const SMALL: usize = 512;

/// The most that a small message that somebody keeps can keep alive with it.
///
/// A chunk is made once for dozens of messages, where an allocation for each costs some 200
/// instructions: more than all the rest of its way through a buffer.
const SMALL_CHUNK: usize = 4 * 1024;

/// The same for messages from [`SMALL`] up to [`COPY_BELOW`].
///
/// An allocation of a few KiB for each would have the allocator return memory to the system and
/// fetch it again with every turn of a loop.
const MEDIUM_CHUNK: usize = 64 * 1024;

/// The block a read loop reads into, again and again.
///
/// One serves all connections of a thread: read, take the messages out, read again. Small ones
/// are copied, side by side into chunks that are used again once their messages are gone, and the
/// block stays where it is: no pool, no lock and, once it runs, no allocation. Only when a message
/// of [`copy_below`](Self::copy_below) bytes or more is taken does the block become shared, and
/// the next read gets another one.
///
/// ```text
///                 |<------------- one read ------------->|
///  block          | GET | GET | PUT + 40 KiB of body     |  free
///  take(..)          |     |             |
///                  copy   copy   slice; the block now belongs to it
/// ```
///
/// | a message of | becomes | and, if kept, keeps at most |
/// |---|---|---|
/// | below 512 bytes | a copy in a chunk of 4 KiB | 4 KiB |
/// | below `copy_below` | a copy in a chunk of 64 KiB | 64 KiB |
/// | any size above | a slice of the block | the block |
///
/// A service that stores a few messages out of many for long, a cache, wants
/// [`own_copies`](Self::own_copies): then a copy keeps nothing but itself.
///
/// # Examples
///
/// ```
/// use std::io::Read;
/// use socktree_buffer::{BufferPool, ReadBuffer};
///
/// let pool = BufferPool::default();
/// let mut buffer = ReadBuffer::new(&pool);
/// let mut socket = &b"hello world"[..];
///
/// let n = socket.read(buffer.spare_mut())?;
/// buffer.set_filled(n);
/// assert_eq!(buffer.as_ref(), b"hello world");
/// let hello = buffer.take(0..5);
///
/// buffer.release(); // nothing to read for now
/// assert_eq!(hello, "hello");
/// assert_eq!(pool.usage().out, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ReadBuffer {
    pool: BufferPool,
    size: usize,
    copy_below: usize,
    own_copies: bool,
    /// The length from which on a message does not go to `small`; follows from the three above.
    shared_below: usize,
    /// Where messages below [`SMALL`] are copied to.
    small: Arena,
    /// Where other messages below `copy_below` are copied to.
    medium: Arena,
    state: State,
    /// How much of the block the last read filled; at most its capacity.
    filled: usize,
}

enum State {
    Empty,
    Owned(Block),
    /// The part that was filled, sliced by somebody already.
    Frozen(Bytes),
}

impl ReadBuffer {
    /// A buffer that reads into blocks of 64 KiB of `pool`.
    ///
    /// It holds none until one is asked for.
    #[must_use]
    pub fn new(pool: &BufferPool) -> Self {
        Self::with_size(pool, READ_BLOCK)
    }

    /// A buffer that reads into blocks of at least `size` bytes.
    #[must_use]
    pub fn with_size(pool: &BufferPool, size: usize) -> Self {
        let copy_below = COPY_BELOW.min(size / 4);
        Self {
            pool: pool.clone(),
            size,
            copy_below,
            own_copies: false,
            shared_below: SMALL.min(copy_below),
            small: Arena::new(SMALL_CHUNK),
            medium: Arena::new(MEDIUM_CHUNK),
            state: State::Empty,
            filled: 0,
        }
    }

    /// Sets the length from which on a message is a slice of the block and not a copy.
    ///
    /// If not said it is [`COPY_BELOW`], or a quarter of the block where that is less.
    #[must_use]
    pub fn copy_below(mut self, len: usize) -> Self {
        self.copy_below = len;
        self.decide()
    }

    /// Whether every copy gets an allocation of its own, of its own size.
    ///
    /// It costs an allocation for each, and then nothing else is kept alive by keeping it.
    #[must_use]
    pub fn own_copies(mut self, own: bool) -> Self {
        self.own_copies = own;
        self.decide()
    }

    fn decide(mut self) -> Self {
        self.shared_below = if self.own_copies {
            0
        } else {
            SMALL.min(self.copy_below)
        };
        self
    }

    /// A block to read into; what the last read brought is gone.
    ///
    /// Taken from the pool whatever its limit, the first time and after a large message.
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.filled = 0;
        if !matches!(self.state, State::Owned(_)) {
            self.state = State::Empty;
            self.state = State::Owned(self.pool.take(self.size));
        }
        self.owned()
    }

    /// Does the same within the pool's limit.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] if a block is needed and the limit does not allow it.
    #[inline]
    #[track_caller]
    pub fn try_spare_mut(&mut self) -> Result<&mut [u8], Exhausted> {
        self.filled = 0;
        if !matches!(self.state, State::Owned(_)) {
            self.state = State::Empty;
            self.state = State::Owned(self.pool.try_take(self.size)?);
        }
        Ok(self.owned())
    }

    #[inline]
    fn owned(&mut self) -> &mut [u8] {
        match &mut self.state {
            State::Owned(block) => block.as_mut_slice(),
            State::Empty | State::Frozen(_) => &mut [],
        }
    }

    /// Says how many bytes were read into the block.
    ///
    /// # Panics
    ///
    /// If that is more than its capacity, or if there is none to read into.
    #[inline]
    pub fn set_filled(&mut self, len: usize) {
        let capacity = self.owned().len();
        assert!(
            len <= capacity,
            "read {len} bytes into a block of {capacity}"
        );
        self.filled = len;
    }

    /// Takes a part of what was read: a copy if it is small, else a slice of the block.
    ///
    /// Parts may be taken in any order, more than once, and overlap.
    ///
    /// # Panics
    ///
    /// If `range` is not inside what was read.
    #[must_use]
    #[inline(always)]
    pub fn take(&mut self, range: Range<usize>) -> Bytes {
        if range.len() < self.shared_below
            && let State::Owned(block) = &self.state
        {
            // What nearly every message is.
            return self.small.copy(&block[..self.filled][range]);
        }
        self.take_rare(range)
    }

    /// Takes all that was read, as [`take`](Self::take) would, and leaves nothing.
    ///
    /// For those who cut nothing: no second handle is made to a block that has one reader.
    #[must_use]
    #[inline(always)]
    pub fn take_all(&mut self) -> Bytes {
        if self.filled < self.shared_below
            && let State::Owned(block) = &self.state
        {
            let filled = mem::take(&mut self.filled);
            return self.small.copy(&block[..filled]);
        }
        self.take_all_rare()
    }

    #[inline(never)]
    fn take_all_rare(&mut self) -> Bytes {
        if self.filled < self.copy_below {
            let copy = self.take_rare(0..self.filled);
            self.filled = 0;
            if matches!(self.state, State::Frozen(_)) {
                self.state = State::Empty;
            }
            return copy;
        }
        let filled = mem::take(&mut self.filled);
        match mem::replace(&mut self.state, State::Empty) {
            State::Owned(block) => block.freeze(filled),
            State::Frozen(bytes) => bytes,
            State::Empty => Bytes::new(),
        }
    }

    #[inline(never)]
    fn take_rare(&mut self, range: Range<usize>) -> Bytes {
        let len = range.len();
        if len >= self.copy_below {
            return self.freeze().slice(range);
        }
        // Not through `as_ref`, so that the arenas can be borrowed beside the block.
        let filled = match &self.state {
            State::Owned(block) => &block[..self.filled],
            State::Frozen(bytes) => bytes,
            State::Empty => &[],
        };
        let message = &filled[range];
        if self.own_copies {
            Bytes::copy_from_slice(message)
        } else if len < SMALL {
            self.small.copy(message)
        } else {
            self.medium.copy(message)
        }
    }

    #[inline]
    fn freeze(&mut self) -> &Bytes {
        // Once for all slices of a read.
        if !matches!(self.state, State::Frozen(_)) {
            self.state = State::Frozen(match mem::replace(&mut self.state, State::Empty) {
                State::Owned(block) => block.freeze(self.filled),
                State::Frozen(bytes) => bytes,
                State::Empty => Bytes::new(),
            });
        }
        match &self.state {
            State::Frozen(bytes) => bytes,
            State::Owned(_) | State::Empty => unreachable!("it was frozen just now"),
        }
    }

    /// Gives the block back to the pool, for a thread that is about to sleep.
    pub fn release(&mut self) {
        self.filled = 0;
        self.state = State::Empty;
        self.small.release();
        self.medium.release();
    }
}

impl AsRef<[u8]> for ReadBuffer {
    /// What the last read brought.
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match &self.state {
            State::Owned(block) => &block[..self.filled],
            State::Frozen(bytes) => bytes,
            State::Empty => &[],
        }
    }
}

impl fmt::Debug for ReadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuffer")
            .field("size", &self.size)
            .field("copy_below", &self.copy_below)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}
