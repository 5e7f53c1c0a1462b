//! Finds, checks and writes message boundaries in a byte stream, without any input or output of its own.
#![forbid(unsafe_code)]
