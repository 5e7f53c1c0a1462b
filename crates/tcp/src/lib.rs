//! TCP listeners and connections as meta-processes of actors.
//!
//! A [`TcpServer`] accepts connections for the process that spawned it, for a list of workers, or
//! for a process each; a [`TcpConnection`] makes one. Either way a connection is a meta-process:
//! it has an alias, an owner that gets [`TcpEvent`]s, and a reason when it ends.
//!
//! The owner and its connections live on the same worker, so a message costs what it costs in a
//! hand-written loop: one read, one write, and a mailbox in between.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `ring` | on | TLS with the cryptography of ring |
//! | `aws-lc-rs` | off | TLS with that of aws-lc-rs; at least one of the two is needed, and both may be there |
//! | `system-roots` | on | TLS clients that trust what the system trusts |
#![forbid(unsafe_code)]

mod client;
mod conn;
mod connection;
mod driver;
mod endpoint;
mod event;
mod node;
mod options;
mod route;
mod server;

// Events bring bytes, and writes take them.
pub use bytes::{self, Bytes};
pub use client::{ConnectError, TcpConnection};
pub use conn::{Conn, TryWriteError, Written};
pub use endpoint::Endpoint;
pub use event::{DisconnectReason, TcpEvent};
pub use node::{NoDriver, node, node_on};
pub use options::{Overflow, WriteMarks};
pub use route::NoWorker;
pub use server::{ListenError, PerConnection, Routed, ServerHandle, TcpServer, ToParent};

/// The README's example runs with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
