//! An event loop over mio with generations, budgets, timers and a simulated operating system.
//!
//! A [`Reactor`] holds the sockets of one worker. Its owner calls [`Reactor::poll`], which
//! sleeps until there is something to do, then takes events with [`Reactor::next_event`]
//! until there is none, then polls again. That is a *turn*. Reading and writing are the
//! owner's own calls on a [source](Reactor::source); the loop keeps account of what they
//! found.
//!
//! # Examples
//!
//! An echo server, and a client that stops it.
//!
//! ```
//! use std::io::{Read, Write};
//! use socktree_reactor::{Event, ListenOptions, ReadOutcome, Reactor, System, WriteOutcome};
//!
//! #[derive(Debug)]
//! struct Stop;
//!
//! let mut reactor = Reactor::<System, Vec<u8>, Stop>::new(System)?;
//! let any = "127.0.0.1:0".parse()?;
//! let listener = reactor.bind(any, &ListenOptions::default(), Vec::new())?;
//! let addr = reactor.source(listener).expect("just made").io.local_addr()?;
//!
//! let remote = reactor.remote();
//! let client = std::thread::spawn(move || -> std::io::Result<()> {
//!     let mut stream = std::net::TcpStream::connect(addr)?;
//!     stream.write_all(b"hello")?;
//!     stream.read_exact(&mut [0; 5])?;
//!     remote.post(Stop).map_err(std::io::Error::other)
//! });
//!
//! let mut buffer = [0; 4096];
//! 'running: loop {
//!     reactor.poll(None, || true)?;
//!     while let Some(event) = reactor.next_event() {
//!         let token = match event {
//!             Event::Command(Stop) => break 'running,
//!             Event::Accepted { stream, .. } => reactor.adopt(stream, Vec::new())?,
//!             Event::Readable(token) | Event::Writable(token) => token,
//!             other => panic!("nothing else was asked for: {other:?}"),
//!         };
//!         // What is owed goes first; while something is owed nothing more is read.
//!         let Some(mut source) = reactor.source(token) else { continue };
//!         if source.data.is_empty() {
//!             match source.io.read(&mut buffer)? {
//!                 ReadOutcome::Data(n) => source.data.extend(&buffer[..n]),
//!                 ReadOutcome::Eof => drop(reactor.remove(token)),
//!                 ReadOutcome::WouldBlock => {}
//!             }
//!         }
//!         let Some(mut source) = reactor.source(token) else { continue };
//!         if let WriteOutcome::Written(n) = source.io.write(&source.data)? {
//!             source.data.drain(..n);
//!         }
//!         match source.data.is_empty() {
//!             true => source.io.resume_read(),
//!             false => source.io.pause_read(),
//!         }
//!     }
//! }
//! client.join().expect("the client does not panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The contract
//!
//! **Readiness.** Sockets are registered once, edge-triggered. The system tells each arrival
//! once; the loop remembers it until a call on the socket shows that nothing is left. The owner
//! answers [`Event::Readable`] with a read or with [`pause_read`](SourceIo::pause_read); one
//! that does neither is given the event again, turn after turn, and the loop does not sleep.
//! Readiness is a hint: a read may find nothing, and [`ReadOutcome::WouldBlock`] is no error.
//! Writing needs no permission. After a write that did not take everything, and only then,
//! [`Event::Writable`] comes; the system is asked to report room when that happens for the
//! first time.
//!
//! **Order.** In a turn commands come first, then sockets, then what is due by time. Each
//! ready source is served in every turn, up to its budget ([`limits`]). What happens during a
//! turn is given in the next.
//!
//! **Time.** All events of a turn share one [`now`](Reactor::now). Deadlines fire only after
//! the system was asked for readiness, also when the process was stopped for an hour: bytes
//! that arrived in time move the deadline first.
//!
//! **Names.** A [`Token`] is never handed out twice while anybody may remember it, and every
//! method takes stale ones: they find nothing. Sources may be removed at any moment, also
//! while their events are under way. After [`remove`](Reactor::remove) nothing comes from
//! them.
//!
//! **Threads.** The loop has one owner at a time and may change it ([`Reactor`] is [`Send`]).
//! Other threads have a [`Remote`]: they post commands, wake the loop for queues of its
//! owner's own, and tell it about freed descriptors. One thread can serve several loops and sleep
//! for all of them at once ([`Reactor::nest`]).
//!
//! **Errors.** What fails on one connection is told by the call or event of that connection.
//! What fails on a listener because of one client is counted ([`Stats`]); for want of
//! descriptors or memory it pauses; all else is [`Event::ListenerFailed`]. Only a broken
//! poller makes [`Reactor::poll`] fail, and it is broken for good.
//!
//! **What the crate does not know.** Messages and their boundaries, what a connection is
//! for, TLS, who owns a loop and how its work is scheduled. All of that is in `T`, the
//! owner's data per source, `C`, its commands, and `may_sleep`, its say in when to sleep.
//!
//! # The seam
//!
//! All of this goes through one trait, [`Os`], dispatched statically. [`System`] is the real
//! one. With the feature `sim` there is `sim::SimOs`: seeded, with virtual time, and with
//! every fault a real system may commit. This crate's tests run on it, and so can yours.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `sim` | off | the module `sim` with a simulated operating system |
#![forbid(unsafe_code)]

mod courtesy;
mod entry;
mod event;
pub mod limits;
mod os;
mod reactor;
mod ready;
mod remote;
#[cfg(feature = "sim")]
pub mod sim;
mod source;
mod stats;
mod timers;
mod token;

pub use event::Event;
pub use os::{
    Keepalive, ListenOptions, Os, Readiness, System, SystemListener, SystemOuter, SystemPoller,
    SystemStream, SystemWaker,
};
pub use reactor::{Doze, Host, Reactor, RegisterError};
pub use remote::{PostError, Remote};
pub use source::{ReadOutcome, SourceIo, SourceMut, WriteOutcome};
pub use stats::Stats;
pub use timers::TimerKey;
pub use token::Token;

// The README's example is a test as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
