//! A pool of read buffers whose blocks come home when their last reader drops them.
//!
//! A block is lent out, read into, frozen into [`Bytes`](bytes::Bytes), sliced, cloned and sent to
//! other threads; when the last slice is dropped it is idle in its pool again. Ownership does all
//! of it: there is no `put`, so a block cannot come back twice, shortened, or while somebody still
//! reads it.
//!
//! ```text
//!           take                 freeze               slice, clone, send
//!  pool ---------------> Block ---------> Bytes ----------------------------> Bytes
//!   ^                      |                |                                   |
//!   `---- drop ------------'                `------------ last drop ------------'
//! ```
//!
//! ```
//! use socktree_buffer::{BufferPool, ReadBuffer};
//! use std::io::Read;
//!
//! let pool = BufferPool::default();
//! let mut buffer = ReadBuffer::new(&pool);
//! let mut socket = &b"GET /a GET /b"[..];
//!
//! let n = socket.read(buffer.spare_mut())?;
//! buffer.set_filled(n);
//! let requests = [buffer.take(0..6), buffer.take(7..13)];
//! buffer.release(); // no connection is readable: the block goes home
//!
//! assert_eq!(requests, ["GET /a", "GET /b"]);
//! assert_eq!(pool.usage().out, 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is here
//!
//! - [`BufferPool`] lends [`Block`]s by size class. It keeps so many bytes idle at most, lets go of
//!   what a burst left behind, and holds to a byte budget that its owner sets and asks about:
//!   [`usage`](BufferPool::usage), [`stats`](BufferPool::stats),
//!   [`leak_report`](BufferPool::leak_report).
//! - [`ReadBuffer`] is the block of a read loop. It copies small messages out, so that ten bytes
//!   do not keep 64 KiB alive, and gives large ones the block itself.
//! - [`copy_out`] is that choice alone, for those who hold `Bytes` of their own.
//!
//! # What it costs
//!
//! Taking a 64 KiB block, freezing it and dropping it takes 55 ns on one thread, 232 ns if another
//! one drops it; allocating and clearing such a block takes 759 and 1541. A block is cleared when
//! it is made and never again. There is no clock and no thread in here: decay is counted in takes,
//! or asked for with [`trim`](BufferPool::trim). No `unsafe`, no dependency but [`bytes`].
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod arena;
mod block;
mod copy;
mod leak;
mod options;
mod pool;
mod read_buffer;
mod shelf;
mod stats;

pub use crate::block::Block;
pub use crate::copy::{COPY_BELOW, copy_out};
pub use crate::leak::{LeakReport, OutstandingBlock};
pub use crate::options::{PoolOptions, PoolOptionsError};
pub use crate::pool::{BufferPool, Exhausted};
pub use crate::read_buffer::ReadBuffer;
pub use crate::stats::{ClassStats, PoolStats, Usage};
