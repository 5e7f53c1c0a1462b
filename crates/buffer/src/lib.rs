//! A pool of read buffers whose blocks come home when their last reader drops them.
#![forbid(unsafe_code)]

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
