//! A pool of read buffers whose blocks come home when their last reader drops them.
#![forbid(unsafe_code)]
