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
