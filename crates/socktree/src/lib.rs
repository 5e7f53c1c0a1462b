//! Supervised TCP: every listener and every connection is a meta-process with an address, an
//! owner, a mailbox and a reason when it ends; user code is plain functions on actors.
//!
//! ```no_run
//! use socktree::{Actor, Ctx, Flow, NodeError, Source, TcpEvent, TcpServer};
//!
//! struct Echo;
//!
//! impl Actor for Echo {
//!     type Msg = TcpEvent;
//!
//!     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
//!         let server = ctx.spawn_meta(TcpServer::bind("127.0.0.1:7171"))?; // owner: this process
//!         println!("listening on {}", server.local_addr());
//!         Ok(())
//!     }
//!
//!     fn handle(&mut self, _ctx: &mut Ctx<'_, Self>, _from: Source, event: TcpEvent) -> Flow {
//!         if let TcpEvent::Data { conn, data } = event {
//!             conn.write(data);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), NodeError> {
//!     socktree::node("echo@localhost").run(Echo)
//! }
//! ```
//!
//! # Contents
//!
//! - Processes: [`Actor`], [`Ctx`], [`Node`], [`Supervisor`], [`Pool`], [`Event`], [`BlockingMeta`]
//! - Connections: [`TcpServer`], [`TcpConnection`], [`Conn`], [`TcpEvent`], [`DisconnectReason`]
//! - Messages in a stream: [`Framing`], [`LengthPrefix`], and more of them in [`codec`]
//! - TLS: [`CertManager`], [`ClientAuth`], [`ClientTls`]
//! - How to put them together: [`guide`]
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `ring` | on | TLS with the cryptography of ring |
//! | `aws-lc-rs` | off | TLS with that of aws-lc-rs; at least one of the two is needed, and both may be there |
//! | `system-roots` | on | TLS clients that trust what the system trusts |
//! | `test-kit` | off | `TestKit`: runs actors in a test's own thread, with a clock that only the test moves |
//! | `sim` | off | `reactor::sim`: a simulated operating system, seeded and with faults, for [`tcp::node_on`] |
#![forbid(unsafe_code)]

pub mod guide;

#[doc(inline)]
pub use socktree_buffer as buffer;
#[doc(inline)]
pub use socktree_codec as codec;
#[doc(inline)]
pub use socktree_kernel as kernel;
#[doc(inline)]
pub use socktree_reactor as reactor;
#[doc(inline)]
pub use socktree_tcp as tcp;
#[doc(inline)]
pub use socktree_tls as tls;

pub use socktree_codec::{Decoder, Framing, LengthPrefix};
pub use socktree_kernel::{
    Actor, AddChild, Address, Alias, AutoShutdown, BlockingMeta, CallError, ChildError, ChildInfo,
    ChildSpec, ChildState, Ctx, Delivered, DisableChild, Down, EnableChild, Ended, Event,
    EventError, EventNotice, Exit, Fallback, Flow, InspectPool, Inspection, Level, LevelFilter,
    ListChildren, MetaHandle, MetaInfo, Name, NoMessages, Node, NodeBuilder, NodeError, NodeInfo,
    Pid, Pool, PoolInfo, Priority, ProcessInfo, ProcessState, Published, Publisher, Reason,
    RelationError, Reply, RequestRef, ResizePool, Restart, RestartHistory, RestartInfo, SendError,
    Shutdown, Source, SpawnError, SpawnOptions, StartChild, StopReport, Strategy, Subscription,
    Supervisor, Target, TimerRef, WorkerId, protocol,
};
#[cfg(feature = "test-kit")]
pub use socktree_kernel::{Probe, Subject, TestKit};
pub use socktree_reactor::Keepalive;
pub use socktree_tcp::{
    Bytes, Conn, ConnectError, DisconnectReason, Endpoint, ListenError, NoWorker, Overflow,
    ServerHandle, TcpConnection, TcpEvent, TcpServer, TryWriteError, WriteMarks, Written, bytes,
    node,
};
pub use socktree_tls::{
    CertError, CertManager, ClientAuth, ClientTls, Identity, Roots, ServeFor, TlsError, TlsInfo,
};

/// The examples of the project's README compile with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
