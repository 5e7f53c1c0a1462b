//! How to build services: the patterns of the Ergo Framework's TCP page, and its pitfalls.
//!
//! # A registry of connections
//!
//! `Connect` comes first and `Disconnect` last, once each, always. So a map that is filled by the
//! one and emptied by the other never leaks, and never lacks an entry when `Data` comes.
//!
//! ```
//! use std::collections::HashMap;
//! use std::time::Instant;
//! use socktree::{Actor, Conn, Ctx, Flow, Source, TcpEvent};
//!
//! #[derive(Default)]
//! struct Registry { since: HashMap<Conn, Instant> }
//!
//! impl Actor for Registry {
//!     type Msg = TcpEvent;
//!
//!     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
//!         match event {
//!             TcpEvent::Connect { conn } => drop(self.since.insert(conn, ctx.now())),
//!             TcpEvent::Disconnect { conn, reason } => {
//!                 if let Some(since) = self.since.remove(&conn) {
//!                     let lasted = ctx.now() - since;
//!                     println!("{} left after {lasted:?}: {reason}", conn.peer_addr());
//!                 }
//!             }
//!             _ => {}
//!         }
//!         Ok(())
//!     }
//! }
//! # let _ = Registry::default();
//! ```
//!
//! # Messages instead of a stream
//!
//! TCP keeps bytes in order but not the boundaries between messages. Say how yours are told apart,
//! and each `Data` is exactly one of them:
//!
//! ```
//! use socktree::{LengthPrefix, TcpServer};
//! // [4 bytes length, big endian][payload], at most 64 KiB; the owner gets the payload.
//! let framing = LengthPrefix::u32_be().strip(true).max_frame(64 << 10).build()?;
//! let server = TcpServer::bind("127.0.0.1:0").framing(framing);
//! # let _ = server;
//! # Ok::<(), socktree::codec::FramingError>(())
//! ```
//!
//! [`Conn::write_frame`](crate::Conn::write_frame) writes what the other end reads as one message.
//!
//! # Several kinds of messages
//!
//! An actor that is more than the owner of connections takes an enum. What is sent to it is
//! converted at the sender: a type that it does not take is an error there, at once.
//!
//! ```
//! use socktree::{Actor, Conn, Ctx, Flow, Source, TcpEvent, protocol};
//!
//! struct Announce(&'static str);
//! protocol! { enum Msg { Net(TcpEvent), Announce(Announce) } }
//!
//! #[derive(Default)]
//! struct Room { members: Vec<Conn> }
//!
//! impl Actor for Room {
//!     type Msg = Msg;
//!
//!     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, message: Msg) -> Flow {
//!         match message {
//!             Msg::Net(TcpEvent::Connect { conn }) => self.members.push(conn),
//!             Msg::Net(TcpEvent::Disconnect { conn, .. }) => self.members.retain(|c| *c != conn),
//!             // Everybody gets the same bytes, and nobody a copy.
//!             Msg::Net(TcpEvent::Data { data, .. }) => {
//!                 for member in &self.members {
//!                     member.write(data.clone());
//!                 }
//!             }
//!             Msg::Announce(Announce(text)) => {
//!                 for member in &self.members {
//!                     member.write(text);
//!                 }
//!             }
//!             Msg::Net(_) => {}
//!         }
//!         Ok(())
//!     }
//! }
//! # let _ = Room::default();
//! ```
//!
//! # Who owns a connection
//!
//! | wanted | said |
//! |---|---|
//! | one actor for all | nothing: the process that spawns the server owns them |
//! | a few workers that take turns | [`TcpServer::workers`](crate::TcpServer::workers), with names or pids |
//! | an actor for each | [`TcpServer::per_connection`](crate::TcpServer::per_connection) |
//!
//! A connection is bound to the very process that it was routed to. When that ends, the connection
//! ends; a worker that is restarted under the same name gets new connections only, and never a
//! message of one that it has not seen.
//!
//! # TLS
//!
//! [`TcpServer::tls`](crate::TcpServer::tls) takes a [`CertManager`](crate::CertManager), a handle
//! that several servers can share. It may hold certificates for many names, and replaces them while
//! the servers run: by hand, or out of files that are looked at every ten seconds.
//! [`TcpConnection::tls`](crate::TcpConnection::tls) takes a [`ClientTls`](crate::ClientTls), which
//! trusts what the system trusts unless told otherwise.
//!
//! ```
//! use socktree::{ClientAuth, CertManager, CertError, Roots, ServeFor};
//!
//! /// Only clients with a certificate of this authority may come in.
//! fn certs() -> Result<CertManager, CertError> {
//!     CertManager::builder()
//!         .files(ServeFor::Default, "cert.pem", "key.pem")
//!         .files(ServeFor::Name("*.example.org".into()), "wild.pem", "wild-key.pem")
//!         .client_auth(ClientAuth::required(Roots::from_pem_file("clients.pem")?))
//!         .alpn(["echo/1"])
//!         .build()
//! }
//! # let _ = certs;
//! ```
//!
//! The owner hears of a connection when its handshake is over; [`Conn::tls`](crate::Conn::tls) then
//! says which name the client asked for, what was agreed on, and who it is. Handshakes that fail are
//! counted by kind in [`ServerHandle::failed_handshakes`](crate::ServerHandle::failed_handshakes).
//!
//! # Handlers that take long
//!
//! Processes that share a worker take turns. A handler that computes or waits for long holds up the
//! others for 10 to 15 ms; then the worker goes on under another thread.
//! [`Ctx::blocking`](crate::Ctx::blocking) says beforehand that it will, and holds up nobody. Either
//! way the messages of the process itself wait: give slow work to an actor of its own.
//!
//! # When the peer is slow, or the owner
//!
//! Both are bounded, and neither loses a byte. A peer that does not read makes
//! [`write`](crate::Conn::write) say [`Throttled`](crate::Written::Throttled), later
//! [`TcpEvent::Writable`](crate::TcpEvent::Writable), and past the hard mark the connection ends with
//! [`SlowConsumer`](crate::DisconnectReason::SlowConsumer). An owner that does not handle what it got
//! makes its connections stop reading, and TCP slows their peers.
//!
//! # A pool cannot own connections
//!
//! A [`Pool`](crate::Pool) hands each message to one of its workers, so the messages of one
//! connection would reach several, out of order. Servers and connections refuse it, and whatever
//! else hands on what it is sent:
//!
//! ```
//! use socktree::{Actor, Ctx, Flow, ListenError, NoMessages, Pool, Source, TcpEvent, TcpServer};
//!
//! struct Worker;
//! impl Actor for Worker {
//!     type Msg = TcpEvent;
//!     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: TcpEvent) -> Flow {
//!         Ok(())
//!     }
//! }
//!
//! struct Service;
//! impl Actor for Service {
//!     type Msg = NoMessages;
//!
//!     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
//!         let pool = ctx.spawn_link(Pool::new(2, || Worker))?;
//!         let refused = ctx.spawn_meta(TcpServer::bind("127.0.0.1:0").process(&pool));
//!         assert!(matches!(refused, Err(ListenError::Forwarder(_))));
//!         Ok(())
//!     }
//! #   fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
//! #       match never {}
//! #   }
//! }
//! # let node = socktree::node("doc@localhost").start()?;
//! # node.spawn(Service)?;
//! # node.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Name the workers instead ([`TcpServer::workers`](crate::TcpServer::workers)). A pool is for what
//! an owner asks for: send it the work with the [`Conn`](crate::Conn) in it, and let its workers
//! write the answers. They go out in the order in which they are written, which is not that of the
//! questions.
//!
//! # Keeping bytes
//!
//! The [`Bytes`](crate::Bytes) of an event may be kept, cloned and sent on without a copy. They
//! share their memory with others: a large message is a slice of the block that was read, and keeps
//! at most four times its size; smaller ones share a chunk of 64 KiB, those below 512 bytes one of
//! 4 KiB, which stays as long as any of them. For a queue that does not matter. What is kept for
//! long is best kept as what it means, or in a copy of its own:
//!
//! ```
//! use socktree::Bytes;
//!
//! fn number(data: &Bytes) -> Option<u64> {
//!     std::str::from_utf8(data).ok()?.trim().parse().ok()
//! }
//! let data = Bytes::from_static(b"42\n");
//! assert_eq!(number(&data), Some(42));
//! let first = data.slice(..1); // no copy: it shares the memory with `data`
//! let own = Bytes::copy_from_slice(&first); // for a `&[u8]` that is borrowed for a while
//! assert_eq!(first, own);
//! ```
//!
//! # A supervised listener
//!
//! A listener ends with the actor that has spawned it, so what is to be supervised is that actor.
//! Its socket is closed before its supervisor hears of the end, so that a restart finds the port
//! free. This is a whole program; a handler that panics costs it its connections, and the next
//! client finds it there:
//!
//! ```no_run
//! use socktree::{Actor, Ctx, Flow, NodeError, Source, Supervisor, TcpEvent, TcpServer};
//!
//! struct Service;
//!
//! impl Actor for Service {
//!     type Msg = TcpEvent;
//!
//!     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
//!         ctx.spawn_meta(TcpServer::bind("127.0.0.1:7171"))?; // an error is tried again
//!         Ok(())
//!     }
//!
//!     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
//!         if let TcpEvent::Data { conn, data } = event {
//!             assert!(!data.starts_with(b"!"), "somebody wants to see a crash");
//!             conn.write(data);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), NodeError> {
//!     let root = Supervisor::one_for_one().child("service", || Service);
//!     socktree::node("service@localhost").run(root)
//! }
//! ```
//!
//! # Reconnecting
//!
//! An outgoing connection that has ended, or never came about, is made anew by whoever wants it:
//! after a while, and not at once, for the other end may be down for long.
//! [`Ctx::send_after`](crate::Ctx::send_after) waits without holding up anybody.
//!
//! ```
//! use std::time::Duration;
//! use socktree::{Actor, Conn, Ctx, Flow, Source, TcpConnection, TcpEvent, protocol};
//!
//! struct Again;
//! protocol! { enum Msg { Net(TcpEvent), Again(Again) } }
//!
//! struct Uplink { to: String, conn: Option<Conn>, wait: Duration }
//!
//! const FIRST_WAIT: Duration = Duration::from_millis(100);
//! const LONGEST_WAIT: Duration = Duration::from_secs(30);
//!
//! impl Uplink {
//!     fn connect(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
//!         ctx.spawn_meta(TcpConnection::open(&self.to))?; // the outcome comes as an event
//!         Ok(())
//!     }
//!
//!     fn lost(&mut self, ctx: &mut Ctx<'_, Self>) {
//!         self.conn = None;
//!         ctx.send_after(ctx.pid(), Again, self.wait);
//!         self.wait = (self.wait * 2).min(LONGEST_WAIT);
//!     }
//! }
//!
//! impl Actor for Uplink {
//!     type Msg = Msg;
//!
//!     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
//!         self.connect(ctx)
//!     }
//!
//!     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: Msg) -> Flow {
//!         match message {
//!             Msg::Again(Again) => self.connect(ctx)?,
//!             Msg::Net(TcpEvent::Connect { conn }) => {
//!                 self.wait = FIRST_WAIT;
//!                 self.conn = Some(conn);
//!             }
//!             Msg::Net(TcpEvent::Disconnect { .. } | TcpEvent::ConnectFailed { .. }) => self.lost(ctx),
//!             Msg::Net(_) => {}
//!         }
//!         Ok(())
//!     }
//! }
//! # let node = socktree::node("doc@localhost").start()?;
//! # node.spawn(Uplink { to: "127.0.0.1:1".into(), conn: None, wait: FIRST_WAIT })?;
//! # node.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! With the feature `test-kit`, for `[dev-dependencies]`, there is `TestKit`: a node that a test
//! drives in its own thread, with a clock that stands still until the test moves it. So a test of
//! timers takes no time, and every run of it is the same. Whom the actor talks to is played by
//! probes.
//!
#![cfg_attr(feature = "test-kit", doc = "```")]
#![cfg_attr(not(feature = "test-kit"), doc = "```ignore")]
//! use std::time::Duration;
//! use socktree::{Actor, Ctx, Flow, Source, TestKit, protocol};
//!
//! struct Start;
//! #[derive(Debug, PartialEq)]
//! struct Alarm;
//! protocol!(Start, Alarm);
//!
//! struct Clock;
//! impl Actor for Clock {
//!     type Msg = Start;
//!     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, _: Start) -> Flow {
//!         ctx.send_after("sleeper", Alarm, Duration::from_secs(8 * 3600));
//!         Ok(())
//!     }
//! }
//!
//! let kit = TestKit::new();
//! let sleeper = kit.probe::<Alarm>("sleeper");
//! let clock = kit.spawn(Clock)?;
//! clock.send(Start)?;
//! kit.advance(Duration::from_secs(8 * 3600 - 1));
//! assert_eq!(sleeper.take(), []);
//! kit.advance(Duration::from_secs(1));
//! assert_eq!(sleeper.take(), [Alarm]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Connections need an operating system. A test of the whole service binds to port 0 and talks to
//! itself; with the feature `sim` it runs on a simulated system instead, with virtual time and with
//! random faults: [`tcp::node_on`](crate::tcp::node_on) makes such a node.
